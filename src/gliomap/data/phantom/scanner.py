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
    volume = head.volume(signal)
    broad, narrow = (weight * random_field(rng, head.axes, spacing) for weight, spacing in BIAS_PARTS)
    volume *= np.exp(series.bias * (broad + narrow))
    for axis in (a for a in range(3) if a != series.axis):
        hard = series.gibbs and axis == (0 if series.axis else 1)
        volume = along(point_spread(volume.shape[axis], head.voxel, series.inplane, hard), volume, axis)
    interpolate = None
    if series.thickness > 1.15 * head.voxel:
        size = volume.shape[series.axis]
        measure, interpolate = slice_profile(size, head.voxel, series.thickness, rng.random())
        volume = along(measure, volume, series.axis)
    volume = _rician(rng, volume, series, head.voxel)
    if interpolate is not None:
        volume = along(interpolate, volume, series.axis)
    image = np.rint(np.clip(volume * np.float32(series.gain), 1, BRIGHTEST)).astype(np.int16)
    image[~head.mask] = 0
    return head.uncrop(image)


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
