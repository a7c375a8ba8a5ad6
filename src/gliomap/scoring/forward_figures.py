"""The tables behind AnoFPDM's figures, from predictions alone; docstrings say which figure of the paper each one is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from gliomap.scoring import curves, mixed, mixed_metrics
from gliomap.scoring.bootstrap import Resamples
from gliomap.scoring.decisions import accuracies, decide
from gliomap.scoring.mixed_inputs import Predicted
from gliomap.scoring.mixed_metrics import Truth

SHARES = np.arange(1, 11) / 10  # of the end step
LAST = "T"  # all steps
READINGS = ("aggregate", "single step")


def guidance(
    found: Predicted, chosen: Mapping[str, Any], truth: Truth, component_px: int, resampled: tuple[Resamples, float]
) -> pd.DataFrame:
    """Fig. 3b. w, dice_mixed, dice_mixed_lo, dice_mixed_hi, specificity_healthy_slices, accuracy_image: by guidance weight,
    ascending, each with the similarity threshold and M_max of its own.

    resampled: draws of the patients, and the mass of the interval.
    """
    rows = []
    for i in np.argsort(found["w"], kind="stable"):
        decided = decide(found, chosen, component_px, int(i))
        dice = mixed.dice(decided.mixed, truth.tumour)
        mean, low, high = mixed_metrics.mean_interval(dice, *resampled)
        empty = ~decided.mixed.any((1, 2))[~truth.unhealthy]
        row = {"w": round(float(found["w"][i]), 6), "dice_mixed": mean, "dice_mixed_lo": low, "dice_mixed_hi": high}
        row["specificity_healthy_slices"] = float(empty.mean()) if len(empty) else np.nan
        rows.append(row | {"accuracy_image": accuracies(decided.unhealthy, truth.ill)[0]})
    return pd.DataFrame(rows)


def error_curves(found: Predicted, ill: np.ndarray) -> pd.DataFrame:
    """Fig. 5a or 5b. step, guided, guided_sd, reference, reference_sd: of curve_h and curve_ref over slices `ill` (n,).

    NaN where there is no such slice; the standard deviation is that of the slices, with n in the denominator.
    """
    columns: dict[str, np.ndarray] = {"step": found["steps"]}
    for name, curve in (("guided", found["curve_h"][ill]), ("reference", found["curve_ref"][ill])):
        curve = curve.astype(np.float64)
        none = np.full(len(found["steps"]), np.nan)
        columns |= {name: curve.mean(0) if len(curve) else none, f"{name}_sd": curve.std(0) if len(curve) else none}
    return pd.DataFrame(columns)


def divergence(found: Predicted, chosen: Mapping[str, Any], area_mm2: np.ndarray, ill: np.ndarray) -> pd.DataFrame:
    """Fig. 5c. row, tumour_cm2, divergence (largest M over M_max, cut off at 1, mean of both modalities), pearson_r.

    One row an unhealthy slice; pearson_r is the same in each, NaN for fewer than three slices or without spread.
    area_mm2: (n,), from the slice labels; ill: bool (n,).
    """
    scaled = scaled_divergence(found["divergence"][ill, 0], np.array(chosen["m_max"][0]))
    area = np.asarray(area_mm2, np.float64)[ill] / 100
    spread = len(area) > 2 and np.ptp(area) > 0 and np.ptp(scaled) > 0
    r = float(np.corrcoef(area, scaled)[0, 1]) if spread else np.nan
    return pd.DataFrame({"row": found.rows[ill], "tumour_cm2": area, "divergence": scaled, "pearson_r": r})


def scaled_divergence(largest: np.ndarray, m_max: np.ndarray) -> np.ndarray:
    """float64 (n,): mean over modalities of min(1, largest / m_max); largest (n, 2), m_max (2,), 0 where that is 0."""
    ratio = np.divide(largest, m_max, out=np.zeros(largest.shape), where=np.broadcast_to(m_max > 0, largest.shape))
    return np.clip(ratio, 0, 1).mean(1)


def steps(study: Predicted, truth: Truth, median_px: int) -> pd.DataFrame:
    """Fig. 3a in both readings. method (aggregate | single step), share (0.1 .. 1.0 of the end step, T), auprc, auprc_sd, n.

    auprc: mean over the study's slices with tumour of the average precision over foreground pixels, maps median-filtered.
    The end step is the mean of the two modalities'; study.npz keeps their mean map only.
    """
    values: dict[tuple[str, str], list[float]] = {(r, s): [] for r in READINGS for s in (*map(str, SHARES), LAST)}
    inside = truth.foreground & truth.tumour
    for i in np.flatnonzero(inside.any((1, 2))):
        at = positions(study["steps"], float(study["end"][i].mean()))
        stack = study["stack_h"][i].astype(np.float32)
        total = np.cumsum(stack, 0, dtype=np.float64)
        for name, k in at.items():
            for reading, picture in zip(READINGS, (total[k] / (k + 1), stack[k])):
                smooth = mixed.median(picture[None], median_px)[0]
                found = curves.average_precision(smooth[truth.foreground[i]], truth.tumour[i][truth.foreground[i]])
                values[reading, name].append(found)
    rows = []
    for (reading, share), found in values.items():
        mean, sd = (float(np.mean(found)), float(np.std(found))) if found else (np.nan, np.nan)
        rows.append({"method": reading, "share": share, "auprc": mean, "auprc_sd": sd, "n": len(found)})
    return pd.DataFrame(rows)


def positions(levels: np.ndarray, end: float) -> dict[str, int]:
    """Share of the end step (a noise level) -> position in `levels` (ascending) of the last not above it, or the first."""
    found = {str(share): max(int(np.searchsorted(levels, share * end + 1e-6, "right")) - 1, 0) for share in SHARES}
    return found | {LAST: len(levels) - 1}
