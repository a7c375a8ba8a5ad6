"""TSGM at work: a slice restored as healthy, modality by modality, and what the restoration changed (TSGM spec 4, 5, 10).

The rows beside it are told by the first part of a pair: tsgm (sampling), onestep (one look at pure noise), cyclegan (stage
one, the way back) and regression (a plain U-Net that learned the same pairs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoise, Denoiser, Prediction
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VE
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores
from gliomap.engine.weights import Which
from gliomap.methods import cyclegan, regression
from gliomap.methods.variants import Variant, against, join, minmax, modalities_of, split, to_unit
from gliomap.methods.vejp import Resolved, as_loaded
from gliomap.methods.vejp import load as load_vejp

Follow = Literal["paper", "code"]
Rescale = Literal["minmax", "clip"]
START: dict[Follow, str] = {"code": "unit", "paper": "sigma"}
RESCALE: dict[Follow, Rescale] = {"code": "minmax", "paper": "clip"}
WEIGHTS: dict[Follow, Which] = {"code": "raw", "paper": "ema"}


@dataclass(frozen=True)
class Sampling:
    """Section `tsgm.sampling` of params.yaml (TSGM spec 4, 10)."""

    follow: Follow  # what the values `follow` mean
    sampler: Literal["pc", "heun", "dpm_solver_2m", "ddim"]  # pc: the paper's; the others are deterministic
    spacing: Literal["linspace", "karras"]  # of the noise levels; linspace: geometric, the paper's
    start: Literal["follow", "unit", "sigma"]  # pc: noise of standard deviation 1 (code) or sigma_max; others: sigma_max
    begin: Literal["noise", "image", "cyclegan"]  # pure noise, or the slice or CycleGAN's restoration plus noise
    rescale: Literal["follow", "minmax", "clip"]  # restorations: each by its own range to 0..1 (code), or clipped to it
    weights: Literal["follow", "raw", "ema"]  # of VE-JP and the regression: last ones (code) or averaged
    steps: int = number(min=1)  # N, noise levels from where it begins down to sigma_min
    snr: float = number(min=0)  # r of a correction
    corrections: int = number(min=0)  # M, before each step of pc
    begin_sigma: float = number(min=0)  # standard deviation of the noise where it begins, unless it begins at noise
    samples: int = number(min=1)  # K, restorations by other noise; their mean counts
    images: int = number(min=1)  # (slice, modality) images per network call; does not change the result

    @property
    def initial(self) -> str:
        """unit | sigma: a walk without fresh noise cannot mend a start that is too small (spec 4)."""
        if self.sampler != "pc":
            return "sigma"
        return START[self.follow] if self.start == "follow" else self.start

    @property
    def range(self) -> Rescale:
        """`rescale`, with `follow` decided."""
        return RESCALE[self.follow] if self.rescale == "follow" else self.rescale

    @property
    def which(self) -> Which:
        """`weights`, with `follow` decided."""
        return WEIGHTS[self.follow] if self.weights == "follow" else self.weights


SECTIONS: dict[str, Any] = {"tsgm.sampling": Sampling, "cyclegan.weights": Which}


@dataclass
class Images:
    """P images at once: (slice, modality, sample). Noise is keyed by the slice's row and named by modality and sample.

    unit: float32 (P, C, H, W), the slices in [0, 1]. rows: int64 (P,), on the CPU. names: P, such as flair/0.
    calls: network evaluations so far, of all P images at once.
    """

    unit: Tensor
    rows: Tensor
    names: tuple[str, ...]
    noise: Noise
    calls: int = 0

    @classmethod
    def of(cls, batch: Batch, unit: Tensor, names: tuple[str, ...], samples: int, noise: Noise) -> Images:
        """All images of a batch, sample by sample, in it slice by slice. unit: (B * len(names), C, H, W); see `split`."""
        named = (f"{name}/{k}" for k in range(samples) for _ in batch.rows for name in names)
        rows = batch.rows.repeat_interleave(len(names)).repeat(samples)
        return cls(unit.repeat(samples, 1, 1, 1), rows, tuple(named), noise)

    def parts(self, size: int) -> list[Images]:
        """Groups of at most `size` images, in order."""
        cuts = [slice(i, i + size) for i in range(0, len(self.rows), size)]
        return [Images(self.unit[cut], self.rows[cut], self.names[cut], self.noise) for cut in cuts]

    def normal(self, name: str, step: int) -> Tensor:
        """N(0, 1) of the images' shape: for an image the same in every company, for every variant that has its shape."""
        out = torch.empty(self.unit.shape)
        for own in dict.fromkeys(self.names):
            which = torch.tensor([other == own for other in self.names])
            out[which] = self.noise.normal(f"tsgm/{name}/{own}", self.rows[which], step, tuple(self.unit.shape[1:]))
        return out.to(self.unit)

    def counted(self, denoise: Denoise) -> Denoise:
        """`denoise`, one network evaluation, that counts itself."""

        def counting(x: Tensor, t: Tensor) -> Prediction:
            self.calls += 1
            return denoise(x, t)

        return counting


class Restorer(Protocol):
    """A way to restore images as healthy. Both functions take and give float32 (P, C, H, W)."""

    def seen(self, unit: Tensor) -> Tensor:
        """The images y of [0, 1] in the scale that it works in, also [0, 1]: the residual is taken there."""
        ...

    def restored(self, images: Images) -> Tensor:
        """One restoration of each image."""
        ...


@dataclass(frozen=True)
class Generator:
    """CycleGAN's way back F, one pass (spec 7). Its range is that of the volume, whatever VE-JP's loader is."""

    net: nn.Module

    def seen(self, unit: Tensor) -> Tensor:
        """As they are."""
        return unit

    def restored(self, images: Images) -> Tensor:
        """(F(2 y - 1) + 1) / 2."""
        images.calls += 1
        return (self.net(2 * images.unit - 1).float() + 1) / 2


@dataclass(frozen=True)
class Regression:
    """The control: a U-Net's estimate of the healthy image, one pass."""

    trained: regression.Loaded
    range: Rescale

    def seen(self, unit: Tensor) -> Tensor:
        """As the loader had them in training."""
        return as_loaded(unit, self.trained.loader)

    def restored(self, images: Images) -> Tensor:
        """Rescaled as VE-JP's samples are."""
        images.calls += 1
        return rescaled(self.trained.restore(self.seen(images.unit)), self.range)


@dataclass(frozen=True)
class Joint:
    """VE-JP: samples of p(healthy | y), or one estimate from pure noise (spec 4 and 10.2).

    first: CycleGAN's way back, where sampling begins there.
    """

    denoiser: Denoiser
    loader: Resolved
    own: Sampling
    once: bool = False
    first: Generator | None = None

    def seen(self, unit: Tensor) -> Tensor:
        """As the loader had them in training."""
        return as_loaded(unit, self.loader)

    def restored(self, images: Images) -> Tensor:
        """One sample of each image, or with `once` D(x, sigma_max, y), rescaled."""
        denoise = images.counted(self.denoiser.bind(image=self.seen(images.unit)))
        x, own, schedule = self.start(images), self.own, self.denoiser.schedule
        if self.once:
            return rescaled(denoise(x, torch.ones(len(x), dtype=torch.float64, device=x.device)).x0, own.range)
        arguments = denoise, x, levels(schedule, own), schedule
        if own.sampler == "pc":
            draw = lambda k: images.normal("step", k)  # noqa: E731
            walk = samplers.predictor_corrector(*arguments, draw, own.snr, own.corrections)
        else:
            walk = getattr(samplers, own.sampler)(*arguments)
        return rescaled(samplers.last(walk), own.range)

    def start(self, images: Images) -> Tensor:
        """The first state: noise alone, or upon the image or CycleGAN's restoration of it (spec 10.2.6)."""
        z, own = images.normal("start", 0), self.own
        if self.once:
            return self.denoiser.schedule.sigma_max * z
        if own.begin == "noise":
            return z if own.initial == "unit" else self.denoiser.schedule.sigma_max * z
        origin = images.unit if self.first is None else self.first.restored(images)
        return self.seen(origin) + own.begin_sigma * z


def levels(schedule: VE, own: Sampling) -> Tensor:
    """float64 (steps + 1,): descending times of the schedule from sigma_max, or from begin_sigma, to sigma_min, then clean.

    The paper's density of N levels takes N ln(begin_sigma / sigma_min) / ln(sigma_max / sigma_min) steps below begin_sigma.
    UserError unless sigma_min < begin_sigma <= sigma_max.
    """
    if own.begin == "noise":
        return schedule.grid(own.steps, own.spacing)
    low, high, top = schedule.sigma_min, own.begin_sigma, schedule.sigma_max
    if not low < high <= top:
        expected = f"more than {low:g} and at most {top:g}, the noise that the network was trained with"
        raise UserError(f"params.yaml: tsgm.sampling.begin_sigma is {high:g}, expected {expected}; change it")
    times = VE(low, high).grid(own.steps, own.spacing)
    return torch.where(times < 0, times, times * (math.log(high / low) / math.log(top / low)))


def rescaled(x: Tensor, how: Rescale) -> Tensor:
    """float32, in [0, 1]: each image by its own range, or clipped (spec 0); same shape."""
    return minmax(x.float()) if how == "minmax" else x.float().clamp(0, 1)


class TsgmScorer:
    """Batched inference over (slice, modality, sample) images (spec 5, steps 1 to 4 without the weights)."""

    def __init__(
        self, restorer: Restorer, variant: Variant, modalities: tuple[str, ...], background: float, samples: int, images: int
    ) -> None:
        """modalities: those of the slices. background: theirs. samples: K. images: per network call."""
        self.restorer, self.variant, self.background = restorer, variant, background
        self.modalities = modalities_of(variant, modalities)
        self.samples, self.images = samples, images

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with what `against` adds; stage `weigh` makes the paper's own map.

        With K > 1 also `sd`, the samples' standard deviation (divided by K).
        """
        y, found, calls = self.sampled(batch, noise)
        restored = found.mean(0)
        scores = against(y, restored, batch.brain, torch.full((len(y),), calls, dtype=torch.int64))
        if self.samples > 1:
            scores.extra["sd"] = found.std(0, correction=0).half()
        shown = self.modalities.index("flair") if "flair" in self.modalities else 0
        return replace(scores, reconstruction=restored[:, shown])

    def sampled(self, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor, int]:
        """(y (B, M, H, W), restorations (K, B, M, H, W), network evaluations a slice)."""
        count = len(batch.rows)
        names = self.modalities if self.variant == "single" else (self.variant,)
        unit = split(to_unit(batch.images, self.background), self.variant)
        parts = Images.of(batch, unit, names, self.samples, noise).parts(self.images)
        found = torch.cat([self.restorer.restored(part) for part in parts])
        y = join(self.restorer.seen(unit), count)
        return y, found.reshape(self.samples, *y.shape), parts[0].calls * len(names) * self.samples


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> TsgmScorer:
    """`pair` = <kind>/<variant> as a Scorer, such as tsgm/single, onestep/single, cyclegan/multi, regression/single.

    UserError if its networks are missing or of another image size, or if there is no such kind.
    """
    kind, _, variant = pair.partition("/")
    if kind not in KINDS:
        raise UserError(f"row works on {pair!r}, expected one of {', '.join(KINDS)}, then a slash and its variant; mend it")
    own: Sampling = p["tsgm.sampling"]
    restorer = KINDS[kind](p, models, variant, slices.images.shape[-1], device)
    samples = own.samples if kind == "tsgm" else 1
    return TsgmScorer(restorer, variant, slices.modalities, slices.background, samples, own.images)


def back(p: dict[str, Any], models: Path, variant: str, size: int, device: torch.device) -> Generator:
    """CycleGAN's way from tumour to healthy."""
    return Generator(cyclegan.load(models / "cyclegan" / variant, "to_healthy", p["cyclegan.weights"], size, device))


def control(p: dict[str, Any], models: Path, variant: str, size: int, device: torch.device) -> Regression:
    """The regression network."""
    own: Sampling = p["tsgm.sampling"]
    return Regression(regression.load(models / "regression" / variant, own.which, size, device), own.range)


def joint(p: dict[str, Any], models: Path, variant: str, size: int, device: torch.device) -> Joint:
    """VE-JP, with CycleGAN's way back where sampling begins there."""
    own: Sampling = p["tsgm.sampling"]
    found = load_vejp(models / "vejp" / variant, own.which, size, device)
    levels(found.denoiser.schedule, own)  # refuses a wrong begin_sigma before any work is done
    first = back(p, models, variant, size, device) if own.begin == "cyclegan" else None
    return Joint(found.denoiser, found.loader, own, first=first)


def once(p: dict[str, Any], models: Path, variant: str, size: int, device: torch.device) -> Joint:
    """VE-JP for one estimate."""
    own: Sampling = p["tsgm.sampling"]
    found = load_vejp(models / "vejp" / variant, own.which, size, device)
    return Joint(found.denoiser, found.loader, own, once=True)


KINDS: dict[str, Callable[[dict[str, Any], Path, str, int, torch.device], Restorer]] = {
    "tsgm": joint, "onestep": once, "cyclegan": back, "regression": control
}  # fmt: skip
