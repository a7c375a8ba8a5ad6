"""How hard the phantom is: the best global threshold on a histogram-equalised modality. Run as a script for the figures."""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from gliomap.data.phantom import atlas
from gliomap.data.phantom.settings import Knobs
from gliomap.data.phantom.subject import make_subject

EVEN = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)
LEVELS = 200
MIDDLE = (80, 129)  # mm, slices where a third of BraTS is free of tumour
DARK = ("t1",)  # tumours are darker there


def atlas_folder(tmp_path_factory):
    """$GLIOMAP_TEST_CACHE, else a folder that the processes of one test session share."""
    if "GLIOMAP_TEST_CACHE" in os.environ:
        return Path(os.environ["GLIOMAP_TEST_CACHE"])
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "phantom-cache"


def dice_by_threshold(volume, seg, dark):
    """Dice of {equalised intensity >= threshold} against the whole tumour: slice numbers, (slices with tumour, LEVELS)."""
    brain = volume > 0
    rank = np.empty(int(brain.sum()))
    rank[np.argsort(volume[brain], kind="stable")] = np.arange(rank.size) / rank.size
    level = np.full(volume.shape, -1)
    level[brain] = np.minimum((1 - rank if dark else rank) * LEVELS, LEVELS - 1).astype(int)
    slices = np.flatnonzero((seg > 0).any((0, 1)))
    scores = []
    for z in slices:
        tumour = seg[:, :, z] > 0
        found = np.bincount(level[:, :, z][brain[:, :, z]], minlength=LEVELS)[::-1].cumsum()[::-1]
        hit = np.bincount(level[:, :, z][brain[:, :, z] & tumour], minlength=LEVELS)[::-1].cumsum()[::-1]
        scores.append(2 * hit / (found + tumour.sum()))
    return slices, np.stack(scores)


def measure(template, voxel, index):
    """Of one subject: slices, Dice curves by modality, and what was drawn."""
    volumes, meta = make_subject(atlas.load(template), 2020, index, voxel, True, EVEN)
    curves = {}
    for modality in ("t1", "t1ce", "t2", "flair"):
        slices, curves[modality] = dice_by_threshold(volumes[modality], volumes["seg"], modality in DARK)
    z = np.arange(volumes["seg"].shape[2]) * voxel
    healthy = ~(volumes["seg"] > 0).any((0, 1))[(z >= MIDDLE[0]) & (z < MIDDLE[1])]
    return slices * voxel, curves, {**meta["ml"], "healthy_80_128": healthy.mean()}


def summary(measured):
    """Slice-mean Dice at the best global threshold, by modality: all tumour slices, middle slices, oracle per slice."""
    z = np.concatenate([m[0] for m in measured])
    middle = (z >= MIDDLE[0]) & (z < MIDDLE[1])
    result = {}
    for modality in measured[0][1]:
        curves = np.concatenate([m[1][modality] for m in measured])
        result[modality] = (curves.mean(0).max(), curves[middle].mean(0).max(), curves.max(1).mean())
    return result


def main(voxel, subjects, workers):
    """Print the figures of docs/phantom.md."""
    template = atlas.cached(Path(os.environ["GLIOMAP_TEST_CACHE"]))
    with ProcessPoolExecutor(workers) as pool:
        measured = list(pool.map(partial(measure, template, voxel), range(1, subjects + 1)))
    for modality, values in summary(measured).items():
        sys.stdout.write(f"{modality:6} all %.3f  80-128 %.3f  oracle %.3f\n" % values)
    for name in measured[0][2]:
        values = np.array([m[2][name] for m in measured])
        sys.stdout.write(f"{name}: mean {values.mean():.3f}, p5/50/95 {np.percentile(values, (5, 50, 95)).round(1)}\n")
    whole = np.array([m[2]["necrosis"] + m[2]["oedema"] + m[2]["enhancing"] for m in measured])
    sys.stdout.write(f"whole: mean {whole.mean():.1f}, p5/50/95 {np.percentile(whole, (5, 50, 95)).round(1)}\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
