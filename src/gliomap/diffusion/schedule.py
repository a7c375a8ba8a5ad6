"""Noise schedules in data coordinates, x_t = alpha_t x0 + sigma_t eps, and what follows from them alone.

A schedule is immutable and in float64; who computes with images casts its numbers at the very end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from gliomap.base.errors import UserError
from gliomap.base.params import number

CLEAN = -1  # the time at which alpha = 1, sigma = 0; any negative time is clean
RHO = 7.0  # of the "karras" spacing (Karras et al. 2022, Eq. 5)
Spacing = Literal["leading", "trailing", "linspace", "karras"]


class Schedule(Protocol):
    """What denoisers and samplers know of a schedule. Times t are tensors of any shape."""

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), float64, shape and device of t."""
        ...

    def label(self, t: Tensor) -> Tensor:
        """What the network is told for time t; same shape."""
        ...

    def draw(self, u: Tensor) -> Tensor:
        """Training times made of u, uniform in [0, 1); same shape."""
        ...

    def grid(self, steps: int, spacing: Spacing) -> Tensor:
        """(steps + 1,): descending times from the noisiest on, CLEAN at the end."""
        ...


@dataclass(frozen=True)
class VP:
    """Variance preserving, linear betas (Ho et al. 2020): t = 0 .. T-1 is an index, alpha_t^2 = prod_{s<=t} (1 - beta_s).

    alpha^2 + sigma^2 = 1. The network is told the index.
    """

    T: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    _abar: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.T < 2 or not 0 < self.beta_min <= self.beta_max < 1:
            found = f"T = {self.T}, beta from {self.beta_min} to {self.beta_max}"
            raise UserError(f"noise schedule: found {found}, expected T >= 2 and 0 < beta_min <= beta_max < 1; mend them")
        betas = torch.linspace(self.beta_min, self.beta_max, self.T, dtype=torch.float64)
        object.__setattr__(self, "_abar", torch.cumprod(1 - betas, 0))

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(abar_t), sqrt(1 - abar_t)), float64; t is int64, below 0 clean. IndexError beyond T - 1."""
        abar = self._abar.to(t.device)[t.clamp_min(0)]
        abar = torch.where(t < 0, 1.0, abar)
        return abar.sqrt(), (1 - abar).sqrt()

    def label(self, t: Tensor) -> Tensor:
        """The index itself."""
        return t

    def draw(self, u: Tensor) -> Tensor:
        """int64, uniform on 0 .. T-1."""
        return (u.double() * self.T).long()

    def grid(self, steps: int, spacing: Spacing) -> Tensor:
        """int64 (steps + 1,), descending, distinct, -1 at the end. UserError unless 1 <= steps <= T.

        leading: floor(i T / steps), from 0 up, as the DDIM code: 990, 980 .. 0 for 100 of 1000; starts below T - 1.
        trailing: from T - 1 down with stride T / steps (Lin et al. 2024). linspace: both ends, rounded.
        karras: even in (sigma/alpha)^(1/7), rounded to the nearest free index (Karras et al. 2022, Eq. 5).
        """
        if not 1 <= steps <= self.T:
            raise UserError(f"sampling steps are {steps}, expected 1 .. {self.T}, the number of noise levels; mend them")
        i = torch.arange(steps, dtype=torch.int64)
        if spacing == "leading":
            times = i * self.T // steps
        elif spacing == "trailing":
            times = (self.T * (i + 1) / steps).round().long() - 1
        elif spacing == "linspace":
            times = torch.linspace(self.T - 1, 0, steps, dtype=torch.float64).round().long().flip(0)
        elif spacing == "karras":
            times = self._karras(steps)
        else:
            raise _unknown_spacing(spacing, "leading, trailing, linspace, karras")
        return torch.cat([times.flip(0), torch.tensor([CLEAN])])

    def _karras(self, steps: int) -> Tensor:
        """int64 (steps,), ascending and distinct."""
        known = ((1 - self._abar) / self._abar).sqrt().log()
        wanted = _karras(known[0].exp().item(), known[-1].exp().item(), steps).log().flip(0)
        above = torch.searchsorted(known, wanted).clamp(1, self.T - 1)
        share = (wanted - known[above - 1]) / (known[above] - known[above - 1])
        i = torch.arange(steps)
        times = ((above - 1 + share).round().long() - i).cummax(0).values + i
        return torch.minimum(times, self.T - steps + i)


@dataclass(frozen=True)
class Diffusion:
    """A section `diffusion` of params.yaml: linear betas."""

    steps: int = number(min=2)  # T, noise levels
    beta_min: float = number(min=0, max=1)  # variance of the first level's noise
    beta_max: float = number(min=0, max=1)  # and of the last one's

    def schedule(self) -> VP:
        """The noise schedule."""
        return VP(self.steps, self.beta_min, self.beta_max)


@dataclass(frozen=True)
class VE:
    """Variance exploding (Song et al. 2021): alpha = 1, sigma_t = sigma_min (sigma_max/sigma_min)^t, t real in [0, 1].

    The network is told sigma. Training times are uniform in [0, 1); the code's lower end 1e-5 moves sigma by 0.01 %.
    """

    sigma_min: float
    sigma_max: float

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max:
            found = f"sigma from {self.sigma_min} to {self.sigma_max}"
            raise UserError(f"noise schedule: found {found}, expected 0 < sigma_min < sigma_max; mend them")

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(1, sigma_t), float64; sigma = 0 where t is below 0."""
        t = t.double()
        sigma = torch.where(t < 0, 0.0, self.sigma_min * torch.exp(t * self._log_ratio))
        return torch.ones_like(sigma), sigma

    def label(self, t: Tensor) -> Tensor:
        """sigma_t, float64."""
        return self.marginal(t)[1]

    def draw(self, u: Tensor) -> Tensor:
        """float64: u itself."""
        return u.double()

    def grid(self, steps: int, spacing: Spacing) -> Tensor:
        """float64 (steps + 1,), descending from 1, -1 at the end. UserError unless steps >= 1 and the spacing is known.

        linspace: `steps` levels from sigma_max to sigma_min, geometric (the discrete levels of Song's code).
        karras: even in sigma^(1/7) (Karras et al. 2022, Eq. 5).
        """
        if steps < 1:
            raise UserError(f"sampling steps are {steps}, expected 1 or more; mend them")
        if spacing == "linspace":
            times = torch.linspace(1, 0, steps, dtype=torch.float64)
        elif spacing == "karras":
            times = (_karras(self.sigma_min, self.sigma_max, steps) / self.sigma_min).log() / self._log_ratio
        else:
            raise _unknown_spacing(spacing, "linspace, karras")
        return torch.cat([times.clamp(0, 1), torch.tensor([float(CLEAN)], dtype=torch.float64)])

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)


class Posterior(NamedTuple):
    """q(x_u | x_t, x0) = N(of_x0 x0 + of_x x_t, small); large is the variance of q(x_t | x_u). float64, shape of t."""

    of_x0: Tensor
    of_x: Tensor
    large: Tensor  # beta_{t|u} = sigma_t^2 - (alpha_t/alpha_u)^2 sigma_u^2
    small: Tensor  # beta_{t|u} sigma_u^2 / sigma_t^2, the paper's tilde beta


def posterior(schedule: Schedule, t: Tensor, u: Tensor) -> Posterior:
    """The Gaussian posterior of x_u between x0 and x_t for times u less noisy than t (Ho et al. 2020, Eq. 7, respaced)."""
    (alpha_t, sigma_t), (alpha_u, sigma_u) = schedule.marginal(t), schedule.marginal(u)
    ratio = alpha_t / alpha_u
    large = sigma_t**2 - (ratio * sigma_u) ** 2
    return Posterior(alpha_u * large / sigma_t**2, ratio * sigma_u**2 / sigma_t**2, large, large * sigma_u**2 / sigma_t**2)


def diffuse(x0: Tensor, eps: Tensor, t: Tensor, schedule: Schedule) -> Tensor:
    """x_t = alpha_t x0 + sigma_t eps, shape (B, ...); t is (B,) or one time for all."""
    alpha, sigma = (column(value, x0) for value in schedule.marginal(t))
    return alpha * x0 + sigma * eps


def column(values: Tensor, like: Tensor) -> Tensor:
    """`values` (B,) or () in the type of `like` (B, ...), on its device, in a shape that multiplies its samples."""
    return values.to(like).reshape(-1, *[1] * (like.ndim - 1))


def _karras(low: float, high: float, steps: int) -> Tensor:
    """float64 (steps,): noise levels from high to low, even in their 7th root. One step: high."""
    return torch.linspace(high ** (1 / RHO), low ** (1 / RHO), steps, dtype=torch.float64) ** RHO


def _unknown_spacing(spacing: str, known: str) -> UserError:
    return UserError(f"spacing of the sampling steps is {spacing!r}, expected one of {known}; mend it")
