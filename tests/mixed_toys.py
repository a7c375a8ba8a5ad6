"""A toy store with predictions of every row of AnoFPDM's table, and the stages on it."""

from pathlib import Path

import numpy as np
from scipy import ndimage

import scoring_toys as toys
from gliomap.base import files
from gliomap.base.place import Place
from stage_toys import ROOT
from stage_toys import main as stage

FORWARD = ("anofpdm_ddpm", "anofpdm_ddim")
BASELINES = ("anoddpm", "anoddpm_simplex", "ddim", "ddim_clf", "ddib")
ROWS = (*FORWARD, "anofpdm_tuned", *BASELINES)
STUDY = "predictions/anofpdm/study_ddim.npz"
W, STEPS, FIXED = (2.0, 1.2), 6, (4, 9)
PARAMS = """
data: phantom
scale: smoke
recipe: common
data_seed: 7
anofpdm: {quantile_high: 0.98, quantile_low: 0.90}
mixed: {batch: 5, component_mm2: 36.0, foreground: -0.95, median_mm: 9.375}
calibrate_labels: {candidates: 100, alarms_low: 0.01, alarms_high: 0.08}
tune_labels: {first: 0.05, last: 2.0, step: 0.05}
evaluate: {replicates: 20, confidence: 0.95}
figures: {tumour_slices: 2, healthy_slices: 1, dpi: 40}
weigh: {weights: searched}
otsu: {threshold: otsu}
"""
GRAPH = "methods: {toy: {}}\nmixed_rows: " + " ".join(ROWS) + "\n"


def forward(maps, truth, seed):
    """Arrays of a forward row that tells tumour slices apart, but for one of each kind."""
    rng = np.random.default_rng(seed)
    n, ill = len(maps), truth.any((1, 2))
    whole = np.stack([ndimage.median_filter(maps, (1, 3, 3)) * (1 + 0.1 * i) for i in range(len(W))], 1)
    cosine = np.where(ill, 0.90, 0.99)[:, None] + rng.uniform(-0.02, 0.005, (n, len(W)))
    area = truth.sum((1, 2)) / truth.sum((1, 2)).max()
    divergence = (0.02 + 0.1 * area[:, None, None] + rng.uniform(0, 0.01, (n, len(W), 2))).astype(np.float32)
    levels = 0.98 - 0.08 * np.arange(101) / 100
    quantiles = np.quantile(whole.reshape(n, len(W), -1), levels, axis=2).transpose(1, 2, 0)
    return {
        "w": np.array(W, np.float32),
        "whole": whole.astype(np.float32),
        "cosine": cosine.astype(np.float32),
        "divergence": divergence,
        "end": np.full((n, len(W), 2), 9),
        "quantiles": np.repeat(quantiles[:, :, None], 2, 2).astype(np.float32),
        "steps": np.arange(STEPS) * 2 + 1,
        "curve_h": rng.uniform(0, 0.01, (n, STEPS)).astype(np.float32) + 0.02 * ill[:, None].astype(np.float32),
        "curve_ref": rng.uniform(0, 0.01, (n, STEPS)).astype(np.float32),
        "fixed": np.stack([whole[:, 0] * 0.5, whole[:, 0]], 1).astype(np.float16),
        "fixed_end": np.array(FIXED),
    }


def study(maps, rows, seed=0):
    """study.npz: the map grows step by step; rows in the order that the stage writes, tumour first."""
    order = np.argsort(rows % 2 == 0, kind="stable")
    grow = np.linspace(0.2, 1, STEPS)[None, :, None, None] * maps[order][:, None]
    picture = np.clip(grow - 0.5, -1, 1).astype(np.float16)
    return {
        "rows": rows[order],
        "steps": np.arange(STEPS) * 2 + 1,
        "end": np.full((len(rows), 2), 9),
        **{name: grow.astype(np.float16) for name in ("stack_h", "stack_ref")},
        **dict.fromkeys(("x_h", "x_ref"), picture),
    }


def project(folder: Path) -> Path:
    """toys.project with what the stages of AnoFPDM's table read, baselines' decisions included."""
    toys.project(folder)
    files.write_text(folder / "params.yaml", PARAMS)
    files.write_text(folder / "conf/graph.yaml", GRAPH)
    files.write_text(folder / "conf/papers/anofpdm.yaml", (ROOT / "conf/papers/anofpdm.yaml").read_text())
    _, maps, truth, brain = toys.cohort(9, 4, seed=3)
    store = folder / "data/slices/common"
    images = np.where(brain[:, None], 0.0, -1.0).repeat(4, 1).astype(np.float16)
    np.save(store / "images.npy", images)
    for split, start in (("val", 12), ("test", 24)):
        mine = slice(start, start + 12)
        rows, there = np.arange(start, start + 12), truth[mine]
        for i, key in enumerate(FORWARD):
            write(folder, key, split, rows=rows, **forward(maps[mine], there, i))
        for key in BASELINES:
            write(folder, key, split, rows=rows, whole=maps[mine][:, None])
    files.write_npz(folder / STUDY, **study(maps[12:24], np.arange(12, 24)))
    for key in BASELINES:
        files.write_json(folder / f"models/decisions/{key}.json", {"kind": "fixed", "theta": 2.4})
    return folder


def write(folder: Path, key: str, split: str, drop=(), **arrays):
    """Write or change arrays of a predictions file."""
    toys.change(folder / Place("anofpdm", key).predictions(split), drop, **arrays)


def decide():
    """All decisions that are found from predictions."""
    stage("calibrate_labels", *FORWARD)
    stage("tune_labels")


def evaluate(*rows: str):
    """evaluate_mixed of the rows."""
    stage("evaluate_mixed", *(rows or ROWS))
