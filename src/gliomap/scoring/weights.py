"""Weights of the modalities in TSGM's map: grid, search by the Dice of a slice, mean over slices (TSGM spec 5.1)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.params import number
from gliomap.scoring import otsu
from gliomap.scoring.masks import drop_small

FOLDER = Path("models/weights")
PUBLISHED = {"t1": 0.07, "t1ce": 0.19, "t2": 0.30, "flair": 0.44}  # constants of the released code
Rule = Literal["searched", "published", "uniform"]  # weigh.weights in params.yaml


@dataclass(frozen=True)
class Search:
    """Section `tsgm.search` of params.yaml."""

    step: float = number(min=0.01, max=1)  # of a weight; 1 is a multiple of it
    slices: int = number(min=0)  # validation slices with tumour, spread over the patients; 0 = all


class Seen(NamedTuple):
    """One slice as the search sees it: residual (M, H, W) of its modalities, brain and truth bool (H, W)."""

    residual: np.ndarray
    brain: np.ndarray
    truth: np.ndarray


class Best(NamedTuple):
    """The optimum of one slice: weights float64 (M,), and the Dice that they reach, 0 if no weights find the tumour."""

    weights: np.ndarray
    dice: float


def grid(step: float, modalities: int) -> np.ndarray:
    """float64 (K, M): all multiples of `step` that sum to 1, in the order of nested loops, the first modality outermost.

    The last modality gets at least one step, as in the released code (half-open loops over the others): 220 for step 0.1
    and four modalities. UserError if 1 is no multiple of the step.
    """
    parts = round(1 / step)
    if abs(parts * step - 1) > 1e-9:
        raise UserError(f"params.yaml: tsgm.search.step is {step}, expected 1 divided by a whole number; choose 0.1 or 0.05")
    heads = [head for head in itertools.product(range(parts), repeat=modalities - 1) if sum(head) < parts]
    return np.array([(*head, parts - sum(head)) for head in heads]) / parts


def combine(residual: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 (K, ...): sum over m of weights (K, M) times residual (M, ...), always added up in the same order."""
    shape = (-1, *[1] * (residual.ndim - 1))
    total = np.zeros((len(weights), *residual.shape[1:]), np.float32)
    for one, values in zip(weights.T.astype(np.float32), residual):
        total += one.reshape(shape) * values.astype(np.float32)
    return total


def search(seen: Seen, combinations: np.ndarray, component_px: int) -> Best:
    """The first of the (K, M) combinations with the highest Dice of its mask: Otsu's, small components dropped.

    The map counts inside the brain; outside it is 0, and these pixels take part in Otsu's threshold.
    """
    values = combine(seen.residual[:, seen.brain], combinations)
    levels = otsu.thresholds(values, seen.brain.size - values.shape[1])
    box = _box(seen.brain)
    masks = np.zeros((len(values), *seen.brain[box].shape), bool)
    masks[:, seen.brain[box]] = values > levels[:, None]
    kept = drop_small(masks, component_px)
    right = np.count_nonzero(kept & seen.truth[box], axis=(1, 2))
    dice = 2 * right / (np.count_nonzero(kept, axis=(1, 2)) + max(np.count_nonzero(seen.truth), 1))
    best = int(np.argmax(dice))
    return Best(combinations[best], float(dice[best]))


def spread(patients: np.ndarray, count: int) -> np.ndarray:
    """int64, ascending: places of `count` slices, equally many of each patient as far as there are, evenly in between.

    patients: (n,), the patient of each slice. All places if `count` is 0 or larger than n.
    """
    groups = [np.flatnonzero(patients == name) for name in dict.fromkeys(patients)]
    left = min(count, len(patients)) if count else len(patients)
    share = np.zeros(len(groups), np.int64)
    while left:
        for i in np.flatnonzero(share < [len(g) for g in groups])[:left]:
            share[i], left = share[i] + 1, left - 1
    taken = [group[((np.arange(s) + 0.5) * len(group) / max(s, 1)).astype(int)] for group, s in zip(groups, share)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *taken]))


def mean(found: list[Best], modalities: int) -> np.ndarray:
    """float64 (M,): mean of the slices' optima; slices that no weights find are left out. Equal weights if none is left."""
    hits = [best.weights for best in found if best.dice > 0]
    return np.mean(hits, 0) if hits else uniform(modalities)


def uniform(modalities: int) -> np.ndarray:
    """float64 (M,): the plain mean."""
    return np.full(modalities, 1 / modalities)


def of(table: Mapping[str, float], modalities: tuple[str, ...]) -> np.ndarray:
    """float64 (M,), sum 1: the table's weights of the modalities that are there; equal ones if these are all 0."""
    chosen = np.array([table[name] for name in modalities], np.float64)
    return chosen / chosen.sum() if chosen.sum() > 0 else uniform(len(modalities))


def load(row: str, modalities: tuple[str, ...]) -> np.ndarray:
    """float64 (M,): of models/weights/<row>.json. UserError if it is missing, or lacks a modality or its weight."""
    path = FOLDER / f"{row}.json"
    table = read_json(path).get("searched", {})
    if missing := [name for name in modalities if not isinstance(table.get(name), int | float) or table[name] < 0]:
        raise UserError(f"{path}: found no weight of {', '.join(missing)}, expected one from 0 on; run weight_search again")
    return of(table, modalities)


def choose(rule: Rule, row: str, modalities: tuple[str, ...], searchable: bool) -> np.ndarray:
    """float64 (M,): weights of a row. searchable: whether the paper weights its modalities; if not, the plain mean."""
    if len(modalities) == 1 or not searchable or rule == "uniform":
        return uniform(len(modalities))
    return of(PUBLISHED, modalities) if rule == "published" else load(row, modalities)


def _box(brain: np.ndarray) -> tuple[slice, slice]:
    """The smallest rectangle around the brain; components cannot leave it."""
    ends = [np.flatnonzero(brain.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(at[0], at[-1] + 1) if len(at) else slice(0, 0) for at in ends)
    return rows, columns
