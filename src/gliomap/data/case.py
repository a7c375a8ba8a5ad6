"""One patient's images: the namings of BraTS and MSD, finding cases below a folder, reading volumes and label maps.

Every volume is returned with BraTS's axes (first towards left, second towards posterior, third towards superior) and every
label map with BraTS 2018-2021's labels, whatever naming it came in. Nothing here writes.
"""

from __future__ import annotations

import gzip
import logging
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.imageglobals import logger
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt2axcodes, ornt_transform
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from gliomap.base import files
from gliomap.base.errors import UserError

logger.setLevel(logging.CRITICAL)  # nibabel prints what it also raises, and we say it in a sentence

MODALITIES = ("t1", "t1ce", "t2", "flair")
NECROSIS, OEDEMA, CAVITY, ENHANCING = 1, 2, 3, 4  # canonical labels; a resection cavity is neither tumour nor healthy
WHOLE_TUMOUR = (NECROSIS, OEDEMA, ENHANCING)
AXES = ("L", "P", "S")  # as BraTS stores its volumes
DEPTH = 4  # folders below the root that are searched: archive/grade/case/file and one to spare
NIFTI2_HEADER = 540  # first word of a NIfTI-2 file
UNREADABLE = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True)
class Layout:
    """A naming: file endings (lower case, before .nii) -> modality or "seg"; stored labels -> canonical labels."""

    endings: Mapping[str, str]
    labels: Mapping[int, int]


LAYOUTS: Mapping[str, Layout] = {
    "brats2020": Layout(  # BraTS 2018 to 2021
        {"_t1": "t1", "_t1ce": "t1ce", "_t2": "t2", "_flair": "flair", "_seg": "seg"},
        {0: 0, 1: NECROSIS, 2: OEDEMA, 4: ENHANCING},
    ),
    "brats2023": Layout(  # BraTS 2023; 2024 adds label 4 = resection cavity
        {"-t1n": "t1", "-t1c": "t1ce", "-t2w": "t2", "-t2f": "flair", "-seg": "seg"},
        {0: 0, 1: NECROSIS, 2: OEDEMA, 3: ENHANCING, 4: CAVITY},
    ),
    "msd": Layout({}, {0: 0, 1: OEDEMA, 2: NECROSIS, 3: ENHANCING}),  # Task01_BrainTumour: folders, not endings
}
MSD_CHANNELS = {"flair": 0, "t1": 1, "t1ce": 2, "t2": 3}
COLUMNS = ("case", "patient", "layout", *MODALITIES, "seg", "bytes")  # of the manifest
NAMINGS = "<id>_t1.nii.gz (t1, t1ce, t2, flair, seg), <id>-t1n.nii.gz (t1n, t1c, t2w, t2f, seg) or imagesTr/, labelsTr/"


@dataclass(frozen=True)
class Case:
    """One examination. Paths are relative to `root`, with forward slashes; `path#k` is channel k of a 4-D file.

    files: modality -> path, without those that are missing; seg: path, "" if missing; extra: paths that claim a role which
    another file has already.
    """

    id: str
    patient: str
    layout: str
    root: Path
    files: Mapping[str, str]
    seg: str
    extra: tuple[str, ...] = ()

    @property
    def all_files(self) -> dict[str, str]:
        """Role ("t1" ... "seg") -> relative path of what is there, in the order of MODALITIES, mask last."""
        images = {m: self.files[m] for m in MODALITIES if m in self.files}
        return images | ({"seg": self.seg} if self.seg else {})

    @property
    def bytes(self) -> int:
        """Size of the case's files on disk; a 4-D file counts once."""
        return sum((self.root / name).stat().st_size for name in {split_channel(f)[0] for f in self.all_files.values()})


@dataclass(frozen=True)
class Volume:
    """One file's content.

    array: as stored (float64 becomes float32), its axes turned to AXES; affine (4x4), axes: as stored; zooms: mm, as stored.
    """

    array: NDArray
    affine: NDArray[np.float64]
    zooms: tuple[float, ...]
    axes: tuple[str | None, ...]


class Unreadable(UserError):
    """A file that is no NIfTI file, or a damaged one; `reason` is what the reader said."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be read ({reason}), expected a whole NIfTI file; copy or export it again")
        self.reason = reason


def patient_of(case: str) -> str:
    """The patient of a case id: BraTS-GLI-99999-000 is a visit of BraTS-GLI-99999; elsewhere the case is the patient."""
    match = re.fullmatch(r"(BraTS-[A-Za-z]+-\d+)-\d+", case)
    return match.group(1) if match else case


def split_channel(path: str) -> tuple[str, int | None]:
    """("images/x.nii.gz", 2) of "images/x.nii.gz#2"; None where no channel is named."""
    match = re.fullmatch(r"(.+)#(\d+)", path)
    return (match.group(1), int(match.group(2))) if match else (path, None)


def find_cases(root: str | Path, below: str = "", config: str = "conf/data/<data>.yaml") -> list[Case]:
    """Every case in `root` (or its subfolder `below`), complete or not, by the endings of file names; sorted by id.

    Hidden files and macOS leftovers are ignored. The unlabelled validation and test sets of BraTS and MSD, recognised by
    their names, are passed over. Raises UserError if the folder does not exist or cannot be listed; it names `config` as
    the file to mend.
    """
    root = Path(root)
    groups: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    strays: dict[str, list[str]] = {}
    for path in _nifti_files(root, below, config):
        found = _classify(path)
        if found is None:
            strays.setdefault(path.parent.as_posix(), []).append(path.as_posix())
        else:
            folder, layout, case, role = found
            groups.setdefault((folder, layout, case), {}).setdefault(role, []).append(path.as_posix())
    cases = [_case(root, key, roles, strays.get(key[0], [])) for key, roles in groups.items()]
    return sorted((c for c in cases if not _unlabelled_set(c)), key=lambda c: (c.id, list(c.all_files.values())))


def _nifti_files(root: Path, below: str, config: str) -> Iterator[PurePosixPath]:
    """Paths relative to root, deterministic order."""
    start = root / below
    if not start.is_dir():
        expected = f"expected one with cases named {NAMINGS}"
        raise UserError(f"{start}: no such folder, {expected}; set `root` in {config}")

    def refuse(error: OSError) -> None:
        reason = f"cannot be listed ({error.strerror})"
        raise UserError(f"{error.filename}: {reason}, expected a readable folder; change its permissions") from error

    for folder, subfolders, names in os.walk(start, onerror=refuse, followlinks=True):
        depth = len(Path(folder).relative_to(start).parts)
        subfolders[:] = sorted(s for s in subfolders if depth < DEPTH and not s.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if name.lower().endswith((".nii", ".nii.gz")) and not name.startswith("."):
                yield PurePosixPath((Path(folder) / name).relative_to(root).as_posix())


def _stem(path: PurePosixPath) -> str:
    return re.sub(r"\.nii(\.gz)?$", "", path.name, flags=re.IGNORECASE)


def _classify(path: PurePosixPath) -> tuple[str, str, str, str] | None:
    """(folder of the case, layout, case id, role) of a file; None if its name says nothing."""
    if path.parent.name in ("imagesTr", "imagesTs", "labelsTr"):
        role = "seg" if path.parent.name == "labelsTr" else "images"
        return path.parent.parent.as_posix(), "msd", _stem(path), role
    stem = _stem(path)
    for name, layout in LAYOUTS.items():
        for ending, role in layout.endings.items():
            if stem.lower().endswith(ending) and len(stem) > len(ending):
                return path.parent.as_posix(), name, stem[: -len(ending)], role
    return None


def _case(root: Path, key: tuple[str, str, str], roles: Mapping[str, list[str]], strays: list[str]) -> Case:
    _, layout, case = key
    images = {m: roles[m][0] for m in MODALITIES if m in roles}
    if "images" in roles:
        images = {m: f"{roles['images'][0]}#{k}" for m, k in MSD_CHANNELS.items()}
    extra = tuple(path for paths in roles.values() for path in paths[1:])
    seg = roles["seg"][0] if "seg" in roles else _misnamed_mask(strays) if images else ""
    return Case(case, patient_of(case), layout, root, images, seg, extra)


def _misnamed_mask(strays: list[str]) -> str:
    """BraTS 2020 ships one mask as W39_1998.09.19_Segm.nii: the only `_Segm` file in the folder of its case."""
    masks = [path for path in strays if _stem(PurePosixPath(path)).lower().endswith("_segm")]
    return masks[0] if len(masks) == 1 else ""


def _unlabelled_set(case: Case) -> bool:
    return not case.seg and any(re.search(r"validation|imagesTs", path, re.IGNORECASE) for path in case.files.values())


def to_manifest(cases: Iterable[Case]) -> pd.DataFrame:
    """One row a case, columns COLUMNS; paths relative to the root, "" where a file is missing."""
    rows = [(c.id, c.patient, c.layout, *(c.files.get(m, "") for m in MODALITIES), c.seg, c.bytes) for c in cases]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def read_manifest(path: str | Path) -> pd.DataFrame:
    """The manifest as `to_manifest` made it, every value a text (an id may look like a number). UserError if missing."""
    return files.read_csv(path, dtype=str, keep_default_na=False)


def from_manifest(frame: pd.DataFrame, root: str | Path) -> list[Case]:
    """The cases of a manifest whose paths are below `root`, in its order.

    Raises UserError if a file has gone or its size has changed since the manifest was written.
    """
    cases = []
    for row in frame.to_dict("records"):
        images = {m: row[m] for m in MODALITIES if row[m]}
        case = Case(row["case"], row["patient"], row["layout"], Path(root), images, row["seg"])
        _unchanged(case, int(row["bytes"]))
        cases.append(case)
    return cases


def _unchanged(case: Case, expected: int) -> None:
    advice = "put the files back or run `dvc repro -f download` to list them anew"
    for name in case.all_files.values():
        path = case.root / split_channel(name)[0]
        if not path.is_file():
            raise UserError(f"{path}: no such file, but data/manifest.csv lists it for case {case.id}; {advice}")
    if case.bytes != expected:
        found = f"the files of case {case.id} have {case.bytes} bytes"
        raise UserError(f"{case.root}: {found}, expected {expected} as in data/manifest.csv; {advice}")


def read(case: Case, modality: str) -> NDArray:
    """The volume (X, Y, Z) of a modality: integers or float32 as stored, in scanner units, axes AXES. UserError."""
    return load(case.root, _path(case, modality)).array


def read_all(case: Case, modalities: tuple[str, ...] = MODALITIES) -> dict[str, NDArray]:
    """The volumes by modality, in that order, as `read` gives them; a 4-D file is opened once. UserError."""
    paths = {m: _path(case, m) for m in modalities}
    names = {split_channel(path)[0] for path in paths.values()}
    whole = {name: load(case.root, name).array for name in names}
    result = {}
    for modality, path in paths.items():
        name, channel = split_channel(path)
        result[modality] = whole[name] if channel is None else whole[name][..., channel]
    return result


def read_mask(case: Case) -> NDArray[np.uint8]:
    """The label map (X, Y, Z) in canonical labels: 0, 1 necrosis, 2 oedema, 3 cavity, 4 enhancing; axes AXES. UserError."""
    stored = load(case.root, _path(case, "seg")).array
    labels = LAYOUTS[case.layout].labels
    stray = stray_labels(stored, case.layout)
    if stray:
        expected = f"expected only {sorted(labels)}"
        raise UserError(f"{case.root / case.seg}: holds the labels {stray}, {expected} ({case.layout}); mend the mask")
    table = np.zeros(max(labels) + 1, np.uint8)
    table[list(labels)] = list(labels.values())
    return table[stored.astype(np.uint8)]


def stray_labels(stored: NDArray, layout: str) -> list[float]:
    """The values in a stored label map that its naming does not know, sorted."""
    known = list(LAYOUTS[layout].labels)
    if np.issubdtype(stored.dtype, np.integer) and stored.min() >= 0 and stored.max() < 1 << 16:
        values = np.flatnonzero(np.bincount(stored.ravel(order="K")))  # ten times faster than sorting
    else:
        values = np.unique(stored)
    return [value.item() for value in values if value not in known]


def _path(case: Case, role: str) -> str:
    path = case.seg if role == "seg" else case.files.get(role, "")
    if not path:
        raise UserError(f"{case.root}: case {case.id} has no {role} file; add it, or leave the case out")
    return path


def load(root: Path, path: str) -> Volume:
    """The volume at a path of a case, 3-D, or 4-D if the path names no channel of a 4-D file. Raises Unreadable."""
    name, channel = split_channel(path)
    try:
        image = _image(root / name)
        data = image.dataobj if channel is None else image.dataobj[..., channel]
        array = np.asanyarray(data)
    except UNREADABLE as error:
        raise Unreadable(root / name, _reason(error, root)) from error
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    stored, turned = _turned(array, image.affine)
    return Volume(turned, image.affine, tuple(float(z) for z in image.header.get_zooms()[:3]), stored)


def _image(path: Path) -> nib.Nifti1Image:
    """The image, lazy; a gzip file is unpacked whole, because only that verifies its checksum (nibabel does not)."""
    if path.suffix.lower() != ".gz":
        return nib.load(path)
    raw = gzip.decompress(path.read_bytes())
    if not raw:
        raise EOFError("empty file")
    second = NIFTI2_HEADER in (int.from_bytes(raw[:4], "little"), int.from_bytes(raw[:4], "big"))
    return (nib.Nifti2Image if second else nib.Nifti1Image).from_bytes(raw)


def _turned(array: NDArray, affine: NDArray) -> tuple[tuple[str | None, ...], NDArray]:
    """(axes as stored, the array with axes AXES): by flips and swaps; a singular affine turns nothing."""
    stored = io_orientation(affine)
    if array.ndim < 3 or np.isnan(stored).any():
        return (None, None, None), array
    return ornt2axcodes(stored), apply_orientation(array, ornt_transform(stored, axcodes2ornt(AXES)))


def _reason(error: Exception, root: Path) -> str:
    """What the reader said, in one line and without the root folder."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.replace(f"{root}{os.sep}", "").split()) or type(error).__name__
