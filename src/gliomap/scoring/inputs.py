"""What calibration and evaluation start from: a method's maps of one split beside the truth, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.base.files import read_npz
from gliomap.data.slices import Slices
from gliomap.scoring import masks
from gliomap.scoring.masks import Postprocess

AGAIN = "run the `infer` stage of this method again"


@dataclass(frozen=True)
class Inputs:
    """n slices of one split, in the order of index.csv.

    index: n rows with case, patient, z. maps: float32 (n, H, W), median-filtered; truth, brain, region (the eroded brain,
    where a pixel may be predicted): bool (n, H, W). tumour: bool (n,), the recipe's slice label. image_score: float32 (n,).
    own: bool (n, H, W), the method's own mask as it made it, or None. pixel_mm: side of a pixel. split_size: slices in the
    whole split, of which n were scored (infer.slice_step).
    """

    index: pd.DataFrame
    maps: np.ndarray
    image_score: np.ndarray
    own: np.ndarray | None
    truth: np.ndarray
    brain: np.ndarray
    region: np.ndarray
    tumour: np.ndarray
    pixel_mm: float
    split_size: int

    @property
    def scored(self) -> np.ndarray:
        """bool (n,): tumour slices that have a tumour pixel on this grid; "slice_tumour" in a metric's name means these."""
        return self.tumour & self.truth.any((1, 2))


def read(path: Path, slices: Slices, split: str, post: Postprocess) -> Inputs:
    """The predictions in `path` beside the truth of the split, with map and brain mask post-processed.

    UserError if the file holds other slices than the split's, misses a case, holds NaN, or no slice has a tumour.
    """
    index = slices.index[slices.index["split"] == split]
    found = beside(_predictions(path, index, slices.masks(split).shape[1:]), slices, split, post)
    if not found.scored.any():
        what = f"none of the {len(found.tumour)} {split} slices has a tumour"
        raise UserError(f"{path}: {what}, expected at least one; use more patients or a smaller infer.slice_step")
    return found


def beside(found: Mapping[str, np.ndarray], slices: Slices, split: str, post: Postprocess) -> Inputs:
    """The same of arrays in memory, as `engine.inference.predict` gives them: rows of the split, map, image_score, mask."""
    every, rows = slices.mask_rows(split), found["rows"]
    truth, brain = slices.masks(split)[np.searchsorted(every, rows)].astype(bool), slices.brain_of(rows)
    return Inputs(
        index=slices.index.set_index("row", drop=False).loc[rows].reset_index(drop=True),
        maps=masks.smooth(found["map"].astype(np.float32, copy=False), post.median_px),
        image_score=found["image_score"],
        own=found["mask"].astype(bool) if "mask" in found else None,
        truth=truth,
        brain=brain,
        region=masks.erode(brain, post.erode_mm / slices.pixel_mm),
        tumour=np.isin(rows, slices.rows(split, tumour=True)),
        pixel_mm=slices.pixel_mm,
        split_size=len(every),
    )


def _predictions(path: Path, index: pd.DataFrame, image: tuple[int, int]) -> dict[str, np.ndarray]:
    """The arrays of a predictions file, checked against the split's part of the index."""
    found = read_npz(path)
    wanted = {"rows", "map", "image_score"}
    if missing := sorted(wanted - set(found)):
        raise UserError(f"{path}: found no {', '.join(missing)}, expected {', '.join(sorted(wanted))}; {AGAIN}")
    check_rows(path, found["rows"], index)
    n = len(found["rows"])
    for name, shape in {"map": (n, *image), "image_score": (n,), "mask": (n, *image)}.items():
        if name in found and found[name].shape != shape:
            raise UserError(f"{path}: {name} has shape {found[name].shape}, expected {shape}; {AGAIN}")
    for name in ("map", "image_score"):
        bad = ~np.isfinite(found[name]).reshape(n, -1).all(1)
        if bad.any():
            what = f"NaN or infinity in {name} of {bad.sum()} slices, the first is row {found['rows'][bad][0]}"
            raise UserError(f"{path}: found {what}, expected finite numbers; mend the method or its training, and {AGAIN}")
    return found


def check_rows(path: Path, rows: np.ndarray, index: pd.DataFrame, again: str = AGAIN) -> None:
    """Ascending rows of the split, from each of its cases: a method may skip slices by infer.slice_step, not a patient.

    again: what to do about it, for the message.
    """
    if rows.ndim != 1 or (np.diff(rows) <= 0).any():
        raise UserError(f"{path}: rows are not in ascending order, expected those of index.csv; {again}")
    alien = np.setdiff1d(rows, index["row"])
    if len(alien):
        what = f"{len(alien)} of {len(rows)} rows that are not in this split of index.csv, the first is {alien[0]}"
        raise UserError(f"{path}: found {what}; {again}")
    absent = sorted(set(index["case"].astype(str)) - set(index["case"][index["row"].isin(rows)].astype(str)))
    if absent:
        raise UserError(f"{path}: found no slice of {len(absent)} cases ({', '.join(absent[:3])} ...); {again}")
