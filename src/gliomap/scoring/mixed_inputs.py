"""What the AnoFPDM paper's evaluation starts from: some arrays of a predictions file, and the truth of its slices."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring.inputs import AGAIN, check_rows

SHAPES = {  # n slices, w guidance weights, m modalities (flair, t2), q quantiles, k steps, e ends, y x pixels
    "rows": "n", "map": "nyx", "image_score": "n", "whole": "nwyx", "w": "w", "cosine": "nw", "divergence": "nwm",
    "end": "nwm", "quantiles": "nwmq", "steps": "k", "curve_h": "nk", "curve_ref": "nk", "fixed": "neyx", "fixed_end": "e",
    "stack_h": "nkyx", "stack_ref": "nkyx", "x_h": "nkyx", "x_ref": "nkyx",
}  # fmt: skip
STUDY = SHAPES | {"end": "nm"}  # of study.npz: a few slices with every step
STUDY_AGAIN = "run the `study_forward` stage again"
KNOWN = {"m": 2, "q": 101}
CHUNK = 256  # slices of all modalities held at once


@dataclass(frozen=True)
class Predicted:
    """n slices of one split. index: n rows with row, case, patient, z. arrays: by name, shapes as in SHAPES."""

    path: Path
    index: pd.DataFrame
    arrays: Mapping[str, np.ndarray]
    split_size: int

    @property
    def rows(self) -> np.ndarray:
        """int64 (n,), ascending."""
        return self.index["row"].to_numpy()

    def only(self, rows: np.ndarray) -> Predicted:
        """The slices `rows`, ascending. UserError if one is missing."""
        at = np.searchsorted(self.rows, rows).clip(max=len(self.rows) - 1)
        if (absent := rows[self.rows[at] != rows]).size:
            raise UserError(f"{self.path}: found no row {absent[0]}, expected the slices of the other methods; {AGAIN}")
        arrays = {name: values[at] if SHAPES[name][0] == "n" else values for name, values in self.arrays.items()}
        return Predicted(self.path, self.index.iloc[at].reset_index(drop=True), arrays, self.split_size)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]


def read(path: Path, slices: Slices, split: str, names: Iterable[str], study: bool = False) -> Predicted:
    """The named arrays of a predictions file, of finite numbers in shapes that fit each other and the split.

    study: a file of a few slices in any order, put in order here; any other must have some of every case of the split.
    UserError if the file is missing or damaged, or does not fit.
    """
    again = STUDY_AGAIN if study else AGAIN
    arrays = _arrays(path, ("rows", *names), again)
    every = slices.index[slices.index["split"] == split]
    _check_shapes(path, arrays, STUDY if study else SHAPES, again)
    index = every
    if study:
        order = np.argsort(arrays["rows"], kind="stable")
        arrays = {name: v[order] if STUDY[name][0] == "n" else v for name, v in arrays.items()}
        index = every[every["case"].isin(every["case"][every["row"].isin(arrays["rows"])])]
    check_rows(path, arrays["rows"], index, again)
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            what = f"found NaN or infinity in {name}, expected finite numbers; mend the method or its training"
            raise UserError(f"{path}: {what}, and {again}")
    here = every.set_index("row", drop=False).loc[arrays.pop("rows")].reset_index(drop=True)
    return Predicted(path, here, arrays, len(every))


def truth(found: Predicted, slices: Slices, split: str) -> np.ndarray:
    """bool (n, H, W): the tumour of each slice."""
    return slices.masks(split)[np.searchsorted(slices.mask_rows(split), found.rows)].astype(bool)


def unhealthy(found: Predicted, slices: Slices, split: str) -> np.ndarray:
    """bool (n,): the label of each slice. No mask is read."""
    return np.isin(found.rows, slices.rows(split, tumour=True))


def foreground(slices: Slices, rows: np.ndarray, level: float) -> np.ndarray:
    """bool (n, H, W): pixels where the mean of all modalities is above `level` (AnoFPDM spec 6)."""
    parts = [slices.read(rows[i : i + CHUNK], slices.modalities).mean(1) > level for i in range(0, len(rows), CHUNK)]
    return np.concatenate(parts)


def check_size(found: Predicted, name: str, image: tuple[int, int]) -> None:
    """UserError unless the maps `name` have the size of the slices."""
    if found[name].shape[-2:] != image:
        what = f"{name} has images of {found[name].shape[-2:]}, expected {image}"
        raise UserError(f"{found.path}: {what}; {AGAIN}")


def _arrays(path: Path, names: Iterable[str], again: str) -> dict[str, np.ndarray]:
    """Only the arrays that are needed: a file of the paper's size holds several GB."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it (`dvc repro`), or `dvc checkout` to restore it")
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := sorted(set(names) - set(archive.files)):
                raise UserError(f"{path}: found no {', '.join(missing)}, expected {', '.join(names)}; {again}")
            return {name: archive[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: not a readable npz file ({error}); {again}") from error


def _check_shapes(path: Path, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, str], again: str) -> None:
    sizes = KNOWN | {"n": len(arrays["rows"])}
    for name, values in arrays.items():
        letters = shapes[name]
        fits = values.ndim == len(letters) and values.size > 0
        if not fits or any(sizes.setdefault(letter, size) != size for letter, size in zip(letters, values.shape)):
            wanted = ", ".join(str(sizes.get(letter, letter)) for letter in letters)
            raise UserError(f"{path}: {name} has shape {values.shape}, expected ({wanted}); {again}")
