"""The floor below all floors: independent uniform noise inside the brain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores

SECTIONS: dict[str, type] = {}


class UniformScorer:
    """Map = uniform noise in [0, 1), a function of (seed, slice)."""

    def __init__(self, modalities: tuple[str, ...]) -> None:
        self.modalities = modalities

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores without a reconstruction; of the batch only rows and brain are looked at."""
        found = noise.uniform("uniform", batch.rows, 0, tuple(batch.brain.shape[1:])).to(batch.brain)
        return Scores(found * batch.brain, torch.zeros(len(found), dtype=torch.int64))


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> UniformScorer:
    """The random map; it looks at no image, so the first modality will do."""
    return UniformScorer(slices.modalities[:1])
