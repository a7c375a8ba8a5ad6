"""The Dice that TSGM would have if each test slice chose its own modality weights by its mask: an upper bound.

The released code reports this for CycleGAN (TSGM spec 5.1, 9).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.pool import in_order
from gliomap.scoring import residuals, weights
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.residuals import WEIGHTED, Population
from gliomap.scoring.weights import Seen, grid

FEW = 2_000_000  # pixels that one process searches sooner than others have started


def dice(population: Population, row: str, test: Inputs, step: float, component_px: int) -> np.ndarray:
    """(n,): the Dice that the best weights of each slice reach, chosen by its own mask: an upper bound, no result.

    NaN for slices without tumour, and for rows that have one modality here or whose modalities the paper does not weight.
    """
    result, path = np.full(len(test.maps), np.nan), population.residuals(WEIGHTED, row)
    if not path.is_file():
        return result
    seen = residuals.read(path, population, WEIGHTED)
    if not np.array_equal(seen.rows, test.index["row"]):
        words = f"other slices than in {population.predictions(row)}, expected the same"
        raise UserError(f"{path}: found {words}; run the stage weigh again")
    if len(seen.modalities) < 2:
        return result
    search = partial(weights.search, combinations=grid(step, len(seen.modalities)), component_px=component_px)
    scored = np.flatnonzero(test.scored)
    jobs = (Seen(seen.residual[i], test.brain[i], test.truth[i]) for i in scored)
    workers = run.workers() if len(scored) * test.brain[0].size > FEW else 1
    result[scored] = [best.dice for best in in_order(search, jobs, workers)]
    return result
