"""A sheet of many small panels in one drawing area: matplotlib takes longer to make hundreds of axes than to fill them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

PANEL, LABEL, HEAD = 0.95, 1.2, 0.75  # inches: side of a panel, width of the labels, height of heading and titles
GAP = 0.015  # on each side of a panel, in panels
LETTERS, NAME, SIDE = 12, 14, 22  # of the heading, per inch; in a line of a column's title, of a row's label
HEAT = "viridis"


class Sheet:
    """rows x columns of panels, square images; `at` is (row, column) from the upper left. Panels left empty stay white."""

    def __init__(self, rows: int, columns: int, heading: str) -> None:
        rows = max(rows, 1)  # nothing to show: a heading above an empty line
        width = LABEL + PANEL * columns
        title = textwrap.fill(heading, int(LETTERS * width))
        head = HEAD + 0.14 * title.count("\n")
        height = head + PANEL * rows
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.figure.suptitle(title, fontsize=9, weight="bold", x=0.01, y=1 - 0.1 / height, ha="left", va="top")
        area = (LABEL / width, 0, 1 - LABEL / width, 1 - head / height)
        self.axes = self.figure.add_axes(area, xlim=(0, columns), ylim=(rows, 0), autoscale_on=False)
        self.axes.set_axis_off()

    def titles(self, names: Sequence[str]) -> None:
        """Above the columns, from the first one on."""
        for column, name in enumerate(names):
            words = textwrap.fill(name, NAME, break_on_hyphens=False, break_long_words=False)
            self.axes.text(column + 0.5, -0.04, words, fontsize=6.5, ha="center", va="bottom")

    def label(self, row: int, text: str) -> None:
        """Left of the row."""
        lines = (textwrap.fill(line, SIDE, break_on_hyphens=False) for line in text.splitlines())
        self.axes.text(-0.06, row + 0.5, "\n".join(lines), fontsize=6.5, ha="right", va="center")

    def corner(self, at: tuple[int, int], text: str) -> None:
        """White, in the upper left of the panel."""
        self.axes.text(at[1] + 0.04, at[0] + 0.04, text, fontsize=6, color="white", va="top")

    def words(self, at: tuple[int, int], text: str) -> None:
        """Grey, instead of an image."""
        self.axes.text(at[1] + 0.5, at[0] + 0.5, text, fontsize=6, color="#777777", ha="center", va="center")

    def grey(self, at: tuple[int, int], image: np.ndarray, scale: np.ndarray | None = None) -> None:
        """(H, W) from the darkest to the 99.8 % quantile, of the image itself or of `scale`."""
        of = image if scale is None else scale
        low, high = float(of.min()), float(np.quantile(of, 0.998))
        self._image(at, image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))

    def heat(self, at: tuple[int, int], values: np.ndarray, top: float, colours: str = HEAT) -> None:
        """(H, W) in colours from 0 to `top`."""
        self._image(at, values, cmap=colours, vmin=0, vmax=max(top, 1e-6))

    def mask(self, at: tuple[int, int], mask: np.ndarray, colour: str) -> None:
        """bool (H, W), half transparent over what is there."""
        if mask.any():
            self._image(at, mask[..., None] * np.array(to_rgba(colour, 0.55)))

    def outline(self, at: tuple[int, int], mask: np.ndarray, colour: str) -> None:
        """Border of the bool (H, W) mask."""
        if mask.any() and not mask.all():
            x, y = ((np.arange(n) + 0.5) / n * (1 - 2 * GAP) + GAP for n in mask.shape[::-1])
            self.axes.contour(x + at[1], y + at[0], mask.astype(float), [0.5], colors=[colour], linewidths=0.7)

    def _image(self, at: tuple[int, int], values: np.ndarray, **options: object) -> None:
        row, column = at
        extent = (column + GAP, column + 1 - GAP, row + 1 - GAP, row + GAP)
        self.axes.imshow(values, extent=extent, aspect="auto", interpolation="nearest", **options)
