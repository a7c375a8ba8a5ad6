"""One row a slice: counts, ratios, areas and distances. All of metrics/ is derived from it and from pooled curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from gliomap.base import files
from gliomap.scoring import counts, curves, distances
from gliomap.scoring.inputs import Inputs


def read(path: Path) -> pd.DataFrame:
    """A table with a row a slice, as stages write it under scores/. A patient may be called `NA`. UserError without it."""
    return files.read_csv(path, dtype={"case": str, "patient": str}, keep_default_na=False, na_values=[""])


def table(inputs: Inputs, predictions: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """One row a slice, in the order of index.csv.

    `predictions` maps the suffix of its columns ("" for the validation threshold, "_oracle", "_own") to masks bool
    (n, H, W). Distances are in the unit of their name; tp, fp, fn, tn count pixels of the whole image. NaN where a number
    does not exist.
    """
    columns = {name: inputs.index[name].to_numpy() for name in ("row", "case", "patient", "z")}
    columns |= _sizes(inputs) | _areas(inputs)
    for suffix, prediction in predictions.items():
        columns |= {name + suffix: values for name, values in _scores(prediction, inputs.truth, inputs.pixel_mm).items()}
    return pd.DataFrame(columns)


def _sizes(inputs: Inputs) -> dict[str, np.ndarray]:
    tumour, brain, region, reachable = (
        np.count_nonzero(mask, axis=(1, 2))
        for mask in (inputs.truth, inputs.brain, inputs.region, inputs.truth & inputs.region)
    )
    return {
        "tumour": inputs.tumour.astype(np.int64),
        "tumour_px": tumour,
        "tumour_mm2": tumour * inputs.pixel_mm**2,
        "brain_px": brain,
        "region_px": region,
        "recall_ceiling": counts.ratio(reachable, tumour),
        "image_score": inputs.image_score.astype(np.float64),
    }


def _areas(inputs: Inputs) -> dict[str, np.ndarray]:
    """Exact areas under the curves of each slice, inside the brain and over the whole image."""
    rows = []
    for score, true, brain, region in zip(inputs.maps, inputs.truth, inputs.brain, inputs.region):
        inside = curves.exact(score[brain], true[brain])
        pixels = max(inside.positives.sum() + inside.negatives.sum(), 1)
        # score 0 outside the eroded brain, all pixels of the image: the AUC of the released MMCCD code
        whole = curves.auroc(score * region, true) if true.any() else np.nan
        rows.append((inside.positives.sum() / pixels, inside.average_precision(), inside.auroc(), whole))
    names = ("prevalence_brain", "ap_brain", "auroc_brain", "auroc_whole_image_mmccd")
    return dict(zip(names, np.array(rows, np.float64).T))


def _scores(prediction: np.ndarray, truth: np.ndarray, pixel_mm: float) -> dict[str, np.ndarray]:
    c = counts.count(prediction, truth)
    nothing = (c.tp + c.fp + c.fn) == 0
    return {
        "tp": c.tp,
        "fp": c.fp,
        "fn": c.fn,
        "tn": c.tn,
        "dice": counts.dice(c),
        "iou": counts.iou(c),
        "precision": np.where(nothing, np.nan, counts.precision(c)),
        "recall": counts.recall(c),
    } | distances.of_slices(prediction, truth, pixel_mm)
