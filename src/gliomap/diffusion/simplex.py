"""Simplex noise as AnoDDPM uses it (Wyatt et al. 2022): smooth random fields, several octaves of them, in place of N(0, 1).

One octave is OpenSimplex noise in 3-D (Spencer 2014), looked at on a plane of constant third coordinate: a sum over the
points p of a face-centred cubic lattice, (2 - r^2)^4 g_p . (x - p) / 103 within r^2 < 2 of x, with a random gradient g_p out
of 24. Only the g_p are random. So a field is a fixed sparse matrix, made once for each image size, times the gradients.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from gliomap.base.params import number
from gliomap.diffusion.noise import Device, Keys, Noise

PERIOD = 256  # entries of the permutation; the noise repeats after as many lattice points
PLANES = 8  # different third coordinates; a field is on one of them
FIRST = 0.618  # the first of them, in their distances: no octave then sees a plane of lattice points
ALONG = 6.0  # the lattice repeats after this many cells along the third axis
STRETCH, SQUISH = -1 / 6, 1 / 3  # to and from the coordinates in which the lattice is cubic
REACH2 = 2.0  # squared radius of a lattice point's influence
NORM = 103.0  # brings an octave into -1 .. 1
SIGNS = [(x, y, z) for z in (1, -1) for y in (1, -1) for x in (-1, 1)]
GRADIENTS = np.array([np.where(np.arange(3) == axis, 11, 4) * s for s in SIGNS for axis in range(3)], np.float32)
CORNERS = np.array(list(itertools.product((-1, 0, 1, 2), repeat=3)))  # around a cell of the lattice; some are out of reach


@dataclass(frozen=True)
class Simplex:
    """Section `simplex.noise` of params.yaml.

    Octave i has amplitude persistence^i and cells of frequency / 2^i pixels. As in the original the sum is not normalised:
    with 6 octaves and persistence 0.8 its mean is 0 and its standard deviation 0.51 (measured over 384 fields at 32 to 256
    pixels); that of Gaussian noise is 1. At the same level of the schedule a slice is thus noised less, and what the network
    predicts is smaller. The original's third coordinate is the level; here it is one of 8, drawn, and says nothing of it.
    """

    octaves: int = number(min=1, max=12)
    persistence: float = number(min=0, max=1)  # amplitude of an octave over that of the one before
    frequency: float = number(min=1)  # pixels of a cell of the coarsest octave; scale it with the image

    def fields(
        self, noise: Noise, name: str, keys: Keys, step: int, shape: tuple[int, int, int], device: Device = "cpu"
    ) -> Tensor:
        """float32 (B, C, H, W) for B integer keys and shape (C, H, W): an independent field for each key and channel.

        A function of (seed, name, key, step): the order of the lattice's gradients and the plane are drawn by `noise`.
        """
        channels, height, width = shape
        ranks = noise.uniform(f"{name}/order", keys, step, (channels, PERIOD)).numpy()
        order = ranks.argsort(axis=-1, kind="stable")
        plane = noise.integers(f"{name}/plane", keys, step, 0, PLANES).numpy()
        out = np.empty((len(keys), channels, height, width), np.float32)
        for z in np.unique(plane):
            here = plane == z
            found = _spread(self, height, width, int(z)).times(order[here].reshape(-1, PERIOD))
            out[here] = found.reshape(-1, channels, height, width)
        return torch.from_numpy(out).to(device)


@dataclass(frozen=True)
class Spread:
    """What the lattice's gradients become on one plane: points int64 (n, 3), weights sparse (pixels, 3 n)."""

    points: NDArray[np.int64]
    weights: sparse.csr_array

    def times(self, order: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 (F, pixels): the noise for F permutations, int (F, 256)."""
        gradient = GRADIENTS[_hashed(order, self.points) % len(GRADIENTS)]  # (F, n, 3)
        return (self.weights @ gradient.reshape(len(order), -1).T).T


def _hashed(order: NDArray[np.int64], points: NDArray[np.int64]) -> NDArray[np.int64]:
    """(F, n): the number that each of F permutations gives to each lattice point."""
    found = order[:, points[:, 0] % PERIOD]
    for axis in (1, 2):
        found = np.take_along_axis(order, (found + points[:, axis]) % PERIOD, axis=1)
    return found


@lru_cache(maxsize=2 * PLANES)
def _spread(settings: Simplex, height: int, width: int, plane: int) -> Spread:
    """The plane of that number, sampled at whole pixels."""
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    parts = []
    for octave in range(settings.octaves):
        cell = settings.frequency / 2**octave
        at = np.stack([x / cell, y / cell, np.full(x.size, (plane + FIRST) * ALONG / PLANES * 2**octave)], axis=1)
        pixel, point, weight = _influence(at)
        parts.append((pixel, point, weight * settings.persistence**octave))
    pixel, point, weight = (np.concatenate(column) for column in zip(*parts, strict=True))
    name = point % PERIOD @ [PERIOD**2, PERIOD, 1]  # points a period apart have the same gradient
    names, which = np.unique(name, return_inverse=True)
    points = np.stack(np.unravel_index(names, 3 * (PERIOD,)), axis=1)
    columns = 3 * which[:, None] + np.arange(3)
    entries = (weight.astype(np.float32).ravel(), (np.repeat(pixel, 3), columns.ravel()))
    return Spread(points, sparse.coo_array(entries, shape=(x.size, 3 * len(points))).tocsr())


def _influence(at: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Which lattice points reach which of the positions `at` (m, 3): index into `at`, point (k, 3), weight (k, 3).

    The noise there is the sum over k of weight . gradient.
    """
    base = np.floor(at + STRETCH * at.sum(1, keepdims=True)).astype(np.int64)
    found = []
    for corner in CORNERS:
        point = base + corner
        away = at - point - SQUISH * point.sum(1, keepdims=True)
        near = REACH2 - (away**2).sum(1)
        inside = np.flatnonzero(near > 0)
        found.append((inside, point[inside], near[inside, None] ** 4 * away[inside] / NORM))
    pixel, point, weight = (np.concatenate(column) for column in zip(*found, strict=True))
    return pixel, point, weight
