"""Random numbers that are a function of (seed, name, key, step) for every sample.

They do not depend on the batch that a sample is in, on the order, on the number of devices or on a restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Keys = Tensor | np.ndarray | Sequence[int]
Device = torch.device | str


@dataclass(frozen=True)
class Noise:
    """The project's randomness. A sample is named by what the numbers are for, by its key (the slice's row) and by a step.

    Each sample has a stream of its own: PCG64 started at a 128-bit hash of (seed, name, step, key). (torch's generator on
    the CPU keeps 32 bits of a seed, so that among millions of samples some would share their noise.)
    """

    seed: int

    def normal(self, name: str, keys: Keys, step: int, shape: tuple[int, ...], device: Device = "cpu") -> Tensor:
        """float32 (B, *shape), N(0, 1), for B integer keys; made on the CPU whatever the device."""
        out = np.empty((len(keys), *shape), np.float32)
        for i, rng in enumerate(self._streams(name, keys, step)):
            rng.standard_normal(dtype=np.float32, out=out[i : i + 1])
        return torch.from_numpy(out).to(device)

    def uniform(self, name: str, keys: Keys, step: int, shape: tuple[int, ...], device: Device = "cpu") -> Tensor:
        """float32 (B, *shape), uniform in [0, 1), for B integer keys."""
        out = np.empty((len(keys), *shape), np.float32)
        for i, rng in enumerate(self._streams(name, keys, step)):
            rng.random(dtype=np.float32, out=out[i : i + 1])
        return torch.from_numpy(out).to(device)

    def integers(self, name: str, keys: Keys, step: int, low: int, high: int, device: Device = "cpu") -> Tensor:
        """int64 (B,), uniform on low .. high - 1, for B integer keys."""
        drawn = [int(rng.integers(low, high)) for rng in self._streams(name, keys, step)]
        return torch.tensor(drawn, dtype=torch.int64, device=device)

    def draws(self, name: str, keys: Keys, like: Tensor) -> Callable[[int], Tensor]:
        """What a stochastic sampler asks for: step -> N(0, 1) of the shape (B, ...), type and device of `like`."""
        return lambda step: self.normal(name, keys, step, tuple(like.shape[1:])).to(like)

    def _streams(self, name: str, keys: Keys, step: int) -> Iterator[np.random.Generator]:
        """One generator after the other, each valid until the next one is asked for."""
        common = hashlib.blake2b(f"{self.seed}\n{step}\n{name}".encode(), digest_size=16)
        bits = np.random.PCG64DXSM(0)
        rng, state = np.random.Generator(bits), bits.state
        for key in keys.tolist() if isinstance(keys, Tensor | np.ndarray) else keys:
            own = common.copy()
            own.update(b"\n%d" % key)
            state["state"]["state"] = int.from_bytes(own.digest(), "little")
            bits.state = state
            yield rng
