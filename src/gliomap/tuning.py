"""Tuning of a restoring baseline on validation slices with their masks, as its paper's rivals did it (AnoFPDM spec 7)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.engine.inference import Setting, predict
from gliomap.methods.restoration import Nets, Point, Restoration, RestorationScorer, needs
from gliomap.scoring.mixed import Mixed, best_theta, component_px, median_px

DIGITS = 6  # of a Dice in models/decisions/<key>.json


@dataclass(frozen=True)
class Grid:
    """A section `tune.<key>` of params.yaml; a list is empty where the baseline has no such setting."""

    noise_level: tuple[float, ...] = number(min=0, max=1)  # L as shares of the T levels
    w: tuple[float, ...] = number(min=-1)  # weights of classifier-free guidance
    scale: tuple[float, ...] = number(min=0)  # of classifier guidance

    def points(self, key: str) -> Iterator[Point]:
        """All combinations. UserError if a list is empty that the baseline needs, or filled that it does not know."""
        names = needs(key)
        for name, values in vars(self).items():
            if bool(values) != (name in names):
                found, expected = (list(values), "an empty list") if values else ("empty", "at least one value")
                raise UserError(f"params.yaml: tune.{key}.{name} is {found}, expected {expected}; mend it")
        for values in itertools.product(*(getattr(self, name) for name in names)):
            yield Point(**dict(zip(names, values, strict=True)))


@dataclass(frozen=True)
class Tuning:
    """What tuning a baseline takes."""

    key: str
    nets: Nets
    own: Restoration
    mixed: Mixed
    setting: Setting  # slices, noise, batches and device

    def reached(self, point: Point, truth: np.ndarray, rows: np.ndarray, thetas: np.ndarray) -> tuple[dict, np.ndarray]:
        """(the point's values with its best theta and that mean Dice, evaluations int64 (n,)) on the rows.

        truth: bool (n, H, W). thetas: candidates.
        """
        pixel_mm = self.setting.slices.pixel_mm
        scorer = RestorationScorer(self.key, self.nets, point, self.own, median_px(self.mixed, pixel_mm))
        shown = " ".join(f"{name} {value:g}" for name, value in point.values().items())
        arrays, taken, _ = predict(scorer, rows, self.setting, f"tune {self.key} {shown}")
        theta, dice = best_theta(arrays["whole"][:, 0], truth, thetas, component_px(self.mixed, pixel_mm))
        return {**point.values(), "theta": theta, "dice_mixed": round(dice, DIGITS)}, taken

    def decide(self, points: list[Point], rows: np.ndarray, thetas: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """(the decision as models/decisions/<key>.json holds it, evaluations int64 (n,)) over the grid; first of equals."""
        truth = masks_of(self.setting.slices, rows)
        found = [self.reached(point, truth, rows, thetas) for point in points]
        grid = [entry for entry, _ in found]
        best = max(grid, key=lambda entry: entry["dice_mixed"])
        index = self.setting.slices.index.set_index("row").loc[rows]
        decision = {
            "kind": "fixed",
            "theta": best["theta"],
            "at_edge": bool(best["theta"] in (thetas[0], thetas[-1])),
            "dice_mixed": best["dice_mixed"],
            "setting": {name: best[name] for name in needs(self.key)},
            "grid": grid,
            "n_slices": len(rows),
            "n_tumour_slices": int(truth.any((1, 2)).sum()),
            "n_patients": int(index["patient"].nunique()),
        }
        return decision, np.sum([taken for _, taken in found], axis=0)


def masks_of(slices: Slices, rows: np.ndarray) -> np.ndarray:
    """bool (n, H, W): masks of validation rows. UserError if none of them has a tumour."""
    truth = slices.masks("val")[np.searchsorted(slices.mask_rows("val"), rows)].astype(bool)
    if not truth.any():
        found = f"none of the {len(rows)} validation slices has a tumour, expected at least one"
        raise UserError(f"{slices.folder / 'masks_val.npy'}: {found}; use more patients or a smaller infer.slice_step")
    return truth
