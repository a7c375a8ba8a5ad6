"""Toy slices with residuals of five rows of TSGM's tables, two external cohorts and a study, and the stages on them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

import scoring_toys as toys
from gliomap.base import files
from gliomap.data.case import MODALITIES
from stage_toys import main as stage

ROWS = {  # group, modalities, how much of the tumour is found
    "cyclegan": ("tsgm", MODALITIES, 0.8), "vae": ("baselines", MODALITIES, 0.3), "tsgm": ("tsgm", MODALITIES, 1.0),
    "cyclegan_flair": ("tsgm", ("flair",), 0.7), "dpm_clf_flair": ("baselines", ("flair",), 0.5),
}  # fmt: skip
CONTRAST = {"t1": -0.1, "t1ce": 0.1, "t2": 0.25, "flair": 0.35}  # of a tumour, in images of 0..1
SNR, LEVELS = (0.05, 0.075, 0.1), (10, 30, 100, 1000)
PARAMS = """
data: phantom
scale: smoke
recipe: common
data_seed: 7
evaluate: {replicates: 50, confidence: 0.95}
figures: {tumour_slices: 2, healthy_slices: 1, dpi: 40}
postprocess: {erode_mm: 6.0, median_px: 0, component_px: 0}
weigh: {weights: searched}
otsu: {threshold: otsu, component_mm2: 50.0, component_mm2_cyclegan: 50.0}
tsgm: {search: {step: 0.25, slices: 0}}
"""
GRAPH = """
methods:
  mmccd: {name: MMCCD, system: mmccd, supervision: slice labels}
  cyclegan: {name: CycleGAN, system: tsgm, supervision: slice labels}
  vae: {name: VAE, system: tsgm, supervision: slice labels}
  tsgm: {name: TSGM, system: tsgm, supervision: slice labels}
  cyclegan_flair: {name: "CycleGAN, FLAIR only", system: tsgm, supervision: slice labels}
  dpm_clf_flair: {name: "DPM, FLAIR only", system: tsgm, supervision: slice labels}
"""
EXTERNAL = {"icts": ("t1ce",), "inhouse": MODALITIES}


def project(folder: Path) -> Path:
    """A repository folder as it is before weight_search: stores, residuals and study; params.yaml and conf/."""
    files.write_text(folder / "params.yaml", PARAMS)
    files.write_text(folder / "conf/graph.yaml", GRAPH)
    files.write_text(folder / "conf/scale/smoke.yaml", "{}\n")
    for name, modalities in EXTERNAL.items():
        lines = f"kind: phantom\nphantom: thick\nroot: there\nmodalities: [{', '.join(modalities)}]\n"
        files.write_text(folder / f"conf/external/{name}.yaml", lines)
    main = store(folder / "data/slices/common", 9, MODALITIES, ("train", "val", "test"))
    for population in ("val", "test"):
        write_residuals(folder, population, *main, MODALITIES, population)
    for seed, (name, modalities) in enumerate(EXTERNAL.items()):
        cohort = store(folder / "data/external" / name, 3, modalities, ("test",), seed)
        write_residuals(folder, name, *cohort, modalities, "test")
    write_study(folder, *main)
    return folder


def store(folder: Path, patients: int, modalities: Sequence[str], splits: Sequence[str], seed: int = 3) -> tuple:
    """A slice store of discs in a disc; every second slice has a tumour. Returns (index, images in 0..1, truth)."""
    index, _, truth, brain = toys.cohort(patients, 4, seed)
    index["split"] = np.repeat(list(splits), len(index) // len(splits))
    index["brain_px"] = brain.sum((1, 2))
    rng = np.random.default_rng(seed)
    images = 0.45 + 0.02 * rng.standard_normal((len(index), len(modalities), toys.SIZE, toys.SIZE))
    images += truth[:, None] * np.array([CONTRAST[name] for name in modalities])[:, None, None]
    images = np.where(brain[:, None], images, 0).clip(0, 1)
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", (2 * images - 1).astype(np.float16))
    np.save(folder / "brain.npy", brain.astype(np.uint8))
    files.write_csv(folder / "index.csv", index)
    recipe = {"recipe": "common", "size": toys.SIZE, "modalities": list(modalities), "pixel_mm": toys.PIXEL_MM}
    files.write_json(folder / "recipe.json", recipe | {"background": -1.0})
    for split in ("train", "val", "test"):
        mine = (index["split"] == split).to_numpy()
        pixels = truth[mine].sum((1, 2))
        np.save(folder / f"masks_{split}.npy", truth[mine].astype(np.uint8))
        labels = {"row": index["row"][mine], "tumour_px": pixels * 9, "tumour": (pixels > 0).astype(int)}
        files.write_csv(folder / f"labels_{split}.csv", pd.DataFrame(labels))
    return index, images, truth


def restore(images: np.ndarray, truth: np.ndarray, found: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """(n, M, H, W): images whose tumours are replaced by the mean of the rest, as far as they are `found`."""
    there = (truth[:, None] & (images > 0)).astype(float)
    soft = ndimage.gaussian_filter(there, (0, 0, 0.7, 0.7)) * found
    inside = np.where(images > 0, images, np.nan)
    mean = np.nanmedian(inside, axis=(2, 3), keepdims=True)
    restored = images * (1 - soft) + mean * soft + noise * rng.standard_normal(images.shape) * (images > 0)
    return restored.clip(0, 1)


def write_residuals(
    folder: Path, population: str, index: pd.DataFrame, images: np.ndarray, truth: np.ndarray, there: Sequence[str],
    split: str,
) -> None:  # fmt: skip
    """predictions/residuals/<group>/<population>/<row>.npz of the rows that can be had with these modalities."""
    rows = np.flatnonzero(index["split"] == split)
    for number, (row, (group, modalities, found)) in enumerate(ROWS.items()):
        seen = ("t1ce",) if row == "dpm_clf_flair" and "flair" not in there else modalities
        if group == "tsgm" and modalities == MODALITIES and not row.endswith("multi"):
            seen = tuple(name for name in modalities if name in there)
        if not set(seen) <= set(there):
            continue
        mine = images[rows][:, [there.index(name) for name in seen]]
        restored = restore(mine, truth[rows], found, 0.02, np.random.default_rng(number))
        arrays = {"residual": np.abs(mine - restored).astype(np.float16), "restored": restored.astype(np.float16)}
        path = folder / "predictions/residuals" / group / population / f"{row}.npz"
        files.write_npz(path, rows=rows, modalities=np.array(seen), **arrays)


def write_study(folder: Path, index: pd.DataFrame, images: np.ndarray, truth: np.ndarray, slices: int = 2) -> None:
    """predictions/tsgm/study.npz: snr 0.075 is best, and more levels are better."""
    val = np.flatnonzero(index["split"] == "val")
    area = index.loc[val, ["row", "patient"]].assign(area=truth[val].sum((1, 2)))
    rows = np.sort(area.sort_values("area", ascending=False).groupby("patient", sort=False)["row"].first()[:slices])
    y, t, rng = images[rows], truth[rows], np.random.default_rng(0)
    by_snr = np.stack([restore(y, t, 1 - 8 * abs(v - 0.075), 0.02 + abs(v - 0.075), rng) for v in SNR])
    by_level = np.stack([restore(y, t, min(np.log10(n) / 3, 1), 0.3 / n, rng) for n in LEVELS])
    runs = np.stack([restore(y, t, 1, 0.02, rng) for _ in range(3)])
    arrays = {"snr_residual": np.abs(y - by_snr), "levels_residual": np.abs(y - by_level), "levels_restored": by_level}
    arrays |= {"images": y, "runs_restored": runs}
    about = {"rows": rows, "modalities": np.array(MODALITIES), "snr": np.array(SNR), "levels": np.array(LEVELS)}
    halves = {name: values.astype(np.float16) for name, values in arrays.items()}
    files.write_npz(folder / "predictions/tsgm/study.npz", **about, **halves)


def score() -> None:
    """Weights, maps, and scores of all rows."""
    stage("weight_search", "cyclegan", "tsgm")
    for script in ("weigh", "evaluate_otsu"):
        stage(script, *ROWS, "--external", *EXTERNAL)


def figures() -> None:
    """figures_tsgm on both cohorts."""
    stage("figures_tsgm", "--external", *EXTERNAL)
