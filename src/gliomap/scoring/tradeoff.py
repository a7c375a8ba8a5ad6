"""What MMCCD's maps lose with fewer stripes and fewer steps, on validation slices (MMCCD spec 10.3).

Every setting is read at the threshold that suits it best on these very slices, so that none suffers from a threshold found
for another one: the numbers compare settings, they are no results.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from gliomap.base.errors import UserError
from gliomap.base.files import read_npz
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import curves, masks, thresholds
from gliomap.scoring.masks import Postprocess

PATH, SPLIT = Path("predictions/mmccd/study.npz"), "val"
AGAIN = "run `dvc repro study_mmccd`"
AXES = {"rows": 1, "stride": 1, "steps": 1, "evaluations": 2, "map": 4}  # of the arrays in study.npz
CYCLE, CYCLE_EVALUATIONS = "cyclic_unet", 2  # the same cycle without stripes and without diffusion, and what it takes


@dataclass(frozen=True)
class Study:
    """K settings of MMCCD on S slices.

    rows: int64 (S,), ascending; stride, steps: int64 (K,); evaluations: int64 (K, S), of networks; maps: float32
    (K, S, H, W), median-filtered; truth, brain, region (the eroded brain): bool (S, H, W). patients: of the slices.
    """

    rows: np.ndarray
    stride: np.ndarray
    steps: np.ndarray
    evaluations: np.ndarray
    maps: np.ndarray
    truth: np.ndarray
    brain: np.ndarray
    region: np.ndarray
    patients: np.ndarray

    @property
    def reference(self) -> int:
        """The dearest setting: the most evaluations, of equal ones the first."""
        return int(self.evaluations.sum(1).argmax())

    def describe(self, setting: int) -> str:
        """`stride 4, 8 steps`."""
        return f"stride {self.stride[setting]}, {self.steps[setting]} steps"


def read(slices: Slices, post: Postprocess, path: Path = PATH) -> Study:
    """The study beside the truth of its slices. UserError if it is no study of these slices."""
    found = read_npz(path)
    wrong = [name for name, axes in AXES.items() if name not in found or found[name].ndim != axes]
    if wrong:
        raise UserError(f"{path}: {wrong[0]} is missing or has another shape; {AGAIN}")
    rows, settings = found["rows"], len(found["steps"])
    every = np.asarray(slices.mask_rows(SPLIT))
    shapes = {"stride": (settings,), "evaluations": (settings, len(rows))}
    shapes["map"] = (settings, len(rows), *slices.images.shape[2:])
    wrong = [name for name, shape in shapes.items() if found[name].shape != shape]
    alien = np.setdiff1d(rows, every)
    if wrong or len(alien) or not len(rows) or not settings:
        what = f"{wrong[0]} has another shape" if wrong else f"row {alien[0]} is another's" if len(alien) else "nothing"
        raise UserError(f"{path}: found {what}, expected a study of {SPLIT} slices of {slices.folder}; {AGAIN}")
    truth = np.asarray(slices.masks(SPLIT)[np.searchsorted(every, rows)]).astype(bool)
    if not truth.any((1, 2)).any():
        raise UserError(f"{path}: none of its slices has a tumour pixel, expected some; raise tradeoff.slices")
    maps, brain = found["map"].astype(np.float32), slices.brain_of(rows)
    return Study(
        rows, found["stride"], found["steps"], found["evaluations"],
        np.stack([masks.smooth(each, post.median_px) for each in maps]), truth, brain,
        masks.erode(brain, post.erode_mm / slices.pixel_mm), slices.index["patient"].to_numpy()[rows],
    )  # fmt: skip


def cycle(study: Study, post: Postprocess) -> np.ndarray:
    """float32 (S, H, W): Cyclic U-Net's maps of the study's slices, from its predictions. UserError if one is missing."""
    path = Place("mmccd", CYCLE).predictions(SPLIT)
    found = read_npz(path)
    absent = np.setdiff1d(study.rows, found["rows"])
    if len(absent):
        raise UserError(f"{path}: found no row {absent[0]}, expected the slices of {PATH}; run `dvc repro`")
    return masks.smooth(found["map"][np.searchsorted(found["rows"], study.rows)], post.median_px)


def frame(study: Study, without: np.ndarray, candidates: int, component_px: int) -> pd.DataFrame:
    """One row a setting, by stride and evaluations; then the cycle without stripes, whose maps are `without` (S, H, W).

    method: whose line it is on; stride, steps; evaluations: mean of a slice; dice: mean over slices at the threshold that
    is best on them; auprc: over all pixels inside their brains; spearman: mean over slices of the rank correlation with
    the dearest setting inside the brain; n_slices, n_patients.
    """
    size = {"n_slices": len(study.rows), "n_patients": len(np.unique(study.patients))}
    dearest = study.maps[study.reference]
    records = []
    for stride, steps, calls, maps in zip(study.stride, study.steps, study.evaluations, study.maps):
        about = {"method": f"MMCCD, stride {stride}", "stride": stride, "steps": steps, "evaluations": calls.mean()}
        records.append(about | _numbers(study, maps, dearest, candidates, component_px) | size)
    made = pd.DataFrame(records).sort_values(["stride", "evaluations"], kind="stable")
    about = {"method": "Cyclic U-Net", "stride": np.nan, "steps": np.nan, "evaluations": float(CYCLE_EVALUATIONS)}
    last = pd.DataFrame([about | _numbers(study, without, dearest, candidates, component_px) | size])
    both = pd.concat([made, last], ignore_index=True)
    return both.astype({"stride": "Int64", "steps": "Int64"})


def _numbers(study: Study, maps: np.ndarray, dearest: np.ndarray, candidates: int, component_px: int) -> dict[str, float]:
    tried = thresholds.candidates(maps, study.region, "validation_dice", candidates)
    ill = study.truth.any((1, 2))
    found = thresholds.search(maps[ill], study.region[ill], study.truth[ill], tried, component_px)
    inside, truth = maps[study.brain], study.truth[study.brain]
    area = curves.histogram(inside, truth, curves.edges(inside)).average_precision()
    pairs = [spearman(a[where], b[where]) for a, b, where in zip(maps, dearest, study.brain)]
    return {"dice": found.dice, "auprc": float(area), "spearman": float(np.mean(pairs))}


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of equally long vectors, ties at their mean rank; NaN if one of them is constant."""
    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (a, b))
    length = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / length) if length > 0 else np.nan
