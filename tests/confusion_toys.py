"""A toy store with masks of three rows of DDMD's table, discrepancy scores and a study, and the stages on it."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

import scoring_toys as toys
from gliomap.base import files
from gliomap.base.place import Place
from gliomap.scoring import ddmd_figures
from scoring_toys import change
from stage_toys import main as stage

ROWS = ("unet", "cimd", "ddmd_light", "unet_fair")
PARAMS = """
data: phantom
scale: smoke
recipe: common
data_seed: 7
confusion: {large_mm2: 50.0}
separation: {bins: 10}
evaluate: {replicates: 50, confidence: 0.95}
figures: {tumour_slices: 2, healthy_slices: 1, dpi: 40}
"""
GRAPH = """
methods:
  mmccd: {name: MMCCD, system: mmccd, supervision: slice labels}
  unet: {name: U-Net, system: ddmd, supervision: pixel masks}
  cimd: {name: CIMD, system: ddmd, supervision: pixel masks}
  ddmd_light: {name: DDMD-light, system: ddmd, supervision: pixel masks}
  unet_fair: {name: "U-Net, fair budget", system: ddmd, supervision: pixel masks}
"""
VARIANTS, STEPS = ("cimd", "mini", "full", "light"), np.array([0, 300, 700, 1000])


def masks(truth: np.ndarray, kind: int) -> np.ndarray:
    """uint8: the truth, moved by `kind` pixels; a false alarm in the first slice without tumour."""
    made = np.roll(truth, kind, axis=2)
    if kind:
        made[np.flatnonzero(~truth.any((1, 2)))[0], 3 : 3 + kind, 3:6] = True
    return made.astype(np.uint8)


def project(folder: Path) -> Path:
    """toys.project with predictions of ROWS on the test slices, shifted 0, 1, 2, 3 pixels; scores; a study."""
    toys.project(folder)
    files.write_text(folder / "params.yaml", PARAMS)
    files.write_text(folder / "conf/graph.yaml", GRAPH)
    index, maps, truth, brain = toys.cohort(9, 4, seed=3)
    rng = np.random.default_rng(1)
    images = np.where(brain, 0.4, 0.0)[:, None] + 0.05 * rng.standard_normal((len(index), 4, toys.SIZE, toys.SIZE))
    images += 0.3 * truth[:, None] * np.array([-0.5, 0.2, 0.8, 1.0])[:, None, None]
    np.save(folder / "data/slices/common/images.npy", images.astype(np.float16))
    for kind, row in enumerate(ROWS):
        arrays = {"map": maps[24:], "image_score": maps[24:].max((1, 2)), "mask": masks(truth[24:], kind)}
        predict(folder, row, rows=np.arange(24, 36), **arrays)
    write_scores(folder, truth.any((1, 2)), rng)
    write_study(folder, images, truth, rng)
    return folder


def write_scores(folder: Path, ill: np.ndarray, rng: np.random.Generator) -> None:
    """models/discrepancy/scores.csv: inter follows the tumour, intra hardly."""
    made = {"row": np.arange(len(ill))}
    for name in ddmd_figures.PANELS:
        made[name] = rng.gamma(4, 0.005, len(ill)) + ill * (0.03 if name.startswith("inter") else 0.002)
    files.write_csv(folder / "models/discrepancy/scores.csv", pd.DataFrame(made))


def write_study(folder: Path, images: np.ndarray, truth: np.ndarray, rng: np.random.Generator) -> None:
    """predictions/ddmd/study.npz: from noise to the mask of validation slice 13, each variant a little different."""
    noise, share = rng.standard_normal(truth.shape[1:]), (STEPS / 1000)[:, None, None]
    x = [ndimage.gaussian_filter(truth[13].astype(float), i) * share + noise * (1 - share) for i in range(len(VARIANTS))]
    study = {"row": np.array([13]), "images": images[13].astype(np.float16), "names": np.array(VARIANTS)}
    files.write_npz(folder / "predictions/ddmd/study.npz", **study, completed=STEPS, x=np.array(x).astype(np.float16))


def predict(folder: Path, row: str, drop=(), **arrays) -> None:
    """Write or change arrays of predictions/ddmd/test/<row>.npz."""
    change(folder / Place("ddmd", row).predictions("test"), drop, **arrays)


def evaluate(*rows: str) -> None:
    """evaluate_confusion of the rows."""
    stage("evaluate_confusion", *(rows or ROWS), "--system", "ddmd")
