"""Training of the restoring baselines: AnoDDPM's denoisers, the two networks of classifier guidance (AnoFPDM spec 2, 3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion, diffuse
from gliomap.diffusion.simplex import Simplex
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.methods.cfg import MODALITIES
from gliomap.nets.classifier import Classifier, configure
from gliomap.nets.unet import UNet, UNetConfig, UNetShape

HEADS = 4  # of every attention of the v1 network (spec 2.3)
CLASSES = 2  # healthy, unhealthy
Label = Literal["slice", "none"]


def denoiser_config(
    shape: UNetShape, image_size: int, variance: bool, classes: int | None, channels: int = len(MODALITIES)
) -> UNetConfig:
    """The v1 network: plain guided diffusion, the label (if any) a table without MLP. 96.3 M parameters at scale=paper.

    variance: learn it too, in as many channels again. classes: None for an unconditional network. channels: of the images.
    """
    return shape.config(
        channels, 2 * channels if variance else channels, image_size,
        heads=HEADS, resample="conv", classes=classes, label_mlp=False,
    )  # fmt: skip


class Training:
    """What the three trainings share: one network, AdamW, a random level for each slice."""

    name: str
    modalities: tuple[str, ...] = MODALITIES

    def __init__(self, net: nn.Module, config: UNetConfig, diffusion: Diffusion, **arguments: Any) -> None:
        self.nets: dict[str, nn.Module] = {"net": net}
        self.arguments = {"net": asdict(config), "diffusion": asdict(diffusion), **arguments}
        self.schedule = diffusion.schedule()

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is Adam."""
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def level(self, batch: Batch, noise: Noise) -> Tensor:
        """int64 (B,): the levels, uniform on 0 .. T-1."""
        drawn = self.schedule.draw(noise.uniform(f"{self.name}/time", batch.rows, batch.step, ()))
        return drawn.to(batch.images.device)

    def normal(self, batch: Batch, noise: Noise) -> Tensor:
        """Gaussian noise of the images' shape."""
        return noise.draws(f"{self.name}/eps", batch.rows, batch.images)(batch.step)


class Unconditional(Training):
    """Mean squared error of the noise, on healthy slices, without any label: AnoDDPM, and DDIM unguided (spec 3.4)."""

    name = "ddpm"

    def __init__(self, shape: UNetShape, diffusion: Diffusion, image_size: int, field: Simplex | None) -> None:
        """field: simplex noise; None: Gaussian noise."""
        config = denoiser_config(shape, image_size, variance=False, classes=None)
        super().__init__(UNet(config), config, diffusion, noise=None if field is None else asdict(field))
        self.denoiser, self.field = Denoiser(self.nets["net"], self.schedule), field

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the denoising loss."""
        x = batch.images
        if self.field is None:
            eps = self.normal(batch, noise)
        else:
            eps = self.field.fields(noise, "ddpm/simplex", batch.rows, batch.step, tuple(x.shape[1:])).to(x)
        yield "net", self.denoiser.loss(x, eps, self.level(batch, noise))


class Guided(Training):
    """Noise and variance on all slices, under the slice's label (spec 3.4): what the classifier guides.

    `modalities` may be one alone, as TSGM's comparison has it (TSGM spec 7).
    """

    name = "guided"

    def __init__(
        self, shape: UNetShape, diffusion: Diffusion, image_size: int, labels: Tensor, label: Label,
        modalities: tuple[str, ...] = MODALITIES,
    ) -> None:  # fmt: skip
        """labels: int64 (N,), 0 or 1 for each row that is trained on. label: none = unconditional (spec D15)."""
        self.modalities = modalities
        conditional = label == "slice"
        config = denoiser_config(shape, image_size, True, CLASSES if conditional else None, len(modalities))
        super().__init__(UNet(config), config, diffusion, label=label)
        self.denoiser = Denoiser(self.nets["net"], self.schedule, learned_variance=True)
        self.labels = labels if conditional else None

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: mean squared error of the noise plus the bound that teaches the variance."""
        label = None if self.labels is None else self.labels[batch.rows].to(batch.images.device)
        yield "net", self.denoiser.loss(batch.images, self.normal(batch, noise), self.level(batch, noise), label=label)


class NoisyClassifier(Training):
    """Cross entropy of the slice label, on slices at a random level of noise (spec 3.3)."""

    name = "classifier"

    def __init__(
        self, shape: UNetShape, diffusion: Diffusion, image_size: int, labels: Tensor,
        modalities: tuple[str, ...] = MODALITIES,
    ) -> None:  # fmt: skip
        """labels: int64 (N,), 0 or 1 for each row that is trained on."""
        self.modalities = modalities
        config = configure(shape, len(modalities), CLASSES, image_size)
        super().__init__(Classifier(config), config, diffusion)
        self.labels = labels

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the cross entropy."""
        t = self.level(batch, noise)
        x = diffuse(batch.images, self.normal(batch, noise), t, self.schedule)
        yield "net", F.cross_entropy(self.nets["net"](x, t), self.labels[batch.rows].to(x.device))


def field_of(arguments: dict[str, Any]) -> Simplex | None:
    """The simplex noise that an `Unconditional` was trained with, from its model.json; None for Gaussian noise."""
    return None if arguments["noise"] is None else Simplex(**arguments["noise"])
