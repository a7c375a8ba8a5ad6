"""Two methods on the same patients: the difference of their Dice, its interval, a permutation test, and Holm's correction.

The unit is the patient, as in scoring/bootstrap.py. A patient counts by the mean Dice of the slices with tumour, so that a
difference here is a mean over patients, not over slices. If two methods are alike, each patient's difference could as well
have had the other sign (Fisher 1935; Holm 1979 for many comparisons at once).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gliomap.scoring import bootstrap
from gliomap.scoring.bootstrap import Resamples

ENUMERATED = 100_000  # patterns of signs up to which all of them are tried
DRAWS = 10_000  # patterns that are drawn where there are more
CLOSE = 1e-9  # sums that differ by less, relative to the sum of the absolute differences, are equal


@dataclass(frozen=True)
class Draws:
    """Of what is drawn at random. replicates: resamples of the patients; confidence: mass of the intervals, 0..1."""

    replicates: int
    confidence: float
    seed: int


@dataclass(frozen=True)
class Difference:
    """Mean difference of Dice over patients, its interval (NaN with a single patient), and the two-sided p of the test."""

    mean: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Trial:
    """What all comparisons on the same patients share.

    signs: float64 (patterns, patients), +1 or -1. exact: whether these are all patterns. resamples: draws of patients.
    confidence: mass of the intervals.
    """

    signs: np.ndarray
    exact: bool
    resamples: Resamples
    confidence: float

    @property
    def smallest(self) -> float:
        """The smallest p that the test can give with so many patients."""
        return min(1.0, 2 / len(self.signs)) if self.exact else 1 / (1 + len(self.signs))

    def difference(self, ours: np.ndarray, theirs: np.ndarray) -> Difference:
        """Ours minus theirs; both (patients,)."""
        d = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
        low, high = bootstrap.interval(self.resamples.ratio(d, np.ones(len(d))), self.confidence)
        return Difference(float(d.mean()), *((low, high) if len(d) > 1 else (np.nan, np.nan)), self.p_value(d))

    def p_value(self, differences: np.ndarray) -> float:
        """Share of patterns whose mean is at least as far from 0 as the one found; drawn patterns include the one found."""
        d = np.asarray(differences, np.float64)
        far = np.abs(self.signs @ d) >= np.abs(d.sum()) - CLOSE * np.abs(d).sum()
        return float(far.mean()) if self.exact else float((1 + far.sum()) / (1 + len(far)))


def trial(patients: Sequence[str], draws: Draws) -> Trial:
    """For these patients, each named once. Exact where 2^n <= ENUMERATED, else DRAWS patterns by the seed."""
    n = len(patients)
    exact = 2**n <= ENUMERATED
    if exact:
        up = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        up = np.random.default_rng(draws.seed).integers(0, 2, (DRAWS, n))
    resamples = bootstrap.draw(np.asarray(patients), draws.replicates, draws.seed)
    return Trial(2.0 * up - 1.0, exact, resamples, draws.confidence)


def patient_means(scores: pd.DataFrame) -> pd.Series:
    """Mean Dice of each patient's tumour slices by patient, sorted; patients without tumour are not there.

    `scores`: scores/<system>/<method>.csv, so the Dice at the validation threshold.
    """
    there = (scores["tumour"] == 1) & (scores["tumour_px"] > 0)
    return scores[there].groupby("patient")["dice"].mean()


def holm(p: np.ndarray) -> np.ndarray:
    """(n,): p corrected for the number of comparisons, step by step from the smallest; NaN is no comparison and stays."""
    p = np.asarray(p, np.float64)
    corrected, there = np.full(p.shape, np.nan), np.flatnonzero(np.isfinite(p))
    order = there[np.argsort(p[there], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return corrected
