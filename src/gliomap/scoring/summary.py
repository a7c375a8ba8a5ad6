"""From slices to the numbers of metrics/<method>.json, each with its interval over patients and its n."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gliomap.base.params import number
from gliomap.scoring import bootstrap, curves, distances
from gliomap.scoring.counts import ratio
from gliomap.scoring.curves import Histogram
from gliomap.scoring.inputs import Inputs

GROUPS = 1024  # of histogram bins, where a curve is resampled; moves an area by less than 0.001
DIGITS = 6
RATIOS = ("dice", "iou", "precision", "recall")
PENALISED = ("hd95_max_directed_mm", "assd_mean_of_directed_px")
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Evaluate:
    """How sure a number is said to be."""

    replicates: int = number(min=2)  # resamples of the patients behind each interval
    confidence: float = number(min=0.5, max=0.999)  # mass of the percentile intervals


class Numbers:
    """Metrics by name, each with `<name>_lo` and `<name>_hi`; these are NaN where a single patient is behind the number."""

    def __init__(self, resamples: bootstrap.Resamples, confidence: float) -> None:
        self.resamples, self.confidence = resamples, confidence
        self.values: dict[str, float] = {}

    def put(self, name: str, value: float, samples: np.ndarray) -> None:
        """A value and its (replicates,) resampled values."""
        limits = bootstrap.interval(samples, self.confidence) if self.resamples.weights.shape[1] > 1 else (np.nan, np.nan)
        self.values[name] = float(value)
        self.values[f"{name}_lo"], self.values[f"{name}_hi"] = limits

    def ratio(self, name: str, numerator: np.ndarray, denominator: np.ndarray) -> None:
        """Sum of (n,) numerator over sum of (n,) denominator."""
        value = ratio(np.sum(numerator, dtype=np.float64), np.sum(denominator, dtype=np.float64))
        self.put(name, value, self.resamples.ratio(numerator, denominator))

    def mean(self, name: str, values: np.ndarray, where: np.ndarray) -> None:
        """Mean of (n,) values over the slices `where` that have one."""
        there = where & np.isfinite(values)
        self.ratio(name, np.where(there, values, 0.0), there)


def metrics(table: pd.DataFrame, inputs: Inputs, suffixes: tuple[str, ...], evaluate: Evaluate, seed: int) -> tuple:
    """(metrics, curve): name -> number, the name says convention and population; and the pooled in-brain precision-recall
    curve (recall, precision).

    `table` is per_slice.table of the same inputs; `suffixes` those of its predictions.
    """
    numbers = Numbers(bootstrap.draw(table["patient"].to_numpy(), evaluate.replicates, seed), evaluate.confidence)
    scored, healthy = inputs.scored, ~inputs.tumour
    groups = _terciles(table["tumour_mm2"].to_numpy(), scored)
    for suffix in suffixes:
        _masks(numbers, table, suffix, scored)
        _surfaces(numbers, table, suffix, scored, np.hypot(*inputs.truth.shape[1:]), inputs.pixel_mm)
        _healthy(numbers, table, suffix, healthy, inputs.pixel_mm)
        for size, where in groups.items():
            numbers.mean(f"dice_slice_tumour_{size}{suffix}", table[f"dice{suffix}"].to_numpy(), where)
    _slice_areas(numbers, table, scored)
    _image(numbers, inputs)
    curve = _pooled(numbers, inputs)
    return numbers.values | _ceilings(table, scored) | _sizes(table, inputs, groups), curve


def significant(value: np.ndarray | float) -> np.ndarray:
    """float64, same shape: rounded to DIGITS significant digits; what is not finite stays."""
    value = np.asarray(value, np.float64)
    size = np.floor(np.log10(np.abs(value), out=np.zeros(value.shape), where=np.isfinite(value) & (value != 0)))
    scale = 10.0 ** np.clip(DIGITS - 1 - size, -300, 300)
    return np.where(np.isfinite(value), np.round(value * scale) / scale, value)


def plain(numbers: dict[str, float]) -> dict[str, float]:
    """Metrics as they are written: counts as whole numbers, everything else at DIGITS significant digits."""
    return {name: v if isinstance(v, int) else float(significant(v)) for name, v in numbers.items()}


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its float columns at DIGITS significant digits."""
    return frame.assign(**{name: significant(frame[name].to_numpy()) for name in frame.select_dtypes("floating")})


def _masks(numbers: Numbers, table: pd.DataFrame, suffix: str, scored: np.ndarray) -> None:
    """Ratios averaged over slices, and from the counts summed over all slices, healthy ones included."""
    tp, fp, fn = (table[name + suffix].to_numpy() for name in ("tp", "fp", "fn"))
    for name in RATIOS:
        numbers.mean(f"{name}_slice_tumour{suffix}", table[name + suffix].to_numpy(), scored)
    every = np.ones(len(table), bool)
    numbers.mean(f"dice_slice_all_bothempty1{suffix}", table[f"dice{suffix}"].fillna(1.0).to_numpy(), every)
    numbers.ratio(f"dice_pooled{suffix}", 2 * tp, 2 * tp + fp + fn)
    numbers.ratio(f"iou_pooled{suffix}", tp, tp + fp + fn)
    numbers.ratio(f"precision_pooled{suffix}", tp, tp + fp)
    numbers.ratio(f"recall_pooled{suffix}", tp, tp + fn)


def _surfaces(
    numbers: Numbers, table: pd.DataFrame, suffix: str, scored: np.ndarray, diagonal: float, pixel_mm: float
) -> None:
    """Distances over tumour slices with a prediction; `_penalised`: over all, the image diagonal where there is none."""
    for name in distances.NAMES:
        values = table[name + suffix].to_numpy()
        numbers.mean(name + suffix, values, scored)
        if name in PENALISED:
            penalty = diagonal * (pixel_mm if name.endswith("_mm") else 1.0)
            numbers.mean(f"{name}_penalised{suffix}", np.where(np.isnan(values), penalty, values), scored)
    predicted = scored & (table[f"tp{suffix}"] + table[f"fp{suffix}"] > 0).to_numpy()
    numbers.values[f"n_distance_slices{suffix}"] = int(predicted.sum())
    numbers.values[f"n_patients_distance{suffix}"] = int(table["patient"][predicted].nunique())
    numbers.values[f"n_excluded_empty_prediction{suffix}"] = int(scored.sum() - predicted.sum())


def _healthy(numbers: Numbers, table: pd.DataFrame, suffix: str, healthy: np.ndarray, pixel_mm: float) -> None:
    wrong = table[f"fp{suffix}"].to_numpy()
    numbers.mean(f"false_positive_rate_healthy{suffix}", (wrong > 0).astype(float), healthy)
    numbers.mean(f"false_positive_area_healthy_mm2{suffix}", wrong * pixel_mm**2, healthy)


def _slice_areas(numbers: Numbers, table: pd.DataFrame, scored: np.ndarray) -> None:
    numbers.mean("auprc_slice_tumour_brain", table["ap_brain"].to_numpy(), scored)
    numbers.mean("auroc_slice_tumour_brain", table["auroc_brain"].to_numpy(), scored)
    numbers.mean("auroc_slice_whole_image_mmccd", table["auroc_whole_image_mmccd"].to_numpy(), scored)


def _image(numbers: Numbers, inputs: Inputs) -> None:
    """Tumour slice against healthy slice, by the image score."""
    value = curves.auroc(inputs.image_score, inputs.tumour)
    numbers.put("auroc_image", value, numbers.resamples.auroc(inputs.image_score, inputs.tumour))
    numbers.values["prevalence_image"] = float(inputs.tumour.mean())


def _pooled(numbers: Numbers, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """Areas over the pixels of all slices in three populations; the curve of the first."""
    whole = np.ones_like(inputs.brain)
    places = {"brain": (inputs.maps, inputs.brain), "eroded_brain": (inputs.maps, inputs.region)}
    places["whole_image"] = (inputs.maps * inputs.region, whole)
    result = []
    for name, (scores, where) in places.items():
        total, by_patient = histograms(scores, inputs.truth, where, numbers.resamples)
        samples = numbers.resamples.areas(by_patient)
        numbers.put(f"auprc_pooled_{name}", total.average_precision(), samples[0])
        numbers.put(f"auroc_pooled_{name}", total.auroc(), samples[1])
        pixels = total.positives.sum() + total.negatives.sum()
        numbers.values[f"prevalence_pooled_{name}"] = float(ratio(total.positives.sum(), pixels))
        result.append(total)
    return result[0].curve()


def histograms(
    scores: np.ndarray, truth: np.ndarray, where: np.ndarray, resamples: bootstrap.Resamples
) -> tuple[Histogram, Histogram]:
    """Of all pixels `where`, and a coarser one for each patient (patients, groups)."""
    scores, truth, patient = scores[where], truth[where], resamples.patient[np.nonzero(where)[0]]
    lower = curves.edges(scores)
    at = curves.locate(scores, lower)
    total = curves.tally(at, truth, len(lower))
    group = total.groups(GROUPS)
    shape = resamples.weights.shape[1], group[-1] + 1
    parts = curves.tally(patient * shape[1] + group[at], truth, shape[0] * shape[1])
    return total, Histogram(parts.positives.reshape(shape), parts.negatives.reshape(shape))


def _terciles(area: np.ndarray, scored: np.ndarray) -> dict[str, np.ndarray]:
    """small, medium, large -> bool (n,): thirds of the scored slices by tumour area; equal areas stay together."""
    lower, upper = np.quantile(area[scored], [1 / 3, 2 / 3])
    third = np.where(area <= lower, 0, np.where(area <= upper, 1, 2))
    return {size: scored & (third == i) for i, size in enumerate(SIZES)}


def _ceilings(table: pd.DataFrame, scored: np.ndarray) -> dict[str, float]:
    """What a perfect map could reach: the truth is not eroded, predictions are."""
    recall, pixels = table["recall_ceiling"].to_numpy()[scored], table["tumour_px"].to_numpy()[scored]
    return {
        "recall_ceiling": recall.mean(),
        "recall_ceiling_pooled": (recall * pixels).sum() / pixels.sum(),
        "dice_ceiling": (2 * recall / (1 + recall)).mean(),
    }


def _sizes(table: pd.DataFrame, inputs: Inputs, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """Populations behind the numbers, and what was left out of them."""
    scored, area = inputs.scored, table["tumour_mm2"].to_numpy()
    lower, upper = np.quantile(area[scored], [1 / 3, 2 / 3])
    return {
        "n_slices": len(table),
        "n_slices_in_split": inputs.split_size,
        "n_patients": int(table["patient"].nunique()),
        "n_patients_tumour": int(table["patient"][scored].nunique()),
        "n_tumour_slices": int(scored.sum()),
        "n_healthy_slices": int((~inputs.tumour).sum()),
        **{f"n_tumour_slices_{size}": int(where.sum()) for size, where in groups.items()},
        "n_excluded_tumour_lost_on_grid": int((inputs.tumour & ~scored).sum()),
        "n_excluded_no_tumour_in_brain": int((scored & table["ap_brain"].isna()).sum()),
        "tercile_mm2_lower": lower,
        "tercile_mm2_upper": upper,
    }
