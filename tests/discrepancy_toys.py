"""A slice store without files, and small ensembles, for the tests of the balance, the features and the discrepancy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.data.slices import Slices

MODALITIES = ("t1", "t1ce", "t2", "flair")
BACKGROUND = -1.0


class ToyStore(Slices):
    """Slices in memory, of 10 train, 4 val and 2 test rows unless told; labels by row, for train and val alone."""

    @classmethod
    def make(cls, tumour: dict[int, int], size: int = 8, splits: tuple[int, int, int] = (10, 4, 2)) -> ToyStore:
        """tumour: row -> label; 0 where a row is not named."""
        split = np.repeat(["train", "val", "test"], splits)
        rows = np.arange(len(split))
        index = pd.DataFrame({"row": rows, "case": [f"c{r // 2}" for r in rows], "z": 80 + rows, "split": split})
        store = cls(Path("data/slices/common"), index, MODALITIES, 3.0, BACKGROUND, "common")
        images = np.random.default_rng(3).uniform(-1, 1, (len(rows), 4, size, size))
        store.__dict__ |= {"images": images.astype(np.float16), "brain": np.ones((len(rows), size, size), np.uint8)}
        store.__dict__["tumour"] = pd.Series(rows).map(tumour).fillna(0).astype(int)
        return store

    def labels(self, split: str) -> pd.DataFrame:
        assert split != "test"
        rows = self.rows(split)
        return pd.DataFrame({"row": rows, "tumour_px": 0, "tumour": self.tumour[rows].to_numpy()})
