"""Healthy slices with synthetic tumours in them, by row of the slice store, as `synthesize` writes them (TSGM spec 2.5)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.masks import content_digest
from gliomap.data.slices import Slices

AGAIN = "run stage `synthesize` again"
LEVELS = 255  # of a stored image: 0 stands for the background, 255 for the brightest


@dataclass(frozen=True)
class PairTable:
    """Pairs of one variant. Only the images that are asked for are read.

    rows: int64 (n,), ascending. modalities: the M channels, in order. healthy, synthetic: uint8 (n, M, H, W), mapped:
    the slice as it is, and with a tumour that a CycleGAN painted into it, both as 8-bit pictures.
    """

    rows: NDArray[np.int64]
    modalities: tuple[str, ...]
    healthy: NDArray[np.uint8]
    synthetic: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: str | Path, slices: Slices) -> PairTable:
        """The pairs in models/pairs/<variant>. UserError if a file is missing, damaged or not of these slices."""
        folder = Path(folder)
        modalities = tuple(files.read_json(folder / "pairs.json")["modalities"])
        rows = np.array(files.mapped(folder / "rows.npy", AGAIN), np.int64)
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(slices.index):
            found = f"rows {rows[0]} to {rows[-1]}"
            raise UserError(f"{folder / 'rows.npy'}: has {found}, expected rows of {len(slices.index)} slices; {AGAIN}")
        expected = (len(rows), len(modalities), *slices.images.shape[2:])
        arrays = [files.mapped(folder / f"{name}.npy", AGAIN) for name in ("healthy", "synthetic")]
        for name, array in zip(("healthy", "synthetic"), arrays, strict=True):
            if array.shape != expected or array.dtype != np.uint8:
                found = f"is {array.dtype} of shape {array.shape}, expected uint8 of {expected} as the slices are"
                raise UserError(f"{folder / name}.npy: {found}; {AGAIN}")
        return cls(rows, modalities, *arrays)

    def of_rows(self, rows: Iterable[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(healthy, synthetic), uint8 (n, M, H, W) each, of rows in the order asked for. UserError on a row without pair."""
        rows = np.asarray(rows, np.int64)
        place = np.searchsorted(self.rows, rows)
        known = place < len(self.rows)
        known[known] = self.rows[place[known]] == rows[known]
        if not known.all():
            found = f"slice {rows[~known][0]} has no synthetic tumour"
            raise UserError(f"models/pairs: {found}, expected a healthy slice of training or validation; {AGAIN}")
        return self.healthy[place], self.synthetic[place]

    def digest(self) -> str:
        """Hash of rows and images, for the identity of a training."""
        return content_digest(self.rows, self.healthy, self.synthetic)
