"""What tumour a subject has and where: volumes and material as in BraTS 2020, and its seed in the white matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomap.data.phantom.fields import trilinear
from gliomap.data.phantom.head import coarse_axes
from gliomap.data.phantom.settings import Knobs
from gliomap.data.phantom.warp import MassEffect, Warp, mesh_points, scanner_axes

HIGH_GRADE = 293 / 369  # share of high grade in the training set of BraTS 2020


@dataclass(frozen=True)
class Tumour:
    """One drawn tumour.

    whole_ml, core_ml: volumes of whole tumour and core; rim: mm of the enhancing rim (0 = none); push: peak displacement
    over the core's radius; oedema_water, core_water: free-water shares; fluid_r1: 1/s of cyst fluid; gadolinium: mM;
    t1_factor, t2_factor: of the solid part; border: mm, softness of the oedema's edge.
    """

    high_grade: bool
    whole_ml: float
    core_ml: float
    enhancing: bool
    rim: float
    push: float
    oedema_water: float
    core_water: float
    fluid_r1: float
    gadolinium: float
    t1_factor: float
    t2_factor: float
    border: float
    satellite: bool
    bleeding: bool

    @property
    def core_radius(self) -> float:
        """Radius in mm of a ball with the core's volume."""
        return radius(self.core_ml)


def radius(millilitres: float) -> float:
    """Radius in mm of a ball of that volume."""
    return (3 * millilitres * 1e3 / 4 / np.pi) ** (1 / 3)


def draw_tumour(rng: np.random.Generator, knobs: Knobs) -> Tumour:
    """A tumour as BraTS 2020 mixes them; every draw is made also for subjects that turn out healthy."""
    high = bool(rng.random() < HIGH_GRADE)
    whole = float(np.clip(rng.gamma(2.9, 36.5), 8, 250))
    core, enhancing, rim = _draw_core(rng, high, whole)
    push = float(rng.uniform(.08, .34) if high else rng.uniform(.05, .25))
    oedema_water = float(np.clip((.13 + .80 * rng.beta(1.4, 1.5)) * knobs.oedema, 0, .97))
    cyst = rng.random() < .32 * knobs.cyst  # CSF-like necrosis or cyst: dark on FLAIR
    return Tumour(
        high, whole, core, enhancing, rim, push, oedema_water,
        core_water=float(rng.uniform(.70, .97) if cyst else rng.uniform(.05, .60)),
        fluid_r1=float(rng.uniform(.25, .32) if cyst else rng.uniform(.32, .46)),
        gadolinium=float(rng.uniform(.10, .36) if high else rng.uniform(.04, .2)),
        t1_factor=float(np.exp(rng.normal(0, .10))),
        t2_factor=float(np.exp(rng.normal(0, .20))),
        border=float(rng.uniform(1.0, 4.5)),
        satellite=bool(rng.random() < .10),
        bleeding=bool(high and rng.random() < .18),
    )  # fmt: skip


def _draw_core(rng: np.random.Generator, high: bool, whole: float) -> tuple[float, bool, float]:
    """Volume of the core in ml, whether it enhances, and the width of its rim in mm."""
    if high:
        core = float(np.clip(rng.beta(2.4, 4.4), .04, .9)) * whole
        solid = rng.random() < .15
        return core, True, float(rng.uniform(3.0, 8.5) * (2.5 if solid else 1))
    core = float(np.clip(rng.beta(3.5, 2.6), .15, .95)) * whole
    enhancing = bool(rng.random() < .4)
    return core, enhancing, float(rng.uniform(.8, 2.5)) if enhancing else 0.0


def place(rng: np.random.Generator, tumour: Tumour, warp: Warp) -> MassEffect:
    """Seed the tumour in supratentorial white matter and size its mass effect."""
    points = mesh_points(scanner_axes(coarse_axes()))
    weight = _seed_weight(warp, warp.healthy(points))
    centre = points[:, rng.choice(weight.size, p=weight)] + rng.uniform(-1.5, 1.5, 3)
    reach = 1.05 * tumour.core_radius + 7
    return MassEffect(centre, reach, min(tumour.push * tumour.core_radius + .6, .42 * reach))


def _seed_weight(warp: Warp, template: NDArray) -> NDArray:
    """Probability of each template point (3, n) to be the seed: deep white matter, no cerebellum, no stem."""
    x, y, z = template
    white = trilinear(warp.atlas.fine[:1], warp.atlas.fine_index(template))[0]
    depth, distance = trilinear([warp.atlas.soft[0], warp.atlas.soft[4]], warp.atlas.soft_index(template))
    below = (z < -14 - .32 * (y + 38)) & (y < -18) | (z < -42)
    stem = (np.abs(x) < 17) & (y > -48) & (y < -2) & (z < 2)
    weight = white ** 2 * (depth > 7) * ~below * ~stem * (np.abs(x) > 6)
    weight = weight * np.where(distance < 4, .5, 1)
    weight = weight * np.exp(-.5 * ((y + 16) / 31) ** 2) * np.exp(-.5 * ((z + 4) / 33) ** 2)
    weight = np.maximum(weight, 0).astype(float)
    return weight / weight.sum()
