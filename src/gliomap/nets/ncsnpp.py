"""NCSN++ with continuous noise levels: TSGM's network (Song et al. 2021; TSGM spec 3.3).

Modules are created in the order of the released code, so that its weights fit in by position (those of its attention's 1x1
layers are stored transposed).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number

FOURIER_SCALE = 16.0  # standard deviation of the frequencies
EPS = 1e-6  # of every GroupNorm
TINY = 1e-10  # scale of the initial weights of layers that "start at 0"
RESCALE = 1 / math.sqrt(2)  # of a sum of two branches, so that its variance stays


@dataclass(frozen=True)
class NcsnConfig:
    """Everything that it takes to build an `NCSNpp`. `width * mult[i]` are the channels of level i, finest first.

    Raises UserError where the numbers do not fit each other.
    """

    in_channels: int  # noisy channels, then those of the condition
    out_channels: int
    width: int
    mult: tuple[int, ...]
    blocks: int  # residual blocks per level of the encoder; the decoder has one more
    attention_px: tuple[int, ...]  # edge lengths of the feature maps with self-attention; the middle always has it
    dropout: float
    image_size: int

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise UserError(f"network: {problem}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> NcsnConfig:
        """The configuration in a parsed model.json, where tuples have become lists."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge length in pixels of the feature maps of each level."""
        return tuple(self.image_size >> level for level in range(len(self.mult)))

    @property
    def embedding(self) -> int:
        """Channels of the embedding of the noise level."""
        return 4 * self.width

    def _problems(self) -> Iterator[str]:
        coarsest = 2 ** (len(self.mult) - 1)
        if self.image_size % coarsest:
            yield f"image size is {self.image_size}, expected a multiple of {coarsest} for {len(self.mult)} levels of `mult`"
        if self.width % 4:
            yield f"width is {self.width}, expected a multiple of 4, for groups of 4 channels; change it"
        for px in sorted(set(self.attention_px) - set(self.sizes)):
            yield f"attention_px has {px}, the levels have {', '.join(map(str, self.sizes))} pixels; name some of these"


@dataclass(frozen=True)
class NcsnShape:
    """The part of an `NcsnConfig` that a user sets in params.yaml."""

    width: int = number(min=4)  # channels at full resolution; a multiple of 4
    mult: tuple[int, ...] = number(min=1)  # channels of each level over `width`; its length is the number of levels
    blocks: int = number(min=1)  # residual blocks per level of the encoder; the decoder has one more
    attention_px: tuple[int, ...] = number(min=1)  # edge lengths of the feature maps with self-attention; [] = middle only
    dropout: float = number(min=0, max=1)

    def config(self, in_channels: int, out_channels: int, image_size: int) -> NcsnConfig:
        """The full configuration."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return NcsnConfig(in_channels=in_channels, out_channels=out_channels, image_size=image_size, **own)


def scaled(layer: nn.Conv2d | nn.Linear, scale: float = 1.0) -> nn.Conv2d | nn.Linear:
    """The layer with weights uniform of variance scale / mean of fan-in and fan-out, and no bias."""
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(scale))
    nn.init.zeros_(layer.bias)
    return layer


def conv(c_in: int, c_out: int, kernel: int, scale: float = 1.0) -> nn.Conv2d:
    """A convolution that keeps the resolution, initialised as in the released code."""
    return scaled(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), scale)


def norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of at most 32 groups, of 4 channels or more each."""
    return nn.GroupNorm(math.gcd(channels, min(channels // 4, 32)), channels, eps=EPS)


class Fir(nn.Module):
    """Twice ("up") or half ("down") the resolution through the kernel [1, 3, 3, 1], zeros beyond the border.

    In float32 also under autocast: on CPUs a bf16 convolution of each channel by itself is 30 times slower.
    """

    def __init__(self, mode: str) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0])
        kernel = torch.outer(line, line) / line.sum() ** 2
        self.register_buffer("kernel", kernel[None, None] * (4 if mode == "up" else 1), persistent=False)
        self.change = F.conv_transpose2d if mode == "up" else F.conv2d

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, C, 2 H, 2 W) or (B, C, H / 2, W / 2) from x (B, C, H, W), each channel by itself."""
        kernel = self.kernel.expand(x.shape[1], 1, 4, 4)
        with torch.autocast(x.device.type, enabled=False):
            return self.change(x.float(), kernel, stride=2, padding=1, groups=x.shape[1])


class Residual(nn.Module):
    """BigGAN's residual block; with mode "up" or "down" it also changes the resolution."""

    def __init__(self, config: NcsnConfig, c_in: int, c_out: int, mode: str = "same") -> None:
        super().__init__()
        self.norm1 = norm(c_in)
        self.conv1 = conv(c_in, c_out, 3)
        self.embed = scaled(nn.Linear(config.embedding, c_out))
        self.norm2 = norm(c_out)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = conv(c_out, c_out, 3, TINY)
        self.skip = nn.Identity() if c_in == c_out and mode == "same" else conv(c_in, c_out, 1)
        self.resize = nn.Identity() if mode == "same" else Fir(mode)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, c_out, H', W') from x (B, c_in, H, W) and the activated embedding (B, E)."""
        h = self.conv1(self.resize(F.silu(self.norm1(x)))) + self.embed(embedding)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return (self.skip(self.resize(x)) + h) * RESCALE


class Attention(nn.Module):
    """Self-attention over all pixels, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.query, self.key, self.value = (scaled(nn.Linear(channels, channels), 0.1) for _ in range(3))
        self.project = scaled(nn.Linear(channels, channels), TINY)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W) from x of the same shape; the embedding is not used."""
        b, c, h, w = x.shape
        flat = self.norm(x).permute(0, 2, 3, 1).reshape(b, 1, h * w, c)
        y = self.project(F.scaled_dot_product_attention(self.query(flat), self.key(flat), self.value(flat)))
        return (x + y.reshape(b, h, w, c).permute(0, 3, 1, 2)) * RESCALE


class Stage(nn.ModuleList):
    """Blocks one after another, between two skip connections."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """The output of the last block."""
        for block in self:
            x = block(x, embedding)
        return x


class Down(nn.Module):
    """To the next coarser level, with the network's input at that resolution added ("input skip")."""

    def __init__(self, config: NcsnConfig, channels: int) -> None:
        super().__init__()
        self.block = Residual(config, channels, channels, "down")
        self.combine = conv(config.in_channels, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor, pyramid: Tensor) -> Tensor:
        """(B, C, H / 2, W / 2) from x (B, C, H, W) and the input, already at that resolution."""
        return self.block(x, embedding) + self.combine(pyramid)


class Output(nn.Sequential):
    """What a level of the decoder adds to the output ("output skip"), in float32 also under autocast."""

    def __init__(self, config: NcsnConfig, channels: int) -> None:
        super().__init__(norm(channels), nn.SiLU(), conv(channels, config.in_channels, 3, TINY))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) from x (B, C, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Level(nn.Module):
    """A level of the decoder: residual blocks, attention, its part of the output, the way to the next finer level."""

    def __init__(self, config: NcsnConfig, entries: list[int], level: int) -> None:
        """entries: channels that each residual block is given, the skip connection's included."""
        super().__init__()
        channels = config.width * config.mult[level]
        self.blocks = nn.ModuleList(Residual(config, c_in, channels) for c_in in entries)
        self.attention = Attention(channels) if config.sizes[level] in config.attention_px else None
        self.output = Output(config, channels)
        self.up = Residual(config, channels, channels, "up") if level else None

    def forward(self, x: Tensor, embedding: Tensor, skips: list[Tensor]) -> tuple[Tensor, Tensor]:
        """(features for the next level, this level's part of the output). Takes its skip connections off the list."""
        for block in self.blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), embedding)
        if self.attention is not None:
            x = self.attention(x, embedding)
        return (x if self.up is None else self.up(x, embedding)), self.output(x)


class Fourier(nn.Module):
    """Embedding of the noise level: sines and cosines of random frequencies of ln sigma, then two linear layers."""

    def __init__(self, config: NcsnConfig) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(config.width) * FOURIER_SCALE, requires_grad=False)
        self.linear1 = scaled(nn.Linear(2 * config.width, config.embedding))
        self.linear2 = scaled(nn.Linear(config.embedding, config.embedding))

    def forward(self, sigma: Tensor) -> Tensor:
        """(B, E), activated, of sigma (B,)."""
        phase = 2 * math.pi * sigma.float().log()[:, None] * self.frequency
        waves = torch.cat([phase.sin(), phase.cos()], dim=1)
        return F.silu(self.linear2(F.silu(self.linear1(waves))))


class NCSNpp(nn.Module):
    """The network. At the paper's size it has 65,558,305 parameters, 128 of them fixed, for one image and its condition."""

    def __init__(self, config: NcsnConfig) -> None:
        super().__init__()
        self.config = config
        self.level = Fourier(config)
        self.stem = conv(config.in_channels, config.width, 3)
        self.encoder, skips = self._encoder()
        coarsest = skips[-1]
        first, last = (Residual(config, coarsest, coarsest) for _ in range(2))
        self.middle = Stage([first, Attention(coarsest), last])
        self.decoder = self._decoder(skips)
        self.merge = conv(config.in_channels, config.out_channels, 3)  # TSGM's addition
        self.down, self.up = Fir("down"), Fir("up")

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """float32 (B, out_channels, H, W): sigma times the score, the released network's output before its division.

        x: (B, in_channels, H, W), images in [0, 1], the noisy ones with noise of standard deviation sigma (B,).
        """
        embedding = self.level(sigma)
        pyramid = 2 * x.float() - 1
        h = self._exact(self.stem, pyramid)
        skips = [h]
        for stage in self.encoder:
            if isinstance(stage, Down):
                pyramid = self.down(pyramid)
                h = stage(h, embedding, pyramid)
            else:
                h = stage(h, embedding)
            skips.append(h)
        h = self.middle(h, embedding)
        out = None
        for level in self.decoder:
            h, more = level(h, embedding, skips)
            out = more if out is None else self.up(out) + more
        return self._exact(self.merge, out)

    @staticmethod
    def _exact(layer: nn.Module, x: Tensor) -> Tensor:
        """The layer in float32 also under autocast: bf16 would drown the small noise levels in rounding."""
        with torch.autocast(x.device.type, enabled=False):
            return layer(x)

    def _encoder(self) -> tuple[nn.ModuleList, list[int]]:
        """(stages from fine to coarse, channels of the skip connections, the stem's first)."""
        config, stages, skips = self.config, nn.ModuleList(), [self.config.width]
        for level, mult in enumerate(config.mult):
            channels = config.width * mult
            for _ in range(config.blocks):
                stage = Stage([Residual(config, skips[-1], channels)])
                if config.sizes[level] in config.attention_px:
                    stage.append(Attention(channels))
                stages.append(stage)
                skips.append(channels)
            if level < len(config.mult) - 1:
                stages.append(Down(config, channels))
                skips.append(channels)
        return stages, skips

    def _decoder(self, skips: list[int]) -> nn.ModuleList:
        """Levels from coarse to fine."""
        levels, skips, channels = nn.ModuleList(), list(skips), skips[-1]
        for level in reversed(range(len(self.config.mult))):
            entries = [channels + skips.pop()]
            channels = self.config.width * self.config.mult[level]
            entries += [channels + skips.pop() for _ in range(self.config.blocks)]
            levels.append(Level(self.config, entries, level))
        return levels
