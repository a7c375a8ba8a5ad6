"""Pairs of healthy slices and slices with a bright square, and sections, for the tests of VE-JP and its control."""

from pathlib import Path

import numpy as np
import torch

from gliomap.base import files
from gliomap.data.case import MODALITIES
from gliomap.data.pairs import PairTable
from gliomap.data.slices import Slices
from gliomap.engine.contract import Batch
from gliomap.methods.variants import Variant, modalities_of
from gliomap.methods.vejp import Design, Levels
from gliomap.nets.ncsnpp import NcsnShape
from gliomap.nets.unet import UNetShape
from stage_toys import SHAPE, SIZE, write_store

SHAPE_OF_NET = NcsnShape(width=8, mult=(1, 2), blocks=1, attention_px=(16,), dropout=0.0)
PLAIN = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(), groups=4, dropout=0.0)
LEVELS = Levels(sigma_min=0.01, sigma_max=20.0, sigma_data=0.3)
OWN = Design(SHAPE_OF_NET, LEVELS, scaling="none", loader="volume")
LIFT = 80  # grey levels that the square of a synthetic tumour is brighter


def write_slices(folder: Path) -> Slices:
    """The toy store of images in [-1, 1]."""
    write_store(folder, np.random.default_rng(0).uniform(-0.9, 0.2, SHAPE))
    return Slices.open(folder)


def write_pairs(folder: Path, slices: Slices, variant: Variant) -> PairTable:
    """Pairs of the healthy rows of train and val: the modality's number is the place of its square."""
    rows = np.concatenate([slices.rows(split, tumour=False) for split in ("train", "val")])
    names = modalities_of(variant)
    healthy = (255 * (slices.read(rows, names) + 1) / 2).astype(np.uint8)
    synthetic = healthy.copy()
    for i, name in enumerate(names):
        left = 8 + 3 * MODALITIES.index(name)
        synthetic[:, i, 10:16, left : left + 6] += LIFT
    folder.mkdir(parents=True)
    for name, array in {"rows": rows, "healthy": healthy, "synthetic": synthetic}.items():
        np.save(folder / f"{name}.npy", array)
    files.write_json(folder / "pairs.json", {"modalities": names})
    return PairTable.open(folder, slices)


def batch_of(rows: list[int], step: int = 0) -> Batch:
    """A batch whose images must not matter."""
    images = torch.full((len(rows), len(MODALITIES), SIZE, SIZE), torch.nan)
    return Batch(torch.tensor(rows), images, torch.ones(len(rows), SIZE, SIZE), step)
