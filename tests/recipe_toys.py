"""The five recipes with small numbers, and volumes small enough to reckon by hand."""

import numpy as np

from gliomap.data.case import MODALITIES
from gliomap.data.recipes import Anofpdm, Common, Ddmd, Mmccd, Norm, PerModality, Tsgm
from gliomap.data.scan import Scan

PERCENTILES = PerModality(t1=0.98, t1ce=0.98, t2=0.98, flair=0.90)
COMMON = Common(size=12, crop=24, z_first=2, z_last=8, z_step=1, p_up=1.0, min_brain_mm2=1)
MMCCD = Mmccd(
    follow="code", size=120, z_first=2, z_last=8, z_step=1, norm=Norm("follow", PERCENTILES, 0.02), label_bin="any",
    brain_of="t2", largest_only=("val", "test"),
)  # fmt: skip
WINDOW = {"z_first": 2, "z_last": 8, "z_step": 1, "p_lo": 0.01, "p_up": 0.99}
TSGM = Tsgm(size=256, follow="paper", loader="follow", min_level=15, **WINDOW)
DDMD = Ddmd(size=256, range="unit", **WINDOW)
ANOFPDM = Anofpdm(follow="code", size=120, z_step=1, p_up=0.99, norm="follow", min_sum=0.5)
ALL = {"common": COMMON, "tsgm": TSGM, "mmccd": MMCCD, "ddmd": DDMD, "anofpdm": ANOFPDM}


def scan(shape=(24, 24, 10), low=1, high=1000, tumour=(), voxel=1) -> Scan:
    """A box of brain 4 voxels from the border in x and y, in all planes but the outer two; random intensities low..high.

    tumour: (z, n) pairs, n x n pixels of tumour in plane z, in the corner of the brain.
    """
    rng = np.random.default_rng(7)
    inside = np.zeros(shape, bool)
    inside[4:-4, 4:-4, 1:-1] = True
    volumes = {name: np.where(inside, rng.integers(low, high + 1, shape), 0).astype(np.int16) for name in MODALITIES}
    labels = np.zeros(shape, np.uint8)
    for z, n in tumour:
        labels[4 : 4 + n, 4 : 4 + n, z] = 2
    return Scan(volumes, labels, voxel)


def pixels(prepared, name="t1"):
    return prepared.images[:, MODALITIES.index(name)].astype(np.float64)
