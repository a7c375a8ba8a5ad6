"""What MMCCD's map owes to its stripes and steps: maps of several strides from one pass (MMCCD spec 10.3).

A pair (slice, stripe) does not depend on which other stripes there are: its noise is keyed by the two. So the maps of
every coarser stride are means over a part of the finest one's pairs, to the bit what inference would make of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.methods.mmccd import MmccdScorer
from gliomap.methods.stripes import Edge, Stripes, every_stripe


@dataclass(frozen=True)
class Tradeoff:
    """Section `tradeoff` of params.yaml."""

    slices: int = number(min=1)  # validation slices with tumour, spread over the patients; fewer where there are fewer
    strides: tuple[int, ...] = number(min=1)  # pixels between two stripes; multiples of the smallest
    steps: tuple[int, ...] = number(min=1)  # of the sampler; 1 = one-step regression
    spacing: Literal["leading", "trailing", "linspace"]  # of the steps; trailing starts where the noise is


def check_strides(strides: tuple[int, ...], width: int) -> None:
    """UserError unless the strides are multiples of the smallest, and none leaves gaps between stripes of `width`."""
    wrong = [stride for stride in strides if stride % min(strides)]
    if not strides or wrong:
        found = f"{', '.join(map(str, strides)) or 'none'}, expected multiples of the smallest"
        raise UserError(f"params.yaml: tradeoff.strides are {found}; change them there or in conf/scale")
    if max(strides) > width:
        found = f"{max(strides)}, expected at most the stripe's width {width}"
        raise UserError(f"params.yaml: tradeoff.strides has {found}, or pixels between stripes get no score; lower it")


def members(finest: Stripes, strides: tuple[int, ...], edge: Edge) -> Tensor:
    """bool (K, R): which of the R finest stripes belong to each stride, a multiple of the finest one."""
    every = [every_stripe(finest.size, finest.width, stride, edge).identity for stride in strides]
    return torch.stack([torch.isin(finest.identity, identity) for identity in every])


def by_stride(scorer: MmccdScorer, batch: Batch, noise: Noise, parts: Tensor) -> tuple[Tensor, Tensor]:
    """(maps float32 (K, B, H, W), network evaluations int64 (K, B)) of parts (K, R) of the scorer's stripes.

    Each is what `MmccdScorer.score` gives with these stripes only.
    """
    x = batch.images
    error, coverage = (torch.zeros(len(parts), *x.shape, device=x.device) for _ in range(2))
    evaluations = torch.zeros(len(parts), len(x), dtype=torch.int64)
    for pairs in scorer.cycles(batch, noise):
        for k, part in enumerate(parts):
            kept = part[pairs.stripe_of]
            slice_of, there = pairs.slice_of[kept], kept.to(x.device)
            where, mask = slice_of.to(x.device), pairs.mask[there]
            error[k].index_add_(0, where, pairs.error[there] * mask)
            coverage[k].index_add_(0, where, mask.to(error))
            evaluations[k] += pairs.calls * torch.bincount(slice_of, minlength=len(x))
    return (error / coverage.clamp_min(1))[:, :, 0] * batch.brain, evaluations
