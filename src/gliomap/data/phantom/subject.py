"""One subject: four co-registered modalities and a label map, from (seed, index) alone."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gliomap.data.phantom.atlas import Atlas
from gliomap.data.phantom.contrast import Scene, draw_extras, modality_signal
from gliomap.data.phantom.head import Head, build_head
from gliomap.data.phantom.lesion import Lesion
from gliomap.data.phantom.populations import POPULATIONS, Population
from gliomap.data.phantom.relaxation import add_lesion, relaxation_maps
from gliomap.data.phantom.scanner import acquire, acquire_thick, thick_labels
from gliomap.data.phantom.settings import ENHANCING, NECROSIS, OEDEMA, Knobs
from gliomap.data.phantom.tissue import Tissue, healthy_tissue
from gliomap.data.phantom.warp import Warp, draw_displacement, draw_person, velocity_basis


def make_subject(
    atlas: Atlas, seed: int, index: int, voxel: int, tumour: bool, knobs: Knobs, population: str = "glioma"
) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """Volumes by name (t1, t1ce, t2, flair: int16, 0 outside the brain; seg: uint8 labels 0, 1, 2, 4) and what was drawn.

    A function of its arguments: `seed` and `index` start the subject's own generator. voxel: 1 or 2 mm; without `tumour`
    the seg is empty. Volumes are (240, 240, 155) / voxel, BraTS orientation (see settings.affine). Another population of
    POPULATIONS may have fewer modalities, and thicker slices (voxel 1 only).
    """
    people = POPULATIONS[population]
    rng = np.random.default_rng([seed, index, *people.stream])
    protocol = people.protocol(rng, knobs)
    drawn = people.tumour(rng, knobs)
    person = draw_person(rng, knobs)
    warp = Warp(atlas, person, draw_displacement(rng, velocity_basis(atlas), person.ventricle), None)
    if tumour:
        warp = Warp(atlas, person, warp.displacement, people.place(rng, drawn, warp))
    head = build_head(rng, warp, voxel)
    tissue = healthy_tissue(rng, head, person)
    lesion = people.grow(rng, drawn, head, tissue, warp) if tumour else None
    if lesion is not None:
        _invade(tissue, lesion)
    maps, enhancing = relaxation_maps(rng, head, tissue, person, protocol.field)
    if lesion is not None:
        add_lesion(maps, lesion, drawn, enhancing)
    extras = draw_extras(rng, head, tissue.fluid)
    scene = Scene(protocol, maps, tissue, extras, _gadolinium(head, lesion), head.soft["ventricle"])
    volumes = _scan(rng, head, scene, people)
    volumes["seg"] = _labels(head, lesion)
    meta = {
        "index": index, "voxel": voxel, "protocol": asdict(protocol), "person": asdict(person),
        "tumour": asdict(drawn) if tumour else None, "mass": asdict(warp.mass) if tumour else None,
        "ml": _volumes(head, volumes["seg"]),
    }  # fmt: skip
    if people.slices:
        volumes["seg"] = thick_labels(volumes["seg"], people.slices)
    return volumes, meta


def _scan(rng: np.random.Generator, head: Head, scene: Scene, people: Population) -> dict[str, NDArray]:
    """One image of each modality, in the order of MODALITIES."""
    image = acquire
    if people.slices:
        mask = thick_labels(head.uncrop(head.mask).astype(np.uint8), people.slices) > 0
        image = partial(acquire_thick, mask=mask)
    series = scene.protocol.series
    return {m: image(rng, head, modality_signal(rng, scene, m), series[m]) for m in people.modalities}


def _invade(tissue: Tissue, lesion: Lesion) -> None:
    """Oedema adds free water; the core takes the place of fluid. In place."""
    tissue.water[lesion.at] = np.maximum(tissue.water[lesion.at], lesion.oedema)
    tissue.fluid[lesion.at] *= 1 - lesion.core


def _gadolinium(head: Head, lesion: Lesion | None) -> NDArray[np.float32]:
    concentration = np.zeros(head.inside.size, np.float32)
    if lesion is not None:
        concentration[lesion.at] = lesion.gadolinium
    return concentration


def _labels(head: Head, lesion: Lesion | None) -> NDArray[np.uint8]:
    labels = np.zeros(head.mask.shape, np.uint8) if lesion is None else lesion.labels
    return head.uncrop(np.where(head.mask, labels, 0).astype(np.uint8))


def _volumes(head: Head, seg: NDArray[np.uint8]) -> dict[str, float]:
    unit = head.voxel ** 3 / 1000
    counts = {name: int((seg == k).sum()) for name, k in (
        ("necrosis", NECROSIS), ("oedema", OEDEMA), ("enhancing", ENHANCING))}  # fmt: skip
    return {"brain": head.inside.size * unit, **{name: n * unit for name, n in counts.items()}}
