"""Cases of any voxel size on BraTS's grid: 240 x 240 x 155 voxels of 1 mm in the space of the SRI24 template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from gliomap.data.case import AXES, Case, Volume, load, read_all, read_mask
from gliomap.data.phantom.settings import SHAPE, affine
from gliomap.data.scan import Scan

AFFINE = affine(1)
SAME_MM = 0.01  # entries of two affines that differ by less are the same
LOST = 0.01  # share of a brain that may lie outside the grid
CENTRE = np.array([118.0, 128.0, 71.0])  # mean middle of the brain's bounding box in BraTS, voxels of the grid
FAR_MM = 30.0  # from there: no brain in SRI24 is
REGISTER = "register it to the SRI24 template first, as BraTS is (with its affine, voxel 0 at 0, 239, 0 mm)"
Box = tuple[slice, slice, slice]


def turned_affine(volume: Volume) -> NDArray[np.float64]:
    """4x4 from the voxels of `volume.array`, whose axes `load` has turned, to mm (RAS)."""
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(AXES))
    stored = [volume.array.shape[int(axis)] for axis in turn[:, 0]]
    return volume.affine @ inv_ornt_aff(turn, stored)


def placed(report: Callable[..., Any], volume: Volume) -> Iterator[Any]:
    """Problems with where the brain lies, see checks.Expected."""
    if None in volume.axes:
        return
    inside = np.argwhere(volume.array[::2, ::2, ::2] != 0) * 2
    if not len(inside):
        return
    where = nib.affines.apply_affine(np.linalg.inv(AFFINE) @ turned_affine(volume), inside)
    lost = np.mean((np.rint(where) < 0).any(1) | (np.rint(where) >= SHAPE).any(1))
    away = float(np.linalg.norm((where.min(0) + where.max(0)) / 2 - CENTRE))
    if lost > LOST:
        found = f"{lost:.0%} of the brain outside of it"
        yield report("brain outside of the BraTS grid", "all of it in 240 x 240 x 155 mm", found, REGISTER)
    elif away > FAR_MM:
        yield report("brain not where SRI24 has it", f"its middle within {FAR_MM:g} mm", f"{away:.0f} mm away", REGISTER)


def read_registered(case: Case) -> Scan:
    """The case's volumes (of `case.files`) and labels on the grid. All its files must share one grid, see checks.py.

    On the grid already: as stored. Else images are float32, linear between the voxels of the brain (what lies around does
    not mix in), 0 where the nearest voxel is outside; labels are the nearest voxel's. UserError if a file is unreadable.
    """
    names = tuple(case.files)
    volumes, labels = read_all(case, names), read_mask(case)
    space = turned_affine(load(case.root, case.files[names[0]]))
    if labels.shape == SHAPE and np.allclose(space, AFFINE, atol=SAME_MM, rtol=0):
        return Scan(volumes, labels)
    brain = np.logical_or.reduce([volume > 0 for volume in volumes.values()])
    box = _box(brain, space)
    weight = _sampled(brain.astype(np.float32), space, box, 1)
    inside = _sampled(brain.astype(np.uint8), space, box, 0) > 0
    placed_volumes = {}
    for name, volume in volumes.items():
        values = _sampled(np.where(brain, volume, 0).astype(np.float32), space, box, 1) / np.maximum(weight, 1e-3)
        placed_volumes[name] = _whole(np.where(inside, values, np.float32(0)), box)
    return Scan(placed_volumes, _whole(_sampled(labels, space, box, 0), box))


def _box(brain: NDArray[np.bool_], space: NDArray) -> Box:
    """The part of the grid that holds the brain; at least one voxel."""
    found = [np.flatnonzero(brain.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    ends = [(hit[0] - 1, hit[-1] + 1) if len(hit) else (0, 0) for hit in found]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), -1).reshape(-1, 3)
    where = nib.affines.apply_affine(np.linalg.inv(AFFINE) @ space, corners)
    low = np.clip(np.floor(where.min(0)), 0, np.array(SHAPE) - 1).astype(int)
    high = np.clip(np.ceil(where.max(0)) + 1, low + 1, SHAPE).astype(int)
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True))


def _sampled(array: NDArray, space: NDArray, box: Box, order: int) -> NDArray:
    """The array (with zeros around it) at the voxels of the box; order 1: linear, 0: nearest."""
    image = nib.Nifti1Image(np.pad(array, 1), space @ _shift(-1, -1, -1))
    target = tuple(s.stop - s.start for s in box), AFFINE @ _shift(*(s.start for s in box))
    return np.asarray(resample_from_to(image, target, order=order).dataobj)


def _shift(*steps: int) -> NDArray:
    return nib.affines.from_matvec(np.eye(3), steps)


def _whole(part: NDArray, box: Box) -> NDArray:
    whole = np.zeros(SHAPE, part.dtype)
    whole[box] = part
    return whole
