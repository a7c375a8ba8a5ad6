"""DDMD's figures: separation by hand and against scikit-learn, which slices are shown, and the stage on toy predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import confusion_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring import bootstrap, ddmd_figures, ddmd_pictures

TABLES, PICTURES = ("separation", "masks"), ("masks", "separation", "sampling")
OUTPUTS = [f"plots/ddmd/{name}.csv" for name in TABLES] + [f"plots/ddmd/{name}.png" for name in PICTURES]
SCORES, STUDY = Path("models/discrepancy/scores.csv"), Path("predictions/ddmd/study.npz")


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.evaluate, lambda: toys.stage("figures_ddmd"))


@pytest.fixture
def project(template, copy_of):
    """The project after the figures."""
    return copy_of(template)


def test_scores_are_scaled_from_their_smallest_to_their_largest():
    assert ddmd_figures.unit(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert ddmd_figures.unit(np.full(3, 7.0)).tolist() == [0, 0, 0]


def test_densities_have_area_one_and_the_largest_value_is_in_the_last_bin():
    values, tumour = np.array([0.0, 0.1, 0.3, 1.0]), np.array([False, False, True, True])
    healthy, ill = ddmd_figures.densities(values, tumour, 4)
    assert healthy.tolist() == [4, 0, 0, 0]
    assert ill.tolist() == [0, 2, 0, 2]
    assert np.isnan(ddmd_figures.densities(values, np.zeros(4, bool), 4)[1]).all()


@pytest.mark.parametrize(("p", "q", "common", "chi2"), [
    ([2.0, 0.0], [2.0, 0.0], 1, 0),
    ([2.0, 0.0], [0.0, 2.0], 0, 1),
    ([2.0, 0.0], [1.0, 1.0], 0.5, 0.5 * (0.5**2 / 1.5 + 0.5**2 / 0.5)),  # shares 1, 0 against 0.5, 0.5
    ([np.nan] * 2, [1.0, 1.0], np.nan, np.nan),
])  # fmt: skip
def test_overlap_and_chi_square_by_hand(p, q, common, chi2):
    p, q = np.array(p), np.array(q)
    assert ddmd_figures.overlap(p, q) == pytest.approx(common, nan_ok=True)
    assert ddmd_figures.chi_square(p, q) == pytest.approx(chi2, nan_ok=True)
    assert ddmd_figures.chi_square(q, p) == pytest.approx(chi2, nan_ok=True)


def score_table(n=60):
    rng = np.random.default_rng(0)
    ill = rng.random(n) < 0.6
    made = {name: rng.normal(size=n) + ill * (name == "inter") for name in (*ddmd_figures.PANELS, *ddmd_figures.BESIDE)}
    return pd.DataFrame({"patient": np.repeat([f"p{i}" for i in range(n // 10)], 10), "tumour": ill.astype(int), **made})


def test_areas_under_the_curves_are_scikit_learns_and_scaling_does_not_change_them():
    table = score_table()
    resamples = bootstrap.draw(table["patient"].to_numpy(), 50, 0)
    found = ddmd_figures.separation(table, 5, resamples, 0.9).set_index("score")
    assert list(found.index) == [*ddmd_figures.PANELS, "z", "brain_mm2"]
    for name in ("inter", "intra_t1", "z"):
        assert found.loc[name, "auroc"] == pytest.approx(roc_auc_score(table["tumour"], table[name]))
        assert found.loc[name, "ap"] == pytest.approx(average_precision_score(table["tumour"], table[name]))
        assert found.loc[name, "auroc_lo"] < found.loc[name, "auroc"] < found.loc[name, "auroc_hi"]
    assert (found["prevalence"] == table["tumour"].mean()).all()
    assert (found["n_tumour"] + found["n_healthy"] == 60).all()
    moved = table.assign(inter=table["inter"] * 7 - 3)
    again = ddmd_figures.separation(moved, 5, resamples, 0.9).set_index("score")
    assert again.loc["inter", "overlap"] == pytest.approx(found.loc["inter", "overlap"])


def test_one_kind_of_slices_has_no_separation():
    table = score_table().assign(tumour=1)
    found = ddmd_figures.separation(table, 5, bootstrap.draw(table["patient"].to_numpy(), 10, 0), 0.9)
    assert found[["auroc", "auroc_lo", "overlap", "chi2"]].isna().all(axis=None)


def test_one_slice_of_each_third_by_area_and_of_another_patient_each():
    area = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    table = pd.DataFrame({"row": range(10), "patient": list("hhhabbbbbc"), "tumour": [0] + [1] * 9, "tumour_px": area})
    # thirds, largest first: 9 8 7 | 6 5 4 | 3 2 1, middles 8, 5, 2
    for patients, expected in (("hhhabbbbbc", [8, 5, 2]), ("hhhabcbbbb", [8, 5, 2]), ("hhhabbcbbb", [8, 6, 2])):
        assert ddmd_figures.terciles(table.assign(patient=list(patients))) == expected
    assert ddmd_figures.terciles(table[:3]) == [2, 1]
    assert ddmd_figures.terciles(table[:1]) == []


def test_the_stage_writes_tables_and_pictures(project):
    numbers = pd.read_csv("plots/ddmd/separation.csv").set_index("score")
    assert numbers.loc["inter", "auroc"] > numbers.loc["intra", "auroc"]
    assert (numbers["bins"] == 10).all()
    assert (numbers["n_tumour"] == 6).all()
    masks = pd.read_csv("plots/ddmd/masks.csv")
    assert masks.groupby("method", sort=False).size().to_dict() == dict.fromkeys(toys.ROWS, 3)
    assert masks["area"].tolist() == ["large", "medium", "small"] * 4
    first = masks[:3]
    assert first["tumour_mm2"].is_monotonic_decreasing
    assert (first["dice"] == 1).all()
    cimd = pd.read_csv("scores/confusion/cimd.csv").set_index("row")["dice"]
    assert masks["dice"][3:6].tolist() == cimd.loc[masks["row"][3:6]].tolist()
    for name in PICTURES:
        assert Path(f"plots/ddmd/{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_runs_give_the_same_bytes_and_the_mask_shows(project):
    first = [files.md5(path) for path in OUTPUTS]
    toys.stage("figures_ddmd")
    assert first == [files.md5(path) for path in OUTPUTS]
    toys.predict(project, "cimd", mask=np.zeros((12, 32, 32), np.uint8))
    toys.stage("figures_ddmd")
    again = [files.md5(path) for path in OUTPUTS]
    assert [a == b for a, b in zip(first, again)] == [True, True, False, True, True]


def test_the_scores_are_those_of_the_test_slices(project):
    slices = Slices.open("data/slices/common")
    table = ddmd_figures.scores(SCORES, slices)
    assert table["row"].tolist() == list(range(24, 36))
    assert table["tumour"].tolist() == [0, 1] * 6
    assert table["z"].tolist() == [0, 1, 2, 3] * 3
    assert table["brain_mm2"].tolist() == (slices.index["brain_px"][24:] * 9.0).tolist()
    raw = pd.read_csv(SCORES)
    assert table["intra_t2"].tolist() == raw["intra_t2"][24:].tolist()


def test_the_study_is_read_with_its_truth(project):
    found = ddmd_figures.study(STUDY, Slices.open("data/slices/common"))
    assert found.names == toys.VARIANTS
    assert found.completed.tolist() == toys.STEPS.tolist()
    assert found.truth.any()
    assert np.array_equal(found.x[0, -1] > 0.5, found.truth)
    assert found.label == "case3, z = 1 mm"


def test_the_picture_of_a_chain_says_how_far_each_state_is_and_whose_it_is(project):
    found = ddmd_figures.study(STUDY, Slices.open("data/slices/common"))
    axes = ddmd_pictures.sampling(found, {"mini": "DDMD-mini"}, "heading").axes
    assert [axis.get_title() for axis in axes[:5]] == ["T1", "T1ce", "T2", "FLAIR", "truth"]
    assert [axis.get_title() for axis in axes[5:10]] == ["0 steps", "300 steps", "700 steps", "1000 steps", ""]
    assert [axis.get_ylabel() for axis in axes[5::5]] == ["cimd", "DDMD-mini", "full", "light"]


def test_the_picture_of_masks_has_a_panel_for_each_method_and_as_many_lines_as_it_takes():
    names = {f"m{i}": f"Method {i}" for i in range(11)}
    picture = np.zeros((8, 8), bool)
    picture[2:5, 2:5] = True
    shown = ddmd_figures.Shown("a", np.ones((4, 8, 8)), picture, dict.fromkeys(names, picture), dict.fromkeys(names, 1.0))
    axes = ddmd_pictures.masks([shown, shown], names, "heading").axes
    assert len(axes) == 2 * 3 * 6  # two slices of three lines: inputs, six methods, five
    titles = [axis.get_title() for axis in axes[:18]]
    assert [t for t in titles if t] == ["T1", "T1ce", "T2", "FLAIR", "truth", *names.values()]


BROKEN_STUDY = {
    "no states": ({"drop": ("x",)}, "x is missing or has another shape"),
    "three axes": ({"x": np.zeros((4, 32, 32), np.float16)}, "x is missing or has another shape"),
    "other steps": ({"completed": np.arange(9)}, "is no study of one val slice"),
    "a test slice": ({"row": np.array([30])}, "row 30 with states of shape"),
    "other size": ({"x": np.zeros((4, 4, 16, 16), np.float16)}, "is no study of one val slice"),
}


@pytest.mark.parametrize("case", BROKEN_STUDY)
def test_a_study_that_does_not_fit_is_refused(project, case):
    change, words = BROKEN_STUDY[case]
    toys.change(STUDY, **change)
    with pytest.raises(UserError, match=words) as error:
        toys.stage("figures_ddmd")
    assert "\n" not in str(error.value)


def frame(**columns):
    return pd.read_csv(SCORES).assign(**columns)


@pytest.mark.parametrize(("made", "words"), [
    (lambda: frame().drop(columns="inter_t2"), "found no inter_t2, expected"),
    (lambda: frame()[1:], "its rows are not those of"),
    (lambda: frame(intra=np.nan), "found NaN or infinity"),
])  # fmt: skip
def test_scores_that_do_not_fit_are_refused(project, made, words):
    files.write_csv(SCORES, made())
    with pytest.raises(UserError, match=f"scores.csv: {words}"):
        toys.stage("figures_ddmd")


@pytest.mark.parametrize("path", [SCORES, STUDY, "predictions/ddmd/test/cimd.npz", "scores/confusion/unet_fair.csv"])
def test_a_missing_file_is_named(project, path):
    Path(path).unlink()
    with pytest.raises(UserError, match=f"{Path(path).name}: no such file"):
        toys.stage("figures_ddmd")


def test_a_method_without_masks_or_without_a_slice_is_named(project):
    old = files.read_npz("predictions/ddmd/test/cimd.npz")
    toys.predict(project, "cimd", **{name: values[:6] for name, values in old.items()})
    with pytest.raises(UserError, match=r"cimd.npz: found no row 3\d, expected the slices of the other methods"):
        toys.stage("figures_ddmd")
    toys.predict(project, "cimd", drop=("mask",))
    with pytest.raises(UserError, match=r"cimd.npz: found no mask"):
        toys.stage("figures_ddmd")


def test_a_graph_without_the_system_is_refused(project):
    files.write_text("conf/graph.yaml", "methods:\n  mmccd: {name: MMCCD, system: mmccd}\n")
    with pytest.raises(UserError, match="found no method of system ddmd"):
        toys.stage("figures_ddmd")
