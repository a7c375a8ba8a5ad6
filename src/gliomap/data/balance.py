"""The balanced population of a split: every healthy slice, and as many tumour slices drawn at random (DDMD spec 1.2)."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from gliomap.data.slices import Slices


def balanced(slices: Slices, split: str, seed: int) -> NDArray[np.int64]:
    """int64 rows, ascending: all healthy slices of the split and as many of its tumour slices; all where there are fewer.

    Healthy or not is the label in labels_<split>.csv. The draw is a function of seed and rows: it does not depend on
    other splits, and one more healthy slice adds one tumour slice without exchanging the others.
    """
    healthy = slices.rows(split, tumour=False)
    tumour = shuffled(slices.rows(split, tumour=True), seed, "balance")
    return np.sort(np.concatenate([healthy, tumour[: len(healthy)]]))


def shuffled(rows: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.int64]:
    """The rows in the order of a hash of (purpose, seed, row): one row more or less does not reorder the others."""
    return np.array(sorted(rows.tolist(), key=lambda row: _digest(f"{purpose}/{seed}/{row}")), np.int64)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
