"""Cyclic U-Net: the error of x -> y -> x by two plain U-Nets (MMCCD spec 4): no mask, no noise, two evaluations."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Error, Scores, deviation, parse_pair
from gliomap.engine.weights import Which
from gliomap.methods.translator import load, translate


@dataclass(frozen=True)
class CyclicUnet:
    """Section `cyclic_unet` of params.yaml."""

    weights: Which  # raw: as the released code; ema: the averaged ones
    error: Error  # of the cycle, per pixel; the two order the pixels alike


SECTIONS: dict[str, type] = {"cyclic_unet": CyclicUnet}
EVALUATIONS = 2  # network evaluations of a slice


class CyclicUnetScorer:
    """Map = error of g(f(x)) against x."""

    def __init__(self, modality: str, f: nn.Module, g: nn.Module, error: Error) -> None:
        self.modalities = (modality,)
        self.f, self.g, self.error = f, g, error

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with a reconstruction, and `translation`, float16 (B, H, W): what f makes of x. Noise is not used."""
        x = batch.images
        there = translate(self.f, x)
        back = translate(self.g, there)
        evaluations = torch.full((len(x),), EVALUATIONS, dtype=torch.int64)
        error = deviation(back, x, self.error)[:, 0] * batch.brain
        return Scores(error, evaluations, reconstruction=back[:, 0], extra={"translation": there[:, 0].half()})


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> CyclicUnetScorer:
    """The trained translators x-y and y-x as a Scorer."""
    own: CyclicUnet = p["cyclic_unet"]
    x, y = parse_pair(pair, slices.modalities)
    size = slices.images.shape[-1]
    nets = [load(models / "translator" / f"{a}-{b}", "net", own.weights, size, device)[1] for a, b in ((x, y), (y, x))]
    return CyclicUnetScorer(x, *nets, own.error)
