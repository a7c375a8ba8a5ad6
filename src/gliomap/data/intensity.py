"""Grey values: quantiles of a volume, and the map from scanner units to a recipe's intensities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomap.base.errors import UserError

SHARES = np.linspace(0, 1, 257)  # of the quantiles that are stored with the slices


@dataclass(frozen=True)
class Tone:
    """Intensity = gain * (clip(v, low, high) - zero) / unit + shift, v in scanner units.

    levels: the fraction is cut down to multiples of 1 / levels (an 8-bit image has 255); 0 = not.
    """

    zero: float
    unit: float
    low: float = -np.inf
    high: float = np.inf
    gain: float = 1.0
    shift: float = 0.0
    levels: int = 0

    def __call__(self, values: NDArray) -> NDArray[np.float32]:
        """float32, the shape of `values`."""
        share = (np.clip(values.astype(np.float64), self.low, self.high) - self.zero) / self.unit
        if self.levels:
            share = np.trunc(share * self.levels) / self.levels
        return (share * self.gain + self.shift).astype(np.float32)


IDENTITY = Tone(0.0, 1.0)


def quantile(ascending: NDArray, shares: float | NDArray, tone: Tone = IDENTITY) -> NDArray[np.float64]:
    """Quantiles at `shares` (0..1) of tone(values), linear between neighbours as numpy's; the values are sorted."""
    position = np.asarray(shares, np.float64) * (len(ascending) - 1)
    low = np.floor(position).astype(np.int64)
    below = tone(ascending[low]).astype(np.float64)
    above = tone(ascending[np.minimum(low + 1, len(ascending) - 1)]).astype(np.float64)
    return below + (above - below) * (position - low)


def above_zero(ascending: NDArray) -> NDArray:
    """The values above 0."""
    return ascending[np.searchsorted(ascending, 0, side="right") :]


def window(ascending: NDArray, lower: float, upper: float) -> tuple[float, float]:
    """The quantiles at `lower` and `upper` (0..1). UserError where they are one value: that cannot be scaled."""
    low, high = (float(q) for q in quantile(ascending, np.array([lower, upper]))) if len(ascending) else (0.0, 0.0)
    if not low < high:
        found = f"its brain has the one intensity {low:g}"
        raise UserError(f"{found}, expected a range; check the file, or leave the case out")
    return low, high


def upper(ascending: NDArray, share: float) -> float:
    """The quantile at `share` (0..1). UserError unless it is above 0."""
    value = float(quantile(ascending, share)) if len(ascending) else 0.0
    if not value > 0:
        raise UserError("it has no brain above intensity 0, expected one; check the file, or leave the case out")
    return value


def minmax(image: NDArray[np.float32], floor: float) -> NDArray[np.float32]:
    """Each plane of (M, H, W) as (v - min) / (max - min + floor); a constant plane becomes 0."""
    low = image.min((1, 2), keepdims=True)
    span = image.max((1, 2), keepdims=True) - low + np.float32(floor)
    return (image - low) / np.where(span > 0, span, 1)
