"""AnoFPDM's figures as pictures: curves (3a, 3b, 5), one slice along the steps (2), maps and masks of all rows (4)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from gliomap.scoring.forward_gallery import Shown
from gliomap.scoring.pictures import PREDICTION, TRUTH

GREY = {"cmap": "gray", "vmin": -1, "vmax": 1, "interpolation": "nearest"}
PANEL, LABEL, HEAD = 1.15, 1.25, 0.75  # inches
LETTERS = 12  # of a title, per inch
SHOWN = 8  # steps of the strip
TITLES = {"guided": "guided to healthy", "reference": "reference"}


def curves(tables: Mapping[str, pd.DataFrame], heading: str) -> Figure:
    """Five panels; tables: steps, guidance, errors_healthy, errors_unhealthy, divergence, as forward_figures makes them."""
    figure = Figure(figsize=(13, 6.4), facecolor="white", layout="constrained")
    figure.suptitle(heading, fontsize=10, weight="bold", x=0.01, ha="left")
    grid = GridSpec(2, 3, figure)
    _steps(figure.add_subplot(grid[0, 0]), tables["steps"])
    _guidance(figure.add_subplot(grid[0, 1]), tables["guidance"])
    _divergence(figure.add_subplot(grid[0, 2]), tables["divergence"])
    first = figure.add_subplot(grid[1, 0])
    _errors(first, tables["errors_healthy"], "Validation slices without tumour (5a)")
    _errors(figure.add_subplot(grid[1, 1], sharey=first), tables["errors_unhealthy"], "Validation slices with tumour (5b)")
    return figure


def strip(arrays: Mapping[str, np.ndarray], levels: np.ndarray, heading: str) -> Figure:
    """Fig. 2: predictions and errors of one slice along the noise levels.

    arrays: image, truth (H, W); x_h, x_ref, stack_h, stack_ref (K, H, W). levels: (K,).
    """
    at = np.unique(np.linspace(0, len(levels) - 1, min(SHOWN, len(levels))).round().astype(int))
    rows = (("x_h", "guided\nto healthy"), ("stack_h", "its error"), ("x_ref", "reference"), ("stack_ref", "its error"))
    errors = np.stack([arrays["stack_h"][at], arrays["stack_ref"][at]]).astype(np.float32)
    heat = {"cmap": "inferno", "vmin": 0, "vmax": max(float(np.quantile(errors, 0.995)), 1e-6), "interpolation": "nearest"}
    figure, axes = _grid(len(rows), len(at) + 1, heading)
    for line, (name, label) in zip(axes, rows):
        line[0].imshow(arrays["image"], **GREY)
        line[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7)
        _outline(line[0], arrays["truth"], TRUTH)
        for axis, k in zip(line[1:], at):
            axis.imshow(arrays[name][k].astype(np.float32), **(GREY if name.startswith("x_") else heat))
    for axis, title in zip(axes[0], ("input", *(f"k = {levels[k]}" for k in at))):
        axis.set_title(title, fontsize=7, pad=3)
    return figure


def masks(shown: Sequence[Shown], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 4: two lines a slice; input and truth, then each row's map and below it its mask. names: headings by row.

    A map's colours end at the 99.5 % quantile of that row over the slices shown.
    """
    scales = {key: max(float(np.quantile([e.maps[key] for e in shown], 0.995)), 1e-6) for key in names}
    figure, axes = _grid(2 * len(shown), 1 + len(names), heading)
    for i, example in enumerate(shown):
        upper, lower = axes[2 * i], axes[2 * i + 1]
        upper[0].imshow(example.image, **GREY)
        upper[0].set_ylabel(example.label, rotation=0, ha="right", va="center", fontsize=6.5)
        _mask(lower[0], example.image, example.truth, TRUTH)
        lower[0].set_ylabel("truth", rotation=0, ha="right", va="center", fontsize=6.5, color=TRUTH)
        for above, below, key in zip(upper[1:], lower[1:], names):
            above.imshow(example.maps[key], cmap="inferno", vmin=0, vmax=scales[key], interpolation="nearest")
            _mask(below, example.image, example.masks[key], PREDICTION)
            _outline(below, example.truth, TRUTH)
    for axis, title in zip(axes[0], ("FLAIR", *names.values())):
        axis.set_title(title, fontsize=6.5, pad=3)
    return figure


def _grid(rows: int, columns: int, heading: str) -> tuple[Figure, np.ndarray]:
    height, width = HEAD + PANEL * rows, LABEL + PANEL * columns
    figure = Figure(figsize=(max(width, 6), height), facecolor="white")
    title = textwrap.fill(heading, int(LETTERS * max(width, 6)))
    figure.suptitle(title, fontsize=9, weight="bold", x=0.01, y=1 - 0.1 / height, ha="left", va="top")
    axes = figure.subplots(rows, columns, squeeze=False)
    edges = {"left": LABEL / max(width, 6), "right": 0.995, "bottom": 0.01, "top": 1 - HEAD / height}
    figure.subplots_adjust(**edges, wspace=0.03, hspace=0.03)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, axes


def _mask(axis: Axes, image: np.ndarray, mask: np.ndarray, colour: str) -> None:
    axis.imshow(image, **GREY)
    _outline(axis, mask, colour)


def _outline(axis: Axes, mask: np.ndarray, colour: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), [0.5], colors=[colour], linewidths=0.8)


def _steps(axis: Axes, table: pd.DataFrame) -> None:
    for reading, mine in table.groupby("method", sort=False):
        x = np.arange(len(mine))
        axis.errorbar(x, mine["auprc"], mine["auprc_sd"], label=reading, capsize=2, linewidth=1.2)
        axis.set_xticks(x, mine["share"])
    n = int(table["n"].max())
    axis.set(xlabel="share of the end step", ylabel="AUPRC of a slice", ylim=(0, 1), title=f"Up to which step (3a), n = {n}")
    axis.legend(fontsize=7)


def _guidance(axis: Axes, table: pd.DataFrame) -> None:
    error = np.nan_to_num(
        np.abs(table[["dice_mixed_lo", "dice_mixed_hi"]].to_numpy(float) - table[["dice_mixed"]].to_numpy()).T
    )
    axis.errorbar(table["w"], table["dice_mixed"], error, marker="o", capsize=2, linewidth=1.2)
    axis.set(xlabel="guidance weight w", ylabel="mixed Dice, test", title="Guidance (3b)")


def _divergence(axis: Axes, table: pd.DataFrame) -> None:
    axis.scatter(table["tumour_cm2"], table["divergence"], s=8, alpha=0.6, linewidths=0)
    r = float(table["pearson_r"].iloc[0]) if len(table) else np.nan
    words = f"r = {r:.2f}, n = {len(table)}" if np.isfinite(r) else f"n = {len(table)}"
    axis.set(xlabel="tumour area, cm²", ylabel="largest divergence / M_max", title=f"Tumour area (5c), {words}")


def _errors(axis: Axes, table: pd.DataFrame, title: str) -> None:
    for name, words in TITLES.items():
        mean, sd = table[name].to_numpy(float), table[f"{name}_sd"].to_numpy(float)
        axis.plot(table["step"], mean, label=words, linewidth=1.2)
        axis.fill_between(table["step"], mean - sd, mean + sd, alpha=0.2, linewidth=0)
    axis.set(xlabel="noise level k", ylabel="mean squared error", title=title)
    axis.legend(fontsize=7)
