"""Numbers as the TSGM paper and its released code count them, beside the usual readings (TSGM spec 6).

All over slices with tumour: a number of each slice, then mean and standard deviation (ddof 1) of the slices.
`auprc_mask`: area under the precision-recall curve of the binary mask, as the code does; `auprc_map`: average precision of
the map over the whole image. `hd95_onesided_px`: 0.95 x the largest distance from truth to prediction, as the code does:
predicting too much costs nothing; `hd95_mm`: the larger of the two directed 95th percentiles of the borders.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import ndimage

from gliomap.scoring import bootstrap, counts, curves, distances, otsu
from gliomap.scoring.counts import Counts, ratio
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.summary import Evaluate

SHARE = 0.95  # of the one-sided distance: the 95th percentile of that number and 0
NUMBERS = (
    "dice", "iou", "precision", "recall", "auprc_mask", "auprc_map", "hd95_onesided_px", "hd95_mm", "dice_nofilter",
    "dice_oracle_weights",
)  # fmt: skip


def auprc_mask(c: Counts) -> np.ndarray:
    """(PRE + REC + pi (1 - REC)) / 2, pi = share of tumour pixels; (1 + pi) / 2 for an empty mask; NaN without tumour.

    The closed form of scikit-learn's curve of a binary mask with the trapezoidal rule.
    """
    recall, prevalence = counts.recall(c), (c.tp + c.fn) / (c.tp + c.fp + c.fn + c.tn)
    return (counts.precision(c, no_prediction=1.0) + recall + prevalence * (1 - recall)) / 2


def onesided(prediction: np.ndarray, truth: np.ndarray) -> float:
    """0.95 x the largest distance in pixels from a pixel of the (H, W) truth to the nearest predicted one.

    Over all pixels of the masks, not their borders; NaN if one of them is empty.
    """
    if not prediction.any() or not truth.any():
        return np.nan
    return SHARE * float(ndimage.distance_transform_edt(~prediction)[truth].max())


def table(inputs: Inputs, levels: np.ndarray, component_px: int, oracle: np.ndarray) -> pd.DataFrame:
    """One row a slice, in index order; NaN in NUMBERS for slices without tumour on this grid.

    levels: (n,), the threshold of each slice. oracle: (n,), Dice with the best weights of each slice, NaN if unknown.
    """
    mask, scored = otsu.segment(inputs.maps, levels, component_px), inputs.scored
    c, plain = counts.count(mask, inputs.truth), counts.count(otsu.segment(inputs.maps, levels, 0), inputs.truth)
    columns = {name: inputs.index[name].to_numpy() for name in ("row", "case", "patient", "z")}
    columns |= {"tumour": inputs.tumour.astype(int), "tumour_px": c.tp + c.fn, "predicted_px": c.tp + c.fp}
    numbers = {"dice": counts.dice(c), "iou": counts.iou(c), "precision": counts.precision(c), "recall": counts.recall(c)}
    numbers |= {"auprc_mask": auprc_mask(c)} | _by_slice(inputs, mask)
    numbers |= {"dice_nofilter": counts.dice(plain), "dice_oracle_weights": oracle}
    return pd.DataFrame(
        columns | {"threshold": levels} | {name: np.where(scored, numbers[name], np.nan) for name in NUMBERS}
    )


def metrics(table: pd.DataFrame, inputs: Inputs, component_mm2: float, evaluate: Evaluate, seed: int) -> dict[str, float]:
    """Name -> number: `_mean` and `_sd` of NUMBERS, an interval of the mean Dice over patients, alarms, populations.

    NaN where a number does not exist. n_no_distance: tumour slices without a prediction. share_below_component: tumour
    slices whose tumour is smaller than the component filter, so that a correct mask would not pass it.
    """
    scored, healthy = inputs.scored, ~inputs.tumour
    found = {f"{name}_{end}": value for name in NUMBERS for end, value in _moments(table[name].to_numpy()).items()}
    resamples = bootstrap.draw(table["patient"].to_numpy(), evaluate.replicates, seed)
    drawn = resamples.ratio(np.where(scored, table["dice"].fillna(0.0), 0.0), scored)
    found["dice_mean_low"], found["dice_mean_high"] = bootstrap.interval(drawn, evaluate.confidence)
    alarm, small = (table["predicted_px"] > 0).to_numpy(), table["tumour_px"].to_numpy() * inputs.pixel_mm**2 < component_mm2
    return found | {
        "n_slices": len(table),
        "n_tumour_slices": int(scored.sum()),
        "n_healthy_slices": int(healthy.sum()),
        "n_patients": int(table["patient"].nunique()),
        "n_patients_tumour": int(table["patient"][scored].nunique()),
        "n_no_distance": int(table.loc[scored, "hd95_mm"].isna().sum()),
        "alarm_rate_healthy": float(ratio((alarm & healthy).sum(), healthy.sum())),
        "alarm_rate_tumour": float(ratio((alarm & scored).sum(), scored.sum())),
        "share_below_component": float(ratio((small & scored).sum(), scored.sum())),
        "component_mm2": float(component_mm2),
    }


def _by_slice(inputs: Inputs, mask: np.ndarray) -> dict[str, np.ndarray]:
    """What takes a look at each slice; NaN where there is no tumour."""
    names = ("auprc_map", "hd95_onesided_px", "hd95_mm")
    values = np.full((len(mask), len(names)), np.nan)
    for i in np.flatnonzero(inputs.scored):
        truth, found = inputs.truth[i], mask[i]
        area = curves.average_precision(inputs.maps[i], truth)
        values[i] = area, onesided(found, truth), distances.of_slice(found, truth, inputs.pixel_mm)[0]
    return dict(zip(names, values.T))


def _moments(values: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation (ddof 1) of what is finite; NaN if that is too little."""
    there = values[np.isfinite(values)]
    mean = float(there.mean()) if len(there) else np.nan
    return {"mean": mean, "sd": float(there.std(ddof=1)) if len(there) > 1 else np.nan}
