"""Interpolation and smooth random fields on separable grids, as dense one-dimensional matrices: BLAS does the work."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Axes = Sequence[NDArray[np.floating]]
BLOCK = 65536  # points interpolated at a time, so that a block stays in the processor's cache


def keys_matrix(positions: NDArray[np.floating], n: int) -> Array:
    """Cubic convolution weights (Keys 1981, a = -1/2) from n samples to `positions` in sample units: (len(positions), n).

    Reproduces constants and straight lines; positions beyond the ends are clamped to them.
    """
    positions = np.clip(np.asarray(positions, float), 0, n - 1)
    first = np.minimum(positions.astype(int), n - 2)
    t = positions - first
    weights = np.stack([
        -.5 * t ** 3 + t ** 2 - .5 * t, 1.5 * t ** 3 - 2.5 * t ** 2 + 1,
        -1.5 * t ** 3 + 2 * t ** 2 + .5 * t, .5 * t ** 3 - .5 * t ** 2,
    ], 1)  # fmt: skip
    matrix = np.zeros((len(positions), n))
    for k in range(4):
        np.add.at(matrix, (np.arange(len(positions)), np.clip(first + k - 1, 0, n - 1)), weights[:, k])
    return matrix.astype(np.float32)


def bspline_matrix(positions: NDArray[np.floating], n: int) -> Array:
    """Cubic B-spline weights from n coefficients to `positions` in knot units: (len(positions), n).

    Rows have unit norm: coefficients of unit variance give values of unit variance. Needs floor(positions) + 4 <= n.
    """
    first = np.floor(positions).astype(int)
    t = np.asarray(positions) - first
    weights = np.stack([(1 - t) ** 3, 3 * t ** 3 - 6 * t ** 2 + 4, -3 * t ** 3 + 3 * t ** 2 + 3 * t + 1, t ** 3], 1) / 6
    weights /= np.sqrt((weights ** 2).sum(1, keepdims=True))
    matrix = np.zeros((len(positions), n))
    for k in range(4):
        matrix[np.arange(len(positions)), first + k] = weights[:, k]
    return matrix.astype(np.float32)


def expand(coefficients: Array, matrices: Sequence[Array]) -> Array:
    """Apply one matrix (n_out, n_in) to each axis of a volume: (i, j, k) -> (I, J, K)."""
    along_x, along_y, along_z = matrices
    values = np.matmul(along_y, coefficients @ along_z.T)
    values = along_x @ values.reshape(values.shape[0], -1)
    return values.reshape(along_x.shape[0], along_y.shape[0], along_z.shape[0])


def along(matrix: Array, volume: Array, axis: int) -> Array:
    """Apply a matrix (n_out, n_in) to one axis of a volume."""
    if axis == 2:
        return volume @ matrix.T
    if axis == 1:
        return np.matmul(matrix, volume)
    return (matrix @ volume.reshape(volume.shape[0], -1)).reshape(matrix.shape[0], *volume.shape[1:])


def resample_matrices(targets: Axes, sources: Axes, spacing: float) -> list[Array]:
    """Keys matrices from the regular grid `sources` (step `spacing`) to the coordinates `targets`, one for each axis."""
    return [keys_matrix((to - source[0]) / spacing, len(source)) for to, source in zip(targets, sources)]


def random_field(rng: np.random.Generator, axes: Axes, spacing: float) -> Array:
    """Smooth Gaussian random field of zero mean and unit variance on the grid `axes` (mm): (len x, len y, len z).

    Cubic B-splines with white coefficients every `spacing` mm, at a random offset; correlation length about `spacing`.
    """
    matrices = []
    for axis in axes:
        positions = (axis - axis[0]) / spacing + rng.random()
        matrices.append(bspline_matrix(positions, int(positions[-1]) + 5))
    return expand(rng.standard_normal([m.shape[1] for m in matrices], dtype=np.float32), matrices)


def trilinear(planes: Sequence[Array], points: Sequence[Array]) -> Array:
    """Trilinear values of volumes of one shape at flat float32 voxel coordinates (x, y, z): (len(planes), n points).

    Points outside take the value at the border.
    """
    size = points[0].size
    values = np.empty((len(planes), size), np.float32)
    flat = [plane.ravel() for plane in planes]
    for start in range(0, size, BLOCK):
        block = slice(start, start + BLOCK)
        corners, fractions = _cell(planes[0].shape, [p[block] for p in points])
        for k, plane in enumerate(flat):
            values[k, block] = _blend([np.take(plane, corner) for corner in corners], fractions)
    return values


def _cell(shape: tuple[int, ...], points: Sequence[Array]) -> tuple[list[NDArray[np.intp]], list[Array]]:
    """Flat indices of the eight corners around each point (z fastest) and the three fractions."""
    clipped = [np.clip(p, 0, n - 1.001) for p, n in zip(points, shape)]
    x, y, z = (p.astype(np.intp) for p in clipped)
    fractions = [p - i.astype(np.float32) for p, i in zip(clipped, (x, y, z))]
    row, plane = shape[2], shape[1] * shape[2]
    base = (x * shape[1] + y) * row + z
    return [base + dx * plane + dy * row + dz for dx in (0, 1) for dy in (0, 1) for dz in (0, 1)], fractions


def _blend(corners: list[Array], fractions: list[Array]) -> Array:
    """Interpolate in place: eight corners along z, then four along y, then two along x."""
    for step, fraction in zip((1, 2, 4), reversed(fractions)):
        for low in range(0, 8, 2 * step):
            corners[low + step] -= corners[low]
            corners[low + step] *= fraction
            corners[low] += corners[low + step]
    return corners[0]
