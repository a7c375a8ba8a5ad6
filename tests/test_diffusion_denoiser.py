"""Denoiser, its loss and guidance: closed forms, consistency of x0 and eps, gradients, half precision."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.distributions import Normal, kl_divergence

from gliomap.diffusion.denoiser import NULL, Denoiser, Prediction, predict, variational_bound
from gliomap.diffusion.guidance import classifier_guided, guided
from gliomap.diffusion.schedule import VE, VP, column, diffuse, posterior
from gliomap.nets import unet

VPS, VES = VP(1000, 1e-4, 0.02), VE(0.01, 348.0)
SCHEDULES = [(VPS, torch.tensor([0, 400, 999])), (VES, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64))]


def images(n=3, channels=1):
    return torch.randn(n, channels, 4, 4)


def consistent(p: Prediction, x, t, schedule, atol):
    alpha, sigma = (column(v, x) for v in schedule.marginal(t))
    return torch.allclose(alpha * p.x0 + sigma * p.eps, x, atol=atol)


class Affine(nn.Module):
    """net(x, t[, label]) = weight * x + bias per output channel, bias + label; remembers what it was called with."""

    def __init__(self, out_channels=1):
        super().__init__()
        self.weight = nn.Parameter(torch.full((out_channels, 1, 1), 0.5))
        self.bias = nn.Parameter(torch.zeros(out_channels, 1, 1))
        self.calls = []

    def forward(self, x, t, label=None):
        self.calls.append((x, t, label))
        shift = 0 if label is None else label.reshape(-1, 1, 1, 1)
        return self.weight * x[:, :1] + self.bias + shift


@pytest.mark.parametrize(("schedule", "t"), SCHEDULES)
@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("clip", [None, (-1.0, 1.0), (0.0, 0.25)])
def test_x0_and_eps_are_always_consistent(schedule, t, target, clip):
    x0, eps = images(), images()
    x = diffuse(x0, eps, t, schedule)
    p = predict(images(), x, t, schedule, target, clip)
    assert consistent(p, x, t, schedule, atol=2e-4 if schedule is VES else 1e-5)
    if clip:
        assert p.x0.min() >= clip[0]
        assert p.x0.max() <= clip[1]


@pytest.mark.parametrize(("schedule", "t"), SCHEDULES)
@pytest.mark.parametrize("target", ["eps", "x0"])
def test_a_true_prediction_is_returned_as_it_is(schedule, t, target):
    x0, eps = images().double(), images().double()
    p = predict(eps if target == "eps" else x0, diffuse(x0, eps, t, schedule), t, schedule, target)
    assert torch.allclose(p.x0, x0, atol=1e-10)
    assert torch.allclose(p.eps, eps, atol=1e-10)
    assert p.v is None


def test_clipping_moves_eps_by_hand():
    """At abar = 0.07780 (t = 500): x = 0.5, eps = -2 give x0 = 8.68; clipped to 1, eps = (0.5 - 0.27892) / 0.96031."""
    p = predict(torch.full((1, 1), -2.0), torch.full((1, 1), 0.5), torch.tensor([500]), VPS, "eps", (-1, 1))
    assert (p.x0.item(), p.eps.item()) == (1.0, pytest.approx(0.23022, abs=1e-5))


def test_condition_follows_the_noisy_channels_and_is_never_noised():
    net, x, image, t = Affine(), images(), images(channels=2), torch.tensor([3, 4, 5])
    Denoiser(net, VPS).bind(image=image)(x, t)
    Denoiser(net, VPS).loss(x, images(), t, image=image)
    for inputs, time, label in net.calls:
        assert torch.equal(inputs[:, 1:], image)
        assert torch.equal(time, t)
        assert label is None
    assert torch.equal(net.calls[0][0][:, :1], x)


def test_ve_network_is_told_sigma():
    net = Affine()
    Denoiser(net, VES).bind()(images(), SCHEDULES[1][1])
    assert net.calls[0][1].dtype == torch.float32
    assert net.calls[0][1].tolist() == pytest.approx([0.01, math.sqrt(3.48), 348])


@pytest.mark.parametrize("label", [NULL, 0, 1])
def test_null_is_a_label_like_any_other(label):
    net, x, t = Affine(), images(), torch.tensor([3, 4, 5])
    p = Denoiser(net, VPS).bind(label=label)(x, t)
    assert net.calls[0][2].tolist() == [label] * 3
    assert torch.equal(p.eps, 0.5 * x + label)
    assert torch.equal(Denoiser(net, VPS).bind(label=torch.full((3,), label))(x, t).eps, p.eps)
    assert NULL == unet.NULL


@pytest.mark.parametrize(("target", "expected"), [("eps", 0.25), ("x0", 1.0)])
def test_loss_is_the_error_of_the_networks_own_target(target, expected):
    """A network that says 0, with x0 = +-1 and eps = +-1/2."""
    x0, eps = images().sign(), images().sign() / 2
    denoiser = Denoiser(lambda x, t: torch.zeros_like(x), VPS, target=target, clip=(0.9, 1.0))
    losses = denoiser.losses(x0, eps, torch.tensor([0, 500, 999]))
    assert losses.tolist() == [expected] * 3
    assert denoiser.loss(x0, eps, torch.tensor([0, 500, 999])).item() == expected


@pytest.mark.parametrize(("schedule", "t"), SCHEDULES)
def test_loss_of_the_best_linear_denoiser_of_gaussian_data(schedule, t):
    """Data N(0, c^2), Var x = alpha^2 c^2 + sigma^2: E[eps | x] = sigma x / Var x, with the error 1 - sigma^2 / Var x."""
    c, n = 0.7, 40_000
    for time in t:
        alpha, sigma = schedule.marginal(time)
        variance = (alpha * c) ** 2 + sigma**2
        net = lambda x, label, k=sigma / variance: k * x  # noqa: E731
        loss = Denoiser(net, schedule).loss(c * torch.randn(n, 1), torch.randn(n, 1), time.expand(n))
        assert loss.item() == pytest.approx((1 - sigma**2 / variance).item(), rel=0.05)


def test_losses_do_not_depend_on_the_batch():
    net, x0, eps, t = Affine(2), images(), images(), torch.tensor([0, 1, 700])
    denoiser = Denoiser(net, VPS, learned_variance=True)
    alone = torch.cat([denoiser.losses(x0[i : i + 1], eps[i : i + 1], t[i : i + 1]) for i in range(3)])
    assert torch.allclose(denoiser.losses(x0, eps, t), alone, rtol=1e-6)


def learned(v):
    """A true eps with a given share v for x0 = 0: the network then only needs x and t."""

    def net(x, t):
        return torch.cat([x / column(VPS.marginal(t)[1], x), torch.full_like(x, 2 * v - 1)], dim=1)

    return Denoiser(net, VPS, learned_variance=True)


def test_bound_vanishes_for_the_true_posterior_and_not_beside_it():
    x0, eps, t = torch.zeros(3, 1, 4, 4), images(), torch.tensor([1, 500, 999])
    assert learned(0.0).losses(x0, eps, t).abs().max() < 1e-6
    ratio = posterior(VPS, t, t - 1)
    expected = 0.5 * ((ratio.large / ratio.small).log() - 1 + ratio.small / ratio.large) / math.log(2)
    assert torch.allclose(learned(1.0).losses(x0, eps, t).double(), expected, rtol=1e-3, atol=1e-6)
    assert learned(0.3).bind()(eps, t).v.unique().tolist() == pytest.approx([0.3])


def test_bound_is_the_divergence_of_two_gaussians_in_bits():
    x0, guess, v, t = images().double(), images().double(), torch.rand(3, 1, 4, 4).double(), torch.tensor([1, 400, 999])
    x = diffuse(x0, images().double(), t, VPS)
    of_x0, of_x, large, small = (column(value, x) for value in posterior(VPS, t, t - 1))
    true = Normal(of_x0 * x0 + of_x * x, small.sqrt())
    model = Normal(of_x0 * guess + of_x * x, (v * large.log() + (1 - v) * small.log()).exp().sqrt())
    expected = kl_divergence(true, model).flatten(1).mean(1) / math.log(2)
    assert torch.allclose(variational_bound(Prediction(guess, guess, v), x0, x, t, VPS), expected, rtol=1e-9)


def test_bound_at_the_first_level_is_a_likelihood_of_grey_levels():
    x0 = torch.tensor([-1.0, -0.4, 1.0, 1.0]).double().reshape(4, 1)
    guess, v = x0 + torch.tensor([0.0, 0.01, -0.02, 3.0])[:, None], torch.full((4, 1), 0.25).double()
    deviation = math.exp(0.5 * (0.25 * math.log(1e-4) + 0.75 * posterior(VPS, torch.tensor(1), torch.tensor(0)).small.log()))
    edges = [(-math.inf, -1 + 1 / 255), (-0.4 - 1 / 255, -0.4 + 1 / 255), (1 - 1 / 255, math.inf), (1 - 1 / 255, math.inf)]
    expected = [-math.log2(norm.cdf(hi, m, deviation) - norm.cdf(lo, m, deviation))
                for (lo, hi), m in zip(edges, guess[:, 0].tolist(), strict=True)]  # fmt: skip
    found = variational_bound(Prediction(guess, guess, v), x0, x0, torch.zeros(4).long(), VPS)
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("level", [0, 1, 500])
def test_bound_teaches_the_variance_only(level):
    x0, eps, t, out = images(), images(), torch.full((3,), level), images(channels=2)

    def gradient(of, learned_variance):
        of = of.clone().requires_grad_()
        Denoiser(lambda x, t: of, VPS, learned_variance=learned_variance).loss(x0, eps, t).backward()
        return of.grad

    hybrid = gradient(out, True)
    assert torch.equal(hybrid[:, :1], gradient(out[:, :1], False))
    assert (hybrid[:, 1:] != 0).any()
    assert hybrid.isfinite().all()


def test_bound_weighs_a_thousandth_per_level():
    """T/1000 times the level's term: with a tenth of the levels, a tenth of the weight."""
    short = VP(100, 1e-3, 0.2)
    x0, eps, t = images(), images(), torch.tensor([1, 50, 99])
    net = Affine(2)
    denoiser = Denoiser(net, short, learned_variance=True)
    x = diffuse(x0, eps, t, short)
    extra = denoiser.losses(x0, eps, t) - Denoiser(lambda x, t: net(x, t)[:, :1], short).losses(x0, eps, t)
    assert torch.allclose(extra, 0.1 * variational_bound(denoiser.bind()(x, t), x0, x, t, short), rtol=1e-3, atol=1e-6)


def test_learned_variance_needs_levels():
    with pytest.raises(ValueError, match="VP"):
        Denoiser(Affine(2), VES, learned_variance=True)


@pytest.mark.parametrize("variance", [False, True])
def test_state_and_loss_stay_float32_under_autocast(variance):
    conv = nn.Conv2d(1, 2 if variance else 1, 3, padding=1)
    seen = []
    conv.register_forward_hook(lambda *call: seen.append(call[2].dtype))
    denoiser = Denoiser(lambda x, t: conv(x), VPS, clip=(-1, 1), learned_variance=variance)
    x, t = images(), torch.tensor([0, 500, 999])
    with torch.autocast("cpu", torch.bfloat16):
        p, loss = denoiser.bind()(x, t), denoiser.loss(x, images(), t)
    assert seen == [torch.bfloat16] * 2
    assert {p.x0.dtype, p.eps.dtype, loss.dtype} == {torch.float32}
    assert consistent(p, x, t, VPS, 1e-5)
    half = denoiser.bind()(x.half(), t)
    assert half.x0.dtype == torch.float32


def gaussian(mean, schedule=VPS, c=0.5):
    """The exact denoiser of data N(mean, c^2)."""

    def denoise(x, t):
        alpha, sigma = (column(v, x) for v in schedule.marginal(t))
        x0 = mean + alpha * c**2 / ((alpha * c) ** 2 + sigma**2) * (x - alpha * mean)
        return predict(x0, x, t, schedule, "x0")

    return denoise


def test_guidance_without_weight_is_the_condition_and_at_minus_one_null():
    cond, null, x, t = gaussian(1.0), gaussian(-1.0), images(), torch.tensor([0, 500, 999])
    for w, expected in [(0, cond), (-1, null)]:
        for ours, theirs in zip(guided(cond, null, w, VPS)(x, t)[:2], expected(x, t)[:2], strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("clip", [None, (-1.0, 1.0)])
def test_guidance_in_the_papers_convention(clip):
    """AnoFPDM, w = 2: eps = 3 eps_cond - 2 eps_null, then x0, then the clip, then eps again."""
    cond, null, x, t = gaussian(1.0), gaussian(-1.0), images(), torch.tensor([0, 500, 999])
    p = guided(cond, null, 2, VPS, clip)(x, t)
    paper = predict(3 * cond(x, t).eps - 2 * null(x, t).eps, x, t, VPS, "eps", clip)
    assert torch.allclose(p.x0, paper.x0, atol=2e-3)  # at t = 999 eps errors are 157 times as large in x0
    assert torch.allclose(p.eps, paper.eps, atol=1e-4)
    assert consistent(p, x, t, VPS, 1e-5)
    if clip:
        assert p.x0.abs().max() <= 1


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_classifier_guidance_of_gaussians_is_a_shift_of_the_mean(scale):
    """Data N(0, c^2) and a likelihood exp(k x0): the posterior is N(k c^2, c^2), its classifier known in closed form."""
    k, c, t = 0.8, 0.5, torch.tensor([0, 500, 999])

    def log_probability(x, time):
        alpha, sigma = (column(v, x) for v in VPS.marginal(time))
        return (scale * k * alpha * c**2 / ((alpha * c) ** 2 + sigma**2) * x).flatten(1).sum(1)

    x = images().double()
    with torch.inference_mode():
        p = classifier_guided(gaussian(0.0), log_probability, 1.0, VPS)(x, t)
        q = classifier_guided(gaussian(0.0), lambda x, t: log_probability(x, t) / max(scale, 1), scale, VPS)(x, t)
    expected = gaussian(scale * k * c**2)(x, t)
    for found in (p, q) if scale != 0 else (p,):
        assert torch.allclose(found.x0, expected.x0, atol=1e-9)
        assert torch.allclose(found.eps, expected.eps, atol=1e-9)
    assert not p.x0.requires_grad


def test_classifier_guidance_clips_last():
    steered = classifier_guided(gaussian(0.0), lambda x, t: x.flatten(1).sum(1), 100.0, VPS, (-1, 1))
    p = steered(images(), torch.tensor([9, 500, 999]))
    assert p.x0.abs().max() <= 1
    assert (p.x0 == 1).any()


def test_guidance_keeps_the_conditions_variance():
    x, t = images(), torch.tensor([1, 2, 3])
    with_v = lambda v: lambda x, t: Prediction(x, x, torch.full_like(x, v))  # noqa: E731
    assert (guided(with_v(0.2), with_v(0.7), 2, VPS, (-1, 1))(x, t).v == 0.2).all()
    assert (classifier_guided(with_v(0.2), lambda x, t: x.flatten(1).sum(1), 1, VPS)(x, t).v == 0.2).all()
