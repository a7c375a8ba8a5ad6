"""Tuning of a noise level on validation slices with their masks: the level whose best threshold has the highest Dice.

Scored as `calibrate` scores the finished row: mean Dice over tumour slices, inside the eroded brain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring import masks, thresholds
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate

DIGITS = 6  # of a Dice


@dataclass(frozen=True)
class Truth:
    """The tumour slices that a level is chosen on.

    rows: int64 (n,), ascending. mask, region (where a pixel may be predicted): bool (n, H, W). patients: how many they are
    from.
    """

    rows: np.ndarray
    mask: np.ndarray
    region: np.ndarray
    patients: int
    post: Postprocess
    rule: Calibrate

    @classmethod
    def of(cls, slices: Slices, rows: np.ndarray, post: Postprocess, rule: Calibrate) -> Truth:
        """Those of the validation slices `rows` with a tumour on this grid. UserError if there is none."""
        rows = np.intersect1d(rows, slices.rows("val", tumour=True))
        mask = slices.masks("val")[np.searchsorted(slices.mask_rows("val"), rows)].astype(bool)
        kept = mask.any((1, 2))
        if not kept.any():
            found = "none of the validation slices has a tumour, expected at least one"
            raise UserError(f"{slices.folder / 'masks_val.npy'}: {found}; use more patients or a smaller infer.slice_step")
        region = masks.erode(slices.brain_of(rows[kept]), post.erode_mm / slices.pixel_mm)
        patients = slices.index.set_index("row").loc[rows[kept], "patient"].nunique()
        return cls(rows[kept], mask[kept], region, int(patients), post, rule)

    def reached(self, maps: np.ndarray) -> float:
        """The mean Dice of maps (n, H, W) at their best threshold."""
        maps = masks.smooth(maps, self.post.median_px)
        tried = thresholds.candidates(maps, self.region, self.rule.rule, self.rule.candidates)
        return thresholds.search(maps, self.region, self.mask, tried, self.post.component_px).dice


def decide(levels: tuple[float, ...], maps: Callable[[float], np.ndarray], truth: Truth) -> dict[str, Any]:
    """The best of the levels, the first of equals, with the Dice of all. maps: level -> (n, H, W) of truth's rows.

    at_edge: the first or last of several was best, so that a better one may lie beyond. UserError without a level.
    """
    if not levels:
        raise UserError("params.yaml: rebuild.noise_levels is empty, expected a share of the noise levels or more; mend it")
    grid = [{"noise_level": level, "dice_slice_tumour": round(truth.reached(maps(level)), DIGITS)} for level in levels]
    best = max(grid, key=lambda entry: entry["dice_slice_tumour"])
    counts = {"n_tumour_slices": len(truth.rows), "n_patients": truth.patients}
    return {**best, "at_edge": len(grid) > 1 and best in (grid[0], grid[-1]), "grid": grid, **counts}
