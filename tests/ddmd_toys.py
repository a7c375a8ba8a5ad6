"""Slices with tumours, masks and discrepancy maps for the tests of the mask diffusion."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from gliomap.base import files
from gliomap.data.features import Features
from gliomap.data.masks import MaskTable
from gliomap.data.slices import Slices
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Batch, Train
from gliomap.methods.ddmd import Ddmd
from gliomap.methods.ddmd_training import MODALITIES, Cimd, Known
from gliomap.nets.unet import UNetShape
from stage_toys import CASES, DEEP, SHAPE, SIZE, write_store

MAPS = ("inter", "intra", "residual", "untrained")
NET = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(), groups=4, dropout=0.0)
TRAIN = Train(
    steps=4, batch=2, lr=1e-3, weight_decay=0.0, warmup=0, decay_from=1.0, clip=0.0, ema=0.9, log_every=1, save_every=4,
    val_slices=0,
)  # fmt: skip
OWN = Ddmd(
    net=NET, diffusion=Diffusion(1000, 1e-4, 0.02), mask_range="unit", variance="learned", target="eps", train=TRAIN,
    sampler="ddim", spacing="trailing", weights="raw", steps=4, chains=5, threshold=0.5, pairs=64,
)  # fmt: skip
CIMD = Cimd(train_encoders=False, first_channel_only=True, double_step=True, kl=1e-3, widths=(4, 8))


def write_tumours(folder: Path) -> np.ndarray:
    """The toy store with a bright square as tumour in every third slice, and its masks; no truth of the test slices.

    Returns the masks of all slices, uint8 (N, SIZE, SIZE).
    """
    images = np.random.default_rng(0).uniform(-0.4, 0.1, SHAPE)
    masks = np.zeros((CASES * DEEP, SIZE, SIZE), np.uint8)
    for row in range(0, len(masks), 3):
        masks[row, 8 + row // 6 : 16 + row // 6, 10:18] = 1
    images[masks[:, None].repeat(len(MODALITIES), 1) > 0] = 0.9
    index = write_store(folder, images)
    for split in ("train", "val"):
        rows = index.loc[index["split"] == split, "row"].to_numpy()
        area = masks[rows].sum((1, 2)) - rows  # no two the same
        np.save(folder / f"masks_{split}.npy", masks[rows])
        labels = pd.DataFrame({"row": rows, "tumour_px": np.where(rows % 3, 0, area), "tumour": (rows % 3 == 0) * 1})
        files.write_csv(folder / f"labels_{split}.csv", labels)
    return masks


def write_discrepancy(folder: Path, recipe: str = "common") -> dict[str, np.ndarray]:
    """Random maps for every slice of the toy store, as the discrepancy stage leaves them; they are returned by name."""
    count = CASES * DEEP
    rng = np.random.default_rng(1)
    maps = {name: rng.uniform(0, 0.05, (count, SIZE, SIZE)).astype(np.float16) for name in MAPS}
    folder.mkdir(parents=True)
    for name, values in maps.items():
        np.save(folder / f"{name}.npy", values)
    scale = dict.fromkeys(MAPS, 0.05)
    files.write_json(folder / "discrepancy.json", {"recipe": recipe, "size": SIZE, "n": count, "members": 3, "scale": scale})
    return maps


def known_of(root: Path, kind: str = "none") -> Known:
    """Masks and features of the store and maps under `root`; written if they are not there yet."""
    store, maps = root / "common", root / "discrepancy"
    if not store.exists():
        write_tumours(store)
        write_discrepancy(maps)
    slices = Slices.open(store)
    return Known(MaskTable.of(slices), Features.open(maps, slices, kind, "raw", 0))


def batch_of(root: Path, rows: list[int], step: int = 0) -> Batch:
    """The rows of the store under `root`."""
    slices = Slices.open(root / "common")
    images, brain = slices.read(rows, MODALITIES), slices.brain_of(rows)
    return Batch(torch.tensor(rows), torch.from_numpy(images), torch.from_numpy(brain).float(), step)
