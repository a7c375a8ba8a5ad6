"""Which populations the phantom can make: what they are called, what is wrong with them, and how they are scanned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gliomap.data.phantom.head import Head
from gliomap.data.phantom.lesion import Lesion, grow_lesion
from gliomap.data.phantom.meningioma import draw_meningioma, grow_meningioma, place_on_dura
from gliomap.data.phantom.physics import Protocol, draw_protocol
from gliomap.data.phantom.settings import MODALITIES, Knobs
from gliomap.data.phantom.sites import draw_thick, draw_thin_t1ce
from gliomap.data.phantom.tissue import Tissue
from gliomap.data.phantom.tumour import Tumour, draw_tumour, place
from gliomap.data.phantom.warp import MassEffect, Warp


@dataclass(frozen=True)
class Population:
    """prefix: of case names; modalities: those that were acquired; slices: mm between stored axial slices, 0 = voxel.

    stream: number that keeps its people apart from those of another population with the same seed; () = none. The others
    draw, in this order, protocol and tumour, place the tumour, and grow it.
    """

    prefix: str
    modalities: tuple[str, ...]
    slices: int
    stream: tuple[int, ...]
    protocol: Callable[[np.random.Generator, Knobs], Protocol]
    tumour: Callable[[np.random.Generator, Knobs], Tumour]
    place: Callable[[np.random.Generator, Tumour, Warp], MassEffect]
    grow: Callable[[np.random.Generator, Tumour, Head, Tissue, Warp], Lesion]


POPULATIONS: Mapping[str, Population] = {
    "glioma": Population("Phantom", MODALITIES, 0, (), draw_protocol, draw_tumour, place, grow_lesion),
    "meningioma": Population(
        "Meningioma", ("t1ce",), 0, (1,), draw_thin_t1ce, draw_meningioma, place_on_dura, grow_meningioma
    ),
    "thick": Population("Thick", MODALITIES, 4, (2,), draw_thick, draw_tumour, place, grow_lesion),
}
