"""Pictures and plain numbers of synthetic tumours: what a CycleGAN painted into healthy slices (TSGM spec 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

from gliomap.scoring.pictures import NAMES

VISIBLE = 0.2  # difference of images in 0..1 that counts as changed
PANEL, LEFT, TOP = 0.95, 1.1, 0.75  # inches: side of a panel, least room for labels, room for heading and column titles
FONT, BESIDE = 6.5, 0.09  # points: size of labels and titles; inches on both sides of a label
KINDS = ("healthy", "synthetic", "difference")
STRONGEST = 0.6  # difference that has the full colour


@dataclass(frozen=True)
class Sums:
    """Of some pairs, per modality: what is needed for the means over all of them. Arrays float64 (M,)."""

    difference: NDArray[np.float64]  # sum over brain pixels of |synthetic - healthy|
    visible: NDArray[np.float64]  # brain pixels that differ by more than VISIBLE
    norm: NDArray[np.float64]  # sum over images of the L2 norm of the difference
    pixels: int  # brain pixels of the slices
    images: int

    @classmethod
    def of(cls, healthy: NDArray[np.uint8], synthetic: NDArray[np.uint8], brain: NDArray[np.bool_]) -> Sums:
        """Pairs (n, M, H, W) with their brains (n, H, W). Each image by its own minimum and maximum, as in the spec."""
        change = np.abs(scaled(synthetic) - scaled(healthy))
        inside = change * brain[:, None]
        visible = ((inside > VISIBLE).sum((0, 2, 3))).astype(float)
        norm = np.sqrt(np.square(change, dtype=np.float64).sum((2, 3))).sum(0)
        return cls(inside.sum((0, 2, 3), dtype=np.float64), visible, norm, int(brain.sum()), len(brain))

    def __add__(self, other: Sums) -> Sums:
        return Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def means(self, modalities: Sequence[str]) -> dict[str, dict[str, float | None]]:
        """By modality: mean_difference and share_visible of the brain's pixels, l2 per image; None without any."""
        parts = {"mean_difference": self.difference, "share_visible": self.visible, "l2": self.norm}
        counts = {"mean_difference": self.pixels, "share_visible": self.pixels, "l2": self.images}
        return {
            modality: {key: round(part[i] / counts[key], 5) if counts[key] else None for key, part in parts.items()}
            for i, modality in enumerate(modalities)
        }


def scaled(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, M, H, W): each image by its own minimum and maximum to 0..1; a constant image becomes 0."""
    images = images.astype(np.float32)
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    return (images - low) / np.where(high > low, high - low, 1)


@dataclass(frozen=True)
class Shown:
    """Some pairs of one variant: uint8 (n, M, H, W) each; labels: one a pair."""

    variant: str
    modalities: tuple[str, ...]
    healthy: NDArray[np.uint8]
    synthetic: NDArray[np.uint8]
    labels: tuple[str, ...]


def picture(blocks: Sequence[Shown], heading: str) -> Figure:
    """A line a slice and variant; for each modality the healthy slice, the synthetic one, the difference (red: brighter)."""
    columns = [name for name in NAMES if any(name in block.modalities for block in blocks)]
    lines = [(block, k, f"{block.variant}\n{label}") for block in blocks for k, label in enumerate(block.labels)]
    left = max(LEFT, max(_width(label) for *_, label in lines) + BESIDE)
    width, height = left + PANEL * len(KINDS) * len(columns), TOP + PANEL * len(lines)
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.suptitle(heading, fontsize=9, weight="bold", x=0.01, y=1 - 0.08 / height, ha="left", va="top")
    axes = figure.subplots(len(lines), len(KINDS) * len(columns), squeeze=False)
    edges = {"left": left / width, "right": 0.998, "bottom": 0.002, "top": 1 - TOP / height}
    figure.subplots_adjust(**edges, wspace=0.03, hspace=0.03)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for i, name in enumerate(columns):
        for kind, axis in zip(KINDS, axes[0, 3 * i :]):
            axis.set_title(f"{NAMES[name]}\n{kind}", fontsize=FONT, pad=2)
    for row, line in zip(axes, lines):
        _line(row, *line, columns)
    return figure


def _width(label: str) -> float:
    """Inches that the longest line of a label takes; drawn in whole pixels, text is up to 1/10 wider than its outline."""
    return 1.1 / 72 * max(TextPath((0, 0), line, size=FONT).get_extents().width for line in label.split("\n"))


def _line(axes: Sequence[Axes], block: Shown, k: int, label: str, columns: Sequence[str]) -> None:
    axes[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=FONT)
    for i, modality in enumerate(block.modalities):
        mine = axes[3 * columns.index(modality) :]
        healthy, synthetic = (pairs[k, i].astype(np.float32) / 255 for pairs in (block.healthy, block.synthetic))
        for axis, image in zip(mine, (healthy, synthetic)):
            axis.imshow(image, cmap="gray", vmin=0, vmax=max(float(healthy.max()), 1e-6), interpolation="nearest")
        change = {"cmap": "RdBu_r", "vmin": -STRONGEST, "vmax": STRONGEST, "interpolation": "nearest"}
        mine[2].imshow(synthetic - healthy, **change)
