"""Is a case fit for use? Every problem of it, each with file, found, expected and remedy; never only the first.

A problem of severity `error` makes its case unusable; a `note` is worth knowing and excludes nothing. The bounds are far
outside what BraTS 2018-2023 hold (brain 13 to 19 % of the volume, tumour 1 to 16 % of the brain, brains of the modalities
equal to within 0.4 %), so that they catch broken files and not unusual patients.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gliomap.data.case import (
    AXES,
    LAYOUTS,
    MODALITIES,
    MSD_CHANNELS,
    WHOLE_TUMOUR,
    Case,
    Unreadable,
    Volume,
    load,
    split_channel,
    stray_labels,
)

AFFINE_MM = 0.01  # entries of two affines that differ by less are the same
VOXEL_MM = 0.001
BRAIN_SHARE = (0.05, 0.45)  # of the volume
BRAIN_SHARE_ANY = (0.02, 0.90)  # the same for any field of view
BRAIN_OVERLAP = 0.9  # Dice of one modality's brain and the union of all four
NEGATIVE_SHARE = 0.01  # of the non-zero voxels: above, somebody has subtracted a mean
GREY_VALUES = 16  # fewer in a sample of the brain: a label map or a binary image
SAMPLE = 37  # every 37th brain voxel is enough to count grey values
OUTSIDE_SHARE = (0.001, 0.05)  # of the tumour, outside the brain: noted above the first, refused above the second
TUMOUR_SHARE = 0.5  # of the brain
SHOWN_LABELS = 5
EXPORT = "export it again from the original data"
Report = Callable[..., "Problem"]  # Problem with case and file filled in


@dataclass(frozen=True)
class Expected:
    """What the images of a cohort are like.

    modalities: those that every case has; shape (voxels), voxel (mm): None where any will do, then all files of a case must
    still agree; brain_share: plausible shares of non-zero voxels; placed: problems of an image's position, if asked for.
    """

    modalities: tuple[str, ...] = MODALITIES
    shape: tuple[int, ...] | None = None
    voxel: float | None = 1.0
    brain_share: tuple[float, float] = BRAIN_SHARE
    placed: Callable[[Report, Volume], Iterator[Problem]] | None = None

    def of(self, volumes: Mapping[str, Volume]) -> Expected:
        """What the files of one case must be like: where any shape will do, the one that most of them have."""
        if self.shape is not None or not volumes:
            return self
        shapes = Counter(volume.array.shape for volume in volumes.values())
        return replace(self, shape=shapes.most_common(1)[0][0], brain_share=BRAIN_SHARE_ANY)


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file, relative to the cohort's root."""

    case: str
    file: str
    what: str
    expected: str
    found: str
    remedy: str
    severity: Literal["error", "note"] = "error"

    def __str__(self) -> str:
        return f"{self.file}: {self.what}: found {self.found}, expected {self.expected}; {self.remedy}"


@dataclass(frozen=True)
class Finding:
    """All that one look at a case gave.

    digests: file -> hash of the image's voxels, equal for equal images in whatever data type; tumour_ml: volume of the
    whole tumour in millilitres, None if there is no usable mask.
    """

    case: Case
    problems: tuple[Problem, ...]
    digests: Mapping[str, str]
    tumour_ml: float | None

    @property
    def usable(self) -> bool:
        """True if no problem is an error."""
        return not any(problem.severity == "error" for problem in self.problems)


def check_case(case: Case, shape: tuple[int, ...], voxel: float = 1.0) -> list[Problem]:
    """All problems of one case, whose volumes should be `shape` voxels of `voxel` mm; [] if it is fit for use."""
    return list(examine(case, Expected(shape=tuple(shape), voxel=voxel)).problems)


def examine(case: Case, expected: Expected) -> Finding:
    """Read every file of the case once and look at it. Never raises for bad data."""
    volumes, problems = _open(case, expected.modalities)
    problems += _affines(case, volumes)
    sound: dict[str, NDArray] = {}
    for role, volume in volumes.items():
        flaws = list(_file(case, role, volume, expected.of(volumes)))
        problems += flaws
        if all(flaw.severity == "note" for flaw in flaws):
            sound[role] = volume.array
    brains = {role: array != 0 for role, array in sound.items() if role != "seg"}
    union = np.logical_or.reduce(list(brains.values())) if brains else None
    problems += _brains(case, brains, union)
    tumour = np.isin(sound["seg"].astype(np.int16), _tumour_labels(case.layout)) if "seg" in sound else None
    if tumour is not None:
        problems += _tumour(partial(Problem, case.id, case.seg), tumour, union)
    digests = {case.all_files[role]: _digest(sound[role]) for role in brains}
    volume_ml = None if tumour is None else float(np.count_nonzero(tumour)) * _mm3(expected, volumes["seg"]) / 1000
    return Finding(case, tuple(problems), digests, volume_ml)


def _mm3(expected: Expected, volume: Volume) -> float:
    """Of a voxel."""
    return float(np.prod(volume.zooms)) if expected.voxel is None else expected.voxel**3


def _open(case: Case, modalities: tuple[str, ...]) -> tuple[dict[str, Volume], list[Problem]]:
    """(volumes by role, problems with missing, doubled and unreadable files and wrong dimensions); a 4-D file opens once."""
    problems = [*_missing(case, modalities), *_doubled(case)]
    roles: dict[str, list[str]] = {}
    for role, path in case.all_files.items():
        roles.setdefault(split_channel(path)[0], []).append(role)
    volumes: dict[str, Volume] = {}
    for name, held in roles.items():
        report = partial(Problem, case.id, name)
        try:
            whole = load(case.root, name)
        except Unreadable as error:
            expected = "a whole NIfTI file (.nii or .nii.gz)"
            problems.append(report("cannot be read", expected, error.reason, "copy or export it again"))
            continue
        wrong = list(_dimensions(report, whole.array.shape, held != ["seg"] and case.layout == "msd"))
        problems += wrong
        if not wrong:
            volumes |= {role: _channel(whole, split_channel(case.all_files[role])[1]) for role in held}
    return volumes, problems


def _missing(case: Case, modalities: tuple[str, ...]) -> Iterator[Problem]:
    folder = PurePosixPath(next(iter(case.all_files.values()), case.id)).parent
    for role in (*modalities, "seg"):
        if role in case.all_files:
            continue
        endings = {r: ending for ending, r in LAYOUTS[case.layout].endings.items()}
        if case.layout == "msd":
            name = folder.parent / ("labelsTr" if role == "seg" else "imagesTr") / f"{case.id}.nii.gz"
        else:
            name = folder / f"{case.id}{endings[role]}.nii.gz"
        what = "missing mask" if role == "seg" else "missing modality"
        yield Problem(case.id, name.as_posix(), what, "a file (.nii or .nii.gz)", "none", "add it, or remove the case")


def _doubled(case: Case) -> Iterator[Problem]:
    for path in case.extra:
        yield Problem(case.id, path, "second file for one image", "one", "another with the same role", "remove one of them")


def _dimensions(report: Report, shape: tuple[int, ...], four: bool) -> Iterator[Problem]:
    channels = len(MSD_CHANNELS)
    if four and (len(shape) != 4 or shape[3] != channels):
        expected = f"4 with {channels} channels (FLAIR, T1w, T1gd, T2w)"
        yield report("wrong dimensions", expected, _dims(shape), "get the original archive of MSD Task01")
    elif not four and len(shape) != 3:
        yield report("wrong dimensions", "3", _dims(shape), "save one volume per file, without extra dimensions")


def _dims(shape: tuple[int, ...]) -> str:
    return f"{len(shape)} ({_times(shape)})"


def _times(shape: Iterable[object]) -> str:
    return "x".join(map(str, shape))


def _channel(volume: Volume, channel: int | None) -> Volume:
    return volume if channel is None else Volume(volume.array[..., channel], volume.affine, volume.zooms, volume.axes)


def _affines(case: Case, volumes: Mapping[str, Volume]) -> Iterator[Problem]:
    """Files whose affine is not the one that most files of the case have."""
    if not volumes:
        return
    rounded = {role: tuple(np.round(v.affine / AFFINE_MM).astype(int).ravel()) for role, v in volumes.items()}
    usual = Counter(rounded.values()).most_common(1)[0][0]
    reference = next(volumes[role].affine for role in volumes if rounded[role] == usual)
    for path, volume in {case.all_files[role]: volumes[role] for role in volumes}.items():
        if not np.allclose(volume.affine, reference, atol=AFFINE_MM, rtol=0):
            remedy = "register the images of a case to one grid, or copy the right header"
            found = _numbers(volume.affine)
            yield Problem(case.id, path, "affine differs within the case", _numbers(reference), found, remedy)


def _numbers(affine: NDArray) -> str:
    return "; ".join(" ".join(f"{value:.4g}" for value in row) for row in affine[:3] + 0.0)


def _file(case: Case, role: str, volume: Volume, expected: Expected) -> Iterator[Problem]:
    """Problems of one file by itself; its values are looked at only where they are finite."""
    report = partial(Problem, case.id, case.all_files[role])
    yield from _geometry(report, volume, expected.shape, expected.voxel)
    broken = list(_finite(report, volume.array))
    yield from broken
    if broken:
        return
    if role == "seg":
        yield from _labels(report, volume.array, case.layout)
    else:
        yield from _image(report, volume.array, expected.brain_share)
        yield from expected.placed(report, volume) if expected.placed else ()


def _geometry(report: Report, volume: Volume, shape: tuple[int, ...], voxel: float | None) -> Iterator[Problem]:
    if volume.array.shape != shape:
        remedy = "register it to the BraTS grid, or set cohort.shape in params.yaml if the whole cohort has this shape"
        if voxel is None:
            remedy = "bring all images of a case to one grid"
        yield report("wrong shape", _times(shape), _times(volume.array.shape), remedy)
    if voxel is not None and not np.allclose(volume.zooms, voxel, atol=VOXEL_MM, rtol=0):
        found = _times(f"{zoom:.4g}" for zoom in volume.zooms) + " mm"
        yield report("wrong voxel size", f"{voxel:g} mm in all directions", found, "resample it, or mend the header")
    if None in volume.axes:
        remedy = "mend the header: orientation cannot be told"
        yield report("affine without orientation", "three axes", _numbers(volume.affine), remedy)
    elif volume.axes != AXES:
        note = "nothing to do: it is turned on reading, if the header tells the truth"
        yield report("axes other than BraTS's", "".join(AXES), "".join(volume.axes), note, "note")


def _finite(report: Report, array: NDArray) -> Iterator[Problem]:
    if np.issubdtype(array.dtype, np.complexfloating) or array.dtype.names:
        yield report("not a grey-value image", "real numbers", str(array.dtype), EXPORT)
    elif np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        count = int(array.size - np.count_nonzero(np.isfinite(array)))
        remedy = "replace them by 0 outside the brain, or " + EXPORT
        yield report("NaN or infinite values", "finite numbers", f"{count} voxels", remedy)


def _image(report: Report, array: NDArray, brain_share: tuple[float, float]) -> Iterator[Problem]:
    """Problems of the grey values of one modality."""
    low, high = array.min(), array.max()
    if low == high:
        yield report("empty image", "a brain on background 0", f"the value {low:g} everywhere", EXPORT)
        return
    corner = array[np.ix_((0, -1), (0, -1), (0, -1))]
    if corner.any():
        found = f"{corner.ravel()[np.flatnonzero(corner)[0]]:.6g} in a corner"
        remedy = "use images before normalisation, with the skull stripped"
        yield report("background is not 0", "exactly 0", found, remedy)
        return
    inside = array != 0
    count = int(np.count_nonzero(inside))
    yield from _negative(report, array, low, count)
    share = count / array.size
    if not brain_share[0] <= share <= brain_share[1]:
        expected = f"{brain_share[0]:.0%} to {brain_share[1]:.0%}"
        remedy = "strip the skull and keep the whole brain in the field of view"
        yield report("implausible share of non-zero voxels", expected, f"{share:.1%}", remedy)
    values = len(np.unique(array[inside][::SAMPLE])) if count >= SAMPLE * GREY_VALUES else GREY_VALUES
    if values < GREY_VALUES:
        remedy = "is it a mask under the name of an image? Put the image there"
        yield report("too few grey values", f"at least {GREY_VALUES}", str(values), remedy)


def _negative(report: Report, array: NDArray, low: float, inside: int) -> Iterator[Problem]:
    if low >= 0:
        return
    count = int(np.count_nonzero(array < 0))
    found = f"{count} voxels ({count / inside:.2%} of the brain), lowest {low:.6g}"
    if count > NEGATIVE_SHARE * inside:
        yield report("negative values", "images before normalisation", found, "use the scanner's grey values, " + EXPORT)
    else:
        yield report("a few negative values", "none", found, "nothing to do: interpolation makes them", "note")


def _labels(report: Report, array: NDArray, layout: str) -> Iterator[Problem]:
    """Problems of the values of a stored label map."""
    if np.issubdtype(array.dtype, np.floating) and (array != np.rint(array)).any():
        value = array[array != np.rint(array)].ravel()[0]
        remedy = "resample masks by nearest neighbour, not by interpolation"
        yield report("labels are not whole numbers", "labels", f"{value:.6g} among others", remedy)
        return
    stray = stray_labels(array, layout)
    if stray:
        found = ", ".join(f"{value:g}" for value in stray[:SHOWN_LABELS]) + (" ..." if len(stray) > SHOWN_LABELS else "")
        remedy = "mend the mask, or name the files as the naming of these labels wants (docs/data.md)"
        if layout == "brats2020" and stray == [3]:
            remedy = "BraTS 2018-2021 has no 3: relabel 3 to 4, or use the file names of BraTS 2023, where 3 is enhancing"
        known = ", ".join(map(str, LAYOUTS[layout].labels))
        yield report("unknown labels", f"only {known} ({layout} naming)", found, remedy)


def _tumour_labels(layout: str) -> list[int]:
    return [stored for stored, canonical in LAYOUTS[layout].labels.items() if canonical in WHOLE_TUMOUR]


def _brains(case: Case, brains: Mapping[str, NDArray], union: NDArray | None) -> Iterator[Problem]:
    """Modalities whose brain is not the brain of the others."""
    for role, brain in brains.items():
        own, all_ = np.count_nonzero(brain), np.count_nonzero(union)
        dice = 2 * own / (own + all_)  # one lies in the other
        if dice < BRAIN_OVERLAP:
            expected, found = f"overlap (Dice) of {BRAIN_OVERLAP} or more with the union of all", f"{dice:.2f}"
            remedy = "register the modalities to each other and use one brain mask"
            yield Problem(case.id, case.all_files[role], "brain differs between modalities", expected, found, remedy)


def _tumour(report: Report, tumour: NDArray, brain: NDArray | None) -> Iterator[Problem]:
    """Problems of the whole tumour, against the union of the modalities' brains where there is one."""
    count = int(np.count_nonzero(tumour))
    if count == 0:
        remedy = "nothing to do for a healthy subject, else add the mask"
        yield report("no tumour", "tumour labels", "none", remedy, "note")
        return
    if brain is None:
        return
    outside = np.count_nonzero(tumour & ~brain) / count
    if outside > OUTSIDE_SHARE[0]:
        severity = "error" if outside > OUTSIDE_SHARE[1] else "note"
        remedy = "is the mask shifted, flipped or another patient's? Replace it" if severity == "error" else "nothing to do"
        yield report("tumour outside the brain", f"at most {OUTSIDE_SHARE[0]:.1%} of it", f"{outside:.1%}", remedy, severity)
    share = count / np.count_nonzero(brain)
    if share > TUMOUR_SHARE:
        remedy = "is it a brain mask? Put the tumour mask there"
        yield report("implausibly large tumour", f"at most {TUMOUR_SHARE:.0%} of the brain", f"{share:.0%}", remedy)


def _digest(array: NDArray) -> str:
    """Hash of every second voxel in each direction, as float32."""
    part = np.ascontiguousarray(array[::2, ::2, ::2], np.float32)
    return hashlib.blake2b(repr(part.shape).encode() + part.tobytes(), digest_size=16).hexdigest()
