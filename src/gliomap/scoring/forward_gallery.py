"""Which slices AnoFPDM's pictures show, and what is drawn of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.scoring import decisions, gallery, mixed_inputs
from gliomap.scoring.decisions import Decided
from gliomap.scoring.mixed_inputs import Predicted

STACKS = ("x_h", "x_ref", "stack_h", "stack_ref")


@dataclass(frozen=True)
class Shown:
    """A test slice of the picture of masks. image, truth (H, W); maps, masks: by row of the table, each (H, W)."""

    label: str
    image: np.ndarray
    truth: np.ndarray
    maps: dict[str, np.ndarray]
    masks: dict[str, np.ndarray]


def largest(study: Predicted, tumour: np.ndarray, slices: Slices) -> tuple[dict[str, np.ndarray], str]:
    """Arrays of the study's slice with the largest tumour, for forward_pictures.strip, and its name. tumour: (s, H, W)."""
    i = int(np.count_nonzero(tumour, axis=(1, 2)).argmax())
    arrays = {name: study[name][i] for name in STACKS}
    arrays |= {"image": slices.read(study.rows[i : i + 1], ("flair",))[0, 0], "truth": tumour[i]}
    return arrays, f"case {study.index['case'][i]}, z = {study.index['z'][i]} mm"


def decided(keys: Sequence[str], rows: np.ndarray, slices: Slices, component_px: int) -> dict[str, Decided]:
    """Maps and masks of each row of the table on the test slices `rows`, ascending."""
    result = {}
    for key in run.progress(keys, label="masks", unit="rows"):
        chosen = decisions.load(Path("models/decisions") / f"{key}.json", slices.recipe)
        path = decisions.place(key).predictions("test")
        found = mixed_inputs.read(path, slices, "test", decisions.NEEDS[chosen["kind"]])
        result[key] = decisions.decide(found.only(rows), chosen, component_px)
    return result


def examples(scores: pd.DataFrame, at: Sequence[int], slices: Slices, found: dict[str, Decided]) -> list[Shown]:
    """What is drawn of the slices at these positions of `scores`; `found`: of the same slices, ascending rows."""
    rows = scores["row"].to_numpy()[list(at)]
    images = slices.read(rows, ("flair",))[:, 0]
    truth = np.asarray(slices.masks("test")[np.searchsorted(slices.mask_rows("test"), rows)]).astype(bool)
    place = np.searchsorted(np.sort(rows), rows)
    return [
        Shown(
            label=gallery.describe(scores, position),
            image=images[i],
            truth=truth[i],
            maps={key: d.maps[place[i]] for key, d in found.items()},
            masks={key: d.mixed[place[i]] for key, d in found.items()},
        )
        for i, position in enumerate(at)
    ]
