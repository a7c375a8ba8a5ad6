"""What the tests of networks that restore slices share: a short training, slices with a brain, steps of an optimiser."""

import torch

from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch, Method, Train

SIZE = 16
TRAIN = Train(
    steps=5, batch=4, lr=0.01, weight_decay=0.0, warmup=0, decay_from=1.0, clip=0.0, ema=0.0,
    log_every=1, save_every=1, val_slices=0,
)  # fmt: skip


def batch_of(channels: int, count: int = 6, first: int = 5) -> Batch:
    """Slices in [-1, 1] with a brain in their middle; rows from `first` on."""
    brain = torch.zeros(count, SIZE, SIZE)
    brain[:, 3:12, 4:14] = 1
    return Batch(torch.arange(first, first + count), torch.rand(count, channels, SIZE, SIZE) * 2 - 1, brain, 0)


def losses_of(method: Method, batch: Batch, steps: int) -> list[float]:
    """Of so many steps of its one optimiser on the same slices."""
    [optimiser] = method.optimisers(TRAIN).values()
    found = []
    for _ in range(steps):
        [(_, loss)] = method.losses(batch, Noise(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found
