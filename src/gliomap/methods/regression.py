"""The control of VE-JP: a plain U-Net from the image with a tumour to the healthy one, on the same pairs (TSGM spec 10.2.7).

It answers whether diffusion is needed at all: one evaluation, no noise, no noise level.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.data.pairs import PairTable
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.weights import Which
from gliomap.methods.translator import load as load_net
from gliomap.methods.variants import Variant, channels
from gliomap.methods.vejp import Pairs, Resolved
from gliomap.nets.unet import UNet, UNetShape


class Training:
    """Mean squared error of the healthy image, over all pixels."""

    name = "regression"

    def __init__(self, shape: UNetShape, loader: Resolved, image_size: int, table: PairTable, variant: Variant) -> None:
        count = channels(variant)
        config = shape.config(in_channels=count, out_channels=count, image_size=image_size, time=False)
        self.nets: dict[str, nn.Module] = {"net": UNet(config)}
        self.arguments: dict[str, Any] = {"net": asdict(config), "loader": loader, "variant": variant}
        self.modalities = table.modalities
        self.pairs = Pairs(table, variant, loader)

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is Adam, as for VE-JP."""
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the mean squared error."""
        healthy, synthetic = self.pairs.of(batch, noise)
        yield "net", F.mse_loss(self.nets["net"](synthetic).float(), healthy)


@dataclass(frozen=True)
class Loaded:
    """A trained model; see `restore`."""

    net: nn.Module
    loader: Resolved
    variant: Variant

    def restore(self, y: Tensor) -> Tensor:
        """float32 (B, C, H, W): the healthy image of y (B, C, H, W), in [0, 1] as the loader gives it; one evaluation."""
        return self.net(y.contiguous(memory_format=torch.channels_last)).float()


def load(folder: Path, which: Which, image_size: int, device: torch.device) -> Loaded:
    """The model in models/regression/<variant>, ready for inference.

    Raises UserError if a file is missing or damaged, or if it was trained on slices of another size.
    """
    own, net = load_net(folder, "net", which, image_size, device)
    return Loaded(net, own["loader"], own["variant"])
