"""Masks and overlaps as the AnoFPDM paper counts them: an empty mask on a slice without tumour is a full hit.

"mixed" in the name of a number means these conventions: averages over slices with and without tumour together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.scoring.masks import drop_small

TINY = 1e-6  # keeps 0 / 0 at 1, as in the released AnoFPDM code


@dataclass(frozen=True)
class Mixed:
    """Section `mixed` of params.yaml: lengths and areas are of the head, so that they hold at every image size."""

    batch: int = number(min=1)  # test slices whose pixels share one average precision
    component_mm2: float = number(min=0)  # components of at most this area leave the mask
    foreground: float = number(min=-1, max=1)  # a pixel counts where the mean of the modalities is above this
    median_mm: float = number(min=0)  # side of the median filter on a map


@dataclass(frozen=True)
class Thetas:
    """Sections `tune.theta` and `tune_labels` of params.yaml: the thresholds that are tried."""

    first: float = number(min=0)
    last: float = number(min=0)
    step: float = number(min=1e-6)

    def candidates(self) -> np.ndarray:
        """float64 (n,), ascending. UserError if there is none."""
        count = int((self.last - self.first) / self.step + 1e-9) + 1
        if self.last < self.first:
            wanted = f"expected at least the first, {self.first}"
            raise UserError(f"params.yaml: the last threshold to try is {self.last}, {wanted}; mend it")
        return np.round(self.first + self.step * np.arange(count), 9)


def median_px(mixed: Mixed, pixel_mm: float) -> int:
    """Side of the median filter in pixels: the odd number nearest to median_mm / pixel_mm, at least 1."""
    return 2 * int((mixed.median_mm / pixel_mm + 1e-9) // 2) + 1


def component_px(mixed: Mixed, pixel_mm: float) -> int:
    """Pixels of the largest component that is dropped: component_mm2 in whole pixels, rounded down."""
    return int(mixed.component_mm2 / pixel_mm**2 + 1e-9)


def median(maps: np.ndarray, px: int) -> np.ndarray:
    """float32 (n, H, W): each slice median-filtered over px x px pixels, mirrored at the edge without repeating it."""
    maps = np.asarray(maps, np.float32)
    return ndimage.median_filter(maps, size=(1, px, px), mode="mirror") if px > 1 else maps


def dice(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (n,): Dice of bool (n, H, W) masks; 1 where both are empty."""
    both, either = _sizes(prediction, truth)
    return (2 * both + TINY) / (either + both + TINY)


def iou(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """float64 (n,): intersection over union of bool (n, H, W) masks; 1 where both are empty."""
    both, either = _sizes(prediction, truth)
    return (both + TINY) / (either + TINY)


def best_theta(
    maps: np.ndarray, truth: np.ndarray, candidates: Sequence[float] | np.ndarray, component_px: int
) -> tuple[float, float]:
    """The candidate with the highest mean mixed Dice, and that Dice; the first of equals.

    maps: float (n, H, W). truth: bool (n, H, W). A pixel at or above theta is predicted, then small components leave.
    """
    tried = [float(theta) for theta in candidates]  # compared in the precision of the maps, here as when it is applied
    reached = [float(dice(drop_small(maps >= theta, component_px), truth).mean()) for theta in tried]
    best = int(np.argmax(reached))
    return tried[best], reached[best]


def _sizes(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 (n,): pixels in both masks and in either."""
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    both, either = (np.count_nonzero(m, axis=(1, 2)).astype(np.float64) for m in (prediction & truth, prediction | truth))
    return both, either
