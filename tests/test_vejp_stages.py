"""Train VE-JP and its control as the pipeline does, on a toy slice store with pairs of every variant."""

import json

import numpy as np
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from stage_toys import SIZE, main
from vejp_toys import write_pairs, write_slices

pytestmark = pytest.mark.slow
TRAIN = (
    "{steps: 3, batch: 4, lr: 0.001, weight_decay: 0.0, warmup: 0, decay_from: 1.0, clip: 1.0, ema: 0.9, "
    "log_every: 1, save_every: 2, val_slices: 4}"
)
PARAMS = f"""
scale: toy
seed: 0
compute: {{precision: 32-true, devices: 1}}
vejp:
  follow: code
  loader: follow
  net: {{width: 4, mult: [1, 2], blocks: 1, attention_px: [], dropout: 0.0}}
  levels: {{sigma_min: 0.01, sigma_max: 20.0, sigma_data: 0.3}}
  scaling: edm
  train: {TRAIN}
  ablation_steps: 2
regression:
  net: {{width: 4, mult: [1, 2], blocks: 1, attention_px: [], groups: 2, dropout: 0.0}}
  train: {TRAIN}
"""
VARIANTS = ("single", "flair", "t2", "multi")
STEPS = {"vejp-single": 3, "vejp-flair": 2, "vejp-t2": 2, "vejp-multi": 2, "regression-single": 3}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with trained networks; there are no masks and nothing of the test slices but their images."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "conf" / "scale").mkdir(parents=True)
    (folder / "conf" / "scale" / "toy.yaml").write_text("{}")
    (folder / "params.yaml").write_text(PARAMS)
    slices = write_slices(folder / "data" / "slices" / "common")
    for variant in VARIANTS:
        write_pairs(folder / "models" / "pairs" / variant, slices, variant)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("train_vejp", *VARIANTS, "regression")
        yield folder


def checkpoints(folder, key) -> set[str]:
    return {p.name for p in (folder / "work" / "ckpt" / key).iterdir()}


@pytest.mark.parametrize("key", STEPS)
def test_training_writes_weights_curves_and_cost(project, key):
    folder = project / "models" / key.replace("-", "/")
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    assert json.loads((project / f"metrics/cost/train-{key}.json").read_text())["steps"] == STEPS[key]
    log = files.read_csv(folder / "log.csv")
    assert len(log) == STEPS[key]
    assert np.isfinite(log[["loss", "val_loss"]]).all(axis=None)


def test_the_model_says_what_it_was_shown(project):
    found = {variant: json.loads((project / f"models/vejp/{variant}/model.json").read_text()) for variant in VARIANTS}
    for variant, meta in found.items():
        own = meta["networks"]
        assert (own["variant"], own["loader"], own["scaling"]) == (variant, "slice_minmax", "edm")
        assert own["net"]["in_channels"] == 2 * own["net"]["out_channels"] == (8 if variant == "multi" else 2)
        assert own["net"]["image_size"] == SIZE
        assert "regression.net" not in meta["values"]
    assert found["flair"]["modalities"] == ["flair"]
    control = json.loads((project / "models/regression/single/model.json").read_text())
    assert "vejp.levels" not in control["values"]
    assert control["networks"]["loader"] == "slice_minmax"


def test_only_pairs_of_training_slices_are_learned_from(project, capsys):
    """A third of the 24 training slices has a tumour."""
    main("train_vejp", "flair")
    assert "2 steps of 4 out of 16 slices" in capsys.readouterr().out


def test_other_pairs_are_another_training(project):
    main("train_vejp", "t2")
    before = checkpoints(project, "vejp-t2")
    main("train_vejp", "t2")
    assert checkpoints(project, "vejp-t2") == before
    path = project / "models/pairs/t2/synthetic.npy"
    array = np.load(path)
    np.save(path, array[:, :, ::-1])
    try:
        main("train_vejp", "t2")
        assert len(checkpoints(project, "vejp-t2")) == len(before) + 1
    finally:
        np.save(path, array)


def test_missing_pairs_are_one_sentence(project):
    folder = project / "models" / "pairs"
    (folder / "flair").rename(folder / "away")
    try:
        with pytest.raises(UserError, match=r"models.pairs.flair.pairs\.json: no such file"):
            main("train_vejp", "flair")
    finally:
        (folder / "away").rename(folder / "flair")
