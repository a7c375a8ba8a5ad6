"""Plain U-Net regression from one modality to another on healthy slices (MMCCD spec 3 and 4).

MMCCD's way back g, and both ways of the Cyclic U-Net, are such translators: no mask, no noise, no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.device import for_inference
from gliomap.engine.weights import Which
from gliomap.nets.unet import UNet, UNetConfig, UNetShape

Build = Callable[[UNetConfig], nn.Module]


class Translator:
    """Training of a U-Net x -> y by mean squared error over all pixels, background included."""

    name = "translator"

    def __init__(self, pair: tuple[str, str], shape: UNetShape, image_size: int) -> None:
        """`pair` = (modality x, modality y)."""
        config = shape.config(in_channels=1, out_channels=1, image_size=image_size, time=False)
        self.modalities = pair
        self.nets: dict[str, nn.Module] = {"net": UNet(config)}
        self.arguments = {"net": asdict(config)}

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam."""
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the mean squared error of the translation."""
        x, y = batch.images[:, :1], batch.images[:, 1:]
        yield "net", F.mse_loss(self.nets["net"](x).float(), y)


def load(
    folder: Path, name: str, which: Which, image_size: int, device: torch.device, build: Build = UNet
) -> tuple[dict[str, Any], nn.Module]:
    """(arguments in model.json, its network `name` ready for inference) of models/<method>/<pair>.

    build: makes the network out of its configuration.
    Raises UserError if a file is missing or damaged, or if the network was trained on slices of another size.
    """
    meta, states = weights.load(folder, which, method=folder.parent.name)
    arguments = meta["networks"]
    config = UNetConfig.of(arguments[name])
    weights.check_size(folder, config.image_size, image_size)
    return arguments, for_inference(weights.put(build(config), states[name], folder / f"{which}.safetensors"), device)


def translate(net: nn.Module, x: Tensor) -> Tensor:
    """float32 (B, 1, H, W): the translation of x (B, 1, H, W)."""
    return net(x.contiguous(memory_format=torch.channels_last)).float()
