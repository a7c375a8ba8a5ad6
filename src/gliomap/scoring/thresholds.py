"""The threshold with the best mean slice Dice: on validation slices the headline, on test slices called oracle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.params import number
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.masks import Postprocess

CODE_GRID = np.arange(100) / 1000  # of the released MMCCD code, in units of the global range of the maps


@dataclass(frozen=True)
class Calibrate:
    """How a threshold is searched."""

    # validation_dice: quantiles of the in-brain scores; code_grid: the 100 values of the released MMCCD code
    rule: Literal["validation_dice", "code_grid"]
    candidates: int = number(min=2)  # quantiles tried by validation_dice


@dataclass(frozen=True)
class Found:
    """A threshold, the mean slice Dice it reaches, and whether it is the first or last candidate."""

    threshold: float
    dice: float
    at_edge: bool


def find(inputs: Inputs, rule: str, count: int, component_px: int, also: float | None = None) -> Found:
    """The best threshold on the tumour slices of `inputs`, out of candidates from all its slices (and `also`, if given).

    The same function makes the validation and the oracle threshold; the oracle also tries the validation one, so that it is
    never worse. Warns if `code_grid` returns its first or last value: the optimum may lie beyond.
    """
    tried = candidates(inputs.maps, inputs.region, rule, count)
    if also is not None:
        tried = np.union1d(tried, [also])
    scored = inputs.scored
    found = search(inputs.maps[scored], inputs.region[scored], inputs.truth[scored], tried, component_px)
    if found.at_edge and rule == "code_grid":
        where = f"the first or last of the {len(tried)} tried; a better one may lie beyond"
        run.log(f"warning: threshold {found.threshold:.6g} is {where}")
    return found


def load(path: Path, method: str, recipe: str, post: Postprocess) -> dict[str, Any]:
    """What stages/calibrate.py wrote. UserError if it is not for this method, recipe and post-processing."""
    found, expected = read_json(path), {"method": method, "recipe": recipe, "postprocess": asdict(post)}
    again = f"run `dvc repro -f calibrate@{path.parent.name}`"
    for name, value in expected.items():
        if found.get(name) != value:
            raise UserError(f"{path}: found {name} {found.get(name)}, expected {value}; {again}")
    if missing := [name for name in ("rule", "candidates", "threshold") if found.get(name) is None]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected what the calibrate stage writes; {again}")
    return found


def candidates(maps: np.ndarray, region: np.ndarray, rule: str, count: int) -> np.ndarray:
    """float64 ascending, without duplicates: the thresholds to try on (n, H, W) maps.

    `code_grid` spans the range of all pixels of all slices, background included: one outlier sets the scale (mmccd code).
    """
    if rule == "code_grid":
        low, high = float(maps.min()), float(maps.max())
        return np.unique(low + CODE_GRID * (high - low))
    return np.unique(np.quantile(maps[region].astype(np.float64), np.linspace(0, 1, count)))


def mean_dice(
    maps: np.ndarray, region: np.ndarray, truth: np.ndarray, tried: np.ndarray, component_px: int = 0
) -> np.ndarray:
    """float64, one for each threshold tried: the mean over slices of Dice against the whole truth (not cut to `region`).

    One sort a slice gives the counts of all thresholds. ValueError if a slice has no truth or there is no slice.
    """
    size = truth.sum(axis=(1, 2), dtype=np.int64)
    if not len(truth) or not size.all():
        raise ValueError("a Dice that a threshold is chosen by needs slices with truth, and only those")
    total = np.zeros(len(tried))
    for score, inside, true, pixels in zip(maps, region, truth, size):
        found, right = (_kept if component_px else _above)(score, inside, true.astype(bool), tried, component_px)
        total += 2 * right / (found + pixels)
    return total / len(truth)


def search(maps: np.ndarray, region: np.ndarray, truth: np.ndarray, tried: np.ndarray, component_px: int = 0) -> Found:
    """The best of the ascending thresholds `tried` on slices with truth; of equal ones the highest, which predicts least.

    maps: (n, H, W); region, truth: masks of the same shape. A pixel in `region` and above the threshold is predicted.
    """
    dice = np.round(mean_dice(maps, region, truth, tried, component_px), 12)  # equal sets of pixels must tie
    best = len(dice) - 1 - int(np.argmax(dice[::-1]))
    return Found(float(tried[best]), float(dice[best]), best in (0, len(tried) - 1))


def _above(score: np.ndarray, inside: np.ndarray, true: np.ndarray, tried: np.ndarray, _: int) -> tuple:
    """Pixels, and true pixels, above each threshold."""
    return tuple(_number_above(score[where], tried) for where in (inside, inside & true))


def _number_above(scores: np.ndarray, tried: np.ndarray) -> np.ndarray:
    return len(scores) - np.searchsorted(np.sort(scores.astype(np.float64)), tried, side="right")


def _kept(score: np.ndarray, inside: np.ndarray, true: np.ndarray, tried: np.ndarray, component_px: int) -> tuple:
    """As _above, of 8-connected components with more than `component_px` pixels only.

    Pixels join in descending order of score (union-find), so that all thresholds take one pass.
    """
    y, x = np.nonzero(inside)
    order = np.argsort(-score[y, x].astype(np.float64), kind="stable")
    width = score.shape[1] + 2
    places = ((y + 1) * width + x + 1)[order]
    found, right = _grow(places.tolist(), true[y, x][order].tolist(), width, (score.shape[0] + 2) * width, component_px)
    entered = _number_above(score[y, x], tried)
    return found[entered], right[entered]


def _grow(places: list[int], true: list[bool], width: int, size: int, component_px: int) -> tuple:
    """int64 (pixels + 1,) twice: pixels and true pixels in components above `component_px`, after 0, 1, 2 ... pixels."""
    parent, pixels, trues = [-1] * size, [0] * size, [0] * size
    steps = (-1, 1, -width, width, -width - 1, -width + 1, width - 1, width + 1)
    found, right = [0], [0]

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for place, hit in zip(places, true):
        parent[place], pixels[place], trues[place] = place, 1, int(hit)
        now_found, now_right, top = found[-1], right[-1], place
        for other in {root(place + step) for step in steps if parent[place + step] >= 0} - {place}:
            if pixels[other] > component_px:
                now_found, now_right = now_found - pixels[other], now_right - trues[other]
            small, top = sorted((other, top), key=pixels.__getitem__)
            parent[small] = top
            pixels[top] += pixels[small]
            trues[top] += trues[small]
        big = pixels[top] > component_px
        found.append(now_found + big * pixels[top])
        right.append(now_right + big * trues[top])
    return np.array(found), np.array(right)
