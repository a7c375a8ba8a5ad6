"""The stripes of MMCCD (spec 2.3 and 5.1): bands of `width` pixels over the whole length of the other axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Edge = Literal["valid", "code"]


@dataclass(frozen=True)
class Stripes:
    """R stripes of a square of `size` pixels. axis, start: int64 (R,); axis 0 covers rows, axis 1 columns of the array.

    A stripe that starts less than `width` pixels before the border is cut off there.
    """

    size: int
    width: int
    axis: Tensor
    start: Tensor

    def __len__(self) -> int:
        return len(self.axis)

    def __getitem__(self, which: Tensor) -> Stripes:
        """The stripes at the places `which` (int64 or bool)."""
        return Stripes(self.size, self.width, self.axis[which], self.start[which])

    def to(self, device: torch.device) -> Stripes:
        """The same stripes on the device."""
        return Stripes(self.size, self.width, self.axis.to(device), self.start.to(device))

    @property
    def identity(self) -> Tensor:
        """int64 (R,), 0 .. 2 size - 1: a number for each stripe that does not depend on which others there are."""
        return self.axis * self.size + self.start

    @property
    def offset(self) -> Tensor:
        """int64 (R, size): place of each line of the image within the stripe, 0 .. width - 1 where it is covered."""
        return torch.arange(self.size, device=self.start.device) - self.start[:, None]

    @property
    def band(self) -> Tensor:
        """bool (R, size): lines of the image that the stripe covers."""
        return (self.offset >= 0) & (self.offset < self.width)

    @property
    def mask(self) -> Tensor:
        """bool (R, 1, size, size): True under the stripe (the paper's convention; the code's is the opposite)."""
        return self._upright(self.band[:, :, None].expand(-1, -1, self.size))

    def spread(self, values: Tensor) -> Tensor:
        """(R, 1, size, size) with values (R, width, size) under each stripe, and anything elsewhere."""
        where = self.offset.clamp(0, self.width - 1)[:, :, None].expand(-1, -1, self.size)
        return self._upright(values.gather(1, where))

    def meet(self, region: Tensor) -> Tensor:
        """bool (B, R): which stripes cover a pixel of each region (B, size, size)."""
        lines = torch.stack([(region > 0).any(2), (region > 0).any(1)], dim=1)  # (B, axis, size)
        return (lines[:, self.axis] & self.band).any(2)

    def _upright(self, lines_first: Tensor) -> Tensor:
        columns = (self.axis == 1)[:, None, None]
        return torch.where(columns, lines_first.transpose(1, 2), lines_first)[:, None]


def every_stripe(size: int, width: int, stride: int, edge: Edge) -> Stripes:
    """All stripes, rows first: starts 0, stride, 2 stride, ... on both axes.

    "valid": while the whole stripe fits, and one flush with the border where the stride leaves a rest (the paper: 114 at
    128 px, width 16, stride 2). "code": up to the last line, the last ones cut off (the released code: 128).
    """
    last = size - width if edge == "valid" else size - 1
    starts = list(range(0, last + 1, stride))
    if edge == "valid" and starts[-1] != last:
        starts.append(last)
    axis = torch.arange(2).repeat_interleave(len(starts))
    return Stripes(size, width, axis, torch.tensor(starts).repeat(2))
