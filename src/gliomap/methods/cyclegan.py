"""CycleGAN between healthy slices and slices with tumour, learned from unpaired slices (TSGM spec 2; Zhu et al. 2017).

Its way to the tumour paints synthetic tumours into healthy slices, its way back is a baseline. It learns from slice labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train, adamw, frozen
from gliomap.engine.device import for_inference
from gliomap.engine.weights import Which
from gliomap.methods.variants import Variant, channels, drawn, join, modalities_of, split, to_unit
from gliomap.nets.resnet_gan import GeneratorShape, JudgeShape, PatchJudge, ResnetGenerator

BETAS = (0.5, 0.999)  # of Adam
STRIDE = 4  # slices must be a multiple of it
Direction = Literal["to_tumour", "to_healthy"]
DOMAINS = ("tumour", "healthy")


@dataclass(frozen=True)
class Losses:
    """Section `cyclegan.losses` of params.yaml (spec 2.3, 2.4)."""

    cycle: float = number(min=0)  # weight of |there and back - image|
    identity: float = number(min=0)  # weight of |G(image of G's own target domain) - image|, as a multiple of `cycle`
    pool: int = number(min=0)  # synthetic images that a judge may be shown again; 0 = only the newest


@dataclass(frozen=True)
class Sampling:
    """Section `cyclegan.sampling` of params.yaml: which slices meet, and how they are augmented (spec 2.4)."""

    matched: bool  # of `single`: the slice with tumour has the modality of the healthy one; the released code mixes them
    near_mm: float = number(min=0)  # largest distance in z of a healthy partner from its slice with tumour; 0 = any
    resize: float = number(min=1)  # enlarge by this factor, then crop the slice's size at random; 1 = do not
    flip: float = number(min=0, max=1)  # probability of a mirrored slice


@dataclass(frozen=True)
class Design:
    """The sections of `cyclegan` that training reads."""

    net: GeneratorShape
    judge: JudgeShape
    losses: Losses
    sampling: Sampling


class ImagePool(nn.Module):
    """Synthetic images of the past, shown to a judge in place of new ones (spec 2.4). Buffers only: in every checkpoint.

    On several devices each has a pool of its own; after a restart all of them have the first one's.
    """

    def __init__(self, size: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, channels, image_size, image_size))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    def exchange(self, images: Tensor, swap: Tensor, place: Tensor) -> Tensor:
        """(B, C, H, W): for each image in turn itself, or a stored one whose place it takes.

        swap: bool (B,), which ones swap; place: int64 (B,), with which. While the pool is not full, each image is stored
        and returned.
        """
        shown = images.detach().clone()
        for i in range(len(shown) if len(self.images) else 0):
            if self.filled < len(self.images):
                self.images[self.filled] = shown[i]
                self.filled += 1
            elif swap[i]:
                old = self.images[place[i]].clone()
                self.images[place[i]] = shown[i]
                shown[i] = old
        return shown


class Training:
    """Least-squares adversarial loss, cycle and identity loss of both ways; then the loss of both judges.

    A step takes the batch's slices with tumour, and as many healthy ones drawn at random from the same split.
    """

    name = "cyclegan"

    def __init__(self, design: Design, variant: Variant, slices: Slices) -> None:
        """slices: where the healthy partners are read. UserError if their size or range does not suit."""
        size, depth = slices.images.shape[-1], channels(variant)
        check(size)
        self.modalities = modalities_of(variant)
        self.design, self.variant, self.slices = design, variant, slices
        self.healthy = {split: slices.rows(split, tumour=False) for split in ("train", "val")}
        self.split, self.z = (slices.index[name].to_numpy() for name in ("split", "z"))
        self.nets: dict[str, nn.Module] = {
            **{f"to_{domain}": ResnetGenerator(depth, design.net) for domain in DOMAINS},
            **{f"judge_{domain}": PatchJudge(depth, design.judge) for domain in DOMAINS},
            **{f"pool_{domain}": ImagePool(design.losses.pool, depth, size) for domain in DOMAINS},
        }
        self.arguments: dict[str, Any] = {
            "variant": variant, "channels": depth, "image_size": size,
            "net": asdict(design.net), "judge": asdict(design.judge),
        }  # fmt: skip

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """One for both generators, one for both judges; with weight decay 0 they are the paper's Adam."""
        pairs = {"generators": "to", "judges": "judge"}
        found = {name: [self.nets[f"{kind}_{domain}"] for domain in DOMAINS] for name, kind in pairs.items()}
        return {name: adamw(chain(*(net.parameters() for net in nets)), train, BETAS) for name, nets in found.items()}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Two pairs: of the generators, through frozen judges, and of the judges."""
        real = {"healthy": self.partners(batch, noise), "tumour": self.seen(batch.images, batch, noise, "tumour")}
        with frozen(*(self.nets[f"judge_{domain}"] for domain in DOMAINS)):
            fake, loss = self._generated(real)
        yield "generators", loss
        shown = {domain: self._pooled(fake[domain].detach(), domain, batch, noise) for domain in DOMAINS}
        yield "judges", sum(self._judged(real[domain], shown[domain], domain) for domain in DOMAINS)

    def partners(self, batch: Batch, noise: Noise) -> Tensor:
        """(B, C, H, W) in [-1, 1]: a healthy slice for each of the batch, of its split and not far from its height.

        Slices without tumour are more often high in the head: without `near_mm` few steps teach the size of the brain.
        """
        share = noise.uniform("cyclegan/partner", batch.rows, batch.step, ()).tolist()
        found = [self._candidates(int(row)) for row in batch.rows]
        chosen = np.array([rows[int(u * len(rows))] for u, rows in zip(share, found, strict=True)])
        images = torch.from_numpy(self.slices.read(chosen, self.modalities)).to(batch.images)
        return self.seen(images, batch, noise, "healthy")

    def _candidates(self, row: int) -> np.ndarray:
        """Healthy slices of the row's split at most `near_mm` away in z; the nearest where there are none."""
        rows, reach = self.healthy[self.split[row]], self.design.sampling.near_mm
        if len(rows) == 0:
            found = f"split {self.split[row]!r} has no healthy slice"
            raise UserError(f"{self.slices.folder}: {found}, expected some for CycleGAN; see `preprocess` in params.yaml")
        distance = np.abs(self.z[rows] - self.z[row])
        return rows[distance <= max(reach, distance.min())] if reach else rows

    def seen(self, images: Tensor, batch: Batch, noise: Noise, domain: str) -> Tensor:
        """(B, C, H, W) in [-1, 1]: the slices' images as the networks see them; augmented while training."""
        x = 2 * to_unit(images, self.slices.background) - 1
        if self.variant == "single":
            both = "" if self.design.sampling.matched else f"/{domain}"
            x = drawn(x, noise, batch.rows, batch.step, f"cyclegan/modality{both}")
        return augmented(x, self.design.sampling, batch, noise, f"cyclegan/{domain}") if self._training else x

    @property
    def _training(self) -> bool:
        return self.nets["to_tumour"].training

    def _generated(self, real: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """(synthetic image by domain, loss of the generators). A call of a network takes all images that it can."""
        own, count = self.design.losses, len(real["healthy"])
        fake, loss = {}, torch.zeros((), device=real["healthy"].device)
        for domain, other in (DOMAINS, DOMAINS[::-1]):
            made = self.nets[f"to_{domain}"](torch.cat([real[other], real[domain]] if own.identity else [real[other]]))
            fake[domain] = made[:count]
            loss = loss + (self.nets[f"judge_{domain}"](fake[domain]) - 1).square().mean()
            if own.identity:
                loss = loss + own.cycle * own.identity * F.l1_loss(made[count:], real[domain])
        for domain, other in (DOMAINS, DOMAINS[::-1]):
            loss = loss + own.cycle * F.l1_loss(self.nets[f"to_{domain}"](fake[other]), real[domain])
        return fake, loss

    def _judged(self, real: Tensor, fake: Tensor, domain: str) -> Tensor:
        true, false = self.nets[f"judge_{domain}"](torch.cat([real, fake])).split([len(real), len(fake)])
        return 0.5 * ((true - 1).square().mean() + false.square().mean())

    def _pooled(self, fake: Tensor, domain: str, batch: Batch, noise: Noise) -> Tensor:
        """What the judge is shown. Watching held-out slices changes no pool."""
        size = self.design.losses.pool
        if not self._training or size == 0:
            return fake
        name = f"cyclegan/pool/{domain}"
        swap = noise.uniform(f"{name}/swap", batch.rows, batch.step, ()) > 0.5
        place = noise.integers(f"{name}/place", batch.rows, batch.step, 0, size)
        return self.nets[f"pool_{domain}"].exchange(fake, swap, place)


def augmented(x: Tensor, own: Sampling, batch: Batch, noise: Noise, name: str) -> Tensor:
    """(B, C, H, W): each image enlarged by `resize`, cropped to its old size at a random place, mirrored at random."""
    size, rows, step = x.shape[-1], batch.rows, batch.step
    large = round(size * own.resize)
    if large > size:
        shifted = F.interpolate(x + 1, (large, large), mode="bicubic", antialias=True)  # a background of 0 stays exact
        x = shifted.clamp(0, 2) - 1
    corner = (noise.uniform(f"{name}/crop", rows, step, (2,)) * (large - size + 1)).long().tolist()
    mirrored = noise.uniform(f"{name}/flip", rows, step, ()) < own.flip
    cut = [image[:, top : top + size, left : left + size] for image, (top, left) in zip(x, corner, strict=True)]
    return torch.stack([image.flip(-1) if flip else image for image, flip in zip(cut, mirrored, strict=True)])


def check(image_size: int) -> None:
    """UserError unless the generators can halve the slices twice."""
    if image_size % STRIDE:
        expected = f"expected a multiple of {STRIDE} for CycleGAN; change preprocess.<recipe>.size"
        raise UserError(f"slices have {image_size} px, {expected}")


def load(folder: Path, direction: Direction, which: Which, image_size: int, device: torch.device) -> nn.Module:
    """One generator of models/cyclegan/<variant>, ready for inference: (B, C, H, W) in [-1, 1] -> the same.

    UserError if a file is missing or damaged, or if it was trained on slices of another size.
    """
    meta, states = weights.load(folder, which, method=Training.name)
    arguments = meta["networks"]
    weights.check_size(folder, arguments["image_size"], image_size)
    net = ResnetGenerator(arguments["channels"], GeneratorShape(**arguments["net"]))
    return for_inference(weights.put(net, states[direction], folder / f"{which}.safetensors"), device)


def to_bytes(x: Tensor) -> np.ndarray:
    """uint8: images in [-1, 1] as 8-bit pictures, cut off and not rounded, as the released code does (spec 2.5)."""
    return (255 * (x.float().clamp(-1, 1) + 1) / 2).to(torch.uint8).cpu().numpy()


@dataclass(frozen=True)
class Painter:
    """The way to the tumour of one variant, over one slice store."""

    net: nn.Module
    variant: Variant
    slices: Slices
    device: torch.device

    @classmethod
    def load(cls, folder: Path, which: Which, slices: Slices, device: torch.device) -> Painter:
        """Of models/cyclegan/<variant>. UserError as `load`."""
        net = load(folder, "to_tumour", which, slices.images.shape[-1], device)
        return cls(net, folder.name, slices, device)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Channels of `paint`'s pictures."""
        return modalities_of(self.variant)

    @torch.inference_mode()
    def paint(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(healthy, synthetic) slices as 8-bit pictures, uint8 (B, M, H, W) each; the whole slices, never augmented."""
        images = torch.from_numpy(self.slices.read(rows, self.modalities)).to(self.device)
        x = 2 * to_unit(images, self.slices.background) - 1
        made = join(self.net(split(x, self.variant).contiguous(memory_format=torch.channels_last)), len(rows))
        return to_bytes(x), to_bytes(made)
