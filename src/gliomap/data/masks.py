"""Masks of several splits by row of the slice store, for methods that learn from them; and the hash that identifies them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices

CHUNK = 256  # entries per read of a mapped array


@dataclass(frozen=True)
class MaskTable:
    """Whole-tumour masks of some splits, mapped; none of the other splits' files is opened.

    split_of: int64 (N,), place of each row's split in `masks`, -1 for the rows of other splits. place_of: int64 (N,), place
    of each row among the masks of its split. masks: by split, uint8 (n_split, H, W), 1 = tumour.
    """

    split_of: NDArray[np.int64]
    place_of: NDArray[np.int64]
    masks: Mapping[str, NDArray[np.uint8]]

    @classmethod
    def of(cls, slices: Slices, splits: tuple[str, ...] = ("train", "val")) -> MaskTable:
        """The masks of `splits`. UserError if one of their files is missing or damaged."""
        split_of, place_of = (np.full(len(slices.index), -1, np.int64) for _ in range(2))
        for number, split in enumerate(splits):
            rows = slices.mask_rows(split)
            split_of[rows], place_of[rows] = number, np.arange(len(rows))
        return cls(split_of, place_of, {split: slices.masks(split) for split in splits})

    def of_rows(self, rows: Iterable[int]) -> NDArray[np.uint8]:
        """(n, H, W): the masks of rows of the store, in the order asked for. UserError on a row of another split."""
        rows = np.asarray(rows, np.int64)
        number, place = self.split_of[rows], self.place_of[rows]
        if (number < 0).any():
            found, there = rows[number < 0][0], ", ".join(self.masks)
            raise UserError(f"masks: found slice {found} of another split, expected slices of {there}; ask for these")
        shape = next(iter(self.masks.values())).shape[1:]
        out = np.empty((len(rows), *shape), np.uint8)
        for i, masks in enumerate(self.masks.values()):
            out[number == i] = masks[place[number == i]]
        return out

    def digest(self) -> str:
        """Hash of all masks of the table, for the identity of a training."""
        return content_digest(*self.masks.values())


def content_digest(*arrays: NDArray) -> str:
    """Hash of the arrays' types, shapes and values; mapped ones are read in chunks along the first axis."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for start in range(0, len(array), CHUNK):
            digest.update(np.ascontiguousarray(array[start : start + CHUNK]))
    return digest.hexdigest()
