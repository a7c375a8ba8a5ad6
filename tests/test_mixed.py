"""The AnoFPDM paper's conventions: component filter, empty masks, median filter, foreground average precision, batches."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from gliomap.scoring import mixed, mixed_metrics
from gliomap.scoring.masks import drop_small
from gliomap.scoring.mixed import Mixed

PAPER = Mixed(100, 140.7, -0.95, 9.375)


def blob(pixels: int, size: int = 16) -> np.ndarray:
    """bool (1, size, size): the first pixels of a block eight wide."""
    mask = np.zeros((1, size, size), bool)
    filled = np.zeros((size - 4, 8), bool)
    filled.flat[:pixels] = True
    mask[0, 2 : size - 2, 2:10] = filled
    return mask


@pytest.mark.parametrize(
    ("pixel_mm", "px", "component"), [(1.875, 5, 40), (3.75, 3, 10), (7.5, 1, 2), (30.0, 1, 0), (1.0, 9, 140)]
)
def test_lengths_in_pixels(pixel_mm, px, component):
    assert mixed.median_px(PAPER, pixel_mm) == px
    assert mixed.component_px(PAPER, pixel_mm) == component


def test_forty_pixels_leave_and_forty_one_stay():
    small = mixed.component_px(PAPER, 1.875)
    assert not drop_small(blob(40), small).any()
    assert drop_small(blob(41), small).sum() == 41


def test_a_diagonal_touch_joins_two_blobs():
    mask = np.zeros((1, 20, 20), bool)
    mask[0, 0:5, 0:5] = mask[0, 5:9, 5:9] = True  # 25 + 16 = 41 pixels that meet at a corner
    assert drop_small(mask, 40).sum() == 41
    mask[0, 5:9, 5:9], mask[0, 6:10, 6:10] = False, True
    assert not drop_small(mask, 40).any()


def test_a_ring_counts_its_own_pixels_and_is_not_filled():
    ring = np.zeros((1, 20, 20), bool)
    ring[0, 2:13, 2:13] = True
    ring[0, 3:12, 3:12] = False  # 40 pixels around 81
    assert not drop_small(ring, 40).any()
    assert drop_small(ring, 39).sum() == 40


def test_empty_on_empty_is_a_full_hit_and_a_false_pixel_is_none():
    empty, pixel = np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool)
    pixel[0, 1, 1] = True
    for overlap in (mixed.dice, mixed.iou):
        assert overlap(empty, empty)[0] == 1
        assert overlap(pixel, empty)[0] < 1e-5
        assert overlap(empty, pixel)[0] < 1e-5
        assert overlap(pixel, pixel)[0] == 1


def test_dice_and_iou_of_two_in_common_by_hand():
    a, b = np.zeros((1, 4, 4), bool), np.zeros((1, 4, 4), bool)
    a[0, 0, :3] = b[0, 0, 1:] = True
    b[0, 1, 0] = True  # 3 and 4 pixels, 2 in common, 5 in either
    assert mixed.dice(a, b)[0] == pytest.approx(4 / 7, abs=1e-6)
    assert mixed.iou(a, b)[0] == pytest.approx(2 / 5, abs=1e-6)


def test_predicting_nothing_scores_the_share_of_healthy_slices():
    truth = np.zeros((10_000, 1, 1), bool)
    truth[:4656] = True
    for overlap in (mixed.dice, mixed.iou):
        assert 100 * overlap(np.zeros_like(truth), truth).mean() == pytest.approx(53.44, abs=1e-3)


def test_the_median_mirrors_without_repeating_the_edge():
    maps = np.array([[[5, 1, 0], [2, 9, 0], [0, 0, 0]]], np.float32)
    found = mixed.median(maps, 3)
    # around the corner: rows 1 0 1, columns 1 0 1 -> 9 2 9, 1 5 1, 9 2 9; with a repeated edge it would be 5
    assert found[0, 0, 0] == np.median([9, 2, 9, 1, 5, 1, 9, 2, 9]) == 5
    # around (0, 1): rows 1 0 1, columns 0 1 2 -> 2 9 0, 5 1 0, 2 9 0; repeated: 5 1 0, 5 1 0, 2 9 0 -> 1
    assert found[0, 0, 1] == np.median([2, 9, 0, 5, 1, 0, 2, 9, 0]) == 2
    assert mixed.median(maps, 1) is maps


def test_the_median_is_torchs_reflect_padding():
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(0).random((2, 9, 11), np.float32)
    padded = torch.nn.functional.pad(torch.from_numpy(maps)[:, None], (2, 2, 2, 2), mode="reflect")
    windows = padded.unfold(2, 5, 1).unfold(3, 5, 1).flatten(-2)
    assert np.array_equal(mixed.median(maps, 5), windows.median(-1).values[:, 0].numpy())


def test_the_best_theta_is_the_first_of_equals_and_uses_the_component_filter():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, :4, :4], maps[1, 0, 0] = 0.5, 0.9
    truth = np.zeros((2, 8, 8), bool)
    truth[0, :4, :4] = True
    assert mixed.best_theta(maps, truth, [0.2, 0.3, 0.5, 0.6], 1) == (0.2, pytest.approx(1.0))
    theta, dice = mixed.best_theta(maps, truth, np.array([0.2, 0.95]), 0)  # now the lone pixel counts: 0.5 either way
    assert (theta, dice) == (0.2, pytest.approx(0.5, abs=1e-5))


def test_a_pixel_at_theta_is_predicted_in_the_precision_of_the_map():
    maps = np.full((1, 4, 4), 0.11, np.float32)  # below 0.11 in double precision
    assert mixed.best_theta(maps, np.ones((1, 4, 4), bool), np.array([0.11]), 0)[1] == 1


def test_average_precision_on_the_foreground_is_scikit_learns():
    rng = np.random.default_rng(1)
    truth, inside = rng.random((6, 8, 8)) < 0.2, rng.random((6, 8, 8)) < 0.6
    maps = np.round(truth + rng.normal(0, 1, truth.shape), 1).astype(np.float32)  # with ties
    batch = np.array([0, 1, 0, 1, 1, 0])
    found = mixed_metrics.batch_precisions(maps, truth, inside, batch)
    for number in (0, 1):
        at = inside[batch == number]
        expected = average_precision_score(truth[batch == number][at], maps[batch == number][at])
        assert found[number] == pytest.approx(expected, abs=1e-12)


def test_what_lies_outside_the_foreground_does_not_count():
    maps, truth = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), bool)
    maps[0, 0, 0], truth[0, 1, 1], maps[0, 1, 1] = 9, True, 1
    inside = np.ones((1, 4, 4), bool)
    assert mixed_metrics.batch_precisions(maps, truth, inside, np.zeros(1, int))[0] == 0.5
    inside[0, 0, 0] = False
    assert mixed_metrics.batch_precisions(maps, truth, inside, np.zeros(1, int))[0] == 1
    assert np.isnan(mixed_metrics.batch_precisions(maps, truth, np.zeros_like(inside), np.zeros(1, int))[0])


def test_batches_are_a_function_of_the_seed_and_never_larger_than_asked():
    first = mixed_metrics.partition(250, 100, 3)
    assert np.array_equal(first, mixed_metrics.partition(250, 100, 3))
    assert not np.array_equal(first, mixed_metrics.partition(250, 100, 4))
    assert sorted(np.bincount(first)) == [83, 83, 84]
    assert np.bincount(mixed_metrics.partition(10_000, 100, 0)).tolist() == [100] * 100
    assert mixed_metrics.partition(3, 100, 0).tolist() == [0, 0, 0]
