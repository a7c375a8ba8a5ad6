"""A toy slice store and the stage scripts as functions, for tests that train and infer as the pipeline does."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from gliomap.base import files
from gliomap.data.case import MODALITIES

ROOT = Path(__file__).resolve().parents[1]
SIZE, CASES, DEEP = 32, 6, 6
SHAPE = (CASES * DEEP, len(MODALITIES), SIZE, SIZE)  # of the images


def stage_of(script: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"stage_{script}", ROOT / "stages" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(script: str, *argv: str) -> None:
    stage_of(script).main([*argv, "--store", "common"])


def write_store(folder: Path, images: np.ndarray) -> pd.DataFrame:
    """Six cases of six slices, every third labelled as tumour; no masks and no test labels. Returns the index."""
    count = CASES * DEEP
    folder.mkdir(parents=True)
    brain = np.zeros((count, SIZE, SIZE), np.uint8)
    brain[:, 6:26, 8:24] = 1
    np.save(folder / "images.npy", np.where(brain[:, None], images.astype(np.float16), np.float16(-1)))
    np.save(folder / "brain.npy", brain)
    ramp = np.linspace(-1, 1, 257, dtype=np.float32)
    np.save(folder / "quantiles.npy", ramp + np.zeros((CASES, len(MODALITIES), 1), np.float32))
    case = np.repeat(np.arange(CASES), DEEP)
    index = pd.DataFrame({
        "row": range(count), "case": [f"c{i}" for i in case], "patient": [f"p{i}" for i in case], "brain_px": 320,
        "z": [80 + i % DEEP for i in range(count)], "split": np.array(["train"] * 4 + ["val", "test"])[case],
    })  # fmt: skip
    files.write_csv(folder / "index.csv", index)
    for split in ("train", "val"):
        rows = index.loc[index["split"] == split, "row"]
        labels = pd.DataFrame({"row": rows, "tumour_px": 0, "tumour": (rows % 3 == 0) * 1})
        files.write_csv(folder / f"labels_{split}.csv", labels)
    recipe = {"recipe": "common", "modalities": MODALITIES, "pixel_mm": 6.0, "background": -1.0}
    files.write_json(folder / "recipe.json", recipe)
    return index
