"""The axis-aligned Gaussian encoder of CIMD, from the Probabilistic U-Net (Kohl et al. 2018; DDMD spec 7.2)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

CONVOLUTIONS = 3  # in each block
BIAS_SD = 0.001  # of the initial biases, but for the last layer's


class GaussianEncoder(nn.Module):
    """Mean and log standard deviation of a Gaussian over `latent` dimensions. 1.37 M parameters as published.

    A block per entry of `widths`: three 3 x 3 convolutions with ReLU; 2 x 2 average pooling before each but the first;
    then the mean over the pixels and a linear layer.
    """

    def __init__(self, in_channels: int, widths: tuple[int, ...], latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for level, (before, width) in enumerate(pairwise((in_channels, *widths))):
            layers += [nn.AvgPool2d(2, ceil_mode=True)] if level else []
            for i in range(CONVOLUTIONS):
                layers += [nn.Conv2d(width if i else before, width, 3, padding=1), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 2 * latent)
        self._initialise()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log standard deviation), float32 (B, latent) each, from x (B, in_channels, H, W)."""
        mean, log_sd = self.head(self.blocks(x).mean((2, 3))).float().chunk(2, dim=1)
        return mean, log_sd

    def _initialise(self) -> None:
        """As released: He-normal weights, small biases; the last layer's bias is N(0, 1)."""
        for module in (*self.blocks, self.head):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.trunc_normal_(module.bias, std=BIAS_SD, a=-2 * BIAS_SD, b=2 * BIAS_SD)
        nn.init.normal_(self.head.bias)


def divergence(q: tuple[Tensor, Tensor], p: tuple[Tensor, Tensor]) -> Tensor:
    """(B,): KL(q || p), summed over the dimensions; each is (mean, log standard deviation), (B, latent)."""
    (q_mean, q_log), (p_mean, p_log) = q, p
    ratio = (torch.exp(2 * q_log) + (q_mean - p_mean).square()) * torch.exp(-2 * p_log)
    return (p_log - q_log + 0.5 * (ratio - 1)).sum(1)
