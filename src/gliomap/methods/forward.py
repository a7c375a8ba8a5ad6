"""AnoFPDM's forward process as a stream over noise levels (spec 4.2 to 4.6, 4.9): memory does not grow with the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gliomap.diffusion.denoiser import Prediction

Reference = Literal["null", "healthy"]
Divergence = Literal["absolute", "squared"]
EndStep = Literal["included", "excluded"]


@dataclass(frozen=True)
class Rules:
    """How predictions become errors, divergence and end step.

    w: guidance weights. channels: of the network's channels, those that count. fixed: positions of steps up to which a
    map is kept besides the slice's own end step.
    """

    w: tuple[float, ...]
    reference: Reference  # the prediction that x_h is compared with: without label, or of label healthy without guidance
    divergence: Divergence  # per pixel: |S_h - S_ref|, or the squared difference of the predictions
    end_step: EndStep  # whether the step of the largest divergence is part of the map
    channels: tuple[int, ...]
    fixed: tuple[int, ...]


class Forward:
    """Takes the predictions at k_0, k_1, ... in this order, `add` by `add`, and keeps what maps and decisions need.

    For B slices, W weights, m channels: best (B, W, m), the largest divergence so far; end (B, W, m), its position i;
    snapshot and counted, sum and number of the steps that are part of the map. curve_h (B, W), curve_ref (B): one entry
    a step. fixed: sums at the positions in Rules.fixed, first weight.
    """

    def __init__(self, x0: Tensor, rules: Rules) -> None:
        """x0: (B, C, H, W), the slices in [-1, 1]."""
        self.rules = rules
        self.x0 = x0[:, None, list(rules.channels)]  # (B, 1, m, H, W)
        b, _, m, h, w = self.x0.shape
        count = len(rules.w)
        self.w = torch.tensor(rules.w, device=x0.device).view(1, -1, 1, 1, 1)
        self.sum = torch.zeros(b, count, m, h, w, device=x0.device)
        self.snapshot = torch.zeros_like(self.sum)
        self.restored = self.x0.expand(b, count, m, h, w).clone()  # x_h at the end step
        self.best = torch.full((b, count, m), -torch.inf, device=x0.device)
        self.end = torch.zeros(b, count, m, dtype=torch.int64, device=x0.device)
        self.curve_h: list[Tensor] = []
        self.curve_ref: list[Tensor] = []
        self.fixed: dict[int, Tensor] = {}

    def predictions(self, c: Prediction, n: Prediction) -> tuple[Tensor, Tensor]:
        """(x_h (B, W, m, H, W), x_ref (B, 1, m, H, W)), clipped: Eq. 4 and 5 in terms of x0, where guidance is the same."""
        of_c, of_n = (p.x0[:, None, list(self.rules.channels)] for p in (c, n))
        x_h = (1 + self.w) * of_c - self.w * of_n
        x_ref = of_n if self.rules.reference == "null" else of_c
        return x_h.clamp(-1, 1), x_ref.clamp(-1, 1)

    def add(self, c: Prediction, n: Prediction) -> tuple[Tensor, Tensor]:
        """The next step's predictions under label healthy and under none. Returns its errors (S_h, S_ref), as x_h, x_ref."""
        i = len(self.curve_ref)
        x_h, x_ref = self.predictions(c, n)
        s_h, s_ref = (x_h - self.x0).square(), (x_ref - self.x0).square()
        gap = (s_h - s_ref).abs() if self.rules.divergence == "absolute" else (x_h - x_ref).square()
        self._update_end(gap.mean((-2, -1)), i, s_h, x_h)
        self.sum += s_h
        self.curve_h.append(s_h.mean((2, 3, 4)))
        self.curve_ref.append(s_ref.mean((1, 2, 3, 4)))
        if i in self.rules.fixed:
            self.fixed[i] = self.sum[:, 0].mean(1) / (i + 1)
        return s_h, s_ref

    def _update_end(self, divergence: Tensor, i: int, s_h: Tensor, x_h: Tensor) -> None:
        """First maximiser of the divergence M_k[m] (B, W, m), each channel by itself (Eq. 6, spec D7)."""
        higher = divergence > self.best
        self.best = torch.where(higher, divergence, self.best)
        self.end = torch.where(higher, i, self.end)
        where = higher[..., None, None]
        now = self.sum + s_h if self.rules.end_step == "included" else self.sum
        self.snapshot = torch.where(where, now, self.snapshot)
        self.restored = torch.where(where, x_h, self.restored)

    def maps(self) -> Tensor:
        """(B, W, m, H, W): A_m, the mean of S_h up to the end step. All 0 where that is the first step and excluded."""
        counted = self.end + 1 if self.rules.end_step == "included" else self.end.clamp_min(1)
        return self.snapshot / counted[..., None, None]

    def cosine(self) -> Tensor:
        """(B, W): cosine of the curves of S_h and S_ref over all steps (spec 4.4); low for slices with tumour."""
        a, b = torch.stack(self.curve_h, -1).double(), torch.stack(self.curve_ref, -1).double()[:, None]
        return ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-6)).float()


def quantiles(maps: Tensor, levels: Tensor) -> Tensor:
    """(B, W, m, n): quantiles of each map (B, W, m, H, W) over all pixels of the image, linear interpolation (spec 4.7)."""
    flat = maps.flatten(-2).sort(-1).values
    at = levels.to(flat) * (flat.shape[-1] - 1)
    below = at.floor().long()
    share = at - below
    low, high = flat[..., below], flat[..., (below + 1).clamp_max(flat.shape[-1] - 1)]
    return low + share * (high - low)
