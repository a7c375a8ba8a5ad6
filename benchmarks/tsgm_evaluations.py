"""TSGM's Dice against network evaluations: python benchmarks/tsgm_evaluations.py . --slices 3

Restores validation slices by the networks of a folder in which `dvc repro` has finished: the paper's sampler with 2,000
evaluations an image, then others with ever fewer, down to one. Compares each with the paper's and with what another seed
changes (TSGM spec 10.3). The published weights and Otsu's threshold make the masks. Writes benchmarks/tsgm_evaluations.json.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from trial import write

from gliomap.base import params, run
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, predict
from gliomap.methods import tsgm
from gliomap.methods.tsgm import Sampling
from gliomap.methods.vejp import Levels
from gliomap.scoring import bootstrap, otsu, weights
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.summary import Evaluate

PAPER = {"sampler": "pc", "spacing": "linspace", "start": "sigma", "begin": "noise", "corrections": 1, "samples": 1}
FAST = {"spacing": "karras", "begin": "noise", "samples": 1}
ACCEPTED = 0.005  # largest difference of the mean Dice from the paper's sampler (spec 10.3)


@dataclass(frozen=True)
class Shown:
    """Slices of validation. rows: int64 (n,); tumour, patient: (n,); brain, truth: bool (n, H, W)."""

    rows: np.ndarray
    tumour: np.ndarray
    patient: np.ndarray
    brain: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Result:
    """One setting and seed. maps: float32 (n, H, W), 0 outside the brain. dice: (tumour slices,)."""

    maps: np.ndarray
    dice: np.ndarray
    evaluations: float
    seconds: float


def settings(steps: int, sigma_max: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind of pair, changes of tsgm.sampling); the first is the paper's sampler with `steps` levels, the reference.

    Partial starts: up to sigma_max, the noise that the network was trained with.
    """
    for count in sorted({steps, *(n for n in (250, 100, 50, 25, 10, 5) if n < steps)}, reverse=True):
        yield "tsgm", {**PAPER, "steps": count}
    yield "tsgm", {**PAPER, "steps": max(steps // 10, 1), "start": "unit"}
    for sampler, counts in (("heun", (40, 18, 10, 5, 3)), ("dpm_solver_2m", (25, 15, 10, 5)), ("ddim", (25, 10, 5))):
        for count in counts:
            yield "tsgm", {**FAST, "sampler": sampler, "steps": count}
    yield "tsgm", {**FAST, "sampler": "heun", "steps": 5, "samples": 3}
    for begin, levels in (("image", (0.5, 1, 2, 5, 10, 30)), ("cyclegan", (0.5, 1, 5))):
        for sigma in (level for level in levels if level <= sigma_max):
            yield "tsgm", {**FAST, "sampler": "heun", "steps": 5, "begin": begin, "begin_sigma": float(sigma)}
    yield from ((kind, {}) for kind in ("onestep", "cyclegan", "regression"))


def shown(slices: Slices, count: int) -> Shown:
    """At most `count` validation slices with tumour and as many without, spread over the patients."""
    taken = []
    for tumour in (True, False):
        rows = slices.rows("val", tumour=tumour)
        taken.append(rows[weights.spread(slices.index["patient"].to_numpy()[rows], count)])
    rows = np.sort(np.concatenate(taken))
    truth = slices.masks("val")[np.searchsorted(slices.mask_rows("val"), rows)] > 0
    patient = slices.index["patient"].to_numpy()[rows]
    return Shown(rows, np.isin(rows, taken[0]), patient, slices.brain_of(rows), truth)


def restore(p: dict[str, Any], kind: str, own: Sampling, where: tuple[Path, Setting], seen: Shown) -> Result:
    """The slices by one sampler."""
    folder, setting = where
    values = {**p, "tsgm.sampling": own}
    scorer = tsgm.scorer(values, folder / "models", setting.slices, setting.fabric.device, f"{kind}/single")
    start = time.perf_counter()
    arrays, evaluations, _ = predict(scorer, seen.rows, setting, f"{kind} {own.sampler} {own.steps}")
    seconds = time.perf_counter() - start
    share = weights.of(weights.PUBLISHED, scorer.modalities)
    maps = np.tensordot(arrays["residual"].astype(np.float32), share.astype(np.float32), (1, 0)) * seen.brain
    area = otsu.pixels(p["otsu"].component_mm2, setting.slices.pixel_mm)
    masks = otsu.segment(maps, otsu.maps_thresholds(maps), area)[seen.tumour]
    truth = seen.truth[seen.tumour]
    dice = 2 * (masks & truth).sum((1, 2)) / np.maximum(masks.sum((1, 2)) + truth.sum((1, 2)), 1)
    return Result(maps, dice, float(evaluations.mean()) / len(scorer.modalities), seconds)


def compare(first: Result, second: Result, reference: Result, seen: Shown, p: dict[str, Any]) -> dict[str, Any]:
    """Numbers of one setting (two seeds) beside the reference's first seed."""
    patients = seen.patient[seen.tumour]
    drawn = bootstrap.draw(patients, p["evaluate"].replicates, p["seed"])
    one = np.ones(len(patients))
    change = first.dice - reference.dice
    low, high = bootstrap.interval(drawn.ratio(change, one), p["evaluate"].confidence)
    healthy = ~seen.tumour
    inside = [np.abs(a.maps - b.maps)[seen.brain].mean() for a, b in ((first, second), (first, reference))]
    numbers = {
        "evaluations_per_image": first.evaluations, "seconds_per_slice": first.seconds / len(seen.rows),
        "dice": first.dice.mean(), "dice_other_seed": second.dice.mean(),
        "dice_change": change.mean(), "dice_change_low": low, "dice_change_high": high,
        "map_seed_to_seed": inside[0], "map_from_reference": inside[1],
        "residual_healthy_slices": first.maps[healthy][seen.brain[healthy]].mean() if healthy.any() else np.nan,
    }  # fmt: skip
    return {name: round(float(value), 5) for name, value in numbers.items()}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a copy of the repository with models/, data/ and params.yaml")
    parser.add_argument("--slices", type=int, required=True, help="with tumour, and as many without")
    parser.add_argument("--steps", type=int, default=1000, help="levels of the paper's sampler")
    parser.add_argument("--store", default="anofpdm")
    arguments = parser.parse_args()
    p = params.read(
        {"seed": int, "infer": Infer, "otsu": Otsu, "evaluate": Evaluate, **tsgm.SECTIONS}, arguments.folder
    )
    slices = Slices.open(arguments.folder / "data/slices" / arguments.store)
    fabric = device.launch(p["infer"].precision, 1)
    seeds = [Setting(slices, Noise(p["seed"] + k), p["infer"], fabric) for k in range(2)]
    seen, runs, reference = shown(slices, arguments.slices), [], None
    sigma_max = params.read({"vejp.levels": Levels}, arguments.folder)["vejp.levels"].sigma_max
    for kind, changes in settings(arguments.steps, sigma_max):
        own = replace(p["tsgm.sampling"], **changes)
        found = [restore(p, kind, own, (arguments.folder, seed), seen) for seed in seeds]
        reference = reference or found
        numbers = compare(*found, reference[0], seen, p)
        runs.append({"kind": kind, **changes, **numbers})
        near = numbers["map_from_reference"] <= runs[0]["map_seed_to_seed"]
        runs[-1]["accepted"] = near and abs(numbers["dice_change"]) < ACCEPTED
        run.log(f"{kind} {changes}: Dice {numbers['dice']:.4f}, {numbers['evaluations_per_image']:g} evaluations")
    words = f"FOLDER --slices {arguments.slices} --steps {arguments.steps} --store {arguments.store}"
    counts = {"tumour_slices": int(seen.tumour.sum()), "healthy_slices": int((~seen.tumour).sum())}
    patients = len(np.unique(seen.patient))
    write("tsgm_evaluations", words, **counts, patients=patients, weights=weights.PUBLISHED, runs=runs)


if __name__ == "__main__":
    main()
