"""A small cohort of discs for the scoring tests: arrays, and the files that calibrate and evaluate read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base import files
from gliomap.base.place import Place
from gliomap.scoring import masks
from gliomap.scoring.inputs import Inputs

SIZE, PIXEL_MM = 32, 3.0
PARAMS = """
data: phantom
scale: smoke
data_seed: 7
postprocess: {erode_mm: 6.0, median_px: 0, component_px: 0}
calibrate: {rule: validation_dice, candidates: 500}
evaluate: {replicates: 200, confidence: 0.95}
"""


def disc(radius, centre=(SIZE / 2, SIZE / 2), size=SIZE):
    """bool (size, size): pixels at most `radius` from `centre`."""
    y, x = np.mgrid[:size, :size]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def cohort(patients, slices, seed=0, noise=0.5):
    """(index, maps, truth, brain): half of the slices have a tumour; maps are noise, brighter by 1 in the tumour."""
    rng = np.random.default_rng(seed)
    rows, truth = [], []
    for patient in range(patients):
        for z in range(slices):
            rows.append((len(rows), f"case{patient}", f"p{patient}", z))
            there = disc(rng.uniform(2, 5), rng.uniform(11, 20, 2))
            truth.append(there if z % 2 else np.zeros((SIZE, SIZE), bool))
    truth = np.array(truth)
    brain = np.repeat(disc(13)[None], len(rows), 0)
    maps = (truth + noise * rng.standard_normal(truth.shape)).astype(np.float32)
    index = pd.DataFrame(rows, columns=["row", "case", "patient", "z"])
    return index, np.where(brain, maps - maps.min(), 0).astype(np.float32), truth, brain


def inputs(patients=6, slices=4, seed=0, erode_px=2.0, **changes):
    """The cohort as calibrate and evaluate see it."""
    index, maps, truth, brain = cohort(patients, slices, seed)
    region = masks.erode(brain, erode_px)
    score = np.quantile(maps.reshape(len(maps), -1), 0.99, axis=1)
    made = Inputs(index, maps, score, None, truth, brain, region, truth.any((1, 2)), PIXEL_MM, len(index))
    return replace(made, **changes)


def project(folder: Path, method="toy"):
    """A repository folder with params.yaml, slices of recipe `common`, predictions of one method."""
    files.write_text(folder / "params.yaml", PARAMS)
    files.write_text(folder / "conf" / "scale" / "smoke.yaml", "{}\n")
    store = folder / "data" / "slices" / "common"
    store.mkdir(parents=True)
    index, maps, truth, brain = cohort(9, 4, seed=3)
    index["split"] = np.repeat(["train", "val", "test"], 12)
    index["brain_px"] = brain.sum((1, 2))
    np.save(store / "images.npy", np.zeros((len(index), 4, SIZE, SIZE), np.float16))
    np.save(store / "brain.npy", brain.astype(np.uint8))
    files.write_csv(store / "index.csv", index)
    recipe = {"recipe": "common", "size": SIZE, "modalities": ["t1", "t1ce", "t2", "flair"]}
    files.write_json(store / "recipe.json", recipe | {"pixel_mm": PIXEL_MM, "background": -1.0})
    for split in ("train", "val", "test"):
        mine = (index["split"] == split).to_numpy()
        np.save(store / f"masks_{split}.npy", truth[mine].astype(np.uint8))
        pixels = truth[mine].sum((1, 2))
        labels = pd.DataFrame({"row": index["row"][mine], "tumour_px": pixels, "tumour": (pixels > 0).astype(int)})
        files.write_csv(store / f"labels_{split}.csv", labels)
        if split != "train":
            predict(folder, split, method, rows=index["row"][mine].to_numpy(), map=maps[mine])
    return folder


def change(path: Path, drop=(), **arrays) -> None:
    """Write or change arrays of an npz file."""
    old = files.read_npz(path) if path.exists() else {}
    files.write_npz(path, **{k: v for k, v in (old | arrays).items() if k not in drop})


def predict(folder: Path, split, method="toy", drop=(), **arrays):
    """Write or change arrays of predictions/toy/<split>/<method>.npz."""
    path = folder / Place("toy", method).predictions(split)
    if "map" in arrays and not path.exists():
        arrays = {"image_score": np.quantile(arrays["map"], 0.99, axis=(1, 2)).astype(np.float32)} | arrays
    change(path, drop, **arrays)
