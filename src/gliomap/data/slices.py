"""The slice store: what preprocessing wrote, memory-mapped. A file is opened when it is asked for, and not before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.base.errors import UserError

SPLITS = ("train", "val", "test")
TEXT = {"case": str, "patient": str, "split": str}
AGAIN = "run the preprocess stage again"
MADE = ("recipe", "modalities", "pixel_mm", "background")  # of recipe.json, what is read again


def made_with(folder: Path) -> dict[str, Any]:
    """What recipe.json of a store says. UserError if it is missing, or lacks a name of MADE."""
    path = folder / "recipe.json"
    found = files.read_json(path)
    if missing := [name for name in MADE if name not in found]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected {', '.join(MADE)}; {AGAIN}")
    return found


@dataclass(frozen=True)
class Slices:
    """N slices of M modalities, H x W pixels. `row` numbers them from 0, by case and then z: it is a slice's name.

    folder: data/slices/<system>. index: N rows with row, case, patient, z (mm), split, brain_px. modalities: the
    channels of `images`, in order. pixel_mm: side of a pixel. background: intensity outside the head, NaN if it varies.
    recipe: name of the one that made them.
    """

    folder: Path
    index: pd.DataFrame
    modalities: tuple[str, ...]
    pixel_mm: float
    background: float
    recipe: str

    @classmethod
    def open(cls, folder: str | Path) -> Slices:
        """The store in `folder`; reads index.csv and recipe.json only. UserError if they are missing or damaged."""
        folder = Path(folder)
        index = files.read_csv(folder / "index.csv", dtype=TEXT, keep_default_na=False)
        if not np.array_equal(index["row"], np.arange(len(index))):
            raise UserError(f"{folder / 'index.csv'}: rows are not numbered 0, 1, 2 ..., as they were written; {AGAIN}")
        made = made_with(folder)
        background = np.nan if made["background"] is None else float(made["background"])
        return cls(folder, index, tuple(made["modalities"]), float(made["pixel_mm"]), background, str(made["recipe"]))

    @cached_property
    def images(self) -> NDArray[np.float16]:
        """(N, M, H, W), mapped."""
        return self._mapped("images.npy", len(self.index))

    @cached_property
    def brain(self) -> NDArray[np.uint8]:
        """(N, H, W), mapped; 1 inside the brain."""
        return self._mapped("brain.npy", len(self.index))

    @cached_property
    def _quantiles(self) -> NDArray[np.float32]:
        return self._mapped("quantiles.npy", self.index["case"].nunique())

    @cached_property
    def _case(self) -> NDArray[np.int64]:
        """(N,): which case, in order of first appearance."""
        return pd.factorize(self.index["case"])[0]

    def rows(self, split: str, tumour: bool | None = None) -> NDArray[np.int64]:
        """Rows of a split, ascending: all, or those with or without tumour by the label in labels_<split>.csv."""
        rows = self._of(split)
        return rows if tumour is None else rows[self.labels(split)["tumour"].to_numpy() == int(tumour)]

    def labels(self, split: str) -> pd.DataFrame:
        """Of each row of a split: row, tumour_px (mm2 in the plane before resampling), tumour (0 or 1)."""
        path = self.folder / f"labels_{split}.csv"
        frame = files.read_csv(path)
        if not np.array_equal(frame["row"], self._of(split)):
            raise UserError(f"{path}: its rows are not those of split {split} in index.csv; {AGAIN}")
        return frame

    def read(self, rows: Iterable[int], modalities: tuple[str, ...]) -> NDArray[np.float32]:
        """(n, m, H, W): the rows in the modalities, both in the order asked for. UserError on an unknown modality."""
        for name in modalities:
            if name not in self.modalities:
                there = ", ".join(self.modalities)
                raise UserError(f"{self.folder}: has no modality {name!r}, expected one of {there}; choose of those")
        channels = [self.modalities.index(name) for name in modalities]
        return self.images[np.asarray(rows, np.int64)[:, None], channels].astype(np.float32)

    def brain_of(self, rows: Iterable[int]) -> NDArray[np.bool_]:
        """(n, H, W): inside the brain."""
        return self.brain[np.asarray(rows, np.int64)].astype(bool)

    def masks(self, split: str) -> NDArray[np.uint8]:
        """(n_split, H, W), mapped: 1 = tumour, in the order of `mask_rows`."""
        return self._mapped(f"masks_{split}.npy", len(self.mask_rows(split)))

    def mask_rows(self, split: str) -> NDArray[np.int64]:
        """Rows of the split's masks, ascending: all of the split."""
        return self._of(split)

    def quantiles_of(self, rows: Iterable[int]) -> NDArray[np.float32]:
        """(n, M, 257): evenly spaced quantiles 0..1 of the intensities in the brain of the volume of each row."""
        return self._quantiles[self._case[np.asarray(rows, np.int64)]]

    def _of(self, split: str) -> NDArray[np.int64]:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is none of {SPLITS}")
        return np.flatnonzero(self.index["split"].to_numpy() == split)

    def _mapped(self, name: str, count: int) -> NDArray:
        path = self.folder / name
        array = files.mapped(path, f"{AGAIN} (`dvc repro`)")
        if len(array) != count:
            raise UserError(f"{path}: holds {len(array)} entries, expected {count} as in index.csv; {AGAIN}")
        return array
