"""A toy store, two external cohorts, and residuals of six rows of TSGM's table, for its stages that read no network."""

from pathlib import Path

import numpy as np
import pandas as pd

import scoring_toys as toys
from gliomap.base import files
from gliomap.data.case import MODALITIES
from scoring_toys import change
from stage_toys import main as stage

WEIGHTED = {"tsgm": MODALITIES, "cyclegan": MODALITIES, "tsgm_flair": ("flair",)}
UNWEIGHTED = {"vae": MODALITIES, "dpm_clf_flair": ("flair",)}
ROWS = (*WEIGHTED, *UNWEIGHTED)
SEARCHED = ("tsgm", "cyclegan")
COHORTS = {"icts": ("t1ce",), "inhouse": MODALITIES}
STRENGTH = {"t1": 0.0, "t1ce": 0.1, "t2": 0.4, "flair": 0.8}  # of the tumour in a residual
PARAMS = """
data: phantom
scale: smoke
data_seed: 7
tsgm: {search: {step: 0.25, slices: 4}}
otsu: {threshold: otsu, component_mm2: 36.0, component_mm2_cyclegan: 0.0}
weigh: {weights: searched}
postprocess: {erode_mm: 6.0, median_px: 0, component_px: 0}
calibrate: {rule: validation_dice, candidates: 200}
evaluate: {replicates: 50, confidence: 0.95}
"""


def project(folder: Path) -> Path:
    """toys.project, external cohorts of its kind, residuals of ROWS on all populations whose modalities suffice."""
    toys.project(folder)
    files.write_text(folder / "params.yaml", PARAMS)
    _, _, truth, brain = toys.cohort(9, 4, seed=3)
    for split, rows in (("val", np.arange(12, 24)), ("test", np.arange(24, 36))):
        write_residuals(folder, split, MODALITIES, rows, truth[rows], brain[rows])
    for seed, (cohort, modalities) in enumerate(COHORTS.items()):
        write_cohort(folder, cohort, modalities, seed)
    return folder


def write_cohort(folder: Path, cohort: str, modalities: tuple[str, ...], seed: int) -> None:
    """data/external/<cohort>/ with eight slices of two patients, and their residuals."""
    store = folder / "data/external" / cohort
    store.mkdir(parents=True)
    index, _, truth, brain = toys.cohort(2, 4, seed)
    files.write_csv(store / "index.csv", index.assign(split="test", brain_px=brain.sum((1, 2))))
    np.save(store / "brain.npy", brain.astype(np.uint8))
    np.save(store / "masks_test.npy", truth.astype(np.uint8))
    pixels = truth.sum((1, 2))
    labels = pd.DataFrame({"row": index["row"], "tumour_px": pixels, "tumour": (pixels > 0).astype(int)})
    files.write_csv(store / "labels_test.csv", labels)
    recipe = {"recipe": "common", "size": toys.SIZE, "modalities": modalities}
    files.write_json(store / "recipe.json", recipe | {"pixel_mm": toys.PIXEL_MM, "background": -1.0})
    write_residuals(folder, cohort, modalities, index["row"].to_numpy(), truth, brain)


def write_residuals(folder, population, there, rows, truth, brain) -> None:
    """As the residual stages do: noise, and in each modality as much of the tumour as it shows."""
    rng = np.random.default_rng(len(population))
    for group, wanted in (("tsgm", WEIGHTED), ("baselines", UNWEIGHTED)):
        for row, modalities in wanted.items():
            seen = tuple(m for m in modalities if m in there) or (there[:1] if row == "dpm_clf_flair" else ())
            if not seen or (row == "vae" and seen != MODALITIES):
                continue
            residual = 0.1 * rng.random((len(rows), len(seen), toys.SIZE, toys.SIZE))
            residual += truth[:, None] * np.array([STRENGTH[m] for m in seen])[:, None, None]
            restored = np.where(brain[:, None], 0.5, 0.0) * np.ones_like(residual)
            arrays = {"rows": rows, "modalities": np.array(seen), "residual": residual.astype(np.float16)}
            path = folder / "predictions/residuals" / group / population / f"{row}.npz"
            files.write_npz(path, **arrays, restored=restored.astype(np.float16))


def residuals(folder: Path, row: str = "tsgm", population: str = "test", drop=(), **arrays) -> None:
    """Change arrays of a file of residuals."""
    group = "tsgm" if row in WEIGHTED else "baselines"
    change(folder / "predictions/residuals" / group / population / f"{row}.npz", drop, **arrays)


def search(*rows: str) -> None:
    """weight_search of the rows."""
    stage("weight_search", *(rows or SEARCHED))


def weigh(*rows: str) -> None:
    """weigh of the rows, on all populations."""
    stage("weigh", *(rows or ROWS), "--external", *COHORTS)


def evaluate(*rows: str) -> None:
    """evaluate_otsu of the rows, on all populations."""
    stage("evaluate_otsu", *(rows or ROWS), "--external", *COHORTS)
