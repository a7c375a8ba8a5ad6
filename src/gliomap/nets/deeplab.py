"""DeepLabv3+ (Chen et al. 2018) on a plain ResNet (He et al. 2016), two classes (DDMD spec 7.1).

Output stride 16; atrous rates 6, 12 and 18. `width` 64 with 101 layers makes the published network, 59 M parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.base.params import number
from gliomap.nets.segmentation import CLASSES, Head, conv, he

RATES = (6, 12, 18)
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # residual blocks by stage
STRIDES = (1, 2, 2, 1)  # of the stages, after the stem's 4; an ordinary ResNet has 2 in the last one too
DILATIONS = (1, 1, 1, 2)  # of their 3 x 3 convolutions, in place of that stride


@dataclass(frozen=True)
class DeepLabShape:
    """Size of a `DeepLab`."""

    layers: Literal[18, 50, 101]  # of the ResNet
    width: int = number(min=4)  # channels of its stem; the decoder has four times as many, the low-level features 3/4


class Residual(nn.Module):
    """A ResNet block: two 3 x 3 convolutions, or with a bottleneck 1 x 1, 3 x 3, 1 x 1 to four times the channels."""

    def __init__(self, c_in: int, width: int, stride: int, dilation: int, bottleneck: bool) -> None:
        super().__init__()
        c_out = self.channels(width, bottleneck)
        middle = conv(width if bottleneck else c_in, width, 3, stride, dilation)
        first, last = (conv(c_in, width, 1), 1) if bottleneck else (nn.Identity(), 3)
        self.body = nn.Sequential(first, middle, conv(width, c_out, last, dilation=1 if last == 1 else dilation)[:2])
        same = stride == 1 and c_in == c_out
        self.skip = nn.Identity() if same else conv(c_in, c_out, 1, stride)[:2]

    @staticmethod
    def channels(width: int, bottleneck: bool) -> int:
        """Channels that a block of `width` puts out."""
        return 4 * width if bottleneck else width

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_out, H / stride, W / stride) of x (B, c_in, H, W)."""
        return F.relu(self.body(x) + self.skip(x))


class ResNet(nn.Module):
    """The backbone without its classifier."""

    def __init__(self, in_channels: int, shape: DeepLabShape) -> None:
        super().__init__()
        bottleneck = shape.layers >= 50
        self.stem = nn.Sequential(conv(in_channels, shape.width, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
        self.stages, self.channels = nn.ModuleList(), [shape.width]
        for i, (count, stride, dilation) in enumerate(zip(BLOCKS[shape.layers], STRIDES, DILATIONS, strict=True)):
            width = shape.width << i
            c_out = Residual.channels(width, bottleneck)
            first = Residual(self.channels[-1], width, stride, dilation, bottleneck)
            rest = (Residual(c_out, width, 1, dilation, bottleneck) for _ in range(count - 1))
            self.stages.append(nn.Sequential(first, *rest))
            self.channels.append(c_out)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the first stage, at 1/4 of the resolution of x (B, in_channels, H, W), and of the last, at 1/16."""
        low = self.stages[0](self.stem(x))
        x = low
        for stage in self.stages[1:]:
            x = stage(x)
        return low, x


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: what is seen at a pixel, around it at three distances, and in the whole slice."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.pixel = conv(c_in, c_out, 1)
        self.around = nn.ModuleList(conv(c_in, c_out, 3, dilation=rate) for rate in RATES)
        self.whole = conv(c_in, c_out, 1)
        self.join = conv((2 + len(RATES)) * c_out, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_out, H, W) of x (B, c_in, H, W)."""
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return self.join(torch.cat([self.pixel(x), *(branch(x) for branch in self.around), whole], dim=1))


class DeepLab(nn.Module):
    """The network. In training a batch needs two slices or more: the whole-slice branch normalises over the batch alone."""

    stride = 16  # image sizes are multiples of it

    def __init__(self, in_channels: int, shape: DeepLabShape) -> None:
        super().__init__()
        decoder, low = 4 * shape.width, 3 * shape.width // 4
        self.backbone = ResNet(in_channels, shape)
        self.pyramid = Pyramid(self.backbone.channels[-1], decoder)
        self.low = conv(self.backbone.channels[1], low, 1)
        self.decoder = nn.Sequential(conv(decoder + low, decoder), conv(decoder, decoder))
        self.head = Head(decoder, CLASSES, 1)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """float32 logits (B, 2, H, W) of x (B, in_channels, H, W)."""
        low, high = self.backbone(x)
        high = _resized(self.pyramid(high), low.shape[2:])
        return _resized(self.head(self.decoder(torch.cat([self.low(low), high], dim=1))), x.shape[2:])


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    """x (B, C, H, W) at another resolution, bilinear."""
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
