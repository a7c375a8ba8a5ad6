"""Batches as a function of (seed, step): batch k is a slice of the endless row of permutations(seed, epoch)."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.engine.contract import Batch

CHUNK = 256  # slices per read
SHARE = 0.5  # of the free GPU memory that the slices may take


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 (count,): the order of epoch `epoch`, a function of the arguments alone."""
    return np.random.default_rng([seed, epoch]).permutation(count)


class Feed:
    """Gives the batch of any step; every process its own share of it.

    On a GPU the slices are held in its memory where they take at most half of what is free. Elsewhere they are read from
    the memory-mapped store, which the system caches.
    """

    def __init__(self, slices: Slices, rows: np.ndarray, modalities: tuple[str, ...], seed: int, fabric: Fabric) -> None:
        if len(rows) == 0:
            raise UserError("no slices to train on: the training split has none of the kind this method learns from")
        self.slices, self.modalities, self.fabric = slices, modalities, fabric
        self.rows, self.seed = np.asarray(rows), seed
        self.held = self._hold() if fabric.device.type == "cuda" else None

    def rows_of(self, step: int, size: int) -> np.ndarray:
        """int64 (size,): rows of the whole batch of the step, over all processes."""
        count = len(self.rows)
        first, last = step * size // count, (step * size + size - 1) // count
        order = np.concatenate([permutation(self.seed, epoch, count) for epoch in range(first, last + 1)])
        start = step * size - first * count
        return self.rows[order[start : start + size]]

    def batch(self, step: int, size: int) -> Batch:
        """This process's share, size / processes slices, of the step's batch of `size` slices."""
        return self.of(self.rows_of(step, size)[self.fabric.global_rank :: self.fabric.world_size], step)

    def of(self, rows: np.ndarray, step: int) -> Batch:
        """The given rows as a batch on the device."""
        images, brain = self._held(rows) if self.held else self._read(rows)
        device = self.fabric.device
        return Batch(torch.from_numpy(rows), images.to(device).float(), brain.to(device).float(), step)

    def _read(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.slices.read(rows, self.modalities)), torch.from_numpy(self.slices.brain_of(rows))

    def _held(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        where = torch.from_numpy(np.searchsorted(self.sorted, rows)).to(self.fabric.device)
        return self.held[0][where], self.held[1][where]

    def _hold(self) -> tuple[Tensor, Tensor] | None:
        """All slices on the GPU in the store's type, or None where they do not fit."""
        self.sorted = np.unique(self.rows)
        images, brain = self._read(self.sorted[:1])
        kind = torch.from_numpy(np.empty(0, self.slices.images.dtype)).dtype
        need = len(self.sorted) * (images.numel() * kind.itemsize + brain.numel())
        if need > SHARE * torch.cuda.mem_get_info(self.fabric.device)[0]:
            return None
        chunks = [self._read(self.sorted[i : i + CHUNK]) for i in range(0, len(self.sorted), CHUNK)]
        device = self.fabric.device
        return torch.cat([x.to(device, kind) for x, _ in chunks]), torch.cat([b.to(device) for _, b in chunks])


def content_hash(slices: Slices, rows: np.ndarray, modalities: tuple[str, ...]) -> str:
    """Hash of all that a training reads: the rows, their images in `modalities` and their brains."""
    digest = hashlib.blake2b(np.asarray(rows, np.int64).tobytes(), digest_size=16)
    digest.update(",".join(modalities).encode())
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        digest.update(np.ascontiguousarray(slices.read(part, modalities)))
        digest.update(np.ascontiguousarray(slices.brain_of(part)))
    return digest.hexdigest()
