"""From tissue to the signal of each modality: parenchyma and fluid, vessels, plexus, sinuses, flow and contrast agent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gliomap.data.phantom.fields import Array
from gliomap.data.phantom.head import Head
from gliomap.data.phantom.physics import GADOLINIUM_R1, Mprage, Protocol
from gliomap.data.phantom.relaxation import Relaxation
from gliomap.data.phantom.tissue import Tissue

BLOOD_POOL_R1 = .035  # 1/s that the agent adds to normal tissue by its blood volume


@dataclass(frozen=True, eq=False)
class Extras:
    """Normal structures beyond tissue, at the voxels inside, about 0..1; `flow`: pulsation of fluid, about 1."""

    vessels: Array
    choroid: Array
    sinus: Array
    dura: Array
    flow: Array
    cistern: Array


def draw_extras(rng: np.random.Generator, head: Head, fluid: Array) -> Extras:
    """Vessels are tubes (two fields near zero at once) in sulcal fluid; the others are noisy remnants of the template's."""
    soft = head.soft
    tube = np.abs(head.noise(rng, 9.0)) + np.abs(head.noise(rng, 9.0))
    vessels = np.clip(1.6 - tube / .26, 0, 1) * np.clip(fluid * 2.2 - .1, 0, 1) * (soft["ventricle"] < .2)
    dots = 1.2 * np.clip(head.noise(rng, 3.0) - 1.7, 0, 1) * np.clip((9 - soft["depth"]) / 6, 0, 1)
    vessels = np.clip(vessels + dots * np.clip(1.5 * fluid, 0, 1), 0, 1)
    choroid = np.clip(soft["choroid"] * (1.1 + .8 * head.noise(rng, 4.0)) - .25, 0, 1)
    sinus = np.clip(soft["sinus"] * (1 + .5 * head.noise(rng, 6.0)) * rng.uniform(.3, 1.4) - .1, 0, 1)
    dura = np.clip(1 - np.abs(head.surface - .6) / 2.0, 0, 1) * np.clip(head.noise(rng, 10.0) - .6, 0, 1.3)
    flow = np.exp(.35 * head.noise(rng, 14.0))
    cistern = ((head.points[2] < -8) & (np.abs(head.points[0]) < 28)).astype(np.float32)
    return Extras(vessels, choroid, sinus, dura, flow, cistern)


@dataclass(frozen=True, eq=False)
class Scene:
    """All that the signal of any modality depends on; `gadolinium` in mM at the voxels inside."""

    protocol: Protocol
    maps: Relaxation
    tissue: Tissue
    extras: Extras
    gadolinium: Array
    ventricle: Array


def modality_signal(rng: np.random.Generator, scene: Scene, modality: str) -> Array:
    """Noise-free signal at the voxels inside, relative to white matter. Partial volume mixes signals, not rates."""
    parenchyma, reference = _parenchyma(scene, modality)
    sequence = scene.protocol.series[modality].sequence
    water = float(sequence.signal(*scene.maps.csf))
    if isinstance(sequence, Mprage):
        water = max(water, .02 * reference)
    fluid = _fluid(rng, scene, modality, water, reference)
    signal = (1 - scene.tissue.fluid) * parenchyma + scene.tissue.fluid * fluid
    return _add_extras(rng, scene.extras, modality, signal, reference) / reference


def _parenchyma(scene: Scene, modality: str) -> tuple[Array, float]:
    """Signal of the parenchyma and, as reference, of white matter; magnetisation transfer spares free water."""
    maps, series = scene.maps, scene.protocol.series[modality]
    R1 = maps.R1
    if modality == "t1ce":
        relaxivity = GADOLINIUM_R1[scene.protocol.field]
        R1 = R1 + np.float32(relaxivity) * scene.gadolinium + np.float32(BLOOD_POOL_R1)
    signal = series.sequence.signal(R1, maps.R2, maps.density).astype(np.float32)
    reference = float(series.sequence.signal(*maps.white))
    if series.transfer:
        bound = .90 + .10 * scene.tissue.white_share
        signal *= 1 - np.float32(series.transfer) * bound * (1 - maps.free_water)
        reference *= 1 - series.transfer
    return signal, reference


def _fluid(rng: np.random.Generator, scene: Scene, modality: str, water: float, reference: float) -> Array:
    """Signal of cerebrospinal fluid: incomplete nulling and pulsation on FLAIR, flow voids on T2."""
    extras, ventricle = scene.extras, scene.ventricle
    if modality == "flair":
        pulsation = np.float32(rng.gamma(2.0, .35))
        inflow = .14 * extras.flow + pulsation * .40 * extras.cistern * np.clip(extras.flow - .85, 0, 2)
        inflow = inflow + pulsation * .8 * ventricle * np.clip(extras.flow - 1.45, 0, 1.2)
        return water + reference * np.clip(inflow, 0, 1.3) * (1 - .4 * ventricle)
    fluid = np.full(ventricle.size, water, np.float32)
    if modality == "t2":
        fluid = fluid * (1 - .35 * np.clip(extras.flow - 1.15, 0, 1) * (1 - .7 * ventricle))
        fluid = fluid * (1 - .85 * extras.vessels)
    return fluid


def _add_extras(rng: np.random.Generator, extras: Extras, modality: str, signal: Array, reference: float) -> Array:
    """Blood, plexus and dura: bright after contrast agent, void on T2."""
    choroid, sinus, dura = extras.choroid, extras.sinus, extras.dura
    if modality == "t1ce":
        hot = np.clip(2.2 * extras.vessels + 1.2 * choroid + 1.6 * sinus + 1.3 * dura, 0, 2.2)
        return signal + hot * reference * np.float32(rng.uniform(.7, 1.9))
    if modality == "t1":
        return signal + (.35 * sinus + .25 * dura + .45 * choroid) * reference * .6
    if modality == "flair":
        return signal + (.55 * choroid + .5 * sinus + .45 * dura) * reference
    return signal * (1 - .5 * np.clip(sinus + .7 * choroid * .6, 0, 1))
