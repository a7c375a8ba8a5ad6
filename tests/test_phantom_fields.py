"""Interpolation matrices, random fields, distances and scanner matrices against closed forms."""

import numpy as np
import pytest
from scipy import ndimage

from gliomap.data.phantom import atlas, lesion, scanner, structures
from gliomap.data.phantom.fields import along, bspline_matrix, expand, keys_matrix, random_field, trilinear


def test_keys_matrix_reproduces_constants_and_lines():
    positions = np.linspace(1, 10, 57)  # one sample from the ends, where the kernel is whole
    matrix = keys_matrix(positions, 12)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix @ np.arange(12), positions, atol=1e-5)


def test_keys_matrix_interpolates_samples_and_clamps_beyond_the_ends():
    np.testing.assert_allclose(keys_matrix(np.arange(9), 9), np.eye(9), atol=1e-6)
    np.testing.assert_allclose(keys_matrix(np.array([-3.0, 20.0]), 9), np.eye(9)[[0, 8]], atol=1e-6)


def test_bspline_rows_have_unit_norm_and_are_flat_at_equal_phase():
    matrix = bspline_matrix(np.linspace(0, 6, 50), 10)
    np.testing.assert_allclose((matrix ** 2).sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(matrix[0, :4], np.array([1, 4, 1, 0]) / np.sqrt(18), atol=1e-6)


def test_random_field_has_zero_mean_unit_variance_and_the_wanted_smoothness():
    axes = [np.arange(64.0)] * 3
    values = np.stack([random_field(np.random.default_rng(i), axes, 6.0) for i in range(12)])
    assert abs(values.mean()) < .02
    assert values.var() == pytest.approx(1, abs=.05)
    near = (values[:, 1:] * values[:, :-1]).mean()
    far = (values[:, 30:] * values[:, :-30]).mean()
    assert near > .9
    assert abs(far) < .05


def test_random_field_repeats_from_its_generator():
    axes = [np.arange(10.0), np.arange(12.0), np.arange(9.0)]
    one, two = (random_field(np.random.default_rng(3), axes, 4.0) for _ in range(2))
    assert one.shape == (10, 12, 9)
    np.testing.assert_array_equal(one, two)


def test_expand_and_along_are_the_einsum():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(3, 4, 5)).astype(np.float32)
    matrices = [rng.normal(size=(n + 2, n)).astype(np.float32) for n in volume.shape]
    expected = np.einsum("ai,bj,ck,ijk->abc", *matrices, volume)
    np.testing.assert_allclose(expand(volume, matrices), expected, rtol=2e-4, atol=2e-4)
    for axis in range(3):
        moved = np.moveaxis(np.tensordot(matrices[axis], volume, (1, axis)), 0, axis)
        np.testing.assert_allclose(along(matrices[axis], volume, axis), moved, rtol=1e-4, atol=1e-5)


def test_trilinear_is_exact_on_a_trilinear_function_and_agrees_with_scipy():
    grid = np.indices((6, 7, 8)).astype(np.float32)
    plane = 2 * grid[0] - grid[1] + .5 * grid[2] + grid[0] * grid[1]
    points = [np.random.default_rng(0).uniform(0, n - 1.01, 500).astype(np.float32) for n in plane.shape]
    x, y, z = points
    values = trilinear([plane, np.ones_like(plane)], points)
    np.testing.assert_allclose(values[0], 2 * x - y + .5 * z + x * y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values[0], ndimage.map_coordinates(plane, points, order=1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values[1], 1, atol=1e-6)


def test_dilation_by_a_ball_is_the_distance_transform_cut_at_the_radius():
    mask = np.random.default_rng(1).random((30, 28, 26)) > .999
    expected = ndimage.distance_transform_edt(~mask) <= atlas.CLOSING
    np.testing.assert_array_equal(atlas._dilate(mask, atlas.CLOSING), expected)


def test_signed_distance_is_scipys_on_both_sides():
    mask = np.zeros((20, 22, 24), bool)
    mask[5:12, 6:15, 7:20] = True
    mask[14:16, 14:16, 3:5] = True
    expected = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)
    np.testing.assert_allclose(atlas.signed_distance(mask), expected, atol=1e-5)


def test_ellipsoids_are_mirrored_and_full_at_the_centre():
    frame = structures.Frame.of((81, 61, 61), np.array([-40.0, -30.0, -30.0]))
    field = frame.ellipsoids(((.8, (20, 5, 0), (6, 8, 10)),))
    assert field[frame.index((20, 5, 0))] == pytest.approx(.8)
    assert field[frame.index((26, 5, 0))] == pytest.approx(.4)  # half-way through the soft edge
    assert field[frame.index((0, 5, 0))] == 0
    np.testing.assert_array_equal(field, field[::-1])


@pytest.mark.parametrize("hard", [True, False])
def test_point_spread_keeps_constants_and_only_a_hard_edge_rings(hard):
    matrix = scanner.point_spread(64, 1.0, 1.2, hard)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    step = matrix @ (np.arange(64) >= 32)
    assert (step[40:50].max() > 1.01) == hard


@pytest.mark.parametrize("thickness", [2.0, 3.3, 5.0])
def test_slice_profile_keeps_constants_and_blurs_a_plane_to_a_slice(thickness):
    measure, back = scanner.slice_profile(60, 1.0, thickness, .3)
    np.testing.assert_allclose(measure.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(back @ measure @ np.ones(60), 1, atol=1e-5)
    blurred = back @ measure @ np.eye(60)[30]
    assert np.count_nonzero(blurred > 1e-6) >= thickness
    assert blurred.max() < 1.01 / thickness


def test_travel_distance_in_uniform_tissue_is_the_euclidean_distance():
    shape = (25, 25, 25)
    tissue = (np.ones(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32))
    travelled = lesion.travel_distance(tissue, (12, 12, 12), lesion.STEPS)
    line = travelled[12, 12, 12:22]
    np.testing.assert_allclose(line, lesion.STEP * np.arange(10), rtol=.12, atol=.3)


def test_travel_distance_avoids_fluid():
    shape = (25, 9, 9)
    white = np.ones(shape, np.float32)
    fluid = np.zeros(shape, np.float32)
    white[14:16], fluid[14:16] = 0, 1
    barred = lesion.travel_distance((white, np.zeros_like(white), fluid), (12, 4, 4), lesion.STEPS)
    assert barred[18, 4, 4] > 2 * barred[6, 4, 4]
