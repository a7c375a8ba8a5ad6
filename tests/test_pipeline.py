"""The whole DAG at the smallest scale, through DVC: it runs, it is idle when nothing changed, it re-runs what it must and no
more, it survives kill -9 with bit-identical weights, and two runs from scratch give identical predictions."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gliomap.base import files

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
ROOT = Path(__file__).resolve().parents[1]
TRAINING = "train_mmccd@flair-t2"
WEIGHTS = Path("models/mmccd/flair-t2")
RESULTS = ("dvc.lock", "metrics/", "plots/")  # of the default run, in git
REPEATS = "metrics/repeats/README.md"  # no result: it keeps the folder on which the tables depend
COMPARED = [Path(f"predictions/mmccd/{split}/mmccd.npz") for split in ("val", "test")]


def environment(work: Path) -> dict:
    bin_ = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "GLIOMAP_WORK": str(work), "PYTHONPATH": "src",
        "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE",
        "GIT_AUTHOR_NAME": "test", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "test", "GIT_COMMITTER_EMAIL": "t@example.org",
    }  # fmt: skip


class Copy:
    """A fresh repository with the files of this one (also uncommitted ones), set to scale=smoke and committed."""

    def __init__(self, folder: Path):
        self.folder, self.work = folder / "gliomap", folder / "work"
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in listed.stdout.split():
            if (ROOT / name).is_file() and (name == REPEATS or not name.startswith(RESULTS)):
                target = self.folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        self.params = self.folder / "params.yaml"
        self.params.write_text(re.sub(r"(?m)^scale: \S+", "scale: smoke", self.params.read_text()))
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
            subprocess.run(["git", *command], cwd=self.folder, env=environment(self.work), check=True)

    def dvc(self, *words: str) -> str:
        done = subprocess.run(
            ["dvc", *words], cwd=self.folder, env=environment(self.work), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"dvc {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    copy = Copy(tmp_path_factory.mktemp("first"))
    copy.log = copy.dvc("repro")
    return copy


def test_everything_runs_and_leaves_its_outputs(first):
    assert {"download", "preprocess@all", TRAINING, "evaluate@mmccd", "tables", "figures", "report"} <= ran(first.log)
    table = (first.folder / "metrics" / "tables" / "mmccd_table1.md").read_text()
    assert "MMCCD" in table
    assert "phantom" in table
    assert list((first.folder / "plots").rglob("*.png"))
    assert "<!-- results:begin -->\nData: **phantom**" in (first.folder / "README.md").read_text()
    assert 1e5 < (first.folder / "report" / "index.html").stat().st_size < 15e6
    changed = ["git", "diff", "--stat", "--", "dvc.yaml", "params.yaml"]
    assert subprocess.run(changed, cwd=first.folder, capture_output=True, check=True).stdout == b""


def test_a_second_run_finds_nothing_to_do(first):
    assert "Data and pipelines are up to date." in first.dvc("repro")


def test_killed_twice_a_training_ends_in_the_same_weights_and_predictions_agree(first, tmp_path_factory):
    second = Copy(tmp_path_factory.mktemp("second"))
    second.dvc("repro", "preprocess@all")
    for wait in (1, 2):
        kill_during_training(second, checkpoints=wait)
    log = second.dvc("repro", TRAINING)
    assert "continues from the checkpoint of step" in log
    for name in ("raw.safetensors", "ema.safetensors", "log.csv", "model.json"):
        assert files.md5(second.folder / WEIGHTS / name) == files.md5(first.folder / WEIGHTS / name), name
    second.dvc("repro", "infer@mmccd")
    for path in [Path("metrics/cohort.json"), *COMPARED]:
        assert (second.folder / path).read_bytes() == (first.folder / path).read_bytes(), path


def kill_during_training(copy: Copy, checkpoints: int) -> None:
    """Start the training stage, wait until new checkpoints appear, then kill -9 DVC and the training process."""
    before = newest(copy.work)
    process = subprocess.Popen(
        ["dvc", "repro", "-s", TRAINING], cwd=copy.folder, env=environment(copy.work),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    seen = 0
    deadline = time.time() + 120
    while seen < checkpoints and time.time() < deadline:
        time.sleep(0.02)
        if newest(copy.work) > before:
            before, seen = newest(copy.work), seen + 1
    assert seen == checkpoints, "the training ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    for line in subprocess.run(["pgrep", "-f", "stages/train_mmccd.py"], capture_output=True, text=True).stdout.split():
        if Path(f"/proc/{line}/cwd").resolve() == copy.folder.resolve():
            os.kill(int(line), signal.SIGKILL)
    process.wait()
    assert not (copy.folder / WEIGHTS / "raw.safetensors").exists()


def newest(work: Path) -> float:
    return max((p.stat().st_mtime_ns for p in (work / "ckpt").rglob("*.pt")), default=0) if (work / "ckpt").is_dir() else 0


def test_an_inference_parameter_reruns_inference_and_what_follows_only(first):
    output = first.dvc("exp", "run", "-S", "mmccd.mask_stride=4", "evaluate@mmccd")
    assert ran(output) == {"infer@mmccd", "infer@mmccd_t2_flair", "calibrate@mmccd", "evaluate@mmccd"}
    diff = first.dvc("metrics", "diff", "--md")
    assert "evaluations_per_slice" in diff
    assert "seconds_per_slice" in diff


def test_the_plots_page_is_whole_and_needs_no_network(first):
    first.dvc("plots", "show", "-o", "page")
    page = (first.folder / "page" / "index.html").read_text()
    assert "vega" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", page)
