"""Parameters of the phantom cohort (section `phantom` of params.yaml) and the conventions of its images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from gliomap.base.params import number

MODALITIES = ("t1", "t1ce", "t2", "flair")
SHAPE = (240, 240, 155)  # voxels of 1 mm, as BraTS
NECROSIS, OEDEMA, ENHANCING = 1, 2, 4  # labels, as BraTS 2020


@dataclass(frozen=True)
class Knobs:
    """Multipliers of the difficulty; 1.0 is what was tuned to summary statistics of real cases.

    oedema: free water in the oedema (brighter, easier); cyst: share of CSF-like necrosis (dark on FLAIR, harder);
    wmh: load of incidental white-matter hyperintensities (harder); snr: signal to noise; bias: bias field (harder).
    """

    oedema: float = number(min=0, max=2)
    cyst: float = number(min=0, max=3)
    wmh: float = number(min=0, max=10)
    snr: float = number(min=0.1, max=100)
    bias: float = number(min=0, max=10)


@dataclass(frozen=True)
class PhantomSettings:
    """subjects: size of the cohort; healthy: how many of them, the last ones, carry no tumour; voxel: edge in mm."""

    subjects: int = number(min=1, max=999)
    healthy: int = number(min=0)
    voxel: Literal[1, 2]
    knobs: Knobs


def affine(voxel: int, slices: int = 0) -> np.ndarray:
    """Voxel index to scanner mm (RAS), 4x4, of a volume of that voxel size: BraTS's own at 1 mm, the same box at 2 mm.

    slices: distance of axial slices in mm where they are thicker than the voxel is wide; 0 = cubes.
    """
    deep = slices or voxel
    shift = (voxel - 1) / 2
    z = [0, 0, deep, (deep - 1) / 2]
    return np.array([[-voxel, 0, 0, -shift], [0, -voxel, 0, 239 - shift], z, [0, 0, 0, 1.0]])
