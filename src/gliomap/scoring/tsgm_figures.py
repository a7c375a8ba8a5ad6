"""What TSGM's figures show, and the tables behind them: maps and masks of slices (Fig. 2, 4, 9), restorations (Fig. 3),
scores of slices (Fig. 5), and the weights of the modalities (Fig. 6). The choice of slices looks at no prediction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.base.files import read_csv, read_npz
from gliomap.scoring import bootstrap, ddmd_figures, gallery, per_slice, residuals, weights
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.residuals import Population
from gliomap.scoring.summary import Evaluate

SCORES = Path("scores/otsu")
BEST = 0.995  # quantile of a row's map inside the brain, over all slices: the top of its colours where slices are compared
MAIN = "tsgm"  # the row that others are compared with


@dataclass(frozen=True)
class Shown:
    """A slice with what the rows say about it; rows that its cohort cannot have are missing.

    images (M, H, W) of `modalities`, truth bool (H, W); by row: map and mask (H, W), Dice, and the top of the map's colours.
    """

    label: str
    modalities: tuple[str, ...]
    images: np.ndarray
    truth: np.ndarray
    maps: Mapping[str, np.ndarray]
    masks: Mapping[str, np.ndarray]
    dice: Mapping[str, float]
    tops: Mapping[str, float]


@dataclass(frozen=True)
class Restored:
    """A slice as the rows restore it. images (M, H, W) in the range of the store; by row and modality (H, W) in 0..1."""

    label: str
    modalities: tuple[str, ...]
    images: np.ndarray
    truth: np.ndarray
    restored: Mapping[str, Mapping[str, np.ndarray]]
    residual: Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Scored:
    """Scores of a population by row of the graph, one table for each row that is there."""

    population: Population
    tables: Mapping[str, pd.DataFrame]

    @property
    def first(self) -> pd.DataFrame:
        """The slices: columns as in scores/otsu, with tumour_mm2 and brain_px."""
        table = next(iter(self.tables.values()))
        slices = self.population.slices
        brain = slices.index.set_index("row")["brain_px"].loc[table["row"]].to_numpy()
        return table.assign(tumour_mm2=table["tumour_px"] * slices.pixel_mm**2, brain_px=brain)


def scored(population: Population, entries: Sequence[Entry]) -> Scored:
    """scores/otsu/<population>/<row>.csv. UserError if their slices differ, or if one of the main cohort is missing."""
    tables: dict[str, pd.DataFrame] = {}
    for entry in entries:
        path = SCORES / population.name / f"{entry.key}.csv"
        if population.external and not path.is_file():
            continue
        tables[entry.key] = per_slice.read(path)
        first = next(iter(tables.values()))
        if not np.array_equal(tables[entry.key]["row"], first["row"]):
            what = f"found other slices than {next(iter(tables))} has, expected the same"
            raise UserError(f"{path}: {what}; run `dvc repro evaluate_otsu`")
    if not tables:
        raise UserError(f"{SCORES / population.name}: found no scores, expected one or more; run `dvc repro evaluate_otsu`")
    return Scored(population, tables)


def ill(found: Scored, count: int) -> list[int]:
    """Positions in the scores of at most `count` of three tumour slices: a large, a medium and a small tumour."""
    return ddmd_figures.terciles(found.first)[:count]


def healthy(found: Scored, count: int) -> list[int]:
    """Positions in the scores of slices without tumour, from the middle of the order of brain area."""
    return gallery.choose(found.first, 0, count)


def shown(found: Scored, positions: Sequence[int]) -> list[Shown]:
    """What is drawn of these slices: Fig. 2, 4, 9."""
    population, table = found.population, found.first
    rows = table["row"].to_numpy()[list(positions)]
    slices = population.slices
    images, truth = slices.read(rows, slices.modalities), truth_of(population, rows)
    picked = {key: _picked(population, key, rows) for key in found.tables}
    made = []
    for i, position in enumerate(positions):
        parts = ({key: one[name][i] for key, one in picked.items()} for name in ("map", "mask"))
        dice = {key: float(one["dice"].to_numpy()[position]) for key, one in found.tables.items()}
        tops = {key: one["top"] for key, one in picked.items()}
        label = f"{population.name}\n" * population.external + gallery.describe(table, position)
        made.append(Shown(label, slices.modalities, images[i], truth[i], *parts, dice, tops))
    return made


def restored(found: Scored, position: int) -> Restored:
    """Fig. 3: one slice by modality, from predictions/residuals. UserError if a row lacks the slice."""
    population, table = found.population, found.first
    row = table["row"].to_numpy()[[position]]
    pictures: dict[str, dict[str, dict[str, np.ndarray]]] = {"restored": {}, "residual": {}}
    for key in found.tables:
        if seen := residuals.find(population, key):
            for name, by_row in pictures.items():
                one = _of_rows(seen.rows, row, getattr(seen, name), f"residuals of {key}")[0].astype(np.float32)
                by_row[key] = dict(zip(seen.modalities, one))
    slices = population.slices
    images = slices.read(row, slices.modalities)[0]
    truth, label = truth_of(population, row)[0], gallery.describe(table, position)
    return Restored(label, slices.modalities, images, truth, pictures["restored"], pictures["residual"])


def scores_by_method(found: Scored, names: Mapping[str, str]) -> pd.DataFrame:
    """Fig. 5: method, case, z, dice, auprc_mask, auprc_map; a row for each method and tumour slice."""
    columns = ["case", "z", "dice", "auprc_mask", "auprc_map"]
    parts = [t.loc[t["dice"].notna() & (t["tumour"] == 1), columns].assign(method=names[k]) for k, t in found.tables.items()]
    return pd.concat(parts, ignore_index=True)[["method", *columns]]


def differences(found: Scored, names: Mapping[str, str], evaluate: Evaluate, seed: int) -> pd.DataFrame:
    """Mean Dice of TSGM minus that of each other row on the same tumour slices: method, difference, _lo, _hi, n, n_patients.

    Interval: bootstrap over patients. Empty without TSGM. The paper calls its difference significant and names no test.
    """
    columns = ["method", "difference", "difference_lo", "difference_hi", "n", "n_patients"]
    if MAIN not in found.tables:
        return pd.DataFrame(columns=columns)
    ours = found.tables[MAIN]
    there = (ours["dice"].notna() & (ours["tumour"] == 1)).to_numpy()
    patients = ours["patient"].to_numpy()[there]
    resamples = bootstrap.draw(patients, evaluate.replicates, seed)
    records = []
    for key in (key for key in found.tables if key != MAIN):
        change = (ours["dice"] - found.tables[key]["dice"]).to_numpy()[there]
        low, high = bootstrap.interval(resamples.ratio(change, np.ones(len(change))), evaluate.confidence)
        records.append((names[key], change.mean(), low, high, len(change), len(np.unique(patients))))
    return pd.DataFrame(records, columns=columns)


def optima(entries: Sequence[Entry]) -> dict[str, pd.DataFrame]:
    """Fig. 6: models/weights/<row>.csv of the rows that have one. UserError if none has, or a file lacks its columns."""
    paths = {entry.key: weights.FOLDER / f"{entry.key}.csv" for entry in entries}
    found = {key: read_csv(path) for key, path in paths.items() if path.is_file()}
    if not found:
        raise UserError(f"{weights.FOLDER}: found no weights, expected those of a row; run `dvc repro weight_search`")
    for key, table in found.items():
        if not {"row", *_weighted(table)} <= set(table) or not _weighted(table):
            columns = ", ".join(table)
            raise UserError(f"{paths[key]}: found {columns}, expected row and modalities; run `dvc repro weight_search`")
    return found


def mean_weights(found: Mapping[str, pd.DataFrame], names: Mapping[str, str]) -> pd.DataFrame:
    """method, modality, weight (mean of the slices' optima), sd, published, n; for rows of `optima`."""
    records = []
    for key, table in found.items():
        for modality in _weighted(table):
            values = table[modality].to_numpy(float)
            sd = values.std(ddof=1) if len(values) > 1 else np.nan
            mean = values.mean() if len(values) else np.nan
            records.append((names[key], modality, mean, sd, weights.PUBLISHED[modality], len(values)))
    return pd.DataFrame(records, columns=["method", "modality", "weight", "sd", "published", "n"])


def truth_of(population: Population, rows: np.ndarray) -> np.ndarray:
    """bool (n, H, W): the masks of these rows."""
    slices, split = population.slices, population.split
    return np.asarray(slices.masks(split)[np.searchsorted(slices.mask_rows(split), rows)]).astype(bool)


def _weighted(table: pd.DataFrame) -> list[str]:
    return [name for name in weights.PUBLISHED if name in table]


def _picked(population: Population, key: str, rows: np.ndarray) -> dict[str, np.ndarray | float]:
    """map, mask (n, H, W) of the rows, and `top`: the BEST quantile of the map in the brain over all slices."""
    path = population.predictions(key)
    found = read_npz(path)
    if missing := [name for name in ("rows", "map", "mask") if name not in found]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected rows, map and mask; run `dvc repro weigh`")
    inside = found["map"][population.slices.brain_of(found["rows"])]
    top = float(np.quantile(inside, BEST)) if inside.size else 0.0
    parts = {name: _of_rows(found["rows"], rows, found[name], str(path)) for name in ("map", "mask")}
    return {"map": parts["map"], "mask": parts["mask"].astype(bool), "top": top}


def _of_rows(known: np.ndarray, rows: np.ndarray, values: np.ndarray, name: str) -> np.ndarray:
    """Those of `values`, one for each of `known` (ascending), that belong to `rows`."""
    at = np.searchsorted(known, rows).clip(max=len(known) - 1)
    if (absent := rows[known[at] != rows]).size:
        raise UserError(f"{name}: found no row {absent[0]}, expected the slices that were scored; run `dvc repro weigh`")
    return values[at]
