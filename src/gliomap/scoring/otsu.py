"""Otsu's threshold for each slice and the filter of small components: how TSGM makes masks of maps (TSGM spec 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gliomap.base.params import number
from gliomap.scoring.masks import drop_small

BINS = 256
CHUNK = 1 << 22  # pixels at once


@dataclass(frozen=True)
class Otsu:
    """Section `otsu` of params.yaml. Areas are of the head, so that they hold at every image size."""

    threshold: Literal["otsu", "validation"]  # what evaluate_otsu cuts maps with
    component_mm2: float = number(min=0)  # components of at most this area leave the mask; 0 = off
    component_mm2_cyclegan: float = number(min=0)  # the same for the rows that show CycleGAN's own restoration

    def area_mm2(self, row: str) -> float:
        """The filter of a row, by its key."""
        return self.component_mm2_cyclegan if row.startswith("cyclegan") else self.component_mm2


def pixels(area_mm2: float, pixel_mm: float) -> int:
    """The largest whole number of pixels that are not more than the area: components above it stay."""
    return int(area_mm2 / pixel_mm**2 + 1e-9)


def thresholds(values: np.ndarray, zeros: int = 0) -> np.ndarray:
    """float64 (k,): Otsu's threshold of each line of (k, p) values, with `zeros` further pixels of value 0 in each.

    256 bins from the smallest to the largest value; the threshold is the centre of the last bin of the lower class, the
    first of several that separate equally well, as in scikit-image. A line of one value has this value as its threshold:
    nothing is above it.
    """
    return np.concatenate([np.empty(0), *(_levels(part, zeros) for part in _parts(values))])


def maps_thresholds(maps: np.ndarray) -> np.ndarray:
    """float64 (n,): of each (H, W) map over all its pixels, the background outside of the head included."""
    return thresholds(maps.reshape(len(maps), -1))


def segment(maps: np.ndarray, levels: np.ndarray, component_px: int) -> np.ndarray:
    """bool (n, H, W): pixels above the level of their slice, in 8-connected components of more than `component_px`."""
    return drop_small(maps > np.asarray(levels)[:, None, None], component_px)


def _parts(values: np.ndarray) -> Iterator[np.ndarray]:
    step = max(CHUNK // max(values.shape[1], 1), 1)
    return (values[i : i + step].astype(np.float64) for i in range(0, len(values), step))


def _levels(values: np.ndarray, zeros: int) -> np.ndarray:
    """Of float64 (k, p). One bincount for all lines."""
    low, high = values.min(1, initial=np.inf), values.max(1, initial=-np.inf)
    if zeros:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    spread = np.where(high > low, high - low, 1.0)
    first = BINS * np.arange(len(values))
    counts = np.bincount((_bins(values, low, spread) + first[:, None]).ravel(), minlength=BINS * len(values))
    if zeros:
        counts[_bins(np.zeros((len(values), 1)), low, spread)[:, 0] + first] += zeros
    centres = low[:, None] + spread[:, None] * (np.arange(BINS) + 0.5) / BINS
    return np.where(high > low, _split(counts.reshape(-1, BINS), centres), low)


def _bins(values: np.ndarray, low: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Which bin; the largest value belongs to the last one. Divided first, so that a value on an edge stays on it."""
    return np.minimum(((values - low[:, None]) / spread[:, None] * BINS).astype(np.int64), BINS - 1)


def _split(counts: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(k,): the centre after which the variance between the two classes of (k, 256) counts is largest."""
    mass = counts * centres
    with np.errstate(divide="ignore", invalid="ignore"):  # lines of one value, which the caller replaces
        below, above = np.cumsum(counts, 1), np.cumsum(counts[:, ::-1], 1)[:, ::-1]
        mean_below, mean_above = np.cumsum(mass, 1) / below, np.cumsum(mass[:, ::-1], 1)[:, ::-1] / above
        between = below[:, :-1].astype(float) * above[:, 1:] * (mean_below[:, :-1] - mean_above[:, 1:]) ** 2
    return centres[np.arange(len(counts)), np.argmax(np.nan_to_num(between), 1)]
