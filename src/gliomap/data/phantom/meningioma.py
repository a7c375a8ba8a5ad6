"""A tumour outside the brain: seated on the dura with a broad base, round, evenly enhancing, the cortex pushed in.

What a reader looks for on T1ce: an obtuse angle with the skull, a dark cleft of fluid between tumour and cortex, cortex
bent around the mass, a dural tail, little oedema. Other extra-axial tumours (schwannoma, adenoma) are not made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.data.phantom.fields import Array, random_field, trilinear
from gliomap.data.phantom.head import Head, coarse_axes
from gliomap.data.phantom.lesion import NEVER, Lesion, Mask, distance_outside, voxels_inside, within
from gliomap.data.phantom.settings import ENHANCING, Knobs
from gliomap.data.phantom.tissue import Tissue
from gliomap.data.phantom.tumour import Tumour, radius
from gliomap.data.phantom.warp import COMMISSURE, MassEffect, Warp, mesh_points, scanner_axes

MEDIAN_ML, SPREAD = 17.0, .65  # of the volume, lognormal
LIMITS_ML = (4.0, 75.0)
REACH = 1.15  # of the mass effect over the radius: tissue at the tumour's surface moves most
TAIL = .7  # share with a dural tail
TAIL_MM = (7.0, 17.0)  # its length
DURA_MM = 3.4  # below this depth the tail may run
CLEFT_MM = 1.5  # of fluid around the tumour
RIBBON_MM = (1.5, 4.5)  # cortex around it
PATCHY = .35  # of the texture of a glioma


def draw_meningioma(rng: np.random.Generator, knobs: Knobs) -> Tumour:
    """A tumour of 2 to 5 cm, all of it enhancing; four in ten have some oedema."""
    volume = float(np.clip(np.exp(rng.normal(np.log(MEDIAN_ML), SPREAD)), *LIMITS_ML))
    oedema = rng.random() < .4
    return Tumour(
        False, volume, volume, True, radius(volume),
        push=float(rng.uniform(.36, .42)),
        oedema_water=float(rng.uniform(.15, .5) * knobs.oedema * oedema),
        core_water=.05, fluid_r1=.4,
        gadolinium=float(rng.uniform(.22, .42)),
        t1_factor=float(np.exp(rng.normal(-.08, .05))),
        t2_factor=float(np.exp(rng.normal(-.15, .10))),
        border=float(rng.uniform(4, 9)),
        satellite=False, bleeding=False,
    )  # fmt: skip


def place_on_dura(rng: np.random.Generator, tumour: Tumour, warp: Warp) -> MassEffect:
    """Seat the tumour on the dura of the convexity; its centre lies a third to six tenths of its radius deep."""
    points = mesh_points(scanner_axes(coarse_axes()))
    template = warp.healthy(points)
    depth = trilinear(warp.atlas.soft[:1], warp.atlas.soft_index(template))[0]
    wanted = rng.uniform(.3, .6) * tumour.core_radius
    weight = np.exp(-.5 * ((depth - wanted) / 1.2) ** 2) * np.exp(-.5 * ((template[2] - 30) / 17) ** 2)
    weight = weight * (depth > 0) * (template[2] > 0) * (np.abs(template[0]) > .5 * tumour.core_radius)
    weight = weight.astype(float)
    centre = points[:, rng.choice(weight.size, p=weight / weight.sum())] + rng.uniform(-1.5, 1.5, 3)
    reach = REACH * tumour.core_radius
    return MassEffect(centre, reach, tumour.push * reach)


@dataclass(frozen=True, eq=False)
class Seat:
    """The tumour's sub-box of the head's box; surface: mm below the smooth surface; away: mm outside the tumour."""

    window: tuple[slice, ...]
    axes: list[NDArray]
    brain: Mask
    surface: Array
    body: Mask
    away: Array


def grow_meningioma(rng: np.random.Generator, tumour: Tumour, head: Head, tissue: Tissue, warp: Warp) -> Lesion:
    """The lesion at the centre of the warp's mass effect; lines it with a cleft and cortex, in `tissue`, in place.

    Its labels are ENHANCING only: oedema and dural tail are not labelled, as in data sets of the enhancing tumour.
    """
    seat = _seat(rng, tumour, head, warp)
    at, pick = voxels_inside(head, seat.window)
    grain, medium = random_field(rng, seat.axes, 3.5), random_field(rng, seat.axes, 9.0)
    _line(tissue, at, pick(seat.away), pick(seat.surface), pick(medium))
    share = ndimage.uniform_filter(seat.body.astype(np.float32), 3) if head.voxel == 1 else seat.body.astype(np.float32)
    share = np.maximum(share, _tail(rng, seat, medium))
    texture = PATCHY * (.6 * grain + .7 * medium)
    spread = np.exp(-((seat.away / tumour.border) ** 2)) * np.clip(1 + .5 * medium, .3, 1.6)
    labels = np.zeros(head.mask.shape, np.uint8)
    labels[seat.window][seat.body] = ENHANCING
    return Lesion(
        labels, at,
        oedema=pick(tumour.oedema_water * spread * (seat.surface > 4)) * tissue.white_share[at],
        core=pick(share),
        enhancing=pick(share),
        gadolinium=pick(tumour.gadolinium * share * np.clip(1 + .5 * texture, .5, 1.5)),
        core_water=pick(np.full(seat.body.shape, tumour.core_water)),
        texture=pick(texture),
        blood=None,
    )  # fmt: skip


def _seat(rng: np.random.Generator, tumour: Tumour, head: Head, warp: Warp) -> Seat:
    """The sub-box and the body in it: nearly a ball, cut off by the skull and by the midline, at its volume."""
    centre = COMMISSURE + warp.mass.centre * np.array([-1, -1, 1])  # BraTS mm
    half = 1.7 * tumour.core_radius + TAIL_MM[1]
    window = tuple(within(axis, np.array([c - half, c + half])) for axis, c in zip(head.axes, centre))
    axes = [axis[w] for axis, w in zip(head.axes, window)]
    brain = head.mask[window]
    side = head.volume(head.points[0])[window] * np.sign(warp.healthy(warp.mass.centre[:, None])[0, 0])
    level = _roundish(rng, axes, centre, tumour.core_radius)
    level = np.where(brain & (side > 0), level, NEVER)
    count = min(max(int(tumour.core_ml / (head.voxel ** 3 / 1000)), 20), int((level < NEVER).sum()) - 10)
    body = level < np.partition(level.ravel(), count)[count]
    parts, number = ndimage.label(body)
    if number > 1:
        body &= parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    surface = head.volume(head.surface)[window]
    return Seat(window, axes, brain, surface, body, distance_outside(body, head.voxel))


def _roundish(rng: np.random.Generator, axes: list[NDArray], centre: NDArray, size: float) -> Array:
    """Distance in mm from the centre, slightly stretched and lobulated."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    metric = turn @ np.diag(np.exp(rng.normal(0, .09, 3))) @ turn.T
    flat = [axis - c for axis, c in zip(axes, centre)]
    offsets = [flat[0][:, None, None], flat[1][None, :, None], flat[2][None, None, :]]
    square = sum((row[0] * offsets[0] + row[1] * offsets[1] + row[2] * offsets[2]) ** 2 for row in metric)
    return np.sqrt(square) * (1 + .045 * random_field(rng, axes, max(.9 * size, 8.0)))


def _line(tissue: Tissue, at: NDArray[np.int32], away: Array, surface: Array, uneven: Array) -> None:
    """A cleft of fluid around the tumour, widest near the skull, and cortex behind it; in place."""
    cleft = np.clip((CLEFT_MM + .5 * uneven - away) / .8, 0, 1) * np.clip((surface - 1) / 2, 0, 1) * (away > 0)
    tissue.fluid[at] = np.maximum(tissue.fluid[at], .8 * cleft)
    ribbon = np.clip((RIBBON_MM[1] + .6 * uneven - away) / 1.5, 0, 1) * (away > RIBBON_MM[0] - 1)
    tissue.white_share[at] *= 1 - .9 * ribbon


def _tail(rng: np.random.Generator, seat: Seat, uneven: Array) -> Array:
    """Share 0..0.8 of thickened dura that tapers away from the base."""
    length, has = rng.uniform(*TAIL_MM), rng.random() < TAIL
    left = np.clip(1 - seat.away / length, 0, 1)
    thin = np.clip((DURA_MM * left + .5 * uneven - seat.surface) / .8, 0, 1)
    return (.8 * has * thin * (left > 0) * seat.brain).astype(np.float32)
