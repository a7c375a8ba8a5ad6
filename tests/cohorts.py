"""Miniature cohorts in every naming, for tests: ellipsoid heads with a tumour of three nested parts."""

from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE = (24, 20, 16)
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])  # as BraTS
NAMES = {
    "brats2020": {"t1": "_t1", "t1ce": "_t1ce", "t2": "_t2", "flair": "_flair", "seg": "_seg"},
    "brats2023": {"t1": "-t1n", "t1ce": "-t1c", "t2": "-t2w", "flair": "-t2f", "seg": "-seg"},
}
STORED = {  # canonical label -> label of the naming
    "brats2020": {0: 0, 1: 1, 2: 2, 4: 4},
    "brats2023": {0: 0, 1: 1, 2: 2, 3: 4, 4: 3},
    "msd": {0: 0, 1: 2, 2: 1, 4: 3},
}
MSD_ORDER = ("flair", "t1", "t1ce", "t2")
CONTRAST = {"t1": (400, -0.3), "t1ce": (420, 0.5), "t2": (350, 0.8), "flair": (380, 0.9)}  # grey level, what tumour adds


def volumes(shape=SHAPE, seed=0, tumour=True) -> dict:
    """{"t1", "t1ce", "t2", "flair"}: int16 with background 0, and "seg": uint8 in canonical labels."""
    rng = np.random.default_rng(seed)
    brain = _ellipsoid(shape, (0.5, 0.5, 0.5), 0.37)
    centre = 0.5 + 0.12 * rng.uniform(-1, 1, 3)
    seg = np.zeros(shape, np.uint8)
    if tumour:
        for label, radius in ((2, 0.18), (4, 0.13), (1, 0.08)):
            seg[_ellipsoid(shape, centre, radius) & brain] = label
    result = {}
    for name, (level, gain) in CONTRAST.items():
        image = level * (1 + gain * (seg > 0)) + rng.normal(0, 40, shape)
        result[name] = np.where(brain, np.clip(image, 1, None), 0).astype(np.int16)
    return result | {"seg": seg}


def _ellipsoid(shape, centre, radius) -> np.ndarray:
    axes = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape], indexing="ij")
    return sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)) < radius**2


def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    """Write one NIfTI file; its header follows from array and affine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def write_case(root: Path, layout: str, case: str, content: dict, suffix: str = ".nii.gz", affine=AFFINE) -> None:
    """Write one case: `content` as `volumes` gives it, in the files and with the labels of the naming."""
    table = np.zeros(5, np.uint8)
    table[list(STORED[layout])] = list(STORED[layout].values())
    seg = table[content["seg"]]
    if layout == "msd":
        write(root / "imagesTr" / f"{case}{suffix}", np.stack([content[m] for m in MSD_ORDER], -1), affine)
        write(root / "labelsTr" / f"{case}{suffix}", seg, affine)
        return
    for role, ending in NAMES[layout].items():
        write(root / case / f"{case}{ending}{suffix}", seg if role == "seg" else content[role], affine)


def case_ids(layout: str, count: int) -> list[str]:
    """Ids as the naming's own data sets have them."""
    pattern = {"brats2020": "BraTS20_Training_{:03d}", "brats2023": "BraTS-GLI-{:05d}-000", "msd": "BRATS_{:03d}"}[layout]
    return [pattern.format(i + 1) for i in range(count)]


def write_cohort(root: Path, layout: str = "brats2020", cases: int | Iterable[str] = 3, shape=SHAPE, seed=0) -> list[str]:
    """Write a cohort of `cases` (a number, or the ids) below root; returns the ids. Every case has a tumour."""
    ids = case_ids(layout, cases) if isinstance(cases, int) else list(cases)
    for i, case in enumerate(ids):
        write_case(Path(root), layout, case, volumes(shape, seed * 1000 + i))
    return ids
