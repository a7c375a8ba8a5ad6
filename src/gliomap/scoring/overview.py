"""Dice and precision-recall of all methods side by side: tables for DVC's plots and one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gliomap.scoring.leaderboard import Entry, Numbers, need

SIZES = ("small", "medium", "large")


def dice_by_method(entries: Sequence[Entry], scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """method, case, z, dice: one row a method and tumour slice, at the validation threshold."""
    parts = []
    for e in entries:
        found = scores[e.key]
        there = found[(found["tumour"] == 1) & (found["tumour_px"] > 0)]
        parts.append(there[["case", "z", "dice"]].assign(method=e.name)[["method", "case", "z", "dice"]])
    return pd.concat(parts, ignore_index=True)


def dice_by_area(entries: Sequence[Entry], metrics: Mapping[str, Numbers]) -> pd.DataFrame:
    """area, method, dice, dice_lo, dice_hi, n: mean over the tumour slices in each third by tumour area."""
    rows = []
    for size in SIZES:
        for e in entries:
            numbers = metrics[e.key]
            name = f"dice_slice_tumour_{size}"
            record = {"area": area_words(numbers, size, e.key), "method": e.name, "dice": need(numbers, name, e.key)}
            record |= {f"dice{end}": numbers.get(name + end) for end in ("_lo", "_hi")}
            rows.append(record | {"n": need(numbers, f"n_tumour_slices_{size}", e.key)})
    return pd.DataFrame(rows)


def area_words(numbers: Numbers, size: str, method: str) -> str:
    """`small: up to 3.2 cm², n = 12`."""
    lower, upper = ((need(numbers, f"tercile_mm2_{end}", method) or 0) / 100 for end in ("lower", "upper"))
    words = {"small": f"up to {lower:.1f}", "medium": f"up to {upper:.1f}", "large": f"above {upper:.1f}"}
    return f"{size}: {words[size]} cm², n = {need(numbers, f'n_tumour_slices_{size}', method):.0f}"


def precision_recall(entries: Sequence[Entry], curves: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """method, recall, precision: the curves of all methods, with the names that tables show."""
    return pd.concat([curves[e.key].assign(method=e.name) for e in entries], ignore_index=True)


def picture(dice: pd.DataFrame, areas: pd.DataFrame, curves: pd.DataFrame, numbers: Numbers, heading: str) -> Figure:
    """Three panels: Dice by method, Dice by tumour area, precision-recall; the tables are those made above.

    numbers: the metrics of any method, for the counts and the floor of precision, which are the same for all.
    """
    methods = list(dict.fromkeys(dice["method"]))
    colours = dict(zip(methods, sns.color_palette("colorblind", len(methods)), strict=True))
    figure = Figure(figsize=(13, max(4.6, 1.2 + 0.35 * len(methods))), facecolor="white", layout="constrained")
    n = f"{_n(numbers, 'n_tumour_slices')} tumour slices of {_n(numbers, 'n_patients_tumour')} test patients"
    figure.suptitle(f"{heading}; {n}", fontsize=10, weight="bold", x=0.01, ha="left")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 1))
    _boxes(left, dice, colours)
    _bars(middle, areas, colours)
    _curves(right, curves, colours, numbers.get("prevalence_pooled_brain"))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(methods), 8))
    return figure


def _boxes(axis: Axes, dice: pd.DataFrame, colours: Mapping[str, tuple]) -> None:
    shown = {"x": "dice", "y": "method", "hue": "method", "palette": colours, "legend": False, "ax": axis}
    sns.boxplot(dice, **shown, width=0.6, fliersize=0, linewidth=0.9, saturation=0.9)
    points = np.random.RandomState(0).uniform(-0.2, 0.2, len(dice))
    order = {method: i for i, method in enumerate(colours)}
    axis.scatter(dice["dice"], dice["method"].map(order) + points, s=3, color="black", alpha=0.35, linewidths=0, zorder=3)
    axis.set(xlim=(0, 1), xlabel="Dice of a tumour slice, validation threshold", ylabel="", title="Dice by method")


def _bars(axis: Axes, areas: pd.DataFrame, colours: Mapping[str, tuple]) -> None:
    groups = list(dict.fromkeys(areas["area"]))
    width = 0.8 / len(colours)
    for i, (method, colour) in enumerate(colours.items()):
        mine = areas[areas["method"] == method].set_index("area").reindex(groups).astype({"dice": float})
        x = np.arange(len(groups)) + (i - (len(colours) - 1) / 2) * width
        error = np.abs(mine[["dice_lo", "dice_hi"]].to_numpy(float) - mine[["dice"]].to_numpy(float)).T
        bars = {"color": [colour], "error_kw": {"elinewidth": 0.7}}
        axis.bar(x, mine["dice"], width * 0.92, yerr=np.nan_to_num(error), **bars)
    axis.set_xticks(range(len(groups)), [group.replace(": ", "\n").replace(", ", "\n") for group in groups])
    axis.set(ylim=(0, 1), ylabel="mean Dice", title="Dice by tumour area, with intervals")


def _curves(axis: Axes, curves: pd.DataFrame, colours: Mapping[str, tuple], floor: float | None) -> None:
    for method, colour in colours.items():
        mine = curves[curves["method"] == method]
        axis.plot(mine["recall"], mine["precision"], color=colour, label=method, linewidth=1.2)
    if floor is not None:
        axis.axhline(floor, color="black", linewidth=0.8, linestyle="dotted")
        axis.text(1, floor, f"prevalence {floor:.3f}", fontsize=6.5, ha="right", va="bottom")
    axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", title="All pixels inside the brain")
    axis.set_aspect("equal")


def _n(numbers: Numbers, name: str) -> str:
    return f"{numbers.get(name) or 0:.0f}"
