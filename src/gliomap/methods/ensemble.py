"""The two ensembles of autoencoders: AE-1 for healthy and tumour slices, AE-2 for healthy ones (DDMD spec 1.6, 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import Optimizer

from gliomap.base.errors import UserError
from gliomap.data.balance import balanced
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.nets.autoencoder import Autoencoder, AutoencoderConfig

NAME = "ae"
MODALITIES = ("t1", "t1ce", "t2", "flair")
LEAST = 2  # slices of a member in a step: batch norm needs a variance
Population = Literal["mixture", "healthy"]


@dataclass(frozen=True)
class EnsembleConfig:
    """All that it takes to build an ensemble, with the weights that it starts from."""

    net: AutoencoderConfig
    members: int
    population: Population
    seed: int

    @classmethod
    def of(cls, value: dict[str, Any]) -> EnsembleConfig:
        """From model.json, as asdict wrote it."""
        return cls(**{**value, "net": AutoencoderConfig.of(value["net"])})


def build(config: EnsembleConfig) -> dict[str, nn.Module]:
    """member0, member1 ...: untrained, each with its own weights, a function of (seed, population, member)."""
    if config.members < 2:
        found = f"autoencoder.members is {config.members}"
        raise UserError(f"params.yaml: {found}, expected 2 or more, because the intra map is their spread; the paper has 3")
    nets: dict[str, nn.Module] = {}
    with torch.random.fork_rng(devices=[]):
        for j in range(config.members):
            name = f"{config.seed}/{config.population}/{j}"
            torch.manual_seed(int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "little"))
            nets[f"member{j}"] = Autoencoder(config.net)
    return nets


class Ensemble:
    """Training of all members at once; each has its optimiser, so that none knows of the others (Eq. 9 and 10).

    A batch holds `members` times the slices of one member: member j takes every members-th of them from the j-th on. So
    all see every slice equally often, each in an order of its own. (The members run one after the other: a pass over all
    of them by torch.func.vmap took 1.2 to 1.6 times as long at 64 px on two cores.)
    """

    name = NAME
    modalities = MODALITIES

    def __init__(self, config: EnsembleConfig) -> None:
        self.nets = build(config)
        self.arguments = asdict(config)

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """AdamW; with weight decay 0 it is the paper's Adam."""
        return {name: adamw(net.parameters(), train) for name, net in self.nets.items()}

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, torch.Tensor]]:
        """A pair a member: its mean squared error over pixels and channels; of all slices where nothing is learned.

        Raises UserError if a member would get a single slice.
        """
        count = len(self.nets)
        for j, (name, net) in enumerate(self.nets.items()):
            own = batch.images[j::count] if net.training else batch.images
            if net.training and len(own) < LEAST:
                found = f"leaves {len(own)} slices a step for {name} on this device"
                raise UserError(f"params.yaml: autoencoder.train.batch {found}, expected {LEAST} or more; raise it")
            yield name, F.mse_loss(net(own), own)


def rows_of(population: Population, slices: Slices, split: str, seed: int) -> np.ndarray:
    """int64, ascending: what an ensemble of the population learns from in a split. Reads the split's labels, no mask."""
    return balanced(slices, split, seed) if population == "mixture" else slices.rows(split, tumour=False)


def train_of(train: Train, members: int, share: float, equal_steps: bool) -> Train:
    """`train`, which is told for one member and the mixture, for all members and a population.

    share: of the mixture's slices that the population has. Equal epochs are as many steps times that share, as in the
    paper, where AE-1 makes twice the steps of AE-2; equal_steps: the same steps for both, an ablation (spec 1.6).
    """
    steps = train.steps if equal_steps else max(1, round(train.steps * share))
    return replace(train, steps=steps, batch=train.batch * members)
