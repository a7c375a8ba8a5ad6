"""The networks of the comparison of Baur et al. (2021): strided 5 x 5 convolutions to a vector and back (TSGM spec 7).

The VAE, f-AnoGAN's three networks, and whatever else rebuilds a slice from a short vector, are made of an `Encoder` and a
`Decoder`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number

Norm = Literal["batch", "layer"]  # layer: over channels and pixels of each image, as a critic with gradient penalty needs it
Output = Literal["linear", "sigmoid"]
SLOPE = 0.3  # of LeakyReLU: the default of the framework of Baur et al.
NARROW = 8  # the 1 x 1 convolution beside the vector leaves 1/8 of the channels


@dataclass(frozen=True)
class BaurShape:
    """A section `net` of params.yaml. Channels double with every halving of the image, from `width` to at most `most`."""

    width: int = number(min=1)  # channels of the first convolution
    most: int = number(min=8)  # channels of the widest one
    bottleneck_px: int = number(min=1)  # side of the smallest feature maps; convolutions halve the image down to it
    latent: int = number(min=1)  # length of the vector in the middle
    dropout: float = number(min=0, max=1)  # of the values on both sides of the vector


@dataclass(frozen=True)
class BaurConfig:
    """All that it takes to build an `Encoder`, a `Decoder` or a `Critic`."""

    width: int
    most: int
    bottleneck_px: int
    latent: int
    dropout: float
    channels: int  # of the images
    image_size: int  # pixels of a side

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the encoder's convolutions. UserError unless one or more halvings lead to the bottleneck."""
        levels = (self.image_size // self.bottleneck_px).bit_length() - 1
        if levels < 1 or self.bottleneck_px << levels != self.image_size:
            found = f"bottleneck_px is {self.bottleneck_px} for slices of {self.image_size} px"
            raise UserError(f"params.yaml: {found}, expected half of these, a quarter, an eighth ...; change it")
        return tuple(min(self.most, self.width << level) for level in range(levels))

    @property
    def squeezed(self) -> tuple[int, int, int]:
        """(C, H, W) of the feature maps beside the vector."""
        return max(1, self.widths[-1] // NARROW), self.bottleneck_px, self.bottleneck_px


def configure(shape: BaurShape, channels: int, image_size: int) -> BaurConfig:
    """The shape for images of so many channels and pixels."""
    return BaurConfig(**asdict(shape), channels=channels, image_size=image_size)


def of(value: dict[str, Any]) -> BaurConfig:
    """A configuration from model.json, as asdict wrote it."""
    return BaurConfig(**value)


class Encoder(nn.Module):
    """(B, channels, H, W) -> float32 (B, vectors, latent): one vector, or mean and log sigma of one."""

    def __init__(self, config: BaurConfig, vectors: int = 1) -> None:
        super().__init__()
        narrow, side, _ = config.squeezed
        self.convolutions = _down(config, "batch")
        self.squeeze = nn.Conv2d(config.widths[-1], narrow, 1)
        self.dropout = nn.Dropout(config.dropout)
        self.vectors = nn.Linear(narrow * side**2, vectors * config.latent)
        self.shape = (vectors, config.latent)
        glorot(self)

    def forward(self, x: Tensor) -> Tensor:
        """The vectors of the images."""
        flat = self.dropout(self.squeeze(self.convolutions(x)).flatten(1))
        return self.vectors(flat).float().unflatten(1, self.shape)


class Decoder(nn.Module):
    """(B, latent) -> float32 (B, channels, H, W); the encoder backwards, with transposed convolutions.

    output: linear, or a sigmoid for images in [0, 1].
    """

    def __init__(self, config: BaurConfig, norm: Norm, output: Output) -> None:
        super().__init__()
        narrow, side, _ = config.squeezed
        widths = config.widths[::-1]
        self.spread = nn.Sequential(
            nn.Linear(config.latent, narrow * side**2),
            nn.Dropout(config.dropout),
            nn.Unflatten(1, config.squeezed),
            nn.Conv2d(narrow, widths[0], 1),
        )
        layers = [layer for a, b in pairwise((widths[0], *widths)) for layer in _doubling(a, b, norm)]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(widths[-1], config.channels, 1))
        self.output = output
        glorot(self)

    def forward(self, z: Tensor) -> Tensor:
        """The images of the vectors."""
        x = self.convolutions(self.spread(z)).float()
        return x.sigmoid() if self.output == "sigmoid" else x


class Critic(nn.Module):
    """WGAN's critic, whose features f-AnoGAN's encoder learns from too: no output of an image depends on another image."""

    def __init__(self, config: BaurConfig) -> None:
        super().__init__()
        self.convolutions = _down(config, "layer")
        self.verdict = nn.Linear(config.widths[-1] * config.bottleneck_px**2, 1)
        glorot(self)

    def features(self, x: Tensor) -> Tensor:
        """float32 (B, C, bottleneck_px, bottleneck_px): the last feature maps of x (B, channels, H, W)."""
        return self.convolutions(x).float()

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B,): higher = rather a real image."""
        return self.verdict(self.features(x).flatten(1)).float()[:, 0]


class VariationalAutoencoder(nn.Module):
    """Encoder to a Gaussian, and decoder. Its output is linear."""

    def __init__(self, config: BaurConfig) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(config, vectors=2), Decoder(config, "batch", "linear")

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log sigma), float32 (B, latent), of the images."""
        mean, log_sigma = self.encoder(x).unbind(1)
        return mean, log_sigma

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, channels, H, W): the reconstruction from the mean vector."""
        return self.decoder(self.posterior(x)[0])


def glorot(net: nn.Module) -> None:
    """Glorot's uniform weights without biases, the framework's default of Baur et al.; norms stay as they are."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)


def _down(config: BaurConfig, norm: Norm) -> nn.Sequential:
    pairs = pairwise((config.channels, *config.widths))
    return nn.Sequential(*(layer for a, b in pairs for layer in _halving(a, b, norm)))


def _halving(before: int, after: int, norm: Norm) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 5, stride=2, padding=2), _norm(norm, after), nn.LeakyReLU(SLOPE)]


def _doubling(before: int, after: int, norm: Norm) -> list[nn.Module]:
    layer = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
    return [layer, _norm(norm, after), nn.LeakyReLU(SLOPE)]


def _norm(kind: Norm, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(1, channels)
