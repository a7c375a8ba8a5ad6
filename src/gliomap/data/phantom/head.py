"""One subject's head on its voxel grid: where the brain is, and the template's channels warped onto it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.data.phantom.atlas import SOFT
from gliomap.data.phantom.fields import Array, expand, random_field, resample_matrices, trilinear
from gliomap.data.phantom.settings import SHAPE
from gliomap.data.phantom.warp import Warp, mesh_points, scanner_axes

COARSE = 4.0  # mm, grid on which the warp is composed
MIDDLE = 2.5  # mm, grid on which the smooth channels are sampled


@dataclass(frozen=True, eq=False)
class Head:
    """A brain in its bounding box.

    voxel: mm; shape: of the whole volume; box: slices of the bounding box in it; axes: BraTS mm coordinates of the box;
    mask: bool (box); inside: flat indices of the mask in the box; surface: mm below the smooth surface at those voxels;
    points: template mm (x, y, z) at those voxels; white, grey, ridge and `soft` (see atlas.SOFT): channels at those voxels.
    """

    voxel: int
    shape: tuple[int, ...]
    box: tuple[slice, ...]
    axes: list[NDArray]
    mask: NDArray[np.bool_]
    inside: NDArray[np.intp]
    surface: Array
    points: list[Array]
    white: Array
    grey: Array
    ridge: Array
    soft: dict[str, Array]

    def noise(self, rng: np.random.Generator, spacing: float) -> Array:
        """Random field of unit variance at the voxels inside; correlation length `spacing` mm."""
        return random_field(rng, self.axes, spacing).ravel()[self.inside]

    def volume(self, values: NDArray, dtype: type = np.float32) -> NDArray:
        """Values at the voxels inside as a volume (box), 0 outside."""
        filled = np.zeros(self.mask.shape, dtype)
        filled.ravel()[self.inside] = values
        return filled

    def uncrop(self, box_volume: NDArray) -> NDArray:
        """A volume of the bounding box in the whole volume, 0 around."""
        whole = np.zeros(self.shape, box_volume.dtype)
        whole[self.box] = box_volume
        return whole


def coarse_axes() -> list[NDArray]:
    """The coarse grid over the whole BraTS box, in BraTS mm."""
    return [np.arange(-COARSE, n + COARSE, COARSE) for n in SHAPE]


def build_head(rng: np.random.Generator, warp: Warp, voxel: int) -> Head:
    """Warp the template onto a grid of `voxel` mm and cut it out as a skull-stripping tool would."""
    coarse = coarse_axes()
    template = [y.reshape([len(a) for a in coarse]).astype(np.float32) for y in warp(mesh_points(scanner_axes(coarse)))]
    depth = _sample_coarse(warp, template)
    shape = tuple(int(np.ceil(n / voxel)) for n in SHAPE)
    box = _bounding_box(depth > -4, coarse, shape, voxel)
    axes = [(np.arange(n) * voxel + (voxel - 1) / 2)[s] for n, s in zip(shape, box)]
    to_fine = resample_matrices(axes, coarse, COARSE)
    surface = expand(depth, to_fine)
    mask = _skull_strip(rng, surface, axes)
    inside = np.flatnonzero(mask)
    points = [expand(y, to_fine).ravel()[inside] for y in template]
    white, grey, ridge = trilinear(warp.atlas.fine, warp.atlas.fine_index(points))
    soft = dict(zip(SOFT, _smooth_channels(warp, template, axes, inside)))
    soft["ventricle"] = np.clip(soft["ventricle"], 0, 1)
    return Head(voxel, shape, box, axes, mask, inside, surface.ravel()[inside], points, white, grey, ridge, soft)


def _sample_coarse(warp: Warp, template: list[Array]) -> Array:
    """Depth below the surface on the coarse grid."""
    index = warp.atlas.soft_index(template)
    return trilinear(warp.atlas.soft[:1], [i.ravel() for i in index])[0].reshape(template[0].shape)


def _bounding_box(near: NDArray[np.bool_], coarse: list[NDArray], shape: tuple[int, ...], voxel: int) -> tuple[slice, ...]:
    """Slices of the fine grid that hold `near` and one coarse cell around it."""
    box = []
    for axis, (grid, n) in enumerate(zip(coarse, shape)):
        hit = np.flatnonzero(near.any(tuple(a for a in range(3) if a != axis)))
        low, high = grid[max(hit[0] - 1, 0)], grid[min(hit[-1] + 1, len(grid) - 1)]
        start, stop = np.floor(low / voxel), np.ceil(high / voxel) + 1
        box.append(slice(int(np.clip(start, 0, n)), int(np.clip(stop, 0, n))))
    return tuple(box)


def _skull_strip(rng: np.random.Generator, surface: Array, axes: list[NDArray]) -> NDArray[np.bool_]:
    """Brain mask: the surface with a smooth and a jagged random offset; the largest component."""
    offset = 1.0 + .9 * random_field(rng, axes, 28.0) + .45 * random_field(rng, axes, 6.0) + rng.normal(0, .35)
    mask = surface > np.clip(offset, -1.2, 3.4)
    labels, count = ndimage.label(mask[::3, ::3, ::3])
    if count > 1:
        largest = ndimage.binary_dilation(labels == 1 + np.argmax(np.bincount(labels.ravel())[1:]))
        for axis in range(3):
            largest = np.repeat(largest, 3, axis)
        mask &= largest[tuple(slice(n) for n in mask.shape)]
    return mask


def _smooth_channels(warp: Warp, template: list[Array], axes: list[NDArray], inside: NDArray[np.intp]) -> list[Array]:
    """The atlas's smooth channels at the voxels inside, by way of a grid of MIDDLE mm."""
    middle = [np.arange(axis[0] - 1.5, axis[-1] + 3.0, MIDDLE) for axis in axes]
    to_middle = resample_matrices(middle, coarse_axes(), COARSE)
    index = warp.atlas.soft_index([expand(y, to_middle) for y in template])
    sampled = trilinear(warp.atlas.soft, [i.ravel() for i in index])
    to_fine = resample_matrices(axes, middle, MIDDLE)
    shape = tuple(len(axis) for axis in middle)
    return [expand(channel.reshape(shape), to_fine).ravel()[inside] for channel in sampled]
