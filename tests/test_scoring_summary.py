"""From slices to numbers with intervals: by hand, bootstrap theory, populations and what is left out of them."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import scoring_toys as toys
from gliomap.scoring import bootstrap, curves, masks, per_slice, summary
from gliomap.scoring.summary import Evaluate

EVALUATE = Evaluate(replicates=400, confidence=0.9)


def score(x, threshold=1.5, seed=1, evaluate=EVALUATE):
    predictions = {
        "": masks.segment(x.maps, x.region, threshold),
        "_oracle": masks.segment(x.maps, x.region, threshold + 0.2),
    }
    table = per_slice.table(x, predictions)
    return table, *summary.metrics(table, x, tuple(predictions), evaluate, seed)


@pytest.fixture(scope="module")
def scored():
    x = toys.inputs(patients=8, slices=6)
    return x, *score(x, threshold=float(np.quantile(x.maps, 0.93)))


def test_slice_means_and_pooled_ratios_are_those_of_the_table(scored):
    _x, table, numbers, _ = scored
    tumour = table[table["tumour"] == 1]
    assert numbers["dice_slice_tumour"] == pytest.approx(tumour["dice"].mean())
    assert numbers["iou_slice_tumour_oracle"] == pytest.approx(tumour["iou_oracle"].mean())
    tp, fp, fn = (table[c].sum() for c in ("tp", "fp", "fn"))
    assert numbers["dice_pooled"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert numbers["precision_pooled"] == pytest.approx(tp / (tp + fp))
    assert (table[["tp", "fp", "fn", "tn"]].sum(axis=1) == toys.SIZE**2).all()
    healthy = table[table["tumour"] == 0]
    assert numbers["false_positive_rate_healthy"] == pytest.approx((healthy["fp"] > 0).mean())
    assert numbers["false_positive_area_healthy_mm2"] == pytest.approx(healthy["fp"].mean() * toys.PIXEL_MM**2)


def test_pooled_areas_are_those_of_scikit_learn(scored):
    x, _, numbers, _ = scored
    score, truth = x.maps[x.brain], x.truth[x.brain]
    assert numbers["auprc_pooled_brain"] == pytest.approx(average_precision_score(truth, score), abs=1e-4)
    assert numbers["auroc_pooled_brain"] == pytest.approx(roc_auc_score(truth, score), abs=1e-5)
    assert numbers["prevalence_pooled_brain"] == pytest.approx(truth.mean())
    score = (x.maps * x.region).ravel()
    assert numbers["auroc_pooled_whole_image"] == pytest.approx(roc_auc_score(x.truth.ravel(), score), abs=1e-5)


def test_every_interval_holds_its_value_and_every_number_with_an_interval_has_both_ends(scored):
    _, _, numbers, _ = scored
    named = [k[:-3] for k in numbers if k.endswith("_lo")]
    assert len(named) > 40
    for name in named:
        assert numbers[f"{name}_lo"] <= numbers[name] + 1e-3, name
        assert numbers[f"{name}_hi"] >= numbers[name] - 1e-3, name


def test_what_is_left_out_is_counted():
    x = toys.inputs(patients=5, slices=4)
    maps, truth, brain = x.maps.copy(), x.truth.copy(), x.brain.copy()
    tumour = np.flatnonzero(x.tumour)
    maps[tumour[:3]] = 0  # nothing predicted
    truth[tumour[3]] = False  # labelled, but lost on the grid
    brain[tumour[4]] &= ~truth[tumour[4]]  # no tumour inside the brain
    table, numbers, _ = score(replace(x, maps=maps, truth=truth, brain=brain))
    assert numbers["n_tumour_slices"] == len(tumour) - 1
    assert numbers["n_excluded_tumour_lost_on_grid"] == 1
    assert numbers["n_excluded_no_tumour_in_brain"] == 1
    assert numbers["n_excluded_empty_prediction"] == 3
    assert numbers["n_distance_slices"] == len(tumour) - 4
    assert (table["dice"][tumour[:3]] == 0).all()
    used = table.loc[tumour, "hd95_pooled_mm"].dropna()
    assert numbers["hd95_pooled_mm"] == pytest.approx(used.mean())
    penalty = np.hypot(toys.SIZE, toys.SIZE)
    expected = (table.loc[tumour, "assd_mean_of_directed_px"].sum() + 3 * penalty) / (len(tumour) - 1)
    assert numbers["assd_mean_of_directed_px_penalised"] == pytest.approx(expected)


def test_without_healthy_slices_or_predictions_numbers_are_absent_not_wrong():
    x = toys.inputs(patients=3, slices=4)
    keep = x.tumour
    parts = {k: getattr(x, k)[keep] for k in ("maps", "truth", "brain", "region", "tumour", "image_score")}
    x = replace(x, index=x.index[keep].reset_index(drop=True), **parts)
    _, numbers, _ = score(x, threshold=1e9)
    absent = ("false_positive_rate_healthy", "auroc_image", "hd95_pooled_mm", "assd_pooled_mm_oracle", "precision_pooled")
    assert all(np.isnan(numbers[name]) and np.isnan(numbers[f"{name}_hi"]) for name in absent)
    assert numbers["dice_slice_tumour"] == numbers["recall_pooled"] == 0


def test_a_perfect_map_reaches_the_ceilings():
    x = toys.inputs(patients=6, erode_px=6.0)
    x = replace(x, maps=x.truth.astype(np.float32), image_score=x.truth.any((1, 2)).astype(np.float32))
    _, numbers, (recall, precision) = score(x, threshold=0.5)
    assert numbers["recall_slice_tumour"] == pytest.approx(numbers["recall_ceiling"])
    assert numbers["recall_pooled"] == pytest.approx(numbers["recall_ceiling_pooled"])
    assert numbers["dice_slice_tumour"] == pytest.approx(numbers["dice_ceiling"])
    assert numbers["recall_ceiling"] < 1
    assert numbers["auprc_pooled_brain"] == numbers["auroc_image"] == numbers["precision_pooled"] == 1
    assert precision[0] == recall[0] == 1


def test_terciles_are_thirds_of_the_tumour_slices(scored):
    _, table, numbers, _ = scored
    sizes = [numbers[f"n_tumour_slices_{s}"] for s in summary.SIZES]
    assert sum(sizes) == numbers["n_tumour_slices"]
    assert max(sizes) - min(sizes) <= 3
    small = (table["tumour"] == 1) & (table["tumour_mm2"] <= numbers["tercile_mm2_lower"])
    assert numbers["dice_slice_tumour_small"] == pytest.approx(table["dice"][small].mean())


def test_equal_seeds_give_equal_numbers_another_moves_the_intervals_only(scored):
    x, _table, numbers, _ = scored
    threshold = float(np.quantile(x.maps, 0.93))
    again, other = score(x, threshold)[1], score(x, threshold, seed=2)[1]
    assert numbers == again
    assert numbers["dice_slice_tumour_lo"] != other["dice_slice_tumour_lo"]
    assert numbers["dice_slice_tumour"] == other["dice_slice_tumour"]


def test_interval_of_a_mean_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    patients, slices = 60, 5
    value = np.repeat(rng.normal(0, 1, patients), slices)
    resamples = bootstrap.draw(np.repeat(np.arange(patients), slices), 4000, 3)
    low, high = bootstrap.interval(resamples.ratio(value, np.ones_like(value)), 0.95)
    error = value.std() / np.sqrt(patients)  # over patients: five equal slices are no more evidence than one
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert (high + low) / 2 == pytest.approx(value.mean(), abs=0.1 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(200):
        value = np.repeat(rng.normal(0.3, 1, 40), 3) + rng.normal(0, 0.5, 120)
        resamples = bootstrap.draw(np.repeat(np.arange(40), 3), 400, trial)
        low, high = bootstrap.interval(resamples.ratio(value, np.ones(120)), 0.9)
        hits += low <= 0.3 <= high
    assert 0.83 <= hits / 200 <= 0.96


def test_resampled_areas_equal_those_of_the_repeated_pixels():
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(4), 50)
    score, truth = np.round(rng.random(200), 1), rng.random(200) < 0.3
    resamples = bootstrap.draw(patient, 5, 0)
    lower = curves.edges(score)
    each = [curves.histogram(score[patient == p], truth[patient == p], lower) for p in range(4)]
    by_patient = curves.Histogram(np.array([h.positives for h in each]), np.array([h.negatives for h in each]))
    precision, area = resamples.areas(by_patient)
    image = resamples.auroc(score, truth)
    for b, weight in enumerate(resamples.weights):
        drawn = np.concatenate([np.flatnonzero(patient == p) for p in range(4) for _ in range(int(weight[p]))])
        assert precision[b] == pytest.approx(curves.average_precision(score[drawn], truth[drawn]))
        assert area[b] == image[b] == pytest.approx(curves.auroc(score[drawn], truth[drawn]))


def test_a_number_of_a_single_patient_has_no_interval():
    assert np.isnan(bootstrap.draw(["a"] * 3, 50, 0).ratio(np.arange(3.0), np.ones(3))).all()
    two = bootstrap.draw(["a", "a", "b"], 50, 0)
    assert np.isnan(two.ratio(np.arange(3.0), np.array([1.0, 1.0, 0.0]))).all()  # of two patients, but one has no part in it
    assert np.isfinite(bootstrap.interval(two.ratio(np.arange(3.0), np.ones(3)), 0.95)).all()
    numbers = summary.Numbers(bootstrap.draw(["a"] * 3, 50, 0), 0.95)
    numbers.put("auroc", 0.5, np.full(50, 0.5))
    assert numbers.values["auroc"] == 0.5
    assert np.isnan([numbers.values["auroc_lo"], numbers.values["auroc_hi"]]).all()


def test_patients_are_counted_where_they_contribute():
    x = toys.inputs(patients=4, slices=3)
    first = x.index["patient"] == x.index["patient"].iloc[0]
    numbers = score(replace(x, tumour=x.tumour & ~first.to_numpy()))[1]
    assert (numbers["n_patients"], numbers["n_patients_tumour"]) == (4, 3)


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.123456789, 0.123457), (1.23456789e-7, 1.23457e-7), (-98765.4321, -98765.4), (0, 0), (12345678, 12345700)],
)
def test_six_significant_digits(value, rounded):
    assert float(summary.significant(value)) == rounded


def test_what_is_not_finite_stays_when_rounded():
    np.testing.assert_array_equal(summary.significant(np.array([np.nan, np.inf])), [np.nan, np.inf])
