"""Cases on disk in the layout of BraTS 2020: `Phantom_001/Phantom_001_{t1,t1ce,t2,flair,seg}.nii.gz`."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nibabel as nib
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.data.phantom.settings import MODALITIES

LEVEL = 1  # of gzip: higher levels cost up to three times the time for 5 % of the size
NAMES = (*MODALITIES, "seg")
RECORD = "subject.json"  # written last: its presence says that the case is whole


def case_name(index: int, prefix: str = "Phantom") -> str:
    """`Phantom_001` for 1; never a name of a patient."""
    return f"{prefix}_{index:03d}"


def write_case(folder: Path, volumes: dict[str, NDArray], space: NDArray, record: dict[str, Any]) -> None:
    """Write the volumes of one case, each with the affine `space`, then `record`; equal volumes give equal bytes."""
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run or another generator has left
    for name, volume in volumes.items():
        with files.replacing(folder / f"{folder.name}_{name}.nii.gz") as temporary:
            temporary.write_bytes(compress(nifti(volume, space)))
    files.write_json(folder / RECORD, record)


def is_whole(folder: Path, identity: str, names: Iterable[str] = NAMES) -> bool:
    """Whether the case, with a file of each of `names`, was written completely by a generator of that identity."""
    record = folder / RECORD
    present = record.is_file() and all((folder / f"{folder.name}_{name}.nii.gz").is_file() for name in names)
    return present and files.read_json(record).get("identity") == identity


def nifti(volume: NDArray, space: NDArray) -> bytes:
    """A single-file NIfTI-1 image with the affine `space`; dtype as the volume's (int16, uint8)."""
    image = nib.Nifti1Image(volume, space)
    image.header.set_data_dtype(volume.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(space, 1)
    image.set_sform(space, 1)
    return image.to_bytes()


def compress(raw: bytes) -> bytes:
    """A gzip file without name and time stamp."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    return packer.compress(raw) + packer.flush()
