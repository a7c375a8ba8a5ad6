"""The input configurations of TSGM (TSGM spec 1.4), the scales of its networks' images, and what a restoration changed.

`single` is the paper's main one: every (slice, modality) pair is an image of its own, and one network sees all of them
without being told the modality. `flair` and `t2` see that modality alone, `multi` the four as the channels of one image.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.diffusion.noise import Noise
from gliomap.engine.scorer import Scores

Variant = Literal["single", "flair", "t2", "multi"]


def modalities_of(variant: Variant, available: tuple[str, ...] = MODALITIES) -> tuple[str, ...]:
    """What the variant looks at of the modalities that are there, in the order of MODALITIES.

    flair, t2 and multi need theirs whatever is available: the reader of the slices refuses what is not there.
    """
    if variant == "single":
        return tuple(name for name in MODALITIES if name in available)
    return MODALITIES if variant == "multi" else (variant,)


def channels(variant: Variant) -> int:
    """Channels of the variant's images: 4 of multi, else 1."""
    return len(MODALITIES) if variant == "multi" else 1


def to_unit(images: Tensor, background: float) -> Tensor:
    """The images in [0, 1], background 0; same shape. background: the slices', -1 of images in [-1, 1].

    UserError if it is neither -1 nor 0: then the recipe's images have no fixed range.
    """
    if background == -1:
        return (images + 1) / 2
    if background == 0:
        return images
    expected = "expected -1 (images in [-1, 1]) or 0 (in [0, 1])"
    raise UserError(f"recipe.json: background is {background:g}, {expected} for TSGM; take recipe common or tsgm")


def minmax(images: Tensor) -> Tensor:
    """(B, C, H, W): each image of each channel by its own minimum and maximum to 0..1; a constant image becomes 0.

    What the released code does to every image that it loads (spec 1.2).
    """
    low, high = images.amin((2, 3), keepdim=True), images.amax((2, 3), keepdim=True)
    return (images - low) / torch.where(high > low, high - low, torch.ones_like(high))


def split(x: Tensor, variant: Variant) -> Tensor:
    """(B * M, 1, H, W) of (B, M, H, W) for `single`, slice by slice, modalities in order; unchanged otherwise."""
    return x.reshape(-1, 1, *x.shape[2:]) if variant == "single" else x


def join(x: Tensor, batch: int) -> Tensor:
    """(B, M, H, W): the inverse of `split`, for `batch` slices."""
    return x.reshape(batch, -1, *x.shape[2:])


def drawn(x: Tensor, noise: Noise, rows: Tensor, step: int, name: str) -> Tensor:
    """(B, 1, H, W): one modality of each slice of x (B, M, H, W), drawn by noise under `name`, for training `single`."""
    chosen = noise.integers(name, rows, step, 0, x.shape[1]).to(x.device)
    return x[torch.arange(len(x), device=x.device), chosen][:, None]


def against(y: Tensor, restored: Tensor, brain: Tensor, evaluations: Tensor) -> Scores:
    """Scores of slices y and their restorations, both (B, M, H, W) in units of [0, 1] images.

    extra: `restored`, limited to [0, 1], and `residual` = |y - restored| over the whole image; float16 (B, M, H, W).
    The map is the mean residual over the modalities, inside the brain (B, H, W).
    """
    restored = restored.clamp(0, 1)
    residual = (y - restored).abs()
    extra = {"residual": residual.half(), "restored": restored.half()}
    return Scores(residual.mean(1) * brain, evaluations, extra=extra)
