"""Train and infer the supervised networks as the pipeline does, on a toy slice store with masks and discrepancy maps."""

import json
from pathlib import Path

import numpy as np
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from stage_toys import CASES, DEEP, SHAPE, SIZE, main, write_store

pytestmark = pytest.mark.slow
COUNT = CASES * DEEP
TRAIN = (
    "{steps: 3, batch: 4, lr: 0.001, weight_decay: 0.0, warmup: 0, decay_from: 1.0, clip: 0.0, ema: 0.9, "
    "log_every: 1, save_every: 2, val_slices: 4}"
)
PARAMS = f"""
scale: toy
seed: 0
compute: {{precision: 32-true, devices: 1}}
infer: {{slice_step: 2, batch: 4, precision: 32-true}}
discrepancy: {{feature_scale: dataset}}
supervised:
  unet: {{width: 4}}
  segnet: {{width: 4}}
  deeplab: {{layers: 18, width: 4}}
  paper: {TRAIN}
  fair: {TRAIN}
  weights: raw
"""
MODELS = [  # key, network, features
    ("unet", "unet", "none"),
    ("segnet", "segnet", "none"),
    ("deeplab", "deeplab", "none"),
    ("unet_xy", "unet", "both"),
    ("unet_shuffled", "unet", "shuffled"),
]


def train(key: str, net: str, features: str, budget: str = "fair") -> None:
    main("train_supervised", f"{key}={net}/{features}/{budget}")


def infer(key: str) -> dict[str, dict[str, np.ndarray]]:
    main("infer", "ddmd", f"{key}={key}", "--module", "supervised")
    return {split: files.read_npz(f"predictions/ddmd/{split}/{key}.npz") for split in ("val", "test")}


def write_maps(folder: Path) -> None:
    folder.mkdir(parents=True)
    for i, name in enumerate(("inter", "intra")):
        np.save(folder / f"{name}.npy", np.random.default_rng(i).random((COUNT, SIZE, SIZE)).astype(np.float16))
    scale = {"inter": 0.5, "intra": 0.5}
    files.write_json(folder / "discrepancy.json", {"recipe": "common", "size": SIZE, "n": COUNT, "scale": scale})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with trained networks; test masks and test labels do not exist."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "conf" / "scale").mkdir(parents=True)
    (folder / "conf" / "scale" / "toy.yaml").write_text("{}")
    (folder / "params.yaml").write_text(PARAMS)
    store = folder / "data" / "slices" / "common"
    index = write_store(store, np.random.default_rng(0).uniform(-1, 1, SHAPE))
    for split in ("train", "val"):
        rows = index.loc[index["split"] == split, "row"].to_numpy()
        masks = np.zeros((len(rows), SIZE, SIZE), np.uint8)
        masks[rows % 3 == 0, 10:16, 10:16] = 1
        np.save(store / f"masks_{split}.npy", masks)
    write_maps(folder / "models" / "discrepancy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        for model in MODELS:
            train(*model)
        yield folder


@pytest.mark.parametrize("key", [model[0] for model in MODELS])
def test_training_writes_weights_curves_and_cost(project, key):
    found = {p.name for p in (project / "models" / "supervised" / key).iterdir()}
    assert found == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    cost = json.loads((project / f"metrics/cost/train-supervised-{key}.json").read_text())
    assert cost["steps"] == 3
    log = files.read_csv(project / "models" / "supervised" / key / "log.csv")
    assert len(log) == 3
    assert np.isfinite(log[["loss", "val_loss"]]).all(axis=None)


def test_the_model_says_what_it_was_shown(project):
    plain, told = (json.loads((project / f"models/supervised/{key}/model.json").read_text()) for key in ("unet", "unet_xy"))
    assert (plain["networks"]["features"], told["networks"]["features"]) == ("none", "both")
    assert told["networks"]["feature_scale"] == "dataset"
    assert "discrepancy.feature_scale" not in plain["values"]
    assert told["parameters"]["net"] - plain["parameters"]["net"] == 2 * 9 * 4  # two more channels into four


@pytest.mark.parametrize("key", [model[0] for model in MODELS])
def test_inference_writes_the_same_bytes_twice_and_scores_the_brain_only(project, key):
    found = infer(key)
    paths = [f"predictions/ddmd/{split}/{key}.npz" for split in found]
    first = [files.md5(path) for path in paths]
    infer(key)
    assert [files.md5(path) for path in paths] == first
    brain = np.load(project / "data/slices/common/brain.npy")
    for arrays in found.values():
        count = len(arrays["rows"])
        assert arrays["map"].shape == arrays["mask"].shape == (count, SIZE, SIZE)
        assert arrays["mask"].dtype == np.uint8
        inside = brain[arrays["rows"]] > 0
        assert (arrays["map"][~inside] == 0).all()
        assert ((arrays["map"][inside] > 0) & (arrays["map"][inside] < 1)).all()
        assert np.array_equal(arrays["mask"][inside], arrays["map"][inside] > 0.5)
    cost = json.loads((project / f"metrics/cost/infer-{key}.json").read_text())
    assert cost["evaluations_per_slice"] == 1


def checkpoints(project: Path, key: str) -> set[str]:
    """Identities so far. They hold the hash of the modules loaded: compare trainings right after another only."""
    return {p.name for p in (project / "work" / "ckpt" / f"supervised-{key}").iterdir()}


def test_the_same_training_again_is_the_finished_one(project):
    train("unet", "unet", "none")
    before, weights = checkpoints(project, "unet"), files.md5("models/supervised/unet/raw.safetensors")
    train("unet", "unet", "none")
    assert checkpoints(project, "unet") == before
    assert files.md5("models/supervised/unet/raw.safetensors") == weights


@pytest.mark.parametrize("path", ["data/slices/common/masks_train.npy", "models/discrepancy/intra.npy"])
def test_other_masks_or_maps_are_another_training(project, path):
    array = np.load(path)
    train("unet_xy", "unet", "both")
    before = checkpoints(project, "unet_xy")
    np.save(path, np.flip(array, axis=1))
    try:
        train("unet_xy", "unet", "both")
        assert len(checkpoints(project, "unet_xy")) == len(before) + 1
    finally:
        np.save(path, array)


def test_only_healthy_slices_and_as_many_with_tumour_are_learned_from(project, capsys):
    """A third of the 24 training slices has a tumour: all slices are used."""
    train("again", "unet", "none", "paper")
    assert "3 steps of 4 out of 24 slices" in capsys.readouterr().out


def test_maps_of_other_slices_are_refused(project):
    path = project / "models/discrepancy/discrepancy.json"
    meta = json.loads(path.read_text())
    files.write_json(path, meta | {"size": 64})
    with pytest.raises(UserError, match="size is 64, expected 32"):
        train("unet_x", "unet", "inter")
    files.write_json(path, meta)


def test_a_network_that_is_not_trained_is_one_sentence(project):
    with pytest.raises(UserError, match=r"models.supervised.unet_residual.model\.json"):
        infer("unet_residual")


def test_missing_masks_are_one_sentence(project):
    path = project / "data/slices/common/masks_val.npy"
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(UserError, match=r"masks_val\.npy: no such file"):
        train("unet_late", "unet", "none")
    path.write_bytes(kept)
