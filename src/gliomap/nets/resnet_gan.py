"""The two networks of a CycleGAN: a residual generator and a judge of patches (TSGM spec 2.1, 2.2; Zhu et al. 2017).

Instance normalisation has neither parameters nor running statistics, so that an image's result depends on no other image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from gliomap.base.params import number

INIT_SD = 0.02  # of every weight at the start; biases are 0
EDGE = 7  # kernel of the first and the last convolution of a generator
BACKGROUND = -1.0  # of an image in [-1, 1]: there is no tumour
LEAK = 0.2  # of a judge's LeakyReLU
WIDEST = 8  # a judge's channels double up to this multiple of its width


@dataclass(frozen=True)
class GeneratorShape:
    """Section `cyclegan.net` of params.yaml."""

    width: int = number(min=1)  # channels at full size; twice at half, four times at a quarter of it
    blocks: int = number(min=0)  # residual blocks at a quarter of the size
    skip: bool  # the output is added to the image, inside the head; else (the paper's generator) it is the image, made anew


@dataclass(frozen=True)
class JudgeShape:
    """Section `cyclegan.judge` of params.yaml."""

    width: int = number(min=1)  # channels after the first convolution
    layers: int = number(min=1)  # convolutions that halve the image; 3 sees patches of 70 pixels


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(conv(x))))), at a constant number of channels; nothing after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        pair = [_normed(_mirrored(channels, channels, 3)) for _ in range(2)]
        self.body = nn.Sequential(*pair[0], nn.ReLU(), *pair[1])

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        return x + self.body(x)


class ResnetGenerator(nn.Sequential):
    """(B, channels, H, W) in [-1, 1] -> the same; H and W are multiples of 4.

    11,365,633 parameters for one channel, 11,384,452 for four, at width 64 and 9 blocks.
    """

    def __init__(self, channels: int, shape: GeneratorShape) -> None:
        width = shape.width
        layers: list[nn.Module] = [*_normed(_mirrored(channels, width, EDGE)), nn.ReLU()]
        for a, b in pairwise((width, 2 * width, 4 * width)):
            layers += [*_normed(nn.Conv2d(a, b, 3, stride=2, padding=1)), nn.ReLU()]
        layers += [ResidualBlock(4 * width) for _ in range(shape.blocks)]
        for a, b in pairwise((4 * width, 2 * width, width)):
            layers += [*_normed(nn.ConvTranspose2d(a, b, 3, stride=2, padding=1, output_padding=1)), nn.ReLU()]
        super().__init__(*layers, _mirrored(width, channels, EDGE), nn.Tanh())
        initialise(self)
        self.skip = shape.skip
        if shape.skip:  # start from the image as it is: hundreds of steps then suffice, where making it takes thousands
            nn.init.zeros_(self[-2].weight)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, channels, H, W) in [-1, 1]."""
        out = super().forward(x).float()
        return (x + out * (x > BACKGROUND)).clamp(-1, 1) if self.skip else out


class PatchJudge(nn.Sequential):
    """(B, channels, H, W) -> (B, 1, h, w): near 1 where a patch looks real, near 0 where not; no sigmoid.

    2,762,689 parameters for one channel, and 30 x 30 patches of an image of 256 pixels, at width 64 and 3 layers.
    """

    def __init__(self, channels: int, shape: JudgeShape) -> None:
        widths = [shape.width * min(2**level, WIDEST) for level in range(shape.layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        for level, (a, b) in enumerate(pairwise(widths), start=1):
            convolution = nn.Conv2d(a, b, 4, stride=2 if level < shape.layers else 1, padding=1)
            layers += [*_normed(convolution), nn.LeakyReLU(LEAK)]
        super().__init__(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """float32 (B, 1, h, w)."""
        return super().forward(x).float()


def initialise(net: nn.Module) -> None:
    """Weights of all convolutions N(0, 0.02^2), biases 0."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=INIT_SD)
            nn.init.zeros_(module.bias)


def _mirrored(before: int, after: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, padding_mode="reflect")


def _normed(convolution: nn.Module) -> tuple[nn.Module, nn.Module]:
    return convolution, nn.InstanceNorm2d(convolution.out_channels)
