"""From a method's own masks to the numbers of metrics/confusion/<row>.json, as the DDMD paper counts (DDMD spec 6).

"confusion" names these conventions: everything follows from true and false positives and negatives over the whole image.
`_pooled` = from the counts of all slices; `_slice_tumour` = mean over slices labelled with tumour and with a tumour pixel on
this grid; `_slice_all` = mean over all slices; `_patient` = from the counts of a patient's slices, mean over patients with
tumour; `floor_` = what empty masks would score. The paper's Miou lies above its Dice, which only a mean over both classes
can do, and its PA below what an empty mask scores in plain accuracy: it is read as the mean accuracy of the two classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gliomap.base.params import number
from gliomap.scoring import bootstrap, counts
from gliomap.scoring.counts import Counts, ratio
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.summary import Evaluate, Numbers

CELLS = ("tp", "fp", "fn", "tn")
ALL_SLICES = ("dice", "miou", "mpa")  # of the numbers of a slice, those that also exist without tumour and say something


@dataclass(frozen=True)
class Confusion:
    """Section `confusion` of params.yaml: an area of the head, so that it holds at every image size."""

    large_mm2: float = number(min=0)  # a healthy slice with more predicted than this is a large false alarm


def dice(c: Counts) -> np.ndarray:
    """2 TP / (2 TP + FP + FN); 1 where both masks are empty."""
    return counts.dice(c, both_empty=1.0)


def miou(c: Counts) -> np.ndarray:
    """Mean IoU of tumour and background; a class that is in neither mask counts as 1."""
    return (counts.iou(c, both_empty=1.0) + ratio(c.tn, c.tn + c.fp + c.fn, empty=1.0)) / 2


def pa_plain(c: Counts) -> np.ndarray:
    """(TP + TN) / all pixels: the paper's words, though not its numbers."""
    return ratio(c.tp + c.tn, c.tp + c.fp + c.fn + c.tn)


def mpa(c: Counts) -> np.ndarray:
    """Mean of TP / (TP + FN) and TN / (TN + FP); of one of them where the truth has no pixel of the other's class."""
    return np.nanmean([counts.recall(c), ratio(c.tn, c.tn + c.fp)], axis=0)


OF_SLICE: dict[str, Callable[[Counts], np.ndarray]] = {
    "dice": dice, "miou": miou, "pa_plain": pa_plain, "mpa": mpa, "recall": counts.recall
}  # fmt: skip
POOLED = OF_SLICE | {"precision": counts.precision}


def count(inputs: Inputs) -> Counts:
    """Counts of each slice, (n,), from the method's own masks over the whole image. ValueError if it has none."""
    if inputs.own is None:
        raise ValueError("these predictions have no mask of the method's own")
    return counts.count(inputs.own, inputs.truth)


def table(inputs: Inputs, c: Counts) -> pd.DataFrame:
    """One row a slice, in index order: what it is, tp, fp, fn, tn, the numbers of OF_SLICE; recall is NaN without tumour."""
    columns = {name: inputs.index[name].to_numpy() for name in ("row", "case", "patient", "z", "brain_px")}
    columns |= {"tumour": inputs.tumour.astype(int), "tumour_px": c.tp + c.fn, "predicted_px": c.tp + c.fp}
    columns["tumour_mm2"] = columns["tumour_px"] * inputs.pixel_mm**2
    columns |= {name: getattr(c, name) for name in CELLS}
    return pd.DataFrame(columns | {name: function(c) for name, function in OF_SLICE.items()})


def metrics(inputs: Inputs, c: Counts, settings: Confusion, evaluate: Evaluate, seed: int) -> dict[str, float]:
    """Numbers by name, `_lo` and `_hi` from a bootstrap over patients, `floor_<name>` beside them; and their n."""
    resamples = bootstrap.draw(inputs.index["patient"].to_numpy(), evaluate.replicates, seed)
    nothing = Counts(np.zeros_like(c.tp), np.zeros_like(c.fp), c.fn + c.tp, c.tn + c.fp)
    found, floor = (Numbers(resamples, evaluate.confidence) for _ in range(2))
    for numbers, cells in ((found, c), (floor, nothing)):
        _overlaps(numbers, inputs, cells)
        _patients(numbers, cells)
        _false_alarms(numbers, inputs, cells, settings)
    floors = {f"floor_{name}": v for name, v in floor.values.items() if not name.endswith(("_lo", "_hi"))}
    return found.values | floors | _sizes(inputs, numbers.resamples.by_patient(c.tp + c.fn))


def _overlaps(numbers: Numbers, inputs: Inputs, c: Counts) -> None:
    """Averages over slices, and ratios of the counts summed over all slices."""
    every = np.ones(len(inputs.tumour), bool)
    for name, function in OF_SLICE.items():
        numbers.mean(f"{name}_slice_tumour", function(c), inputs.scored)
        if name in ALL_SLICES:
            numbers.mean(f"{name}_slice_all", function(c), every)
    by_patient = _by_patient(numbers, c)
    total = Counts(*(cells.sum() for cells in by_patient))
    drawn = Counts(*(numbers.resamples.weights @ cells for cells in by_patient))
    for name, function in POOLED.items():
        numbers.put(f"{name}_pooled", float(function(total)), function(drawn))


def _patients(numbers: Numbers, c: Counts) -> None:
    """Dice of all slices of a patient together, mean over the patients with tumour."""
    stacked = Counts(*_by_patient(numbers, c))
    there = stacked.tp + stacked.fn > 0
    values, weights = np.where(there, dice(stacked), 0.0), numbers.resamples.weights
    numbers.put("dice_patient", float(ratio(values.sum(), there.sum())), ratio(weights @ values, weights @ there))


def _false_alarms(numbers: Numbers, inputs: Inputs, c: Counts, settings: Confusion) -> None:
    """Shares of the slices labelled healthy."""
    healthy, area = ~inputs.tumour, (c.tp + c.fp) * inputs.pixel_mm**2
    numbers.mean("fp_slices_any", (area > 0).astype(float), healthy)
    numbers.mean("fp_slices_large", (area > settings.large_mm2).astype(float), healthy)


def _by_patient(numbers: Numbers, c: Counts) -> list[np.ndarray]:
    """tp, fp, fn, tn summed over each patient's slices: four of (patients,)."""
    return [numbers.resamples.by_patient(getattr(c, name)) for name in CELLS]


def _sizes(inputs: Inputs, tumour_px: np.ndarray) -> dict[str, int]:
    """Populations behind the numbers. tumour_px: (patients,)."""
    return {
        "n_slices": len(inputs.tumour),
        "n_slices_in_split": inputs.split_size,
        "n_patients": len(tumour_px),
        "n_patients_tumour": int((tumour_px > 0).sum()),
        "n_tumour_slices": int(inputs.scored.sum()),
        "n_healthy_slices": int((~inputs.tumour).sum()),
        "n_excluded_tumour_lost_on_grid": int((inputs.tumour & ~inputs.scored).sum()),
    }
