"""Training of MMCCD's baselines: AE, VAE, DAE and DDPM, which restore healthy slices of one modality (MMCCD spec 7).

AE, VAE and DAE see a slice in units of its recipe's range (`Units`), so that the weight of the VAE's divergence and the
DAE's noise mean the same for every recipe. The DDPM sees it as it is, as MMCCD's own network does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.case import MODALITIES
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.methods.reconstruction import VAE_BETAS, divergence
from gliomap.nets.baur import BaurConfig, BaurShape, configure
from gliomap.nets.dae import DaeConfig, DaeShape, DenoisingUNet
from gliomap.nets.dense_autoencoder import DenseAutoencoder
from gliomap.nets.unet import UNet, UNetShape

Kind = Literal["ae", "vae", "dae", "coarse", "ddpm"]  # coarse: a DAE with smooth noise in place of white noise
ADAM = (0.9, 0.999)
Z_SCORES = -3.0  # what counts as the background of slices where it varies: the lower end of their usual range


@dataclass(frozen=True)
class Plan:
    """One network: what it is, and the modality that it looks at."""

    kind: Kind
    modality: str

    @classmethod
    def of(cls, text: str) -> Plan:
        """From "dae/flair". UserError on anything else."""
        kind, _, modality = text.partition("/")
        if kind not in get_args(Kind) or modality not in MODALITIES:
            expected = f"{'|'.join(get_args(Kind))}/{'|'.join(MODALITIES)}"
            raise UserError(f"`rebuilt` in conf/graph.yaml: found {text!r}, expected {expected}; mend it")
        return cls(kind, modality)

    @property
    def key(self) -> str:
        """Name of its folder under models/rebuild/."""
        return f"{self.kind}-{self.modality}"


def plans(words: Iterable[str]) -> list[Plan]:
    """The networks in the words <row>=<kind>/<modality> of conf/graph.yaml. UserError on anything else."""
    return [Plan.of(word.partition("=")[2]) for word in words]


@dataclass(frozen=True)
class Baur:
    """Section `rebuild.baur.net` of params.yaml: AE and VAE. Channels double with every halving of the image."""

    width: int = number(min=1)  # channels of the first convolution
    most: int = number(min=8)  # channels of the widest one
    bottleneck_px: int = number(min=1)  # side of the smallest feature maps
    latent: int = number(min=1)  # length of the vector in the middle
    dropout_ae: float = number(min=0, max=1)  # of the vector
    dropout_vae: float = number(min=0, max=1)  # of its mean and log sigma
    kl: float = number(min=0)  # weight of the VAE's divergence beside the error of images of 0..1

    def config(self, kind: Kind, image_size: int) -> BaurConfig:
        """For one modality. UserError unless some halvings lead from the image to `bottleneck_px`."""
        dropout = self.dropout_vae if kind == "vae" else self.dropout_ae
        shape = BaurShape(self.width, self.most, self.bottleneck_px, self.latent, dropout)
        return configure(shape, 1, image_size)


@dataclass(frozen=True)
class Corruption:
    """Section `rebuild.dae.noise` of params.yaml: what is added to the brain of a slice."""

    sd: float = number(min=0)  # standard deviation, in units of the recipe's range: 0.2 = 1.2 of slices in -3..3
    cells: int = number(min=2)  # coarse noise: values along a side of the image, enlarged bilinearly

    def drawn(self, like: Tensor, rows: Tensor, step: int, noise: Noise, coarse: bool) -> Tensor:
        """Noise of the shape, type and device of `like` (B, 1, H, W): white, or coarse as in Kascenas et al. (2022)."""
        if not coarse:
            return self.sd * noise.normal("rebuild/white", rows, step, tuple(like.shape[1:])).to(like)
        grid = self.sd * noise.normal("rebuild/coarse", rows, step, (1, self.cells, self.cells))
        field = F.interpolate(grid, like.shape[2:], mode="bilinear", align_corners=True)
        shifts = [noise.integers(f"rebuild/roll/{axis}", rows, step, 0, like.shape[axis]) for axis in (2, 3)]
        return rolled(field, *shifts).to(like)


def rolled(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """x (B, C, H, W) with each image moved around the torus by its own number of pixels, int64 (B,) each."""
    y, z = (torch.arange(size) - shift[:, None] for size, shift in zip(x.shape[2:], (down, right), strict=True))
    image = torch.arange(len(x))[:, None, None]
    return x[image, :, (y % x.shape[2])[:, :, None], (z % x.shape[3])[:, None, :]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Units:
    """The scale on which a recipe's slices have background 0 and an ordinary bright voxel 1; nothing is cut off.

    background: of the slices: -1 of those in -1..1, -3 in -3..3, 0 in 0..1, NaN where it varies (z-scores).
    """

    background: float

    @property
    def low(self) -> float:
        """The intensity that becomes 0."""
        return Z_SCORES if math.isnan(self.background) else self.background

    @property
    def range(self) -> float:
        """The intensities between 0 and 1: a recipe's range is symmetric around 0, or starts there."""
        return -2 * self.low if self.low < 0 else 1.0

    def to(self, images: Tensor) -> Tensor:
        """Slices on that scale."""
        return (images - self.low) / self.range

    def back(self, images: Tensor) -> Tensor:
        """The inverse of `to`."""
        return images * self.range + self.low


class Training:
    """What the trainings share: one network, AdamW (with weight decay 0 it is Adam), slices of one modality."""

    name = "rebuild"
    betas = ADAM

    def __init__(self, plan: Plan, network: nn.Module, **arguments: Any) -> None:
        """arguments: what it takes to build the network again."""
        self.modalities = (plan.modality,)
        self.nets: dict[str, nn.Module] = {"net": network}
        self.arguments = {"kind": plan.kind, **arguments}

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """The one optimiser."""
        return {"net": adamw(self.nets["net"].parameters(), train, self.betas)}


class BaurTraining(Training):
    """AE: sum of absolute errors of a slice. VAE: plus `kl` times the divergence of its vector from N(0, 1)."""

    betas = VAE_BETAS

    def __init__(self, plan: Plan, own: Baur, image_size: int, background: float) -> None:
        config = own.config(plan.kind, image_size)
        super().__init__(plan, DenseAutoencoder(config, vectors_of(plan.kind)), net=asdict(config))
        self.units, self.kl = Units(background), own.kl

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the mean over slices."""
        x, net = self.units.to(batch.images), self.nets["net"]
        z, *log_sigma = net.vectors(x)
        apart = z.new_zeros(len(z))
        if log_sigma:
            apart = self.kl * divergence(z, log_sigma[0])
            z = z + log_sigma[0].exp() * noise.draws("rebuild/z", batch.rows, z)(batch.step)
        yield "net", ((net.decoded(z) - x).abs().flatten(1).sum(1) + apart).mean()


class Dae(Training):
    """Squared error inside the brain of the slice restored from a noisy one, mean over all pixels."""

    def __init__(self, plan: Plan, shape: DaeShape, own: Corruption, image_size: int, background: float) -> None:
        config = DaeConfig(shape.width, 1, image_size)
        super().__init__(plan, DenoisingUNet(config), net=asdict(config))
        self.units, self.own, self.coarse = Units(background), own, plan.kind == "coarse"

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair."""
        x, brain = self.units.to(batch.images), batch.brain[:, None]
        noisy = x + brain * self.own.drawn(x, batch.rows, batch.step, noise, self.coarse)
        yield "net", ((self.nets["net"](noisy) - x).square() * brain).mean()


class Ddpm(Training):
    """MMCCD's network without a condition: mean squared error of the predicted slice at a random noise level."""

    def __init__(self, plan: Plan, shape: UNetShape, diffusion: Diffusion, image_size: int) -> None:
        config = shape.config(in_channels=1, out_channels=1, image_size=image_size)
        super().__init__(plan, UNet(config), net=asdict(config), diffusion=asdict(diffusion))
        self.schedule = diffusion.schedule()
        self.denoiser = Denoiser(self.nets["net"], self.schedule, target="x0")

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the denoising loss."""
        x = batch.images
        t = self.schedule.draw(noise.uniform("rebuild/time", batch.rows, batch.step, ()))
        eps = noise.draws("rebuild/eps", batch.rows, x)(batch.step)
        yield "net", self.denoiser.loss(x, eps, t.to(x.device))


def vectors_of(kind: Kind) -> int:
    """Vectors that the encoder of AE or VAE makes of a slice."""
    return 2 if kind == "vae" else 1
