"""AnoFPDM's figures: numbers by hand, and the stage on toy predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixed_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.scoring import bootstrap, forward_figures, mixed_inputs
from gliomap.scoring.mixed_inputs import Predicted
from gliomap.scoring.mixed_metrics import Truth

TABLES = ("steps", "guidance", "errors_healthy", "errors_unhealthy", "divergence")
PICTURES = ("curves", "strip", "masks")
OUTPUTS = [f"plots/anofpdm/{name}.csv" for name in TABLES] + [f"plots/anofpdm/{name}.png" for name in PICTURES]


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.decide, lambda: toys.evaluate("anofpdm_ddim"), lambda: toys.stage("figures_anofpdm"))


@pytest.fixture
def finished(template, copy_of):
    """The project after the figures."""
    return copy_of(template)


def predicted(**arrays) -> Predicted:
    n = len(arrays["first"]) if "first" in arrays else len(next(iter(arrays.values())))
    return Predicted(Path("x.npz"), pd.DataFrame({"row": np.arange(n) * 3}), arrays, n)


def test_error_curves_are_mean_and_sd_over_the_slices_asked_for():
    curve = np.array([[1, 2], [3, 6], [50, 50]], np.float32)
    found = predicted(curve_h=curve, curve_ref=curve * 2, steps=np.array([4, 9]))
    table = forward_figures.error_curves(found, np.array([True, True, False]))
    assert table["step"].tolist() == [4, 9]
    assert table["guided"].tolist() == [2, 4]
    assert table["guided_sd"].tolist() == [1, 2]
    assert table["reference"].tolist() == [4, 8]
    assert forward_figures.error_curves(found, np.zeros(3, bool))["guided"].isna().all()


def test_the_scaled_divergence_is_cut_off_at_one_in_each_modality():
    largest = np.array([[0.1, 0.1], [0.4, 0.1], [0.0, 0.0]])
    assert forward_figures.scaled_divergence(largest, np.array([0.2, 0.1])).tolist() == [0.75, 1, 0]
    assert forward_figures.scaled_divergence(largest, np.array([0.0, 0.1])).tolist() == [0.5, 0.5, 0]


def test_divergence_against_area_with_pearsons_r():
    largest = np.array([1, 2, 3, 9, 4.0])[:, None, None].repeat(2, 2)
    ill = np.array([True, True, True, False, True])
    table = forward_figures.divergence(
        predicted(divergence=largest), {"m_max": [[4.0, 4.0]]}, np.array([100, 200, 300, 0, 350]), ill
    )
    assert table["row"].tolist() == [0, 3, 6, 12]
    assert table["tumour_cm2"].tolist() == [1, 2, 3, 3.5]
    assert table["pearson_r"].iloc[0] == pytest.approx(np.corrcoef([1, 2, 3, 3.5], [0.25, 0.5, 0.75, 1])[0, 1])
    few = forward_figures.divergence(predicted(divergence=largest), {"m_max": [[4.0, 4.0]]}, np.arange(5), np.arange(5) < 2)
    assert few["pearson_r"].isna().all()


def test_shares_of_the_end_step_are_positions_of_levels():
    at = forward_figures.positions(np.array([4, 9, 14, 19]), 14.0)
    assert [at[str(share)] for share in (0.1, 0.3, 0.6, 0.7, 0.9, 1.0)] == [0, 0, 0, 1, 1, 2]
    assert at["T"] == 3


def test_the_two_readings_of_figure_3a_differ_where_they_should():
    tumour = np.zeros((2, 6, 6), bool)
    tumour[0, 2, 2] = True  # the second slice has none and does not count
    right, wrong = tumour[0].astype(float), np.roll(tumour[0], 1).astype(float)
    stack = np.zeros((2, 3, 6, 6))
    stack[0] = [right, wrong * 0.5, wrong]  # one at a time: right, wrong, wrong; aggregated: right, right, wrong is ahead
    study = predicted(stack_h=stack, steps=np.array([0, 1, 2]), end=np.full((2, 2), 1))
    truth = Truth(tumour, np.ones_like(tumour), np.array([True, False]), 1.0)
    table = forward_figures.steps(study, truth, 1).set_index(["method", "share"])
    assert table["n"].unique().tolist() == [1]
    assert table.loc[("aggregate", "0.9"), "auprc"] == table.loc[("single step", "0.9"), "auprc"] == 1
    assert table.loc[("aggregate", "1.0"), "auprc"] == 1
    assert table.loc[("single step", "1.0"), "auprc"] < 0.1
    assert table.loc[("aggregate", "T"), "auprc"] == 0.5
    assert len(table) == 22


def test_guidance_uses_the_decisions_of_each_weight():
    maps = np.zeros((2, 2, 4, 4), np.float32)
    maps[0, :, :2, :2] = 1
    tumour = maps[:, 0] > 0
    found = Predicted(Path("x"), pd.DataFrame({"row": [0, 1]}), {
        "whole": maps, "w": np.array([2.0, 1.2]), "quantiles": np.full((2, 2, 2, 101), 1.0),
        "divergence": np.ones((2, 2, 2)), "cosine": np.array([[0.1, 0.1], [0.9, 0.9]]),
    }, 2)  # fmt: skip
    chosen = {"kind": "forward", "w": [2.0, 1.2], "tau": [0.5, 0.0], "m_max": [[1, 1], [1, 1]]}
    truth = Truth(tumour, np.ones_like(tumour), np.array([True, False]), 1.0)
    table = forward_figures.guidance(found, chosen, truth, 0, (bootstrap.draw(np.array(["a", "b"]), 20, 0), 0.95))
    assert table["w"].tolist() == [1.2, 2.0]  # with tau 0 both slices look healthy
    assert table["dice_mixed"].tolist() == pytest.approx([0.5, 1], abs=1e-5)
    assert table["accuracy_image"].tolist() == [0.5, 1]
    assert table["specificity_healthy_slices"].tolist() == [1, 1]


def test_the_stage_writes_tables_and_pictures(finished):
    tables = {name: pd.read_csv(f"plots/anofpdm/{name}.csv") for name in TABLES}
    assert tables["guidance"]["w"].tolist() == sorted(toys.W)
    numbers = files.read_json("metrics/mixed/anofpdm_ddim.json")
    own = tables["guidance"].set_index("w").loc[toys.W[0]]
    for name in ("dice_mixed", "dice_mixed_lo", "accuracy_image", "specificity_healthy_slices"):
        assert own[name] == pytest.approx(numbers[name], rel=1e-5)
    assert tables["errors_unhealthy"]["guided"].mean() > tables["errors_healthy"]["guided"].mean()
    assert len(tables["divergence"]) == tables["steps"]["n"].max() == 6
    assert (tables["divergence"]["divergence"] <= 1).all()
    assert tables["divergence"]["pearson_r"].iloc[0] > 0.5  # the toy's divergence grows with area
    assert tables["steps"]["share"].tolist()[:11] == [*map(str, forward_figures.SHARES), "T"]
    for name in PICTURES:
        assert Path(f"plots/anofpdm/{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(finished):
    first = [files.md5(path) for path in OUTPUTS]
    toys.stage("figures_anofpdm")
    assert first == [files.md5(path) for path in OUTPUTS]


@pytest.mark.slow
def test_a_study_in_any_order_is_the_same_study(finished):
    first = files.md5("plots/anofpdm/steps.csv")
    old = files.read_npz("predictions/anofpdm/study_ddim.npz")
    back = {name: v if name == "steps" else v[::-1] for name, v in old.items()}
    toys.write(finished, "anofpdm_ddim", "study", **back)
    toys.stage("figures_anofpdm")
    assert first == files.md5("plots/anofpdm/steps.csv")


@pytest.mark.parametrize(
    "path", ["predictions/anofpdm/study_ddim.npz", "predictions/anofpdm/test/ddib.npz", "models/decisions/ddib.json"]
)
def test_a_missing_file_is_named(finished, path):
    Path(path).unlink()
    with pytest.raises(UserError, match=f"{Path(path).name}: no such file"):
        toys.stage("figures_anofpdm")


def test_a_study_with_other_shapes_is_refused(finished):
    study = files.read_npz(toys.STUDY)
    files.write_npz(toys.STUDY, **study | {"x_h": np.zeros((12, toys.STEPS + 1, 32, 32), np.float16)})
    with pytest.raises(UserError, match=r"study_ddim.npz: x_h has shape"):
        toys.stage("figures_anofpdm")


def test_a_row_that_lacks_a_slice_of_the_picture_is_refused(finished):
    old = files.read_npz("predictions/anofpdm/test/ddib.npz")
    shown = mixed_inputs.Predicted(Path("p.npz"), pd.DataFrame({"row": old["rows"][1:]}), {}, 12)
    with pytest.raises(UserError, match="found no row 24"):
        shown.only(old["rows"][:2])
