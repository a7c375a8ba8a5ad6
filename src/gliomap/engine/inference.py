"""Inference as a stage needs it: which slices, in which batches, and the arrays that go into a file of predictions."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from gliomap.base import run
from gliomap.base.params import number
from gliomap.data.image_score import image_scores
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.engine.scorer import Scorer, Scores


@dataclass(frozen=True)
class Infer:
    """Section `infer` of params.yaml."""

    slice_step: int = number(min=1)  # score every n-th slice of a case, in the order of z; 1 = all
    batch: int = number(min=1)  # slices that a method gets at once; does not change the result
    precision: Literal["best", "bf16-mixed", "32-true"]  # as compute.precision


def chosen(index: pd.DataFrame, split: str, step: int) -> np.ndarray:
    """int64: rows of every `step`-th slice of each case of the split, from the middle of the first `step` on, ascending.

    index: columns row, case, z, split. Every case keeps at least one slice.
    """
    inside = index[index["split"] == split].sort_values(["case", "z"])
    kept = [rows[min(step // 2, (len(rows) - 1) // 2) :: step] for rows in inside.groupby("case")["row"].apply(list)]
    return np.sort(np.concatenate([np.asarray(k, np.int64) for k in kept])) if kept else np.empty(0, np.int64)


@dataclass(frozen=True)
class Setting:
    """Where and how slices are scored."""

    slices: Slices
    noise: Noise
    infer: Infer
    fabric: Fabric

    def batch(self, rows: np.ndarray, modalities: tuple[str, ...]) -> Batch:
        """The rows on the device."""
        images, brain = self.slices.read(rows, modalities), self.slices.brain_of(rows)
        device = self.fabric.device
        return Batch(
            torch.from_numpy(rows), torch.from_numpy(images).to(device), torch.from_numpy(brain).to(device).float(), 0
        )


class Predicted(NamedTuple):
    """arrays: for Place.predictions. evaluations: of networks, int64 (n,), one a slice. seconds: that scoring took."""

    arrays: dict[str, np.ndarray]
    evaluations: np.ndarray
    seconds: float


def warm_up(scorer: Scorer, row: int, setting: Setting) -> None:
    """Score one slice for nothing: the first call of a network takes longer than any other. Before seconds are measured."""
    _score(scorer, np.array([row], np.int64), setting)


def predict(scorer: Scorer, rows: np.ndarray, setting: Setting, label: str) -> Predicted:
    """Of the rows; there must be some."""
    size = setting.infer.batch
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    start = time.perf_counter()
    found = [_score(scorer, part, setting) for part in run.progress(parts, label=label, unit="batches")]
    seconds = time.perf_counter() - start
    arrays = {"rows": rows, "map": _joined(found, "map").astype(np.float32)}
    brain = setting.slices.brain_of(rows).astype(bool)
    own = _joined(found, "image")
    arrays["image_score"] = image_scores(arrays["map"], brain) if own is None else own.astype(np.float32)
    for name, kind in (("reconstruction", np.float16), ("mask", np.uint8)):
        values = _joined(found, name)
        if values is not None:
            arrays[name] = values.astype(kind)
    for name in found[0].extra:
        arrays[name] = torch.cat([scores.extra[name] for scores in found]).numpy()
    return Predicted(arrays | getattr(scorer, "constants", {}), _joined(found, "evaluations"), seconds)


def cost(seconds: float, evaluations: np.ndarray) -> dict[str, float]:
    """For metrics/cost/infer-<method>.json. seconds: of all slices; evaluations: int64 (n,), one a slice."""
    per_slice = {
        "seconds_per_slice": round(seconds / len(evaluations), 5),
        "evaluations_per_slice": round(evaluations.mean(), 2),
    }
    return {**per_slice, "slices": len(evaluations)}


@torch.inference_mode()
def _score(scorer: Scorer, rows: np.ndarray, setting: Setting) -> Scores:
    """The scores of one batch, on the CPU."""
    with setting.fabric.autocast():
        scores = scorer.score(setting.batch(rows, scorer.modalities), setting.noise)
    own = {f.name: getattr(scores, f.name) for f in fields(Scores) if f.name != "extra"}
    extra = {name: value.cpu() for name, value in scores.extra.items()}
    return Scores(**{name: value if value is None else value.cpu() for name, value in own.items()}, extra=extra)


def _joined(found: list[Scores], name: str) -> np.ndarray | None:
    values = [getattr(scores, name) for scores in found]
    return None if values[0] is None else torch.cat(values).numpy()
