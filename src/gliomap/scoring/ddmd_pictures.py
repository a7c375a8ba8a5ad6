"""DDMD's figures as pictures: masks of all methods (3), histograms of discrepancies (4), a slice while it is sampled (5)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from gliomap.scoring import ddmd_figures
from gliomap.scoring.ddmd_figures import MODALITIES, Shown, Study
from gliomap.scoring.pictures import NAMES, PREDICTION, TRUTH

HEALTHY, ILL = "#1f77b4", "#d62728"
PANEL, LABEL, HEAD, TITLE = 1.15, 1.2, 0.6, 0.32  # inches: side of a panel, width of the labels, heading, a line's titles
LETTERS = 12  # of a heading, per inch
NAME = 20  # letters in a line of a method's name
WIDE = 8  # panels of a line of masks


def masks(shown: Sequence[Shown], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 3: for each slice the four modalities and the truth, below them the mask of each method. names: by method."""
    methods = list(names)
    count = -(-len(methods) // WIDE)
    columns = max(5, -(-len(methods) // count))
    lines = [methods[i * columns : (i + 1) * columns] for i in range(count)]
    figure, axes = _grid((1 + count) * len(shown), columns, heading)
    for i, example in enumerate(shown):
        block = axes[i * (1 + count) : (i + 1) * (1 + count)]
        _inputs(block[0], example.images, example.truth, example.label)
        for line, mine in zip(block[1:], lines):
            for axis, method in zip(line, mine):
                _mask(axis, example.images[-1], example.masks[method], PREDICTION)
                _outline(axis, example.truth, TRUTH)
                axis.set_title(textwrap.fill(names[method], NAME), fontsize=6.5, pad=2)
                axis.text(0.03, 0.97, f"{example.dice[method]:.2f}", transform=axis.transAxes, **_WORDS)
        block[1][0].set_ylabel("masks, Dice\n(blue: truth)", rotation=0, ha="right", va="center", fontsize=6.5)
    return figure


def separation(table: pd.DataFrame, found: pd.DataFrame, heading: str) -> Figure:
    """Fig. 4: inter above intra, a panel for each modality and one for all.

    table: from ddmd_figures.scores; found: from ddmd_figures.separation.
    """
    tumour = table["tumour"].to_numpy() == 1
    numbers = found.set_index("score")
    figure = Figure(figsize=(13, 5.4), facecolor="white", layout="constrained")
    figure.suptitle(heading, fontsize=9, weight="bold", x=0.01, ha="left")
    axes = figure.subplots(2, len(MODALITIES) + 1)
    for axis, name in zip(axes.flat, ddmd_figures.PANELS):
        _histogram(axis, ddmd_figures.unit(table[name].to_numpy()), tumour, int(numbers.loc[name, "bins"]))
        auroc, common = numbers.loc[name, ["auroc", "overlap"]]
        kind, _, modality = name.partition("_")
        title = f"{kind}, {NAMES.get(modality, 'all modalities')}: AUROC {auroc:.2f}, overlap {common:.2f}"
        axis.set_title(title, fontsize=7.5)
    for line in axes:
        line[0].set_ylabel("density")
    for axis in axes[-1]:
        axis.set_xlabel("score, scaled to 0..1")
    axes[0, 0].legend(fontsize=7)
    return figure


def sampling(found: Study, names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 5: inputs and truth, then the states of each variant, pure noise first, grey from 0 (no tumour) to 1.

    names: by variant.
    """
    figure, axes = _grid(1 + len(found.names), max(5, len(found.completed)), heading)
    _inputs(axes[0], found.images, found.truth, found.label.replace(", ", "\n"))
    for axis, step in zip(axes[1], found.completed):
        axis.set_title(f"{step} steps", fontsize=6.5, pad=2)
    for line, name, states in zip(axes[1:], found.names, found.x):
        line[0].set_ylabel(names.get(name, name), rotation=0, ha="right", va="center", fontsize=7)
        for axis, state in zip(line, states):
            axis.imshow(state, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        _outline(line[len(states) - 1], found.truth, TRUTH)
    return figure


_WORDS = {"color": "white", "fontsize": 6.5, "va": "top"}


def _grid(rows: int, columns: int, heading: str) -> tuple[Figure, np.ndarray]:
    """Panels without ticks, each line with room for titles above it; those left empty stay white."""
    height, width = HEAD + (PANEL + TITLE) * rows, LABEL + PANEL * columns
    figure = Figure(figsize=(width, height), facecolor="white")
    title = textwrap.fill(heading, int(LETTERS * width))
    figure.suptitle(title, fontsize=9, weight="bold", x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    axes = figure.subplots(rows, columns, squeeze=False)
    edges = {"left": LABEL / width, "right": 0.995, "bottom": 0.01, "top": 1 - HEAD / height}
    figure.subplots_adjust(**edges, wspace=0.03, hspace=TITLE / PANEL)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _inputs(line: Sequence[Axes], images: np.ndarray, truth: np.ndarray, label: str) -> None:
    """Four modalities and the truth; label: left of them."""
    line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=6.5)
    for axis, image, modality in zip(line, images, MODALITIES):
        _grey(axis, image)
        axis.set_title(NAMES[modality], fontsize=6.5, pad=2)
    _mask(line[len(images)], images[-1], truth, TRUTH)
    line[len(images)].set_title("truth", fontsize=6.5, pad=2, color=TRUTH)


def _grey(axis: Axes, image: np.ndarray) -> None:
    """Recipes differ in their range: from the slice's darkest to its 99.8 % quantile."""
    low, high = float(image.min()), float(np.quantile(image, 0.998))
    axis.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")


def _mask(axis: Axes, image: np.ndarray, mask: np.ndarray, colour: str) -> None:
    _grey(axis, image)
    axis.imshow(mask[..., None] * np.array(to_rgba(colour, 0.5)), interpolation="nearest")


def _outline(axis: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), [0.5], colors=[colour], linewidths=0.8)


def _histogram(axis: Axes, values: np.ndarray, tumour: np.ndarray, bins: int) -> None:
    """Densities over 0..1 of healthy (blue) and tumour (red) slices, half transparent."""
    edges = np.linspace(0, 1, bins + 1)
    parts = ddmd_figures.densities(values, tumour, bins)
    for density, where, colour, label in zip(parts, (~tumour, tumour), (HEALTHY, ILL), ("healthy", "tumour")):
        axis.stairs(np.nan_to_num(density), edges, fill=True, color=colour, alpha=0.5, label=f"{label}, n = {where.sum()}")
    axis.set_xlim(0, 1)
