"""AE and VAE with a dense bottleneck, in the sizes of Baur et al. (2021) for one modality (MMCCD spec 7.1, 7.2).

The encoder is that of `nets/baur.py`. The decoder is narrower than its mirror image, as in their code.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from gliomap.nets.baur import SLOPE, BaurConfig, Encoder, glorot


class DenseAutoencoder(nn.Module):
    """(B, channels, H, W) -> float32 of the same shape; linear output. vectors: 1 = AE; 2 = VAE, mean and log sigma.

    Dropout is on the vectors alone.
    """

    def __init__(self, config: BaurConfig, vectors: int) -> None:
        super().__init__()
        self.encoder = Encoder(replace(config, dropout=0.0), vectors)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = decoder(config)
        glorot(self.decoder)

    def vectors(self, x: Tensor) -> tuple[Tensor, ...]:
        """float32 (B, latent) each: the vector, or mean and log sigma, of the images."""
        return self.dropout(self.encoder(x)).unbind(1)

    def decoded(self, z: Tensor) -> Tensor:
        """The images of the vectors z (B, latent)."""
        return self.decoder(z).float()

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction; that of the mean, where there is one."""
        return self.decoded(self.vectors(x)[0])


def decoder(config: BaurConfig) -> nn.Sequential:
    """(B, latent) -> (B, channels, H, W). Channels halve with every doubling of the image, down to the encoder's first."""
    narrow, side, _ = config.squeezed
    widest = config.widths[-1]
    widths = [max(config.width, widest >> level) for level in range(len(config.widths))]
    entry = [nn.Linear(config.latent, narrow * side**2), nn.Unflatten(1, config.squeezed), nn.Conv2d(narrow, widest, 1)]
    layers = [layer for before, after in pairwise((widest, *widths)) for layer in doubling(before, after)]
    return nn.Sequential(*entry, nn.BatchNorm2d(widest), nn.ReLU(), *layers, nn.Conv2d(widths[-1], config.channels, 1))


def doubling(before: int, after: int) -> list[nn.Module]:
    """Transposed convolution, norm and activation from H x W to 2 H x 2 W pixels."""
    layer = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1)
    return [layer, nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
