"""What the scanner does to a signal: bias field, resolution, slice profile, Rician noise, interpolation, gain."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from gliomap.data.phantom.fields import Array, along, random_field
from gliomap.data.phantom.head import Head
from gliomap.data.phantom.physics import Acquisition

BIAS_PARTS = ((.8, 95.0), (.45, 45.0))  # weight and spacing (mm) of the random fields in the log bias
BRIGHTEST = 32000  # int16


def acquire(rng: np.random.Generator, head: Head, signal: Array, series: Acquisition) -> NDArray[np.int16]:
    """Image of a signal (at the voxels inside, relative to white matter): int16 (head.shape), 0 outside, at least 1 in."""
    volume = _in_the_coil(rng, head, signal, series)
    interpolate = None
    if series.thickness > 1.15 * head.voxel:
        size = volume.shape[series.axis]
        measure, interpolate = slice_profile(size, head.voxel, series.thickness, rng.random())
        volume = along(measure, volume, series.axis)
    volume = _rician(rng, volume, series, head.voxel)
    if interpolate is not None:
        volume = along(interpolate, volume, series.axis)
    image = _stored(volume, series)
    image[~head.mask] = 0
    return head.uncrop(image)


def acquire_thick(
    rng: np.random.Generator, head: Head, signal: Array, series: Acquisition, mask: NDArray[np.bool_]
) -> NDArray[np.int16]:
    """As `acquire`, for axial slices that stay as thick as they are: int16, 0 outside `mask` (x, y, number of slices).

    A slice averages `series.thickness` mm, which may overlap its neighbours. Voxels of 1 mm in the plane only.
    """
    volume = _in_the_coil(rng, head, signal, series)
    volume = along(thick_profile(head.axes[2], head.shape[2], mask.shape[2], series.thickness), volume, 2)
    image = _stored(_rician(rng, volume, series, head.voxel), series)
    whole = np.zeros(mask.shape, np.int16)
    whole[head.box[0], head.box[1]] = image
    return np.where(mask, whole, np.int16(0))


def thick_profile(z: NDArray, depth: int, count: int, thickness: float) -> Array:
    """Averaging of planes at `z` (mm) over `count` slices of a volume of `depth` mm: (count, len(z)).

    Rows sum to 1, also where a slice reaches beyond the planes.
    """
    apart = -(-depth // count)
    centres = np.arange(count) * apart + (apart - 1) / 2
    away = np.abs(z[None] - centres[:, None])
    measure = np.clip(1 - np.maximum(away - (thickness - 1) / 2, 0), 0, 1)
    lost = measure.sum(1) < 1e-3
    measure[lost, away[lost].argmin(1)] = 1
    return (measure / measure.sum(1, keepdims=True)).astype(np.float32)


def thick_labels(labels: NDArray[np.uint8], slices: int) -> NDArray[np.uint8]:
    """Labels (x, y, z) of 1 mm on slices of `slices` mm: where half or more is labelled, the most frequent label."""
    padded = np.pad(labels, [(0, 0), (0, 0), (0, -labels.shape[2] % slices)])
    planes = [np.ascontiguousarray(padded[:, :, k::slices]) for k in range(slices)]
    found = np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1
    thick, most, total = (np.zeros(planes[0].shape, np.uint8) for _ in range(3))
    for value in found:
        count = sum(((plane == value).astype(np.uint8) for plane in planes), np.zeros_like(total))
        thick[count > most] = value
        most, total = np.maximum(most, count), total + count
    return np.where(2 * total >= slices, thick, np.uint8(0))


def _in_the_coil(rng: np.random.Generator, head: Head, signal: Array, series: Acquisition) -> Array:
    """The signal as a volume (head.box) with bias field and in-plane resolution."""
    volume = head.volume(signal)
    broad, narrow = (weight * random_field(rng, head.axes, spacing) for weight, spacing in BIAS_PARTS)
    volume *= np.exp(series.bias * (broad + narrow))
    for axis in (a for a in range(3) if a != series.axis):
        hard = series.gibbs and axis == (0 if series.axis else 1)
        volume = along(point_spread(volume.shape[axis], head.voxel, series.inplane, hard), volume, axis)
    return volume


def _stored(volume: Array, series: Acquisition) -> NDArray[np.int16]:
    return np.rint(np.clip(volume * np.float32(series.gain), 1, BRIGHTEST)).astype(np.int16)


def point_spread(n: int, voxel: float, resolution: float, hard: bool) -> Array:
    """In-plane point spread (n, n) of a k-space window at the acquired `resolution` (mm); a hard edge gives Gibbs ringing.

    Rows sum to 1.
    """
    k = np.fft.fftfreq(2 * n, voxel)
    cut = .5 / max(resolution, voxel * .85)
    window = 1 / (1 + np.exp((np.abs(k) - cut) / (.006 if hard else .045)))
    window *= np.exp(-(k / cut) ** 2 * (.08 if hard else .30))
    kernel = np.real(np.fft.ifft(window))
    i = np.arange(n)
    matrix = kernel[(i[:, None] - i[None]) % (2 * n)]
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def slice_profile(n: int, voxel: float, thickness: float, offset: float) -> tuple[Array, Array]:
    """Averaging over slices of `thickness` mm (slices, n), and linear interpolation back (n, slices); rows sum to 1.

    `offset` (0..1): position of the first slice in units of the thickness.
    """
    slices = max(2, int(np.ceil((n * voxel + thickness) / thickness)))
    centres = (np.arange(slices) - .5 + offset) * thickness
    x = (np.arange(n) + .5) * voxel
    measure = np.clip(1 - np.maximum(np.abs(x[None] - centres[:, None]) - thickness / 2, 0) / voxel, 0, 1)
    measure[measure.sum(1) < 1e-3, 0 if offset < .5 else -1] = 1  # a slice beyond the box sees its border
    measure /= measure.sum(1, keepdims=True)
    back = np.clip(1 - np.abs(x[:, None] - centres[None]) / thickness, 0, 1)
    back /= back.sum(1, keepdims=True)
    return measure.astype(np.float32), back.astype(np.float32)


def _rician(rng: np.random.Generator, volume: Array, series: Acquisition, voxel: int) -> Array:
    """Magnitude of the volume with complex Gaussian noise at the acquired resolution."""
    sigma = 1.0 / series.snr
    real = rng.standard_normal(volume.shape, dtype=np.float32) * np.float32(sigma * 1.25)
    if voxel == 1:
        real = ndimage.uniform_filter1d(real, 2, axis=0 if series.axis else 1, mode="wrap")
    imaginary = np.roll(real, volume.shape[1] // 2 + 3, 1)  # far enough to be independent, and half the cost
    return np.sqrt((volume + real) ** 2 + imaginary * imaginary)
