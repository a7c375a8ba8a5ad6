"""Distances between the borders of two masks: every definition in use from one distance transform a mask.

A border pixel belongs to the mask and has a 4-neighbour outside (beyond the image is outside). "Directed" goes from every
border pixel of one mask to the nearest of the other. Definitions differ by tens of pixels on ragged masks, so their names
say which.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

NAMES = (
    "hd95_max_directed_mm",  # the larger of the two directed 95th percentiles (MONAI)
    "hd95_pooled_mm",  # 95th percentile of both directions together (medpy)
    "assd_mean_of_directed_px",  # mean of the two directed means, in pixels (released MMCCD code)
    "assd_mean_of_directed_mm",
    "assd_pooled_mm",  # mean of both directions together (MONAI with symmetric=True, medpy)
)


def directed(prediction: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels from the border of the (H, W) prediction to that of the truth, and back. Neither may be empty."""
    rows, columns = (np.nonzero((prediction | truth).any(axis))[0] for axis in (1, 0))
    window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    a, b = (mask[window] & ~ndimage.binary_erosion(mask[window]) for mask in (prediction, truth))
    return ndimage.distance_transform_edt(~b)[a], ndimage.distance_transform_edt(~a)[b]


def of_slice(prediction: np.ndarray, truth: np.ndarray, pixel_mm: float) -> np.ndarray:
    """float64 (5,) in the order of NAMES for two bool (H, W) masks; NaN if either is empty."""
    if not prediction.any() or not truth.any():
        return np.full(len(NAMES), np.nan)
    there, back = directed(prediction, truth)
    pooled = np.concatenate([there, back])
    mean = (there.mean() + back.mean()) / 2
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    values = (hd95 * pixel_mm, np.percentile(pooled, 95) * pixel_mm, mean, mean * pixel_mm, pooled.mean() * pixel_mm)
    return np.array(values)


def of_slices(prediction: np.ndarray, truth: np.ndarray, pixel_mm: float) -> dict[str, np.ndarray]:
    """NAMES -> float64 (n,) for (n, H, W) masks; NaN where either mask is empty: leave those out and say how many."""
    rows = [of_slice(p, t, pixel_mm) for p, t in zip(np.asarray(prediction, bool), np.asarray(truth, bool))]
    return dict(zip(NAMES, np.array(rows).reshape(-1, len(NAMES)).T))
