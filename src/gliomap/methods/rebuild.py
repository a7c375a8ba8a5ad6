"""MMCCD's baselines, which look at one modality: AE, VAE, DAE, DDPM (MMCCD spec 7).

Each restores a slice as healthy; the map is the error of the restoration. AE and VAE press it through a short vector, the
DAE takes it for a noisy one, the DDPM noises it to a level t* and denoises it. t* is tuned (stages/tune_rebuild.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.engine.device import for_inference
from gliomap.engine.scorer import Error, Scores, deviation
from gliomap.engine.weights import Which
from gliomap.methods.rebuild_training import Kind, Plan, Training, Units, vectors_of
from gliomap.methods.restoration import Walk, levels
from gliomap.nets import baur
from gliomap.nets.dae import DaeConfig, DenoisingUNet
from gliomap.nets.dense_autoencoder import DenseAutoencoder
from gliomap.nets.unet import UNet, UNetConfig


@dataclass(frozen=True)
class Restore:
    """Section `rebuild.restore` of params.yaml: inference of these baselines."""

    error: Error  # of the restored slice, per pixel; the two order the pixels alike where draws = 1
    weights: Which  # of DAE and DDPM; AE and VAE take the raw ones, whose batch norms fit them
    steps_per_1000: int = number(min=1, max=1000)  # of DDIM over the whole schedule; t* takes its share of them
    draws: int = number(min=1)  # noisy versions of a slice that the DDPM restores; the mean of their errors counts


SECTIONS: dict[str, type] = {"rebuild.restore": Restore}


class Restorer(Protocol):
    """A way to restore slices."""

    def restored(self, batch: Batch, noise: Noise, draw: int) -> tuple[Tensor, int]:
        """(float32 (B, 1, H, W), the slices of `batch` as healthy; network evaluations that each took)."""
        ...


class Network:
    """One call of a network that works on the scale of `Units`: AE, VAE, DAE. Without chance."""

    def __init__(self, net: nn.Module, units: Units, inside: bool = False) -> None:
        """inside: the network has learned the brain alone (DAE), so that outside of it the slice stays as it is."""
        self.net, self.units, self.inside = net, units, inside

    def restored(self, batch: Batch, noise: Noise, draw: int) -> tuple[Tensor, int]:
        """As `Restorer`."""
        x = self.units.to(batch.images).contiguous(memory_format=torch.channels_last)
        restored = self.units.back(self.net(x).float())
        return torch.where(batch.brain[:, None] > 0, restored, batch.images) if self.inside else restored, 1


class Diffused:
    """Noised to the level t* - 1, then DDIM back to the clean slice (spec 7.4)."""

    def __init__(self, denoiser: Denoiser, noise_level: float, steps_per_1000: int, draws: int) -> None:
        """noise_level: t* as a share of the levels. UserError if it leaves less than 2 of them."""
        self.denoiser, self.draws = denoiser, draws
        self.times = levels(denoiser.schedule, noise_level, steps_per_1000)

    def restored(self, batch: Batch, noise: Noise, draw: int) -> tuple[Tensor, int]:
        """As `Restorer`. Noise is keyed by slice row and draw."""
        keys = batch.rows * self.draws + draw
        walk = Walk(batch.images, keys, noise, self.times, self.denoiser.schedule, None)
        return walk.back(walk.counted(self.denoiser.bind()), walk.noised()), walk.calls


class RebuildScorer:
    """Map = mean over the draws of the error of the restored slice, inside the brain."""

    def __init__(self, modality: str, restorer: Restorer, error: Error, draws: int) -> None:
        self.modalities = (modality,)
        self.restorer, self.error, self.draws = restorer, error, draws

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores with the mean restoration, in the recipe's units."""
        found = [self.restorer.restored(batch, noise, draw) for draw in range(self.draws)]
        error = torch.stack([deviation(restored, batch.images, self.error) for restored, _ in found]).mean(0)
        mean = torch.stack([restored for restored, _ in found]).mean(0)
        evaluations = torch.full((len(mean),), sum(calls for _, calls in found), dtype=torch.int64)
        return Scores(error[:, 0] * batch.brain, evaluations, mean[:, 0])


BUILDERS: dict[Kind, Callable[[dict[str, Any]], nn.Module]] = {
    "ae": lambda value: DenseAutoencoder(baur.of(value), vectors_of("ae")),
    "vae": lambda value: DenseAutoencoder(baur.of(value), vectors_of("vae")),
    "dae": lambda value: DenoisingUNet(DaeConfig.of(value)),
    "coarse": lambda value: DenoisingUNet(DaeConfig.of(value)),
    "ddpm": lambda value: UNet(UNetConfig.of(value)),
}


def load(plan: Plan, own: Restore, models: Path, image_size: int, device: torch.device) -> tuple[dict[str, Any], nn.Module]:
    """(arguments in model.json, the network ready for inference) of models/rebuild/<key>.

    UserError if a file is missing or damaged, or if the network was trained on slices of another size.
    """
    folder, which = models / Training.name / plan.key, "raw" if plan.kind in ("ae", "vae") else own.weights
    meta, states = weights.load(folder, which, method=Training.name)
    arguments = meta["networks"]
    weights.check_size(folder, arguments["net"]["image_size"], image_size)
    net = weights.put(BUILDERS[plan.kind](arguments["net"]), states["net"], folder / f"{which}.safetensors")
    return arguments, for_inference(net, device)


def load_ddpm(plan: Plan, own: Restore, models: Path, image_size: int, device: torch.device) -> Denoiser:
    """The trained DDPM of that plan. UserError as `load`."""
    arguments, net = load(plan, own, models, image_size, device)
    return Denoiser(net, Diffusion(**arguments["diffusion"]).schedule(), target="x0")


def diffused(modality: str, denoiser: Denoiser, own: Restore, noise_level: float) -> RebuildScorer:
    """A DDPM at one t*, as a share of the levels, as a Scorer."""
    restorer = Diffused(denoiser, noise_level, own.steps_per_1000, own.draws)
    return RebuildScorer(modality, restorer, own.error, own.draws)


def level_file(models: Path, plan: Plan) -> Path:
    """Where stages/tune_rebuild.py keeps the t* of a DDPM."""
    return models / "levels" / f"{plan.key}.json"


def tuned(models: Path, plan: Plan) -> float:
    """The t* that tuning has chosen, as a share of the levels. UserError if its file is missing or of another network."""
    path = level_file(models, plan)
    found = read_json(path)
    level = found.get("noise_level") if isinstance(found, dict) and found.get("network") == plan.key else None
    if not isinstance(level, int | float):
        raise UserError(f"{path}: found no noise_level of {plan.key}, expected a number; run the stage tune_rebuild again")
    return float(level)


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> RebuildScorer:
    """The baseline `pair` = <kind>/<modality> as a Scorer. UserError if there is no such kind, or as `load` and `tuned`."""
    own: Restore = p["rebuild.restore"]
    plan, size = Plan.of(pair), slices.images.shape[-1]
    if plan.kind == "ddpm":
        return diffused(plan.modality, load_ddpm(plan, own, models, size, device), own, tuned(models, plan))
    _, net = load(plan, own, models, size, device)
    network = Network(net, Units(slices.background), inside=plan.kind in ("dae", "coarse"))
    return RebuildScorer(plan.modality, network, own.error, 1)
