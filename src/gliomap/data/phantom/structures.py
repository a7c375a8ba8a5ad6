"""Where things are in the template: deep nuclei, limbic cortex, venous sinuses, ventricles, as tables in MNI millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SOFTNESS = .25  # half-width of an ellipsoid's edge, in radii

Point = tuple[float, float, float]
Ellipsoid = tuple[float, Point, Point]  # weight, centre (|x|, y, z), radii; mirrored in x

THALAMUS = ((1.0, (11, -18, 8), (10, 15, 10)),)
CAUDATE = ((1.0, (12, 13, 8), (7, 11, 10)), (1.0, (15, 2, 18), (6, 14, 8)))
PUTAMEN = ((1.0, (26, 3, 2), (8, 17, 12)),)
PALLIDUM = ((1.0, (19, -4, -1), (7, 9, 6)),)
IRON_NUCLEI = (  # substantia nigra, red nucleus, dentate nucleus
    (.9, (10, -17, -11), (4.5, 6, 4)), (.9, (5, -20, -8), (3.5, 4, 4)), (.7, (15, -57, -33), (7, 8, 5)),
)  # fmt: skip
LIMBIC = (  # insula, anterior and middle and posterior cingulate, hippocampus, amygdala, Heschl's gyrus, subcallosal
    (1.0, (38, 2, 0), (7, 20, 14)), (1.0, (5, 30, 18), (6, 16, 14)), (1.0, (5, 5, 38), (6, 35, 9)),
    (1.0, (5, -42, 28), (6, 18, 12)), (1.0, (26, -20, -15), (10, 18, 9)), (1.0, (22, -4, -18), (9, 8, 8)),
    (.6, (25, -28, 10), (4, 8, 12)), (.5, (6, 22, -10), (8, 14, 8)),
)  # fmt: skip
CHOROID = ((1.0, (24, -40, 6), (5, 7, 6)), (1.0, (21, -34, 15), (3, 7, 3)), (.8, (11, -14, 19), (3, 18, 2.2)))
IRON_SHARE = {"pallidum": 1.0, "putamen": .35, "caudate": .22, "thalamus": .12}
LATERAL_SEED = (8, 15, 12)  # a point inside the lateral ventricle


@dataclass(frozen=True, eq=False)
class Frame:
    """Voxel coordinates of a 1-mm volume in MNI mm, as three broadcastable arrays."""

    x: NDArray
    y: NDArray
    z: NDArray

    @classmethod
    def of(cls, shape: tuple[int, ...], origin: NDArray) -> Frame:
        """The frame of a volume whose voxel 0 lies at `origin`."""
        axes = [np.arange(n, dtype=np.float32) + origin[a] for a, n in enumerate(shape)]
        return cls(axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the volume."""
        return self.x.shape[0], self.y.shape[1], self.z.shape[2]

    def index(self, point: Point) -> tuple[int, ...]:
        """Voxel nearest to a point in MNI mm."""
        return tuple(round(p - float(axis.flat[0])) for p, axis in zip(point, (self.x, self.y, self.z)))

    def ellipsoids(self, table: Sequence[Ellipsoid]) -> NDArray:
        """Largest weight of the soft ellipsoids at each voxel, 0..1; each is evaluated in its own box only."""
        field = np.zeros(self.shape)
        for weight, centre, radii in table:
            for side in (1, -1):
                box, values = self._ellipsoid((side * centre[0], *centre[1:]), radii)
                np.maximum(field[box], weight * values, out=field[box])
        return field

    def _ellipsoid(self, centre: Point, radii: Point) -> tuple[tuple[slice, ...], NDArray]:
        box, square = [], []
        for axis, c, r in zip((self.x, self.y, self.z), centre, radii):
            scaled = (axis - c) / r
            inside = np.flatnonzero(np.abs(scaled.ravel()) <= 1 + SOFTNESS)
            box.append(slice(inside[0], inside[-1] + 1))
            square.append(scaled ** 2)
        x, y, z = (s[tuple(b if n > 1 else slice(None) for b, n in zip(box, s.shape))] for s in square)
        return tuple(box), np.clip((1 + SOFTNESS - np.sqrt(x + y + z)) / (2 * SOFTNESS), 0, 1)


def ventricles(frame: Frame, fluid: NDArray, mask: NDArray) -> NDArray:
    """Lateral ventricles by connectivity, third and fourth by their boxes: bool."""
    labels, _ = ndimage.label((fluid > .5) & mask)
    x, y, z = frame.x, frame.y, frame.z
    lateral = labels == labels[frame.index(LATERAL_SEED)]
    third = (np.abs(x) < 4.5) & (y > -32) & (y < 4) & (z > -12) & (z < 9) & (fluid > .15)
    fourth = (np.abs(x) < 13) & (y > -58) & (y < -36) & (z > -45) & (z < -20) & (fluid > .4)
    return lateral | third | fourth


def nuclei(frame: Frame, ventricle: NDArray) -> tuple[NDArray, NDArray]:
    """Share of deep grey matter outside `ventricle` (0..1), and relative iron content (0..1)."""
    parts = {name: frame.ellipsoids(table) for name, table in (
        ("thalamus", THALAMUS), ("caudate", CAUDATE), ("putamen", PUTAMEN), ("pallidum", PALLIDUM))}  # fmt: skip
    iron = frame.ellipsoids(IRON_NUCLEI)
    deep = np.zeros(frame.shape)
    for name, part in parts.items():
        np.maximum(deep, part, out=deep)
        np.maximum(iron, IRON_SHARE[name] * part, out=iron)
    return deep * (1 - np.clip(ventricle, 0, 1)), iron


def sinuses(frame: Frame, depth: NDArray, fluid: NDArray, ventricle: NDArray) -> NDArray:
    """Sagittal and transverse sinuses and the falx: 0..1. `depth` = mm below the brain's surface."""
    x, y, z = frame.x, frame.y, frame.z
    edge = np.clip(1 - np.abs(depth - 1.0) / 5.0, 0, 1)
    field = np.clip(1 - np.abs(x) / 4.0, 0, 1) * edge * ((z > 30) | (y < -85))
    np.maximum(field, .8 * np.clip(1 - np.abs(z + 12) / 4.0, 0, 1) * edge * (y < -70), out=field)
    middle = np.flatnonzero(np.abs(frame.x.ravel()) < 1.2)
    thin = slice(middle[0], middle[-1] + 1)
    falx = .35 * np.clip(1 - np.abs(x[thin]) / 1.2, 0, 1) * fluid[thin] * (z > -5) * (ventricle[thin] < .2)
    np.maximum(field[thin], falx, out=field[thin])
    return field
