"""MMCCD: modality cycles with masked conditional diffusion (Liang et al. 2023, arXiv:2308.16150).

f translates x to y by diffusion, conditioned on x in which a stripe is replaced by noise; g, a plain translator, goes back.
Both know healthy slices only. The cycle's error under the stripe, averaged over stripes, is the anomaly map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser, Prediction
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.scorer import Error, Scores, deviation, parse_pair
from gliomap.methods.stripes import Stripes, every_stripe
from gliomap.methods.translator import load, translate
from gliomap.nets.unet import UNet, UNetShape

Follow = Literal["paper", "code"]

# What `follow` stands for, by row of the spec's table 9. Where the paper says nothing it takes the code's value.
PRESETS: dict[Follow, dict[str, str]] = {
    "paper": {
        "mask_edge": "valid",  # row 8: "each valid position"
        "cond_noise": "per_mask",  # row 9: Alg. 2 draws it once
        "sampler": "ddim",  # row 10: Alg. 2 prints ancestral steps, the text says that DDIM made the results
        "error": "absolute",  # row 13: Eq. 10 prints a norm
        "mask_per": "sample",  # row 14: implied
        "spacing": "leading",  # section 5.2
        "init_noise": "shared",  # section 5.2
        "weights": "raw",  # row 21
    },
    "code": {
        "mask_edge": "code",
        "cond_noise": "per_step",
        "sampler": "ddim",
        "error": "squared",
        "mask_per": "batch",
        "spacing": "leading",
        "init_noise": "shared",
        "weights": "raw",
    },
}
FOLLOW = "follow"


@dataclass(frozen=True)
class MmccdTrain(Train):
    """Section `mmccd.train` of params.yaml: the training of f."""

    mask_width: int = number(min=1)  # lines of the stripe that hides a part of the condition; inference uses the same
    mask_step: int = number(min=1)  # the stripe starts at multiples of it
    mask_edge: Literal["follow", "valid", "code"]  # valid: whole stripes only; code: also stripes cut off by the border
    mask_per: Literal["follow", "sample", "batch"]  # sample: each slice its own stripe; batch: one for all


@dataclass(frozen=True)
class Mmccd:
    """Section `mmccd` of params.yaml. Inference reads all of it, but acts on what is not under net, diffusion and train."""

    follow: Follow  # what the switches that say `follow` mean; see PRESETS
    net: UNetShape  # of f, of g and of the Cyclic U-Net's two translators
    diffusion: Diffusion
    train: MmccdTrain
    mask_stride: int = number(min=1)  # pixels between two stripes
    mask_edge: Literal["follow", "valid", "code"]  # as in train
    cond_noise: Literal["follow", "per_step", "per_mask"]  # new noise under the stripe at every step, or once
    init_noise: Literal["follow", "shared", "per_mask"]  # the start of sampling: one per slice, or one per stripe
    sampler: Literal["follow", "ddim", "ancestral", "dpm_solver_2m", "heun"]
    ddim_steps: int = number(min=1)  # steps of the sampler, whichever it is; 1 with trailing spacing = one-step regression
    spacing: Literal["follow", "leading", "trailing", "linspace", "karras"]  # of the steps; see diffusion/schedule.py
    error: Literal["follow", "squared", "absolute"]  # of the cycle under the stripe, before averaging over stripes
    weights: Literal["follow", "raw", "ema"]  # of f and of g
    pairs: int = number(min=1)  # (slice, stripe) pairs per network call; does not change the result


SECTIONS: dict[str, type] = {"mmccd": Mmccd}


def followed(value: str, switch: str, follow: Follow) -> str:
    """`value`, or what `follow` says of the switch."""
    return PRESETS[follow][switch] if value == FOLLOW else value


class Training:
    """Training of f: mean squared error of the predicted y0 over the whole image, at a random noise level (spec 2)."""

    name = "mmccd"

    def __init__(
        self, pair: tuple[str, str], image_size: int, p: tuple[UNetShape, Diffusion, MmccdTrain], follow: Follow
    ) -> None:
        """`pair` = (modality x, modality y). UserError if the stripe is wider than the image."""
        shape, diffusion, train = p
        if train.mask_width > image_size:
            found = f"{train.mask_width}, expected at most the image size {image_size}"
            raise UserError(f"params.yaml: mmccd.train.mask_width is {found}; lower it")
        config = shape.config(in_channels=2, out_channels=1, image_size=image_size)
        self.modalities = pair
        self.nets: dict[str, nn.Module] = {"f": UNet(config)}
        self.arguments = {"f": asdict(config), "diffusion": asdict(diffusion), "mask_width": train.mask_width}
        self.schedule = diffusion.schedule()
        self.denoiser = Denoiser(self.nets["f"], self.schedule, target="x0")
        self.stripes = every_stripe(
            image_size, train.mask_width, train.mask_step, followed(train.mask_edge, "mask_edge", follow)
        )
        self.one_mask = followed(train.mask_per, "mask_per", follow) == "batch"

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam."""
        return {"f": adamw(self.nets["f"].parameters(), train)}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """One pair: the denoising loss of y, conditioned on x with a stripe of noise."""
        x, y = batch.images[:, :1], batch.images[:, 1:]
        t = self.schedule.draw(noise.uniform("mmccd/time", batch.rows, batch.step, ()))
        eps = noise.normal("mmccd/eps", batch.rows, batch.step, tuple(y.shape[1:]))
        yield "f", self.denoiser.loss(y, eps.to(y), t.to(y.device), image=self.corrupted(x, batch, noise))

    def corrupted(self, x: Tensor, batch: Batch, noise: Noise) -> Tensor:
        """x (B, 1, H, W) with a random stripe replaced by N(0, 1): always, and on background as well (spec 2.3)."""
        keys = torch.zeros_like(batch.rows) if self.one_mask else batch.rows
        stripes = self.stripes[noise.integers("mmccd/stripe", keys, batch.step, 0, len(self.stripes)).cpu()].to(x.device)
        fill = noise.normal("mmccd/fill", batch.rows, batch.step, (stripes.width, stripes.size))
        return torch.where(stripes.mask, stripes.spread(fill.to(x)), x)


@dataclass(frozen=True)
class Options:
    """The switches of inference with every `follow` resolved."""

    cond_noise: str
    init_noise: str
    sampler: str
    steps: int
    spacing: str
    error: Error
    pairs: int

    @classmethod
    def of(cls, p: Mmccd) -> Options:
        """From the section of params.yaml."""
        switches = ("cond_noise", "init_noise", "sampler", "spacing", "error")
        return cls(steps=p.ddim_steps, pairs=p.pairs, **{s: followed(getattr(p, s), s, p.follow) for s in switches})


class MmccdScorer:
    """Batched inference over (slice, stripe) pairs; stripes that do not meet the brain are skipped (spec 10.2)."""

    def __init__(self, modality: str, f: Denoiser, g: nn.Module, stripes: Stripes, options: Options) -> None:
        self.modalities = (modality,)
        self.f, self.g, self.stripes, self.options = f, g, stripes, options
        self.times = f.schedule.grid(options.steps, options.spacing)

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with a reconstruction, the mean over stripes of g's output (the slice itself where no stripe was).

        The map is the mean of the errors, not the error of the mean (spec 5.3).
        """
        x = batch.images
        sums = torch.zeros(3, *x.shape, device=x.device)  # error, reconstruction, coverage
        evaluations = torch.zeros(len(x), dtype=torch.int64)
        for part in self.cycles(batch, noise):
            where = part.slice_of.to(x.device)
            for total, value in zip(sums, (part.error, part.back, torch.ones_like(part.back)), strict=True):
                total.index_add_(0, where, value * part.mask)
            evaluations += part.calls * torch.bincount(part.slice_of, minlength=len(x))
        error, back, coverage = sums
        seen = coverage.clamp_min(1)
        return Scores((error / seen)[:, 0] * batch.brain, evaluations, torch.where(coverage > 0, back / seen, x)[:, 0])

    def cycles(self, batch: Batch, noise: Noise) -> Iterator[Cycled]:
        """All pairs of a slice and a stripe that meets its brain, options.pairs at a time, in the order of the slices."""
        slice_of, stripe_of = self.stripes.meet(batch.brain.cpu()).nonzero(as_tuple=True)
        for i in range(0, len(slice_of), self.options.pairs):
            here, chosen = slice_of[i : i + self.options.pairs], stripe_of[i : i + self.options.pairs]
            x, stripes = batch.images[here.to(batch.images.device)], self.stripes[chosen].to(batch.images.device)
            cycle = Cycle(batch.rows[here], x, stripes, noise, self)
            back = translate(self.g, cycle.sampled())
            yield Cycled(here, chosen, stripes.mask, back, deviation(back, x, self.options.error), cycle.calls + 1)


@dataclass(frozen=True)
class Cycled:
    """P pairs after x -> y -> x. slice_of, stripe_of: int64 (P,), on the CPU: places in the batch and in scorer.stripes.

    mask: bool (P, 1, H, W), True under the stripe. back, error: float32 (P, 1, H, W), g's output and its error against x.
    calls: network evaluations of each pair.
    """

    slice_of: Tensor
    stripe_of: Tensor
    mask: Tensor
    back: Tensor
    error: Tensor
    calls: int


class Cycle:
    """The sampling of y for P (slice, stripe) pairs at once; its noise is keyed by slice row and stripe."""

    def __init__(self, rows: Tensor, x: Tensor, stripes: Stripes, noise: Noise, scorer: MmccdScorer) -> None:
        """rows: int64 (P,) on the CPU; x: (P, 1, H, W), the slices; stripes: P of them."""
        self.x, self.stripes, self.noise = x, stripes, noise
        self.f, self.options, self.times = scorer.f, scorer.options, scorer.times
        self.rows, self.keys = rows, rows * 2 * stripes.size + stripes.identity.cpu()
        self.mask = stripes.mask
        self.calls = 0  # of f

    def sampled(self) -> Tensor:
        """float32 (P, 1, H, W): samples of y given x outside the stripes."""
        keys = self.rows if self.options.init_noise == "shared" else self.keys
        start = self.noise.normal("mmccd/start", keys, 0, tuple(self.x.shape[1:])).to(self.x)
        arguments = (self.denoise, start, self.times, self.f.schedule)
        if self.options.sampler == "ancestral":
            arguments += (self.noise.draws("mmccd/sampler", self.keys, self.x),)
        return samplers.last(getattr(samplers, self.options.sampler)(*arguments))

    def denoise(self, y: Tensor, t: Tensor) -> Prediction:
        """f's prediction, with new noise under the stripe at every call or with the same one (spec 5.2, row 9)."""
        step = self.calls if self.options.cond_noise == "per_step" else 0
        self.calls += 1
        return self.f.bind(image=self.condition(step))(y, t)

    def condition(self, step: int) -> Tensor:
        """(P, 1, H, W): x with N(0, 1) under the stripe."""
        fill = self.noise.normal("mmccd/fill", self.keys, step, (self.stripes.width, self.stripes.size))
        return torch.where(self.mask, self.stripes.spread(fill.to(self.x)), self.x)


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> MmccdScorer:
    """The trained f of x-y and g of y-x as a Scorer. UserError if the stripes would leave gaps."""
    own: Mmccd = p["mmccd"]
    x, y = parse_pair(pair, slices.modalities)
    size, which = slices.images.shape[-1], followed(own.weights, "weights", own.follow)
    trained, f = load(models / "mmccd" / f"{x}-{y}", "f", which, size, device)
    if own.mask_stride > trained["mask_width"]:
        found = f"{own.mask_stride}, expected at most the stripe's width {trained['mask_width']}"
        raise UserError(f"params.yaml: mmccd.mask_stride is {found}, or pixels between stripes get no score; lower it")
    _, g = load(models / "translator" / f"{y}-{x}", "net", which, size, device)
    denoiser = Denoiser(f, Diffusion(**trained["diffusion"]).schedule(), target="x0")
    edge = followed(own.mask_edge, "mask_edge", own.follow)
    return MmccdScorer(x, denoiser, g, every_stripe(size, trained["mask_width"], own.mask_stride, edge), Options.of(own))
