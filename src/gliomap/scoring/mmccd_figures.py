"""Of the MMCCD paper's figures 3 and 4, made of our results: which methods, which slices, and all that is drawn of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring import gallery
from gliomap.scoring.gallery import Example
from gliomap.scoring.leaderboard import Entry

SYSTEM, MODALITY = "mmccd", "flair"  # of figure 3
METHODS = ("ae", "vae1", "dae_flair", "dae_coarse", "ddpm_flair", "cyclic_unet", "mmccd")  # of figure 3, in its order
EXAMPLES = 3  # of figure 3 in the paper
CYCLE, MASKED = "cyclic_unet", "mmccd"  # the rows of figure 4: keys, or what they start with
PAPERS_PAIR = ("t2", "t1")  # of figure 4
FAILURES = 3


@dataclass(frozen=True)
class Failure:
    """A slice of figure 4. cycle, masked: the two methods' view of it; target: the modality y itself; translation: what
    Cyclic U-Net makes of x; all images (H, W)."""

    cycle: Example
    masked: Example
    target: np.ndarray
    translation: np.ndarray


def methods(entries: Sequence[Entry]) -> list[Entry]:
    """Rows of figure 3 that this version has, in the paper's order. UserError if there is none."""
    mine = {entry.key: entry for entry in entries if entry.system == SYSTEM}
    found = [mine[key] for key in METHODS if key in mine]
    if not found:
        raise UserError(f"conf/graph.yaml: found none of {', '.join(METHODS)}, expected one or more; see docs/extending.md")
    return found


def examples(chosen: Sequence[Entry], slices: Slices) -> dict[str, list[Example]]:
    """Figure 3: each method's view of the same test slices, spread over the tumour areas; no prediction is looked at."""
    scores = gallery.read_scores(chosen[-1].place)
    rows = scores["row"][gallery.choose(scores, EXAMPLES, 0)].to_numpy()
    return {entry.key: views(entry, rows, slices, MODALITY)[0] for entry in chosen}


def views(entry: Entry, rows: np.ndarray, slices: Slices, modality: str) -> tuple[list[Example], Mapping[str, np.ndarray]]:
    """(the method's view of test slices, its other arrays of them by name). UserError if it has not scored one of them."""
    scores = gallery.read_scores(entry.place)
    absent = np.setdiff1d(rows, scores["row"])
    if len(absent):
        expected = f"expected the slices of the other methods; run `dvc repro evaluate@{entry.system}`"
        raise UserError(f"{entry.place.scores}: found no row {absent[0]}, {expected}")
    at = [int(np.flatnonzero(scores["row"] == row)[0]) for row in rows]
    found = gallery.read(entry.place, scores)
    other = {name: values[at] for name, values in found.predictions.items() if len(values) == len(scores)}
    return gallery.examples(found, at, slices, modality), other


def pair(entries: Sequence[Entry]) -> tuple[Entry, Entry]:
    """(Cyclic U-Net, MMCCD) of figure 4: of T2 -> T1 if that runs, else of the pair most like it, of equal ones the last.

    UserError if none runs.
    """
    found = {entry.modalities: entry for entry in entries if entry.system == SYSTEM and entry.key.startswith(CYCLE)}
    both = [
        (found[entry.modalities], entry)
        for entry in entries
        if entry.system == SYSTEM and entry.key.startswith(MASKED) and entry.modalities in found
    ]
    likeness = [sum(a == b for a, b in zip(mine.modalities, PAPERS_PAIR)) for _, mine in both]
    if not both:
        raise UserError("conf/graph.yaml: found no pair that both Cyclic U-Net and MMCCD have, expected one; add their rows")
    return max(zip(likeness, range(len(both)), both), key=lambda item: item[:2])[2]


def worst(scores: pd.DataFrame, count: int = FAILURES) -> list[int]:
    """Rows of the slices where the method fails: the lowest Dice among the larger half of the tumours, one a patient."""
    ill = scores[(scores["tumour"] == 1) & (scores["tumour_px"] > 0)]
    large = ill[ill["tumour_px"] >= ill["tumour_px"].median()]
    return large.sort_values(["dice", "row"], kind="stable").drop_duplicates("patient")["row"][:count].tolist()


def failures(both: tuple[Entry, Entry], slices: Slices) -> list[Failure]:
    """Figure 4. UserError if Cyclic U-Net's predictions hold no translation."""
    cycle, masked = both
    x, y = cycle.modalities
    rows = np.array(worst(gallery.read_scores(cycle.place)), np.int64)
    mine, other = views(cycle, rows, slices, x)
    if "translation" not in other:
        path, again = cycle.place.predictions("test"), f"run `dvc repro -f infer@{cycle.key}`"
        raise UserError(f"{path}: found no translation, expected that of {x} to {y}; {again}")
    theirs, target = views(masked, rows, slices, x)[0], slices.read(rows, (y,))[:, 0]
    return [Failure(*each) for each in zip(mine, theirs, target, other["translation"].astype(np.float32))]
