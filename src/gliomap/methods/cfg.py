"""Classifier-free diffusion: one denoiser for slices with tumour, without, and for no label (AnoFPDM spec 2, 3.1).

AnoFPDM reads anomalies off it going forward, DDIB (DDIM, classifier-free) going back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.denoiser import NULL, Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.weights import Which
from gliomap.methods.translator import load as load_net
from gliomap.nets.unet import UNet, UNetConfig, UNetShape

Follow = Literal["paper", "code"]
MODALITIES = ("flair", "t1", "t1ce", "t2")  # channels, in the order of the released code
HEALTHY, UNHEALTHY = 0, 1  # labels; NULL is none
CLIP = (-1.0, 1.0)  # range of the slices, and of x0 in predictions

# What `follow` stands for, by switch: docs/deviations.md, spec D2 and D3.
PRESETS: dict[Follow, dict[str, int | str]] = {
    "paper": {"heads": 2, "first_activation": "on"},
    "code": {"heads": 4, "first_activation": "off"},
}


@dataclass(frozen=True)
class Cfg:
    """Section `cfg` of params.yaml. Only training reads it; inference finds the network in models/cfg/all/model.json."""

    follow: Follow  # what the switches that say `follow` mean; see PRESETS
    net: UNetShape
    heads: Literal["follow", 1, 2, 4]  # of every attention
    first_activation: Literal["follow", "on", "off"]  # SiLU before a block's first and before the last convolution
    label_tokens: bool  # the label also enters attention, as tokens (the paper's cross-attention)
    diffusion: Diffusion
    train: Train
    null_share: float = number(min=0, max=1)  # of the slices that are shown without their label


class Training:
    """Mean squared error of the noise at a random level, under the slice's label or none (spec 3.1)."""

    name = "cfg"
    modalities = MODALITIES

    def __init__(self, own: Cfg, image_size: int, labels: Tensor) -> None:
        """labels: int64 (N,), HEALTHY, UNHEALTHY or NULL for each row of the slice store."""
        config = configure(own, image_size)
        self.nets: dict[str, nn.Module] = {"net": UNet(config)}
        self.arguments = {"net": asdict(config), "diffusion": asdict(own.diffusion)}
        self.schedule = own.diffusion.schedule()
        self.denoiser = Denoiser(self.nets["net"], self.schedule)
        self.labels, self.null_share = labels, own.null_share

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is Adam."""
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the denoising loss of all four modalities."""
        x, device = batch.images, batch.images.device
        t = self.schedule.draw(noise.uniform("cfg/time", batch.rows, batch.step, ()))
        eps = noise.normal("cfg/eps", batch.rows, batch.step, tuple(x.shape[1:]))
        label = self.shown(batch, noise).to(device)
        yield "net", self.denoiser.loss(x, eps.to(x), t.to(device), label=label)

    def shown(self, batch: Batch, noise: Noise) -> Tensor:
        """int64 (B,): the labels of the batch, NULL for a share of `null_share`, drawn anew at each step."""
        hidden = noise.uniform("cfg/null", batch.rows, batch.step, ()) < self.null_share
        return torch.where(hidden, NULL, self.labels[batch.rows])


def slice_labels(slices: Slices, splits: tuple[str, ...]) -> np.ndarray:
    """int64 (N,): 0 healthy, 1 unhealthy for each row of the splits, NULL for all other rows of the store."""
    labels = np.full(len(slices.index), NULL, np.int64)
    for split in splits:
        labels[slices.rows(split)] = slices.labels(split)["tumour"]
    return labels


def label_hash(labels: np.ndarray) -> str:
    """What makes a checkpoint belong to these labels."""
    return hashlib.blake2b(labels.tobytes(), digest_size=16).hexdigest()


def configure(own: Cfg, image_size: int) -> UNetConfig:
    """The network with every `follow` resolved. At scale=paper 103,082,500 parameters (spec 2.1)."""
    preset = PRESETS[own.follow]
    heads = preset["heads"] if own.heads == "follow" else own.heads
    activation = preset["first_activation"] if own.first_activation == "follow" else own.first_activation
    return own.net.config(
        in_channels=len(MODALITIES), out_channels=len(MODALITIES), image_size=image_size, heads=heads, resample="conv",
        classes=2, label_tokens=own.label_tokens, first_activation=activation == "on",
    )  # fmt: skip


def load(folder: Path, which: Which, image_size: int, device: torch.device) -> Denoiser:
    """The trained denoiser in models/cfg/all, without clipping. UserError if it is missing or of another image size."""
    trained, net = load_net(folder, "net", which, image_size, device)
    return Denoiser(net, Diffusion(**trained["diffusion"]).schedule())
