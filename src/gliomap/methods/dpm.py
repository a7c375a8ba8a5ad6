"""The two diffusion baselines of TSGM's tables, with their authors' settings (TSGM spec 7).

DPM_classifier (Wolleb et al. 2022) and DPM_classifier_free (Sanchez et al. 2022) encode a slice by DDIM and decode it
guided towards healthy. Networks and walks are those of AnoFPDM's baselines (methods/restoration.py), but no setting is tuned
with masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.denoiser import NULL, Denoise, Prediction, predict
from gliomap.diffusion.guidance import guided
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores
from gliomap.engine.weights import Which
from gliomap.methods import cfg
from gliomap.methods.cfg import HEALTHY
from gliomap.methods.restoration import Nets, Point, Restoration, Walk, ddim_clf, levels, load_guided
from gliomap.methods.variants import MODALITIES, against, to_unit

Pair = Literal["clf/all", "clf/flair", "free/all"]  # guidance / modalities that the networks were trained on
RANGES = (-1.0, 0.0)  # background of slices whose images are in [-1, 1], in [0, 1]


@dataclass(frozen=True)
class Clf:
    """Classifier guidance. A section within `dpm`."""

    noise_level: float = number(min=0, max=1)  # L as a share of the levels
    scale: float = number(min=0)  # of the classifier's gradient
    encode: Literal["ddim", "noise"]  # DDIM inversion, or noised by chance


@dataclass(frozen=True)
class Free:
    """Classifier-free guidance. A section within `dpm`."""

    noise_level: float = number(min=0, max=1)  # L as a share of the levels
    scale: float = number(min=0)  # s of eps_null + s (eps_healthy - eps_null); 1 = healthy alone
    quantile: float = number(min=0, max=1)  # of |x0| in each channel: beyond it x0 is cut, and divided by it


@dataclass(frozen=True)
class Dpm:
    """Section `dpm` of params.yaml."""

    weights: Which  # of all networks
    clf: Clf
    free: Free
    steps_per_1000: int = number(min=1, max=1000)  # steps over the whole schedule; L levels take L / T as many


SECTIONS: dict[str, type] = {"dpm": Dpm}


def by_classifier(walk: Walk, nets: Nets, own: Dpm) -> Tensor:
    """(B, M, H, W): there and back with the healthy label, back with the classifier's gradient. 3 L - 1 calls."""
    settings = Restoration("paper", own.clf.encode, "absolute", own.weights, own.steps_per_1000)
    return ddim_clf(walk, nets, Point(own.clf.noise_level, scale=own.clf.scale), settings)


def free(walk: Walk, nets: Nets, own: Dpm) -> Tensor:
    """(B, M, H, W): there without a label, back guided towards healthy; x0 is normalised on both ways. 3 L - 1 calls."""
    healthy, null = (walk.counted(nets.denoiser.bind(label=label)) for label in (HEALTHY, NULL))
    start = walk.inverted(normalised(null, walk.schedule, own.free.quantile))
    steered = guided(healthy, null, own.free.scale - 1, walk.schedule)
    return walk.back(normalised(steered, walk.schedule, own.free.quantile), start)


def normalised(denoise: Denoise, schedule: VP, quantile: float) -> Denoise:
    """`denoise` with `limited` x0, and the noise that goes with it."""

    def limit(x: Tensor, t: Tensor) -> Prediction:
        return predict(limited(denoise(x, t).x0, quantile), x, t, schedule, "x0")

    return limit


def limited(x0: Tensor, quantile: float) -> Tensor:
    """x0 (B, C, H, W) in [-1, 1]: cut at +-s and divided by s = max(1, quantile of |x0|), s of each channel of each image.

    Dynamic thresholding (Saharia et al. 2022, section 2.3), by channel as in Sanchez et al.
    """
    s = torch.quantile(x0.abs().flatten(2), quantile, dim=2).clamp_min(1)[:, :, None, None]
    return x0.clamp(-s, s) / s


class DpmScorer:
    """map = mean residual of the modalities inside the brain."""

    def __init__(
        self, pair: Pair, nets: Nets, own: Dpm, available: tuple[str, ...] = MODALITIES, background: float = -1.0
    ) -> None:
        """available: modalities of the slices; see `shown`. background: theirs; -1 of images in [-1, 1], 0 of [0, 1]."""
        self.nets, self.own, self.modalities, self.background = nets, own, shown(pair, available), background
        level = own.free.noise_level if pair == "free/all" else own.clf.noise_level
        self.way = free if pair == "free/all" else by_classifier
        self.order = [MODALITIES.index(name) for name in cfg.MODALITIES] if pair.endswith("/all") else [0]
        self.times = levels(nets.denoiser.schedule, level, own.steps_per_1000)

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores as those of `against`. The networks have their own order of channels."""
        x = batch.images[:, self.order]
        walk = Walk(x, batch.rows, noise, self.times, self.nets.denoiser.schedule, self.nets.field)
        restored = self.way(walk, self.nets, self.own)[:, torch.tensor(self.order).argsort()]
        evaluations = torch.full((len(x),), walk.calls, dtype=torch.int64)
        return against(to_unit(batch.images, self.background), to_unit(restored, self.background), batch.brain, evaluations)


def shown(pair: Pair, available: tuple[str, ...]) -> tuple[str, ...]:
    """The modalities that the networks are shown, in the order of MODALITIES.

    A network of FLAIR alone is shown the first one of slices without FLAIR: T1ce of ICTS, as in the paper (spec 7).
    """
    if pair.endswith("/all"):
        return MODALITIES
    alone = pair.partition("/")[2]
    return (alone,) if alone in available else tuple(name for name in MODALITIES if name in available)[:1]


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> DpmScorer:
    """The baseline `pair` as a Scorer. UserError if it, or a network, is not there, or if the slices are not in [-1, 1]."""
    if pair not in get_args(Pair):
        known = ", ".join(get_args(Pair))
        raise UserError(f"pair is {pair!r}, expected one of {known}; mend conf/graph.yaml or the command")
    if slices.background not in RANGES:
        found = f"background is {slices.background:g}, expected -1 or 0"
        raise UserError(f"{slices.folder / 'recipe.json'}: {found}, images in [-1, 1] or [0, 1]; take recipe common or tsgm")
    own, size, seen, zero = p["dpm"], slices.images.shape[-1], pair.partition("/")[2], slices.background
    if pair == "free/all":
        return DpmScorer(pair, Nets(cfg.load(models / "cfg" / "all", own.weights, size, device)), own, background=zero)
    return DpmScorer(pair, load_guided(seen, own.weights, models, size, device), own, tuple(slices.modalities), zero)
