"""Tissue shares of a healthy brain: individual folding, and the white-matter changes that come with age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gliomap.data.phantom.fields import Array, random_field, trilinear
from gliomap.data.phantom.head import Head
from gliomap.data.phantom.warp import Person

SHEET_STEP = 2.5  # mm, grid of the direction field behind the sulci
SHEET_REACH = 140.0  # mm, half-width of that grid
SHEET_SPACING = 5.2  # mm


@dataclass(eq=False)
class Tissue:
    """Shares at the voxels inside: white + grey + fluid = 1; white_share = white / (white + grey); water = free water."""

    white: Array
    grey: Array
    fluid: Array
    white_share: Array
    water: Array


@dataclass(frozen=True, eq=False)
class Sheets:
    """Random sulci: distance in mm to the nearest sheet, and how far they apply at each voxel (0..1)."""

    distance: Array
    weight: Array


def healthy_tissue(rng: np.random.Generator, head: Head, person: Person) -> Tissue:
    """Sharpen the template's blurred shares into one individual's brain."""
    cortical = 1 - np.clip(head.soft["deep"] + (head.soft["ventricle_distance"] < 0), 0, 1)
    sheets = _sheets(rng, head, cortical)
    white, grey, fluid = _fold(rng, head, person, sheets, cortical)
    total = white + grey + fluid + 1e-6
    white, grey, fluid = white / total, grey / total, fluid / total
    white_share = white / np.maximum(white + grey, 1e-4)
    return Tissue(white, grey, fluid, white_share, _incidental_water(rng, head, person, white_share))


def _sheets(rng: np.random.Generator, head: Head, cortical: Array) -> Sheets:
    """Zero set of a random field of the DIRECTION seen from each hemisphere's middle: it stands upright on the cortex."""
    x, y, z = head.points
    centre = 22 * np.tanh(x / 9)
    dx, dy, dz = x - centre, y + 18, z - 14
    squeeze = (58 / (np.sqrt(dx * dx + dy * dy + dz * dz) + 4)) ** np.float32(.8)
    grid = [np.arange(-SHEET_REACH, SHEET_REACH + 1, SHEET_STEP)] * 3
    field = random_field(rng, grid, SHEET_SPACING)
    where = ((d * squeeze + shift + SHEET_REACH) / np.float32(SHEET_STEP) for d, shift in ((dx, centre), (dy, 0), (dz, 0)))
    distance = np.abs(trilinear([field], list(where))[0]) * 4.4 / squeeze
    reach = 12.5 + 4.5 * head.noise(rng, 22.0)  # mm, depth of the sulci
    cerebrum = np.clip((z + 12 + .3 * (y + 40)) / 6, 0, 1) + (y > -15)
    weight = np.clip((reach - head.soft["depth"]) / 3.5, 0, 1) * cortical
    weight = weight * np.clip((head.soft["ventricle_distance"] - 7) / 5, 0, 1) * np.clip(cerebrum, 0, 1)
    return Sheets(distance, weight)


def _fold(
    rng: np.random.Generator, head: Head, person: Person, sheets: Sheets, cortical: Array
) -> tuple[Array, Array, Array]:
    """Unnormalised white, grey and fluid: powers of the template's shares, random edges, sulcal sheets."""
    depth, away, weight = head.soft["depth"], sheets.distance, sheets.weight
    edge = .55 * head.noise(rng, 7.0) + .35 * head.noise(rng, 3.6)
    fluid_edge = .75 * head.noise(rng, 7.0) + .45 * head.noise(rng, 3.6)
    fluid = np.clip(1 - head.white - head.grey, 0, 1)
    log_white = 1.6 * weight * np.clip((away - 3.1) / 1.4, -1.3, 1.0) * np.clip((depth - 2.5) / 2, 0, 1) + cortical * edge
    core = head.white + .30 * weight * np.clip((away - 3.4) / 1.5, 0, 1) * np.clip((depth - 4.5) / 2, 0, 1)
    white = core * core * core ** .4 * np.exp(log_white + .1 + .38 * cortical)
    ribbon = head.grey + .80 * weight * np.exp(-(away / 2.9) ** 4)
    grey = ribbon * ribbon * ribbon ** .4 * 1.05
    sulcus = np.exp(-(away / (.85 + .35 * max(person.atrophy, 0))) ** 2)
    wet = np.maximum(fluid, .85 * head.ridge) + weight * .72 * sulcus
    log_fluid = (1 - head.soft["ventricle"]) * cortical * (.9 * fluid_edge + .35 + .6 * person.atrophy)
    return white, grey, wet * wet * np.exp(log_fluid)


def _incidental_water(rng: np.random.Generator, head: Head, person: Person, white_share: Array) -> Array:
    """Free water of ependymal rims, frontal and occipital caps, and punctate hyperintensities: 0..0.6."""
    distance, depth, y = head.soft["ventricle_distance"], head.soft["depth"], head.points[1]
    noise = .75 * head.noise(rng, 3.4) + .66 * head.noise(rng, 9.0)
    rim = np.exp(-np.clip(distance - .3, 0, 40) / 1.6) * (.36 + .12 * noise)
    horns = np.exp(-((y - 26) / 12) ** 2) + np.exp(-((y + 52) / 14) ** 2)
    fade = np.exp(-np.clip(distance - .5, 0, 40) / 4.5)
    rim += min(person.wmh, 2.5) * .30 * horns * fade * np.clip(.6 + .6 * noise, 0, 2)
    threshold = 2.75 - .45 * np.log1p(person.wmh * 2)
    foci = np.clip((noise - threshold) * 2.2, 0, 1) * np.clip((depth - 7) / 4, 0, 1)
    return np.clip(np.clip(rim, 0, .58) + .38 * foci, 0, .6) * white_share * (depth > 5)
