"""Cases on disk in the layout of BraTS 2020: `Phantom_001/Phantom_001_{t1,t1ce,t2,flair,seg}.nii.gz`."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.data.phantom.settings import MODALITIES, affine

LEVEL = 1  # of gzip: higher levels cost up to three times the time for 5 % of the size
NAMES = (*MODALITIES, "seg")
RECORD = "subject.json"  # written last: its presence says that the case is whole


def case_name(index: int) -> str:
    """`Phantom_001` for 1; never a name of a patient."""
    return f"Phantom_{index:03d}"


def write_case(folder: Path, volumes: dict[str, NDArray], voxel: int, record: dict[str, Any]) -> None:
    """Write the five volumes of one case, then `record`; equal volumes give equal bytes."""
    shutil.rmtree(folder, ignore_errors=True)  # what a killed run or another generator has left
    for name in NAMES:
        with files.replacing(folder / f"{folder.name}_{name}.nii.gz") as temporary:
            temporary.write_bytes(compress(nifti(volumes[name], voxel)))
    files.write_json(folder / RECORD, record)


def is_whole(folder: Path, identity: str) -> bool:
    """Whether the case was written completely by a generator of that identity."""
    record = folder / RECORD
    present = record.is_file() and all((folder / f"{folder.name}_{name}.nii.gz").is_file() for name in NAMES)
    return present and files.read_json(record).get("identity") == identity


def nifti(volume: NDArray, voxel: int) -> bytes:
    """A single-file NIfTI-1 image with BraTS's affine; dtype as the volume's (int16, uint8)."""
    image = nib.Nifti1Image(volume, affine(voxel))
    image.header.set_data_dtype(volume.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine(voxel), 1)
    image.set_sform(affine(voxel), 1)
    return image.to_bytes()


def compress(raw: bytes) -> bytes:
    """A gzip file without name and time stamp."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)
    return packer.compress(raw) + packer.flush()
