"""A picture of a slice store: a few training slices with the tumour's outline, and the intensities of every split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.data.slices import SPLITS, Slices

SHOWN = {True: 4, False: 2}  # slices with and without tumour
SAMPLE = 100  # slices of a split behind its histogram
LIMITS = (0.005, 0.995)  # quantiles of the shown intensities that become black and white
INCHES = 1.6  # side of a panel


def draw(slices: Slices, path: Path, title: str) -> None:
    """Write a PNG; equal slices give equal bytes. Needs the training split's masks and labels, images and brains."""
    rows = np.concatenate([spread(slices.rows("train", tumour), count) for tumour, count in SHOWN.items()])
    panels = (len(rows) + 1, len(slices.modalities))
    figure = Figure((INCHES * panels[1], INCHES * panels[0] + 0.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(*panels, squeeze=False)
    _slices(axes[:-1], slices, rows)
    for axis, name in zip(axes[-1], slices.modalities, strict=True):
        _histogram(axis, slices, name)
    axes[-1, 0].legend(fontsize=5, frameon=False)
    figure.suptitle(title, fontsize=8)
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def spread(rows: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """At most `count` of the rows: the middle one of each of so many equal parts."""
    count = min(count, len(rows))
    return rows[(2 * np.arange(count) + 1) * len(rows) // (2 * max(count, 1))]


def _slices(axes: NDArray, slices: Slices, rows: NDArray[np.int64]) -> None:
    images = slices.read(rows, slices.modalities)
    masks = slices.masks("train")[np.searchsorted(slices.mask_rows("train"), rows)]
    black, white = np.quantile(images, LIMITS, axis=(0, 2, 3))
    for line, image, mask, row in zip(axes, images, masks, rows, strict=True):
        for axis, plane, name, low, high in zip(line, image, slices.modalities, black, white, strict=True):
            axis.imshow(plane, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
            if mask.any():
                axis.contour(mask, [0.5], colors="tab:red", linewidths=0.6)
            axis.set(xticks=[], yticks=[])
            axis.set_title(name if line is axes[0] else "", fontsize=7)
        entry = slices.index.iloc[row]
        line[0].set_ylabel(f"{entry['case']}\nz {entry['z']}", fontsize=4)


def _histogram(axis: Axes, slices: Slices, modality: str) -> None:
    values = {split: _inside(slices, spread(slices.rows(split), SAMPLE), modality) for split in SPLITS}
    edges = np.linspace(*np.quantile(np.concatenate(list(values.values())), LIMITS), 61)
    for split, found in values.items():
        axis.hist(found, edges, density=True, histtype="step", linewidth=0.7, label=split)
    axis.set_yticks([])
    axis.tick_params(labelsize=5)
    axis.set_xlabel(f"{modality} in the brain", fontsize=5)


def _inside(slices: Slices, rows: NDArray[np.int64], modality: str) -> NDArray[np.float32]:
    return slices.read(rows, (modality,))[:, 0][slices.brain_of(rows)]
