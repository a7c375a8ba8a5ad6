"""TSGM's study of its sampler on validation slices: Dice by snr and by number of levels (Fig. 7), mean and spread of runs
with other noise (Fig. 8). Masks are made as everywhere in this system: weighted map inside the brain, Otsu, area filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.base.files import read_npz
from gliomap.scoring import counts, otsu, otsu_metrics, weights
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.residuals import Population
from gliomap.scoring.tsgm_figures import MAIN, truth_of
from gliomap.scoring.weights import Rule

PATH = Path("predictions/tsgm/study.npz")
AXES = {  # of the arrays in study.npz
    "rows": 1, "modalities": 1, "images": 4, "snr": 1, "snr_residual": 5, "levels": 1, "levels_residual": 5,
    "levels_restored": 5, "runs_restored": 5,
}  # fmt: skip
AGAIN = "run `dvc repro study_tsgm`"


@dataclass(frozen=True)
class Study:
    """S validation slices of M modalities under K values of snr, L numbers of levels, and R runs.

    labels: of the slices. images (S, M, H, W) in 0..1; truth, brain bool (S, H, W). snr_residual (K, S, M, H, W), levels_*
    (L, S, M, H, W), runs_restored (R, S, M, H, W). weights (M,): of the modalities in the map.
    """

    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    images: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    snr: np.ndarray
    snr_residual: np.ndarray
    levels: np.ndarray
    levels_residual: np.ndarray
    levels_restored: np.ndarray
    runs_restored: np.ndarray
    weights: np.ndarray

    def maps(self, residual: np.ndarray) -> np.ndarray:
        """float32 (..., H, W): the weighted sum of (..., S, M, H, W) residuals, 0 outside of the brain."""
        lines = np.moveaxis(residual, -3, 0)
        return weights.combine(lines, self.weights[None])[0] * self.brain


def read(population: Population, rule: Rule, path: Path = PATH) -> Study:
    """The study, with the truth of its slices and the weights of row `tsgm`. UserError if it is no study of these slices."""
    found = read_npz(path)
    wrong = [name for name, axes in AXES.items() if name not in found or found[name].ndim != axes]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is missing or has another shape; {AGAIN}")
    slices, rows = population.slices, found["rows"]
    modalities = tuple(map(str, found["modalities"]))
    shape = (len(rows), len(modalities), *slices.images.shape[2:])
    of = {"images": (), "runs_restored": (len(found["runs_restored"]),)}
    of |= {name: (len(found[name.split("_")[0]]),) for name in ("snr_residual", "levels_residual", "levels_restored")}
    wrong = [name for name, before in of.items() if found[name].shape != (*before, *shape)]
    alien = np.setdiff1d(rows, slices.mask_rows(population.split))
    if wrong or len(alien) or not len(rows):
        what = f"{wrong[0]} has another shape" if wrong else f"row {alien[0]} is another's" if len(alien) else "no slice"
        raise UserError(f"{path}: found {what}, expected a study of {population.split} slices of {slices.folder}; {AGAIN}")
    about = slices.index.set_index("row").loc[rows]
    labels = tuple(f"{case}\nz = {z:g} mm" for case, z in zip(about["case"], about["z"]))
    arrays = {name: found[name].astype(np.float32) for name in of}
    truth, brain = truth_of(population, rows), slices.brain_of(rows)
    own = weights.choose(rule, MAIN, modalities, searchable=True)
    values = {name: found[name] for name in ("snr", "levels")}
    return Study(labels, modalities, truth=truth, brain=brain, weights=own, **values, **arrays)


def scores(found: Study, residual: np.ndarray, component_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Dice and AUPRC of the mask (spec 6), float64 (K, S) each, of (K, S, M, H, W) residuals."""
    maps = found.maps(residual)
    flat = maps.reshape(-1, *maps.shape[-2:])
    mask = otsu.segment(flat, otsu.maps_thresholds(flat), component_px)
    c = counts.count(mask, np.tile(found.truth, (len(residual), 1, 1)))
    return counts.dice(c).reshape(maps.shape[:2]), otsu_metrics.auprc_mask(c).reshape(maps.shape[:2])


def sweep(name: str, values: np.ndarray, dice: np.ndarray, auprc: np.ndarray) -> pd.DataFrame:
    """Fig. 7 a, b: <name>, dice, dice_lowest, dice_highest, auprc_mask, n: over the slices (K, S) at each value."""
    table = {name: values, "dice": dice.mean(1), "dice_lowest": dice.min(1), "dice_highest": dice.max(1)}
    return pd.DataFrame(table | {"auprc_mask": auprc.mean(1), "n": dice.shape[1]})


def runs(found: Study) -> np.ndarray:
    """Fig. 8: float32 (R, S, H, W), the map of each run."""
    return found.maps(np.abs(found.images - found.runs_restored))


def component_px(rule: Otsu, pixel_mm: float) -> int:
    """The area filter of row `tsgm`, in pixels."""
    return otsu.pixels(rule.area_mm2(MAIN), pixel_mm)
