"""Resampling of planes: against torch, and by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gliomap.data import resample

PAIRS = [(240, 128), (240, 64), (240, 32), (192, 128), (192, 64), (192, 32), (256, 128), (256, 256), (10, 4), (7, 5), (4, 6)]


def planes(edge: int) -> np.ndarray:
    return np.random.default_rng(edge).normal(size=(3, edge, edge)).astype(np.float32)


def torch_of(array: np.ndarray, size: int, mode: str, **options) -> np.ndarray:
    return functional.interpolate(torch.from_numpy(array)[None], size=(size, size), mode=mode, **options)[0].numpy()


@pytest.mark.parametrize(("edge", "size"), PAIRS)
def test_area_is_torch_adaptive_average_pooling(edge, size):
    ours = resample.area(edge, size).both(planes(edge))
    pooled = functional.adaptive_avg_pool2d(torch.from_numpy(planes(edge)), size).numpy()
    np.testing.assert_allclose(ours, pooled, atol=2e-6)
    np.testing.assert_allclose(ours, torch_of(planes(edge), size, "area"), atol=2e-6)


@pytest.mark.parametrize(("edge", "size"), PAIRS)
def test_bilinear_is_torch_without_antialiasing(edge, size):
    theirs = torch_of(planes(edge), size, "bilinear", align_corners=False, antialias=False)
    np.testing.assert_allclose(resample.bilinear(edge, size).both(planes(edge)), theirs, atol=3e-6)


@pytest.mark.parametrize(("edge", "size"), PAIRS)
def test_nearest_is_torch_nearest_exact(edge, size):
    np.testing.assert_array_equal(
        resample.nearest(edge, size).both(planes(edge)), torch_of(planes(edge), size, "nearest-exact")
    )


def test_area_240_to_128_by_hand():
    axis = resample.area(240, 128)
    assert axis.index.shape == (128, 3)  # 1.875 pixels wide: windows of 2 or 3, overlapping
    assert axis.index[0].tolist()[:2] == [0, 1]
    assert axis.index[1].tolist() == [1, 2, 3]  # floor(1.875) .. ceil(3.75)
    np.testing.assert_allclose(axis.weight.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(axis.weight[1], 1 / 3, atol=1e-6)


@pytest.mark.parametrize("kind", [resample.area, resample.bilinear, resample.nearest])
def test_a_constant_stays_and_the_same_size_changes_nothing(kind):
    np.testing.assert_allclose(kind(240, 128).both(np.full((240, 240), -3.0)), -3, atol=1e-5)
    np.testing.assert_array_equal(kind(9, 9).both(planes(9)), planes(9))


def test_centred_cuts_24_on_each_side_of_240_and_pads_8_around_it():
    plane = np.arange(240 * 240).reshape(240, 240)
    np.testing.assert_array_equal(resample.centred(plane, 192), plane[24:216, 24:216])
    padded = resample.centred(plane + 1, 256)
    assert padded.shape == (256, 256)
    np.testing.assert_array_equal(padded[8:248, 8:248], plane + 1)
    assert padded.sum() == (plane + 1).sum()


def test_centred_cuts_one_axis_and_pads_the_other():
    plane = np.ones((6, 3))
    result = resample.centred(plane, 4)
    assert result.shape == (4, 4)
    np.testing.assert_array_equal(result.sum(0), [4, 4, 4, 0])
