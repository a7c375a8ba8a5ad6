"""A training that was killed and started again ends as one that was not."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.engine import checkpoint
from gliomap.engine.train import State
from train_toys import TRAIN, ToyMethod, ToySlices, train_one, tree

HERE = Path(__file__).parent


def script(*specs: dict) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "train_toys.py"), *(json.dumps(spec) for spec in specs)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLIOMAP_WORK", "")
    monkeypatch.setenv("FRESH", "")


def checkpoints(root: Path) -> list[Path]:
    return sorted((root / "work" / "ckpt" / "toy-a").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_killed_twice_is_straight(tmp_path, precision):
    # kill -9 amid step 6 (the checkpoint of step 4 holds losses not yet logged), then amid the writing of that of step 8
    runs = [{"root": str(tmp_path / "killed"), "precision": precision} for _ in range(3)]
    runs[0]["kill_step"], runs[1]["kill_save"] = 6, 1
    done = script({"root": str(tmp_path / "straight"), "precision": precision}, *runs)
    assert done.stderr.endswith("codes [0, -9, -9, 0]\n"), done.stderr
    assert done.stdout.count("continues from the checkpoint of step 4 of 12") == 2
    straight, killed = (tree(tmp_path / name / "models") for name in ("straight", "killed"))
    assert set(straight) == {f"toy/a/{name}" for name in ("raw.safetensors", "ema.safetensors", "model.json", "log.csv")}
    assert straight == killed
    assert straight["toy/a/raw.safetensors"] != straight["toy/a/ema.safetensors"]


@pytest.mark.slow
def test_kill_anywhere(tmp_path):
    """Every step is a place to be killed at; saving at every step, every third or only at the end makes no difference."""
    specs = [{"root": str(tmp_path / "straight")}]
    for step in (0, 1, 4, 11):
        again = {"root": str(tmp_path / f"killed{step}"), "save_every": 1 + 2 * (step % 2)}
        specs += [{**again, "kill_step": step}, {**again, "save_every": 99}]
    done = script(*specs)
    assert done.stderr.endswith(f"codes {[0] + [-9, 0] * 4}\n"), done.stderr
    straight = tree(tmp_path / "straight" / "models")
    for step in (0, 1, 4, 11):
        assert tree(tmp_path / f"killed{step}" / "models") == straight


def test_finished_checkpoint_writes_outputs_again(tmp_path, capsys):
    train_one({"root": str(tmp_path)})
    before, cost = tree(tmp_path / "models"), tree(tmp_path / "metrics")
    for path in (tmp_path / "models").rglob("*.*"):
        path.unlink()
    capsys.readouterr()
    train_one({"root": str(tmp_path), "save_every": 7})  # save_every does not belong to the identity
    assert "continues from the checkpoint of step 12 of 12" in capsys.readouterr().out
    assert tree(tmp_path / "models") == before
    assert tree(tmp_path / "metrics") == cost  # the seconds too: nothing was trained


@pytest.mark.parametrize("change", [{"lr": 0.02}, {"seed": 2}, {"dropout": 0.3}, {"precision": "bf16-mixed"}, {"steps": 13}])
def test_other_training_starts_afresh(tmp_path, change, capsys):
    base = {"root": str(tmp_path), "steps": 4}
    train_one(base)
    first = tree(tmp_path / "models")
    train_one({**base, **change})
    assert "continues" not in capsys.readouterr().out
    assert len(checkpoints(tmp_path)) == 2
    assert tree(tmp_path / "models")["toy/a/raw.safetensors"] != first["toy/a/raw.safetensors"]


def test_other_code_starts_afresh(tmp_path, monkeypatch):
    train_one({"root": str(tmp_path), "steps": 2})
    monkeypatch.setattr("gliomap.base.run.code_hash", lambda skip: "other")
    train_one({"root": str(tmp_path), "steps": 2})
    assert len(checkpoints(tmp_path)) == 2


def test_other_slices_start_afresh(tmp_path, monkeypatch):
    train_one({"root": str(tmp_path), "steps": 2})
    read = ToySlices.read
    monkeypatch.setattr(ToySlices, "read", lambda self, rows, modalities: read(self, rows, modalities) * 1.5)
    train_one({"root": str(tmp_path), "steps": 2})
    assert len(checkpoints(tmp_path)) == 2


def test_fresh_ignores_the_checkpoint(tmp_path, capsys):
    train_one({"root": str(tmp_path)})
    before = tree(tmp_path / "models")
    capsys.readouterr()
    train_one({"root": str(tmp_path), "fresh": "1"})
    out = capsys.readouterr().out
    assert "continues" not in out
    assert "12/12 steps" in out
    assert tree(tmp_path / "models") == before


def test_lock_stops_a_second_process(tmp_path):
    train_one({"root": str(tmp_path), "steps": 2})
    (folder,) = checkpoints(tmp_path)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process is training this now"):
            train_one({"root": str(tmp_path), "steps": 2})
    train_one({"root": str(tmp_path), "steps": 2})  # free again


def test_torn_temporary_is_dropped_and_torn_checkpoint_refused(tmp_path):
    train_one({"root": str(tmp_path), "steps": 2})
    (folder,) = checkpoints(tmp_path)
    (folder / "last.pt.123.tmp").write_bytes(b"half")
    train_one({"root": str(tmp_path), "steps": 2})
    assert not list(folder.glob("*.tmp"))
    whole = (folder / "last.pt").read_bytes()
    (folder / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"last.pt: not a whole checkpoint .*FRESH=1"):
        train_one({"root": str(tmp_path), "steps": 2})
    train_one({"root": str(tmp_path), "steps": 2, "fresh": "1"})
    assert (folder / "last.pt").stat().st_size == len(whole)


def test_checkpoint_runs_no_code(tmp_path):
    torch.save({"step": Path("/")}, tmp_path / "last.pt")  # a pickled object of a class
    with pytest.raises(UserError, match="not a whole checkpoint"):
        checkpoint.load(tmp_path)


def test_state_round_trip(tmp_path):
    state = State(ToyMethod(), TRAIN)
    state.step, state.losses, state.seconds, state.log = 3, {"net": [0.1, 0.2]}, 1.5, [{"step": 1, "lr": 0.1, "loss": 0.3}]
    checkpoint.save(tmp_path, state.state_dict())
    other = State(ToyMethod(), TRAIN)
    other.load_state_dict(checkpoint.load(tmp_path))
    for name in ("step", "losses", "seconds", "log"):
        assert getattr(other, name) == getattr(state, name)
    for key, value in state.nets.state_dict().items():
        assert torch.equal(other.nets.state_dict()[key], value)
