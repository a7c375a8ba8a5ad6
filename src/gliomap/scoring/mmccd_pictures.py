"""MMCCD's pictures: methods on FLAIR (Fig. 3), where the plain cycle fails (Fig. 4), quality against evaluations (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gliomap.scoring.gallery import Example
from gliomap.scoring.mmccd_figures import Failure
from gliomap.scoring.pictures import NAMES, PREDICTION, TRUTH
from gliomap.scoring.sheet import Sheet

PANELS = {"dice": "Dice, best threshold of these slices", "auprc": "AUPRC inside the brain", "spearman": "rank correlation"}
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")
GREY = "#555555"


def methods(shown: Mapping[str, Sequence[Example]], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 3: for each slice three columns; above them the slice, a line a method: reconstruction, map, mask with Dice.

    shown: by method, the same slices in the same order; names: of the methods. Maps: each in its own colours.
    """
    first = next(iter(shown.values()))
    sheet = Sheet(1 + len(shown), 3 * len(first), heading)
    sheet.titles(["reconstruction", "map", "mask, Dice"] * len(first))
    for i, example in enumerate(first):
        sheet.grey((0, 3 * i), example.image)
        sheet.words((0, 3 * i + 1), example.label)
        _masked(sheet, (0, 3 * i + 2), example.image, example.truth, TRUTH, example.truth)
    sheet.label(0, "input, truth")
    for line, (key, found) in enumerate(shown.items(), start=1):
        sheet.label(line, names[key])
        for i, example in enumerate(found):
            _view(sheet, (line, 3 * i), example)
    return sheet.figure


def failures(shown: Sequence[Failure], pair: tuple[str, str], heading: str) -> Figure:
    """Fig. 4: a line a slice; its panels a to f, then the same of MMCCD. pair: x and y of the cycle x -> y -> x."""
    x, y = (NAMES.get(name, name) for name in pair)
    sheet = Sheet(len(shown), 8, heading)
    sheet.titles([
        f"(a) input {x}", f"(b) target {y}", "(c) truth", f"(d) cycle, {x}", f"(e) translation, {y}",
        "(f) anomaly found", f"MMCCD: cycle, {x}", "MMCCD: anomaly found",
    ])  # fmt: skip
    for line, each in enumerate(shown):
        cycle, masked = each.cycle, each.masked
        sheet.label(line, cycle.label)
        sheet.grey((line, 0), cycle.image)
        sheet.grey((line, 1), each.target)
        _masked(sheet, (line, 2), cycle.image, cycle.truth, TRUTH, cycle.truth)
        _back(sheet, (line, 3), cycle)
        sheet.grey((line, 4), each.translation, each.target)
        _masked(sheet, (line, 5), cycle.image, cycle.prediction, PREDICTION, cycle.truth)
        sheet.corner((line, 5), f"{cycle.dice:.2f}")
        _back(sheet, (line, 6), masked)
        _masked(sheet, (line, 7), masked.image, masked.prediction, PREDICTION, masked.truth)
        sheet.corner((line, 7), f"{masked.dice:.2f}")
    return sheet.figure


def tradeoff(table: pd.DataFrame, heading: str) -> Figure:
    """A panel for each of PANELS against evaluations of a slice: a line a stride, the number of steps at each point; hollow:
    one step. Dashed: the cycle without stripes. table: of tradeoff.frame."""
    figure = Figure(figsize=(13, 3.9), facecolor="white", layout="constrained")
    figure.suptitle(heading, fontsize=9, weight="bold", x=0.01, ha="left", wrap=True)
    stripes, without = table[table["stride"].notna()], table[table["stride"].isna()]
    for axis, (name, title) in zip(figure.subplots(1, len(PANELS)), PANELS.items()):
        for (method, line), colour in zip(stripes.groupby("method", sort=False), COLOURS * len(stripes)):
            _line(axis, line, name, method, colour)
        for row in without.itertuples():
            value = getattr(row, name)
            axis.axhline(value, color=GREY, linestyle="--", linewidth=0.9)
            axis.plot(row.evaluations, value, "*", color=GREY, markersize=9, label=row.method)
        axis.set(xscale="log", xlabel="network evaluations per slice", ylabel=title)
        axis.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=7, title="number at a point: steps; hollow: 1", title_fontsize=6.5)
    return figure


def _line(axis: Axes, line: pd.DataFrame, name: str, method: str, colour: str) -> None:
    axis.plot(line["evaluations"], line[name], "-", color=colour, linewidth=1.2)
    one = line["steps"] == 1
    axis.plot(line["evaluations"][~one], line[name][~one], "o", color=colour, markersize=5, label=method)
    axis.plot(line["evaluations"][one], line[name][one], "o", markeredgecolor=colour, markerfacecolor="white", markersize=6)
    for steps, x, y in zip(line["steps"], line["evaluations"], line[name]):
        axis.annotate(str(steps), (x, y), (0, 5), textcoords="offset points", fontsize=6.5)


def _view(sheet: Sheet, at: tuple[int, int], example: Example) -> None:
    """Three panels of a method from `at` to the right."""
    line, column = at
    _back(sheet, at, example)
    inside = example.map[example.brain]
    sheet.heat((line, column + 1), example.map, float(np.quantile(inside, 0.998)) if inside.size else 0.0)
    sheet.outline((line, column + 1), example.truth, "white")
    _masked(sheet, (line, column + 2), example.image, example.prediction, PREDICTION, example.truth)
    sheet.corner((line, column + 2), f"{example.dice:.2f}")


def _back(sheet: Sheet, at: tuple[int, int], example: Example) -> None:
    """The reconstruction in the grey values of the slice."""
    if example.reconstruction is None:
        sheet.words(at, "none")
    else:
        sheet.grey(at, np.clip(example.reconstruction, example.image.min(), None), example.image)


def _masked(sheet: Sheet, at: tuple[int, int], image: np.ndarray, mask: np.ndarray, colour: str, truth: np.ndarray) -> None:
    sheet.grey(at, image)
    sheet.mask(at, mask, colour)
    sheet.outline(at, truth, TRUTH)
