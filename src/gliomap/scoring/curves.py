"""Areas under precision-recall and ROC curves: exact for a slice, by mergeable histogram for millions of pooled pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 65_536
CURVE_POINTS = 201  # of a thinned precision-recall curve


@dataclass(frozen=True)
class Histogram:
    """Positive and negative pixels by score: int64 or float64 (..., bins), ascending score. Histograms of equal bins add up.

    Within a bin scores are ties. Leading axes are several histograms at once, for example the resamples of a bootstrap.
    """

    positives: np.ndarray
    negatives: np.ndarray

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.positives + other.positives, self.negatives + other.negatives)

    def groups(self, count: int) -> np.ndarray:
        """int64 (bins,), ascending from 0: neighbouring bins share one of at most 2 `count` groups.

        Groups weigh about the same, positives together as much as negatives; a bin of more than 1 / count of that is alone.
        """
        weight = np.cumsum(sum(c / max(c.sum(), 1) for c in (self.positives, self.negatives)))
        at = np.searchsorted(weight, np.arange(count) * weight[-1] / count, side="right")
        first = np.zeros(len(weight) + 1, bool)
        first[np.concatenate([at, at + 1]).clip(max=len(weight))] = True
        return np.cumsum(first[:-1]) - first[0]

    def average_precision(self) -> np.ndarray:
        """Sum of precision times rise in recall, as in scikit-learn; NaN without positives. Its floor is the prevalence."""
        found, wrong = self._cumulative()
        precision = found / np.maximum(found + wrong, 1)
        return _divide((precision * self.positives[..., ::-1]).sum(-1), found[..., -1])

    def auroc(self) -> np.ndarray:
        """Share of (positive, negative) pairs in the right order, ties a half; NaN if there is only one class."""
        found, wrong = self._cumulative()
        pairs = ((found - self.positives[..., ::-1] / 2) * self.negatives[..., ::-1]).sum(-1)
        return _divide(pairs, found[..., -1] * wrong[..., -1])

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Recall (ascending) and precision of a single histogram, at most CURVE_POINTS points evenly spaced in recall."""
        found, wrong = self._cumulative()
        if not found[-1]:
            return np.empty(0), np.empty(0)
        recall = found / found[-1]
        at = np.unique(np.searchsorted(recall, np.linspace(0, 1, CURVE_POINTS)[1:], side="left"))
        return recall[at], found[at] / (found[at] + wrong[at])

    def _cumulative(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives when everything from a bin upwards is predicted, the highest bin first."""
        return tuple(np.cumsum(c[..., ::-1], axis=-1, dtype=np.float64) for c in (self.positives, self.negatives))


def edges(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """float32 (bins,), ascending: lower edges of bins that hold about equally many of `scores`, whatever their distribution.

    Up to `bins` different scores have a bin each, so that the histogram is exact; a monotone transform changes nothing.
    """
    ordered = np.sort(scores.astype(np.float32, copy=False), axis=None)
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
    if len(distinct) > bins:
        distinct = np.unique(ordered[np.arange(bins) * ordered.size // bins])
    return np.concatenate([distinct, np.full(bins - len(distinct), np.inf, np.float32)])


def locate(scores: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """int64, the shape of `scores`: the bin of each, of bins with the given lower edges (see edges)."""
    return np.maximum(np.searchsorted(lower, scores.astype(np.float32, copy=False), side="right") - 1, 0)


def tally(at: np.ndarray, truth: np.ndarray, bins: int) -> Histogram:
    """Histogram of pixels in the bins `at`, with 0/1 `truth` of the same shape."""
    positives = np.bincount(at[truth.astype(bool)], minlength=bins)
    return Histogram(positives, np.bincount(at.ravel(), minlength=bins) - positives)


def histogram(scores: np.ndarray, truth: np.ndarray, lower: np.ndarray) -> Histogram:
    """Histogram of `scores` with 0/1 `truth` of the same shape over bins with the given lower edges."""
    return tally(locate(scores, lower), truth, len(lower))


def exact(scores: np.ndarray, truth: np.ndarray) -> Histogram:
    """Histogram with one bin for each different score; for a slice, not for a cohort."""
    values, at = np.unique(scores, return_inverse=True)
    return tally(at.ravel(), truth.ravel(), max(len(values), 1))


def average_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """Exact average precision of equally shaped scores and 0/1 truth; NaN without positives."""
    return float(exact(scores, truth).average_precision())


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Exact area under the ROC curve; NaN if there is only one class."""
    return float(exact(scores, truth).auroc())


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.full(b.shape, np.nan), where=b > 0)
