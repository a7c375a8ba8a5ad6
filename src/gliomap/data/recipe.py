"""What a recipe is, and one case through it: which slices, which intensities, which grid, which label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gliomap.base.errors import UserError
from gliomap.data import intensity, resample
from gliomap.data.case import MODALITIES
from gliomap.data.intensity import Tone
from gliomap.data.resample import Axis
from gliomap.data.scan import Scan

ROUNDING = 1e-5  # of sums of float32 weights: a window that is half tumour counts as half
Binary = Literal["any", "half", "more", "nearest"]


@dataclass(frozen=True)
class Prepared:
    """n slices of one case on the recipe's grid, ascending in z.

    z: int64 (n,), mm from the lowest plane. images: float16 (n, M, H, W), the scan's modalities, as in MODALITIES.
    brain, masks: uint8 (n, H, W), 0 or 1, masks = whole tumour. tumour_px: int64 (n,), tumour area in mm2 of the whole
    plane before any resampling. tumour: bool (n,), the slice label. quantiles: float32 (M, 257), see `prepare`.
    dropped: how many slices were left out, by reason. skipped: why no slice is left, else "".
    """

    z: NDArray[np.int64]
    images: NDArray[np.float16]
    brain: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    tumour_px: NDArray[np.int64]
    tumour: NDArray[np.bool_]
    quantiles: NDArray[np.float32]
    dropped: Mapping[str, int]
    skipped: str


class Recipe:
    """What a section `preprocess.<recipe>` of params.yaml must have, beside its own keys: `size`, and what is below.

    A recipe overrides what it does otherwise. Planes have M = 4 modalities, in the order of MODALITIES, or fewer, where a
    cohort has not all of them.
    """

    size: int  # pixels of a side
    edge = 240  # mm of the square around the centre of the plane that becomes size x size pixels
    background = -1.0  # intensity outside the head; None where it differs from volume to volume
    brain_from: tuple[str, ...] = MODALITIES  # the brain is where any of these is above 0
    brain_rule: Binary = "half"  # which share of a pixel must be brain
    slicewise = False  # whether `finish` changes the scale from slice to slice

    @property
    def label_rule(self) -> Binary:
        """Which share of a pixel must be tumour."""
        return "half"

    @property
    def axis(self) -> Axis:
        """How an image is resampled."""
        return resample.area(self.edge, self.size)

    @property
    def pixel_mm(self) -> float:
        """Side of a pixel."""
        return self.edge / self.size

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """Scanner units to intensities, one map for the whole volume; inside: (K,), ascending, its values in the brain.

        The brain here is where any modality is above 0. UserError if the volume cannot be scaled.
        """
        raise NotImplementedError

    def candidates(self, scan: Scan, tones: Mapping[str, Tone], split: str) -> NDArray[np.int64]:
        """z in mm, ascending, of the slices to take; empty to skip the case. UserError if the scan is too flat."""
        raise NotImplementedError

    def refuses(self, planes: NDArray[np.float32], brain: NDArray[np.bool_]) -> str:
        """Why a slice is left out, or "": planes (M, edge, edge) after `tone`, brain (edge, edge)."""
        return ""

    def finish(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The image (M, H, W) as it is stored; brain: bool (H, W)."""
        return image

    def diseased(self, tumour_mm2: int, mask: NDArray[np.uint8]) -> bool:
        """The slice label: area in the plane before resampling, mask (H, W) after it."""
        return bool(tumour_mm2 > 0)


def prepare(scan: Scan, recipe: Recipe, split: str) -> Prepared:
    """One case of a split (train, val, test) through the recipe. UserError if it cannot be scaled or is too flat.

    Quantiles 0..1 (257 of them) are of the intensities where any modality is above 0 in the whole volume, at its own
    resolution; where the recipe scales each slice by itself, in the brain of the kept slices, as stored. A slice with a
    resection cavity and no tumour is neither diseased nor healthy and left out.
    """
    head, brain = scan.brain(), scan.brain(recipe.brain_from)
    inside = {name: np.sort(scan.volumes[name][head]) for name in scan.modalities}
    tones = {name: _tone(recipe, name, values) for name, values in inside.items()}
    dropped: Counter[str] = Counter()
    kept = []
    candidates = recipe.candidates(scan, tones, split)
    for z in candidates:
        found = _slice(scan, recipe, tones, brain, int(z))
        if isinstance(found, str):
            dropped[found] += 1
        else:
            kept.append((z, *found))
    if not kept:
        empty = np.zeros((0, recipe.size, recipe.size), np.uint8)
        images, numbers = np.zeros((0, len(inside), *empty.shape[1:]), np.float16), np.zeros(0, np.int64)
        reason = "all its slices were dropped" if len(candidates) else "no tumour in the slices to choose from"
        none = np.zeros((len(inside), len(intensity.SHARES)), np.float32)
        return Prepared(numbers, images, empty, empty, numbers, numbers.astype(bool), none, dict(dropped), reason)
    z, images, brains, masks, tumour = (np.stack(column) for column in zip(*kept, strict=True))
    quantiles = _of_slices(images, brains) if recipe.slicewise else _of_volumes(inside, tones)
    return Prepared(z, images, brains, masks, scan.tumour_mm2[z], tumour, quantiles, dict(dropped), "")


def _tone(recipe: Recipe, modality: str, inside: NDArray) -> Tone:
    try:
        return recipe.tone(modality, inside)
    except UserError as error:
        raise UserError(f"{modality}: {error}") from error


def _slice(
    scan: Scan, recipe: Recipe, tones: Mapping[str, Tone], brain: NDArray[np.bool_], z: int
) -> tuple[NDArray[np.float16], NDArray[np.uint8], NDArray[np.uint8], bool] | str:
    """(image, brain, mask, tumour) of the plane, or why it is left out."""
    if scan.cavity_mm2[z] and not scan.tumour_mm2[z]:
        return "resection cavity without tumour"
    planes = np.stack([tones[name](scan.plane(scan.volumes[name], z, recipe.edge)) for name in tones])
    inside = scan.plane(brain, z, recipe.edge)
    why = recipe.refuses(planes, inside)
    if why:
        return why
    small = binary(inside, recipe.axis, recipe.brain_rule)
    mask = binary(scan.plane(scan.tumour, z, recipe.edge), recipe.axis, recipe.label_rule)
    image = recipe.finish(recipe.axis.both(planes), small)
    tumour = recipe.diseased(scan.tumour_mm2[z], mask)
    return image.astype(np.float16), small.astype(np.uint8), mask.astype(np.uint8), tumour


def binary(plane: NDArray[np.bool_], axis: Axis, rule: Binary) -> NDArray[np.bool_]:
    """bool (n, n) of a bool plane (edge, edge): where any, at least half or more than half of a pixel is true.

    "nearest": where the plane's pixel at the centre is.
    """
    if rule == "nearest":
        return resample.nearest(plane.shape[0], len(axis.index)).both(plane) > 0
    share = axis.both(plane)
    limits = {"any": 0.0, "half": 0.5 - ROUNDING, "more": 0.5 + ROUNDING}
    return share > limits[rule]


def levels(z_first: int, z_last: int, z_step: int, depth: int) -> NDArray[np.int64]:
    """z_first, z_first + z_step, ... up to z_last inclusive. UserError if there are none, or the scan has fewer planes."""
    if z_first > z_last:
        raise UserError(f"z_first is {z_first}, expected at most z_last, which is {z_last}; mend them in params.yaml")
    if z_last >= depth:
        found = f"it has {depth} mm of axial planes"
        raise UserError(f"{found}, expected more than z_last = {z_last}; check the file, or lower z_last")
    return np.arange(z_first, z_last + 1, z_step)


def _of_volumes(inside: Mapping[str, NDArray], tones: Mapping[str, Tone]) -> NDArray[np.float32]:
    rows = [intensity.quantile(inside[name], intensity.SHARES, tone) for name, tone in tones.items()]
    return np.stack(rows).astype(np.float32)


def _of_slices(images: NDArray[np.float16], brains: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = np.moveaxis(images, 1, 0)[:, brains.astype(bool)].astype(np.float32)
    rows = [intensity.quantile(np.sort(v), intensity.SHARES) for v in values]
    return np.stack(rows).astype(np.float32)
