"""Which slices a picture shows, and everything about them that is drawn. The choice looks at no prediction."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.base.files import read_json, read_npz
from gliomap.base.params import number
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import masks, per_slice
from gliomap.scoring.masks import Postprocess

CASE_WIDTH = 16  # characters of a case name on one line
SMALLEST = 0.1  # quantile of tumour area of the last tumour slice: below it are slices with a handful of pixels


@dataclass(frozen=True)
class Figures:
    """Section `figures` of params.yaml."""

    tumour_slices: int = number(min=1, max=20)  # rows with tumour in each picture
    healthy_slices: int = number(min=0, max=20)  # rows without
    dpi: int = number(min=40, max=400)


@dataclass(frozen=True)
class Example:
    """A row of the picture.

    All arrays (H, W) as stored: the front of the head up, the patient's right on the left. own: the method's own mask.
    dice: at the validation threshold.
    """

    label: str
    image: np.ndarray
    brain: np.ndarray
    region: np.ndarray
    truth: np.ndarray
    map: np.ndarray
    prediction: np.ndarray
    dice: float
    reconstruction: np.ndarray | None = None
    own: np.ndarray | None = None


@dataclass(frozen=True)
class Scale:
    """Grey values of the images (low, high), colours of the map (low, high), and the threshold in units of the map."""

    grey: tuple[float, float]
    colour: tuple[float, float]
    threshold: float


def choose(scores: pd.DataFrame, tumour: int, healthy: int) -> list[int]:
    """Positions in `scores` (columns patient, tumour, tumour_px, brain_px) of the slices to show.

    With tumour: equally spaced in the order of tumour area, from the largest to the 10 % quantile, each of another patient
    as long as there are any. Without: the same from the 75 % to the 25 % quantile of brain area, or the median.
    """
    ill = scores[(scores["tumour"] == 1) & (scores["tumour_px"] > 0)].sort_values("tumour_px", kind="stable")
    well = scores[scores["tumour"] == 0].sort_values("brain_px", kind="stable")
    found = _spread(ill, np.linspace(1, SMALLEST, tumour))
    return found + _spread(well, np.linspace(0.75, 0.25, healthy) if healthy > 1 else np.full(healthy, 0.5))


def _spread(ordered: pd.DataFrame, quantiles: np.ndarray) -> list[int]:
    """Positions of the rows next to the quantiles of the order, of patients not yet taken as long as there are any."""
    chosen: list[int] = []
    patients = ordered["patient"].to_numpy()
    taken: set[str] = set()
    for q in quantiles[: len(ordered)]:
        free = [i for i in range(len(ordered)) if i not in chosen]
        others = [i for i in free if patients[i] not in taken]
        place = round(q * (len(ordered) - 1))
        nearest = min(others or free, key=lambda i: (abs(i - place), i))
        chosen.append(nearest)
        taken.add(patients[nearest])
    return [int(position) for position in ordered.index[chosen]]


def describe(scores: pd.DataFrame, position: int) -> str:
    """Label of a row: case, slice and tumour area."""
    row = scores.loc[position]
    area = f"tumour {row['tumour_mm2'] / 100:.1f} cm²" if row["tumour"] else "no tumour"
    case = textwrap.fill(str(row["case"]), CASE_WIDTH)
    return f"{case}\nz = {row['z']:.0f} mm\n{area}"


@dataclass(frozen=True)
class Found:
    """What earlier stages wrote about a method's n test slices.

    predictions: the method's arrays of the test slices. scores: n rows of its scores. threshold: in units of
    the map. post: what the threshold was found with.
    """

    predictions: Mapping[str, np.ndarray]
    scores: pd.DataFrame
    threshold: float
    post: Postprocess


def read_scores(place: Place) -> pd.DataFrame:
    """The method's scores/<system>/<method>.csv."""
    return per_slice.read(place.scores)


def read(place: Place, scores: pd.DataFrame) -> Found:
    """The method's predictions beside its scores. UserError if they are not of the same slices."""
    path, level = place.predictions("test"), place.threshold
    predictions, threshold = read_npz(path), read_json(level)
    if not np.array_equal(predictions["rows"], scores["row"]):
        raise UserError(f"{path}: its slices are not those of {place.scores}; run `dvc repro evaluate@{place.system}`")
    post = params.convert(threshold["postprocess"], Postprocess, str(level), "postprocess")
    return Found(predictions, scores, threshold["threshold"], post)


def examples(found: Found, positions: list[int], slices: Slices, modality: str) -> list[Example]:
    """What is drawn of the slices at these positions of `found`."""
    rows = found.predictions["rows"][positions]
    maps = masks.smooth(found.predictions["map"][positions], found.post.median_px)
    brain = slices.brain_of(rows)
    region = masks.erode(brain, found.post.erode_mm / slices.pixel_mm)
    arrays: dict[str, Any] = {
        "image": slices.read(rows, (modality,))[:, 0],
        "brain": brain,
        "region": region,
        "truth": np.asarray(slices.masks("test")[np.searchsorted(slices.mask_rows("test"), rows)]).astype(bool),
        "map": maps,
        "prediction": masks.segment(maps, region, found.threshold, found.post.component_px),
    }
    for field, name, kind in (("reconstruction", "reconstruction", np.float32), ("own", "mask", bool)):
        if name in found.predictions:
            arrays[field] = found.predictions[name][positions].astype(kind)
    dice = found.scores["dice"].to_numpy(float)
    return [
        Example(label=describe(found.scores, at), dice=dice[at], **{name: values[i] for name, values in arrays.items()})
        for i, at in enumerate(positions)
    ]


def scale(found: Found, shown: list[Example], slices: Slices) -> Scale:
    """Grey values: of the brains shown. Colours: the map's 1 % and 99.5 % quantile inside the brain over all test slices."""
    grey = np.concatenate([e.image[e.brain] for e in shown])
    maps = found.predictions["map"][slices.brain_of(found.predictions["rows"])]
    if not grey.size or not maps.size:
        raise UserError(f"{slices.folder}: no pixel of the test slices is brain, expected some; run preprocess again")
    return Scale(_range(grey, 0.005, 0.998), _range(maps, 0.01, 0.995), found.threshold)


def _range(values: np.ndarray, lower: float, upper: float) -> tuple[float, float]:
    low, high = (float(v) for v in np.quantile(values, [lower, upper]))
    return low, high if high > low else low + 1.0
