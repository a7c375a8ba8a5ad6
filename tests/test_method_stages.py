"""Train and infer as the pipeline calls them, on a toy slice store: what is written, and that it is the same twice."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from stage_toys import ROOT, SHAPE, SIZE, main, stage_of, write_store

pytestmark = pytest.mark.slow
@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with trained models, at scale=smoke with fewer steps."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    text = (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke").replace("steps: auto", "steps: 3")
    (folder / "params.yaml").write_text(text)
    write_store(folder / "data" / "slices" / "common", np.random.default_rng(0).uniform(-1, 1, SHAPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("train_translator", "flair-t2")
        main("train_translator", "t2-flair")
        main("train_mmccd", "flair-t2")
        main("train_cfg")
        main("study_forward", "ddim")
        (folder / "data/slices/common/labels_val.csv").unlink()  # from here on nothing may ask for it
        yield folder


def infer(method: str, module: str, pair: str) -> dict[str, dict[str, np.ndarray]]:
    main("infer", "toy", f"{method}={pair}", "--module", module)
    return {split: files.read_npz(f"predictions/toy/{split}/{method}.npz") for split in ("val", "test")}


def test_training_writes_weights_curves_and_cost(project):
    for name in ("translator/flair-t2", "translator/t2-flair", "mmccd/flair-t2", "cfg/all"):
        assert {p.name for p in (project / "models" / name).iterdir()} == {
            "raw.safetensors",
            "ema.safetensors",
            "model.json",
            "log.csv",
        }
        cost = json.loads((project / f"metrics/cost/train-{name.replace('/', '-')}.json").read_text())
        assert cost["steps"] == 3
    meta = json.loads((project / "models/mmccd/flair-t2/model.json").read_text())
    assert meta["networks"]["mask_width"] == 4
    assert meta["modalities"] == ["flair", "t2"]


@pytest.mark.parametrize(
    ("method", "module", "pair"),
    [
        ("mmccd", "mmccd", "flair-t2"),
        ("cyclic_unet", "cyclic_unet", "flair-t2"),
        ("threshold_t1", "threshold", "t1"),
        ("random", "uniform", ""),
        ("anofpdm_ddpm", "anofpdm", "ddpm"),
        ("anofpdm_ddim", "anofpdm", "ddim"),
    ],
)
def test_inference_writes_the_same_bytes_twice_and_scores_the_brain_only(project, method, module, pair):
    found = infer(method, module, pair)
    first = [files.md5(f"predictions/toy/{split}/{method}.npz") for split in found]
    infer(method, module, pair)
    assert [files.md5(f"predictions/toy/{split}/{method}.npz") for split in found] == first
    brain = np.load(project / "data/slices/common/brain.npy")
    for arrays in found.values():
        n = len(arrays["rows"])
        assert n >= 1
        assert arrays["map"].shape == (n, SIZE, SIZE)
        assert arrays["map"].dtype == arrays["image_score"].dtype == np.float32
        assert np.isfinite(arrays["map"]).all()
        assert np.abs(arrays["map"][brain[arrays["rows"]] == 0]).max() == 0
        assert (arrays["image_score"] > 0).all() or module == "anofpdm"  # after 3 steps no label makes a difference
        assert (arrays["image_score"] >= 0).all()
    cost = json.loads((project / f"metrics/cost/infer-{method}.json").read_text())
    assert cost.keys() == {"seconds_per_slice", "evaluations_per_slice", "slices"}
    assert (cost["evaluations_per_slice"] > 0) == (method in ("mmccd", "cyclic_unet", "anofpdm_ddpm", "anofpdm_ddim"))


def test_threshold_ranks_by_the_quantiles_of_the_volume(project):
    arrays = infer("threshold_t1", "threshold", "t1")["test"]
    image = np.load(project / "data/slices/common/images.npy")[arrays["rows"], 0].astype(np.float32)
    inside = np.load(project / "data/slices/common/brain.npy")[arrays["rows"]] > 0
    assert np.allclose(arrays["map"][inside], 1 - (image[inside] + 1) / 2, atol=1e-5)


def test_a_method_that_is_not_trained_is_one_sentence(project):
    with pytest.raises(UserError, match=r"models.mmccd.t2-flair.model\.json"):
        main("infer", "mmccd", "mmccd=t2-flair", "--module", "mmccd")


def test_the_study_keeps_every_level(project):
    found = files.read_npz("predictions/anofpdm/study_ddim.npz")
    count, steps = len(found["rows"]), len(found["steps"])
    assert (count, steps) == (1, 4)  # smoke scores every eighth slice: one of the validation case
    for name in ("stack_h", "stack_ref", "x_h", "x_ref"):
        assert found[name].shape == (count, steps, SIZE, SIZE)
    assert (found["stack_h"] >= 0).all()
    assert np.abs(found["x_h"]).max() <= 1
    assert set(found["end"].flatten()) <= set(found["steps"])


def test_slices_of_the_study_have_a_tumour_first_and_are_spread(project):
    stage = stage_of("study_forward")
    index = pd.DataFrame({"row": range(20), "case": "c", "z": range(20), "split": "val"})
    slices = SimpleNamespace(index=index, rows=lambda split, tumour: np.arange(5, 12) if tumour else np.arange(0))
    assert stage.picked(slices, 1, 3).tolist() == [5, 8, 11]
    assert stage.picked(slices, 1, 9).tolist() == [*range(5, 12), 0, 19]


def test_the_checkpoint_of_other_labels_is_another_one(project):
    """Labels are part of a training's identity: one label changed, and nothing is resumed."""
    before = {p.name for p in (project / "work" / "ckpt" / "cfg-all").iterdir()}
    path = project / "data/slices/common/labels_train.csv"
    text = path.read_text()
    frame = pd.read_csv(path)
    frame.loc[0, "tumour"] = 1 - frame.loc[0, "tumour"]
    files.write_csv(path, frame)
    held_out = pd.DataFrame({"row": range(24, 30), "tumour_px": 0, "tumour": [1, 0, 0, 1, 0, 0]})
    files.write_csv(project / "data/slices/common/labels_val.csv", held_out)
    main("train_cfg")
    assert len({p.name for p in (project / "work" / "ckpt" / "cfg-all").iterdir()}) == len(before) + 1
    path.write_text(text)
    (project / "data/slices/common/labels_val.csv").unlink()
