"""Areas under curves: against scikit-learn, closed forms, floors of trivial maps."""

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score

from gliomap.scoring import curves
from scoring_toys import disc


def sample(pixels, kind, seed=0):
    """Scores and truth with 4 % positives: continuous, tied, or with far outliers."""
    rng = np.random.default_rng(seed)
    truth = rng.random(pixels) < 0.04
    scores = rng.standard_normal(pixels) + 1.3 * truth
    if kind == "ties":
        scores = np.round(np.maximum(scores, 0), 1)
    if kind == "heavy tail":
        scores = np.exp(4 * scores)
    return scores.astype(np.float32), truth


def pooled(scores, truth, bins=curves.BINS):
    return curves.histogram(scores, truth, curves.edges(scores, bins))


@pytest.mark.parametrize("kind", ["continuous", "ties", "heavy tail"])
def test_histogram_of_many_pixels_is_close_to_scikit_learn(kind):
    scores, truth = sample(400_000, kind)
    h = pooled(scores, truth)
    assert h.average_precision() == pytest.approx(average_precision_score(truth, scores), abs=1e-4)
    assert h.auroc() == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
    group = h.groups(1024)
    assert group[-1] < 2048
    coarse = curves.tally(group[curves.locate(scores, curves.edges(scores))], truth, group[-1] + 1)
    assert coarse.average_precision() == pytest.approx(h.average_precision(), abs=1e-3)
    assert coarse.auroc() == pytest.approx(h.auroc(), abs=1e-4)


@pytest.mark.parametrize("kind", ["continuous", "ties", "heavy tail"])
def test_a_slice_is_exactly_scikit_learn(kind):
    scores, truth = sample(3000, kind)
    assert curves.average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert curves.auroc(scores, truth) == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_histograms_of_parts_add_up_to_that_of_the_whole():
    scores, truth = sample(10_000, "continuous")
    lower = curves.edges(scores, 512)
    parts = [curves.histogram(scores[i::3], truth[i::3], lower) for i in range(3)]
    whole = curves.histogram(scores, truth, lower)
    added = parts[0] + parts[1] + parts[2]
    np.testing.assert_array_equal(added.positives, whole.positives)
    np.testing.assert_array_equal(added.negatives, whole.negatives)
    assert whole.positives.sum() == truth.sum()


def test_up_to_as_many_scores_as_bins_the_histogram_is_exact():
    scores, truth = sample(60_000, "continuous")
    assert pooled(scores, truth).average_precision() == pytest.approx(average_precision_score(truth, scores), abs=1e-12)


def test_areas_of_a_binary_map_have_their_closed_forms():
    """Step sum PRE REC + pi (1 - REC); trapezoids from (0, 1), as TSGM's code: (PRE + REC + pi (1 - REC)) / 2."""
    rng = np.random.default_rng(0)
    truth = rng.random(5000) < 0.1
    binary = np.where(truth, rng.random(5000) < 0.7, rng.random(5000) < 0.05)
    pi, rec, pre = truth.mean(), binary[truth].mean(), truth[binary].mean()
    assert curves.average_precision(binary, truth) == pytest.approx(pre * rec + pi * (1 - rec))
    recall, precision = curves.exact(binary, truth).curve()
    trapezoids = auc(np.append(0, recall), np.append(1, precision))
    assert trapezoids == pytest.approx((pre + rec + pi * (1 - rec)) / 2)


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda s: 7 - 2 / (s + 9)])
def test_monotone_transforms_change_nothing(transform):
    scores, truth = sample(200_000, "continuous")
    scores = scores.astype(np.float64)
    same = transform(scores)
    assert curves.average_precision(same, truth) == pytest.approx(curves.average_precision(scores, truth), abs=1e-9)
    assert pooled(same, truth).average_precision() == pytest.approx(pooled(scores, truth).average_precision(), abs=1e-5)


def test_a_perfect_map_a_constant_map_and_a_reversed_one():
    truth = np.arange(100) < 20
    score = truth.astype(float)
    assert curves.average_precision(score, truth) == curves.auroc(score, truth) == 1
    assert curves.average_precision(0 * score, truth) == pytest.approx(0.2)
    assert curves.auroc(0 * score, truth) == 0.5
    assert curves.auroc(-score, truth) == 0


def test_a_random_map_scores_its_prevalence():
    rng = np.random.default_rng(3)
    truth, scores = rng.random(500_000) < 0.03, rng.random(500_000).astype(np.float32)
    assert pooled(scores, truth).average_precision() == pytest.approx(0.03, abs=2e-3)


@pytest.mark.parametrize("truth", [np.zeros(5), np.ones(5)])
def test_a_single_class_has_no_auroc(truth):
    assert np.isnan(curves.auroc(np.arange(5.0), truth))


def test_no_positives_have_no_average_precision_and_no_curve():
    h = curves.exact(np.arange(5.0), np.zeros(5))
    assert np.isnan(h.average_precision())
    assert h.curve()[0].size == 0


def test_whole_image_auroc_of_a_random_score_is_half_the_background_plus_a_half():
    """mmccd specification 11.8: everything outside the eroded brain scores 0 and is not tumour."""
    size = 128
    brain, tumour = disc(38, (64, 64), size), disc(9, (58, 70), size)
    score = np.random.default_rng(0).uniform(0.01, 1, (size, size)) * brain
    background = (~brain).sum() / (~tumour).sum()
    assert curves.auroc(score, tumour) == pytest.approx(0.5 + background / 2, abs=0.02)
    assert background > 0.7


def test_curve_is_thin_ascending_and_lies_on_the_full_one():
    scores, truth = sample(50_000, "continuous")
    recall, precision = pooled(scores, truth).curve()
    p, r, _ = precision_recall_curve(truth, scores)
    assert 150 < len(recall) <= curves.CURVE_POINTS
    assert (np.diff(recall) > 0).all()
    assert recall[-1] == 1
    for a, b in zip(recall[::20], precision[::20]):
        assert np.hypot(r - a, p - b).min() < 1e-9
