"""Diffusion of the tumour mask given the slice: DDMD mini, light and full, and CIMD (DDMD spec 4 and 7.2).

Fully supervised: every training slice comes with its pixel mask. The variants differ in the condition's channels alone: the
four modalities, then the discrepancy maps. (Condition after the noisy mask, the paper has it before: a permutation.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.params import number
from gliomap.data.features import Features, Kind, channels
from gliomap.data.masks import MaskTable
from gliomap.diffusion.denoiser import Denoiser, Target, predict
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.nets.gaussian_encoder import GaussianEncoder, divergence
from gliomap.nets.unet import UNet, UNetConfig, UNetShape

MODALITIES = ("t1", "t1ce", "t2", "flair")  # of the condition, in the paper's order
LATENT = 6  # dimensions of CIMD's Gaussians
MaskRange = Literal["unit", "symmetric"]
Variance = Literal["learned", "fixed_large"]


@dataclass(frozen=True)
class Design:
    """The part of section `ddmd` that training reads."""

    net: UNetShape
    diffusion: Diffusion
    mask_range: MaskRange  # what is noised: a mask of 0 and 1, or of -1 and 1 (spec 4.2)
    variance: Variance  # of an ancestral step: learned with the noise, or beta (spec 4.5)
    target: Target  # what the network estimates: eps, the noise (Eq. 16); x0, the mask, learns in far fewer steps (spec 4.2)
    train: Train


@dataclass(frozen=True)
class Cimd:
    """Section `cimd` of params.yaml: what CIMD adds to DDMD-mini (spec 7.2)."""

    train_encoders: bool  # the released code leaves them as they are at the start
    first_channel_only: bool  # they see the first modality (the released code), or all
    double_step: bool  # two optimiser steps on the same batch, with new levels and noise (the released code)
    kl: float = number(min=0)  # weight of KL(posterior || prior)
    widths: tuple[int, ...] = number(min=1)  # channels of the encoders' blocks


@dataclass(frozen=True)
class Known:
    """What a training looks up by the rows of a batch."""

    masks: MaskTable
    features: Features

    def mask(self, rows: Tensor) -> Tensor:
        """float32 (B, 1, H, W): 1 = tumour."""
        return torch.from_numpy(self.masks.of_rows(rows.numpy())).float()[:, None]


class Watched:
    """A network that keeps its last call, for a loss that needs more of it than the denoising loss."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.last: tuple[Tensor, Tensor, Tensor] | None = None  # output, input, level

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The network's output."""
        out = self.net(x, t)
        self.last = out, x, t
        return out


class Training:
    """Mean squared error of the noise in the mask, plus the bound that teaches the variance (spec 4.5)."""

    name = "ddmd"
    modalities = MODALITIES

    def __init__(self, own: Design, image_size: int, known: Known, cimd: Cimd | None) -> None:
        """cimd: None for DDMD's own variants."""
        config = configure(own, image_size, known.features.kind)
        self.nets: dict[str, nn.Module] = {"net": UNet(config)}
        if cimd is not None:
            seen = 1 + (1 if cimd.first_channel_only else len(MODALITIES))
            for name in ("posterior", "prior"):
                self.nets[name] = GaussianEncoder(seen, cimd.widths, LATENT).requires_grad_(cimd.train_encoders)
        self.arguments: dict[str, Any] = {"net": asdict(config), "cimd": None if cimd is None else asdict(cimd)}
        self.arguments |= {name: getattr(own, name) for name in ("mask_range", "variance", "target")}
        features = {"kind": known.features.kind, "scaling": known.features.scaling}
        self.arguments |= {"diffusion": asdict(own.diffusion), "features": features}
        self.own, self.known, self.cimd = own, known, cimd
        self.schedule = own.diffusion.schedule()
        self.watched = Watched(self.nets["net"])
        learned = own.variance == "learned"
        self.denoiser = Denoiser(self.watched, self.schedule, own.target, learned_variance=learned)

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam. CIMD's encoders take part if `train_encoders` says so."""
        parameters = chain(*(net.parameters() for net in self.nets.values()))
        return {"net": adamw([parameter for parameter in parameters if parameter.requires_grad], train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair; with `double_step` two of the same batch while training. The averaged weights move once a batch."""
        device = batch.images.device
        mask = coded(self.known.mask(batch.rows).to(device), self.own.mask_range)
        condition = conditions(batch, self.known.features)
        twice = self.cimd is not None and self.cimd.double_step and self.nets["net"].training
        for turn in range(2 if twice else 1):
            t = self.schedule.draw(noise.uniform(f"ddmd/time/{turn}", batch.rows, batch.step, ()))
            eps = noise.normal(f"ddmd/eps/{turn}", batch.rows, batch.step, tuple(mask.shape[1:]))
            loss = self.denoiser.loss(mask, eps.to(mask), t.to(device), image=condition)
            yield "net", loss if self.cimd is None else loss + self.cimd.kl * self.regulariser(batch.images, mask).mean()

    def regulariser(self, images: Tensor, mask: Tensor) -> Tensor:
        """(B,): CIMD's KL(posterior || prior): slice and true mask against slice and the noise just predicted (spec 7.2)."""
        seen = images[:, :1] if self.cimd.first_channel_only else images
        out, x, t = self.watched.last
        eps = predict(out[:, :1].float(), x[:, :1], t, self.schedule, self.own.target).eps
        posterior = self.nets["posterior"](torch.cat([seen, mask], dim=1))
        prior = self.nets["prior"](torch.cat([seen, eps], dim=1))
        return divergence(posterior, prior)


def configure(own: Design, image_size: int, kind: Kind) -> UNetConfig:
    """The improved-diffusion U-Net (spec 4.4): at scale=paper 113,674,370 parameters for `mini`, 1,152 more a feature."""
    return own.net.config(
        in_channels=1 + len(MODALITIES) + channels(kind), out_channels=2 if own.variance == "learned" else 1,
        image_size=image_size, heads=1, scale_shift=False, resample="conv",
    )  # fmt: skip


def conditions(batch: Batch, features: Features) -> Tensor:
    """float32 (B, 4 + features, H, W): the slices, then their features; never noised (spec 4.1)."""
    found = torch.from_numpy(features.of(batch.rows.numpy()))
    return torch.cat([batch.images, found.to(batch.images)], dim=1)


def coded(mask: Tensor, mask_range: MaskRange) -> Tensor:
    """A mask of 0..1 as the network has it; same shape."""
    return mask if mask_range == "unit" else 2 * mask - 1


def decoded(x: Tensor, mask_range: MaskRange) -> Tensor:
    """What the network has, in units of a mask of 0..1; same shape."""
    return x if mask_range == "unit" else (x + 1) / 2
