"""The stage itself, in a repository of its own with a miniature cohort."""

import re
from pathlib import Path

import numpy as np
import pytest

import cohorts
from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.base.files import read_json, write_csv
from gliomap.data import case, store
from gliomap.data.recipes import RECIPES
from gliomap.data.slices import Slices
from stage_toys import stage_of

ROOT = Path(__file__).resolve().parents[1]
PARAMS = """
data: local
scale: smoke
protocol: common
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
    stage(["tsgm=common"])
    slices = Slices.open("data/slices/tsgm")
    assert slices.index.groupby("split")["patient"].nunique().to_dict() == {"test": 1, "train": 2, "val": 1}
    assert slices.images.shape == (24, 4, 10, 10)
    assert (slices.images[np.flatnonzero(slices.index["brain_px"] > 0)].max((1, 2, 3)) > -1).all()
    assert read_json("data/slices/tsgm/recipe.json")["size"] == 10
    assert Path("plots/preprocess/common.png").is_file()
    assert "common test: 1 patients" in capsys.readouterr().out


def test_a_case_that_vanished_stops_it_before_anything_is_written(stage, tmp_path):
    next((tmp_path / "raw").rglob("*_t2.nii.gz")).unlink()
    with pytest.raises(UserError, match="no such file"):
        stage(["tsgm=common"])
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


def test_an_unknown_recipe_is_refused(stage):
    with pytest.raises(UserError, match=r"found 'tsgm=comon', expected .* anofpdm, common"):
        stage(["tsgm=comon"])


def test_systems_on_one_recipe_share_its_files_and_recipe_json_names_it(stage):
    stage(["mmccd=common", "tsgm=common", "trivial=common"])
    folders = [Path("data/slices") / name for name in ("mmccd", "tsgm", "trivial")]
    names = {path.name for path in folders[0].iterdir()}
    assert len(names) == 11
    for name in names:
        assert len({(folder / name).read_bytes() for folder in folders}) == 1, name
    assert len({(folder / "images.npy").stat().st_ino for folder in folders}) == 1
    assert [Slices.open(folder).recipe for folder in folders] == ["common"] * 3
    assert [path.name for path in Path("plots/preprocess").iterdir()] == ["common.png"]


def test_sharing_copies_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(store.os, "link", refuse)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.npy").write_bytes(b"1")
    store.share(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "x.npy").read_bytes() == b"1"


def test_a_protocol_that_is_none_is_refused(stage, tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS.replace("protocol: common", "protocol: papr"))
    with pytest.raises(UserError, match="protocol is 'papr', expected one of common, paper"):
        stage(["tsgm=common"])


@pytest.mark.parametrize("word", ["common", "=common", "tsgm=", "ts gm=common"])
def test_a_word_that_names_no_store_is_refused(stage, word):
    with pytest.raises(UserError, match="expected <system>=<recipe>"):
        stage([word])

