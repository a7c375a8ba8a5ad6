"""TSGM's figures of numbers: scores by method (Fig. 5), weights of modalities (Fig. 6), the sampler (Fig. 7 a, b)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from gliomap.scoring import weights
from gliomap.scoring.pictures import NAMES

MEAN = "#1f77b4"  # the paper's blue dashed line
COLOURS = {"t1": "#7f7f7f", "t1ce": "#2ca02c", "t2": "#1f77b4", "flair": "#d62728"}
BOXES = {"dice": "DSC", "auprc_mask": "AUPRC of the mask, as published", "auprc_map": "AUPRC of the map"}
COLUMNS = 3  # panels of weights in a line


def boxes(table: pd.DataFrame, heading: str) -> Figure:
    """Fig. 5: a panel for each of BOXES, a box for each method of `tsgm_figures.scores_by_method`, means dashed blue."""
    methods = list(dict.fromkeys(table["method"]))
    figure = _figure((14, 1.3 + 0.3 * len(methods)), heading)
    axes = figure.subplots(1, len(BOXES), sharey=True)
    for axis, (name, title) in zip(axes, BOXES.items()):
        sns.boxplot(
            table, x=name, y="method", order=methods, ax=axis, color="#dddddd", width=0.65, fliersize=1.5, linewidth=0.8,
            showmeans=True, meanline=True, meanprops={"color": MEAN, "linestyle": "--", "linewidth": 1.6},
            medianprops={"color": "black", "linewidth": 1.0},
        )  # fmt: skip
        means = table.groupby("method")[name].mean()
        for i, method in enumerate(methods):
            axis.text(1.015, i, f"{means[method]:.3f}", fontsize=6.5, color=MEAN, va="center")
        axis.set(xlim=(-0.01, 1.0), xlabel=title, ylabel="")
    return figure


def histograms(found: Mapping[str, pd.DataFrame], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 6: for each row the optimal weights of the slices, modalities overlaid; solid: their means, dotted: published.

    found: from tsgm_figures.optima.
    """
    count = -(-len(found) // COLUMNS)
    figure = _figure((4.4 * min(len(found), COLUMNS), 0.7 + 2.5 * count), heading)
    axes = figure.subplots(count, min(len(found), COLUMNS), squeeze=False, sharex=True)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis, (key, table) in zip(axes.flat, found.items()):
        _weights(axis, table)
        axis.set_title(f"{names[key]}, n = {len(table)}", fontsize=8)
        axis.set(xlabel="optimal weight", ylabel="slices", xlim=(-0.05, 1.05))
        axis.legend(fontsize=6.5)
    return figure


def sweeps(snr: pd.DataFrame, by_slice: np.ndarray, levels: pd.DataFrame, labels: tuple[str, ...], heading: str) -> Figure:
    """Fig. 7 a, b: Dice of each slice by snr (by_slice: (K, S)) and their mean; mean Dice and AUPRC by number of levels."""
    figure = _figure((11, 3.6), heading)
    left, right = figure.subplots(1, 2)
    for values, label in zip(by_slice.T, labels):
        left.plot(snr["snr"], values, marker="o", markersize=3, linewidth=1, label=label.replace("\n", ", "))
    left.plot(snr["snr"], snr["dice"], color="black", linestyle="--", linewidth=1.6, label="mean")
    left.set(xlabel="snr of the corrector", ylabel="DSC", ylim=(0, 1))
    left.legend(fontsize=6.5)
    right.plot(levels["levels"], levels["dice"], marker="o", color="black", markersize=4, label="mean DSC")
    right.plot(levels["levels"], levels["auprc_mask"], marker="s", color=MEAN, markersize=4, label="mean AUPRC of the mask")
    span = (levels["dice_lowest"], levels["dice_highest"])
    right.fill_between(levels["levels"], *span, color="black", alpha=0.1, linewidth=0)
    right.set(xlabel="noise levels N", ylabel="grey: range of DSC over slices", ylim=(0, 1), xscale="log")
    right.set_xticks(levels["levels"], [f"{n:g}" for n in levels["levels"]], minor=False)
    right.minorticks_off()
    right.legend(fontsize=6.5)
    return figure


def _figure(size: tuple[float, float], heading: str) -> Figure:
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    figure.suptitle(textwrap.fill(heading, int(12 * size[0])), fontsize=9, weight="bold", x=0.01, ha="left")
    return figure


def _weights(axis: Axes, table: pd.DataFrame) -> None:
    """Overlaid bars, one for each tenth; lines at the mean (in the legend) and at the published weight (in brackets)."""
    there = [name for name in weights.PUBLISHED if name in table]
    steps = np.arange(-0.05, 1.06, 0.1)
    for name in there:
        values = table[name].to_numpy(float)
        mean = values.mean() if len(values) else np.nan
        label = f"{NAMES[name]}: {mean:.2f} ({weights.PUBLISHED[name]:.2f})"
        colour = COLOURS[name]
        axis.hist(values, steps, facecolor=to_rgba(colour, 0.25), edgecolor=colour, label=label, histtype="stepfilled")
        axis.axvline(mean, color=colour, linewidth=1.2)
        axis.axvline(weights.PUBLISHED[name], color=colour, linewidth=1.0, linestyle="dotted")
