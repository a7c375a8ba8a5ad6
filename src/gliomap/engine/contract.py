"""What a method and the training loop promise each other: parameters `Train`, data `Batch`, protocol `Method`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from gliomap.base.params import number
from gliomap.diffusion.noise import Noise


@dataclass(frozen=True)
class Train:
    """How one network (or one set that is trained together) is trained."""

    steps: int = number(min=1)  # optimiser steps; one step sees `batch` slices
    batch: int = number(min=1)  # slices per step, over all devices together
    lr: float = number(min=0)  # learning rate after the warm-up
    weight_decay: float = number(min=0)  # of AdamW; 0 makes it Adam
    warmup: int = number(min=0)  # steps of linear rise of the learning rate; 0 = none
    decay_from: float = number(min=0, max=1)  # share of the steps before the rate falls linearly to 0; 1 = constant
    clip: float = number(min=0)  # largest gradient norm; 0 = no clipping
    ema: float = number(min=0, max=1)  # decay of the averaged weights per step; 0 = they equal the raw ones
    log_every: int = number(min=1)  # steps per row of log.csv
    save_every: int = number(min=1)  # steps between checkpoints; does not change the result
    val_slices: int = number(min=0)  # held-out slices behind val_loss, at every row of log.csv; 0 = none


@dataclass(frozen=True)
class Batch:
    """Slices as a method sees them.

    rows: int64 (B,), their rows in the slice store, on the CPU: the keys of their noise.
    images: float32 (B, M, H, W), the method's modalities in the method's order, on the device.
    brain: float32 (B, H, W), 1 inside the brain, else 0.
    step: the training step, or the step of a sampler; the second key of the noise.
    """

    rows: Tensor
    images: Tensor
    brain: Tensor
    step: int


class Method(Protocol):
    """A method that `train.fit` can train.

    All that it learns, or remembers between two steps, is a parameter or buffer of one of `nets`: only those are in a
    checkpoint. Randomness comes from `noise` (and dropout), never from a generator of its own: a run is a function of
    (seed, step).
    """

    name: str  # folder name under models/
    modalities: tuple[str, ...]  # channels of Batch.images, in this order
    nets: dict[str, nn.Module]
    arguments: dict[str, Any]  # JSON-like: what it takes to build the nets again; stored in model.json

    def optimisers(self, train: Train) -> dict[str, Optimizer]:
        """Optimisers by name; their learning rates are those after the warm-up."""
        ...

    def losses(self, batch: Batch, noise: Noise) -> Iterator[tuple[str, Tensor]]:
        """Pairs (optimiser name, scalar float32 loss). A pair is asked for after the optimiser before it has stepped.

        The loss is a mean over the slices of the batch, so that the mean over devices is the mean over the global batch.
        """
        ...


def adamw(parameters: Iterable[nn.Parameter], train: Train, betas: tuple[float, float] = (0.9, 0.999)) -> AdamW:
    """AdamW with the rate and weight decay of `train`."""
    return AdamW(parameters, lr=train.lr, betas=betas, weight_decay=train.weight_decay)


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """What is computed in here gives no gradient to the parameters of `nets`, but passes it on to their input."""
    for net in nets:
        net.requires_grad_(False)
    try:
        yield
    finally:
        for net in nets:
            net.requires_grad_(True)
