"""Planes onto the grid of a recipe: cut out the centre, then resample by area, linearly or to the nearest pixel.

Each axis is a gather with weights, elementwise: the same bits whatever the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """Output i = sum over k of weight[i, k] input[index[i, k]]. index: int64 (n, K); weight: float32 (n, K), sum 1."""

    index: NDArray[np.int64]
    weight: Array

    def along(self, planes: Array, axis: int) -> Array:
        """`planes` with this axis resampled."""
        shape = [1] * planes.ndim
        shape[axis] = -1
        terms = (np.take(planes, i, axis) * w.reshape(shape) for i, w in zip(self.index.T, self.weight.T, strict=True))
        return sum(terms, np.float32(0))

    def both(self, planes: Array) -> Array:
        """float32 (..., n, n) of square planes (..., edge, edge)."""
        return self.along(self.along(np.asarray(planes, np.float32), -2), -1)


@lru_cache(maxsize=16)
def area(edge: int, size: int) -> Axis:
    """Mean over the windows floor(i edge / size) .. ceil((i + 1) edge / size): torch's adaptive_avg_pool2d, "area"."""
    start = np.arange(size) * edge // size
    stop = -(-(np.arange(size) + 1) * edge // size)
    index = start[:, None] + np.arange((stop - start).max())
    inside = index < stop[:, None]
    return Axis(np.where(inside, index, start[:, None]), (inside / (stop - start)[:, None]).astype(np.float32))


@lru_cache(maxsize=16)
def bilinear(edge: int, size: int) -> Axis:
    """Linear between the two nearest pixel centres, no smoothing first: torch's bilinear with align_corners=False."""
    centre = np.clip((np.arange(size) + 0.5) * edge / size - 0.5, 0, edge - 1)
    low = np.floor(centre).astype(np.int64)
    share = centre - low
    return Axis(np.stack([low, np.minimum(low + 1, edge - 1)], 1), np.stack([1 - share, share], 1).astype(np.float32))


@lru_cache(maxsize=16)
def nearest(edge: int, size: int) -> Axis:
    """The pixel in which the output's centre lies: torch's nearest-exact."""
    index = np.floor((np.arange(size) + 0.5) * edge / size).astype(np.int64)
    return Axis(index[:, None], np.ones((size, 1), np.float32))


def centred(plane: NDArray, edge: int) -> NDArray:
    """The central (edge, edge) of a plane (H, W), with zeros where the plane is smaller."""
    for axis, count in enumerate(plane.shape):
        if count >= edge:
            start = (count - edge) // 2
            plane = np.take(plane, range(start, start + edge), axis)
        else:
            before = (edge - count) // 2
            plane = np.pad(plane, [(before, edge - count - before) if a == axis else (0, 0) for a in range(2)])
    return plane
