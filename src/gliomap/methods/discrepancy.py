"""Discrepancy maps of two ensembles of autoencoders, for every slice of a store (DDMD spec 3, Eq. 11 to 13).

C modalities, L members. b1, b2: reconstructions by the mixture's ensemble and the healthy one's, (L, B, C, H, W); mu1, mu2:
their means over the members. The slice itself enters none of the maps but `residual`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn

from gliomap.base import run
from gliomap.base.files import replacing, write_csv, write_json
from gliomap.data.slices import Slices
from gliomap.engine import weights
from gliomap.engine.device import for_inference
from gliomap.methods.ensemble import MODALITIES, NAME, EnsembleConfig, build

MAPS = ("inter", "intra", "residual", "untrained")
CHUNK = 32  # slices at once
SHOWN = 512  # training slices behind the batch norms of the untrained ensembles
QUANTILE = 0.995  # of a map's pixels over the training slices: what feature_scale=dataset divides by
DIGITS = 8  # significant digits in scores.csv
FLOAT16 = 1 << 16  # bit patterns


@dataclass(frozen=True)
class Modules:
    """The two ensembles, AE-1 and AE-2, ready for inference."""

    mixture: list[nn.Module]
    healthy: list[nn.Module]

    def reconstruct(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(b1, b2), float32, of images (B, C, H, W)."""
        return tuple(torch.stack([net(images) for net in nets]) for nets in (self.mixture, self.healthy))


def inter_by_modality(b1: Tensor, b2: Tensor) -> Tensor:
    """X_c = |mu1 - mu2|: (B, C, H, W); its mean over the modalities is X (Eq. 12)."""
    return (b1.mean(0) - b2.mean(0)).abs()


def intra_by_modality(b2: Tensor) -> Tensor:
    """Y_c: standard deviation over the members, divided by L, (B, C, H, W)."""
    return b2.std(0, correction=0)


def intra_map(by_modality: Tensor) -> Tensor:
    """Y (Eq. 13), (B, H, W): root of the mean over modalities of the variances Y_c^2."""
    return by_modality.square().mean(1).sqrt()


def compute(images: Tensor, trained: Modules, untrained: Modules) -> tuple[dict[str, Tensor], Tensor]:
    """(name -> map (B, H, W), scores float64 (B, 2 + 2C)) of images (B, C, H, W).

    The scores are means over all pixels, background included: of X, Y, X_c and Y_c, as in `columns`.
    """
    b1, b2 = trained.reconstruct(images)
    inter, intra = inter_by_modality(b1, b2), intra_by_modality(b2)
    maps = {
        "inter": inter.mean(1),
        "intra": intra_map(intra),
        "residual": (images - b2.mean(0)).abs().mean(1),
        "untrained": inter_by_modality(*untrained.reconstruct(images)).mean(1),
    }
    whole = torch.stack([maps["inter"], maps["intra"]], 1)
    return maps, torch.cat([whole, inter, intra], 1).double().mean((2, 3))


def columns() -> list[str]:
    """Names of the scores."""
    return ["inter", "intra", *(f"{name}_{m}" for name in ("inter", "intra") for m in MODALITIES)]


def load(folder: Path, slices: Slices, device: torch.device) -> tuple[Modules, Modules]:
    """(trained, untrained) of models/ae: last weights, and those that the trainings started from, calibrated.

    Raises UserError if a file is missing or damaged, or if they were trained on slices of another size.
    """
    image_size = slices.images.shape[-1]
    pairs = {population: _ensemble(folder / population, image_size, device) for population in ("mixture", "healthy")}
    trained, untrained = ({population: pair[i] for population, pair in pairs.items()} for i in (0, 1))
    controls = Modules(**untrained)
    calibrate(controls, slices, device)
    return Modules(**trained), controls


def _ensemble(folder: Path, image_size: int, device: torch.device) -> tuple[list[nn.Module], list[nn.Module]]:
    meta, states = weights.load(folder, "raw", method=NAME)
    config = EnsembleConfig.of(meta["networks"])
    weights.check_size(folder, config.net.image_size, image_size)
    trained, untrained = build(config), build(config)
    for name, net in trained.items():
        weights.put(net, states[name], folder / "raw.safetensors")
    return tuple([for_inference(net, device) for net in nets.values()] for nets in (trained, untrained))


@torch.inference_mode()
def calibrate(modules: Modules, slices: Slices, device: torch.device) -> None:
    """Give the batch norms of untrained networks the statistics of training slices; no weight changes.

    With the statistics they start from, such a network says the same of every slice to 1 part in 400, and the control would
    be no more than a constant channel.
    """
    rows = slices.rows("train")
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))]
    nets = [*modules.mixture, *modules.healthy]
    norms = [layer for net in nets for layer in net.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over the batches
        norm.train()
    for part in np.array_split(rows, -(-len(rows) // CHUNK)):
        images = torch.from_numpy(slices.read(part, MODALITIES)).to(device)
        for net in nets:
            net(images)
    for norm in norms:
        norm.eval()


@torch.inference_mode()
def write(folder: Path, slices: Slices, modules: tuple[Modules, Modules], device: torch.device) -> None:
    """<map>.npy (N, H, W) float16, scores.csv and discrepancy.json in `folder`, for all N slices of the store.

    modules: see `load`. Needs no mask and no label. Memory does not grow with N.
    """
    count, size = len(slices.index), slices.images.shape[-1]
    rows = np.arange(count)
    learnt = slices.index["split"].to_numpy() == "train"
    histograms = {name: np.zeros(FLOAT16, np.int64) for name in MAPS}
    scores = np.empty((count, len(columns())))
    with ExitStack() as stack:
        stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False))
        paths = {name: stack.enter_context(replacing(folder / f"{name}.npy")) for name in MAPS}
        stores = {name: open_memmap(path, "w+", np.float16, (count, size, size)) for name, path in paths.items()}
        parts = [rows[i : i + CHUNK] for i in range(0, count, CHUNK)]
        for part in run.progress(parts, label="discrepancy", unit="batches"):
            images = torch.from_numpy(slices.read(part, MODALITIES)).to(device)
            maps, found = compute(images, *modules)
            scores[part] = found.cpu().numpy()
            for name, values in maps.items():
                half = values.half().cpu().numpy()
                stores[name][part] = half
                histograms[name] += np.bincount(half[learnt[part]].view(np.uint16).ravel(), minlength=FLOAT16)
        for store in stores.values():
            store.flush()
    _write_tables(folder, slices, scores, histograms, len(modules[0].healthy))


def _write_tables(
    folder: Path, slices: Slices, scores: NDArray, histograms: Mapping[str, NDArray[np.int64]], members: int
) -> None:
    frame = pd.DataFrame(scores, columns=columns()).map(lambda value: float(f"{value:.{DIGITS}g}"))
    frame.insert(0, "row", np.arange(len(frame)))
    write_csv(folder / "scores.csv", frame)
    scale = {name: float(f"{quantile(histogram, QUANTILE):.{DIGITS}g}") for name, histogram in histograms.items()}
    meta = {"recipe": slices.recipe, "size": slices.images.shape[-1], "n": len(frame), "members": members}
    write_json(folder / "discrepancy.json", {**meta, "scale": scale})


def quantile(histogram: NDArray[np.int64], share: float) -> float:
    """Smallest value that at least `share` of the values do not exceed.

    histogram: int64 (65536,), how often each bit pattern of a float16, at least 0, occurs: their order is that of the
    values, so that the quantile is exact. 0 if there is no value.
    """
    reached = np.cumsum(histogram)
    pattern = np.searchsorted(reached, share * reached[-1]) if reached[-1] else 0
    return float(np.array(pattern, np.uint16).view(np.float16))
