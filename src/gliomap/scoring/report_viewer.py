"""The test slices of the page's viewer: inputs once a recipe; map, reconstruction and mask of each method, as PNG strips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.scoring import gallery, pictures, report_png
from gliomap.scoring.gallery import Example
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.report_png import LEVELS, data_uri

BLACK, WHITE = 0.005, 0.998  # quantiles of the intensities in the brain that become black and white, as in the figures
VERDICTS = ((0, 0, 0, 0), (23, 190, 207, 165), (214, 39, 40, 165), (255, 215, 0, 165))  # neither, missed, false, found


@dataclass(frozen=True)
class Report:
    """Section `report` of params.yaml."""

    tumour_slices: int = number(min=1, max=200)  # slices with tumour in the viewer
    healthy_slices: int = number(min=0, max=200)  # slices without
    pixels: int = number(min=16, max=512)  # longest side of a slice in it; larger ones are reduced


@dataclass(frozen=True)
class Job:
    """One method's part of the viewer. folder: slices of its recipe; rows: of index.csv, the slices that are shown."""

    entry: Entry
    recipe: str
    folder: Path
    rows: tuple[int, ...]
    pixels: int

    def made(self) -> dict[str, Any]:
        """What the page's script needs: name, modality, strips by name as `data:` addresses, Dice of each slice, scale."""
        slices, entry = _opened(self.folder), self.entry
        found = gallery.read(entry.place, gallery.read_scores(entry.place))
        at = np.searchsorted(found.predictions["rows"], self.rows).tolist()
        modality = next((name for name in entry.modalities if name in slices.modalities), slices.modalities[-1])
        shown = gallery.examples(found, at, slices, modality)
        scale = gallery.scale(found, shown, slices)
        return {
            "key": entry.key, "name": entry.name, "system": entry.system, "supervision": entry.supervision,
            "recipe": self.recipe, "modality": modality, "strips": _strips(shown, scale, self.pixels),
            "dice": [round(e.dice, 3) if np.isfinite(e.dice) else None for e in shown],
            "scale": [float(f"{value:.3g}") for value in (*scale.colour, scale.threshold)],
        }  # fmt: skip


def jobs(entries: Sequence[Entry], recipe_of: Mapping[str, str], settings: Report) -> tuple[dict[str, Any], list[Job]]:
    """({recipe: slices and inputs, for the page's script}, one job a method).

    recipe_of: of each system. The slices are those of `gallery.choose`, among those that all methods of the recipe scored;
    the choice looks at no prediction.
    """
    recipes, work = {}, []
    for recipe in dict.fromkeys(recipe_of[entry.system] for entry in entries):
        mine = [entry for entry in entries if recipe_of[entry.system] == recipe]
        scores = _common([gallery.read_scores(entry.place) for entry in mine])
        chosen = gallery.choose(scores, settings.tumour_slices, settings.healthy_slices)
        folder = Path("data/slices") / mine[0].system
        recipes[recipe] = inputs(Slices.open(folder), scores.loc[chosen], settings.pixels)
        rows = tuple(scores["row"][chosen].sort_values().tolist())
        work += [Job(entry, recipe, folder, rows, settings.pixels) for entry in mine if rows]
    return recipes, work


def _common(scores: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The first table, with the slices only that all others have, too."""
    first = scores[0]
    both = [first["row"].isin(other["row"]) for other in scores]
    return first[np.all(both, axis=0)].reset_index(drop=True)


def inputs(slices: Slices, scores: pd.DataFrame, pixels: int) -> dict[str, Any]:
    """Labels of the slices in `scores` and a strip of each modality, in the order of index.csv; sizes in pixels."""
    ordered = scores.sort_values("row").reset_index(drop=True)
    rows = ordered["row"].to_numpy()
    brain, strips = slices.brain_of(rows), {}
    for modality in slices.modalities:
        images = slices.read(rows, (modality,))[:, 0]
        low, high = np.quantile(images[brain], [BLACK, WHITE]) if brain.any() else (0.0, 1.0)
        strips[modality] = _grey(images, (float(low), max(float(high), float(low) + 1e-6)), pixels)
    height, width = report_png.reduced(np.zeros((1, *brain.shape[1:])), pixels).shape[1:]
    labels = [gallery.describe(ordered, i).replace("\n", ", ") for i in range(len(ordered))]
    names = {name: pictures.NAMES.get(name, name) for name in slices.modalities}
    return {"slices": labels, "modalities": names, "strips": strips, "height": height, "width": width}


def _strips(shown: Sequence[Example], scale: gallery.Scale, pixels: int) -> dict[str, str]:
    maps = np.stack([np.where(e.brain, e.map, scale.colour[0]) for e in shown])
    strips = {"map": data_uri(report_png.strip(report_png.levels(report_png.reduced(maps, pixels), *scale.colour), heat()))}
    if shown[0].reconstruction is not None:
        strips["reconstruction"] = _grey(np.stack([e.reconstruction for e in shown]), scale.grey, pixels)
    truth = np.stack([e.truth for e in shown])
    for name, masks in (("mask", [e.prediction for e in shown]), ("own", [e.own for e in shown])):
        if masks[0] is not None:
            strips[name] = data_uri(report_png.strip(_verdicts(np.stack(masks), truth, pixels), VERDICTS))
    return strips


def _grey(images: np.ndarray, limits: tuple[float, float], pixels: int) -> str:
    return data_uri(report_png.strip(report_png.levels(report_png.reduced(images, pixels), *limits), report_png.greys()))


def _verdicts(prediction: np.ndarray, truth: np.ndarray, pixels: int) -> np.ndarray:
    """uint8 (n, h, w): 0 neither, 1 truth only, 2 prediction only, 3 both."""
    said, there = (report_png.reduced(mask, pixels) >= 0.5 for mask in (prediction, truth))
    return (there + 2 * said).astype(np.uint8)


def heat() -> np.ndarray:
    """uint8 (LEVELS, 3): the colours of the map, dark to bright, as in the figures."""
    return (mpl.colormaps["inferno"](np.linspace(0, 1, LEVELS))[:, :3] * 255).round().astype(np.uint8)


@lru_cache(maxsize=4)
def _opened(folder: Path) -> Slices:
    return Slices.open(folder)
