"""Two segmentation networks of two classes, background and tumour: U-Net (2015) and SegNet (DDMD spec 7.1).

Both are fully convolutional, start from He's initial weights as their papers say, and normalise over the batch after every
convolution (the U-Net's paper does not). `width` 64 makes the published sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gliomap.base.params import number

CLASSES = 2  # background, tumour
PRIOR = 0.02  # share of tumour pixels that an untrained network starts from; the papers are silent
LEVELS = 5  # of the U-Net: four times pooled
SEGNET = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))  # VGG16's 13 convolutions: channels over width, by level


@dataclass(frozen=True)
class Width:
    """Size of a `ClassicUNet` or a `SegNet`."""

    width: int = number(min=1)  # channels at full resolution


def conv(c_in: int, c_out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; stride 1 keeps the resolution. No bias: the normalisation would remove it."""
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(c_in, c_out, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


def he(net: nn.Module) -> None:
    """Convolutions start from N(0, 2 / fan-in), without bias (He et al. 2015); the head's bias from the prior.

    From an even prior a short training learns "background" by all features at once, and tumour is where none is active: its
    probability cannot pass 1/2 (Lin et al. 2017 start from a prior for that reason).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, Head):
            module.bias.data.copy_(torch.tensor([1 - PRIOR, PRIOR]).log())


def pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima (B, C, H/2, W/2) of the 2 x 2 windows of x, and which of its four pixels each one was: int64 of that shape."""
    return F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).max(dim=2)


def unpooled(x: Tensor, choice: Tensor) -> Tensor:
    """(B, C, 2H, 2W): the pixels of x put back where `choice` says that the maxima were; 0 elsewhere.

    Made of comparisons, since PyTorch refuses its own unpooling where algorithms must be deterministic.
    """
    pixel = torch.arange(4, device=x.device).view(4, 1, 1)
    return F.pixel_shuffle((x[:, :, None] * (choice[:, :, None] == pixel)).flatten(1, 2), 2)


class Head(nn.Conv2d):
    """The last convolution, to the classes' logits; in float32 also under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, classes, H, W)."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class ClassicUNet(nn.Module):
    """Ronneberger et al. 2015, with padded convolutions and batch normalisation. 31.0 M parameters at width 64."""

    stride = 2 ** (LEVELS - 1)  # image sizes are multiples of it

    def __init__(self, in_channels: int, shape: Width) -> None:
        super().__init__()
        widths = [shape.width << level for level in range(LEVELS)]
        self.down = nn.ModuleList(_double(a, b) for a, b in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(widths))
        self.join = nn.ModuleList(_double(2 * a, a) for a in widths[:-1])
        self.head = Head(widths[0], CLASSES, 1)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """float32 logits (B, 2, H, W) of x (B, in_channels, H, W)."""
        skips = []
        for level, double in enumerate(self.down):
            x = double(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(LEVELS - 1)):
            x = self.join[level](torch.cat([skips[level], self.up[level](x)], dim=1))
        return self.head(x)


class SegNet(nn.Module):
    """Badrinarayanan et al. 2017: VGG16's convolutions, and the same backwards; pooling tells unpooling where to put what.

    29.4 M parameters at width 64.
    """

    stride = 2 ** len(SEGNET)

    def __init__(self, in_channels: int, shape: Width) -> None:
        super().__init__()
        levels = [[shape.width * m for m in level] for level in SEGNET]
        entries = [in_channels, *(level[-1] for level in levels[:-1])]
        self.encoder = nn.ModuleList(_chain([entry, *level]) for entry, level in zip(entries, levels, strict=True))
        back = [[*reversed(level), entry] for entry, level in zip(entries, levels, strict=True)]
        self.decoder = nn.ModuleList(_chain(level) for level in [back[0][:-1], *back[1:]])
        self.head = Head(shape.width, CLASSES, 3, padding=1)
        he(self)

    def forward(self, x: Tensor) -> Tensor:
        """float32 logits (B, 2, H, W) of x (B, in_channels, H, W)."""
        choices = []
        for level in self.encoder:
            x, choice = pooled(level(x))
            choices.append(choice)
        for level in reversed(self.decoder):
            x = level(unpooled(x, choices.pop()))
        return self.head(x)


def _double(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(conv(c_in, c_out), conv(c_out, c_out))


def _chain(channels: list[int]) -> nn.Sequential:
    """Convolutions from each number of channels to the next."""
    return nn.Sequential(*(conv(a, b) for a, b in pairwise(channels)))
