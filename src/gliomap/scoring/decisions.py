"""How a map becomes a mask, row by row of the AnoFPDM paper's table, and how that is found on validation slices.

Equations and algorithms: Che et al., AnoFPDM, 2024, arXiv 2404.15683. `forward`: its method, image labels only. `tuned`: one
end step and one threshold for all slices, by pixel masks. `fixed`: a baseline, one threshold, by pixel masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.params import number
from gliomap.base.place import Place
from gliomap.scoring.masks import drop_small
from gliomap.scoring.mixed import best_theta
from gliomap.scoring.mixed_inputs import Predicted

NEEDS = {  # arrays of the predictions that a kind of decision starts from
    "forward": ("whole", "w", "cosine", "divergence", "quantiles"),
    "tuned": ("fixed", "fixed_end", "cosine"),
    "fixed": ("whole",),
}
KEYS = {"forward": ("w", "tau", "m_max"), "tuned": ("tau", "end", "theta"), "fixed": ("theta",)}
SYSTEM = "anofpdm"  # all rows are methods of this system
SOURCE = {"anofpdm_tuned": "anofpdm_ddim"}  # rows that are other decisions about another row's predictions
HUNDREDTHS = 100  # the scaled divergence is rounded to these
NEARLY = 0.99  # of the best accuracy, at which a larger guidance weight is preferred (later edition of the paper)


@dataclass(frozen=True)
class Labels:
    """Section `calibrate_labels`: false alarms among healthy validation slices between which tau is searched."""

    candidates: int = number(min=2)  # thresholds tried
    alarms_low: float = number(min=0, max=1)  # share of healthy slices called unhealthy
    alarms_high: float = number(min=0, max=1)


def place(row: str) -> Place:
    """Whose predictions a row of the table decides about."""
    return Place(SYSTEM, SOURCE.get(row, row))


@dataclass(frozen=True)
class Decided:
    """n slices. maps: float32 (n, H, W). all_slices, mixed: bool (n, H, W), the masks without small components, as they are
    and emptied where the image is called healthy; one and the same without an image decision of its own.
    score: float64 (n,), higher = more likely unhealthy. unhealthy: bool (n,), the image decision.
    """

    maps: np.ndarray
    all_slices: np.ndarray
    mixed: np.ndarray
    score: np.ndarray
    unhealthy: np.ndarray


def tau(cosine: np.ndarray, ill: np.ndarray, labels: Labels) -> float:
    """Threshold of the similarity at or below which a slice is unhealthy, searched as in the released code.

    cosine: float (n,). ill: bool (n,). Candidates: the quantiles alarms_low .. alarms_high of the healthy similarities;
    fewest errors, the first of equals. Ties with a candidate are no error on either side, as in the code.
    """
    cosine = np.asarray(cosine, np.float64)
    levels = np.linspace(labels.alarms_low, labels.alarms_high, labels.candidates)
    tried = np.quantile(cosine[~ill], levels)
    errors = [(cosine[ill] > t).sum() + (cosine[~ill] < t).sum() for t in tried]
    return float(tried[int(np.argmin(errors))])


def tau_unrestricted(cosine: np.ndarray, ill: np.ndarray) -> float:
    """The same by the highest accuracy of all thresholds (the paper's text): below, between and at the top of the values."""
    cosine = np.asarray(cosine, np.float64)
    values = np.unique(cosine)
    tried = np.concatenate([[np.nextafter(values[0], -np.inf)], (values[:-1] + values[1:]) / 2, values[-1:]])
    right = np.searchsorted(np.sort(cosine[ill]), tried, "right") - np.searchsorted(np.sort(cosine[~ill]), tried, "right")
    return float(tried[int(np.argmax(right))])


def accuracies(called: np.ndarray, ill: np.ndarray) -> tuple[float, float]:
    """Accuracy and balanced accuracy of bool (n,) decisions; NaN for the latter if a class is missing."""
    shares = [float((called == ill)[where].mean()) if where.any() else np.nan for where in (ill, ~ill)]
    return float((called == ill).mean()), float(np.mean(shares))


def calibrate(found: Predicted, ill: np.ndarray, labels: Labels) -> dict[str, Any]:
    """tau and M_max for every guidance weight, from similarities, divergences and image labels: no map, no mask.

    M_max: per modality the largest divergence of an unhealthy slice. w_by_labels: the largest weight with nearly the best
    accuracy. UserError unless there are slices of both kinds.
    """
    if ill.all() or not ill.any():
        raise UserError(
            f"{found.path}: {ill.sum()} of {len(ill)} validation slices are unhealthy, expected both kinds; "
            "use more patients or a smaller infer.slice_step"
        )
    result: dict[str, list] = {"w": [round(float(w), 6) for w in found["w"]], "m_max": []}
    cosine = found["cosine"].astype(np.float64)
    for i in range(len(found["w"])):
        levels = {"": tau(cosine[:, i], ill, labels), "_unrestricted": tau_unrestricted(cosine[:, i], ill)}
        for end, level in levels.items():
            accuracy, balanced = accuracies(cosine[:, i] <= level, ill)
            for name, value in (("tau", level), ("accuracy", accuracy), ("balanced_accuracy", balanced)):
                result.setdefault(name + end, []).append(value)
        result["m_max"].append([float(v) for v in found["divergence"][ill, i].max(0)])
    best = max(result["accuracy"])
    good = [w for w, accuracy in zip(result["w"], result["accuracy"]) if accuracy >= NEARLY * best]
    return result | {"w_by_labels": max(good)}


def tune(found: Predicted, truth: np.ndarray, level: float, thetas: np.ndarray, component_px: int) -> dict[str, Any]:
    """End step and threshold with the best mean mixed Dice, slices with a similarity above `level` emptied."""
    called = found["cosine"][:, 0].astype(np.float64) <= level
    grid = []
    for e, end in enumerate(found["fixed_end"]):
        maps = np.where(called[:, None, None], found["fixed"][:, e].astype(np.float32), -np.inf)
        theta, dice = best_theta(maps, truth, thetas, component_px)
        grid.append({"end": int(end), "theta": theta, "dice_mixed": dice})
    best = max(grid, key=lambda point: point["dice_mixed"])
    return {"tau": level, **best, "at_edge": bool(best["theta"] in (thetas[0], thetas[-1])), "grid": grid}


def quantile_index(divergence: np.ndarray, m_max: np.ndarray) -> np.ndarray:
    """int64, the shape of `divergence`: i = round(100 r), r = divergence / m_max cut off to 0..1 (Algorithm 1).

    An m_max of 0 gives 0: nothing diverges.
    """
    divergence, m_max = np.broadcast_arrays(np.asarray(divergence, np.float64), np.asarray(m_max, np.float64))
    r = np.divide(divergence, m_max, out=np.zeros(divergence.shape), where=m_max > 0)
    return np.rint(np.clip(r, 0, 1) * HUNDREDTHS).astype(np.int64)


def quantile(index: np.ndarray, high: float, low: float) -> np.ndarray:
    """float64: q = high - (high - low) i / 100. Large divergence, small quantile, large mask."""
    return high - (high - low) * np.asarray(index) / HUNDREDTHS


def thresholds(quantiles: np.ndarray, index: np.ndarray) -> np.ndarray:
    """float64 (n,): Q*, the mean over modalities of the map's quantile; quantiles (n, 2, 101), index int64 (n, 2)."""
    return np.take_along_axis(quantiles, index[..., None], 2)[..., 0].mean(1, dtype=np.float64)


def decide(found: Predicted, chosen: Mapping[str, Any], component_px: int, weight: int = 0) -> Decided:
    """The masks of a row; `chosen` is its decisions file, `weight` numbers the guidance weights of a `forward` row."""
    if chosen["kind"] == "fixed":
        maps = found["whole"][:, 0]
        mask = maps >= chosen["theta"]
        kept = drop_small(mask, component_px)
        return Decided(maps, kept, kept, maps.max((1, 2)).astype(np.float64), mask.any((1, 2)))
    if chosen["kind"] == "tuned":
        maps, level = found["fixed"][:, _end(found, chosen["end"])].astype(np.float32), chosen["tau"]
        mask = maps >= chosen["theta"]
    else:
        _check_weights(found, chosen["w"])
        maps, level = found["whole"][:, weight], chosen["tau"][weight]
        index = quantile_index(found["divergence"][:, weight], np.array(chosen["m_max"][weight]))
        mask = maps >= thresholds(found["quantiles"][:, weight], index)[:, None, None]
    cosine = found["cosine"][:, weight].astype(np.float64)
    mask, called = drop_small(mask, component_px), cosine <= level
    return Decided(maps, mask, mask & called[:, None, None], 1 - cosine, called)


def load(path: Path, recipe: str) -> dict[str, Any]:
    """A decisions file. UserError if it is of no known kind, lacks a key, or was made for other slices."""
    chosen = read_json(path)
    again = "run the stage that writes it again"
    kind = chosen.get("kind") if isinstance(chosen, dict) else None
    if kind not in KEYS:
        raise UserError(f"{path}: found kind {kind!r}, expected one of {', '.join(KEYS)}; {again}")
    if missing := [key for key in KEYS[kind] if chosen.get(key) is None]:
        raise UserError(f"{path}: found no {', '.join(missing)}, expected {', '.join(KEYS[kind])}; {again}")
    if chosen.get("recipe", recipe) != recipe:
        raise UserError(f"{path}: found recipe {chosen['recipe']}, expected {recipe}; {again}")
    return chosen


def _check_weights(found: Predicted, weights: list[float]) -> None:
    if len(weights) != len(found["w"]) or not np.allclose(weights, found["w"], atol=1e-5):
        what = f"w is {found['w'].round(5).tolist()}, calibrated were {weights}"
        raise UserError(f"{found.path}: {what}; run calibrate_labels again")


def _end(found: Predicted, end: int) -> int:
    at = np.flatnonzero(found["fixed_end"] == end)
    if not len(at):
        ends = found["fixed_end"].tolist()
        raise UserError(f"{found.path}: fixed_end is {ends}, expected {end} among them; run tune_labels again")
    return int(at[0])
