"""Grow one tumour in its own box: core, oedema along white matter, rim, and what a rater would draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.data.phantom.fields import Array, expand, keys_matrix, random_field, resample_matrices, trilinear
from gliomap.data.phantom.head import Head
from gliomap.data.phantom.settings import ENHANCING, NECROSIS, OEDEMA
from gliomap.data.phantom.tissue import Tissue
from gliomap.data.phantom.tumour import Tumour, radius
from gliomap.data.phantom.warp import COMMISSURE, Warp, mesh_points, scanner_axes

STEP = 3.0  # mm, grid of the infiltration
STEPS = 90  # explicit steps of the infiltration
COURANT = .16  # diffusivity x time step / STEP^2, below 1/6
DIFFUSIVITY = (1.0, .13, .004)  # of white, grey, fluid, relative; white/grey contrast of Swanson 2000
NEVER = 1e3  # level outside the brain

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Lesion:
    """Labels (box of the head) and material at the voxels `at` (indices into the head's voxels inside).

    oedema: free water; core, enhancing: shares; gadolinium: mM; core_water: share of fluid in necrosis; texture: about unit
    variance; blood: 0..1, None without bleeding.
    """

    labels: NDArray[np.uint8]
    at: NDArray[np.int32]
    oedema: Array
    core: Array
    enhancing: Array
    gadolinium: Array
    core_water: Array
    texture: Array
    blood: Array | None


@dataclass(frozen=True, eq=False)
class Site:
    """The tumour's sub-box of the head's box: grid, tissue and random textures shared by its parts.

    offsets: mm from the centre along each axis (broadcastable); travel: mm, tissue-weighted distance; lobes, medium, grain:
    random fields of falling spacing; centre2: offset in mm of a satellite, or None.
    """

    rng: np.random.Generator
    voxel: int
    window: tuple[slice, ...]
    axes: list[NDArray]
    offsets: list[Array]
    brain: Mask
    white: Array
    fluid: Array
    travel: Array
    radial: Array
    lobes: Array
    medium: Array
    grain: Array
    centre2: NDArray | None

    def noise(self, spacing: float) -> Array:
        """Random field of unit variance on the sub-box."""
        return random_field(self.rng, self.axes, spacing)

    def soften(self, mask: Mask) -> Array:
        """Partial volume of a mask: mean over 3 voxels at 1 mm."""
        values = mask.astype(np.float32)
        return ndimage.uniform_filter(values, 3) if self.voxel == 1 else values

    def voxels(self, millilitres: float) -> int:
        """Number of voxels of that volume."""
        return int(millilitres / (self.voxel ** 3 / 1000))


def grow_lesion(rng: np.random.Generator, tumour: Tumour, head: Head, tissue: Tissue, warp: Warp) -> Lesion:
    """The lesion of `tumour` at the centre of the warp's mass effect; core and whole volumes are met by quantiles."""
    site = _open_site(rng, tumour, head, tissue, warp)
    core = _core(site, tumour)
    away = distance_outside(core, site.voxel)
    level = _oedema_level(site, tumour, core, away)  # below 0 = inside the visible border
    water = _oedema_water(site, tumour, level, away)
    rim = _rim(site, tumour, core)
    core_share, rim_share = site.soften(core), site.soften(rim)
    core_water = tumour.core_water * np.clip(1 + .22 * site.noise(10.0) + .12 * site.grain, .35, 1.3)
    texture = .6 * site.noise(5.0) + .5 * site.grain + .6 * site.medium
    gadolinium = tumour.gadolinium * rim_share * np.clip(1 + .42 * texture, .12, 2.4)
    gadolinium = gadolinium + .008 * core_share * tumour.high_grade
    labels = _rate(site, tumour, core, level, rim_share > .5)
    blood = np.clip(.7 * (site.noise(8.0) + .35 * site.grain - .9), 0, 1) * core_share if tumour.bleeding else None
    whole = np.zeros(head.mask.shape, np.uint8)
    whole[site.window] = labels
    at, pick = voxels_inside(head, site.window)
    return Lesion(
        whole, at,
        oedema=pick(np.maximum(water, tumour.oedema_water * .9 * core_share)),
        core=pick(core_share),
        enhancing=pick(np.minimum(rim_share, core_share)),
        gadolinium=pick(gadolinium),
        core_water=pick(np.clip(core_water, .05, .97)),
        texture=pick(texture),
        blood=None if blood is None else pick(blood),
    )  # fmt: skip


def voxels_inside(head: Head, window: tuple[slice, ...]) -> tuple[NDArray[np.int32], Callable[[NDArray], Array]]:
    """Indices of the window's voxels in the head's voxel list, and a function that picks a window volume's values there."""
    number = head.volume(np.arange(1, head.inside.size + 1, dtype=np.int32), np.int32)[window].ravel() - 1
    inside = number >= 0
    return number[inside], lambda volume: volume.ravel()[inside].astype(np.float32)


def _open_site(rng: np.random.Generator, tumour: Tumour, head: Head, tissue: Tissue, warp: Warp) -> Site:
    """Choose the sub-box, run the infiltration on its coarse grid, and draw the textures."""
    centre = COMMISSURE + warp.mass.centre * np.array([-1, -1, 1])  # BraTS mm
    half = min(1.6 * radius(tumour.whole_ml) + 11, 76)
    centre2 = None
    if tumour.satellite:
        centre2 = rng.normal(size=3)
        centre2 *= (tumour.core_radius * rng.uniform(1.3, 1.9) + 6) / np.linalg.norm(centre2)
        half = max(half, min(np.abs(centre2).max() + .8 * tumour.core_radius + 9, 84))
    coarse = [c + np.arange(-int(half / STEP), int(half / STEP) + 1) * STEP for c in centre]
    window = tuple(within(axis, grid) for axis, grid in zip(head.axes, coarse))
    axes = [axis[w] for axis, w in zip(head.axes, window)]
    travel = expand(_travel_from_middle(warp, coarse), resample_matrices(axes, coarse, STEP))
    flat = [(axis - c).astype(np.float32) for axis, c in zip(axes, centre)]
    offsets = [flat[0][:, None, None], flat[1][None, :, None], flat[2][None, None, :]]
    return Site(
        rng, head.voxel, window, axes, offsets, head.mask[window],
        white=head.volume(tissue.white)[window],
        fluid=head.volume(tissue.fluid)[window],
        travel=travel,
        radial=_ellipsoidal_radius(rng, offsets),
        lobes=random_field(rng, axes, max(.8 * tumour.core_radius, 7.0)),
        medium=random_field(rng, axes, 8.0),
        grain=random_field(rng, axes, 3.5),
        centre2=centre2,
    )  # fmt: skip


def within(axis: NDArray, grid: NDArray) -> slice:
    """The part of an axis (mm) from the first to the last point of `grid`."""
    inside = np.flatnonzero((axis >= grid[0]) & (axis <= grid[-1]))
    return slice(inside[0], inside[-1] + 1)


def _travel_from_middle(warp: Warp, coarse: list[NDArray]) -> Array:
    """Infiltration from the middle of a coarse grid (BraTS mm) through the subject's template tissue."""
    template = warp(mesh_points(scanner_axes(coarse)))
    shape = [len(axis) for axis in coarse]
    white, grey = trilinear(warp.atlas.fine[:2], warp.atlas.fine_index(template)).reshape(2, *shape)
    return travel_distance((white ** 1.5, grey, np.clip(1 - white - grey, 0, 1)), tuple(n // 2 for n in shape), STEPS)


def travel_distance(tissue: tuple[Array, Array, Array], start: tuple[int, ...], steps: int) -> Array:
    """Tissue-weighted distance in mm from `start` on a grid of STEP mm: sqrt(-log of the diffusion kernel) (Varadhan 1967).

    tissue: white, grey, fluid shares. Harmonic means of the diffusivity at cell faces, explicit steps, no flux at the ends.
    """
    diffusivity = sum(d * share for d, share in zip(DIFFUSIVITY, tissue)).astype(np.float64) + 1e-4
    density = np.zeros_like(diffusivity)
    density[start] = 1.0
    faces = [_sides(diffusivity, axis) for axis in range(3)]
    rates = [COURANT * 2 * high * low / (high + low) for low, high in faces]
    for _ in range(steps):
        flux = [rate * np.diff(density, axis=axis) for axis, rate in enumerate(rates)]
        for axis in range(3):
            low, high = _sides(density, axis)
            low += flux[axis]
            high -= flux[axis]
    log_density = -np.log(np.maximum(density, 1e-280))
    depth = np.sqrt(np.maximum(log_density - log_density.min(), 0))
    return (depth * STEP * np.sqrt(4 * COURANT * steps)).astype(np.float32)


def _sides(volume: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    """Views on the lower and the upper neighbour of every cell face along an axis."""
    before = [slice(None)] * 3
    after = list(before)
    before[axis], after[axis] = slice(None, -1), slice(1, None)
    return volume[tuple(before)], volume[tuple(after)]


def _ellipsoidal_radius(rng: np.random.Generator, offsets: list[Array]) -> Array:
    """Distance in mm from the centre in a randomly stretched and turned metric."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    metric = (turn @ np.diag(np.exp(rng.normal(0, .18, 3))) @ turn.T).astype(np.float32)
    return np.sqrt(sum((row[0] * offsets[0] + row[1] * offsets[1] + row[2] * offsets[2]) ** 2 for row in metric))


def _core(site: Site, tumour: Tumour) -> Mask:
    """Tumour core: level set of ellipsoid and travel distance with lobulation, at the quantile of its volume."""
    rough = .9 * site.medium
    fluid = 9 * np.clip(site.fluid - .45, 0, 1)
    shape = .55 * site.radial + .45 * np.minimum(site.travel, 3 * site.radial + 5)
    level = shape * (1 + .20 * site.lobes) + rough + .55 * site.grain + fluid
    if site.centre2 is not None:
        square = sum((d - np.float32(c)) ** 2 for d, c in zip(site.offsets, site.centre2))
        level = np.minimum(level, np.sqrt(square) * site.rng.uniform(1.5, 2.6) + rough + .5 * site.grain + fluid)
    level = np.where(site.brain, level, NEVER)
    count = min(max(site.voxels(tumour.core_ml), 20), int(site.brain.sum()) - 10)
    core = level < np.partition(level.ravel(), count)[count]
    labels, parts = ndimage.label(core)
    if parts > 1:
        size = np.bincount(labels.ravel())
        size[0] = 0
        core &= (size > max(60 / site.voxel ** 3, .03 * size.max()))[labels]
    return core


def _depth_inside(mask: Mask, voxel: int) -> Array:
    """Distance in mm of each voxel of the mask to its border, 0 outside."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in found)
    depth = np.zeros(mask.shape, np.float32)
    depth[box] = ndimage.distance_transform_edt(np.pad(mask[box], 1))[1:-1, 1:-1, 1:-1] * voxel
    return depth


def distance_outside(mask: Mask, voxel: int) -> Array:
    """Distance in mm to the mask, measured on every second voxel and interpolated; 0 inside."""
    coarse = mask[::2, ::2, ::2]
    distance = ndimage.distance_transform_edt(~coarse).astype(np.float32) * (2 * voxel)
    matrices = [keys_matrix(np.arange(n) / 2, m) for n, m in zip(mask.shape, coarse.shape)]
    return np.maximum(expand(distance, matrices), 0)


def _oedema_level(site: Site, tumour: Tumour, core: Mask, away: Array) -> Array:
    """Level set in mm, below 0 in the whole tumour: follows white matter, spares cortex and fluid."""
    level = np.minimum(site.travel, 2.6 * away + tumour.core_radius) * (1 + .13 * site.noise(16.0))
    level = level + 1.0 * site.medium + .6 * site.grain - 9.0 * (site.white - .35)
    level = level + 26 * np.clip(site.fluid - .25, 0, 1) + 9.0 * np.clip(.30 - site.white, 0, 1)
    level = np.where(core, -50, np.minimum(level, 6 * away + np.where(site.white > .4, -4, 4)))
    level = np.where(site.brain, level, NEVER)
    count = min(max(site.voxels(tumour.whole_ml), int(core.sum()) + 200), int(site.brain.sum()) - 10)
    return level - np.partition(level.ravel(), count)[count]


def _oedema_water(site: Site, tumour: Tumour, level: Array, away: Array) -> Array:
    """Free-water share of the oedema: soft border, heterogeneous, most in white matter and near the core."""
    edge = 1 / (1 + np.exp(np.clip(level / tumour.border + .3, -30, 30)))
    uneven = np.clip(1 + .16 * site.noise(11.0) + .08 * site.grain, .4, 1.5)
    place = np.clip(.50 + .75 * site.white + .2 * np.exp(-away / 4), 0, 1.05)
    return tumour.oedema_water * edge * uneven * place * (1 - .5 * site.fluid)


def _rim(site: Site, tumour: Tumour, core: Mask) -> Mask:
    """Enhancing tumour: a rim of uneven width with gaps, nodules and septa; patches in low grade."""
    if not tumour.enhancing:
        return np.zeros_like(core)
    width = tumour.rim * np.clip(1 + .55 * site.noise(9.0) + .35 * site.grain, 0, 3)
    rim = core & (_depth_inside(core, site.voxel) <= width)
    if not tumour.high_grade:
        return rim & (site.noise(12.0) > .5)
    rim &= site.noise(14.0) > -1.6
    return rim | core & (site.noise(6.0) > 1.55)


def _rate(site: Site, tumour: Tumour, core: Mask, level: Array, enhancing: Mask) -> NDArray[np.uint8]:
    """BraTS labels: the visible border with the rater's slow offset, lightly smoothed, without fluid."""
    offset = tumour.border * (1.0 * site.noise(12.0) + site.rng.normal(.2, .7))
    oedema = (level < offset) & site.brain & (site.fluid < .55)
    if site.voxel == 1:
        oedema = ndimage.uniform_filter(oedema.astype(np.float32), 3) > .5
    parts, count = ndimage.label(oedema | core)
    if count > 1:
        size = np.bincount(parts.ravel())
        size[0] = 0
        oedema &= (size > 150 / site.voxel ** 3)[parts]
    labels = np.zeros(core.shape, np.uint8)
    labels[oedema] = OEDEMA
    labels[core] = NECROSIS
    labels[core & enhancing] = ENHANCING
    labels[~site.brain] = 0
    return labels
