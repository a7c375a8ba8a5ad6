"""Train, study and infer the mask diffusion as the pipeline calls them, on a toy slice store at scale=smoke."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ddmd_toys import OWN, write_discrepancy, write_tumours
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.balance import balanced
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.device import launch
from gliomap.engine.inference import Infer, Setting
from gliomap.methods.ddmd import scorer
from stage_toys import ROOT, SIZE, main, stage_of

pytestmark = pytest.mark.slow
VARIANTS = {"mini": (), "light": ("--features", "inter"), "full": ("--features", "both"), "cimd": ("--cimd",)}
STORE = "data/slices/common"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with every variant trained for three steps; then it is the working folder, without any truth."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    text = (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke").replace("steps: auto", "steps: 3")
    (folder / "params.yaml").write_text(text.replace("slice_step: auto", "slice_step: 2"))
    write_tumours(folder / STORE)
    write_discrepancy(folder / "models" / "discrepancy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        for key, options in VARIANTS.items():
            main("train_ddmd", key, *options)
        for split in ("train", "val"):
            (folder / STORE / f"masks_{split}.npy").rename(folder / f"masks_{split}.npy")
        yield folder


@pytest.mark.parametrize("key", VARIANTS)
def test_training_writes_weights_curves_and_cost(project, key):
    found = {path.name for path in (project / "models" / "ddmd" / key).iterdir()}
    assert found == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    meta = json.loads((project / f"models/ddmd/{key}/model.json").read_text())
    kind = VARIANTS[key][1] if "--features" in VARIANTS[key] else "none"
    assert meta["networks"]["features"]["kind"] == kind
    assert meta["networks"]["net"]["in_channels"] == {"none": 5, "inter": 6, "both": 7}[kind]
    assert meta["modalities"] == ["t1", "t1ce", "t2", "flair"]
    assert (meta["networks"]["cimd"] is not None) == (key == "cimd")
    assert set(meta["parameters"]) == ({"net", "posterior", "prior"} if key == "cimd" else {"net"})
    cost = json.loads((project / f"metrics/cost/train-ddmd-{key}.json").read_text())
    assert cost["steps"] == 3
    log = pd.read_csv(project / f"models/ddmd/{key}/log.csv")
    assert np.isfinite(log["loss"]).all()
    assert np.isfinite(log["val_loss"]).all()


def test_variants_differ_in_the_first_convolution_alone(project):
    shapes = {}
    for key in ("mini", "light", "full"):
        _, states = weights.load(project / "models" / "ddmd" / key, "raw")
        shapes[key] = {name: tuple(tensor.shape) for name, tensor in states["net"].items()}
    for key in ("light", "full"):
        assert {name for name in shapes["mini"] if shapes[key][name] != shapes["mini"][name]} == {"stem.weight"}


def test_encoders_that_do_not_learn_stay_as_they_were(project):
    raw, ema = (weights.load(project / "models" / "ddmd" / "cimd", which)[1] for which in ("raw", "ema"))
    for name in ("posterior", "prior"):
        assert all(torch.equal(tensor, ema[name][key]) for key, tensor in raw[name].items())
    assert not all(torch.equal(tensor, ema["net"][key]) for key, tensor in raw["net"].items())


@pytest.mark.parametrize("key", ["mini", "full"])
def test_inference_writes_the_same_bytes_twice_and_reads_no_truth(project, key):
    sums = []
    for _ in range(2):
        main("infer", "ddmd", f"ddmd_{key}={key}", "--module", "ddmd")
        sums.append([files.md5(f"predictions/ddmd/{split}/ddmd_{key}.npz") for split in ("val", "test")])
    assert sums[0] == sums[1]
    arrays = files.read_npz(f"predictions/ddmd/test/ddmd_{key}.npz")
    n = len(arrays["rows"])
    assert arrays["map"].shape == arrays["mask"].shape == arrays["sd"].shape == (n, SIZE, SIZE)
    assert arrays["mask"].dtype == np.uint8
    assert arrays["sd"].dtype == np.float16
    inside = np.load(f"{STORE}/brain.npy")[arrays["rows"]] > 0
    assert (arrays["map"][~inside] == 0).all()
    assert np.array_equal(arrays["mask"][inside], arrays["map"][inside] > 0.5)
    cost = json.loads((project / f"metrics/cost/infer-ddmd_{key}.json").read_text())
    assert cost["evaluations_per_slice"] > 1


def test_the_study_shows_every_variant_from_the_same_noise_to_a_mask(project):
    main("study_chains")
    found = files.read_npz("predictions/ddmd/study.npz")
    assert found["names"].tolist() == ["cimd", "mini", "full", "light"]
    assert found["row"].tolist() == [24]  # the largest tumour among rows 24 to 29
    assert found["images"].shape == (4, SIZE, SIZE)
    completed, x = found["completed"], found["x"]
    assert completed.dtype == np.int64
    assert completed[-1] == 1000
    assert (np.diff(completed) > 0).all()
    assert x.shape == (4, len(completed), SIZE, SIZE)
    assert x.dtype == np.float16
    assert all(np.array_equal(x[0, 0], other) for other in x[1:, 0])
    assert abs(x[0, 0].astype(float).std() - 1) < 0.1
    assert np.abs(x[:, -1]).max() <= 1
    assert np.isfinite(x).all()


@pytest.mark.parametrize(("sampler", "steps", "kept"), [("ddim", 1, 2), ("ancestral", 7, 8), ("ancestral", 35, 11)])
def test_the_study_keeps_the_first_the_last_and_at_most_nine_between(project, sampler, steps, kept):
    slices = Slices.open(project / STORE)
    own = dataclasses.replace(OWN, sampler=sampler, steps=steps)
    variant = scorer({"ddmd": own, "seed": 0}, project / "models", slices, torch.device("cpu"), "mini")
    setting = Setting(slices, Noise(0), Infer(slice_step=1, batch=1, precision="32-true"), launch("32-true", 1))
    completed, x = stage_of("study_chains").states(variant, np.array([24]), setting)
    assert len(completed) == len(x) == kept
    assert (completed[0], completed[-1]) == (0, 1000)
    assert np.diff(completed).max() - np.diff(completed).min() <= 1000 / steps + 1


def test_missing_truth_and_missing_maps_are_one_sentence(project):
    with pytest.raises(UserError, match=r"masks_train\.npy: no such file"):
        main("train_ddmd", "mini")
    (project / "models/discrepancy").rename(project / "away")
    with pytest.raises(UserError, match=r"discrepancy\.json: no such file"):
        main("train_ddmd", "light", "--features", "inter")
    (project / "away").rename(project / "models/discrepancy")


def test_masks_and_maps_are_part_of_a_trainings_identity(project):
    """One pixel of either changed, and nothing is resumed; a variant without maps does not care about them."""
    for split in ("train", "val"):
        shutil.copy(project / f"masks_{split}.npy", project / STORE)

    def folders(key: str) -> int:
        main("train_ddmd", key, *VARIANTS[key])
        return len(list((project / "work" / "ckpt" / f"ddmd-{key}").iterdir()))

    mini, light = folders("mini"), folders("light")
    masks = np.load(project / "masks_train.npy")
    masks[0, 0, 0] ^= 1
    np.save(project / STORE / "masks_train.npy", masks)
    assert [folders("mini"), folders("light")] == [mini + 1, light + 1]
    maps = np.load(project / "models/discrepancy/inter.npy")
    maps[0, 0, 0] += 1
    np.save(project / "models/discrepancy/inter.npy", maps)
    assert [folders("mini"), folders("light")] == [mini + 1, light + 2]
    for split in ("train", "val"):
        (project / STORE / f"masks_{split}.npy").unlink()


def test_it_trains_on_the_balanced_slices(project, monkeypatch):
    stage, seen = stage_of("train_ddmd"), []
    for split in ("train", "val"):
        shutil.copy(project / f"masks_{split}.npy", project / STORE)
    monkeypatch.setattr(stage, "train_model", lambda job, build, slices, rows, *rest: seen.append((rows, rest)))
    stage.main(["mini", "--store", "common"])
    ((rows, (_, _, held_out)),) = seen
    slices = Slices.open(project / STORE)
    assert np.array_equal(rows, balanced(slices, "train", 0))
    assert np.array_equal(held_out, slices.rows("val"))
