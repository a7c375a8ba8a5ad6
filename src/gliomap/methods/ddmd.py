"""DDMD: tumour masks sampled from a diffusion model of masks given the slice and its discrepancy maps (DDMD spec 5).

Several chains a slice start from different noise. Their mean is the map, and the mask where it is above the threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gliomap.base.params import number
from gliomap.data.features import Features
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser, Prediction
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion, Spacing
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores
from gliomap.engine.weights import Which
from gliomap.methods.ddmd_training import MODALITIES, Design, MaskRange, conditions, decoded
from gliomap.methods.translator import load

CLIP = (-1.0, 1.0)  # of x0 in predictions, whatever the masks' range (spec 5)


@dataclass(frozen=True)
class Ddmd(Design):
    """Section `ddmd` of params.yaml. Inference acts on what follows; the rest is found in the trained model.json."""

    sampler: Literal["ancestral", "ddim", "dpm_solver_2m", "heun"]
    spacing: Spacing  # of its steps; see diffusion/schedule.py
    weights: Which
    steps: int = number(min=1)  # of the sampler
    chains: int = number(min=1)  # masks sampled per slice
    threshold: float = number(min=0, max=1)  # on their mean, in units of a mask of 0..1
    pairs: int = number(min=1)  # (slice, chain) pairs per network call; does not change the result


SECTIONS: dict[str, type] = {"ddmd": Ddmd}


@dataclass
class Chains:
    """P chains at once, (slice, chain) pairs. Noise is keyed by slice row and named by chain.

    condition: float32 (P, C, H, W). rows, chains: int64 (P,), on the CPU. calls: network evaluations so far.
    """

    condition: Tensor
    rows: Tensor
    chains: Tensor
    noise: Noise
    calls: int = 0

    def normal(self, name: str, step: int) -> Tensor:
        """N(0, 1), float32 (P, 1, H, W): for a chain of a slice the same in every company, and for every variant."""
        shape = (1, *self.condition.shape[2:])
        out = torch.empty(len(self.rows), *shape)
        for chain in self.chains.unique().tolist():
            own = self.chains == chain
            out[own] = self.noise.normal(f"ddmd/{name}/{chain}", self.rows[own], step, shape)
        return out.to(self.condition)

    def walk(self, denoiser: Denoiser, own: Ddmd) -> Iterator[tuple[Tensor, Tensor]]:
        """(time, x (P, 1, H, W)) from pure noise to the masks, both as the network has them."""
        asked = denoiser.bind(image=self.condition)

        def denoise(x: Tensor, t: Tensor) -> Prediction:
            self.calls += 1
            return asked(x, t)

        times, start = denoiser.schedule.grid(own.steps, own.spacing), self.normal("start", 0)
        yield times[0], start
        arguments = (denoise, start, times, denoiser.schedule)
        if own.sampler == "ancestral":
            variance = "learned" if denoiser.learned_variance else "large"
            arguments += (lambda k: self.normal("step", k), variance)
        yield from getattr(samplers, own.sampler)(*arguments)


class DdmdScorer:
    """Batched inference over (slice, chain) pairs (spec 5)."""

    modalities = MODALITIES

    def __init__(self, denoiser: Denoiser, features: Features, mask_range: MaskRange, own: Ddmd) -> None:
        self.denoiser, self.features, self.mask_range, self.own = denoiser, features, mask_range, own

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with the mask over the whole image, and `sd` (B, H, W) float16, the chains' scatter (divided by n).

        The map is the mean of the chains in units of a mask of 0..1, not cut off there.
        """
        condition, count = conditions(batch, self.features), len(batch.rows)
        where, chains = torch.arange(self.own.chains * count) % count, torch.arange(self.own.chains).repeat_interleave(count)
        masks, calls = [], 0
        for i in range(0, len(where), self.own.pairs):
            part = slice(i, i + self.own.pairs)
            here = where[part]
            group = Chains(condition[here.to(condition.device)], batch.rows[here], chains[part], noise)
            masks.append(decoded(samplers.last(group.walk(self.denoiser, self.own)), self.mask_range))
            calls = group.calls
        masks = torch.cat(masks).view(self.own.chains, *batch.brain.shape)
        mean, sd = masks.mean(0), masks.std(0, correction=0)
        evaluations = torch.full((count,), calls * self.own.chains, dtype=torch.int64)
        return Scores(mean * batch.brain, evaluations, mask=mean > self.own.threshold, extra={"sd": sd.half()})


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> DdmdScorer:
    """The trained variant `pair`, a folder under models/ddmd, as a Scorer; its features are in models/discrepancy.

    Raises UserError if the network or its features are missing, or not of these slices.
    """
    own: Ddmd = p["ddmd"]
    trained, net = load(models / "ddmd" / pair, "net", own.weights, slices.images.shape[-1], device)
    kind, scaling = trained["features"]["kind"], trained["features"]["scaling"]
    features = Features.open(models / "discrepancy", slices, kind, scaling, p["seed"])
    schedule, learned = Diffusion(**trained["diffusion"]).schedule(), trained["variance"] == "learned"
    denoiser = Denoiser(net, schedule, trained["target"], CLIP, learned)
    return DdmdScorer(denoiser, features, trained["mask_range"], own)
