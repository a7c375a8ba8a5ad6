"""The autoencoder behind the discrepancy maps: convolutions to a short vector and back (DDMD spec 2, its layer table)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number

HALVING = {"kernel_size": 4, "stride": 2, "padding": 1}  # also of the doubling, transposed convolutions


@dataclass(frozen=True)
class AutoencoderShape:
    """Section `autoencoder.net` of params.yaml."""

    latent: int = number(min=1)  # length of the vector in the middle
    hidden: int = number(min=1)  # length of the vectors beside it
    widths: tuple[int, ...] = number(min=1)  # channels of the encoder's convolutions; each halves the image


@dataclass(frozen=True)
class AutoencoderConfig:
    """All that it takes to build an `Autoencoder`."""

    latent: int
    hidden: int
    widths: tuple[int, ...]
    channels: int  # of the images
    image_size: int  # pixels of a side

    @classmethod
    def of(cls, value: dict[str, Any]) -> AutoencoderConfig:
        """From model.json, as asdict wrote it."""
        return cls(**{**value, "widths": tuple(value["widths"])})

    @property
    def smallest(self) -> int:
        """Pixels of a side after the last convolution. UserError unless every convolution halves the image evenly."""
        factor = 2 ** len(self.widths)
        if not self.widths or self.image_size % factor:
            found = f"{len(self.widths)} widths on slices of {self.image_size} px"
            raise UserError(f"params.yaml: autoencoder.net has {found}, expected one or more, each halving them; lower it")
        return self.image_size // factor


def configure(shape: AutoencoderShape, channels: int, image_size: int) -> AutoencoderConfig:
    """The shape for images of so many channels and pixels."""
    return AutoencoderConfig(**asdict(shape), channels=channels, image_size=image_size)


class Autoencoder(nn.Sequential):
    """(B, channels, H, W) -> the same, through `latent` numbers; 67.4 M parameters at scale=paper, linear at the end.

    The linear maps hold nearly all of them. The first weights are torch's own, as in the code that the paper builds on.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        side, widths = config.smallest, config.widths
        flat = widths[-1] * side**2
        super().__init__(
            *_resampling(nn.Conv2d, (config.channels, *widths)),
            nn.Flatten(),
            *_vector(flat, config.hidden),
            nn.Linear(config.hidden, config.latent),
            *_vector(config.latent, config.hidden),
            nn.Linear(config.hidden, flat),
            nn.Unflatten(1, (widths[-1], side, side)),
            *_resampling(nn.ConvTranspose2d, widths[::-1]),
            nn.ConvTranspose2d(widths[0], config.channels, **HALVING, bias=False),
        )
        self.config = config

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, channels, H, W): the reconstruction."""
        return super().forward(x).float()


def _resampling(kind: type[nn.Conv2d | nn.ConvTranspose2d], widths: Sequence[int]) -> list[nn.Module]:
    pairs = pairwise(widths)
    return [layer for a, b in pairs for layer in (kind(a, b, **HALVING, bias=False), nn.BatchNorm2d(b), nn.ReLU())]


def _vector(before: int, after: int) -> list[nn.Module]:
    return [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
