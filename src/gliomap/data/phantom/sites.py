"""Scanners of the two external phantom cohorts: other fields, sequences, noise and gain than the default cohort has.

Ranges follow what TSGM's data table says of its external sites (TSGM spec 8): T1ce at 1.5 T in thin slices, and 3 T with
T1-weighted inversion recovery in thick ones. They are typical values of such protocols, not anybody's.
"""

from __future__ import annotations

import numpy as np

from gliomap.data.phantom.physics import Acquisition, Flair, Mprage, Protocol, Sequence, SpinEcho, SpoiledGradientEcho
from gliomap.data.phantom.settings import MODALITIES, Knobs

THICK_SNR = {"t1": (24, 48), "t1ce": (22, 44), "t2": (16, 32), "flair": (13, 28)}  # of white matter: thick slices, 3 T


def draw_thin_t1ce(rng: np.random.Generator, knobs: Knobs) -> Protocol:
    """One 3-D gradient echo after contrast agent at 1.5 T, 1 mm slices: SPGR of one maker (70 %), MPRAGE of another."""
    u = rng.uniform
    sequence: Sequence
    if rng.random() < .7:
        sequence = SpoiledGradientEcho(tr=u(.008, .012), te=u(.003, .0045), flip=float(np.deg2rad(u(16, 22))))
    else:
        sequence = Mprage(tr=u(1.9, 2.2), ti=u(.9, 1.1), te=u(.0025, .0035))
    series = Acquisition(
        sequence, 0.0, u(1.0, 1.2), 2,
        inplane=u(.9, 1.2),
        gibbs=rng.random() < .25,
        snr=u(12, 26) * knobs.snr,
        bias=u(.06, .13) * knobs.bias,
        gain=float(np.exp(rng.normal(np.log(900), .4))),
    )  # fmt: skip
    return Protocol(1.5, {"t1ce": series})


def draw_thick(rng: np.random.Generator, knobs: Knobs) -> Protocol:
    """All four modalities at 3 T in axial slices that average 4 to 5.5 mm; T1 weighting by inversion recovery."""
    return Protocol(3.0, {m: _thick_series(rng, m, knobs) for m in MODALITIES})


def _thick_series(rng: np.random.Generator, modality: str, knobs: Knobs) -> Acquisition:
    t1_weighted = modality in ("t1", "t1ce")
    return Acquisition(
        _thick_sequence(rng, modality),
        0.0 if t1_weighted else rng.uniform(.10, .22),
        rng.uniform(4.0, 5.5), 2,
        inplane=rng.uniform(.65, .9),
        gibbs=rng.random() < .4,
        snr=rng.uniform(*THICK_SNR[modality]) * knobs.snr,
        bias=rng.uniform(.04, .11) * knobs.bias,
        gain=float(np.exp(rng.normal(np.log(200), .35))),
    )  # fmt: skip


def _thick_sequence(rng: np.random.Generator, modality: str) -> Sequence:
    u = rng.uniform
    if modality in ("t1", "t1ce"):
        return Flair(tr=u(1.9, 2.3), ti=u(.92, 1.05), te=u(.008, .012), train=.08)
    if modality == "t2":
        return SpinEcho(tr=u(4.2, 6.0), te=u(.095, .125), train=.18)
    return Flair(tr=u(8.0, 9.0), ti=u(2.36, 2.50), te=u(.11, .14))
