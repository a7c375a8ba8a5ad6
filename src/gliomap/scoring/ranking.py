"""The leaderboard: all methods by supervision and Dice, with what they cost and how they compare, patient by patient.

Methods on different recipes saw different slices: each recipe is ranked, and compared, by itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gliomap.base.errors import UserError
from gliomap.scoring import paired, per_slice, seeds, tables
from gliomap.scoring.leaderboard import Entry, Numbers, need
from gliomap.scoring.paired import Draws

FLAIR = "threshold_flair"  # the row that every method is compared with: brightness alone
DICE = "dice_slice_tumour"
SIZES = ("small", "medium", "large")
SUPERVISION = ("none", "slice labels", "pixel masks")  # classes in their order; others follow
METRICS = (  # those with an interval
    DICE, f"{DICE}_oracle", *(f"{DICE}_{size}" for size in SIZES), "auprc_pooled_brain", "auroc_pooled_brain", "auroc_image",
    "hd95_max_directed_mm", "assd_mean_of_directed_mm",
)  # fmt: skip
COUNTS = (*tables.COUNTS, *(f"n_tumour_slices_{size}" for size in SIZES), "n_distance_slices")
LEVELS = ("tercile_mm2_lower", "tercile_mm2_upper", "prevalence_pooled_brain", "dice_ceiling")
COST = ("seconds_per_slice", "evaluations_per_slice", "training_seconds", "training_parameters")
AGAINST = ("vs_flair", "vs_best")  # beginnings of the columns of the two comparisons
ROUNDED = 6  # decimals of the comparisons
SAME = ["row", "case", "patient", "z"]  # what says which slice a line of scores is


@dataclass(frozen=True)
class Sources:
    """What the stages left about the methods.

    metrics: by method, maybe with means over seeds (repeats.of_methods). scores: by method, of read_scores.
    cost: costs.frame. recipes: by system.
    """

    metrics: Mapping[str, Numbers]
    scores: Mapping[str, pd.DataFrame]
    cost: pd.DataFrame
    recipes: Mapping[str, str]


def read_scores(entries: Iterable[Entry]) -> dict[str, pd.DataFrame]:
    """scores/<system>/<method>.csv of each method, by its key. UserError if one is missing."""
    return {entry.key: per_slice.read(entry.place.scores) for entry in entries}


def frame(entries: Sequence[Entry], found: Sources, draws: Draws) -> pd.DataFrame:
    """One row a method, by recipe, then supervision, then Dice at the validation threshold, best first.

    recipe, no (its place in the recipe), method, name, system, supervision; METRICS with `_lo`, `_hi`; COUNTS; LEVELS; COST;
    best_of_class (a method's key), n_patients_paired, p_least (the smallest p that so many patients can give); for each of
    AGAINST `<it>_difference` with `_lo`, `_hi`, `<it>_p` and `<it>_p_holm`, corrected over the rows of the recipe;
    seeds.columns of METRICS where there are runs with other seeds. NaN where there is no such number.

    UserError if methods of one recipe were scored on different slices.
    """
    parts = []
    for recipe, mine in by_recipe(entries, found.recipes).items():
        order = ordered(mine, found.metrics)
        rows = pd.DataFrame([{"recipe": recipe, "no": i + 1, **_record(e, found)} for i, e in enumerate(order)])
        parts.append(rows.merge(_compared(order, found.scores, draws), on="method"))
    cost = found.cost.set_index("method")[list(COST)]
    return pd.concat(parts, ignore_index=True).join(cost, on="method")


def by_recipe(entries: Sequence[Entry], recipes: Mapping[str, str]) -> dict[str, list[Entry]]:
    """The methods of each recipe, both in the order given."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(recipes[entry.system], []).append(entry)
    return found


def ordered(entries: Sequence[Entry], metrics: Mapping[str, Numbers]) -> list[Entry]:
    """By supervision, then Dice, best first; methods without Dice are the last of their class."""
    others = sorted({entry.supervision for entry in entries} - set(SUPERVISION))
    place = {word: i for i, word in enumerate((*SUPERVISION, *others))}
    return sorted(tables.ranked(entries, metrics), key=lambda entry: place[entry.supervision])


def _record(entry: Entry, found: Sources) -> dict[str, Any]:
    numbers = found.metrics[entry.key]
    record = {"method": entry.key, "name": entry.name, "system": entry.system, "supervision": entry.supervision}
    for name in METRICS:
        need(numbers, name, entry.key)
        record |= {name + end: _number(numbers, name + end) for end in ("", "_lo", "_hi")}
    record |= {name: int(need(numbers, name, entry.key) or 0) for name in COUNTS}
    return record | {name: _number(numbers, name) for name in LEVELS} | seeds.columns(numbers, METRICS)


def _number(numbers: Numbers, name: str) -> float:
    value = numbers.get(name)
    return math.nan if value is None else float(value)


def _compared(order: Sequence[Entry], scores: Mapping[str, pd.DataFrame], draws: Draws) -> pd.DataFrame:
    """method, best_of_class, n_patients_paired and both comparisons of each method of one recipe."""
    means = _by_patient(order, scores)
    trial = paired.trial(list(means.index), draws)
    best = {entry.supervision: entry.key for entry in reversed(order)}
    rows = []
    for e in order:
        row = {"method": e.key, "best_of_class": best[e.supervision]}
        row |= {"n_patients_paired": len(means), "p_least": trial.smallest}
        for prefix, other in zip(AGAINST, (FLAIR, best[e.supervision])):
            row |= _difference(prefix, means, trial, e.key, other)
        rows.append(row)
    table = pd.DataFrame(rows)
    corrected = {f"{prefix}_p_holm": paired.holm(table[f"{prefix}_p"].to_numpy()) for prefix in AGAINST}
    return table.assign(**corrected).round(ROUNDED)


def _difference(prefix: str, means: pd.DataFrame, trial: paired.Trial, method: str, other: str) -> dict[str, float]:
    """Columns of one comparison; NaN of a method with itself, and with one that this recipe does not have."""
    names = [f"{prefix}_{end}" for end in ("difference", "difference_lo", "difference_hi", "p")]
    if other == method or other not in means:
        return dict.fromkeys(names, math.nan)
    d = trial.difference(means[method].to_numpy(), means[other].to_numpy())
    return dict(zip(names, (d.mean, d.low, d.high, d.p)))


def _by_patient(entries: Sequence[Entry], scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean Dice, (patients, methods). UserError if the methods were not scored on the same slices."""
    first = entries[0]
    for entry in entries:
        if missing := sorted({*SAME, "tumour", "tumour_px", "dice"} - set(scores[entry.key])):
            what = f"found no column {', '.join(missing)}, expected what evaluate writes"
            raise UserError(f"{entry.place.scores}: {what}; run `dvc repro -f evaluate@{entry.system}`")
        if not scores[entry.key][SAME].equals(scores[first.key][SAME]):
            what = f"its slices are not those of {first.place.scores}, expected the same for all methods of a recipe"
            raise UserError(f"{entry.place.scores}: {what}; run `dvc repro -f evaluate@{entry.system}`")
    return pd.DataFrame({entry.key: paired.patient_means(scores[entry.key]) for entry in entries})


def best_of_each(table: pd.DataFrame) -> pd.DataFrame:
    """The first row of each recipe and class of supervision of a frame."""
    return table.drop_duplicates(["recipe", "supervision"])
