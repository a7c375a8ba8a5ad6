"""TSGM's numbers: closed forms, scikit-learn and hand-computed slices (TSGM spec 6, 11.6, 11.7)."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve

import scoring_toys as toys
from gliomap.scoring import counts, otsu_metrics
from gliomap.scoring.counts import Counts
from gliomap.scoring.otsu_metrics import NUMBERS
from gliomap.scoring.summary import Evaluate
from scoring_toys import disc

EVALUATE = Evaluate(100, 0.9)


def scored(inputs, levels=0.5, component_px=0, oracle=np.nan, component_mm2=0.0):
    """(table, metrics) at the same level for every slice."""
    n = len(inputs.maps)
    table = otsu_metrics.table(inputs, np.full(n, levels), component_px, np.full(n, oracle))
    return table, otsu_metrics.metrics(table, inputs, component_mm2, EVALUATE, seed=0)


def perfect():
    inputs = toys.inputs()
    return replace(inputs, maps=inputs.truth.astype(np.float32))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
def test_auprc_of_a_mask_is_scikit_learns_trapezoid(share):
    rng = np.random.default_rng(1)
    truth, mask = rng.random((4, 20, 20)) < 0.1, rng.random((4, 20, 20)) < share
    mask[:2] |= truth[:2] & (rng.random((2, 20, 20)) < 0.7) & (share > 0)
    found = otsu_metrics.auprc_mask(counts.count(mask, truth))
    for i in range(4):
        precision, recall, _ = precision_recall_curve(truth[i].ravel(), mask[i].ravel().astype(float))
        assert found[i] == pytest.approx(auc(recall, precision), abs=1e-6)


def test_auprc_of_a_mask_by_hand():
    cells = Counts(*(np.array(v) for v in ([6, 0, 10], [2, 0, 0], [4, 10, 0], [88, 90, 90])))
    expected = [(0.75 + 0.6 + 0.1 * 0.4) / 2, (1 + 0.1) / 2, 1]
    np.testing.assert_allclose(otsu_metrics.auprc_mask(cells), expected)


def test_the_one_sided_distance_punishes_what_is_missed_and_nothing_else():
    truth = disc(4)
    assert otsu_metrics.onesided(truth, truth) == 0
    assert otsu_metrics.onesided(np.ones_like(truth), truth) == 0
    assert np.isnan(otsu_metrics.onesided(np.zeros_like(truth), truth))
    point = np.zeros((32, 32), bool)
    point[10, 10] = True
    line = np.zeros((32, 32), bool)
    line[10, 10:21] = True
    assert otsu_metrics.onesided(point, line) == pytest.approx(9.5)
    assert otsu_metrics.onesided(line, point) == 0


def test_a_perfect_map_scores_one_and_healthy_slices_have_no_numbers():
    inputs = perfect()
    table, n = scored(inputs)
    assert {n[f"{name}_mean"] for name in ("dice", "iou", "precision", "recall", "auprc_mask", "auprc_map")} == {1}
    assert (n["dice_sd"], n["hd95_onesided_px_mean"], n["hd95_mm_mean"], n["n_no_distance"]) == (0, 0, 0, 0)
    assert (n["alarm_rate_healthy"], n["alarm_rate_tumour"]) == (0, 1)
    assert (n["n_slices"], n["n_tumour_slices"], n["n_healthy_slices"], n["n_patients"]) == (24, 12, 12, 6)
    assert n["n_patients_tumour"] == len(set(inputs.index["patient"][inputs.scored]))
    assert (n["dice_mean_low"], n["dice_mean_high"]) == (1, 1)
    assert table.loc[table["tumour"] == 0, list(NUMBERS)].isna().all(axis=None)
    assert np.isnan(n["dice_oracle_weights_mean"])


def test_means_and_deviations_are_over_tumour_slices():
    inputs = toys.inputs()
    table, n = scored(inputs, levels=3.0, oracle=0.9)
    ill = table[table["tumour"] == 1]
    for name in NUMBERS:
        assert n[f"{name}_mean"] == pytest.approx(ill[name].mean(), nan_ok=True)
        assert n[f"{name}_sd"] == pytest.approx(ill[name].std(ddof=1), nan_ok=True)
    assert 0 < n["dice_mean_low"] <= n["dice_mean"] <= n["dice_mean_high"] < 1
    assert n["dice_sd"] > 0.01
    for i in ill.index:
        area = average_precision_score(inputs.truth[i].ravel(), inputs.maps[i].ravel())
        assert table["auprc_map"][i] == pytest.approx(area, abs=1e-6)


def test_an_empty_prediction_has_no_distance_and_counts_everywhere_else():
    inputs = perfect()
    maps = inputs.maps.copy()
    first = np.flatnonzero(inputs.scored)[0]
    maps[first] = 0
    table, n = scored(replace(inputs, maps=maps))
    line, prevalence = table.loc[first], inputs.truth[first].mean()
    assert (line["dice"], line["iou"], line["precision"], line["recall"]) == (0, 0, 0, 0)
    assert line["auprc_mask"] == pytest.approx((1 + prevalence) / 2)
    assert np.isnan(line["hd95_mm"])
    assert np.isnan(line["hd95_onesided_px"])
    assert n["n_no_distance"] == 1
    assert n["hd95_mm_mean"] == 0
    assert n["dice_mean"] == pytest.approx(11 / 12)
    assert n["alarm_rate_tumour"] == pytest.approx(11 / 12)


def test_the_component_filter_and_the_number_without_it():
    inputs = perfect()
    area = inputs.truth.sum((1, 2))
    limit = int(np.sort(area[inputs.scored])[3])
    lost = (area[inputs.scored] <= limit).mean()
    table, n = scored(inputs, component_px=limit, component_mm2=(limit + 0.5) * toys.PIXEL_MM**2)
    assert n["dice_mean"] == pytest.approx(1 - lost)
    assert n["dice_nofilter_mean"] == 1
    assert n["share_below_component"] == pytest.approx(lost)
    assert (table["predicted_px"] == np.where(area > limit, area, 0)).all()


def test_alarms_on_healthy_slices_are_counted():
    inputs = perfect()
    maps = inputs.maps.copy()
    maps[np.flatnonzero(~inputs.tumour)[:3], 0, 0] = 1
    _, n = scored(replace(inputs, maps=maps))
    assert n["alarm_rate_healthy"] == pytest.approx(3 / 12)
    assert n["dice_mean"] == 1


def test_one_slice_has_no_deviation_and_no_healthy_slice_no_rate():
    inputs = perfect()
    at = np.flatnonzero(inputs.scored)[:1]
    arrays = {k: v[at] for k, v in vars(inputs).items() if isinstance(v, np.ndarray)}
    _, n = scored(replace(inputs, index=inputs.index.iloc[at].reset_index(drop=True), **arrays))
    assert n["dice_mean"] == 1
    assert np.isnan(n["dice_sd"])
    assert np.isnan(n["alarm_rate_healthy"])
