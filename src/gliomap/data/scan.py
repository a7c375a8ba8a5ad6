"""One case in memory, with the same planes whether its voxels are 1 or 2 mm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from gliomap.base.errors import UserError
from gliomap.data.case import CAVITY, MODALITIES, WHOLE_TUMOUR, Case, read_all, read_mask, split_channel
from gliomap.data.resample import centred


@dataclass(frozen=True)
class Scan:
    """volumes: modality -> (X, Y, Z) in scanner units, 0 outside the brain; labels: uint8 (X, Y, Z), see case.py.

    Axes: X towards left, Y towards posterior, Z towards superior. voxel: edge in whole mm. Below, all counts are
    in mm, as in the papers.
    """

    volumes: Mapping[str, NDArray]
    labels: NDArray[np.uint8]
    voxel: int = 1

    @property
    def depth(self) -> int:
        """mm along Z."""
        return self.labels.shape[2] * self.voxel

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that are there, in the order of MODALITIES."""
        return tuple(name for name in MODALITIES if name in self.volumes)

    @cached_property
    def tumour(self) -> NDArray[np.bool_]:
        """(X, Y, Z): the whole tumour, all its parts."""
        return np.isin(self.labels, WHOLE_TUMOUR)

    @cached_property
    def tumour_mm2(self) -> NDArray[np.int64]:
        """(depth,): tumour area in each axial plane."""
        return self.per_plane(self.tumour)

    @cached_property
    def cavity_mm2(self) -> NDArray[np.int64]:
        """(depth,): area of resection cavities, which are neither tumour nor healthy."""
        return self.per_plane(self.labels == CAVITY)

    def per_plane(self, volume: NDArray) -> NDArray:
        """(depth,): sum over each axial plane, times mm2 per voxel."""
        return np.repeat(volume.sum((0, 1)) * self.voxel**2, self.voxel)

    def brain(self, modalities: tuple[str, ...] = MODALITIES) -> NDArray[np.bool_]:
        """(X, Y, Z): any of `modalities` above 0; of all that are there, if none of those is."""
        there = [name for name in modalities if name in self.volumes] or self.modalities
        result = self.volumes[there[0]] > 0
        for name in there[1:]:
            result |= self.volumes[name] > 0
        return result

    def plane(self, volume: NDArray, z: int, edge: int) -> NDArray:
        """(edge, edge): centre of the axial plane at z mm, 1 mm pixels; rows lead to posterior, columns to left."""
        cut = volume[:, :, z // self.voxel].T
        return centred(cut.repeat(self.voxel, 0).repeat(self.voxel, 1), edge)


def read_scan(case: Case) -> Scan:
    """The case from its files. UserError if one is unreadable, or its voxels are no cubes of whole millimetres."""
    return Scan(read_all(case), read_mask(case), _voxel(case))


def _voxel(case: Case) -> int:
    path = case.root / split_channel(case.files[MODALITIES[0]])[0]
    zooms = np.array(nib.load(path).header.get_zooms()[:3], float)
    edge = int(np.rint(zooms[0]))
    if edge < 1 or not np.allclose(zooms, edge, atol=0.01):
        found = " x ".join(f"{zoom:g}" for zoom in zooms)
        raise UserError(f"{path}: voxels of {found} mm, expected cubes of 1 mm; resample the case first")
    return edge
