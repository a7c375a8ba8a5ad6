"""Individual shape: where in the template each point of a subject comes from (backward warp, mm).

Subject -> mass effect -> affine -> diffeomorphism -> template. Subject points are scanner coordinates (RAS) about the
anterior commissure; template points are MNI mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.data.phantom.atlas import Atlas
from gliomap.data.phantom.fields import Array, Axes, random_field, trilinear
from gliomap.data.phantom.settings import Knobs

COMMISSURE = np.array([118.3, 111.7, 66.0])  # BraTS voxel (1 mm) of the anterior commissure in the mean subject
MEAN_SCALE = np.array([.935, .937, .905])  # subject over template, x, y, z
STEP = 5.0  # mm, grid of the velocity field
SQUARINGS = 5  # of the exponential of the velocity field
AMPLITUDES = {45.0: 3.3, 22.0: 2.1, 12.0: 1.6}  # mm, by spacing of the random field (mm)


@dataclass(frozen=True)
class Person:
    """Anatomy that one person was given.

    age: years; scale: subject over template; inverse, shift: affine from subject to template; ventricle: widening in mm;
    atrophy: about 0 (young) to 1.3; wmh: load of white-matter hyperintensities, about 0.1 to 4.
    """

    age: float
    scale: NDArray
    inverse: NDArray
    shift: NDArray
    ventricle: float
    atrophy: float
    wmh: float


def draw_person(rng: np.random.Generator, knobs: Knobs) -> Person:
    """A person from an adult glioma population: age about N(58, 13)."""
    age = float(np.clip(rng.normal(58, 13), 22, 85))
    scale = MEAN_SCALE * (1 + rng.normal(0, .026)) * (1 + rng.normal(0, .016, 3))
    rotation = _rotation(np.deg2rad(rng.normal(0, [2.0, 1.5, 2.0])))
    inverse = np.diag(1 / scale) @ rotation.T
    inverse += rng.normal(0, .006, (3, 3)) * (1 - np.eye(3))
    return Person(
        age, scale, inverse,
        shift=rng.normal(0, 1.2, 3),
        ventricle=float(np.clip(rng.normal(.9 + (age - 55) * .045, 1.2), -1.0, 5.0)),
        atrophy=float(np.clip(rng.normal(.25 + (age - 55) * .018, .3), -.4, 1.3)),
        wmh=float(np.exp(rng.normal(-1.35 + (age - 55) * .035, .85))) * knobs.wmh,
    )  # fmt: skip


def _rotation(angles: NDArray) -> NDArray:
    rotation = np.eye(3)
    for angle, (i, j) in zip(angles, ((1, 2), (0, 2), (0, 1))):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = turn @ rotation
    return rotation


@dataclass(frozen=True, eq=False)
class VelocityBasis:
    """What all velocity fields share, on the grid `axes` (template mm).

    damping: by spacing, keeps the skull's outline smooth; ventricle: unit field (3, x, y, z) away from the ventricles.
    """

    axes: list[NDArray]
    damping: dict[float, Array]
    ventricle: Array


@lru_cache(maxsize=1)
def velocity_basis(atlas: Atlas) -> VelocityBasis:
    """The basis of one atlas, computed once."""
    size = atlas.fine[0].shape
    axes = [np.arange(atlas.origin[a] - 10, atlas.origin[a] + size[a] + 10, STEP) for a in range(3)]
    mesh = np.meshgrid(*axes, indexing="ij")
    points = atlas.soft_index([m.ravel() for m in mesh])
    depth = trilinear(atlas.soft[:1], points)[0].reshape(mesh[0].shape)
    distance = trilinear([ndimage.gaussian_filter(atlas.soft[4], 1.5)], points)[0].reshape(mesh[0].shape)
    outwards = np.stack(np.gradient(distance, STEP))
    outwards /= np.maximum(np.sqrt((outwards ** 2).sum(0)), .3)
    damping = {
        45.0: np.clip((depth + 8) / 16, .5, 1).astype(np.float32),
        22.0: np.clip((depth + 4) / 16, .2, 1).astype(np.float32),
        12.0: np.clip((depth - 1) / 10, .05, 1).astype(np.float32),
    }
    return VelocityBasis(axes, damping, (outwards * np.exp(-(distance / 13.0) ** 2)).astype(np.float32))


def draw_displacement(rng: np.random.Generator, basis: VelocityBasis, ventricle: float) -> Array:
    """Diffeomorphic displacement (3, x, y, z) in mm: exponential of a random stationary velocity field.

    `ventricle` mm of widening are added. Scaling and squaring: Arsigny 2006.
    """
    velocity = np.zeros(basis.ventricle.shape, np.float32)
    for spacing, amplitude in AMPLITUDES.items():
        for axis in range(3):
            velocity[axis] += amplitude * basis.damping[spacing] * random_field(rng, basis.axes, spacing)
    velocity -= ventricle * basis.ventricle
    step = velocity / 2 ** SQUARINGS / STEP
    grid = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in step.shape[1:]], indexing="ij")
    for _ in range(SQUARINGS):
        moved = [(grid[axis] + step[axis]).ravel() for axis in range(3)]
        step = step + trilinear(list(step), moved).reshape(step.shape)
    return step * STEP


@dataclass(frozen=True)
class MassEffect:
    """Radial push of a growing tumour: centre and reach in subject mm, peak displacement in mm."""

    centre: NDArray
    reach: float
    peak: float


@dataclass(frozen=True, eq=False)
class Warp:
    """The backward warp of one subject; `mass` is None without a tumour."""

    atlas: Atlas
    person: Person
    displacement: Array
    mass: MassEffect | None

    def healthy(self, points: NDArray) -> NDArray:
        """Template mm (3, n) of subject points (3, n), as if there were no tumour."""
        linear = self.person.inverse @ (points - self.person.shift[:, None])
        axes = velocity_basis(self.atlas).axes
        where = [((linear[a] - axes[a][0]) / STEP).astype(np.float32) for a in range(3)]
        return linear + trilinear(list(self.displacement), where)

    def __call__(self, points: NDArray) -> NDArray:
        """Template mm (3, n) of subject points (3, n): tissue at a point came from nearer to the tumour's centre.

        Displacement at r: 2 peak t / (1 + t^2.4), t = r / reach; tapered to 0 at the skull.
        """
        if self.mass is None:
            return self.healthy(points)
        offset = points - self.mass.centre[:, None]
        radius = np.sqrt((offset ** 2).sum(0)) + 1e-3
        t = radius / self.mass.reach
        push = 2 * self.mass.peak * t / (1 + t ** 2.4)
        depth = trilinear(self.atlas.soft[:1], self.atlas.soft_index(self.healthy(points)))[0]
        return self.healthy(points - offset / radius * (push * np.clip((depth + 1) / 14, 0, 1)))


def scanner_axes(axes: Axes) -> list[NDArray]:
    """BraTS voxel coordinates (1 mm) as subject mm (RAS about the anterior commissure), one axis at a time."""
    return [-(axes[0] - COMMISSURE[0]), -(axes[1] - COMMISSURE[1]), axes[2] - COMMISSURE[2]]


def mesh_points(axes: Sequence[NDArray]) -> NDArray:
    """All points of a grid: (3, n), the last axis fastest."""
    return np.stack([m.ravel() for m in np.meshgrid(*axes, indexing="ij")])
