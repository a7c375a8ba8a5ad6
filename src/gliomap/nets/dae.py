"""The denoising U-Net of Kascenas et al. (2022): weight-standardised convolutions, each followed by Swish and GroupNorm.

MMCCD's DAE (MMCCD spec 7.3). Four levels; the mean over 2 x 2 pixels leads down, a transposed convolution up.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number

LEVELS = 4
STRIDE = 2 ** (LEVELS - 1)  # the image must be a multiple of it
TINY = 1e-5  # beside the standard deviation of a filter


@dataclass(frozen=True)
class DaeShape:
    """Section `rebuild.dae.net` of params.yaml."""

    width: int = number(min=4)  # channels at full resolution; each of the three levels below doubles them


@dataclass(frozen=True)
class DaeConfig:
    """All that it takes to build a `DenoisingUNet`. UserError where the image cannot be halved as often as it must be."""

    width: int
    channels: int  # of the images
    image_size: int  # pixels of a side

    def __post_init__(self) -> None:
        if self.image_size % STRIDE or self.image_size < 2 * STRIDE:
            expected = f"expected a multiple of {STRIDE}, {2 * STRIDE} or more, for DAE; change preprocess.<recipe>.size"
            raise UserError(f"slices have {self.image_size} px, {expected}")

    @classmethod
    def of(cls, value: dict[str, Any]) -> DaeConfig:
        """A configuration from model.json, as asdict wrote it."""
        return cls(**value)


class Standardised(nn.Conv2d):
    """A 3 x 3 convolution, reflecting at the border; its filters have mean 0 and deviation 1 (Qiao et al. 2019)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, after, H, W) of x (B, before, H, W)."""
        flat = self.weight.flatten(1)
        flat = (flat - flat.mean(1, keepdim=True)) / (flat.std(1, keepdim=True) + TINY)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), flat.view_as(self.weight), self.bias)


class DenoisingUNet(nn.Module):
    """(B, channels, H, W) -> float32 of the same shape; linear output. 7.70 million parameters at width 64."""

    def __init__(self, config: DaeConfig) -> None:
        super().__init__()
        widths = [config.width << level for level in range(LEVELS)]
        self.down = nn.ModuleList(twice(before, after) for before, after in pairwise((config.channels, *widths)))
        steps = list(pairwise(reversed(widths)))
        self.up = nn.ModuleList(nn.ConvTranspose2d(before, after, 2, stride=2) for before, after in steps)
        self.merge = nn.ModuleList(twice(before, after) for before, after in steps)
        self.head = nn.Conv2d(config.width, config.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The images without their noise. The last layer is float32 also under autocast, as in `UNet`."""
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([up(x), skips.pop()], dim=1))
        with torch.autocast(x.device.type, enabled=False):
            return self.head(x.float())


def twice(before: int, after: int) -> nn.Sequential:
    """Two convolutions, each with Swish and GroupNorm behind it."""
    parts = [(Standardised(a, after), nn.SiLU(), nn.GroupNorm(groups(after), after)) for a in (before, after)]
    return nn.Sequential(*(layer for part in parts for layer in part))


def groups(channels: int) -> int:
    """The middle one of the divisors of `channels`, the upper one of two: 8, 16, 16, 32 for 64, 128, 256, 512."""
    divisors = [n for n in range(1, channels + 1) if channels % n == 0]
    return divisors[len(divisors) // 2]
