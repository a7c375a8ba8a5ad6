"""Samplers: generators of (t, x), the time just reached and the state there. They know of the model only a `Denoise`.

`times` is a schedule's grid, or a part of it, and x (B, ...) a state at times[0]. Deterministic samplers also walk towards
more noise: give them ascending times (without the clean one, where nothing can be predicted). Stochastic ones ask
draw(k) -> N(0, 1) shaped like x for the k-th noise of the walk, k = 0, 1, ...; see Noise.draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from gliomap.diffusion.denoiser import Denoise, Prediction, state
from gliomap.diffusion.schedule import Schedule, column, diffuse, posterior

Draw = Callable[[int], Tensor]
Walk = Iterator[tuple[Tensor, Tensor]]
Variance = Literal["large", "small", "learned"]
Found = TypeVar("Found")


def last(walk: Iterable[tuple[Tensor, Found]]) -> Found:
    """The final state of a walk. ValueError if it makes no step."""
    end = None
    for end in walk:  # noqa: B007
        pass
    if end is None:
        raise ValueError("a walk needs at least two times")
    return end[1]


@torch.no_grad()
def ddim(denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Walk:
    """Deterministic DDIM, eta = 0 (Song et al. 2021, Eq. 12): x_u = alpha_u x0 + sigma_u eps. One evaluation a step.

    With ascending times it is the inversion (encoding) of the same paper, section 4.3.
    """
    x = state(x)
    for step in _steps(times, schedule):
        p = _ask(denoise, x, step.t)
        x = step.alpha_to * p.x0 + step.sigma_to * p.eps
        yield step.to, x


@torch.no_grad()
def ancestral(
    denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule, draw: Draw, variance: Variance = "large"
) -> Walk:
    """DDPM's stochastic sampling (Ho et al. 2020, Alg. 2), also over a part of the levels. Step k uses draw(k).

    variance: "large" = beta, "small" = tilde beta, "learned" = between them by Prediction.v. No noise on a step to clean.
    """
    q = posterior(schedule, times[:-1].cpu(), times[1:].cpu())
    x = state(x)
    for k, step in enumerate(_steps(times, schedule)):
        p = _ask(denoise, x, step.t)
        x = q.of_x0[k].item() * p.x0 + q.of_x[k].item() * x
        if step.sigma_to > 0:
            x = x + _deviation(p, q.large[k].item(), q.small[k].item(), variance) * draw(k)
        yield step.to, x


@torch.no_grad()
def predictor_corrector(
    denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule, draw: Draw, snr: float, corrections: int = 1
) -> Walk:
    """Song et al. 2021, Alg. 2 and 4: Langevin corrections first, then a reverse diffusion step (TSGM spec 4).

    The step size of a correction, 2 (snr |noise| / |score|)^2, is taken per image, so that images do not depend on each
    other. The last step, to clean, returns the mean. corrections + 1 evaluations a step. In x/alpha, so that it also
    serves VP models; for VE that is x.
    """
    number = iter(range((corrections + 1) * len(times)))
    x = state(x)
    for step in _steps(times, schedule):
        x, sigma, sigma_to = x / step.alpha, step.sigma / step.alpha, step.sigma_to / step.alpha_to
        for _ in range(corrections):
            score, z = _ask(denoise, step.alpha * x, step.t).eps / -sigma, draw(next(number))
            size = column(2 * (snr * _norm(z) / _norm(score)) ** 2, x)
            x = x + size * score + (2 * size).sqrt() * z
        variance = sigma**2 - sigma_to**2
        x = x - variance / sigma * _ask(denoise, step.alpha * x, step.t).eps
        if sigma_to > 0:
            x = x + math.sqrt(variance) * draw(next(number))
        x = step.alpha_to * x
        yield step.to, x


@torch.no_grad()
def heun(denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Walk:
    """Second order on the probability flow (Karras et al. 2022, Alg. 1): d(x/alpha) = eps d(sigma/alpha).

    Two evaluations a step, one where the step ends clean.
    """
    x = state(x)
    for step in _steps(times, schedule):
        change = step.sigma_to / step.alpha_to - step.sigma / step.alpha
        slope = _ask(denoise, x, step.t).eps
        x = x / step.alpha
        if step.sigma_to > 0:
            slope = (slope + _ask(denoise, step.alpha_to * (x + change * slope), step.to).eps) / 2
        x = step.alpha_to * (x + change * slope)
        yield step.to, x


@torch.no_grad()
def dpm_solver_2m(denoise: Denoise, x: Tensor, times: Tensor, schedule: Schedule) -> Walk:
    """DPM-Solver++(2M) (Lu et al. 2022, Alg. 2), second order in lambda = log(alpha/sigma). One evaluation a step.

    The first step, and a step that ends clean, are of first order.
    """
    before, x0_before = math.nan, None  # the last step's change of lambda, and its x0
    x = state(x)
    for step in _steps(times, schedule):
        x0 = estimate = _ask(denoise, x, step.t).x0
        change = _half_log_snr(step.alpha_to, step.sigma_to) - _half_log_snr(step.alpha, step.sigma)
        if x0_before is not None and step.sigma_to > 0:
            estimate = x0 + change / (2 * before) * (x0 - x0_before)
        x = step.sigma_to / step.sigma * x - step.alpha_to * math.expm1(-change) * estimate
        before, x0_before = change, x0
        yield step.to, x


@torch.no_grad()
def renoise(
    denoise: Callable[[Tensor, Tensor], Found], x0: Tensor, times: Tensor, schedule: Schedule, draw: Draw
) -> Iterator[tuple[Tensor, Found]]:
    """AnoFPDM's forward process (spec 4.1 a): yields (t, denoise(x_t, t)) with x_t = alpha_t x0 + sigma_t draw(k).

    Every x_t is made of the same x0, at each of `times` in their order, one evaluation each. For one noise at all times
    let draw ignore k. `denoise` may return more than a Prediction, such as one under each of two labels.
    """
    x0 = state(x0)
    for k, t in enumerate(times):
        x = diffuse(x0, draw(k), t, schedule)
        yield t, _ask(denoise, x, t)


class Step(NamedTuple):
    """A move from time t with (alpha, sigma) to time `to`."""

    t: Tensor
    to: Tensor
    alpha: float
    sigma: float
    alpha_to: float
    sigma_to: float


def _steps(times: Tensor, schedule: Schedule) -> Iterator[Step]:
    times = times.cpu()
    alpha, sigma = (values.tolist() for values in schedule.marginal(times))
    if 0 in sigma[:-1]:
        raise ValueError("a walk cannot leave the clean time: nothing can be predicted there")
    return map(Step, times[:-1], times[1:], alpha[:-1], sigma[:-1], alpha[1:], sigma[1:])


def _ask(denoise: Callable[[Tensor, Tensor], Found], x: Tensor, t: Tensor) -> Found:
    """The denoiser's answer with time t for all of x."""
    return denoise(x, t.to(x.device).expand(len(x)))


def _deviation(p: Prediction, large: float, small: float, variance: Variance) -> Tensor | float:
    """Standard deviation of an ancestral step's noise."""
    if variance == "learned":
        return (0.5 * (p.v * math.log(large) + (1 - p.v) * math.log(small))).exp()
    return math.sqrt(large if variance == "large" else small)


def _half_log_snr(alpha: float, sigma: float) -> float:
    return math.log(alpha / sigma) if sigma > 0 else math.inf


def _norm(x: Tensor) -> Tensor:
    """(B,): Euclidean norm of each image."""
    return x.flatten(1).norm(dim=1)
