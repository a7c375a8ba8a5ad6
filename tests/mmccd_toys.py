"""Toy predictions of the MMCCD system, calibrated and evaluated, and a study of stripes and steps, for its figures."""

from pathlib import Path

import numpy as np

import scoring_toys as toys
from gliomap.base import files
from gliomap.base.place import Place
from scoring_toys import change
from stage_toys import main as stage

ROWS = {"mmccd": ("flair-t2", 0.5), "cyclic_unet": ("flair-t2", 0.7), "mmccd_t2_flair": ("t2-flair", 0.6),
        "cyclic_unet_t2_flair": ("t2-flair", 0.9), "vae1": ("flair", 1.0)}  # pair, noise of the map  # fmt: skip
STUDY = Path("predictions/mmccd/study.npz")
SETTINGS = ((2, 1), (4, 1), (2, 2), (4, 2))  # stride, steps
EVALUATIONS = (20, 10, 30, 15)


def project(folder: Path) -> Path:
    """toys.project with the rows of ROWS in place of its own, and a graph of them."""
    toys.project(folder)
    text = (folder / "params.yaml").read_text() + "figures: {tumour_slices: 2, healthy_slices: 0, dpi: 40}\n"
    files.write_text(folder / "params.yaml", text)
    graph = {key: f"  {key}: {{system: mmccd, name: Name {key}, pair: {pair}}}\n" for key, (pair, _) in ROWS.items()}
    files.write_text(folder / "conf/graph.yaml", "methods:\n" + "".join(graph.values()))
    store = folder / "data/slices/common"
    images = np.random.default_rng(1).uniform(-1, 1, (36, 4, toys.SIZE, toys.SIZE))
    np.save(store / "images.npy", images.astype(np.float16))
    for split, rows in (("val", np.arange(12, 24)), ("test", np.arange(24, 36))):
        for key, (pair, noise) in ROWS.items():
            write(folder, split, key, rows, noise, "-" in pair)
    study(folder)
    return folder


def maps(rows: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """The truth under noise, inside the brain; float32 (n, SIZE, SIZE)."""
    _, _, truth, brain = toys.cohort(9, 4, seed=3)
    made = truth[rows] + noise * np.random.default_rng(seed).uniform(0, 1, truth[rows].shape)
    return np.where(brain[rows], made, 0).astype(np.float32)


def write(folder: Path, split: str, key: str, rows: np.ndarray, noise: float, translates: bool) -> None:
    """A row's predictions; those of Cyclic U-Net have a translation."""
    made = maps(rows, noise, len(key))
    arrays = {"rows": rows, "map": made, "image_score": made.max((1, 2)), "reconstruction": made.astype(np.float16)}
    if translates and key.startswith("cyclic"):
        arrays["translation"] = (1 - made).astype(np.float16)
    change(folder / Place("mmccd", key).predictions(split), **arrays)


def study(folder: Path) -> None:
    """The slices with tumour of the first two validation patients; the dearest setting's map is the truth itself."""
    rows = np.array([13, 15, 17, 19])
    made = [maps(rows, 0.0 if setting == (2, 2) else 2.0, i) for i, setting in enumerate(SETTINGS)]
    stride, steps = (np.array(values, np.int64) for values in zip(*SETTINGS))
    evaluations = np.repeat(np.array(EVALUATIONS, np.int64)[:, None], len(rows), 1)
    arrays = {"stride": stride, "steps": steps, "evaluations": evaluations, "map": np.stack(made).astype(np.float16)}
    change(folder / STUDY, rows=rows, **arrays)


def evaluate() -> None:
    """Calibrate and evaluate all rows in the current folder."""
    stage("calibrate", "mmccd", *ROWS)
    stage("evaluate", "mmccd", *ROWS)
