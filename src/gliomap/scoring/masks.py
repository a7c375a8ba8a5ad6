"""From anomaly map to mask. The same steps, with the same values, for every method, before calibration and evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from gliomap.base.params import number

DIAGONAL = np.ones((3, 3), bool)  # 8-connectivity within a slice, as in the released TSGM and AnoFPDM code


@dataclass(frozen=True)
class Postprocess:
    """What is done to every method's map and mask."""

    erode_mm: float = number(min=0)  # the brain mask is eroded by a disk of this radius; 0 = the whole brain counts
    median_px: int = number(min=0)  # side of the median filter on the map; 0 = off
    component_px: int = number(min=0)  # components of at most this many pixels leave the mask; 0 = off


UNTOUCHED = Postprocess(erode_mm=0.0, median_px=0, component_px=0)  # for papers that score what they have as it is


def disk(radius_px: float) -> np.ndarray:
    """bool (2 r + 1, 2 r + 1), r = floor(radius): pixels whose centre is at most `radius_px` from the middle.

    For whole radii it is `skimage.morphology.disk`, which the released MMCCD code erodes with.
    """
    reach = int(radius_px + 1e-9)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    return x**2 + y**2 <= radius_px**2 + 1e-9


def erode(brain: np.ndarray, radius_px: float) -> np.ndarray:
    """bool (n, H, W): each slice of `brain` eroded by a disk; what lies beyond the image counts as brain.

    The radius is in pixels: erode_mm / pixel_mm (MMCCD: 7.5 mm, 4 pixels of 1.875 mm).
    """
    brain = np.asarray(brain, bool)
    if radius_px < 1:
        return brain.copy()
    return ndimage.binary_erosion(brain, disk(radius_px)[None], border_value=1)


def smooth(maps: np.ndarray, size: int) -> np.ndarray:
    """(n, H, W): each slice median-filtered with a `size` x `size` window; unchanged if `size` is 0 or 1."""
    return ndimage.median_filter(maps, size=(1, size, size)) if size > 1 else maps


def drop_small(mask: np.ndarray, largest: int) -> np.ndarray:
    """bool (n, H, W): `mask` without its 8-connected components (per slice) of at most `largest` pixels."""
    mask = np.asarray(mask, bool)
    if largest < 1 or not mask.any():
        return mask
    labels, count = ndimage.label(mask, np.stack([np.zeros_like(DIAGONAL), DIAGONAL, np.zeros_like(DIAGONAL)]))
    keep = np.bincount(labels.ravel(), minlength=count + 1) > largest
    keep[0] = False
    return keep[labels]


def segment(maps: np.ndarray, region: np.ndarray, threshold: float, component_px: int = 0) -> np.ndarray:
    """bool (n, H, W): pixels of `region` whose score is above (not at) `threshold`, small components dropped."""
    return drop_small((maps > threshold) & region, component_px)
