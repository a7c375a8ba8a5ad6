"""The stage itself, in a repository of its own with a miniature cohort."""

import re
from pathlib import Path

import numpy as np
import pytest

import cohorts
from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.base.files import read_json, write_csv
from gliomap.data import case
from gliomap.data.recipes import RECIPES
from gliomap.data.slices import Slices
from stage_toys import stage_of

ROOT = Path(__file__).resolve().parents[1]
PARAMS = """
data: local
scale: smoke
data_seed: 0
splits: {mode: ratio, ratios: [0.5, 0.25, 0.25], folds: 5, holdout: 0.1, fold: 0, files: ""}
preprocess:
  common: {size: auto, crop: 20, z_first: 5, z_last: 10, z_step: 1, p_up: 0.995, min_brain_mm2: 20}
"""


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """stages/preprocess.py's main, run from a repository with four cases."""
    monkeypatch.setenv("GLIOMAP_WORKERS", "1")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "params.yaml": PARAMS,
        "conf/data/local.yaml": f"kind: local\nroot: {tmp_path / 'raw'}\nsynapse: ''\n",
        "conf/scale/smoke.yaml": "preprocess: {common: {size: 10}}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    cohorts.write_cohort(tmp_path / "raw", cases=4)
    write_csv("data/manifest.csv", case.to_manifest(case.find_cases(tmp_path / "raw")))
    return stage_of("preprocess").main


def test_it_writes_a_store_of_disjoint_patients_and_a_picture(stage, capsys):
    stage(["common"])
    slices = Slices.open("data/slices/common")
    assert slices.index.groupby("split")["patient"].nunique().to_dict() == {"test": 1, "train": 2, "val": 1}
    assert slices.images.shape == (24, 4, 10, 10)
    assert (slices.images[np.flatnonzero(slices.index["brain_px"] > 0)].max((1, 2, 3)) > -1).all()
    assert read_json("data/slices/common/recipe.json")["size"] == 10
    assert Path("plots/preprocess/common.png").is_file()
    assert "common test: 1 patients" in capsys.readouterr().out


def test_a_case_that_vanished_stops_it_before_anything_is_written(stage, tmp_path):
    next((tmp_path / "raw").rglob("*_t2.nii.gz")).unlink()
    with pytest.raises(UserError, match="no such file"):
        stage(["common"])
    assert not Path("data/slices").exists()


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu", "paper"])
def test_every_recipe_has_its_block_in_params_yaml_and_its_size_at_every_scale(scale, tmp_path):
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(re.sub(r"(?m)^scale: \S+", f"scale: {scale}", text))
    blocks = params.load(tmp_path / "params.yaml")["preprocess"]
    assert set(blocks) == set(RECIPES)
    read = params.read({f"preprocess.{name}": kind for name, kind in RECIPES.items()}, tmp_path)
    assert all(recipe.size >= 16 for recipe in read.values())


def test_an_unknown_recipe_is_refused(stage, capsys):
    with pytest.raises(SystemExit):
        stage(["comon"])
    assert "mmccd" in capsys.readouterr().err
