"""Train, tune and score MMCCD's baselines as the pipeline calls them, on a toy slice store."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from gliomap.base import files
from gliomap.base.errors import UserError
from stage_toys import DEEP, ROOT, SHAPE, SIZE, main, write_store

pytestmark = pytest.mark.slow
ROWS = {"ae": "ae-flair", "vae1": "vae-flair", "dae_t2": "dae-t2", "dae_coarse": "coarse-flair", "ddpm_flair": "ddpm-flair"}
WORDS = [f"{row}={key.replace('-', '/')}" for row, key in ROWS.items()]
TRAIN = {
    "steps": 3, "batch": 2, "lr": 0.001, "weight_decay": 0.0, "warmup": 0, "decay_from": 1.0, "clip": 0.0, "ema": 0.0,
    "log_every": 1, "save_every": 3, "val_slices": 2,
}  # fmt: skip
BAUR = {"width": 4, "most": 8, "bottleneck_px": 8, "latent": 4, "dropout_ae": 0.2, "dropout_vae": 0.1, "kl": 1.0}
OWN = {
    "baur": {"net": BAUR, "train": TRAIN},
    "dae": {"net": {"width": 4}, "noise": {"sd": 0.2, "cells": 4}, "train": TRAIN},
    "ddpm": {"train": TRAIN},
    "restore": {"error": "squared", "weights": "raw", "steps_per_1000": 5, "draws": 1},
    "noise_levels": [0.2, 0.6],
}


def write_params(folder: Path, **changes) -> None:
    text = (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke")
    every = {"infer": {"slice_step": 1, "batch": 4, "precision": "best"}, "rebuild": OWN | changes}
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(YAML(typ="safe", pure=True).load(text) | every, stream)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project folder with all trained, tuned and scored. There are no test labels and no masks but the validation's."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_params(folder)
    index = write_store(folder / "data" / "slices" / "common", np.random.default_rng(0).uniform(-0.4, 0.9, SHAPE))
    masks = np.zeros((DEEP, SIZE, SIZE), np.uint8)
    masks[index.loc[index["split"] == "val", "row"].to_numpy() % 3 == 0, 10:18, 10:18] = 1
    np.save(folder / "data" / "slices" / "common" / "masks_val.npy", masks)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("train_rebuild", *WORDS)
        main("tune_rebuild", *WORDS)
        main("infer", "mmccd", *WORDS, "--module", "rebuild")
    return folder


@pytest.fixture
def project(template, copy_of, monkeypatch):
    folder = copy_of(template)
    monkeypatch.setenv("GLIOMAP_WORK", str(folder / "work"))
    return folder


@pytest.mark.parametrize("key", ROWS.values())
def test_training_writes_weights_curves_and_cost(template, key):
    folder = template / "models" / "rebuild" / key
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    assert json.loads((template / f"metrics/cost/train-rebuild-{key}.json").read_text())["steps"] == 3
    meta, log = json.loads((folder / "model.json").read_text()), files.read_csv(folder / "log.csv")
    assert meta["modalities"] == [key.partition("-")[2]]
    assert np.isfinite(log.to_numpy()).all()
    assert "val_loss" in log


def test_a_network_depends_on_its_own_sections_only(template):
    own = {
        key: set(json.loads((template / f"models/rebuild/{key}/model.json").read_text())["values"]) for key in ROWS.values()
    }
    assert own["ae-flair"] == own["vae-flair"] == {"seed", "rebuild.baur.net"}
    assert own["dae-t2"] == own["coarse-flair"] == {"seed", "rebuild.dae.net", "rebuild.dae.noise"}
    assert own["ddpm-flair"] == {"seed", "mmccd.net", "mmccd.diffusion"}


def test_tuning_takes_one_of_the_levels_and_counts_its_slices(template):
    decision = json.loads((template / "models/levels/ddpm-flair.json").read_text())
    assert (decision["network"], decision["recipe"]) == ("ddpm-flair", "common")
    assert [entry["noise_level"] for entry in decision["grid"]] == [0.2, 0.6]
    assert decision["noise_level"] in (0.2, 0.6)
    assert decision["dice_slice_tumour"] == max(entry["dice_slice_tumour"] for entry in decision["grid"])
    assert decision["n_patients"] == 1
    cost = json.loads((template / "metrics/cost/tune-rebuild-ddpm-flair.json").read_text())
    assert cost["evaluations_per_slice"] == 1 + 3  # 0.2 x 5 and 0.6 x 5 steps
    assert cost["slices"] == decision["n_tumour_slices"]


@pytest.mark.parametrize("row", ROWS)
def test_maps_of_both_splits(template, row):
    evaluations = json.loads((template / f"metrics/cost/infer-{row}.json").read_text())["evaluations_per_slice"]
    level = json.loads((template / "models/levels/ddpm-flair.json").read_text())["noise_level"]
    assert evaluations == (round(level * 5) if row == "ddpm_flair" else 1)
    brain = np.load(template / "data/slices/common/brain.npy")
    for split in ("val", "test"):
        found = files.read_npz(template / f"predictions/mmccd/{split}/{row}.npz")
        inside = brain[found["rows"]] == 1
        assert found["map"].dtype == np.float32
        assert (found["map"][~inside] == 0).all()
        assert (found["map"][inside] > 0).mean() > 0.9
        assert found["reconstruction"].shape == found["map"].shape


def test_all_again_gives_the_same_bytes(project):
    kept = [*(f"models/rebuild/{key}/raw.safetensors" for key in ROWS.values()), "models/levels/ddpm-flair.json"]
    before = {name: files.md5(project / name) for name in kept}
    shutil.rmtree(project / "work")
    main("train_rebuild", *reversed(WORDS))
    main("tune_rebuild", *WORDS)
    assert {name: files.md5(project / name) for name in kept} == before


def test_what_cannot_be_is_one_sentence(project):
    with pytest.raises(UserError, match=r"`rebuilt` in conf.graph\.yaml: found 'dae_t1', expected ae"):
        main("train_rebuild", "dae_t1=dae_t1")
    write_params(project, noise_levels=[])
    with pytest.raises(UserError, match=r"rebuild\.noise_levels is empty"):
        main("tune_rebuild", *WORDS)
    write_params(project, noise_levels=[0.001])
    with pytest.raises(UserError, match=r"0.001, 1 of 1000 levels, expected 2 .. 1000 levels"):
        main("tune_rebuild", *WORDS)
    np.save(project / "data/slices/common/masks_val.npy", np.zeros((DEEP, SIZE, SIZE), np.uint8))
    with pytest.raises(UserError, match="none of the validation slices has a tumour"):
        main("tune_rebuild", *WORDS)
