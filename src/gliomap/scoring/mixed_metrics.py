"""From masks to the numbers of metrics/mixed/<row>.json, in the conventions of the AnoFPDM paper.

In names: `mixed` = all slices; `unhealthy` = those with a tumour pixel; `same_mask` = with the masks of `mixed`, empty where
the image is called healthy; `bypassed` = whatever the image is called; `foreground` = pixels where the mean of all
modalities is above `mixed.foreground`; `batch100` = mean over batches of 100 slices; `pooled` = all slices at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gliomap.data.slices import Slices
from gliomap.scoring import bootstrap, curves, mixed, mixed_inputs
from gliomap.scoring.bootstrap import Resamples
from gliomap.scoring.decisions import Decided, accuracies
from gliomap.scoring.mixed import Mixed
from gliomap.scoring.mixed_inputs import Predicted
from gliomap.scoring.summary import Evaluate, Numbers, histograms


@dataclass(frozen=True)
class Truth:
    """Of n slices: tumour bool (n, H, W), foreground bool (n, H, W), ill bool (n,) by the slice label; pixel_mm."""

    tumour: np.ndarray
    foreground: np.ndarray
    ill: np.ndarray
    pixel_mm: float

    @classmethod
    def of(cls, found: Predicted, slices: Slices, split: str, settings: Mixed) -> Truth:
        """What the store knows of the predicted slices."""
        tumour = mixed_inputs.truth(found, slices, split)
        inside = mixed_inputs.foreground(slices, found.rows, settings.foreground)
        return cls(tumour, inside, mixed_inputs.unhealthy(found, slices, split), slices.pixel_mm)

    @property
    def unhealthy(self) -> np.ndarray:
        """bool (n,): slices with a tumour pixel on this grid. Only these can score less than 1 when left empty."""
        return self.tumour.any((1, 2))


def partition(n: int, batch: int, seed: int) -> np.ndarray:
    """int64 (n,): the batch of each slice. A fixed shuffle, cut into as few even parts of at most `batch` as can be."""
    order = np.random.default_rng(seed).permutation(n)
    result = np.empty(n, np.int64)
    for number, part in enumerate(np.array_split(order, -(-n // batch))):
        result[part] = number
    return result


def table(found: Predicted, decided: Decided, truth: Truth, batch: np.ndarray) -> pd.DataFrame:
    """One row a slice, in index order. `_same_mask`, `_bypassed`: see above; predicted_px: after the components."""
    columns = {name: found.index[name].to_numpy() for name in ("row", "case", "patient", "z", "brain_px")}
    pixels = np.count_nonzero(truth.tumour, axis=(1, 2))
    columns |= {"tumour": truth.ill.astype(int), "tumour_px": pixels, "tumour_mm2": pixels * truth.pixel_mm**2}
    columns |= {"batch": batch, "image_score": decided.score, "called_unhealthy": decided.unhealthy.astype(int)}
    for rule, mask in (("same_mask", decided.mixed), ("bypassed", decided.all_slices)):
        columns[f"predicted_px_{rule}"] = np.count_nonzero(mask, axis=(1, 2))
        columns[f"dice_{rule}"] = mixed.dice(mask, truth.tumour)
        columns[f"iou_{rule}"] = mixed.iou(mask, truth.tumour)
    return pd.DataFrame(columns)


def metrics(
    table: pd.DataFrame, decided: Decided, truth: Truth, settings: Mixed, evaluate: Evaluate, seed: int
) -> dict[str, float]:
    """Numbers by name, `_lo` and `_hi` from a bootstrap over patients; NaN where one does not exist."""
    resamples = bootstrap.draw(table["patient"].to_numpy(), evaluate.replicates, seed)
    numbers = Numbers(resamples, evaluate.confidence)
    every, there = np.ones(len(table), bool), truth.unhealthy
    for name in ("dice", "iou"):
        numbers.mean(f"{name}_mixed", table[f"{name}_same_mask"].to_numpy(), every)
        numbers.mean(f"{name}_mixed_bypassed", table[f"{name}_bypassed"].to_numpy(), every)
        for rule in ("same_mask", "bypassed"):
            numbers.mean(f"{name}_unhealthy_{rule}", table[f"{name}_{rule}"].to_numpy(), there)
    for rule, end in (("same_mask", ""), ("bypassed", "_bypassed")):
        empty = (table[f"predicted_px_{rule}"] == 0).to_numpy(float)
        numbers.mean(f"specificity_healthy_slices{end}", empty, ~there)
    numbers.mean("floor_all_empty_mixed", (~there).astype(float), every)
    _image(numbers, decided, truth.ill)
    for name, where in (("mixed", every), ("unhealthy", there)):
        _areas(numbers, name, decided.maps, truth, where, (table["batch"].to_numpy(), settings.batch))
    return numbers.values | _sizes(table, truth, settings)


def _image(numbers: Numbers, decided: Decided, ill: np.ndarray) -> None:
    """The decision about the whole slice, against its label."""
    called, resamples = decided.unhealthy, numbers.resamples
    numbers.mean("accuracy_image", (called == ill).astype(float), np.ones(len(ill), bool))
    numbers.mean("sensitivity_image", called.astype(float), ill)
    numbers.mean("specificity_image", (~called).astype(float), ~ill)
    shares = [resamples.ratio((called == ill) & where, where) for where in (ill, ~ill)]
    numbers.put("balanced_accuracy_image", accuracies(called, ill)[1], (shares[0] + shares[1]) / 2)
    numbers.put("auroc_image", curves.auroc(decided.score, ill), resamples.auroc(decided.score, ill))


def _areas(
    numbers: Numbers, name: str, maps: np.ndarray, truth: Truth, where: np.ndarray, batches: tuple[np.ndarray, int]
) -> None:
    """Average precision over foreground pixels: mean over batches, and of all together; without tumour there is none."""
    batch, size = batches
    inside = truth.foreground & where[:, None, None]
    found = batch_precisions(maps, truth.tumour, inside, batch)
    known = found[np.isfinite(found)]
    numbers.values[f"auprc_foreground_batch{size}_{name}"] = float(known.mean()) if len(known) else np.nan
    numbers.values[f"n_batches_{name}"] = len(known)
    total, samples, prevalence = np.nan, np.full(1, np.nan), np.nan
    if (inside & truth.tumour).any():
        pooled, by_patient = histograms(maps, truth.tumour, inside, numbers.resamples)
        total, samples = float(pooled.average_precision()), numbers.resamples.areas(by_patient)[0]
        prevalence = float(truth.tumour[inside].mean())
    numbers.put(f"auprc_foreground_pooled_{name}", total, samples)
    numbers.values[f"prevalence_foreground_{name}"] = prevalence


def batch_precisions(maps: np.ndarray, truth: np.ndarray, inside: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """float64, one for each batch: average precision of its pixels `inside`, as scikit-learn's; NaN without tumour there.

    maps: float (n, H, W). truth, inside: bool (n, H, W). batch: int (n,), numbers from 0.
    """
    result = []
    for number in range(batch.max() + 1):
        mine = batch == number
        pixels = inside[mine]
        result.append(curves.average_precision(maps[mine][pixels], truth[mine][pixels]))
    return np.array(result)


def _sizes(table: pd.DataFrame, truth: Truth, settings: Mixed) -> dict[str, int]:
    return {
        "n_slices": len(table),
        "n_patients": int(table["patient"].nunique()),
        "n_patients_unhealthy": int(table["patient"][truth.unhealthy].nunique()),
        "n_patients_healthy": int(table["patient"][~truth.unhealthy].nunique()),
        "n_unhealthy_slices": int(truth.unhealthy.sum()),
        "n_healthy_slices": int((~truth.unhealthy).sum()),
        "n_labelled_unhealthy": int(truth.ill.sum()),
        "slices_per_batch": settings.batch,
    }


def mean_interval(values: np.ndarray, resamples: Resamples, confidence: float) -> tuple[float, float, float]:
    """Mean of (n,) values, one a slice, and its interval over patients."""
    low, high = bootstrap.interval(resamples.ratio(values, np.ones(len(values))), confidence)
    return float(np.mean(values)), low, high
