"""The template behind all subjects: compact channels derived once from nilearn's ICBM152 2009a maps, cached as npz.

(c) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; see
docs/phantom.md for the notice. Only data files are read: nilearn itself is not imported.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.phantom import structures
from gliomap.data.phantom.fields import Array
from gliomap.data.phantom.structures import Frame

ORIGIN = np.array([-98.0, -134.0, -72.0])  # MNI mm of voxel 0 of nilearn's files
PAD = 8  # voxels added on every side
CLOSING = 5.5  # mm, closes the sulcal notches of the template's mask
FINE = ("white", "grey", "ridge")  # kept at 1 mm
SOFT = ("depth", "ventricle", "deep", "iron", "ventricle_distance", "limbic", "sinus", "choroid")  # kept at 2 mm


@dataclass(frozen=True, eq=False)
class Atlas:
    """Float32 planes of the template: `fine` (see FINE) every mm, `soft` (see SOFT) every 2 mm, both from `origin` (MNI mm).

    depth: mm below the skull-strip surface (negative outside, -10..22); ventricle_distance: mm, negative inside (-6..40);
    ridge: sulcal lines 0..1.2; the others: shares 0..1.
    """

    fine: tuple[Array, ...]
    soft: tuple[Array, ...]
    origin: NDArray

    def fine_index(self, points: Sequence[NDArray]) -> list[Array]:
        """Voxel coordinates in the 1-mm planes of points (x, y, z) in MNI mm."""
        return [(points[a] - self.origin[a]).astype(np.float32) for a in range(3)]

    def soft_index(self, points: Sequence[NDArray]) -> list[Array]:
        """Voxel coordinates in the 2-mm planes of points (x, y, z) in MNI mm."""
        return [((points[a] - self.origin[a]) * .5).astype(np.float32) for a in range(3)]


def file_name() -> str:
    """Name of the atlas of the installed nilearn and of this code. UserError if nilearn is absent."""
    code = hashlib.md5(usedforsecurity=False)
    for module in (__file__, structures.__file__):
        code.update(Path(module).read_bytes())
    return f"phantom-atlas-nilearn{_nilearn()[1]}-{code.hexdigest()[:8]}.npz"


def cached(folder: Path) -> Path:
    """The atlas file below `folder`, built now (under ten seconds) if there is none of this name yet."""
    path = folder / file_name()
    if not path.is_file():
        files.write_npz(path, **build())
    return path


def load(path: Path) -> Atlas:
    """The atlas in a file written by `cached`. UserError if it is damaged."""
    return unpack(files.read_npz(path))


def unpack(arrays: dict[str, NDArray]) -> Atlas:
    """Bytes with offset and scale as float32 planes: the same numbers with and without the file."""
    planes = {
        name: tuple(plane.astype(np.float32) * scale + offset for plane, offset, scale in zip(
            arrays[name], arrays[f"{name}_offset"], arrays[f"{name}_scale"]))
        for name in ("fine", "soft")
    }  # fmt: skip
    return Atlas(planes["fine"], planes["soft"], arrays["origin"])


def build() -> dict[str, NDArray]:
    """Derive all channels from nilearn's files, as bytes with one offset and scale a channel."""
    head, grey, white = (np.pad(_template(kind).astype(np.float32), PAD) for kind in ("t1", "gm", "wm"))
    mask = ndimage.binary_fill_holes(ndimage.binary_closing(head > 0, iterations=2))
    white, grey = white / 255 * mask, grey / 255 * mask
    fluid = np.clip(1 - white - grey, 0, 1)
    fine = (white, grey, sulcal_ridges(fluid, mask))
    soft = [_halve(channel) for channel in _soft_channels(white, grey, fluid, mask)]
    return {"origin": ORIGIN - PAD, **_quantise("fine", fine), **_quantise("soft", soft)}


def _template(kind: str) -> NDArray[np.uint8]:
    """One of nilearn's bundled ICBM152 2009a maps, 197x233x189, 1 mm. UserError if nilearn does not carry it."""
    package, release = _nilearn()
    path = package / "datasets" / "data" / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    if not path.is_file():
        raise UserError(f"{path}: no such file in nilearn {release}; install the version that requirements.txt names")
    return np.asarray(nib.load(path).dataobj)


def _nilearn() -> tuple[Path, str]:
    """nilearn's folder and version, without importing it. UserError if it is not installed."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("nilearn: not installed, but the phantom's anatomy comes with it; pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]), version("nilearn")


def _soft_channels(white: Array, grey: Array, fluid: Array, mask: NDArray[np.bool_]) -> tuple[NDArray, ...]:
    """The channels of SOFT at 1 mm, in that order."""
    frame = Frame.of(mask.shape, ORIGIN - PAD)
    depth = np.clip(ndimage.gaussian_filter(signed_distance(skull_strip_surface(mask)), 1.0), -10, 22)
    cavity = structures.ventricles(frame, fluid, mask)
    ventricle = fluid * ndimage.gaussian_filter(ndimage.binary_dilation(cavity, iterations=2).astype(np.float32), .8)
    distance = np.clip(ndimage.gaussian_filter(-signed_distance(cavity), .8), -6, 40)
    deep, iron = structures.nuclei(frame, ventricle)
    limbic = frame.ellipsoids(structures.LIMBIC) * (grey + .3 * white)
    sinus = structures.sinuses(frame, depth, fluid, ventricle)
    choroid = frame.ellipsoids(structures.CHOROID) * ventricle
    return depth, ventricle, deep, iron, distance, limbic, sinus, choroid


def skull_strip_surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The smooth outline that skull-stripping tools give: `mask` closed by a ball and smoothed."""
    outline = mask.copy()
    outline[:, :, :PAD] = outline[:, :, PAD:PAD + 1]  # the template is cut through the medulla: no false surface there
    outline = np.pad(outline, PAD)
    closed = ~_dilate(~_dilate(outline, CLOSING), CLOSING)
    return ndimage.gaussian_filter((closed | outline).astype(np.float32), 1.2)[PAD:-PAD, PAD:-PAD, PAD:-PAD] > .5


def _dilate(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """All voxels within `radius` voxels (Euclidean, below 15) of `mask`: squared distances by one parabola pass an axis."""
    limit, reach = int(radius ** 2), int(radius)
    square = np.where(mask, 0, 255).astype(np.uint8)
    for axis in range(3):
        nearest = square.copy()
        for step in range(1, reach + 1):
            low = [slice(None)] * 3
            high = list(low)
            low[axis], high[axis] = slice(None, -step), slice(step, None)
            far = np.minimum(square, 255 - step * step) + np.uint8(step * step)
            np.minimum(nearest[tuple(low)], far[tuple(high)], out=nearest[tuple(low)])
            np.minimum(nearest[tuple(high)], far[tuple(low)], out=nearest[tuple(high)])
        square = nearest
    return square <= limit


def signed_distance(mask: NDArray[np.bool_]) -> Array:
    """Distance in voxels to the other side, positive inside `mask`, negative outside."""
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects(mask.astype(np.uint8))[0])
    distance = -_distance(~mask)
    distance[box] += _distance(mask[box])
    return distance


def _distance(mask: NDArray[np.bool_]) -> Array:
    """Distance of each voxel of `mask` to the nearest one outside it (scipy's transform, with less memory traffic)."""
    nearest = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
    square = np.zeros(mask.shape, np.int32)
    for axis, index in enumerate(nearest):
        index -= np.arange(mask.shape[axis], dtype=np.int32).reshape([-1 if a == axis else 1 for a in range(3)])
        square += index * index
    return np.sqrt(square.astype(np.float64)).astype(np.float32)


def sulcal_ridges(fluid: Array, mask: NDArray[np.bool_]) -> Array:
    """Sulcal lines that the template's average washes out: local-contrast-normalised ridges of the fluid map, 0..1.2."""
    inside = mask.astype(np.float32)
    weighted = fluid * inside

    def smooth(sigma: float) -> Array:
        blurred = ndimage.gaussian_filter(weighted, sigma)
        return blurred / np.maximum(ndimage.gaussian_filter(inside, sigma), 1e-2) * inside

    ridge = np.clip(smooth(.6) - smooth(3.0), 0, None)
    local = ndimage.gaussian_filter(ndimage.maximum_filter(ridge, 9), 1.5)
    return np.clip(ridge / np.maximum(local, .035), 0, 1.2)


def _halve(channel: NDArray) -> Array:
    """Smooth by 0.7 voxels and take every second voxel; each axis is thinned as soon as it is smoothed."""
    thin = np.asarray(channel, np.float32)
    for axis in range(3):
        smooth = ndimage.gaussian_filter1d(thin, .7, axis)
        thin = smooth[tuple(slice(None, None, 2) if a == axis else slice(None) for a in range(3))]
    return np.ascontiguousarray(thin)


def _quantise(name: str, channels: Sequence[NDArray]) -> dict[str, NDArray]:
    """Channels as one byte array (C, x, y, z) with offset and scale a channel."""
    stack = np.stack(channels)
    offset = stack.min((1, 2, 3))
    scale = np.maximum(stack.max((1, 2, 3)) - offset, 1e-6) / 255
    planes = np.rint((stack - offset[:, None, None, None]) / scale[:, None, None, None]).astype(np.uint8)
    return {name: planes, f"{name}_offset": offset.astype(np.float32), f"{name}_scale": scale.astype(np.float32)}
