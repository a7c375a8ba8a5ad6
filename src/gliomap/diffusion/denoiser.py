"""From a network to a `Denoise`, the only thing that samplers and guidance know: (x, t) -> Prediction. And the loss.

The state and all arithmetic on it are float32 (float64 where the state is), also under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gliomap.diffusion.schedule import VP, Schedule, column, diffuse, posterior

NULL = -1  # the label that says: no label. A value like any other, not a switch
HALF_BIN = 1 / 255  # half the distance of two of 256 grey levels in [-1, 1]
Target = Literal["eps", "x0"]
Clip = tuple[float, float]


class Prediction(NamedTuple):
    """What a denoiser says of x_t. Both estimates, always consistent: x_t = alpha_t x0 + sigma_t eps. Shapes as x_t.

    v: the learned share of log beta in the log variance of an ancestral step, log var = v log beta + (1 - v) log tilde
    beta (Nichol & Dhariwal 2021, Eq. 15). As a share it also serves steps that skip levels. None where nothing is learned.
    """

    x0: Tensor
    eps: Tensor
    v: Tensor | None = None


Denoise = Callable[[Tensor, Tensor], Prediction]  # (x (B, ...), t (B,)) -> Prediction, its condition already bound


def state(x: Tensor) -> Tensor:
    """x in the type that images are computed with: float32, or float64 where x has it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def predict(out: Tensor, x: Tensor, t: Tensor, schedule: Schedule, target: Target, clip: Clip | None = None) -> Prediction:
    """The Prediction at x (B, ...), t (B,) that belongs to `out`, an estimate of the `target`.

    `clip` = (low, high) limits x0 and nothing else; eps is then derived again from the clipped x0.
    """
    alpha, sigma = (column(value, x) for value in schedule.marginal(t))
    x0 = out if target == "x0" else (x - sigma * out) / alpha
    if clip is not None:
        x0 = x0.clamp(*clip)
    eps = out if target == "eps" and clip is None else (x - alpha * x0) / sigma
    return Prediction(x0, eps)


class Denoiser:
    """The only caller of a diffusion network: net(x, label of t), or net(x, label of t, class label).

    The condition image is concatenated after the noisy channels. With `learned_variance` the network has twice the
    image's channels: the target, then 2 v - 1.
    """

    def __init__(
        self,
        net: Callable[..., Tensor],
        schedule: Schedule,
        target: Target = "eps",
        clip: Clip | None = None,
        learned_variance: bool = False,
    ) -> None:
        """`clip`: limits of x0 in predictions (never in the loss). Learned variance needs the levels of a VP schedule."""
        if learned_variance and not isinstance(schedule, VP):
            raise ValueError("learned_variance needs a VP schedule")
        self.net, self.schedule, self.target, self.clip = net, schedule, target, clip
        self.learned_variance = learned_variance

    def bind(self, image: Tensor | None = None, label: Tensor | int | None = None) -> Denoise:
        """The denoiser under a condition: image (B, C, H, W), never noised; label int64 (B,), or one for all, or NULL."""

        def denoise(x: Tensor, t: Tensor) -> Prediction:
            x = state(x)
            out, v = self._call(x, t, image, label)
            return predict(out, x, t, self.schedule, self.target, self.clip)._replace(v=v)

        return denoise

    def loss(
        self, x0: Tensor, eps: Tensor, t: Tensor, image: Tensor | None = None, label: Tensor | int | None = None
    ) -> Tensor:
        """float32 scalar: the mean of `losses`."""
        return self.losses(x0, eps, t, image, label).mean()

    def losses(
        self, x0: Tensor, eps: Tensor, t: Tensor, image: Tensor | None = None, label: Tensor | int | None = None
    ) -> Tensor:
        """float32 (B,): mean squared error of the network's own target at x_t, t (B,), over channels and pixels.

        With learned variance plus T/1000 times the level's variational bound: weight 1/1000 for the sum over all T levels
        (Nichol & Dhariwal 2021, Eq. 16). The bound teaches the variance only.
        """
        x0, eps = state(x0), state(eps)
        x = diffuse(x0, eps, t, self.schedule)
        out, v = self._call(x, t, image, label)
        error = F.mse_loss(out, x0 if self.target == "x0" else eps, reduction="none").flatten(1).mean(1)
        if v is None:
            return error
        mean_of = predict(out.detach(), x, t, self.schedule, self.target)._replace(v=v)
        return error + self.schedule.T / 1000 * variational_bound(mean_of, x0, x, t, self.schedule)

    def _call(self, x: Tensor, t: Tensor, image: Tensor | None, label: Tensor | int | None) -> tuple[Tensor, Tensor | None]:
        """(estimate of the target, v or None), in the type of x."""
        inputs = x if image is None else torch.cat([x, image.to(x)], dim=1)
        time = self.schedule.label(t).to(x.device)
        arguments = [inputs, time.to(x.dtype) if time.is_floating_point() else time]
        if label is not None:
            arguments.append(torch.as_tensor(label, device=x.device).expand(len(x)))
        out = self.net(*arguments).to(x.dtype)
        if not self.learned_variance:
            return out, None
        out, share = out.chunk(2, dim=1)
        return out, (share + 1) / 2


def variational_bound(prediction: Prediction, x0: Tensor, x: Tensor, t: Tensor, schedule: VP) -> Tensor:
    """(B,): term of the variational bound at level t, in bits per dimension (Nichol & Dhariwal 2021, Eq. 4 to 7).

    KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)); at t = 0 the negative log likelihood of x0 in 256 grey levels of [-1, 1].
    """
    of_x0, of_x, large, small = posterior(schedule, t, t - 1)
    first = posterior(schedule, torch.ones_like(t), torch.zeros_like(t)).small
    floor = column(torch.where(t == 0, first, small).log(), x)  # tilde beta is 0 at t = 0; its log is taken from t = 1
    logvar = prediction.v * column(large.log(), x) + (1 - prediction.v) * floor
    distance = column(of_x0, x) * (x0 - prediction.x0)
    divergence = 0.5 * (logvar - floor - 1 + (floor - logvar).exp() + distance.square() * (-logvar).exp())
    mean = column(of_x0, x) * prediction.x0 + column(of_x, x) * x
    terms = torch.where(column(t, x) == 0, _grey_level_nll(x0, mean, logvar), divergence)
    return terms.flatten(1).mean(1) / math.log(2)


def _grey_level_nll(x0: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """-log of the probability that N(mean, exp(logvar)) gives to the grey level of x0; the outermost levels are open."""
    inverse = (-0.5 * logvar).exp()
    upper = torch.special.ndtr((x0 - mean + HALF_BIN) * inverse)
    lower = torch.special.ndtr((x0 - mean - HALF_BIN) * inverse)
    upper = torch.where(x0 > 1 - HALF_BIN / 2, 1.0, upper)
    lower = torch.where(x0 < -1 + HALF_BIN / 2, 0.0, lower)
    return -(upper - lower).clamp_min(1e-12).log()
