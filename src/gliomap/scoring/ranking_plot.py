"""Dice against seconds per slice: the table behind DVC's plot, and a picture with a panel for each class of supervision."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.isotonic import isotonic_regression

from gliomap.scoring.ranking import DICE, FLAIR
from gliomap.scoring.tables import by_recipe

FASTEST = 1e-5  # seconds; the files hold five decimals, and the axis is logarithmic
GAP = 0.155  # inches from one name to the next
PANEL = 2.7, 2.3  # inches: width of the axes, and of the names beside them
MARKERS = "osD^v*"  # of the classes, besides their colours
CAPTION = (
    "Numbers: places in the leaderboard. Bars: intervals over patients. Grey: methods with other supervision. "
    "Dotted: FLAIR threshold."
)
COLUMNS = {
    "no": "no", "name": "method", "supervision": "supervision", "recipe": "recipe", "seconds_per_slice": "seconds",
    "evaluations_per_slice": "evaluations", DICE: "dice", f"{DICE}_lo": "dice_lo", f"{DICE}_hi": "dice_hi",
}  # fmt: skip


def table(found: pd.DataFrame) -> pd.DataFrame:
    """no, method, supervision, recipe, seconds, evaluations, dice, dice_lo, dice_hi of the methods that have a Dice.

    `found` is ranking.frame. Seconds are at least FASTEST.
    """
    shown = found.loc[found[DICE].notna(), list(COLUMNS)].rename(columns=COLUMNS)
    return shown.assign(seconds=shown["seconds"].clip(lower=FASTEST)).reset_index(drop=True)


def picture(found: pd.DataFrame, heading: str) -> Figure:
    """A row of panels for each recipe, a panel for each class of supervision; the other classes are grey in it.

    found: ranking.frame. Bars are the intervals, the dotted line is the FLAIR threshold.
    """
    points, classes = table(found), list(dict.fromkeys(found["supervision"]))
    recipes = list(dict.fromkeys(points["recipe"]))
    most = points.groupby(["recipe", "supervision"]).size().max()
    height = max(3.0, 1.0 + GAP * most)
    size = sum(PANEL) * len(classes) + 0.7, height * len(recipes) + 1.0
    figure = Figure(figsize=size, facecolor="white")
    axes = figure.subplots(len(recipes), len(classes), squeeze=False, sharex=True, sharey=True)
    right, top = 1 - PANEL[1] / size[0], 1 - 0.7 / size[1]
    figure.subplots_adjust(0.7 / size[0], 0.75 / size[1], right, top, PANEL[1] / PANEL[0], 0.25)
    figure.suptitle(f"{heading}; {_n(found)}", fontsize=10, weight="bold", x=0.01, ha="left")
    figure.text(0.01, 0.1 / size[1], CAPTION, fontsize=7)
    for recipe, row in zip(recipes, axes):
        mine = points[points["recipe"] == recipe]
        flair = found.loc[(found["recipe"] == recipe) & (found["method"] == FLAIR), DICE]
        for word, axis, style in zip(classes, row, _styles(len(classes))):
            _panel(axis, mine, word, style, _gap(height))
            axis.set_title(f"supervision: {word}" + (f", recipe {recipe}" if len(recipes) > 1 else ""), loc="left")
            for dice in flair:
                axis.axhline(dice, color="black", linewidth=0.8, linestyle="dotted", zorder=1)
    axes[0, 0].set(xscale="log", ylim=(0, 1), xlim=_limits(points["seconds"].to_numpy()))  # shared by all
    for axis in axes[-1]:
        axis.set_xlabel("seconds per slice")
    for axis in axes[:, 0]:
        axis.set_ylabel("Dice, validation threshold")
    return figure


def _n(found: pd.DataFrame) -> str:
    """How many slices and patients are behind each Dice."""
    first = found.drop_duplicates("recipe")
    counts = zip(first["recipe"], first["n_tumour_slices"], first["n_patients_tumour"])
    words = {recipe: f"{slices:.0f} tumour slices of {patients:.0f} test patients" for recipe, slices, patients in counts}
    return by_recipe(words)


def _styles(n: int) -> list[tuple[tuple, str]]:
    """Colour and marker of each class."""
    return [(colour, MARKERS[i % len(MARKERS)]) for i, colour in enumerate(sns.color_palette("colorblind", n))]


def _gap(height: float) -> float:
    """The gap between two names in units of Dice, in axes of nearly this height that show 0 to 1."""
    return GAP / (height - 0.5)


def _panel(axis: Axes, points: pd.DataFrame, supervision: str, style: tuple[tuple, str], gap: float) -> None:
    inside = points["supervision"] == supervision
    others, mine = points[~inside], points[inside].sort_values(["dice", "no"], ascending=[True, False])
    colour, marker = style
    axis.grid(axis="y", linewidth=0.4, color="0.9")
    axis.scatter(others["seconds"], others["dice"], s=7, color="0.82", linewidths=0, zorder=1.5)
    error = np.abs(mine[["dice_lo", "dice_hi"]].to_numpy(float) - mine[["dice"]].to_numpy(float)).T
    bars = {"fmt": "none", "ecolor": [*colour, 0.35], "elinewidth": 1.0, "zorder": 2}
    axis.errorbar(mine["seconds"], mine["dice"], yerr=np.nan_to_num(error), **bars)
    axis.scatter(mine["seconds"], mine["dice"], s=20, marker=marker, color=[colour], linewidths=0, zorder=3)
    at = axis.get_yaxis_transform()
    for row, height in zip(mine.itertuples(), spread(mine["dice"].to_numpy(float), gap)):
        arrow = {"arrowstyle": "-", "color": colour, "alpha": 0.45, "linewidth": 0.5, "shrinkA": 1, "shrinkB": 2}
        arrow["relpos"] = (0, 0.5)  # to the left end of the name
        place = {"xy": (row.seconds, row.dice), "xytext": (1.03, height), "textcoords": at, "arrowprops": arrow}
        axis.annotate(f"{row.no}  {row.method}", **place, fontsize=6.5, va="center", annotation_clip=False)


def spread(heights: np.ndarray, gap: float) -> np.ndarray:
    """(n,): where to write names for ascending heights in 0..1: at least `gap` apart, inside 0..1, moved as little as can be
    (least squares: what is left after taking off i gaps must ascend). If there is no room for the gap it shrinks."""
    if not len(heights):
        return heights
    gap = min(gap, 1 / max(len(heights) - 1, 1))
    steps = gap * np.arange(len(heights))
    return isotonic_regression(heights - steps, y_min=0.0, y_max=1.0 - steps[-1]) + steps


def _limits(seconds: np.ndarray) -> tuple[float, float]:
    """Whole decades around all of them."""
    low, high = np.log10(seconds.min()), np.log10(seconds.max())
    return 10.0 ** np.floor(low), 10.0 ** max(np.ceil(high), np.floor(low) + 1)


