"""AnoFPDM: anomaly maps from the forward process of a classifier-free diffusion model (spec 4).

The slice is noised level by level. At each level the model says what the clean slice was, guided towards `healthy` and
unguided. Where the two diverge most is the slice's own end step; the map is the mean squared error up to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import NULL, Denoiser, Prediction, predict
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import diffuse
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores
from gliomap.engine.weights import Which
from gliomap.methods.cfg import CLIP, HEALTHY, MODALITIES, Follow, load
from gliomap.methods.forward import Forward, Rules, quantiles
from gliomap.scoring.mixed import Mixed, median, median_px

MAPPED = ("flair", "t2")  # modalities behind errors, curves and maps (spec 5)
CHANNELS = tuple(MODALITIES.index(name) for name in MAPPED)
LEVELS = 101  # quantiles kept of each map: r is rounded to hundredths (spec 4.7)
PRESETS: dict[Follow, dict[str, str]] = {
    "paper": {"reference": "null", "start": "noise", "end_step": "included"},
    "code": {"reference": "healthy", "start": "image", "end_step": "excluded"},
}


@dataclass(frozen=True)
class Anofpdm:
    """Section `anofpdm` of params.yaml: inference."""

    follow: Follow  # what the switches that say `follow` mean; see PRESETS
    more_w: tuple[float, ...]  # further weights from the same network calls, for the figure of Dice against w
    reference: Literal["follow", "null", "healthy"]  # prediction that the guided one is compared with
    divergence: Literal["absolute", "squared"]  # absolute: |S_h - S_ref|; squared: (x_h - x_ref)^2, as later code
    end_step: Literal["follow", "included", "excluded"]  # whether the map includes the end step itself
    ddim_index: Literal["clean", "code"]  # code: states one level noisier than the network is told (spec D6); 3 calls a step
    start: Literal["follow", "noise", "image"]  # of the DDIM style, at level 0: noised slice, or the slice itself
    fixed_ends: tuple[float, ...]  # shares of the steps at which maps are kept for the row that is tuned with labels
    weights: Which  # of the network
    w: float = number(min=-1)  # guidance: (1 + w) eps_healthy - w eps_null
    steps: int = number(min=1)  # noise levels 0 .. steps-1  [paper 600 of 1000]
    stride: int = number(min=1)  # every n-th of them: k = n-1, 2n-1, ...; calibration follows by itself
    quantile_high: float = number(min=0, max=1)  # quantile that cuts the map of a slice without divergence
    quantile_low: float = number(min=0, max=1)  # and of one with the largest
    study: int = number(min=0)  # validation slices behind the figures that need every step


SECTIONS: dict[str, type] = {"anofpdm": Anofpdm, "mixed": Mixed}


def followed(own: Anofpdm, switch: str) -> Any:
    """The value of a switch, or what `follow` says of it."""
    value = getattr(own, switch)
    return PRESETS[own.follow][switch] if value == "follow" else value


def levels(own: Anofpdm, T: int) -> Tensor:
    """int64 (K,), ascending: the noise levels that are visited. UserError if there is none, or one beyond the schedule."""
    if own.steps > T:
        found = f"{own.steps}, expected at most {T}, the number of noise levels"
        raise UserError(f"params.yaml: anofpdm.steps is {found}; lower it")
    if own.stride > own.steps:
        found = f"{own.stride}, expected at most anofpdm.steps ({own.steps})"
        raise UserError(f"params.yaml: anofpdm.stride is {found}; lower it")
    return torch.arange(own.stride - 1, own.steps, own.stride)


class AnofpdmScorer:
    """The forward process in one of two styles. ddpm: each level noised by itself; ddim: a deterministic walk to noise.

    Two network evaluations a level, of labels healthy and none, in one batch; they serve every w and both references. With
    a stride the ddim style takes one more, from level 0 to the first that is visited.
    """

    modalities = MODALITIES

    def __init__(self, style: str, denoiser: Denoiser, own: Anofpdm, median_size: int) -> None:
        """style: ddpm | ddim. median_size: side of the median filter, pixels. UserError on an unknown style."""
        if style not in ("ddpm", "ddim"):
            raise UserError(f"style of AnoFPDM is {style!r}, expected ddpm or ddim; mend conf/graph.yaml or the command")
        self.style, self.denoiser, self.own, self.median_size = style, denoiser, own, median_size
        as_code = style == "ddim" and own.ddim_index == "code"
        if as_code and own.stride > 1:
            found = f"`code` with stride {own.stride}, expected stride 1"
            raise UserError(f"params.yaml: anofpdm.ddim_index is {found}: it tells a network the level before; use `clean`")
        self.levels = levels(own, denoiser.schedule.T - as_code)
        count = len(self.levels)
        fixed = tuple(sorted({max(round(share * count), 1) - 1 for share in own.fixed_ends}))
        self.start = followed(own, "start")
        w = tuple(dict.fromkeys((own.w, *own.more_w)))
        self.rules = Rules(w, followed(own, "reference"), own.divergence, followed(own, "end_step"), CHANNELS, fixed)
        self.constants = {
            "w": np.array(w, np.float32), "steps": self.levels.numpy(), "fixed_end": self.levels[list(fixed)].numpy()
        }  # fmt: skip
        self.evaluations = (3 if as_code else 2) * count + (style == "ddim" and own.stride > 1)

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with the arrays that calibration, evaluation and figures of this method need (docs/methods/anofpdm.md)."""
        forward = Forward(batch.images, self.rules)
        for c, n in self.walk(batch, noise):
            forward.add(c, n)
        maps, cosine = forward.maps(), forward.cosine()
        whole = self._filtered(maps.mean(2))
        evaluations = torch.full((len(whole),), self.evaluations)
        restored = forward.restored[:, 0, 0]  # flair
        return Scores(whole[:, 0] * batch.brain, evaluations, restored, image=1 - cosine[:, 0], extra={
            "whole": whole, "cosine": cosine, "divergence": forward.best,
            "end": self.levels.to(forward.end.device)[forward.end], "quantiles": quantiles(maps, self.quantile_levels),
            "curve_h": torch.stack(forward.curve_h, -1)[:, 0], "curve_ref": torch.stack(forward.curve_ref, -1),
            "fixed": self._filtered(torch.stack([forward.fixed[i] for i in self.rules.fixed], 1)).half(),
        })  # fmt: skip

    @property
    def quantile_levels(self) -> Tensor:
        """(101,): from quantile_high, for no divergence, down to quantile_low."""
        return torch.linspace(self.own.quantile_high, self.own.quantile_low, LEVELS)

    def walk(self, batch: Batch, noise: Noise) -> Iterator[tuple[Prediction, Prediction]]:
        """At each level the predictions (label healthy, no label), not clipped."""
        x0, schedule = batch.images, self.denoiser.schedule
        draw = noise.draws(f"anofpdm/{self.style}", batch.rows, x0)
        if self.style == "ddpm":
            for _, found in samplers.renoise(self._both, x0, self.levels, schedule, draw):
                yield found
        elif self.own.ddim_index == "clean":
            first = torch.zeros((), dtype=torch.int64)
            x = x0 if self.start == "image" else diffuse(x0, draw(0), first, schedule)
            yield from self._climb(self._reached(x, first))
        else:
            yield from self._climb_as_code(x0)

    def _reached(self, x: Tensor, first: Tensor) -> Tensor:
        """The state of level 0 at the first level that is visited, by one step if that is another one."""
        if self.levels[0] == first:
            return x
        n = self.denoiser.bind(label=NULL)(x, first.expand(len(x)).to(x.device))
        return self._step(n, x, first, self.levels[0])

    def _climb(self, x: Tensor) -> Iterator[tuple[Prediction, Prediction]]:
        """The label-free inversion; one pair of calls serves the predictions and the step to the next level (spec 4.1 b)."""
        for t, to in zip(self.levels, [*self.levels[1:], None], strict=True):
            c, n = self._both(x, t.expand(len(x)).to(x.device))
            yield c, n
            if to is not None:
                x = self._step(n, x, t, to)

    def _climb_as_code(self, x: Tensor) -> Iterator[tuple[Prediction, Prediction]]:
        """As released: each state is one level noisier than the network and the formulas are told (spec 4.1, D6)."""
        null = self.denoiser.bind(label=NULL)
        for t in self.levels:
            told = t.expand(len(x)).to(x.device)
            x = self._step(null(x, told), x, t, t + 1)
            yield self._both(x, told)

    def _step(self, n: Prediction, x: Tensor, t: Tensor, to: Tensor) -> Tensor:
        """A DDIM step from level t to `to`, noise derived again from the clipped x0."""
        schedule = self.denoiser.schedule
        clipped = predict(n.x0, x, t.expand(len(x)).to(x.device), schedule, "x0", CLIP)
        return samplers.last(samplers.ddim(lambda *_: clipped, x, torch.stack([t, to]), schedule))

    def _both(self, x: Tensor, t: Tensor) -> tuple[Prediction, Prediction]:
        """Predictions of the states under label healthy and under none, in one batch of twice the size."""
        count = len(x)
        label = torch.tensor([HEALTHY, NULL], device=x.device).repeat_interleave(count)
        found = self.denoiser.bind(label=label)(torch.cat([x, x]), torch.cat([t, t]))
        c, n = (Prediction(found.x0[part], found.eps[part]) for part in (slice(count), slice(count, None)))
        return c, n

    def _filtered(self, maps: Tensor) -> Tensor:
        """(B, n, H, W), each map median-filtered."""
        flat = maps.flatten(0, 1).float().cpu().numpy()
        return torch.from_numpy(median(flat, self.median_size)).view(maps.shape).to(maps.device)


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> AnofpdmScorer:
    """The trained model's forward process as a Scorer; `pair` is its style, ddpm or ddim."""
    own: Anofpdm = p["anofpdm"]
    denoiser = load(models / "cfg" / "all", own.weights, slices.images.shape[-1], device)
    return AnofpdmScorer(pair, denoiser, own, median_px(p["mixed"], slices.pixel_mm))
