"""TSGM's figures: numbers by hand, what is drawn where, and the stage on toy residuals of two cohorts and a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tsgm_figure_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.scoring import pictures, residuals, sheet, tsgm_album, tsgm_charts, tsgm_figures, tsgm_pictures, tsgm_study
from gliomap.scoring.summary import Evaluate
from gliomap.scoring.tsgm_figures import Restored, Scored, Shown
from gliomap.scoring.tsgm_study import Study
from scoring_toys import change

TABLES = ("scores", "differences", "weights", "snr", "levels")
STUDY, PLOTS = Path("predictions/tsgm/study.npz"), Path("plots/tsgm")
NAMES = {"cyclegan": "CycleGAN", "tsgm": "TSGM"}


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.score, toys.figures)


@pytest.fixture
def project(template, copy_of):
    """The project after the figures."""
    return copy_of(template)


def val():
    return residuals.populations("common", ("val",), ())[0]


def square(size=16, low=4, high=10):
    made = np.zeros((size, size), bool)
    made[low:high, low:high] = True
    return made


def study(**changes):
    """Two slices, two modalities of weights 1/4 and 3/4, residual 1 in the tumour; brain everywhere but the first line."""
    truth = np.stack([square(), square(high=8)])
    brain = np.ones(truth.shape, bool)
    brain[:, 0] = False
    residual = np.repeat(truth[None, :, None], 2, axis=2).astype(np.float32)
    images, none = residual[0], np.zeros((3, *residual.shape[1:]), np.float32)
    made = Study(
        ("a\nz = 1 mm", "b\nz = 2 mm"), ("t1", "flair"), images, truth, brain, np.array([0.1]), residual, np.array([10]),
        residual, none[:1], none, np.array([0.25, 0.75]),
    )  # fmt: skip
    return replace(made, **changes)


def test_a_residual_that_is_the_tumour_has_dice_one_and_outside_of_the_brain_nothing_counts():
    found = study()
    dice, auprc = tsgm_study.scores(found, found.snr_residual, 0)
    assert dice.tolist() == [[1, 1]]
    assert auprc.tolist() == [[1, 1]]
    outside = found.snr_residual.copy()
    outside[..., 0, :] = 5
    assert tsgm_study.scores(found, outside, 0)[0].tolist() == [[1, 1]]
    shifted = np.roll(found.snr_residual, 3, axis=-1)  # 6 x 3 of 6 x 6 pixels, 4 x 1 of 4 x 4
    assert tsgm_study.scores(found, shifted, 0)[0].tolist() == [[0.5, 0.25]]
    assert tsgm_study.scores(found, found.snr_residual, 16)[0].tolist() == [[1, 0]]  # the filter takes the 4 x 4 pixels


def test_maps_are_weighted_sums_of_the_modalities():
    values = np.zeros((3, 2, 2, 16, 16), np.float32)
    values[1, 0, 0, 5, 5], values[1, 0, 1, 5, 5] = 0.4, 0.8
    maps = study().maps(values)
    assert maps.shape == (3, 2, 16, 16)
    assert maps[1, 0, 5, 5] == pytest.approx(0.25 * 0.4 + 0.75 * 0.8)
    assert np.count_nonzero(maps) == 1


def test_a_run_that_restores_nothing_has_an_empty_map_and_one_that_removes_the_tumour_has_it():
    found = study()
    runs = np.stack([found.images, np.zeros_like(found.images)])
    by_run = tsgm_study.runs(replace(found, runs_restored=runs))
    assert not by_run[0].any()
    assert np.array_equal(by_run[1], found.truth)


def test_a_sweep_averages_over_the_slices():
    table = tsgm_study.sweep("snr", np.array([0.1, 0.2]), np.array([[0.2, 0.6], [1, 0]]), np.array([[0.5, 0.7], [0.8, 1]]))
    assert table.iloc[0].to_dict() == pytest.approx(
        {"snr": 0.1, "dice": 0.4, "dice_lowest": 0.2, "dice_highest": 0.6, "auprc_mask": 0.6, "n": 2}
    )
    assert table["dice"].tolist() == [0.4, 0.5]


def scored(**dice):
    """Four slices of two patients, the last one healthy, with these Dice by row."""
    base = {"row": range(4), "case": list("aabb"), "patient": list("aabb"), "z": range(4), "tumour": [1, 1, 1, 0]}
    tables = {k: pd.DataFrame(base | {"dice": v, "auprc_mask": 0.5, "auprc_map": 0.5}) for k, v in dice.items()}
    return Scored(None, tables)


def test_differences_are_paired_by_slice_and_resampled_by_patient():
    found = scored(tsgm=[0.9, 0.9, 0.5, np.nan], cyclegan=[0.7, 0.7, 0.6, np.nan])
    table = tsgm_figures.differences(found, NAMES, Evaluate(500, 0.95), 0)
    assert table[["method", "n", "n_patients"]].values.tolist() == [["CycleGAN", 3, 2]]
    row = table.iloc[0]
    assert row["difference"] == pytest.approx(0.1)
    assert (row["difference_lo"], row["difference_hi"]) == pytest.approx((-0.1, 0.2))  # only one patient, or the other
    assert tsgm_figures.differences(scored(cyclegan=[1, 1, 1, np.nan]), NAMES, Evaluate(9, 0.95), 0).empty


def test_boxes_are_of_tumour_slices():
    table = tsgm_figures.scores_by_method(scored(tsgm=[0.9, 0.8, 0.5, np.nan], cyclegan=[0.7, np.nan, 0, 1]), NAMES)
    assert table["method"].tolist() == ["TSGM"] * 3 + ["CycleGAN"] * 2
    assert table["dice"].tolist() == [0.9, 0.8, 0.5, 0.7, 0]
    figure = tsgm_charts.boxes(table, "heading")
    assert [axis.get_xlabel() for axis in figure.axes] == list(tsgm_charts.BOXES.values())
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.733", "0.350"]


def test_mean_weights_by_hand():
    table = pd.DataFrame({"row": [1, 2], "t1": [0.0, 0.2], "flair": [1.0, 0.8]})
    found = tsgm_figures.mean_weights({"tsgm": table}, NAMES)
    assert found["modality"].tolist() == ["t1", "flair"]
    assert found["weight"].tolist() == pytest.approx([0.1, 0.9])
    assert found["sd"].tolist() == pytest.approx([0.2 / 2**0.5] * 2)
    assert found["published"].tolist() == [0.07, 0.44]
    figure = tsgm_charts.histograms({"tsgm": table}, NAMES, "heading")
    assert figure.axes[0].get_title() == "TSGM, n = 2"
    assert "T1: 0.10 (0.07)" in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_panel_is_where_it_belongs_and_an_empty_mask_draws_nothing():
    page = sheet.Sheet(2, 3, "heading")
    page.grey((1, 2), square().astype(float))
    left, right, bottom, top = page.axes.images[0].get_extent()
    assert (2 < left < right < 3, 1 < top < bottom < 2) == (True, True)
    page.mask((0, 0), np.zeros((4, 4), bool), "red")
    page.outline((0, 0), np.ones((4, 4), bool), "red")
    assert len(page.axes.images) == 1
    assert not page.axes.collections
    assert page.axes.get_ylim() == (2, 0)  # rows from the top, whatever has been drawn


def shown(keys, modalities=MODALITIES):
    image = np.random.default_rng(0).uniform(size=(len(modalities), 16, 16))
    by_row = [dict.fromkeys(keys, value) for value in (image[0], square(), 0.5, 0.9)]
    return Shown("case\nz = 1 mm", modalities, image, square(), *by_row)


def test_a_row_that_a_cohort_cannot_have_says_so_in_its_place():
    found = texts(tsgm_pictures.maps([shown(NAMES), shown(["tsgm"], ("t1ce",))], NAMES, "heading"))
    assert found[:4] == ["input", "", "CycleGAN", "TSGM"]
    assert found.count(tsgm_pictures.ABSENT) == 1
    assert found.count("0.50") == 3
    assert [text for text in found if text in ("T1", "T1ce", "T2", "FLAIR")] == ["T1", "T1ce", "T2", "FLAIR", "T1ce"]


def test_a_figure_of_no_slices_is_a_heading(tmp_path):
    figure = tsgm_pictures.maps([], NAMES, "nothing here")
    pictures.save(figure, tmp_path / "a.png", 40)
    assert figure.get_suptitle() == "nothing here"
    assert not figure.axes[0].images


def test_maps_of_healthy_slices_have_the_colours_of_all_slices():
    images = tsgm_pictures.healthy([shown(NAMES)], NAMES, "heading").axes[0].images
    heat = [image for image in images if image.get_cmap().name == sheet.HEAT and image.get_array().ndim == 2]
    assert [image.get_clim() for image in heat] == [(0, 0.9)] * 2


def test_restorations_are_drawn_for_the_modalities_that_a_row_has():
    image = np.ones((2, 16, 16)) * square()
    by_row = {"cyclegan": {"t1": image[0], "flair": image[1]}, "tsgm": {"flair": image[1]}}
    figure = tsgm_pictures.restorations(Restored("case", ("t1", "flair"), image, square(), by_row, by_row), NAMES, "heading")
    assert len(figure.axes[0].images) == 2 * 2 + 2 * 3  # the input twice a modality, and two panels a restoration
    assert {"T1", "FLAIR", "residual"} <= set(texts(figure))


def test_the_pictures_of_the_study_name_levels_and_runs():
    found = study()
    assert texts(tsgm_pictures.levels(found, "heading"))[:2] == ["FLAIR", "N = 10"]
    names = texts(tsgm_pictures.runs(found, tsgm_study.runs(found), "heading"))
    assert [name.replace("\n", " ") for name in names[:6]] == [
        "input", "run 1", "run 2", "run 3", "mean", "standard deviation"
    ]  # fmt: skip
    assert f"brain {36 / 240:.3f}" in names


def test_the_stage_writes_every_table_and_picture(template):
    plots = template / PLOTS
    wanted = {f"{name}.csv" for name in TABLES} | {f"{name}.png" for name in tsgm_album.CAPTIONS}
    assert {path.name for path in plots.iterdir()} == wanted
    assert all((plots / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in tsgm_album.CAPTIONS)
    made = {name: pd.read_csv(plots / f"{name}.csv") for name in TABLES}
    assert made["scores"].groupby("method").size().to_dict() == dict.fromkeys(made["scores"]["method"].unique(), 6)
    own = pd.read_csv(template / "scores/otsu/test/vae.csv")
    assert made["scores"].loc[made["scores"]["method"] == "VAE", "dice"].tolist() == own["dice"].dropna().tolist()
    assert made["differences"]["method"].tolist() == ["CycleGAN", "VAE", "CycleGAN, FLAIR only", "DPM, FLAIR only"]
    assert made["weights"].groupby("method")["weight"].sum().tolist() == pytest.approx([1, 1])
    assert made["snr"]["snr"].tolist() == list(toys.SNR)
    assert made["snr"]["dice"].idxmax() == 1
    assert made["levels"]["levels"].tolist() == list(toys.LEVELS)
    assert made["levels"]["dice"].idxmin() == 0


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(project):
    outputs = sorted(PLOTS.iterdir())
    first = [files.md5(path) for path in outputs]
    toys.figures()
    assert first == [files.md5(path) for path in outputs]


def test_the_study_is_read_with_its_truth_and_the_weights_of_the_rule(project):
    found = tsgm_study.read(val(), "published")
    assert found.weights.tolist() == pytest.approx([0.07, 0.19, 0.30, 0.44])
    assert found.truth.any((1, 2)).all()
    assert found.labels[0].endswith(" mm")
    assert tsgm_study.read(val(), "uniform").weights.tolist() == [0.25] * 4
    assert not np.array_equal(tsgm_study.read(val(), "searched").weights, found.weights)


BROKEN_STUDY = {
    "no runs": ({"drop": ("runs_restored",)}, "runs_restored is missing or has another shape"),
    "four axes": ({"snr_residual": np.zeros((2, 4, 32, 32), np.float16)}, "snr_residual is missing or has another shape"),
    "other values": ({"snr": np.array([0.1])}, "found snr_residual has another shape"),
    "test slices": ({"rows": np.array([24, 25])}, "found row 24 is another's"),
    "other size": ({"images": np.zeros((2, 4, 16, 16), np.float16)}, "found images has another shape"),
}


@pytest.mark.parametrize("case", BROKEN_STUDY)
def test_a_study_that_does_not_fit_is_refused(project, case):
    changes, words = BROKEN_STUDY[case]
    change(STUDY, **changes)
    with pytest.raises(UserError, match=words) as error:
        tsgm_study.read(val(), "uniform")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["scores/otsu/test/vae.csv", "predictions/tsgm/test/vae.npz", STUDY])
def test_a_missing_file_is_named_and_no_figure_is_written(project, path):
    Path(path).unlink()
    for old in PLOTS.iterdir():
        old.unlink()
    with pytest.raises(UserError, match=f"{Path(path).name}: no such file"):
        toys.figures()
    assert not list(PLOTS.iterdir())


def test_without_weights_or_with_other_columns_the_file_is_named(project):
    files.write_csv("models/weights/tsgm.csv", pd.DataFrame({"row": [1], "dice": [0.5]}))
    entries = [type("E", (), {"key": key}) for key in toys.ROWS]
    with pytest.raises(UserError, match=r"tsgm.csv: found row, dice, expected row and modalities"):
        tsgm_figures.optima(entries)
    for path in Path("models/weights").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="models/weights: found no weights"):
        tsgm_figures.optima(entries)


def test_scores_of_other_slices_are_refused(project):
    table = pd.read_csv("scores/otsu/test/tsgm.csv")
    files.write_csv("scores/otsu/test/tsgm.csv", table[1:])
    with pytest.raises(UserError, match=r"tsgm.csv: found other slices than cyclegan has"):
        toys.figures()


def test_a_graph_without_the_system_is_refused(project):
    files.write_text("conf/graph.yaml", "methods:\n  mmccd: {name: MMCCD, system: mmccd}\n")
    with pytest.raises(UserError, match="found no method of system tsgm"):
        toys.figures()
