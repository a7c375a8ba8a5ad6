"""What DDMD's figures show, and the tables behind them: how well the discrepancies tell slices apart (Fig. 4), which
slices are drawn with the masks of all methods (Fig. 3), and one slice on its way from noise to a mask (Fig. 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.base.files import read_csv, read_npz
from gliomap.base.params import number
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import bootstrap, curves, gallery, per_slice
from gliomap.scoring.bootstrap import Resamples
from gliomap.scoring.inputs import AGAIN

MODALITIES = ("t1", "t1ce", "t2", "flair")
PANELS = tuple(f"{kind}{end}" for kind in ("inter", "intra") for end in (*(f"_{m}" for m in MODALITIES), ""))
BESIDE = ("z", "brain_mm2")  # what a score may follow instead of the tumour
AREAS = ("large", "medium", "small")
STUDY = {"row": 1, "images": 3, "names": 1, "completed": 1, "x": 4}  # axes of the arrays in study.npz


@dataclass(frozen=True)
class Separation:
    """Section `separation` of params.yaml."""

    bins: int = number(min=2, max=1000)  # of the histograms over the scores' whole range


@dataclass(frozen=True)
class Shown:
    """A test slice of the picture of masks. images (4, H, W), truth (H, W); masks (H, W) and Dice by method."""

    label: str
    images: np.ndarray
    truth: np.ndarray
    masks: Mapping[str, np.ndarray]
    dice: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """One slice under V variants. images (4, H, W), truth (H, W); completed (S,): noise levels passed; x (V, S, H, W): the
    noisy masks there, in units of a mask of 0..1."""

    label: str
    images: np.ndarray
    truth: np.ndarray
    names: tuple[str, ...]
    completed: np.ndarray
    x: np.ndarray


def scores(path: Path, slices: Slices, split: str = "test") -> pd.DataFrame:
    """Of each slice of the split: row, patient, tumour, the PANELS of discrepancy scores, and BESIDE them height and brain.

    UserError if the file in `path`, models/discrepancy/scores.csv, has other slices or lacks a score.
    """
    found = read_csv(path)
    again = "run `dvc repro discrepancy`"
    if missing := sorted({"row", *PANELS} - set(found)):
        raise UserError(f"{path}: found no {', '.join(missing)}, expected a column for each modality's score; {again}")
    if not np.array_equal(found["row"], slices.index["row"]):
        raise UserError(f"{path}: its rows are not those of {slices.folder / 'index.csv'}; {again}")
    table = slices.index[["row", "patient", "z"]].assign(brain_mm2=slices.index["brain_px"] * slices.pixel_mm**2)
    table = table.join(found[list(PANELS)]).iloc[slices.rows(split)].reset_index(drop=True)
    if not np.isfinite(table[list(PANELS)].to_numpy(float)).all():
        raise UserError(f"{path}: found NaN or infinity, expected finite scores; {again}")
    return table.assign(tumour=slices.labels(split)["tumour"].to_numpy())


def unit(values: np.ndarray) -> np.ndarray:
    """float64, same shape: from the smallest value at 0 to the largest at 1; 0 where all are equal."""
    values = np.asarray(values, np.float64)
    width = np.ptp(values) if values.size else 0.0
    return (values - values.min()) / width if width > 0 else np.zeros(values.shape)


def densities(values: np.ndarray, tumour: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Histograms (bins,) of `unit` (n,) values of healthy and of tumour slices, area 1 each; NaN where there are none."""
    at = np.minimum((values * bins).astype(int), bins - 1)
    parts = [np.bincount(at[where], minlength=bins) for where in (~tumour, tumour)]
    return tuple(part * bins / part.sum() if part.sum() else np.full(bins, np.nan) for part in parts)


def overlap(p: np.ndarray, q: np.ndarray) -> float:
    """Common area of two densities over 0..1: 1 = alike, 0 = apart."""
    return float(np.minimum(p, q).sum() / len(p))


def chi_square(p: np.ndarray, q: np.ndarray) -> float:
    """0.5 sum (p - q)^2 / (p + q) of the shares of slices in each bin, given as densities: 0 = alike, 1 = apart."""
    there = ~(p + q == 0)
    return float(0.5 * ((p - q)[there] ** 2 / (p + q)[there]).sum() / len(p))


def separation(table: pd.DataFrame, bins: int, resamples: Resamples, confidence: float) -> pd.DataFrame:
    """Fig. 4 in numbers, one row for each of PANELS and BESIDE, tumour slices against healthy ones; `table`: see `scores`.

    score, auroc, auroc_lo, auroc_hi, ap (its floor: prevalence), overlap, chi2, bins, n_tumour, n_healthy. AUROC below 0.5:
    tumour slices have the smaller values. NaN where there is one kind of slices only.
    """
    tumour = table["tumour"].to_numpy() == 1
    records = []
    for name in (*PANELS, *BESIDE):
        values = table[name].to_numpy(np.float64)
        low, high = bootstrap.interval(resamples.auroc(values, tumour), confidence)
        p, q = densities(unit(values), tumour, bins)
        record = {"score": name, "auroc": curves.auroc(values, tumour), "auroc_lo": low, "auroc_hi": high}
        record |= {"ap": curves.average_precision(values, tumour), "prevalence": tumour.mean()}
        record |= {"overlap": overlap(p, q), "chi2": chi_square(p, q), "bins": bins}
        records.append(record | {"n_tumour": int(tumour.sum()), "n_healthy": int((~tumour).sum())})
    return pd.DataFrame(records)


def terciles(table: pd.DataFrame) -> list[int]:
    """Positions in `table` (columns row, patient, tumour, tumour_px) of a slice for each of AREAS, or of fewer.

    The thirds of the tumour slices by area; of each the slice next to its middle, of another patient where there is one.
    """
    ill = table[(table["tumour"] == 1) & (table["tumour_px"] > 0)].sort_values(["tumour_px", "row"], ascending=[False, True])
    patients, chosen = ill["patient"].to_numpy(), []
    for third in np.array_split(np.arange(len(ill)), len(AREAS)):
        taken = {patients[i] for i in chosen}
        ranked = sorted(third, key=lambda i: (patients[i] in taken, abs(i - third.mean()), i))
        chosen += ranked[:1]
    return [int(position) for position in ill.index[chosen]]


def chosen(places: Sequence[Place], slices: Slices) -> tuple[list[Shown], pd.DataFrame]:
    """Fig. 3: what is drawn of the slices that `terciles` takes, and a table of it: area, row, case, patient, z, tumour_mm2,
    method, dice. From scores/confusion and predictions/<system>/test; UserError if a method lacks a slice.
    """
    tables = {place.method: _scored(place) for place in places}
    first = tables[places[0].method]
    at = terciles(first)
    rows = first["row"].to_numpy()[at]
    masks = {place.method: _masks(place, rows) for place in places}
    truth = _truth(slices, "test", rows)
    dice = {m: _of_rows(t["row"].to_numpy(), rows, t["dice"].to_numpy(), f"scores of {m}") for m, t in tables.items()}
    images = slices.read(rows, MODALITIES)
    shown = []
    for i, position in enumerate(at):
        of_method = ({method: values[i] for method, values in found.items()} for found in (masks, dice))
        shown.append(Shown(gallery.describe(first, position), images[i], truth[i], *of_method))
    about = first.loc[at, ["row", "case", "patient", "z", "tumour_mm2"]].reset_index(drop=True)
    about.insert(0, "area", AREAS[: len(at)])
    return shown, pd.concat([about.assign(method=m, dice=values) for m, values in dice.items()], ignore_index=True)


def study(path: Path, slices: Slices, split: str = "val") -> Study:
    """Fig. 5: the study's slice and its truth. UserError if the file is not that of a study of these slices."""
    found = read_npz(path)
    wrong = [name for name, axes in STUDY.items() if name not in found or found[name].ndim != axes]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is missing or has another shape; run `dvc repro study_chains`")
    row, x = found["row"], found["x"]
    at = np.flatnonzero(slices.index["row"].isin(row) & (slices.index["split"] == split))
    fits = x.shape == (len(found["names"]), len(found["completed"]), *slices.images.shape[2:])
    if len(at) != 1 or not fits or found["images"].shape[1:] != x.shape[2:]:
        what = f"row {row[0]} with states of shape {x.shape} is no study of one {split} slice"
        raise UserError(f"{path}: {what} of {slices.folder}; run `dvc repro study_chains`")
    about = slices.index.iloc[at[0]]
    label = f"{about['case']}, z = {about['z']:g} mm"
    names = tuple(str(name) for name in found["names"])
    images, x = (found[name].astype(np.float32) for name in ("images", "x"))
    return Study(label, images, _truth(slices, split, row)[0], names, found["completed"], x)


def _scored(place: Place) -> pd.DataFrame:
    """What stages/evaluate_confusion.py wrote about each test slice."""
    return per_slice.read(Path("scores/confusion") / f"{place.method}.csv")


def _truth(slices: Slices, split: str, rows: np.ndarray) -> np.ndarray:
    return np.asarray(slices.masks(split)[np.searchsorted(slices.mask_rows(split), rows)]).astype(bool)


def _masks(place: Place, rows: np.ndarray) -> np.ndarray:
    """bool (n, H, W): the method's own masks of these rows."""
    path = place.predictions("test")
    found = read_npz(path)
    if "mask" not in found:
        raise UserError(f"{path}: found no mask, expected the method's own; {AGAIN}")
    return _of_rows(found["rows"], rows, found["mask"], str(path)).astype(bool)


def _of_rows(known: np.ndarray, rows: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """Those of `values`, one for each of `known` (ascending), that belong to `rows`."""
    at = np.searchsorted(known, rows).clip(max=len(known) - 1)
    if (absent := rows[known[at] != rows]).size:
        raise UserError(f"{name}: found no row {absent[0]}, expected the slices of the other methods; {AGAIN}")
    return values[at]
