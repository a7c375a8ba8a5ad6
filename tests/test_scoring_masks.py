"""Erosion, median and component filter: against scikit-image, and on cases one can see."""

import numpy as np
import pytest
from skimage import morphology

from gliomap.scoring import masks
from scoring_toys import disc


@pytest.mark.parametrize("radius", [1, 2, 4, 7])
def test_disk_and_erosion_are_those_of_scikit_image(radius):
    brain = np.random.default_rng(radius).random((3, 40, 40)) < 0.995
    brain[0] |= True
    np.testing.assert_array_equal(masks.disk(radius), morphology.disk(radius))
    expected = np.array([morphology.erosion(b, morphology.disk(radius)) for b in brain])
    np.testing.assert_array_equal(masks.erode(brain, radius), expected)
    assert expected.sum() > 0


@pytest.mark.parametrize("radius", [1.0, 2.5, 4.0])
def test_eroding_a_disk_takes_its_radius_off(radius):
    eroded = masks.erode(disc(20, (32, 32), 64)[None], radius)[0]
    assert not (eroded & ~disc(20 - radius + 0.8, (32, 32), 64)).any()
    assert not (disc(20 - radius - 0.8, (32, 32), 64) & ~eroded).any()


def test_mmccd_radius_in_millimetres_is_four_pixels_at_128():
    assert masks.disk(7.5 / 1.875).shape == (9, 9)


@pytest.mark.parametrize("radius", [0, 0.9])
def test_a_radius_below_a_pixel_changes_nothing(radius):
    brain = disc(5)[None]
    np.testing.assert_array_equal(masks.erode(brain, radius), brain)


def test_median_removes_a_speck_and_keeps_slices_apart():
    maps = np.zeros((3, 9, 9), np.float32)
    maps[0, 4, 4], maps[1] = 9, 5
    out = masks.smooth(maps, 3)
    np.testing.assert_array_equal(out[:, 4, 4], [0, 5, 0])
    assert masks.smooth(maps, 0) is maps


def test_component_filter_removes_40_keeps_41_joins_diagonals_and_never_joins_slices():
    mask = np.zeros((2, 30, 30), bool)
    mask[0, :5, :8] = True  # 40 pixels
    mask[1, :5, :8] = mask[1, 5, 8] = True  # 41, the last by its corner only
    kept = masks.drop_small(mask, 40)
    assert kept.sum(axis=(1, 2)).tolist() == [0, 41]


def test_component_filter_fills_no_holes():
    ring = (disc(8) & ~disc(5))[None]
    np.testing.assert_array_equal(masks.drop_small(ring, 40), ring)


def test_a_pixel_is_predicted_inside_the_region_and_above_not_at_the_threshold():
    maps = np.array([[[1.0, 2.0, 3.0, 3.0]]])
    region = np.array([[[True, True, True, False]]])
    assert masks.segment(maps, region, 2.0).tolist() == [[[False, False, True, False]]]
