"""Train CycleGANs and paint synthetic tumours as the pipeline does, on a toy slice store."""

import json
from pathlib import Path

import numpy as np
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.pairs import PairTable
from gliomap.data.slices import Slices
from stage_toys import SHAPE, main, write_store

pytestmark = pytest.mark.slow
PARAMS = """
scale: toy
seed: 0
compute: {precision: 32-true, devices: 1}
cyclegan:
  net: {width: 2, blocks: 1, skip: false}
  judge: {width: 2, layers: 1}
  losses: {cycle: 10.0, identity: 0.5, pool: 5}
  sampling: {matched: true, near_mm: 2.0, resize: 1.125, flip: 0.5}
  train: {steps: 4, batch: 2, lr: 0.001, weight_decay: 0.0, warmup: 0, decay_from: 1.0, clip: 0.0, ema: 0.0,
          log_every: 2, save_every: 3, val_slices: 2}
  ablation_steps: 2
  weights: raw
  slices: 5
"""
VARIANTS = ("single", "t2", "multi")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with trained CycleGANs and pairs; there are no masks and no test labels."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "conf" / "scale").mkdir(parents=True)
    (folder / "conf" / "scale" / "toy.yaml").write_text("{}")
    (folder / "params.yaml").write_text(PARAMS)
    write_store(folder / "data" / "slices" / "common", np.random.default_rng(0).uniform(-1, 1, SHAPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("train_cyclegan", *VARIANTS)
        main("synthesize", *VARIANTS)
        yield folder


@pytest.mark.parametrize(("variant", "steps"), [("single", 4), ("t2", 2), ("multi", 2)])
def test_training_writes_weights_curves_and_cost(project, variant, steps):
    folder = project / "models" / "cyclegan" / variant
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    assert json.loads((project / f"metrics/cost/train-cyclegan-{variant}.json").read_text())["steps"] == steps
    log = files.read_csv(folder / "log.csv")
    assert np.isfinite(log).all(axis=None)
    assert {"loss_generators", "loss_judges", "val_loss_generators", "val_loss_judges"} <= set(log)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_healthy_training_and_validation_slice_has_a_pair(project, variant):
    slices = Slices.open("data/slices/common")
    pairs = PairTable.open(f"models/pairs/{variant}", slices)
    rows = np.sort(np.concatenate([slices.rows(split, tumour=False) for split in ("train", "val")]))
    assert pairs.rows.tolist() == rows.tolist()
    assert pairs.modalities == (("t2",) if variant == "t2" else slices.modalities)
    healthy, synthetic = pairs.of_rows(rows)
    expected = 255 * (slices.read(rows, pairs.modalities) + 1) / 2
    assert np.array_equal(healthy, np.floor(expected).astype(np.uint8))
    assert not np.array_equal(healthy, synthetic)
    meta = files.read_json(f"models/pairs/{variant}/pairs.json")
    assert meta["n"] == len(rows)
    assert all(0 < meta["sanity"][name]["mean_difference"] < 1 for name in pairs.modalities)


def test_pairs_and_picture_are_the_same_bytes_twice(project):
    paths = [*Path("models/pairs").rglob("*.npy"), Path("plots/tsgm/pairs.png")]
    before = [files.md5(path) for path in paths]
    main("synthesize", *VARIANTS)
    assert len(paths) == 10
    assert [files.md5(path) for path in paths] == before


def test_the_number_painted_at_a_time_changes_pairs_by_rounding_only(project):
    """Convolutions may sum in another order; what is cut off to whole grey levels then differs by one, here and there."""
    paths = sorted(Path("models/pairs").rglob("synthetic.npy"))
    before = [np.load(path).astype(int) for path in paths]
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("slices: 5", "slices: 3"))
    main("synthesize", *VARIANTS)
    after = [np.load(path).astype(int) for path in paths]
    Path("params.yaml").write_text(text)
    main("synthesize", *VARIANTS)
    for old, new in zip(before, after, strict=True):
        assert np.abs(old - new).max() <= 2  # of 255
        assert (old != new).mean() < 0.02


def test_a_restarted_training_ends_in_the_same_weights(project, monkeypatch):
    """The pools are part of the checkpoint: from step 3 on it ends as it did in one go."""
    path = Path("models/cyclegan/single/raw.safetensors")
    before = files.md5(path)
    text = Path("params.yaml").read_text()
    monkeypatch.setattr("gliomap.engine.checkpoint.save", _dies_after_the_first(project))
    monkeypatch.setenv("GLIOMAP_WORK", str(project / "again"))
    with pytest.raises(KeyboardInterrupt):
        main("train_cyclegan", "single")
    monkeypatch.undo()
    monkeypatch.chdir(project)
    monkeypatch.setenv("GLIOMAP_WORK", str(project / "again"))
    path.unlink()
    main("train_cyclegan", "single")
    assert files.md5(path) == before
    assert Path("params.yaml").read_text() == text


def _dies_after_the_first(project):
    from gliomap.engine import checkpoint

    whole = checkpoint.save

    def save(folder, state):
        whole(folder, state)
        assert state["step"] == 3
        assert state["nets"]["pool_tumour.filled"] == 5
        raise KeyboardInterrupt

    return save


def test_an_untrained_variant_is_one_sentence(project):
    with pytest.raises(UserError, match=r"models.cyclegan.flair.model\.json: no such file"):
        main("synthesize", "flair")
