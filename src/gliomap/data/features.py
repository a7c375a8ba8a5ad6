"""The discrepancy maps of the slices as input channels of a network (DDMD spec 3); models/discrepancy/ holds them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.balance import shuffled
from gliomap.data.slices import SPLITS, Slices

Kind = Literal["none", "inter", "intra", "both", "shuffled", "untrained", "residual"]
SCALING = Literal["raw", "dataset", "image"]  # as is; over the training slices' 99.5th percentile, at most 1; each map 0..1
MAPS: dict[str, tuple[str, ...]] = {  # files behind each kind, in the order of the channels
    "none": (),
    "inter": ("inter",),
    "intra": ("intra",),
    "both": ("inter", "intra"),
    "shuffled": ("inter",),
    "untrained": ("untrained",),
    "residual": ("residual",),
}
AGAIN = "run `dvc repro discrepancy`"


def channels(kind: Kind) -> int:
    """How many input channels the kind adds to a network."""
    return len(MAPS[kind])


@dataclass(frozen=True)
class Features:
    """Maps of one kind for the slices of a store, scaled; what `of` gives is a function of the row alone.

    maps: (N, H, W) float16 each, mapped, in the order of the channels. source: int64 (N,): whose map a slice gets; its
    own, but for `shuffled`. scale: the 99.5th percentile of each map over the training slices.
    """

    kind: Kind
    scaling: SCALING
    maps: tuple[NDArray[np.float16], ...]
    scale: tuple[float, ...]
    source: NDArray[np.int64]
    size: int  # pixels of a side

    @classmethod
    def open(cls, folder: str | Path, slices: Slices, kind: Kind, scaling: SCALING, seed: int) -> Features:
        """The maps in `folder`, models/discrepancy; kind `none` opens no file. `seed` is that of `shuffled`.

        Raises UserError if a file is missing or damaged, or if the maps are not those of the slices.
        """
        if kind not in get_args(Kind) or scaling not in get_args(SCALING):
            raise ValueError(f"features of kind {kind!r}, scaled {scaling!r}: unknown")
        folder, count, size = Path(folder), len(slices.index), slices.images.shape[-1]
        source = _strangers(slices, seed) if kind == "shuffled" else np.arange(count)
        if kind == "none":
            return cls(kind, scaling, (), (), source, size)
        scales = _scales(folder, {"recipe": slices.recipe, "size": size, "n": count})
        maps = tuple(_mapped(folder / f"{name}.npy", (count, size, size)) for name in MAPS[kind])
        return cls(kind, scaling, maps, tuple(float(scales[name]) for name in MAPS[kind]), source, size)

    def of(self, rows: Iterable[int]) -> NDArray[np.float32]:
        """(n, channels, H, W): the features of the rows, in their order."""
        source = self.source[np.asarray(rows, np.int64)]
        found = np.empty((len(source), len(self.maps), self.size, self.size), np.float32)
        for i, (maps, scale) in enumerate(zip(self.maps, self.scale, strict=True)):
            found[:, i] = scaled(maps[source].astype(np.float32), scale, self.scaling)
        return found


def scaled(maps: NDArray[np.float32], scale: float, scaling: SCALING) -> NDArray[np.float32]:
    """The maps (n, H, W), at least 0, in the scaling; a flat map is 0 where each is stretched to 0..1."""
    if scaling == "raw":
        return maps
    if scaling == "dataset":
        return np.minimum(maps / scale, 1) if scale > 0 else np.minimum(maps, 1)
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    return (maps - low) / np.where(high > low, high - low, 1)


def _strangers(slices: Slices, seed: int) -> NDArray[np.int64]:
    """int64 (N,): another slice of the same split for every slice; each is given to one. A ring in random order.

    Raises UserError if a split has a single slice.
    """
    source = np.arange(len(slices.index))
    for split in SPLITS:
        ring = shuffled(slices.rows(split), seed, "features")
        if len(ring) == 1:
            found = f"split {split} has one slice, expected two or more, so that each can get another's map"
            raise UserError(f"{slices.folder / 'index.csv'}: {found}; use more patients, or leave out `shuffled`")
        source[ring] = np.roll(ring, -1)
    return source


def _scales(folder: Path, expected: dict[str, str | int]) -> dict[str, float]:
    """Map name -> scale of discrepancy.json. UserError unless it says what is expected."""
    path = folder / "discrepancy.json"
    meta = files.read_json(path)
    for name, value in expected.items():
        if meta.get(name) != value:
            raise UserError(f"{path}: {name} is {meta.get(name)}, expected {value} as the slices have it; {AGAIN}")
    return meta["scale"]


def _mapped(path: Path, shape: tuple[int, ...]) -> NDArray[np.float16]:
    array = files.mapped(path, AGAIN)
    if array.shape != shape:
        raise UserError(f"{path}: its shape is {array.shape}, expected {shape} as the slices have it; {AGAIN}")
    return array
