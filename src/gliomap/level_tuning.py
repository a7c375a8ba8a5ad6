"""Tuning of a noise level on validation slices with their masks: the level whose best threshold has the highest Dice.

Scored as `calibrate` scores the finished row: mean Dice over tumour slices, inside the eroded brain. Healthy slices, whose
scores only add candidates to the search of a threshold, are left out: they would take most of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring import thresholds
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate

DIGITS = 6  # of a Dice


def tumour_rows(slices: Slices, rows: np.ndarray) -> np.ndarray:
    """int64, ascending: those of the validation slices `rows` with a tumour on this grid. UserError if there is none."""
    rows = np.intersect1d(rows, slices.rows("val", tumour=True))
    kept = rows[slices.masks("val")[np.searchsorted(slices.mask_rows("val"), rows)].any((1, 2))]
    if len(kept) == 0:
        found = "none of the validation slices has a tumour, expected at least one"
        raise UserError(f"{slices.folder / 'masks_val.npy'}: {found}; use more patients or a smaller infer.slice_step")
    return kept


def decide(
    levels: tuple[float, ...], scored: Callable[[float], Inputs], rule: Calibrate, post: Postprocess
) -> dict[str, Any]:
    """The best of the levels, the first of equals, with the Dice of all. scored: level -> its maps of the tumour slices.

    at_edge: the first or last of several was best, so that a better one may lie beyond. UserError without a level.
    """
    if not levels:
        raise UserError("params.yaml: rebuild.noise_levels is empty, expected a share of the noise levels or more; mend it")
    grid = []
    for level in levels:
        inputs = scored(level)
        dice = thresholds.find(inputs, rule.rule, rule.candidates, post.component_px).dice
        grid.append({"noise_level": level, "dice_slice_tumour": round(dice, DIGITS)})
    best = max(grid, key=lambda entry: entry["dice_slice_tumour"])
    counts = {"n_tumour_slices": int(inputs.scored.sum()), "n_patients": int(inputs.index["patient"].nunique())}
    return {**best, "at_edge": len(grid) > 1 and best in (grid[0], grid[-1]), "grid": grid, **counts}
