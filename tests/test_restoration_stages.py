"""Train, tune and infer the restoring baselines as the pipeline calls them, on a toy slice store at scale=smoke."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.methods.restoration import WAYS, needs
from stage_toys import DEEP, ROOT, SHAPE, SIZE, main, write_store

pytestmark = pytest.mark.slow
MODELS = {"gauss": "ddpm/gauss", "simplex": "ddpm/simplex", "guided": "guided/all", "classifier": "classifier/all"}
CALLS = {"anoddpm": 2, "anoddpm_simplex": 2, "ddim": 2, "ddim_clf": 4, "ddib": 6}  # level 0.2, 10 steps of 1000


def write_tumours(folder: Path) -> None:
    """The toy store with a bright square as tumour in every third slice. No truth of the test slices is there at all."""
    images = np.random.default_rng(0).uniform(-0.4, 0.1, SHAPE)
    images[::3, :, 10:18, 10:18] = 0.9
    index = write_store(folder, images)
    tumour = np.zeros((len(index), SIZE, SIZE), np.uint8)
    tumour[::3, 10:18, 10:18] = 1
    np.save(folder / "masks_val.npy", tumour[index["split"] == "val"])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with all models trained for three steps; then it is the working folder."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    text = (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke").replace("steps: auto", "steps: 3")
    (folder / "params.yaml").write_text(text.replace("slice_step: auto", "slice_step: 2"))
    write_tumours(folder / "data" / "slices" / "common")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        for name in MODELS:
            main("train_baselines", name)
        main("train_cfg")
        for split in ("train", "val"):
            (folder / f"data/slices/common/labels_{split}.csv").unlink()  # from here on nothing may ask for them
        yield folder


@pytest.fixture(scope="module")
def tuned(project):
    """The project with every baseline's decision; then the validation masks are gone too."""
    for key in WAYS:
        main("tune", key)
    (project / "data/slices/common/masks_val.npy").rename(project / "masks_val.npy")
    yield project
    (project / "masks_val.npy").rename(project / "data/slices/common/masks_val.npy")


@pytest.mark.parametrize("name", MODELS)
def test_training_writes_weights_curves_and_cost(project, name):
    folder = project / "models" / MODELS[name]
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    assert json.loads((project / f"metrics/cost/train-{MODELS[name].replace('/', '-')}.json").read_text())["steps"] == 3
    meta = json.loads((folder / "model.json").read_text())
    assert meta["modalities"] == ["flair", "t1", "t1ce", "t2"]
    assert np.isfinite(files.read_csv(folder / "log.csv")[["loss", "val_loss"]].to_numpy()).all()
    networks = meta["networks"]
    assert networks["net"]["out_channels"] == {"gauss": 4, "simplex": 4, "guided": 8, "classifier": 2}[name]
    assert networks["net"]["classes"] == (2 if name == "guided" else None)
    assert networks.get("noise") == ({"octaves": 6, "persistence": 0.8, "frequency": 16} if name == "simplex" else None)


def test_a_decision_is_the_best_of_its_grid_and_counts_its_slices(tuned):
    for key in WAYS:
        found = json.loads((tuned / f"models/decisions/{key}.json").read_text())
        assert found["kind"] == "fixed"
        assert set(found["setting"]) == set(needs(key))
        best = max(found["grid"], key=lambda entry: entry["dice_mixed"])
        assert (found["theta"], found["dice_mixed"]) == (best["theta"], best["dice_mixed"])
        assert 0.01 <= found["theta"] <= 0.69
        assert found["at_edge"] == (found["theta"] in (0.01, 0.69))
        assert (found["n_slices"], found["n_tumour_slices"], found["n_patients"]) == (3, 1, 1)
        assert "seconds" not in json.dumps(found)


def test_tuning_counts_every_call_and_gives_the_same_bytes_again(project, tuned):
    for key in WAYS:
        cost = json.loads((tuned / f"metrics/cost/tune-{key}.json").read_text())
        assert (cost["evaluations_per_slice"], cost["slices"]) == (CALLS[key], 3)
    before = files.md5("models/decisions/ddim_clf.json")
    shutil.copy(project / "masks_val.npy", project / "data/slices/common/masks_val.npy")
    main("tune", "ddim_clf")
    (project / "data/slices/common/masks_val.npy").unlink()
    assert files.md5("models/decisions/ddim_clf.json") == before


@pytest.mark.parametrize("key", WAYS)
def test_inference_reads_the_decision_and_no_truth(tuned, key):
    found = []
    for _ in range(2):
        (tuned / "data/slices/common/quantiles.npy").unlink(missing_ok=True)
        main("infer", "anofpdm", f"{key}={key}", "--module", "restoration")
        found.append([files.md5(f"predictions/anofpdm/{split}/{key}.npz") for split in ("val", "test")])
    assert found[0] == found[1]
    brain = np.load(tuned / "data/slices/common/brain.npy")
    arrays = files.read_npz(f"predictions/anofpdm/test/{key}.npz")
    n = len(arrays["rows"])
    assert set(arrays) == {"rows", "map", "image_score", "reconstruction", "whole"}
    assert arrays["whole"].shape == (n, 1, SIZE, SIZE)
    assert arrays["whole"].dtype == arrays["map"].dtype == np.float32
    assert arrays["reconstruction"].dtype == np.float16
    assert np.array_equal(arrays["map"], arrays["whole"][:, 0] * brain[arrays["rows"]])
    assert (arrays["image_score"] > 0).all()
    cost = json.loads((tuned / f"metrics/cost/infer-{key}.json").read_text())
    assert cost["evaluations_per_slice"] == CALLS[key]


def test_tuning_and_inference_restore_alike(tuned):
    """The best theta on the stored validation maps is the decision's."""
    from gliomap.scoring.mixed import best_theta

    main("infer", "anofpdm", "anoddpm=anoddpm", "--module", "restoration")
    arrays = files.read_npz("predictions/anofpdm/val/anoddpm.npz")
    decision = files.read_json("models/decisions/anoddpm.json")
    rows = arrays["rows"] - 4 * DEEP
    truth = np.load(tuned / "masks_val.npy")[rows] > 0
    theta, dice = best_theta(arrays["whole"][:, 0], truth, np.round(np.arange(1, 70) / 100, 9), int(140.7 / 36))
    assert theta == decision["theta"]
    assert dice == pytest.approx(decision["dice_mixed"], abs=1e-6)


def test_what_is_not_there_yet_is_one_sentence(tuned):
    with pytest.raises(UserError, match=r"masks_val\.npy: no such file"):
        main("tune", "ddim")
    (tuned / "models/decisions/ddim.json").rename(tuned / "kept.json")
    with pytest.raises(UserError, match=r"decisions.ddim\.json: no such file"):
        main("infer", "anofpdm", "ddim=ddim", "--module", "restoration")
    (tuned / "kept.json").rename(tuned / "models/decisions/ddim.json")
    (tuned / "models/classifier/all/ema.safetensors").rename(tuned / "kept")
    with pytest.raises(UserError, match=r"classifier.all.ema\.safetensors: no such file"):
        main("infer", "anofpdm", "ddim_clf=ddim_clf", "--module", "restoration")
    (tuned / "kept").rename(tuned / "models/classifier/all/ema.safetensors")
    with pytest.raises(UserError, match="baseline is 'vae'"):
        main("infer", "anofpdm", "vae=vae", "--module", "restoration")


def test_labels_are_part_of_what_makes_a_training_this_one(project):
    """Where they are learned from. A checkpoint is found again by its identity."""
    for name in ("guided-all", "classifier-all"):
        [path] = (project / "work" / "ckpt").glob(f"{name}/*/identity.json")
        assert len(json.loads(path.read_text())["values"]["labels"]) == 32
    for name in ("ddpm-gauss", "ddpm-simplex"):
        [path] = (project / "work" / "ckpt").glob(f"{name}/*/identity.json")
        assert "labels" not in json.loads(path.read_text())["values"]
