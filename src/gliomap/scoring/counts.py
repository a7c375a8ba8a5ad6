"""Pixel counts per slice, and the ratios made of them with their conventions for empty masks.

| | both empty | one empty |
|---|---|---|
| Dice, IoU | `both_empty`: NaN (the slice is left out), or 1 | 0 |
| precision | `no_prediction`: 0 as in the released MMCCD code | 0 |
| recall | NaN | 0 without a prediction, NaN without truth |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Counts:
    """True and false positives and negatives over the whole image, int64, one entry a slice (or a scalar when summed)."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    tn: np.ndarray


def count(prediction: np.ndarray, truth: np.ndarray) -> Counts:
    """Counts of (n, H, W) masks, each (n,). ValueError if the shapes differ."""
    prediction, truth = np.asarray(prediction, bool), np.asarray(truth, bool)
    if prediction.shape != truth.shape:
        raise ValueError(f"masks of shape {prediction.shape} and {truth.shape}")
    tp, found, there = (np.count_nonzero(m, axis=(1, 2)) for m in (prediction & truth, prediction, truth))
    pixels = prediction.shape[1] * prediction.shape[2]
    return Counts(tp, found - tp, there - tp, pixels - found - there + tp)


def ratio(numerator: np.ndarray, denominator: np.ndarray, empty: float = np.nan) -> np.ndarray:
    """float64 numerator / denominator, `empty` where the denominator is 0."""
    numerator, denominator = np.asarray(numerator, np.float64), np.asarray(denominator, np.float64)
    return np.divide(numerator, denominator, out=np.full(denominator.shape, empty), where=denominator != 0)


def dice(c: Counts, both_empty: float = np.nan) -> np.ndarray:
    """2 TP / (2 TP + FP + FN)."""
    return ratio(2 * c.tp, 2 * c.tp + c.fp + c.fn, both_empty)


def iou(c: Counts, both_empty: float = np.nan) -> np.ndarray:
    """TP / (TP + FP + FN), the Jaccard index."""
    return ratio(c.tp, c.tp + c.fp + c.fn, both_empty)


def precision(c: Counts, no_prediction: float = 0.0) -> np.ndarray:
    """TP / (TP + FP)."""
    return ratio(c.tp, c.tp + c.fp, no_prediction)


def recall(c: Counts) -> np.ndarray:
    """TP / (TP + FN)."""
    return ratio(c.tp, c.tp + c.fn)
