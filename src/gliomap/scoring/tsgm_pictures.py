"""TSGM's figures of slices: maps and masks of all rows (Fig. 2, 4, 9), restorations (Fig. 3), the study (7c, 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from gliomap.scoring.pictures import NAMES, PREDICTION, TRUTH
from gliomap.scoring.sheet import Sheet
from gliomap.scoring.tsgm_figures import Restored, Shown
from gliomap.scoring.tsgm_study import Study

RESIDUAL = "inferno"
ABSENT = "needs other\nmodalities"


def maps(shown: Sequence[Shown], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 2 and 4: two lines a slice, the map of each row with its own colours, and its mask; left of them input and truth.

    names: heading of each row's column.
    """
    sheet = Sheet(2 * len(shown), 2 + len(names), heading)
    sheet.titles(["input", "", *names.values()])
    for i, example in enumerate(shown):
        _inputs(sheet, 2 * i, example)
        for column, key in enumerate(names, start=2):
            upper, lower = (2 * i, column), (2 * i + 1, column)
            if key not in example.maps:
                sheet.words(upper, ABSENT)
                continue
            sheet.heat(upper, example.maps[key], float(example.maps[key].max()))
            sheet.outline(upper, example.truth, "white")
            sheet.grey(lower, _background(example))
            sheet.mask(lower, example.masks[key], PREDICTION)
            sheet.outline(lower, example.truth, TRUTH)
            sheet.corner(lower, f"{example.dice[key]:.2f}")
    return sheet.figure


def healthy(shown: Sequence[Shown], names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 9: slices without tumour; maps in the colours of the row over all slices, small ones are dark; masks below."""
    sheet = Sheet(2 * len(shown), 1 + len(names), heading)
    sheet.titles(["input", *names.values()])
    for i, example in enumerate(shown):
        sheet.grey((2 * i, 0), _background(example))
        sheet.label(2 * i, example.label)
        sheet.label(2 * i + 1, "masks")
        for column, key in enumerate(names, start=1):
            if key in example.maps:
                sheet.heat((2 * i, column), example.maps[key], example.tops[key])
                sheet.grey((2 * i + 1, column), _background(example))
                sheet.mask((2 * i + 1, column), example.masks[key], PREDICTION)
    return sheet.figure


def restorations(shown: Restored, names: Mapping[str, str], heading: str) -> Figure:
    """Fig. 3: two lines a modality: restorations, and residuals in colours that all rows share; left of them the input."""
    sheet = Sheet(2 * len(shown.modalities), 1 + len(names), heading)
    sheet.titles(["input, truth", *names.values()])
    for i, modality in enumerate(shown.modalities):
        for line, label in enumerate((NAMES.get(modality, modality), "residual")):
            sheet.grey((2 * i + line, 0), shown.images[i])
            sheet.label(2 * i + line, label)
        sheet.outline((2 * i + 1, 0), shown.truth, TRUTH)
        mine = {key: found[modality] for key, found in shown.residual.items() if modality in found}
        top = _top(list(mine.values()))
        for column, key in enumerate(names, start=1):
            if key in mine:
                sheet.grey((2 * i, column), shown.restored[key][modality])
                sheet.heat((2 * i + 1, column), mine[key], top, RESIDUAL)
                sheet.outline((2 * i + 1, column), shown.truth, "white")
    return sheet.figure


def levels(found: Study, heading: str) -> Figure:
    """Fig. 7c: two lines a slice: input, then restorations by number of levels; input with the truth, then residuals."""
    place = _place(found.modalities)
    sheet = Sheet(2 * len(found.labels), 1 + len(found.levels), heading)
    sheet.titles([NAMES.get(found.modalities[place], found.modalities[place]), *(f"N = {n}" for n in found.levels)])
    for i, label in enumerate(found.labels):
        image, residual = found.images[i, place], found.levels_residual[:, i, place]
        sheet.grey((2 * i, 0), image)
        sheet.grey((2 * i + 1, 0), image)
        sheet.outline((2 * i + 1, 0), found.truth[i], TRUTH)
        sheet.label(2 * i, label)
        sheet.label(2 * i + 1, "residual")
        for column, (one, change) in enumerate(zip(found.levels_restored[:, i, place], residual), start=1):
            sheet.grey((2 * i, column), one, image)
            sheet.heat((2 * i + 1, column), change, _top(residual), RESIDUAL)
            sheet.outline((2 * i + 1, column), found.truth[i], "white")
    return sheet.figure


def runs(found: Study, by_run: np.ndarray, heading: str) -> Figure:
    """Fig. 8: one line a slice: input with the truth, the map of each run (R, S, H, W), mean and standard deviation."""
    mean, spread = by_run.mean(0), by_run.std(0, ddof=1) if len(by_run) > 1 else np.zeros_like(by_run[0])
    sheet = Sheet(len(found.labels), 3 + len(by_run), heading)
    sheet.titles(["input", *(f"run {i + 1}" for i in range(len(by_run))), "mean", "standard deviation"])
    for i, label in enumerate(found.labels):
        sheet.grey((i, 0), found.images[i, _place(found.modalities)])
        sheet.outline((i, 0), found.truth[i], TRUTH)
        sheet.label(i, label)
        for column, values in enumerate([*by_run[:, i], mean[i], spread[i]], start=1):
            sheet.heat((i, column), values, _top(by_run[:, i]))
        for column, values in enumerate((mean, spread), start=1 + len(by_run)):
            inside = values[i][found.brain[i]]
            sheet.corner((i, column), f"brain {inside.mean():.3f}" if inside.size else "")
    return sheet.figure


def _inputs(sheet: Sheet, row: int, example: Shown) -> None:
    """Two columns of two lines: the modalities that are there, the truth on the last one. The label left of them."""
    sheet.label(row, example.label)
    places = [(row, 0), (row, 1), (row + 1, 0), (row + 1, 1)][: len(example.modalities)]
    for at, image, modality in zip(places, example.images, example.modalities):
        sheet.grey(at, image)
        sheet.corner(at, NAMES.get(modality, modality))
    sheet.outline(places[-1], example.truth, TRUTH)


def _background(example: Shown) -> np.ndarray:
    return example.images[_place(example.modalities)]


def _place(modalities: Sequence[str]) -> int:
    """FLAIR, or the first modality that is there."""
    return list(modalities).index("flair") if "flair" in modalities else 0


def _top(values: Sequence[np.ndarray] | np.ndarray) -> float:
    """The 99.8 % quantile of all values: one bright pixel does not darken the rest."""
    return float(np.quantile(np.stack(list(values)), 0.998)) if len(values) else 0.0
