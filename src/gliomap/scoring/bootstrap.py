"""Percentile intervals by resampling patients, not slices: slices of one patient are no independent evidence.

All statistics are functions of sums over patients, so that a resample is a weight for each patient and all resamples are
one matrix product. Equal seeds give equal resamples for every metric, and for every method on the same patients, so that
methods can be compared resample by resample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gliomap.scoring.counts import ratio
from gliomap.scoring.curves import Histogram

BLOCK = 256  # resamples of histograms held at once


@dataclass(frozen=True)
class Resamples:
    """Draws of patients.

    weights: float64 (replicates, patients), how often a patient is drawn. patient: int64 (n,), the patient of each slice.
    """

    weights: np.ndarray
    patient: np.ndarray

    def ratio(self, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
        """(replicates,): sum over slices of (n,) numerator / sum of (n,) denominator; NaN where that is 0.

        All NaN where the denominator is one patient's: resampling would give the same ratio every time, not an interval.
        """
        below = self.by_patient(denominator)
        if np.count_nonzero(below) < 2:
            return np.full(len(self.weights), np.nan)
        return ratio(self.weights @ self.by_patient(numerator), self.weights @ below)

    def by_patient(self, values: np.ndarray) -> np.ndarray:
        """(patients,): sums of (n,) values."""
        return np.bincount(self.patient, np.asarray(values, np.float64), self.weights.shape[1])

    def areas(self, by_patient: Histogram) -> tuple[np.ndarray, np.ndarray]:
        """Average precision and AUROC (replicates,) from histograms (patients, bins)."""
        positives, negatives = (c.astype(np.float64) for c in (by_patient.positives, by_patient.negatives))
        blocks = [self.weights[i : i + BLOCK] for i in range(0, len(self.weights), BLOCK)]
        drawn = (Histogram(block @ positives, block @ negatives) for block in blocks)
        pairs = [(h.average_precision(), h.auroc()) for h in drawn]
        return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])

    def auroc(self, score: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """(replicates,): AUROC of (n,) slice scores: a sum over pairs of patients, hence a quadratic form of the weights."""
        patients, mine = self.weights.shape[1], score[positive]
        wins = np.zeros((patients, patients))
        for p in range(patients):
            against = np.sort(score[~positive & (self.patient == p)])
            below = (np.searchsorted(against, mine, "left") + np.searchsorted(against, mine, "right")) / 2
            wins[:, p] = np.bincount(self.patient[positive], below, patients)
        pairs = (self.weights @ self.by_patient(positive)) * (self.weights @ self.by_patient(~positive))
        return ratio(((self.weights @ wins) * self.weights).sum(1), pairs)


def draw(patients: np.ndarray, replicates: int, seed: int) -> Resamples:
    """Resamples of the patients behind the slices; `patients` (n,) names the patient of each slice."""
    names, patient = np.unique(np.asarray(patients, str), return_inverse=True)
    weights = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
    return Resamples(weights.astype(np.float64), patient)


def interval(samples: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval of a statistic; resamples where it does not exist are left out, NaN if it never does."""
    there = samples[np.isfinite(samples)]
    if not len(there):
        return np.nan, np.nan
    low, high = np.quantile(there, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
