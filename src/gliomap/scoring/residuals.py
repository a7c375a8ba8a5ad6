"""Residuals of each modality (predictions/residuals/), beside the slices that they belong to, checked against them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gliomap.base.errors import UserError
from gliomap.base.files import read_npz
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import inputs

SYSTEM, WEIGHTED, UNWEIGHTED = "tsgm", "tsgm", "baselines"  # WEIGHTED: the group whose modalities get searched weights
FOLDER, EXTERNAL = Path("predictions/residuals"), Path("data/external")
ARRAYS = ("rows", "modalities", "residual", "restored")


@dataclass(frozen=True)
class Population:
    """Slices that are scored together: `val` or `test` of the main cohort, or an external cohort.

    split: of the slices in `slices`; an external cohort has `test` only. recipe: of the main cohort, whose thresholds hold.
    """

    name: str
    slices: Slices
    split: str
    recipe: str

    @property
    def external(self) -> bool:
        """Whether it is a cohort that no network was trained on."""
        return self.name != self.split

    def predictions(self, row: str) -> Path:
        """Maps and masks of a row."""
        return Place("external" if self.external else SYSTEM, row).predictions(self.name)

    def residuals(self, group: str, row: str) -> Path:
        """What the residual stage of the group left of a row."""
        return FOLDER / group / self.name / f"{row}.npz"


@dataclass(frozen=True)
class Residuals:
    """n slices, ascending, of M modalities.

    rows: int64 (n,). residual: float16 (n, M, H, W), |image - restoration| of images in 0..1, over the whole image.
    restored: float16 (n, M, H, W), 0..1. group: WEIGHTED or UNWEIGHTED.
    """

    group: str
    rows: np.ndarray
    modalities: tuple[str, ...]
    residual: np.ndarray
    restored: np.ndarray


def populations(store: str, splits: Iterable[str], cohorts: Iterable[str]) -> list[Population]:
    """The splits of data/slices/<system>, then the external cohorts. UserError if a store is missing."""
    main = Slices.open(Path("data/slices") / store)
    inside = [Population(split, main, split, main.recipe) for split in splits]
    return inside + [Population(cohort, Slices.open(EXTERNAL / cohort), "test", main.recipe) for cohort in cohorts]


def find(population: Population, row: str) -> Residuals | None:
    """The row's residuals, of either group. None if an external cohort lacks its modalities, so that there is no file.

    UserError if it is missing elsewhere, or does not fit the slices.
    """
    paths = {group: population.residuals(group, row) for group in (WEIGHTED, UNWEIGHTED)}
    for group, path in paths.items():
        if path.is_file():
            return read(path, population, group)
    if population.external:
        return None
    words = " or ".join(map(str, paths.values()))
    raise UserError(f"found neither {words}, expected one of them; run the residuals stage of this row (`dvc repro`)")


def read(path: Path, population: Population, group: str) -> Residuals:
    """One file. UserError if it misses an array, holds other slices than the population's, or broken numbers."""
    again, slices, found = f"run the stage residuals_{group} again", population.slices, read_npz(path)
    if missing := [name for name in ARRAYS if name not in found]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected {', '.join(ARRAYS)}; {again}")
    rows, modalities = found["rows"], tuple(map(str, found["modalities"]))
    inputs.check_rows(path, rows, slices.index[slices.index["split"] == population.split], again)
    if len(set(modalities)) < max(len(modalities), 1) or not set(modalities) <= set(slices.modalities):
        words = f"modalities {', '.join(modalities) or 'none'}, expected some of {', '.join(slices.modalities)}"
        raise UserError(f"{path}: found {words}, each once; {again}")
    shape = (len(rows), len(modalities), *slices.brain.shape[1:])
    for name in ("residual", "restored"):
        if found[name].shape != shape:
            raise UserError(f"{path}: {name} has shape {found[name].shape}, expected {shape}; {again}")
    good = np.isfinite(found["residual"]) & (found["residual"] >= 0)
    if not good.all():
        what = f"NaN, infinity or a negative number in residual, first in row {rows[~good.all((1, 2, 3))][0]}"
        raise UserError(f"{path}: found {what}, expected finite numbers from 0 on; mend the model, then {again}")
    return Residuals(group, rows, modalities, found["residual"], found["restored"])
