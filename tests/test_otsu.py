"""Otsu's threshold: scikit-image and brute force as oracles, invariances; areas and the component filter (TSGM spec 5)."""

import numpy as np
import pytest
from skimage.filters import threshold_otsu

from gliomap.scoring import otsu
from gliomap.scoring.otsu import Otsu
from scoring_toys import disc

RNG = np.random.default_rng(0)
MIXTURE = np.where(RNG.random((6, 900)) < 0.2, RNG.normal(3, 0.7, (6, 900)), RNG.gamma(2, 0.3, (6, 900)))
LINES = {
    "two classes": MIXTURE,
    "noise": RNG.random((4, 500)),
    "float16 and zeros": np.where(RNG.random((4, 700)) < 0.6, 0, np.abs(RNG.normal(size=(4, 700)))).astype(np.float16),
    "values on edges of bins": RNG.integers(0, 257, (4, 400)) / 256,
    "two values": np.array([[0.0, 0, 0, 1], [0, 5, 5, 5]]),
}


def brute_force(values):
    """Centre of the last bin of the lower class, over all splits of numpy's histogram of 256 bins."""
    counts, edges = np.histogram(values, 256)
    centres, best = (edges[:-1] + edges[1:]) / 2, []
    for k in range(1, 256):
        low, high = counts[:k].sum(), counts[k:].sum()
        means = (counts[:k] @ centres[:k] / low, counts[k:] @ centres[k:] / high)
        best.append(low * high * (means[0] - means[1]) ** 2)
    return centres[:-1][np.array(best) > max(best) * (1 - 1e-9)]


@pytest.mark.parametrize("case", LINES)
def test_thresholds_are_those_of_scikit_image(case):
    lines = np.asarray(LINES[case], np.float64)
    np.testing.assert_allclose(otsu.thresholds(lines), [threshold_otsu(line) for line in lines], rtol=1e-6)


@pytest.mark.parametrize("case", LINES)
def test_thresholds_separate_the_classes_best(case):
    for line, level in zip(LINES[case].astype(np.float64), otsu.thresholds(LINES[case])):
        assert np.isclose(brute_force(line), level, rtol=1e-6).any()


def test_further_zeros_count_like_pixels_of_value_zero():
    lines = np.abs(MIXTURE)
    padded = np.concatenate([lines, np.zeros((6, 300))], axis=1)
    np.testing.assert_array_equal(otsu.thresholds(lines, zeros=300), otsu.thresholds(padded))
    assert (otsu.thresholds(lines) != otsu.thresholds(padded)).any()


@pytest.mark.parametrize("factor", [0.25, 3.7, 1e4])
def test_a_positive_factor_changes_no_mask(factor):
    levels = otsu.thresholds(MIXTURE), otsu.thresholds(MIXTURE * factor)
    np.testing.assert_allclose(levels[0] * factor, levels[1], rtol=1e-9)
    np.testing.assert_array_equal(levels[0][:, None] < MIXTURE, levels[1][:, None] < MIXTURE * factor)


def test_chunks_do_not_change_the_thresholds(monkeypatch):
    whole = otsu.thresholds(MIXTURE)
    monkeypatch.setattr(otsu, "CHUNK", 2000)
    np.testing.assert_array_equal(otsu.thresholds(MIXTURE), whole)


@pytest.mark.parametrize("value", [0.0, 0.3, -1.0])
def test_nothing_is_above_the_threshold_of_a_constant_map(value):
    maps = np.full((2, 8, 8), value)
    maps[1, 0, 0] += 1
    levels = otsu.maps_thresholds(maps)
    assert levels[0] == value
    assert otsu.segment(maps, levels, 0).sum(axis=(1, 2)).tolist() == [0, 1]


def test_lines_without_pixels_have_the_threshold_of_their_zeros():
    assert otsu.thresholds(np.empty((3, 0)), zeros=16).tolist() == [0, 0, 0]
    assert otsu.thresholds(np.empty((0, 5))).shape == (0,)


@pytest.mark.parametrize(("area", "pixel_mm", "expected"), [(400, 1, 400), (400, 3, 44), (0, 1, 0), (9, 3, 1)])
def test_an_area_of_the_head_in_pixels(area, pixel_mm, expected):
    assert otsu.pixels(area, pixel_mm) == expected


def test_a_component_of_the_area_leaves_and_one_pixel_more_stays():
    maps = np.zeros((2, 40, 40))
    maps[:, :20, :20] = 1
    maps[1, 20, 20] = 1  # by its corner: 401 pixels
    levels = otsu.maps_thresholds(maps)
    assert otsu.segment(maps, levels, otsu.pixels(400, 1)).sum(axis=(1, 2)).tolist() == [0, 401]


def test_each_slice_has_its_own_threshold():
    maps = np.stack([disc(5) * 1.0, disc(5) * 10.0 + disc(9) * 1.0])
    masks = otsu.segment(maps, otsu.maps_thresholds(maps), 0)
    np.testing.assert_array_equal(masks, np.stack([disc(5), disc(5)]))


def test_rows_of_cyclegan_have_a_filter_of_their_own():
    rule = Otsu("otsu", 400.0, 300.0)
    assert [rule.area_mm2(row) for row in ("tsgm", "vae", "cyclegan", "cyclegan_t2")] == [400, 400, 300, 300]
