"""Wrappers that steer a Denoise: classifier-free guidance and classifier guidance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gliomap.diffusion.denoiser import Clip, Denoise, Prediction, predict
from gliomap.diffusion.schedule import Schedule, column


def guided(cond: Denoise, null: Denoise, w: float, schedule: Schedule, clip: Clip | None = None) -> Denoise:
    """Classifier-free guidance: eps = (1 + w) eps_cond - w eps_null (Ho & Salimans 2022, Eq. 6; AnoFPDM, w = 2).

    w = 0 is `cond`, w = -1 is `null`. In the other convention, eps_null + s (eps_cond - eps_null), s = 1 + w.
    x0 follows the same rule; `clip` limits it afterwards, so `cond` and `null` should be without. v is that of `cond`.
    """

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        c, n = cond(x, t), null(x, t)
        x0, eps = (1 + w) * c.x0 - w * n.x0, (1 + w) * c.eps - w * n.eps
        found = Prediction(x0, eps) if clip is None else predict(x0, x, t, schedule, "x0", clip)
        return found._replace(v=c.v)

    return denoise


def classifier_guided(
    denoise: Denoise,
    log_probability: Callable[[Tensor, Tensor], Tensor],
    scale: float,
    schedule: Schedule,
    clip: Clip | None = None,
) -> Denoise:
    """Classifier guidance: eps - scale sigma_t grad_x log p(y | x_t) (Dhariwal & Nichol 2021, Alg. 2, for DDIM).

    log_probability(x, t) -> (B,), the classifier's log p of the wanted class; sample b may depend on x[b] only.
    scale = 0 is `denoise`. `clip` limits x0 afterwards, so `denoise` should be without.
    """

    def steered(x: Tensor, t: Tensor) -> Prediction:
        p = denoise(x, t)
        alpha, sigma = (column(value, x) for value in schedule.marginal(t))
        push = scale * sigma * _gradient(log_probability, x, t)
        x0, eps = p.x0 + sigma / alpha * push, p.eps - push
        found = Prediction(x0, eps) if clip is None else predict(x0, x, t, schedule, "x0", clip)
        return found._replace(v=p.v)

    return steered


def _gradient(log_probability: Callable[[Tensor, Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
    """Gradient of the sum of log_probability(x, t) with respect to x; also where gradients are off."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(log_probability(x, t.clone()).sum(), x)[0].to(x.dtype)
