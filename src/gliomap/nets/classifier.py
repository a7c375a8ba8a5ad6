"""The classifier of noised slices behind classifier guidance: half a U-Net (Dhariwal & Nichol 2021; AnoFPDM spec 2.4)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.nets.unet import UNetConfig, UNetShape, encoder, middle, mlp, sinusoid

HEAD = 64  # channels of an attention head, where the network's width is a multiple of it


def configure(shape: UNetShape, in_channels: int, classes: int, image_size: int) -> UNetConfig:
    """The configuration of a `Classifier`; heads are narrower than 64 channels where the width is no multiple of 64."""
    return shape.config(in_channels, classes, image_size, head_channels=math.gcd(HEAD, shape.width))


class Pool(nn.Module):
    """CLIP's attention pooling (Radford et al. 2021): the mean of the pixels asks all pixels and itself."""

    def __init__(self, channels: int, pixels: int, head_channels: int, out_channels: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.position = nn.Parameter(torch.randn(pixels + 1, channels) / channels**0.5)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, out_channels) from x (B, C, H, W)."""
        flat = x.flatten(2).transpose(1, 2)
        tokens = torch.cat([flat.mean(1, keepdim=True), flat], dim=1) + self.position
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        pooled = F.scaled_dot_product_attention(q[:, :, :1], k, v)
        return self.project(pooled.flatten(1))


class Classifier(nn.Module):
    """Logits of the classes of a noised slice, told its noise level."""

    def __init__(self, config: UNetConfig) -> None:
        """config: see `configure`; `out_channels` is the number of classes."""
        super().__init__()
        self.config = config
        self.time = mlp(config.width)
        self.stem = nn.Conv2d(config.in_channels, config.width * config.mult[0], 3, padding=1)
        self.encoder, skips = encoder(config)
        self.middle = middle(config)
        self.norm = nn.GroupNorm(config.groups, skips[-1])
        self.pool = Pool(skips[-1], config.sizes[-1] ** 2, config.head_channels, config.out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """float32 (B, classes) from x (B, in_channels, H, W) at the levels t (B,)."""
        embedding = F.silu(self.time(sinusoid(t, self.config.width)))
        x = self.stem(x)
        for stage in self.encoder:
            x = stage(x, embedding, None)
        x = self.middle(x, embedding, None)
        with torch.autocast(x.device.type, enabled=False):
            return self.pool(F.silu(self.norm(x.float())))

    def log_probability(self, label: int) -> Callable[[Tensor, Tensor], Tensor]:
        """(x, t) -> (B,): log p(label | x_t), as classifier guidance asks for it."""
        return lambda x, t: F.log_softmax(self(x, t), dim=1)[:, label]
