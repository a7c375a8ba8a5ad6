"""weight_search, weigh and evaluate_otsu on toy residuals: outputs, missing modalities, bytes, broken inputs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import otsu_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring.otsu_metrics import NUMBERS
from stage_toys import main as stage

RESIDUALS = Path("predictions/residuals")
TABLES = ("icts/tsgm", "icts/cyclegan", "icts/dpm_clf_flair", *(f"{p}/{r}" for p in ("inhouse", "test") for r in toys.ROWS))


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.search, toys.weigh, toys.evaluate)


@pytest.fixture
def project(template, copy_of):
    return copy_of(template)


def numbers(row, population="test"):
    return files.read_json(f"metrics/otsu/{population}/{row}.json")


def outputs():
    folders = ("models/weights", "predictions/tsgm", "predictions/external", "scores/otsu", "metrics/otsu")
    return {path.as_posix(): files.md5(path) for f in folders for path in sorted(Path(f).rglob("*.*"))}


def set_params(old, new):
    text = Path("params.yaml").read_text()
    assert old in text
    files.write_text("params.yaml", text.replace(old, new))


def test_the_modality_that_shows_the_tumour_weighs_most(project):
    found, table = files.read_json("models/weights/tsgm.json"), pd.read_csv("models/weights/tsgm.csv")
    assert found["modalities"] == ["t1", "t1ce", "t2", "flair"]
    weights = found["searched"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    assert weights["flair"] == max(weights.values())
    assert (found["n_slices"], found["n_patients"]) == (4, 3)
    assert list(table) == ["row", "patient", "t1", "t1ce", "t2", "flair", "dice"]
    assert len(table) == 4 - found["n_without_hit"]
    assert [weights[m] for m in found["modalities"]] == pytest.approx(table[found["modalities"]].mean().tolist(), abs=1e-5)
    assert set(table["row"]) <= set(range(12, 24))


def test_the_map_is_the_weighted_sum_inside_the_brain(project):
    weights = {"flair": 0.4, "t2": 0.3, "t1ce": 0.2, "t1": 0.1}
    files.write_json("models/weights/tsgm.json", {"searched": weights})
    toys.weigh("tsgm")
    found, seen = files.read_npz("predictions/tsgm/test/tsgm.npz"), files.read_npz(RESIDUALS / "tsgm/test/tsgm.npz")
    expected = sum(w * seen["residual"][:, i].astype(float) for i, w in enumerate((0.1, 0.2, 0.3, 0.4)))
    brain = Slices.open("data/slices/common").brain_of(found["rows"])
    np.testing.assert_allclose(found["map"], expected * brain, atol=1e-6)
    assert found["mask"].any()
    assert not (found["mask"] & ~brain).any()
    assert found["map"].dtype == np.float32
    np.testing.assert_allclose(found["image_score"][3], np.quantile(found["map"][3][brain[3]], 0.99))
    assert set(np.unique(found["reconstruction"])) == {-1.0, 0.0}  # 0 and 0.5 of 0..1, in the store's range of -1..1


def test_rows_that_the_paper_does_not_weight_take_the_plain_mean(project):
    found, seen = files.read_npz("predictions/tsgm/val/vae.npz"), files.read_npz(RESIDUALS / "baselines/val/vae.npz")
    inside = found["map"] > 0
    np.testing.assert_allclose(found["map"][inside], seen["residual"].astype(float).mean(1)[inside], atol=1e-6)


def test_a_cohort_with_one_modality_shows_its_residual_and_lacks_rows(project):
    there = sorted(path.stem for path in Path("predictions/external/icts").iterdir())
    assert there == ["cyclegan", "dpm_clf_flair", "tsgm"]
    assert sorted(f"{p.parent.name}/{p.stem}" for p in Path("metrics/otsu").rglob("*.json")) == sorted(TABLES)
    found, seen = files.read_npz("predictions/external/icts/tsgm.npz"), files.read_npz(RESIDUALS / "tsgm/icts/tsgm.npz")
    inside = found["map"] > 0
    np.testing.assert_array_equal(found["map"][inside], seen["residual"][:, 0].astype(np.float32)[inside])
    assert numbers("tsgm", "icts")["dice_oracle_weights_mean"] is None


def test_the_numbers_follow_from_the_mask_in_the_predictions(project):
    table, n = pd.read_csv("scores/otsu/test/tsgm.csv"), numbers("tsgm")
    mask = files.read_npz("predictions/tsgm/test/tsgm.npz")["mask"].astype(bool)
    truth = Slices.open("data/slices/common").masks("test").astype(bool)
    both = (mask & truth).sum((1, 2)) * 2 / (mask.sum((1, 2)) + truth.sum((1, 2)))
    ill = (table["tumour"] == 1).to_numpy()
    np.testing.assert_allclose(table["dice"][ill], both[ill], rtol=1e-5)
    assert (table["predicted_px"] == mask.sum((1, 2))).all()
    assert n["dice_mean"] == pytest.approx(both[ill].mean(), rel=1e-5)
    assert n["dice_mean"] > 0.8
    assert (n["n_slices"], n["n_tumour_slices"], n["n_patients"], n["component_mm2"]) == (12, 6, 3, 36)
    assert numbers("cyclegan")["component_mm2"] == 0
    assert set(NUMBERS) <= set(table.columns)


def test_the_oracle_is_never_worse_than_the_grid_and_only_of_weighted_rows(project):
    assert numbers("tsgm")["dice_oracle_weights_mean"] >= numbers("tsgm")["dice_mean"] - 0.01
    assert numbers("tsgm", "inhouse")["dice_oracle_weights_mean"] > 0.8
    assert {numbers(row)["dice_oracle_weights_mean"] for row in ("tsgm_flair", "vae", "dpm_clf_flair")} == {None}


def test_two_runs_give_the_same_bytes(project):
    before = outputs()
    toys.search("tsgm")
    toys.weigh("tsgm")
    toys.evaluate("tsgm")
    assert before == outputs()
    assert len(before) == 4 + 2 * 5 + 8 + 2 * len(TABLES)


@pytest.mark.parametrize(("rule", "expected"), [("published", 0.44), ("uniform", 0.25)])
def test_other_weights(project, rule, expected):
    set_params("weights: searched", f"weights: {rule}")
    Path("models/weights/tsgm.json").unlink()
    seen = files.read_npz(RESIDUALS / "tsgm/test/tsgm.npz")
    only = np.zeros_like(seen["residual"])
    only[:, 3] = 1
    toys.residuals(project, residual=only)
    toys.weigh("tsgm")
    assert files.read_npz("predictions/tsgm/test/tsgm.npz")["map"].max() == pytest.approx(expected)


def test_the_validation_threshold_comes_from_calibrate(project):
    set_params("threshold: otsu", "threshold: validation")
    stage("calibrate", "tsgm", "tsgm")
    toys.evaluate("tsgm")
    chosen = files.read_json("models/thresholds/tsgm/tsgm.json")["threshold"]
    for population in ("test", "icts", "inhouse"):
        levels = pd.read_csv(f"scores/otsu/{population}/tsgm.csv")["threshold"]
        assert levels.unique() == pytest.approx([chosen], rel=1e-5)


def test_no_hit_at_all_gives_equal_weights_and_says_so(project, capsys):
    toys.residuals(project, population="val", residual=np.zeros((12, 4, 32, 32), np.float16))
    toys.search("tsgm")
    found = files.read_json("models/weights/tsgm.json")
    assert set(found["searched"].values()) == {0.25}
    assert (found["n_without_hit"], len(pd.read_csv("models/weights/tsgm.csv"))) == (4, 0)
    assert "warning: no weights find a tumour on any slice of tsgm" in capsys.readouterr().out


BROKEN = {
    "no residual": ({"drop": ("residual",)}, "found no residual, expected rows, modalities, residual, restored"),
    "other size": ({"residual": np.zeros((12, 4, 16, 16), "f2")}, r"residual has shape \(12, 4, 16, 16\), expected"),
    "other rows": ({"rows": np.arange(100, 112)}, "rows that are not in this split"),
    "modality": ({"modalities": np.array(["t1", "t1ce", "t2", "pd"])}, "modalities t1, t1ce, t2, pd, expected some of t1"),
    "modality twice": ({"modalities": np.array(["t1", "t1", "t2", "flair"])}, "each once"),
    "NaN": ({"residual": np.full((12, 4, 32, 32), np.nan, "f2")}, "NaN, infinity or a negative number in residual"),
    "negative": ({"residual": np.full((12, 4, 32, 32), -1, "f2")}, "NaN, infinity or a negative number in residual"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_residuals_are_one_sentence_and_leave_the_outputs(project, case):
    change, words = BROKEN[case]
    toys.residuals(project, population="val", **change)
    before = outputs()
    for act in (toys.search, toys.weigh):
        with pytest.raises(UserError, match=words) as error:
            act("tsgm")
        assert "\n" not in str(error.value)
        assert "residuals/tsgm/val/tsgm.npz" in str(error.value)
        assert "run the stage residuals_tsgm again" in str(error.value)
    assert before == outputs()


def test_predictions_and_residuals_must_be_of_the_same_slices(project):
    old = files.read_npz(RESIDUALS / "tsgm/test/tsgm.npz")
    toys.residuals(project, **{name: values if name == "modalities" else values[::2] for name, values in old.items()})
    with pytest.raises(UserError, match=r"other slices than in predictions/tsgm/test/tsgm\.npz.*run the stage weigh again"):
        toys.evaluate("tsgm")


def test_a_row_of_one_modality_has_no_weights_to_search(project):
    with pytest.raises(UserError, match="found one modality, expected two or more to weight; leave tsgm_flair out"):
        toys.search("tsgm_flair")


def test_slices_without_tumour_cannot_be_searched(project):
    old = files.read_npz(RESIDUALS / "tsgm/val/tsgm.npz")
    kept = {name: values if name == "modalities" else values[::2] for name, values in old.items()}
    toys.residuals(project, population="val", **kept)
    with pytest.raises(UserError, match="found no slice with tumour, expected one or more"):
        toys.search("tsgm")


@pytest.mark.parametrize("act", [toys.weigh, toys.evaluate])
def test_a_row_that_does_not_exist_is_named(project, act):
    with pytest.raises(UserError, match=r"test/nothing\.npz: no such file|found neither .*val/nothing\.npz"):
        act("nothing")
