"""VE-JP: diffusion of healthy images given the same image with a tumour, by a variance exploding SDE (TSGM spec 3).

The healthy image is noised, its partner never; the network sees both as channels. The images come from the pairs that a
CycleGAN made of healthy slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.params import number
from gliomap.data.pairs import LEVELS, PairTable
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VE, column
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.device import for_inference
from gliomap.engine.weights import Which
from gliomap.methods.variants import Variant, channels, drawn, minmax
from gliomap.nets.ncsnpp import NcsnConfig, NCSNpp, NcsnShape

Follow = Literal["paper", "code"]
Resolved = Literal["slice_minmax", "volume"]
Loader = Literal["follow", "slice_minmax", "volume"]
Scaling = Literal["none", "edm", "residual"]
LOADERS: dict[Follow, Resolved] = {"paper": "volume", "code": "slice_minmax"}  # what `follow` stands for (spec 0)


@dataclass(frozen=True)
class Levels:
    """Section `vejp.levels`: the noise levels, sigma_min (sigma_max / sigma_min)^t for t in 0..1."""

    sigma_min: float = number(min=0)
    sigma_max: float = number(min=0)
    sigma_data: float = number(min=0.001)  # root mean square of what is scaled; see `Scaled`; without effect under `none`

    def schedule(self) -> VE:
        """The noise schedule. UserError unless 0 < sigma_min < sigma_max."""
        return VE(self.sigma_min, self.sigma_max)


@dataclass(frozen=True)
class Design:
    """The sections of `vejp` that make a model."""

    net: NcsnShape
    levels: Levels
    scaling: Scaling  # none: the paper's network, which estimates the noise; others: see `Scaled`
    loader: Resolved


def resolve(loader: Loader, follow: Follow) -> Resolved:
    """The loader, or what `follow` says of it."""
    return LOADERS[follow] if loader == "follow" else loader


def as_loaded(images: Tensor, loader: Resolved) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as the loader gives them to a network: each by its own range, or as they are."""
    return minmax(images) if loader == "slice_minmax" else images


class Scaled:
    """The network as a `Denoiser` calls it: net([noisy, condition], sigma) -> estimate of the scaling's target.

    none: the noise, which is minus the network's output (spec 3.2). edm: the clean image, as c_skip x + c_out F(c_in x) of
    Karras et al. 2022, Eq. 7; c_in is for the noisy channels alone. Without it they enter 700 times as large as the
    condition at the highest level, and bury it (spec 3.3). residual: the same of x - y, the difference to the condition y:
    the network learns only what has to change, and an untrained one gives y at the highest level.
    """

    def __init__(self, net: nn.Module, scaling: Scaling, sigma_data: float) -> None:
        self.net, self.scaling, self.sigma_data = net, scaling, sigma_data

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        """(B, noisy channels, H, W), float32."""
        if self.scaling == "none":
            return -self.net(x, sigma)
        noisy, condition = x.chunk(2, dim=1)
        centre = condition if self.scaling == "residual" else torch.zeros_like(condition)
        level, total = column(sigma, x), column(self.total(sigma), x)
        out = self.net(torch.cat([(noisy - centre) / total, condition], dim=1), sigma)
        return centre + (self.sigma_data / total) ** 2 * (noisy - centre) + level * self.sigma_data / total * out

    def total(self, sigma: Tensor) -> Tensor:
        """Root mean square of what is scaled with its noise, 1 / c_in; shape of sigma."""
        return (sigma**2 + self.sigma_data**2).sqrt()

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight of the squared error at sigma: 1 / c_out^2, which makes the untrained loss the same at all levels."""
        return torch.ones_like(sigma) if self.scaling == "none" else (self.total(sigma) / (sigma * self.sigma_data)) ** 2


def denoiser_of(net: nn.Module, levels: Levels, scaling: Scaling) -> Denoiser:
    """What samplers and the loss call; bind(image=y) for the condition."""
    target = "eps" if scaling == "none" else "x0"
    return Denoiser(Scaled(net, scaling, levels.sigma_data), levels.schedule(), target)


@dataclass(frozen=True)
class Pairs:
    """What a training looks up by the rows of a batch."""

    table: PairTable
    variant: Variant
    loader: Resolved

    def of(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """(healthy, synthetic), float32 (B, C, H, W) each, on the batch's device; of `single` one modality a slice."""
        arrays = (torch.from_numpy(array) for array in self.table.of_rows(batch.rows.numpy()))
        pair = [array.to(batch.images.device).float() / LEVELS for array in arrays]
        if self.variant == "single":
            pair = [drawn(images, noise, batch.rows, batch.step, "pairs/modality") for images in pair]
        healthy, synthetic = (as_loaded(images, self.loader) for images in pair)
        return healthy, synthetic


class Training:
    """Denoising score matching at noise levels drawn log-uniformly (spec 3.2); one network of one variant."""

    name = "vejp"

    def __init__(self, own: Design, image_size: int, table: PairTable, variant: Variant) -> None:
        config = configure(own.net, variant, image_size)
        net = NCSNpp(config)
        self.nets: dict[str, nn.Module] = {"net": net}
        self.arguments: dict[str, Any] = {
            "net": asdict(config), "levels": asdict(own.levels), "scaling": own.scaling,
            "loader": own.loader, "variant": variant,
        }  # fmt: skip
        self.modalities = table.modalities
        self.pairs = Pairs(table, variant, own.loader)
        self.denoiser = denoiser_of(net, own.levels, own.scaling)

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam. The frequencies of the embedding are fixed."""
        return {"net": adamw([p for p in self.nets["net"].parameters() if p.requires_grad], train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the mean squared error, of the noise, or of the image with the weight of `Scaled`."""
        healthy, synthetic = self.pairs.of(batch, noise)
        schedule = self.denoiser.schedule
        t = schedule.draw(noise.uniform("vejp/time", batch.rows, batch.step, ())).to(healthy.device)
        eps = noise.normal("vejp/eps", batch.rows, batch.step, tuple(healthy.shape[1:])).to(healthy.device)
        error = self.denoiser.losses(healthy, eps, t, image=synthetic)
        yield "net", (self.denoiser.net.weight(schedule.label(t)).to(error) * error).mean()


def configure(shape: NcsnShape, variant: Variant, image_size: int) -> NcsnConfig:
    """The network's configuration: the noisy image's channels, then as many of its condition."""
    count = channels(variant)
    return shape.config(in_channels=2 * count, out_channels=count, image_size=image_size)


@dataclass(frozen=True)
class Loaded:
    """A trained model. `denoiser.bind(image=y)` is a Denoise for the samplers, at times 0 .. 1 of `denoiser.schedule`.

    y: float32 (B, C, H, W) in [0, 1], as `as_loaded(images, loader)` gives it.
    """

    denoiser: Denoiser
    loader: Resolved
    variant: Variant
    sigma_max: float


def load(folder: Path, which: Which, image_size: int, device: torch.device) -> Loaded:
    """The model in models/vejp/<variant>, ready for inference.

    Raises UserError if a file is missing or damaged, or if it was trained on slices of another size.
    """
    meta, states = weights.load(folder, which, method=Training.name)
    own = meta["networks"]
    config = NcsnConfig.of(own["net"])
    weights.check_size(folder, config.image_size, image_size)
    net = for_inference(weights.put(NCSNpp(config), states["net"], folder / f"{which}.safetensors"), device)
    levels = Levels(**own["levels"])
    return Loaded(denoiser_of(net, levels, own["scaling"]), own["loader"], own["variant"], levels.sigma_max)
