"""One picture a method: test slices chosen by tumour area, as input, reconstruction, anomaly map, prediction and truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgba
from matplotlib.figure import Figure

from gliomap.scoring.gallery import Example, Scale
from gliomap.scoring.pictures import PREDICTION, TRUTH

MARGIN = 3  # pixels around the brain
PANEL, LABEL, HEAD, FOOT = 1.4, 1.15, 0.85, 0.56  # inches: width of a panel and of the labels, height of title and scale
RULE = (
    "Test slices chosen by tumour area alone, evenly spaced in its order from the largest to the 10 % quantile, each of\n"
    "another patient while there are any; below them slices without tumour, from the middle of the order of brain area."
)
LINES = "validation threshold {:.3g} (line in the scale); solid: brain; dotted: where a pixel may be predicted; blue: truth"


def grid(examples: Sequence[Example], scale: Scale, names: tuple[str, str], caption: str) -> Figure:
    """The picture of one method. names: of the method and of the modality shown."""
    method, modality = names
    panels = _panels(examples[0], scale, modality)
    box = _box(np.stack([e.brain for e in examples]))
    tall = PANEL * (box[0].stop - box[0].start) / (box[1].stop - box[1].start)
    height, width = HEAD + FOOT + tall * len(examples), max(LABEL + PANEL * len(panels), 6.8)
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.suptitle(f"{method}: {caption}", x=0.01, y=1 - 0.12 / height, ha="left", va="top", fontsize=10, weight="bold")
    figure.text(0.01, 1 - 0.32 / height, RULE, fontsize=6.5, va="top", color="#444444")
    axes = figure.subplots(len(examples), len(panels), squeeze=False)
    right = (LABEL + PANEL * len(panels)) / width
    edges = {"left": LABEL / width, "right": right, "bottom": FOOT / height, "top": 1 - HEAD / height}
    figure.subplots_adjust(**edges, wspace=0.03, hspace=0.03)
    for example, line in zip(examples, axes, strict=True):
        line[0].set_ylabel(example.label, rotation=0, ha="right", va="center", fontsize=7)
        for axis, (_, draw) in zip(line, panels, strict=True):
            _bare(axis)
            draw(axis, _cut(example, box))
    for axis, (title, _) in zip(axes[0], panels, strict=True):
        axis.set_title(title, pad=3)
    _colour_bar(figure, axes[-1], [title for title, _ in panels].index("anomaly map"), scale)
    return figure


def _panels(example: Example, scale: Scale, modality: str) -> list[tuple[str, Callable[[Axes, Example], None]]]:
    """Title and drawing of each column."""
    panels = [(modality, lambda axis, e: _grey(axis, e.image, scale))]
    if example.reconstruction is not None:
        panels.append(("reconstruction", lambda axis, e: _grey(axis, e.reconstruction, scale)))
    panels.append(("anomaly map", lambda axis, e: _map(axis, e, scale)))
    panels.append(("prediction", lambda axis, e: _prediction(axis, e, e.prediction, scale)))
    if example.own is not None:
        panels.append(("own mask", lambda axis, e: _prediction(axis, e, e.own, scale)))
    panels.append(("truth", lambda axis, e: _mask(axis, e.image, e.truth, TRUTH, scale)))
    return panels


def _grey(axis: Axes, image: np.ndarray, scale: Scale) -> None:
    low, high = scale.grey
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")


def _map(axis: Axes, example: Example, scale: Scale) -> None:
    low, high = scale.colour
    shown = np.where(example.brain, example.map, np.nan)
    axis.set_facecolor("black")
    axis.imshow(shown, cmap="inferno", vmin=low, vmax=high, interpolation="nearest")
    _outline(axis, example.brain, "white", 0.5)
    _outline(axis, example.region, "white", 0.5, "dotted")


def _prediction(axis: Axes, example: Example, mask: np.ndarray, scale: Scale) -> None:
    _mask(axis, example.image, mask, PREDICTION, scale)
    _outline(axis, example.truth, TRUTH, 0.8)
    if mask is example.prediction and example.truth.any() and np.isfinite(example.dice):
        axis.text(0.03, 0.97, f"Dice {example.dice:.2f}", transform=axis.transAxes, color="white", fontsize=7, va="top")


def _mask(axis: Axes, image: np.ndarray, mask: np.ndarray, colour: str, scale: Scale) -> None:
    _grey(axis, image, scale)
    axis.imshow(mask[..., None] * np.array(to_rgba(colour, 0.55)), interpolation="nearest")
    _outline(axis, mask, colour, 0.8)


def _outline(axis: Axes, mask: np.ndarray, colour: str, width: float, line: str = "solid") -> None:
    if mask.any() and not mask.all():
        axis.contour(mask.astype(float), [0.5], colors=[colour], linewidths=width, linestyles=line)


def _bare(axis: Axes) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _box(brain: np.ndarray) -> tuple[slice, slice]:
    """The part of the image that holds all brains (n, H, W), with a margin."""
    ends = []
    for axis in (1, 2):
        there = np.flatnonzero(brain.any((0, 3 - axis)))
        start, stop = (there[0], there[-1] + 1) if there.size else (0, brain.shape[axis])
        ends.append(slice(max(start - MARGIN, 0), min(stop + MARGIN, brain.shape[axis])))
    return ends[0], ends[1]


def _cut(example: Example, box: tuple[slice, slice]) -> Example:
    cut = {name: value[box] for name, value in vars(example).items() if isinstance(value, np.ndarray)}
    return Example(**{**vars(example), **cut})


def _colour_bar(figure: Figure, axes: Sequence[Axes], column: int, scale: Scale) -> None:
    """Below the column of maps: the colours, and where the threshold stands; beside it what the lines mean."""
    low, high = scale.colour
    place = axes[column].get_position()
    inches = figure.get_figheight()
    bar = figure.add_axes((place.x0, 0.3 / inches, place.width, 0.08 / inches))
    ramp = {"cmap": "inferno", "norm": Normalize(low, high), "extent": (low, high, 0, 1)}
    bar.imshow(np.linspace(low, high, 256)[None], aspect="auto", **ramp)
    bar.set(yticks=[], xticks=[low, high], xticklabels=[f"{low:.2g}", f"{high:.2g}"])
    bar.tick_params(labelsize=6, length=2, pad=1)
    bar.axvline(min(max(scale.threshold, low), high), color=TRUTH, linewidth=1.5)
    figure.text(0.99, 0.06 / inches, LINES.format(scale.threshold), fontsize=6.5, ha="right", va="bottom", color="#444444")
