"""Relaxation maps of one subject: rates mix inside the parenchyma, with oedema, necrosis and enhancing tumour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gliomap.data.phantom.fields import Array
from gliomap.data.phantom.head import Head
from gliomap.data.phantom.lesion import Lesion
from gliomap.data.phantom.physics import TISSUES, TissueTimes
from gliomap.data.phantom.tissue import Tissue
from gliomap.data.phantom.tumour import Tumour
from gliomap.data.phantom.warp import Person

JITTER = .03  # of T1 and T2 between subjects; a quarter of it for proton density
FREE_WATER = np.array([.30, 1.45, 1.0], np.float32)  # extracellular: T1 3.3 s, T2 690 ms
CYST_R2, CYST_DENSITY = 1.3, .98
BLOOD_R1, BLOOD_R2 = .42, 11  # 1/s added where there is old blood
IRON_R2 = {3.0: 3.2, 1.5: 1.8}  # 1/s at full iron content, at 60 years
SOLID_TEXTURE = (.15, .19, .02)  # of R1, R2, proton density
NECROSIS_TEXTURE = .10

Rates = tuple[float, float, float]  # R1 (1/s), R2 (1/s), proton density


@dataclass(eq=False)
class Relaxation:
    """At the voxels inside: R1, R2 (1/s), density of the parenchyma, free_water 0..1; `white` and `csf`: reference rates."""

    R1: Array
    R2: Array
    density: Array
    free_water: Array
    white: Rates
    csf: Rates


def relaxation_maps(
    rng: np.random.Generator, head: Head, shares: Tissue, person: Person, field: float
) -> tuple[Relaxation, Rates]:
    """Maps of the tumour-free parenchyma at `field` tesla, and the rates of enhancing tumour (for `add_lesion`)."""
    tissues = TISSUES[field]
    white, cortex, deep, csf, enhancing = (
        _jitter(rng, tissues[name]) for name in ("white", "cortex", "deep", "csf", "enhancing")
    )
    depth = np.clip(head.soft["deep"], 0, 1).astype(np.float32)
    grey = [(c + (d - c) * depth).astype(np.float32) for c, d in zip(_rates(cortex), _rates(deep))]
    R1, R2, density = _mix(rng, head, shares.white_share, _rates(white), grey)
    R2 += np.float32(IRON_R2[field] * min(person.age, 70) / 60) * head.soft["iron"]
    limbic = np.float32(rng.uniform(.06, .18)) * np.clip(head.soft["limbic"], 0, 1)
    R2 *= 1 - limbic * (1 - shares.white_share)  # limbic cortex is bright on FLAIR in everybody
    water = shares.water
    R1 = R1 * (1 - water) + FREE_WATER[0] * water
    R2 = R2 * (1 - water) + FREE_WATER[1] * water
    density = density + (1 - density) * np.float32(.75) * water
    return Relaxation(R1, R2, density, water, _rates(white), _rates(csf)), enhancing


def _jitter(rng: np.random.Generator, tissue: TissueTimes) -> np.ndarray:
    """T1, T2 (ms) and density of this subject's tissue."""
    typical = np.array((tissue.t1, tissue.t2, tissue.density))
    return typical * (1 + rng.normal(0, JITTER, 3) * np.array([1, 1, .25]))


def _rates(times: np.ndarray) -> np.ndarray:
    """T1, T2 (ms), density as R1, R2 (1/s), density."""
    return np.array([1e3 / times[0], 1e3 / times[1], times[2]])


def _mix(rng: np.random.Generator, head: Head, share: Array, white: np.ndarray, grey: list[Array]) -> list[Array]:
    """R1, R2, density of white matter (share) and grey matter, with biological texture."""
    texture = .75 * head.noise(rng, 5.0) + .65 * head.noise(rng, 20.0)
    R1, R2, density = (share * np.float32(w) + (1 - share) * g for w, g in zip(white, grey))
    R1 = R1 * (1 + .018 * texture)
    R2 = R2 * (1 - .045 * (.35 * texture + .7 * head.noise(rng, 6.0) + .6 * head.noise(rng, 26.0)))
    return [R1, R2, density * (1 + .008 * texture)]


def add_lesion(maps: Relaxation, lesion: Lesion, tumour: Tumour, enhancing: np.ndarray) -> None:
    """Replace tissue by necrosis, cyst and solid tumour inside the core, in place (oedema is already in the water)."""
    at, core, rim, fluid = lesion.at, lesion.core, lesion.enhancing, lesion.core_water
    solid_rates = _rates(enhancing * np.array([tumour.t1_factor, tumour.t2_factor, 1.0]))
    cyst_rates = (tumour.fluid_r1, CYST_R2, CYST_DENSITY)
    for k, values in enumerate((maps.R1, maps.R2, maps.density)):
        solid = np.float32(solid_rates[k]) * (1 + np.float32(SOLID_TEXTURE[k]) * lesion.texture)
        cyst = np.float32(cyst_rates[k]) * (1 + np.float32(NECROSIS_TEXTURE) * lesion.texture)
        necrosis = solid * (1 - fluid) + cyst * fluid
        values[at] = values[at] * (1 - core) + necrosis * (core - rim) + solid * rim
    water = maps.free_water.copy()
    water[at] = np.maximum(water[at] * (1 - core) + (fluid * .9 + .1) * (core - rim) + .30 * rim, 0)
    maps.free_water = water
    if lesion.blood is not None:
        maps.R2[at] += BLOOD_R2 * lesion.blood
        maps.R1[at] += BLOOD_R1 * lesion.blood
