"""The ADM U-Net behind every diffusion model and translator here: one class, the papers' variants by flags.

Dhariwal & Nichol 2021 ("guided diffusion"), in the sizes of MMCCD (spec 2.1), AnoFPDM (spec 2.1, 2.2) and their baselines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number

NULL = -1  # the label that says: no label
MAX_PERIOD = 10000.0


@dataclass(frozen=True)
class UNetConfig:
    """Everything that it takes to build a `UNet`. `width * mult[i]` are the channels of level i, finest first.

    Raises UserError where the numbers do not fit each other.
    """

    in_channels: int
    out_channels: int  # twice the image's channels where the variance is learned
    width: int
    mult: tuple[int, ...]
    blocks: int  # residual blocks per level of the encoder; the decoder has one more
    attention_px: tuple[int, ...]  # edge lengths of the feature maps with self-attention; the middle always has it
    image_size: int
    groups: int  # of every GroupNorm
    heads: int = 1
    head_channels: int | None = None  # channels per head; takes the place of `heads`
    dropout: float = 0.0  # in each residual block, before its last convolution
    time: bool = True  # False: no time embedding, and no weights for it
    scale_shift: bool = True  # the embedding scales and shifts the second norm (FiLM); else it is added before it
    resample: Literal["residual", "conv", "pool"] = "residual"  # what changes the resolution between levels
    classes: int | None = None  # labels 0..classes-1, and NULL
    label_mlp: bool = True  # False: the table itself holds what is added to the time embedding (AnoFPDM spec 2.3)
    label_tokens: bool = False  # attention also looks at tokens made of the label (AnoFPDM spec 2.2, route 2)
    first_activation: bool = True  # False: no SiLU before a block's first and the last convolution (AnoFPDM D2)

    def __post_init__(self) -> None:
        for problem in self._problems():
            raise UserError(f"network: {problem}")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> UNetConfig:
        """The configuration in a parsed model.json, where tuples have become lists."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    @property
    def embedding(self) -> int:
        """Channels of the time and label embedding; 0 if there is neither."""
        return 4 * self.width if self.time or self.classes else 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Edge length in pixels of the feature maps of each level."""
        return tuple(self.image_size >> level for level in range(len(self.mult)))

    def _problems(self) -> Iterator[str]:
        coarsest = 2 ** (len(self.mult) - 1)
        if self.image_size % coarsest:
            yield f"image size is {self.image_size}, expected a multiple of {coarsest} for {len(self.mult)} levels of `mult`"
        for px in sorted(set(self.attention_px) - set(self.sizes)):
            yield f"attention_px has {px}, the levels have {', '.join(map(str, self.sizes))} pixels; name some of these"
        for channels in sorted({self.width * m for m in self.mult}):
            if channels % self.groups:
                yield f"{channels} channels (width x mult) are not a multiple of groups = {self.groups}; change either"
            if channels % (self.head_channels or self.heads):
                yield f"{channels} channels (width x mult) cannot be shared out evenly to the attention heads"
        if self.label_tokens and not self.classes:
            yield "label_tokens needs classes"


@dataclass(frozen=True)
class UNetShape:
    """The part of a `UNetConfig` that a user sets in params.yaml."""

    width: int = number(min=1)  # channels at full resolution
    mult: tuple[int, ...] = number(min=1)  # channels of each level over `width`; its length is the number of levels
    blocks: int = number(min=1)  # residual blocks per level of the encoder; the decoder has one more
    attention_px: tuple[int, ...] = number(min=1)  # edge lengths of the feature maps with self-attention; [] = middle only
    groups: int = number(min=1)  # of every GroupNorm; divides width x mult
    dropout: float = number(min=0, max=1)

    def config(self, in_channels: int, out_channels: int, image_size: int, **flags: Any) -> UNetConfig:
        """The full configuration; `flags` are further fields of UNetConfig."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return UNetConfig(in_channels=in_channels, out_channels=out_channels, image_size=image_size, **own, **flags)


def sinusoid(t: Tensor, width: int) -> Tensor:
    """float32 (B, width): cosines, then sines of the times t (B,), with periods from 2 pi to 2 pi 10000."""
    half = width // 2
    rates = torch.exp(-math.log(MAX_PERIOD) / half * torch.arange(half, device=t.device, dtype=torch.float32))
    phase = t.float()[:, None] * rates
    return torch.cat([phase.cos(), phase.sin()], dim=1)


def zeroed(module: nn.Module) -> nn.Module:
    """`module` with all its parameters set to 0."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def resized(x: Tensor, mode: str) -> Tensor:
    """x (B, C, H, W) at twice ("up", nearest) or half ("down", mean of 2 x 2) the resolution; unchanged for "same"."""
    if mode == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2) if mode == "down" else x


class Residual(nn.Module):
    """ADM's residual block; with mode "up" or "down" it also changes the resolution."""

    def __init__(self, config: UNetConfig, c_in: int, c_out: int, mode: str = "same") -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(config.groups, c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1)
        width = 2 * c_out if config.scale_shift else c_out
        self.embed = nn.Linear(config.embedding, width) if config.embedding else None
        self.norm2 = nn.GroupNorm(config.groups, c_out)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = zeroed(nn.Conv2d(c_out, c_out, 3, padding=1))
        self.skip = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)
        self.mode, self.config = mode, config

    def forward(self, x: Tensor, embedding: Tensor | None, tokens: Tensor | None) -> Tensor:
        """(B, c_out, H', W') from x (B, c_in, H, W) and the activated embedding (B, E); None leaves modulation out."""
        h = self.norm1(x)
        h = self.conv1(resized(F.silu(h) if self.config.first_activation else h, self.mode))
        h = self.dropout(F.silu(self._modulated(h, embedding)))
        return self.skip(resized(x, self.mode)) + self.conv2(h)

    def _modulated(self, h: Tensor, embedding: Tensor | None) -> Tensor:
        if embedding is None or self.embed is None:
            return self.norm2(h)
        e = self.embed(embedding)[:, :, None, None]
        if not self.config.scale_shift:
            return self.norm2(h + e)
        scale, shift = e.chunk(2, dim=1)
        return torch.addcmul(shift, self.norm2(h), scale + 1)


class Attention(nn.Module):
    """Self-attention over all pixels; label tokens, if there are any, add keys and values (AnoFPDM spec 2.2)."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.heads = channels // config.head_channels if config.head_channels else config.heads
        self.norm = nn.GroupNorm(config.groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.token_kv = nn.Linear(config.embedding, 2 * channels) if config.label_tokens else None
        self.project = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor, embedding: Tensor | None, tokens: Tensor | None) -> Tensor:
        """(B, C, H, W) from x of the same shape; tokens (B, n, E) or None."""
        b, c, h, w = x.shape
        flat = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)
        q, k, v = self._split(self.qkv(flat), 3)
        if tokens is not None and self.token_kv is not None:
            more_k, more_v = self._split(self.token_kv(tokens), 2)
            k, v = torch.cat([more_k, k], dim=2), torch.cat([more_v, v], dim=2)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.project(y).view(b, h, w, c).permute(0, 3, 1, 2)

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """(parts, B, heads, n, C / heads): channels are ordered by head, then part, as in the released ADM weights."""
        b, n, channels = x.shape
        return x.view(b, n, self.heads, parts, channels // (parts * self.heads)).permute(3, 0, 2, 1, 4)


class Resample(nn.Module):
    """Change of resolution without an embedding: pooling or nearest neighbour, with a convolution if `conv`."""

    def __init__(self, channels: int, mode: str, conv: bool) -> None:
        super().__init__()
        self.mode = "same" if conv and mode == "down" else mode  # there the convolution itself has stride 2
        stride = 2 if mode == "down" else 1
        self.conv = nn.Conv2d(channels, channels, 3, stride=stride, padding=1) if conv else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None, tokens: Tensor | None) -> Tensor:
        """(B, C, H', W') from x (B, C, H, W)."""
        return self.conv(resized(x, self.mode))


class Stage(nn.ModuleList):
    """Blocks one after another, between two skip connections."""

    def forward(self, x: Tensor, embedding: Tensor | None, tokens: Tensor | None) -> Tensor:
        """The output of the last block."""
        for block in self:
            x = block(x, embedding, tokens)
        return x


def mlp(width: int) -> nn.Sequential:
    """From the `width` channels of a sinusoid or label to the embedding's 4 * width."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))


def stage(config: UNetConfig, c_in: int, level: int) -> Stage:
    """A residual block to the level's channels, with attention where the level has it."""
    channels = config.width * config.mult[level]
    attention = [Attention(config, channels)] if config.sizes[level] in config.attention_px else []
    return Stage([Residual(config, c_in, channels), *attention])


def change(config: UNetConfig, channels: int, mode: str) -> nn.Module:
    """What halves ("down") or doubles ("up") the resolution between two levels."""
    if config.resample == "residual":
        return Residual(config, channels, channels, mode)
    return Resample(channels, mode, conv=config.resample == "conv")


def encoder(config: UNetConfig) -> tuple[nn.ModuleList, list[int]]:
    """(stages from fine to coarse, channels of the skip connections, the stem's first)."""
    stages, skips = nn.ModuleList(), [config.width * config.mult[0]]
    for level in range(len(config.mult)):
        for _ in range(config.blocks):
            stages.append(stage(config, skips[-1], level))
            skips.append(config.width * config.mult[level])
        if level < len(config.mult) - 1:
            stages.append(Stage([change(config, skips[-1], "down")]))
            skips.append(skips[-1])
    return stages, skips


def middle(config: UNetConfig) -> Stage:
    """The blocks at the coarsest level, between encoder and decoder."""
    c = config.width * config.mult[-1]
    return Stage([Residual(config, c, c), Attention(config, c), Residual(config, c, c)])


class UNet(nn.Module):
    """The network. Its output is exactly 0 before training."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first = config.width * config.mult[0]
        self.time = mlp(config.width) if config.time else None
        entry = config.width if config.label_mlp else config.embedding
        self.label = nn.Embedding(config.classes, entry) if config.classes else None
        self.label_mlp = mlp(config.width) if config.classes and config.label_mlp else None
        self.stem = nn.Conv2d(config.in_channels, first, 3, padding=1)
        self.encoder, skips = encoder(config)
        self.middle = middle(config)
        self.decoder = self._decoder(skips)
        self.norm = nn.GroupNorm(config.groups, first)
        self.head = zeroed(nn.Conv2d(first, config.out_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor | None = None, label: Tensor | None = None) -> Tensor:
        """float32 (B, out_channels, H, W) from x (B, in_channels, H, W).

        t: (B,), what the embedding is told of the time, not rescaled; None leaves time out. label: int64 (B,), NULL for
        samples without one; None = NULL for all.
        """
        embedding, tokens = self._embedding(t, label, len(x))
        x = self.stem(x)
        skips = [x]
        for stage in self.encoder:
            x = stage(x, embedding, tokens)
            skips.append(x)
        x = self.middle(x, embedding, tokens)
        for stage in self.decoder:
            x = stage(torch.cat([x, skips.pop()], dim=1), embedding, tokens)
        return self._out(x)

    def _out(self, x: Tensor) -> Tensor:
        """The last layers, in float32 also under autocast: bf16 would round the image to 3 digits."""
        with torch.autocast(x.device.type, enabled=False):
            x = self.norm(x.float())
            return self.head(F.silu(x) if self.config.first_activation else x)

    def _embedding(self, t: Tensor | None, label: Tensor | None, count: int) -> tuple[Tensor | None, Tensor | None]:
        """(activated embedding (B, E), tokens (B, E, E)); None for what there is not."""
        time = self.time(sinusoid(t, self.config.width)) if self.time is not None and t is not None else None
        if self.label is None:
            return (None if time is None else F.silu(time)), None
        e = self._label_embedding(label, count)
        tokens = e[:, :, None] * e[:, None, :] if self.config.label_tokens else None
        return F.silu(e if time is None else time + e), tokens

    def _label_embedding(self, label: Tensor | None, count: int) -> Tensor:
        """(B, E); exactly 0 for NULL: the vector is zeroed after the MLP, there is no row for it in the table."""
        if label is None:
            label = torch.full((count,), NULL, device=self.label.weight.device)
        known = label != NULL
        e = self.label(label.clamp_min(0))
        return (e if self.label_mlp is None else self.label_mlp(e)) * known[:, None]

    def _decoder(self, skips: list[int]) -> nn.ModuleList:
        """Stages from coarse to fine, each fed with the last output and one skip connection."""
        stages, skips, channels = nn.ModuleList(), list(skips), skips[-1]
        for level in reversed(range(len(self.config.mult))):
            for _ in range(self.config.blocks + 1):
                stages.append(stage(self.config, channels + skips.pop(), level))
                channels = self.config.width * self.config.mult[level]
            if level:
                stages[-1].append(change(self.config, channels, "up"))
        return stages
