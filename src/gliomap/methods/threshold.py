"""The simplest detector: intensity after histogram equalisation of the whole volume. No training, no network.

A method that does not beat the FLAIR threshold has found no more than brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scores


@dataclass(frozen=True)
class Threshold:
    """Section `threshold` of params.yaml."""

    dark: tuple[str, ...]  # modalities on which tumours are darker than the brain; there the map is one minus the rank


SECTIONS: dict[str, type] = {"threshold": Threshold}


def ranks(image: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """float64 in 0..1, the shape of `image`: the share of the volume's brain that is darker than the pixel.

    quantiles: (Q,) ascending intensities of evenly spaced shares 0..1 of the volume's brain voxels. A pixel that ties
    with several quantiles gets the middle of their shares, whatever the direction in which one reads the scale.
    """
    below = np.searchsorted(quantiles, image, side="left")
    above = np.searchsorted(quantiles, image, side="right")
    tied = (below + above - 1) / 2 / (len(quantiles) - 1)
    between = np.interp(image, quantiles, np.linspace(0, 1, len(quantiles)))
    return np.where(above > below, tied, between)


class ThresholdScorer:
    """Map = rank of the intensity in the volume's brain, or one minus it."""

    def __init__(self, modality: str, slices: Slices, dark: bool) -> None:
        self.modalities = (modality,)
        self.slices, self.dark = slices, dark

    def score(self, batch: Batch, noise: Noise) -> Scores:
        """Scores without a reconstruction; noise is not used."""
        quantiles = self.slices.quantiles_of(batch.rows.numpy())[:, self.slices.modalities.index(self.modalities[0])]
        images = batch.images[:, 0].cpu().numpy()
        rank = np.stack([ranks(image, of_case) for image, of_case in zip(images, quantiles, strict=True)])
        found = torch.from_numpy(1 - rank if self.dark else rank).to(batch.brain)
        return Scores(found * batch.brain, torch.zeros(len(found), dtype=torch.int64))


def scorer(p: dict[str, Any], models: Path, slices: Slices, device: torch.device, pair: str) -> ThresholdScorer:
    """`pair` is the one modality to look at. UserError if the slices do not have it."""
    if pair not in slices.modalities:
        raise UserError(f"threshold: modality is {pair!r}, expected one of {', '.join(slices.modalities)}")
    return ThresholdScorer(pair, slices, dark=pair in p["threshold"].dark)
