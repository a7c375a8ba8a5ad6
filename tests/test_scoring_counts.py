"""Counts and ratios: by hand on 4 x 4, every empty case, and against MONAI."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric

from gliomap.scoring import counts

PREDICTION = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
TRUTH = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
NONE = np.zeros((4, 4))


def test_counts_and_ratios_by_hand():
    c = counts.count(PREDICTION[None], TRUTH[None])
    assert (c.tp.item(), c.fp.item(), c.fn.item(), c.tn.item()) == (2, 2, 3, 9)
    assert counts.dice(c).item() == pytest.approx(4 / 9)
    assert counts.iou(c).item() == pytest.approx(2 / 7)
    assert counts.precision(c).item() == pytest.approx(1 / 2)
    assert counts.recall(c).item() == pytest.approx(2 / 5)


@pytest.mark.parametrize(
    ("prediction", "truth", "dice", "iou", "precision", "recall"),
    [
        (NONE, NONE, np.nan, np.nan, 0, np.nan),
        (NONE, TRUTH, 0, 0, 0, 0),
        (PREDICTION, NONE, 0, 0, 0, np.nan),
        (TRUTH, TRUTH, 1, 1, 1, 1),
        (1 - TRUTH, TRUTH, 0, 0, 0, 0),
    ],
)
def test_empty_masks(prediction, truth, dice, iou, precision, recall):
    c = counts.count(prediction[None], truth[None])
    found = [f(c).item() for f in (counts.dice, counts.iou, counts.precision, counts.recall)]
    np.testing.assert_array_equal(found, [dice, iou, precision, recall])


def test_both_empty_may_count_as_one_but_one_empty_never_does():
    c = counts.count(np.array([NONE, NONE, PREDICTION]), np.array([NONE, TRUTH, NONE]))
    np.testing.assert_array_equal(counts.dice(c, both_empty=1.0), [1, 0, 0])


def test_dice_is_that_of_monai():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 20, 16, 16)) < 0.3
    reference = DiceMetric(reduction="none")(torch.tensor(a[:, None]).float(), torch.tensor(b[:, None]).float())
    np.testing.assert_allclose(counts.dice(counts.count(a, b)), reference[:, 0], rtol=1e-6)


def test_dice_and_iou_determine_each_other():
    rng = np.random.default_rng(1)
    c = counts.count(*(rng.random((2, 50, 8, 8)) < 0.4))
    dice = counts.dice(c)
    np.testing.assert_allclose(counts.iou(c), dice / (2 - dice))


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        counts.count(np.zeros((1, 4, 4)), np.zeros((1, 4, 5)))
