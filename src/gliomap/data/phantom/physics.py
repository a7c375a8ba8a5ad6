"""Signal equations, relaxation of tissues, and the draw of one acquisition protocol.

Rates in 1/s, times in s, proton density relative to water. Signals are magnitudes of the steady state before coil and gain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gliomap.data.phantom.settings import MODALITIES, Knobs

GADOLINIUM_R1 = {3.0: 3.8, 1.5: 4.2}  # longitudinal relaxivity, 1/(mM s)
T2_STAR = 1.4  # R2* of gradient echoes relative to R2
SNR = {"t1": (16, 46), "t1ce": (14, 40), "t2": (9, 22), "flair": (11, 34)}  # of white matter


@dataclass(frozen=True)
class TissueTimes:
    """T1 and T2 in ms, proton density relative to water."""

    t1: float
    t2: float
    density: float


# Measured ranges: Wansapura 1999, Stanisz 2005, Gelman 2001, Kwan 1999 (BrainWeb); enhancing tumour: Blystad 2017, 2020;
# water content: Neeb 2006. T2 of cortex sits at the low edge on purpose (else FLAIR grey/white is far above the real 1.06).
TISSUES = {
    3.0: {
        "white": TissueTimes(850, 71, .70), "cortex": TissueTimes(1500, 84, .82), "deep": TissueTimes(1280, 75, .78),
        "csf": TissueTimes(4200, 1900, 1.0), "enhancing": TissueTimes(1480, 114, .86),
    },
    1.5: {
        "white": TissueTimes(640, 75, .70), "cortex": TissueTimes(1110, 89, .82), "deep": TissueTimes(950, 80, .78),
        "csf": TissueTimes(4000, 2100, 1.0), "enhancing": TissueTimes(1200, 118, .86),
    },
}  # fmt: skip


@dataclass(frozen=True)
class SpinEcho:
    """Spin echo or turbo spin echo; `train` = length of the echo train, in which nothing recovers."""

    tr: float
    te: float
    train: float = 0.0

    def signal(self, R1: ArrayLike, R2: ArrayLike, PD: ArrayLike) -> NDArray:
        """PD (1 - exp(-(TR - train) R1)) exp(-TE R2)."""
        return PD * (1 - np.exp(-(self.tr - self.train) * R1)) * np.exp(-self.te * R2)


@dataclass(frozen=True)
class Mprage:
    """Inversion-prepared gradient echo; `efficiency` of the inversion pulse."""

    tr: float
    ti: float
    te: float
    efficiency: float = .97

    def signal(self, R1: ArrayLike, R2: ArrayLike, PD: ArrayLike) -> NDArray:
        """PD |1 - 2 e exp(-TI R1) / (1 + exp(-TR R1))| exp(-TE R2*)."""
        recovered = 1 - 2 * self.efficiency * np.exp(-self.ti * R1) / (1 + np.exp(-self.tr * R1))
        return PD * np.abs(recovered) * np.exp(-self.te * R2 * T2_STAR)


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """Spoiled gradient echo in steady state (Ernst); `flip` angle in radians."""

    tr: float
    te: float
    flip: float

    def signal(self, R1: ArrayLike, R2: ArrayLike, PD: ArrayLike) -> NDArray:
        """PD sin(a) (1 - E1) / (1 - cos(a) E1) exp(-TE R2*), E1 = exp(-TR R1)."""
        e1 = np.exp(-self.tr * R1)
        return PD * np.sin(self.flip) * (1 - e1) / (1 - np.cos(self.flip) * e1) * np.exp(-self.te * R2 * T2_STAR)


@dataclass(frozen=True)
class Flair:
    """Inversion recovery turbo spin echo that nulls water."""

    tr: float
    ti: float
    te: float
    train: float = .25
    efficiency: float = .975

    def signal(self, R1: ArrayLike, R2: ArrayLike, PD: ArrayLike) -> NDArray:
        """PD |1 - 2 e exp(-TI R1) + exp(-(TR - train) R1)| exp(-TE R2)."""
        recovered = 1 - 2 * self.efficiency * np.exp(-self.ti * R1) + np.exp(-(self.tr - self.train) * R1)
        return PD * np.abs(recovered) * np.exp(-self.te * R2)


Sequence = SpinEcho | Mprage | SpoiledGradientEcho | Flair


@dataclass(frozen=True)
class Acquisition:
    """One series: sequence, geometry (mm) and imperfections.

    transfer: share of parenchymal signal lost to magnetisation transfer; thickness: slice, along `axis`; inplane: acquired
    resolution; gibbs: hard edge of k-space; snr: of white matter; bias: standard deviation of the log bias; gain: units.
    """

    sequence: Sequence
    transfer: float
    thickness: float
    axis: int
    inplane: float
    gibbs: bool
    snr: float
    bias: float
    gain: float


@dataclass(frozen=True)
class Protocol:
    """Field strength in tesla and one series for each modality."""

    field: float
    series: dict[str, Acquisition]


def draw_protocol(rng: np.random.Generator, knobs: Knobs) -> Protocol:
    """A protocol as multi-centre cohorts mix them: 60 % at 3 T, else 1.5 T."""
    field = 3.0 if rng.random() < .6 else 1.5
    return Protocol(field, {m: _draw_acquisition(rng, m, field, knobs) for m in MODALITIES})


def _draw_acquisition(rng: np.random.Generator, modality: str, field: float, knobs: Knobs) -> Acquisition:
    t1_weighted = modality in ("t1", "t1ce")
    sequence = _draw_t1_weighted(rng, modality, field) if t1_weighted else _draw_t2_weighted(rng, modality, field)
    transfer = 0.0 if t1_weighted else rng.uniform(.08, .20)
    thickness, axis = _draw_slices(rng, sequence, .1 if t1_weighted else .33)
    return Acquisition(
        sequence, transfer, thickness, axis,
        inplane=rng.uniform(.65, 1.2),
        gibbs=rng.random() < .35,
        snr=rng.uniform(*SNR[modality]) * knobs.snr,
        bias=(abs(rng.normal(.05, .04)) + .01) * knobs.bias,
        gain=float(np.exp(rng.normal(np.log(420), .55))),
    )  # fmt: skip


def _draw_t1_weighted(rng: np.random.Generator, modality: str, field: float) -> Sequence:
    kind, u = rng.random(), rng.uniform
    if kind < (.30 if modality == "t1" else .22):
        return Mprage(tr=u(1.9, 2.4), ti=u(1.08, 1.35) * (1 if field == 3 else .85), te=u(.0025, .004))
    if kind < (.94 if modality == "t1" else .80):
        return SpinEcho(tr=u(.50, .85), te=u(.008, .015))
    return SpoiledGradientEcho(tr=u(.008, .026), te=u(.003, .006), flip=float(np.deg2rad(u(18, 28))))


def _draw_t2_weighted(rng: np.random.Generator, modality: str, field: float) -> Sequence:
    u = rng.uniform
    if modality == "t2":
        return SpinEcho(tr=u(3.8, 8.0), te=u(.072, .112), train=.15)
    ti = (2.48 if field == 3 else 2.30) * u(.96, 1.05)
    return Flair(tr=u(8.0, 11.0), ti=ti, te=u(.094, .148))


def _draw_slices(rng: np.random.Generator, sequence: Sequence, share_3d: float) -> tuple[float, int]:
    """Slice thickness in mm and slice axis; gradient echoes are always 3-D."""
    if isinstance(sequence, Mprage | SpoiledGradientEcho) or rng.random() < share_3d:
        return rng.uniform(1.0, 1.5), 2
    thickness = float(rng.choice([2., 3., 4., 5.], p=[.34, .32, .20, .14]))
    axis = int(rng.choice([2, 1, 0], p=[.90, .04, .06]))
    return (thickness if axis == 2 else min(thickness, 3.)), axis
