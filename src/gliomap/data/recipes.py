"""The five recipes: `common`, and one for each paper. Each class is its section `preprocess.<name>` of params.yaml.

docs/preprocess.md has them side by side, with the paper, its released code, and what we do where they differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gliomap.base.params import number
from gliomap.data import intensity, resample
from gliomap.data.intensity import Tone
from gliomap.data.recipe import Binary, Recipe, levels
from gliomap.data.resample import Axis
from gliomap.data.scan import Scan

Follow = Literal["paper", "code"]
EPSILON = 1e-5  # AnoFPDM 1.3: of the per-slice scaling


@dataclass(frozen=True)
class Common(Recipe):
    """The recipe on which all methods are compared."""

    size: int = number(min=8, max=512)  # pixels of a side
    crop: int = number(min=8)  # mm of the central square that is kept
    z_first: int = number(min=0)  # lowest slice, mm from the bottom of the volume
    z_last: int = number(min=0)  # highest slice, inclusive
    z_step: int = number(min=1)  # every n-th slice
    p_up: float = number(min=0.5, max=1)  # quantile of the brain's intensities that becomes 1
    min_brain_mm2: int = number(min=0)  # slices with less brain are left out

    @property
    def edge(self) -> int:
        """mm of the field of view."""
        return self.crop

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """0..p_up quantile of the brain to -1..1, cut off there."""
        top = intensity.upper(inside, self.p_up)
        return Tone(0, top, 0, top, gain=2, shift=-1)

    def candidates(self, scan: Scan, tones: Mapping[str, Tone], split: str) -> NDArray[np.int64]:
        """A fixed range."""
        return levels(self.z_first, self.z_last, self.z_step, scan.depth)

    def refuses(self, planes: NDArray[np.float32], brain: NDArray[np.bool_]) -> str:
        """Slices with little brain."""
        return "little brain" if brain.sum() < max(self.min_brain_mm2, 1) else ""

    def finish(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Exactly -1 outside the brain."""
        return np.where(brain, image, np.float32(self.background))


@dataclass(frozen=True)
class PerModality:
    """One percentile (0..1) a modality, or `follow`."""

    t1: float | Literal["follow"] = number(min=0, max=1)
    t1ce: float | Literal["follow"] = number(min=0, max=1)
    t2: float | Literal["follow"] = number(min=0, max=1)
    flair: float | Literal["follow"] = number(min=0, max=1)


@dataclass(frozen=True)
class Norm:
    """MMCCD's intensities (its spec 1.3). `follow` takes what preprocess.mmccd.follow says, see MMCCD."""

    mode: Literal["follow", "code_affine", "paper_zscore"]
    p_up: PerModality  # affine: this quantile of the volume above 0 becomes +3; z-score: upper end of the window
    p_lo: float = number(min=0, max=1)  # z-score: lower end of the window; affine: without effect, as in the code


# Table 9 of its spec, rows 2 and 3. T1ce is not in the paper and goes with T1.
MMCCD: dict[str, dict[str, str | float]] = {
    "paper": {"mode": "paper_zscore", "t1": 0.98, "t1ce": 0.98, "t2": 0.98, "flair": 0.90},
    "code": {"mode": "code_affine", "t1": 0.90, "t1ce": 0.90, "t2": 0.90, "flair": 0.90},
}


@dataclass(frozen=True)
class Mmccd(Recipe):
    """Liang et al. 2023: 20 slices, whole field of view, no clipping; evaluated on one slice per patient."""

    follow: Follow  # what the switches that say `follow` mean
    size: int = number(min=8, max=512)
    z_first: int = number(min=0)
    z_last: int = number(min=0)
    z_step: int = number(min=1)
    norm: Norm
    label_bin: Binary  # share of a pixel that must be tumour: any (code), half, more; or nearest: by its centre
    brain_of: Literal["t1", "t1ce", "t2", "flair"]  # the brain is where this modality is above 0
    largest_only: tuple[str, ...]  # splits with one slice per patient: the one with the largest tumour

    edge = 240
    brain_rule = "any"

    @property
    def background(self) -> float | None:
        """-3, or None under the z-score: there it depends on the volume."""
        return -3.0 if self._mode == "code_affine" else None

    @property
    def brain_from(self) -> tuple[str, ...]:
        """The one modality."""
        return (self.brain_of,)

    @property
    def label_rule(self) -> Binary:
        """By `label_bin`."""
        return self.label_bin

    @property
    def _mode(self) -> str:
        return MMCCD[self.follow]["mode"] if self.norm.mode == "follow" else self.norm.mode

    def _p_up(self, modality: str) -> float:
        own = getattr(self.norm.p_up, modality)
        return MMCCD[self.follow][modality] if own == "follow" else own

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """Code: 6 v / U - 3, U = upper quantile of v > 0. Paper: mean 0, standard deviation 1 inside the window."""
        values = intensity.above_zero(inside)
        if self._mode == "code_affine":
            top = intensity.upper(values, self._p_up(modality))
            return Tone(top / 2, top, gain=6)
        low, high = intensity.window(values, self.norm.p_lo, self._p_up(modality))
        inside = values[(values >= low) & (values <= high)].astype(np.float64)
        return Tone(inside.mean(), inside.std())

    def candidates(self, scan: Scan, tones: Mapping[str, Tone], split: str) -> NDArray[np.int64]:
        """The range, or its slice with the most tumour (the lowest of equals), or none."""
        every = levels(self.z_first, self.z_last, 1, scan.depth)
        if split not in self.largest_only:
            return every[:: self.z_step]
        area = scan.tumour_mm2[every]
        return every[area.argmax()][None] if area.any() else every[:0]


@dataclass(frozen=True)
class Padded(Recipe):
    """Keys of the two recipes on the padded 256 mm square."""

    size: int = number(min=8, max=512)
    z_first: int = number(min=0)
    z_last: int = number(min=0)
    z_step: int = number(min=1)
    p_lo: float = number(min=0, max=0.5)  # quantile of the volume above 0 that becomes 0
    p_up: float = number(min=0.5, max=1)  # and the one that becomes 1; cut off at both

    edge = 256

    def candidates(self, scan: Scan, tones: Mapping[str, Tone], split: str) -> NDArray[np.int64]:
        """A fixed range."""
        return levels(self.z_first, self.z_last, self.z_step, scan.depth)


@dataclass(frozen=True)
class Tsgm(Padded):
    """Two-stage generative model (arXiv 2311.03074): 8-bit slices, which the code scales to its own range."""

    follow: Follow
    loader: Literal["follow", "slice_minmax", "volume"]  # code: each image of a slice to 0..1; paper: as the volume
    min_level: int = number(min=0, max=255)  # slices where a modality's 8-bit maximum is below are left out; 0 = none

    background = 0.0

    @property
    def slicewise(self) -> bool:
        """Whether the loader scales slice by slice."""
        return (self.follow == "code") if self.loader == "follow" else self.loader == "slice_minmax"

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """Window to 0..1 in 255 steps, cut down to the step below."""
        low, high = intensity.window(intensity.above_zero(inside), self.p_lo, self.p_up)
        return Tone(low, high - low, low, high, levels=255)

    def refuses(self, planes: NDArray[np.float32], brain: NDArray[np.bool_]) -> str:
        """Dim slices."""
        return "dim" if np.rint(planes.max((1, 2)) * 255).min() < self.min_level else ""

    def finish(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The loader's scaling."""
        return intensity.minmax(image, 0) if self.slicewise else image


@dataclass(frozen=True)
class Ddmd(Padded):
    """Discrepancy-based diffusion (arXiv 2405.04974). No code was released; the paper is silent on intensities."""

    range: Literal["unit", "symmetric"]  # unit: 0..1; symmetric: -1..1

    @property
    def background(self) -> float:
        """The lower end of the range."""
        return 0.0 if self.range == "unit" else -1.0

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """Window to 0..1 or to -1..1."""
        low, high = intensity.window(intensity.above_zero(inside), self.p_lo, self.p_up)
        gain, shift = (1, 0) if self.range == "unit" else (2, -1)
        return Tone(low, high - low, low, high, gain, shift)


@dataclass(frozen=True)
class Anofpdm(Recipe):
    """AnoFPDM (arXiv 2404.15683): every slice with content, bilinear, -1..1 slice by slice."""

    follow: Follow
    size: int = number(min=8, max=512)
    z_step: int = number(min=1)
    p_up: float = number(min=0.5, max=1)  # of the intensities above 0, of the volume (code) or of the slice (paper)
    norm: Literal["follow", "code_minmax", "paper_percentile"]
    min_sum: float = number(min=0)  # content: intensities of a slice sum to more, after `tone`, mean over modalities

    edge = 240
    label_rule = "more"
    slicewise = True

    @property
    def axis(self) -> Axis:
        """Bilinear, without smoothing first."""
        return resample.bilinear(self.edge, self.size)

    def tone(self, modality: str, inside: NDArray) -> Tone:
        """Divided by the volume's p_up quantile of what is above 0; not cut off."""
        return Tone(0, intensity.upper(intensity.above_zero(inside), self.p_up))

    def candidates(self, scan: Scan, tones: Mapping[str, Tone], split: str) -> NDArray[np.int64]:
        """From the first slice with content to the last, those between included."""
        sums = [scan.per_plane(scan.volumes[name]) / tone.unit for name, tone in tones.items()]
        found = np.flatnonzero(np.mean(sums, 0) > self.min_sum)
        return np.arange(found[0], found[-1] + 1, self.z_step) if len(found) else found

    def finish(self, image: NDArray[np.float32], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Code: each modality from its minimum to its maximum. Paper: from 0 to its p_up quantile, cut off there."""
        by_range = (self.follow == "code") if self.norm == "follow" else self.norm == "code_minmax"
        share = intensity.minmax(image, EPSILON) if by_range else np.stack([self._share(plane) for plane in image])
        return share * 2 - 1

    def _share(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        values = np.sort(plane[plane > 0])
        top = np.float32(intensity.quantile(values, self.p_up)) if len(values) else np.float32(1)
        return np.clip(plane / top, 0, 1)

    def diseased(self, tumour_mm2: int, mask: NDArray[np.uint8]) -> bool:
        """Whether the mask on the grid has a pixel: a tumour that vanishes in the resampling makes a healthy slice."""
        return bool(mask.any())


RECIPES: dict[str, type[Recipe]] = {"common": Common, "tsgm": Tsgm, "mmccd": Mmccd, "ddmd": Ddmd, "anofpdm": Anofpdm}
