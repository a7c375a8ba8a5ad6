"""The baselines that restore a slice: noise it, or encode it, to a level L, and denoise it as healthy (AnoFPDM spec 7).

The map is the difference of slice and restoration. The five ways differ in model, noise, encoding and guidance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import NULL, Denoise, Denoiser
from gliomap.diffusion.guidance import classifier_guided, guided
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP, Diffusion, diffuse
from gliomap.diffusion.simplex import Simplex
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Error, Scores, deviation
from gliomap.engine.weights import Which
from gliomap.methods import cfg
from gliomap.methods.cfg import CLIP, HEALTHY, MODALITIES, Follow
from gliomap.methods.restoration_training import field_of
from gliomap.methods.translator import load as load_net
from gliomap.nets.classifier import Classifier
from gliomap.scoring.mixed import Mixed, median, median_px

CHANNELS = [MODALITIES.index(name) for name in ("flair", "t2")]  # behind the map
ENCODE: dict[Follow, str] = {"paper": "ddim", "code": "noise"}  # spec D14


@dataclass(frozen=True)
class Restoration:
    """Section `restoration` of params.yaml: inference of every baseline. L, w and scale are tuned (stages/tune.py)."""

    follow: Follow  # what `encode: follow` means
    encode: Literal["follow", "noise", "ddim"]  # ddim_clf: noised by chance (code), or DDIM inversion (Wolleb et al. 2022)
    error: Error  # of the restoration; absolute: the code behind the paper's table; squared: later code
    weights: Which  # of all networks
    steps_per_1000: int = number(min=1, max=1000)  # steps over the whole schedule; L levels take L / T as many


SECTIONS: dict[str, type] = {"restoration": Restoration, "mixed": Mixed}


@dataclass(frozen=True)
class Point:
    """A setting of a baseline. None for what its way of restoring does not have.

    noise_level: L as a share of the T levels. w: of classifier-free guidance. scale: of classifier guidance.
    """

    noise_level: float
    w: float | None = None
    scale: float | None = None

    def values(self) -> dict[str, float]:
        """What is not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def levels(schedule: VP, noise_level: float, steps_per_1000: int) -> Tensor:
    """int64 (n + 1,), descending from L - 1 with equal strides, -1 at the end, for L = noise_level T.

    n = noise_level steps_per_1000, at most L: with 1000 steps of 1000 every level. UserError if L is below 2.
    """
    count = round(noise_level * schedule.T)
    if not 2 <= count <= schedule.T:
        found = f"{noise_level}, {count} of {schedule.T} levels, expected 2 .. {schedule.T} levels"
        raise UserError(f"noise_level of a restoration is {found}; mend the grid under `tune` in params.yaml")
    steps = min(count, max(1, round(noise_level * steps_per_1000)))
    return replace(schedule, T=count).grid(steps, "trailing")


@dataclass
class Walk:
    """To a level and back, for B slices at once. Its noise is keyed by slice row.

    x: float32 (B, M, H, W), the slices. rows: int64 (B,). times: see `levels`. calls: network evaluations so far.
    """

    x: Tensor
    rows: Tensor
    noise: Noise
    times: Tensor
    schedule: VP
    field: Simplex | None
    calls: int = 0

    def counted(self, ask: Callable[[Tensor, Tensor], Any]) -> Callable[[Tensor, Tensor], Any]:
        """`ask`, one evaluation of a network, that counts itself."""

        def counting(x: Tensor, t: Tensor) -> Any:
            self.calls += 1
            return ask(x, t)

        return counting

    def draw(self, name: str, step: int) -> Tensor:
        """Noise of the slices' shape: simplex where the model was trained with it."""
        name = f"restoration/{name}"
        if self.field is None:
            return self.noise.draws(name, self.rows, self.x)(step)
        return self.field.fields(self.noise, name, self.rows, step, tuple(self.x.shape[1:])).to(self.x)

    def noised(self) -> Tensor:
        """The slices at level L - 1, by chance (spec 4.0, Eq. 1)."""
        return diffuse(self.x, self.draw("start", 0), self.times[0], self.schedule)

    def inverted(self, denoise: Denoise) -> Tensor:
        """The slices at level L - 1, by DDIM towards noise; they themselves count as level 0."""
        upwards = torch.unique(torch.cat([self.times[:-1], torch.zeros(1, dtype=torch.int64)]))
        return samplers.last(samplers.ddim(denoise, self.x, upwards, self.schedule))

    def back(self, denoise: Denoise, start: Tensor) -> Tensor:
        """The restored slices, by DDIM."""
        return samplers.last(samplers.ddim(denoise, start, self.times, self.schedule))

    def back_by_chance(self, denoise: Denoise, start: Tensor) -> Tensor:
        """The restored slices, by ancestral steps of the large variance."""
        steps = samplers.ancestral(denoise, start, self.times, self.schedule, lambda k: self.draw("step", k), "large")
        return samplers.last(steps)


@dataclass(frozen=True)
class Nets:
    """What a baseline was trained to be. `denoiser` clips x0 to the range of the slices."""

    denoiser: Denoiser
    label: int | None = None  # that the denoiser is told; None where it was trained without
    field: Simplex | None = None
    classifier: Classifier | None = None


def anoddpm(walk: Walk, nets: Nets, point: Point, own: Restoration) -> Tensor:
    """AnoDDPM (Wyatt et al. 2022), with Gaussian or simplex noise. L calls."""
    return walk.back_by_chance(walk.counted(nets.denoiser.bind()), walk.noised())


def ddim(walk: Walk, nets: Nets, point: Point, own: Restoration) -> Tensor:
    """DDIM with AnoDDPM's Gaussian model, unguided. L calls."""
    return walk.back(walk.counted(nets.denoiser.bind()), walk.noised())


def ddim_clf(walk: Walk, nets: Nets, point: Point, own: Restoration) -> Tensor:
    """DDIM guided by a classifier (Wolleb et al. 2022). 2 L calls; L - 1 more with DDIM encoding.

    x0 is clipped before guidance, not after it, as in the released code.
    """
    plain = walk.counted(nets.denoiser.bind(label=nets.label))
    encode = ENCODE[own.follow] if own.encode == "follow" else own.encode
    start = walk.noised() if encode == "noise" else walk.inverted(plain)
    healthy = walk.counted(nets.classifier.log_probability(HEALTHY))
    return walk.back(classifier_guided(plain, healthy, point.scale, walk.schedule), start)


def ddib(walk: Walk, nets: Nets, point: Point, own: Restoration) -> Tensor:
    """DDIM there without a label and back guided towards healthy, classifier-free (Diff-SCM, DDIB). 3 L - 1 calls.

    x0 is clipped after guidance.
    """
    start = walk.inverted(walk.counted(nets.denoiser.bind(label=NULL)))
    free = Denoiser(nets.denoiser.net, walk.schedule)
    healthy, null = (walk.counted(free.bind(label=label)) for label in (HEALTHY, NULL))
    return walk.back(guided(healthy, null, point.w, walk.schedule, CLIP), start)


WAYS: dict[str, Callable[[Walk, Nets, Point, Restoration], Tensor]] = {
    "anoddpm": anoddpm, "anoddpm_simplex": anoddpm, "ddim": ddim, "ddim_clf": ddim_clf, "ddib": ddib
}  # fmt: skip
MODELS = {"anoddpm": "gauss", "anoddpm_simplex": "simplex", "ddim": "gauss"}  # folder under models/ddpm
NEEDS = {"ddim_clf": ("noise_level", "scale"), "ddib": ("noise_level", "w")}  # fields of Point; the others: noise_level


def needs(key: str) -> tuple[str, ...]:
    """The fields of `Point` that a baseline has. UserError on an unknown key."""
    if key not in WAYS:
        raise UserError(f"baseline is {key!r}, expected one of {', '.join(WAYS)}; mend conf/graph.yaml or the command")
    return NEEDS.get(key, ("noise_level",))


def load(key: str, own: Restoration, models: Path, image_size: int, device: torch.device) -> Nets:
    """The trained networks of a baseline. UserError if one is missing, or of another image size."""
    needs(key)
    if key == "ddib":
        return Nets(_clipped(cfg.load(models / "cfg" / "all", own.weights, image_size, device)))
    if key == "ddim_clf":
        return load_guided("all", own.weights, models, image_size, device)
    trained, net = load_net(models / "ddpm" / MODELS[key], "net", own.weights, image_size, device)
    return Nets(Denoiser(net, Diffusion(**trained["diffusion"]).schedule(), clip=CLIP), field=field_of(trained))


def load_guided(seen: str, which: Which, models: Path, image_size: int, device: torch.device) -> Nets:
    """The denoiser in models/guided/<seen> and the classifier that guides it. UserError as `load`."""
    trained, net = load_net(models / "guided" / seen, "net", which, image_size, device)
    _, classifier = load_net(models / "classifier" / seen, "net", which, image_size, device, Classifier)
    label = HEALTHY if trained["label"] == "slice" else None
    schedule = Diffusion(**trained["diffusion"]).schedule()
    return Nets(Denoiser(net, schedule, clip=CLIP, learned_variance=True), label, classifier=classifier)


class RestorationScorer:
    """A baseline at one point: map = median-filtered mean difference over flair and t2, inside the brain."""

    modalities = MODALITIES

    def __init__(self, key: str, nets: Nets, point: Point, own: Restoration, median_size: int) -> None:
        """median_size: side of the median filter, pixels. UserError if the point's noise level is out of range."""
        self.way, self.nets, self.point, self.own, self.median_size = WAYS[key], nets, point, own, median_size
        self.schedule = nets.denoiser.schedule
        self.times = levels(self.schedule, point.noise_level, own.steps_per_1000)

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with flair's restoration, and `whole` (B, 1, H, W), the filtered map over the whole image."""
        x = batch.images
        walk = Walk(x, batch.rows, noise, self.times, self.schedule, self.nets.field)
        restored = self.way(walk, self.nets, self.point, self.own)
        error = deviation(restored[:, CHANNELS], x[:, CHANNELS], self.own.error).mean(1)
        whole = torch.from_numpy(median(error.float().cpu().numpy(), self.median_size)).to(x.device)
        evaluations = torch.full((len(x),), walk.calls, dtype=torch.int64)
        return Scores(whole * batch.brain, evaluations, restored[:, 0], extra={"whole": whole[:, None]})


def decided(models: Path, key: str) -> Point:
    """The setting that tuning has chosen. UserError if models/decisions/<key>.json is missing or of another kind."""
    path, names = models / "decisions" / f"{key}.json", needs(key)
    found = read_json(path)
    setting = found.get("setting") if isinstance(found, dict) and found.get("kind") == "fixed" else None
    if not isinstance(setting, dict) or not all(isinstance(setting.get(name), int | float) for name in names):
        raise UserError(f"{path}: found no setting of {', '.join(names)}, expected numbers; run the stage tune@{key} again")
    return Point(**{name: float(setting[name]) for name in names})


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> RestorationScorer:
    """The baseline `pair` (a key of `WAYS`) at its tuned setting as a Scorer."""
    own: Restoration = p["restoration"]
    point = decided(models, pair)
    nets = load(pair, own, models, slices.images.shape[-1], device)
    return RestorationScorer(pair, nets, point, own, median_px(p["mixed"], slices.pixel_mm))


def _clipped(denoiser: Denoiser) -> Denoiser:
    return Denoiser(denoiser.net, denoiser.schedule, denoiser.target, CLIP, denoiser.learned_variance)
