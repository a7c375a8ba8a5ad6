"""Samplers against closed forms: constant, Gaussian and two-point data; orders; variances; independence of the batch."""

import math

import pytest
import torch

from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser, predict
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VE, VP, column, diffuse, posterior

VPS, VES = VP(1000, 1e-4, 0.02), VE(0.01, 348.0)
GRIDS = [(VPS, "leading"), (VPS, "trailing"), (VPS, "linspace"), (VPS, "karras"), (VES, "linspace"), (VES, "karras")]
DETERMINISTIC = [samplers.ddim, samplers.heun, samplers.dpm_solver_2m]
MEAN, SPREAD = 0.4, 0.5  # of the Gaussian data


def constant(c, schedule):
    """The exact denoiser of data that is always c."""
    return Denoiser(lambda x, t: torch.zeros_like(x) + c, schedule, target="x0").bind()


def gaussian(schedule, mean=MEAN, spread=SPREAD):
    """The exact denoiser of data N(mean, spread^2)."""

    def denoise(x, t):
        alpha, sigma = (column(v, x) for v in schedule.marginal(t))
        x0 = mean + alpha * spread**2 / ((alpha * spread) ** 2 + sigma**2) * (x - alpha * mean)
        return predict(x0, x, t, schedule, "x0")

    return denoise


def flow(x, t, u, schedule):
    """Exact probability flow of Gaussian data from time t to u: the standardised state is constant."""
    (a_t, s_t), (a_u, s_u) = schedule.marginal(t), schedule.marginal(u)
    spread_t, spread_u = ((a * SPREAD) ** 2 + s**2 for a, s in ((a_t, s_t), (a_u, s_u)))
    return a_u * MEAN + (spread_u / spread_t).sqrt() * (x - a_t * MEAN)


def start(schedule, times, n=64, px=2, dtype=torch.float64):
    """Samples (n, 1, px, px) of the state at the first of `times`."""
    draw = Noise(3).normal
    x0 = MEAN + SPREAD * draw("x0", range(n), 0, (1, px, px)).to(dtype)
    return diffuse(x0, draw("eps", range(n), 0, (1, px, px)).to(dtype), times[0], schedule)


def counted(denoise):
    """The same denoiser, and the list of times it was asked for."""
    asked = []

    def ask(x, t):
        asked.append(t[0].item())
        return denoise(x, t)

    return ask, asked


@pytest.mark.parametrize(("schedule", "spacing"), GRIDS)
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_constant_data_end_at_the_constant(sampler, steps, schedule, spacing):
    c, times = torch.tensor([[-3.0], [0.25]]), schedule.grid(steps, spacing)
    x = torch.randn(2, 1) * schedule.marginal(times[:1])[1].float()
    end = samplers.last(sampler(constant(c, schedule), x, times, schedule))
    if sampler is samplers.heun:  # rounds in x / alpha
        assert torch.allclose(end, c, atol=1e-6 * (x / schedule.marginal(times[0])[0]).abs().max().item())
    else:
        assert torch.equal(end, c)


@pytest.mark.parametrize("variance", ["large", "small"])
@pytest.mark.parametrize("schedule", [VPS, VES])
def test_stochastic_walks_over_constant_data_end_at_the_constant(schedule, variance):
    x, times = torch.randn(2, 1, 2, 2), schedule.grid(9, "linspace")
    draw = Noise(0).draws("s", [1, 2], x)
    end = samplers.last(samplers.ancestral(constant(0.25, schedule), x, times, schedule, draw, variance))
    assert torch.equal(end, torch.full_like(x, 0.25))
    end = samplers.last(samplers.predictor_corrector(constant(0.25, schedule), x, times, schedule, draw, 0.075))
    assert torch.allclose(end, torch.tensor(0.25), atol=1e-3 if schedule is VES else 1e-5)


@pytest.mark.parametrize(("sampler", "calls"), [(samplers.ddim, 5), (samplers.dpm_solver_2m, 5), (samplers.heun, 9)])
def test_evaluations_and_yields(sampler, calls):
    denoise, asked = counted(constant(0.0, VPS))
    times = VPS.grid(5, "linspace")
    reached = [t.item() for t, _ in sampler(denoise, torch.randn(2, 1), times, VPS)]
    assert reached == times[1:].tolist()
    assert len(asked) == calls
    assert set(asked) == set(times[:-1].tolist())


def test_predictor_corrector_makes_2000_evaluations():
    """TSGM spec 11.5: 1000 levels, one correction each; times from sigma_max down to sigma_min."""
    denoise, asked = counted(constant(0.0, VES))
    times = VES.grid(1000, "linspace")
    samplers.last(
        samplers.predictor_corrector(denoise, 348 * torch.randn(1, 1), times, VES, lambda k: torch.ones(1, 1), 0.075)
    )
    assert asked == times[:-1].repeat_interleave(2).tolist()


def smooth_grid(schedule, steps):
    """`steps` steps without the clean one, even in time, with integer strides for VP."""
    return torch.arange(960, -1, -960 // steps) if schedule is VPS else schedule.grid(steps + 1, "linspace")[:-1]


@pytest.mark.parametrize("schedule", [VPS, VES])
@pytest.mark.parametrize(("sampler", "order"), [(samplers.ddim, 1), (samplers.heun, 2), (samplers.dpm_solver_2m, 2)])
@pytest.mark.parametrize("ascending", [False, True])
def test_order_of_convergence_to_the_probability_flow(sampler, order, schedule, ascending):
    errors = []
    for steps in (120, 240):
        times = smooth_grid(schedule, steps)
        times = times.flip(0) if ascending else times
        x = start(schedule, times)
        end = samplers.last(sampler(gaussian(schedule), x, times, schedule))
        exact = flow(x, times[0], times[-1], schedule)
        errors.append(((end - exact).abs().max() / exact.std()).item())
    assert errors[1] < 0.05
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


@pytest.mark.parametrize(
    ("schedule", "sampler", "spacing", "steps", "bar"),
    [
        (VPS, samplers.ddim, "leading", 50, 0.04), (VPS, samplers.dpm_solver_2m, "karras", 10, 0.05),
        (VPS, samplers.heun, "karras", 20, 0.025), (VES, samplers.dpm_solver_2m, "karras", 20, 0.03),
        (VES, samplers.heun, "karras", 40, 0.01),
    ],
)  # fmt: skip
def test_few_steps_come_close_to_the_probability_flow(schedule, sampler, spacing, steps, bar):
    times = schedule.grid(steps, spacing)
    x = start(schedule, times)
    end = samplers.last(sampler(gaussian(schedule), x, times, schedule))
    assert (end - flow(x, times[0], times[-1], schedule)).abs().mean() < bar


@pytest.mark.parametrize("schedule", [VPS, VES])
def test_encoding_and_decoding_return_the_input(schedule):
    """DDIM both ways: exactly for constant data, and for Gaussian data as the steps shrink."""

    def error(denoise, sampler, steps):
        up = smooth_grid(schedule, steps).flip(0)
        x = start(schedule, up)
        code = samplers.last(sampler(denoise, x, up, schedule))
        return (samplers.last(sampler(denoise, code, up.flip(0), schedule)) - x).abs().max().item()

    assert error(constant(0.3, schedule), samplers.ddim, 60) < 1e-8
    assert error(gaussian(schedule), samplers.ddim, 240) < 0.04
    assert error(gaussian(schedule), samplers.ddim, 120) / error(gaussian(schedule), samplers.ddim, 240) > 1.9
    assert error(gaussian(schedule), samplers.heun, 60) < 0.005


@pytest.mark.parametrize("sampler", DETERMINISTIC)
@pytest.mark.parametrize("schedule", [VPS, VES])
def test_two_points_attract_the_half_that_is_theirs(sampler, schedule):
    """Data +1 or -1: E[x0 | x] = tanh(alpha x / sigma^2), and the flow keeps the sign."""

    def denoise(x, t):
        alpha, sigma = (column(v, x) for v in schedule.marginal(t))
        return predict(torch.tanh(alpha * x / sigma**2), x, t, schedule, "x0")

    times = schedule.grid(60, "karras")
    x = Noise(0).normal("x", range(50), 0, (1, 2, 2)) * schedule.marginal(times[0])[1].float()
    end = samplers.last(sampler(denoise, x, times, schedule))
    clear = x.abs() > 0.05 * x.std()  # nearer 0 the solution is stiff
    assert torch.allclose(end[clear], x.sign()[clear], atol=0.02)


def keys_and_draw(schedule, times, n, px=2):
    x = start(schedule, times, n, px, torch.float32)
    return x, Noise(9).draws("sampler", range(n), x)


@pytest.mark.parametrize(("data", "variance"), [(1.0, "large"), (0.0, "small")])
@pytest.mark.parametrize("steps", [4, 25])
def test_ancestral_variances_are_exact_for_their_data(data, variance, steps):
    """beta is right for N(0, 1) data, tilde beta for one point: the state's deviation is right after every step."""
    times = VPS.grid(steps, "leading")
    x = Noise(0).normal("x", range(40), 0, (1, 16, 16))
    draw = Noise(9).draws("sampler", range(40), x)
    x = x * VPS.marginal(times[0])[1].float() if data == 0 else x
    for t, state in samplers.ancestral(gaussian(VPS, 0.0, data), x, times, VPS, draw, variance):
        alpha, sigma = (v.item() for v in VPS.marginal(t))
        assert state.std().item() == pytest.approx(math.hypot(alpha * data, sigma), rel=0.03)
        assert abs(state.mean().item()) < 0.04


@pytest.mark.parametrize("schedule", [VPS, VES])
@pytest.mark.parametrize("walk", ["large", "small", "pc"])
def test_stochastic_samplers_give_the_data_distribution(schedule, walk):
    times = schedule.grid(200, "linspace")
    x, draw = keys_and_draw(schedule, times, 40, 20)  # the corrector's norms need pixels
    if walk == "pc":
        samples = samplers.last(samplers.predictor_corrector(gaussian(schedule), x, times, schedule, draw, 0.075))
    else:
        samples = samplers.last(samplers.ancestral(gaussian(schedule), x, times, schedule, draw, walk))
    assert samples.mean().item() == pytest.approx(MEAN, abs=0.03)
    assert samples.std().item() == pytest.approx(SPREAD, rel=0.05)


def test_learned_variance_lies_between_small_and_large():
    times = VPS.grid(10, "leading")
    x, draw = keys_and_draw(VPS, times, 3)

    def end(variance, v=None):
        denoise = lambda x, t: gaussian(VPS)(x, t)._replace(v=None if v is None else torch.full_like(x, v))  # noqa: E731
        return samplers.last(samplers.ancestral(denoise, x, times[:2], VPS, draw, variance))

    assert torch.allclose(end("learned", 1.0), end("large"))
    assert torch.allclose(end("learned", 0.0), end("small"))
    q, mean = posterior(VPS, times[0], times[1]), end("large") - posterior(VPS, times[0], times[1]).large.sqrt() * draw(0)
    assert torch.allclose(end("learned", 0.5), mean + ((q.large * q.small) ** 0.25).float() * draw(0), atol=1e-6)


def test_ancestral_step_is_equation_17_of_ddmd():
    """(x - beta eps / sqrt(1 - abar)) / sqrt(alpha) + sqrt(beta) z, with one-step alpha = 1 - beta."""
    x, eps, z = torch.randn(3, 2, 1, 4, 4)
    denoise = lambda x, t: predict(eps, x, t, VPS, "eps")  # noqa: E731
    for t in (1, 500, 999):
        beta, abar = torch.linspace(1e-4, 0.02, 1000)[t].item(), VPS.marginal(torch.tensor(t))[0].item() ** 2
        expected = (x - beta / math.sqrt(1 - abar) * eps) / math.sqrt(1 - beta) + math.sqrt(beta) * z
        end = samplers.last(samplers.ancestral(denoise, x, torch.tensor([t, t - 1]), VPS, lambda k: z))
        assert torch.allclose(end, expected, atol=5e-6 if t < 999 else 2e-5)


def test_predictor_corrector_by_hand():
    """One image of one pixel: score = -eps/sigma, correction with e = 2 (snr |z| / |score|)^2, then the predictor."""
    times, snr, noises = VES.grid(5, "linspace")[1:3], 0.2, [1.5, -0.5, 2.0]
    (_, s), (_, u) = (VES.marginal(t) for t in times)
    x = 30.0
    for z in noises[:2]:
        score = -x / s**2
        e = 2 * (snr * abs(z) / abs(score)) ** 2
        x = x + e * score + math.sqrt(2 * e) * z
    g2 = s**2 - u**2
    expected = x - g2 * x / s**2 + math.sqrt(g2) * noises[2]
    draw = lambda k: torch.full((1, 1), noises[k]).double()  # noqa: E731
    found = samplers.last(
        samplers.predictor_corrector(constant(0.0, VES), torch.full((1, 1), 30.0).double(), times, VES, draw, snr, 2)
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)


def test_corrector_noise_is_twice_snr_of_sigma_at_an_ideal_score():
    """TSGM spec 11.5: 0.15 sigma for snr 0.075."""
    times, n = VES.grid(1000, "linspace")[500:502], 400
    sigma = VES.marginal(times)[1].float()
    eps = Noise(0).normal("eps", range(n), 0, (1, 16, 16))
    z = Noise(0).normal("z", range(n), 0, (1, 16, 16))
    walk = samplers.predictor_corrector(
        constant(0.0, VES), sigma[0] * eps, times, VES, lambda k: z if k == 0 else 0 * z, 0.075
    )
    moved = samplers.last(walk) * (sigma[0] / sigma[1]) ** 2  # undoes the predictor: x u^2 / s^2
    added = moved - sigma[0] * eps * (1 - 2 * 0.075**2)
    assert (added.std() / sigma[0]).item() == pytest.approx(0.15, rel=0.02)


@pytest.mark.parametrize("schedule", [VPS, VES])
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver_2m", "ancestral", "predictor_corrector"])
def test_an_image_does_not_depend_on_its_neighbours(schedule, name):
    """Norms over the batch, as in the official code, would couple the images. The second is 50 times as bright."""
    times, keys = schedule.grid(12, "linspace"), torch.tensor([11, 5, 8])
    x = start(schedule, times, 3, dtype=torch.float32) * torch.tensor([1.0, 50, 1]).reshape(3, 1, 1, 1)

    def end(which):
        part, extra = x[which], ()
        if name in ("ancestral", "predictor_corrector"):
            extra = (Noise(2).draws("s", keys[which], part),) + ((0.075,) if name == "predictor_corrector" else ())
        return samplers.last(getattr(samplers, name)(gaussian(schedule), part, times, schedule, *extra))

    whole = end(torch.arange(3))
    for i in range(3):
        assert torch.allclose(end(torch.tensor([i])), whole[i : i + 1], rtol=1e-5, atol=1e-6)


def test_renoise_starts_from_the_same_image_every_time():
    x0, times = torch.randn(2, 1, 3, 3), torch.arange(0, 600, 150)
    truth = [diffuse(x0, torch.full_like(x0, k), t, VPS) for k, t in enumerate(times)]
    seen = []

    def pair(x, t):
        seen.append((x, t))
        return "healthy", "null"

    walk = list(samplers.renoise(pair, x0, times, VPS, lambda k: torch.full_like(x0, k)))
    assert [(t.item(), found) for t, found in walk] == [(t.item(), ("healthy", "null")) for t in times]
    for (x, t), expected, time in zip(seen, truth, times, strict=True):
        assert torch.equal(x, expected)
        assert t.tolist() == [time] * 2


def test_renoised_constant_is_found_again_at_every_level():
    x0 = torch.full((2, 1, 3, 3), 0.3)
    for _, p in samplers.renoise(constant(0.3, VPS), x0, torch.arange(0, 600, 60), VPS, Noise(0).draws("k", [1, 2], x0)):
        assert torch.equal(p.x0, x0)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_solver_2m", "ancestral", "predictor_corrector"])
def test_samplers_compute_in_float32_and_keep_no_graph(name):
    weight, x = torch.ones(1, requires_grad=True), torch.randn(2, 1, 2, 2)
    denoise = Denoiser(lambda x, t: weight * x, VPS, target="x0").bind()
    extra = {"ancestral": (lambda k: x,), "predictor_corrector": (lambda k: x, 0.1)}.get(name, ())
    for _, state in getattr(samplers, name)(denoise, x.half(), VPS.grid(3, "leading"), VPS, *extra):
        assert state.dtype == torch.float32
        assert not state.requires_grad


def test_condition_is_the_same_at_every_step():
    """DDMD spec 11.11: only the noisy channel changes."""
    image, seen = torch.randn(2, 4, 3, 3), []

    def net(x, t):
        seen.append(x)
        return x[:, :1]

    samplers.last(samplers.ddim(Denoiser(net, VPS).bind(image=image), torch.randn(2, 1, 3, 3), VPS.grid(8, "leading"), VPS))
    assert len(seen) == 8
    assert all(torch.equal(x[:, 1:], image) for x in seen)
    assert not torch.equal(seen[0][:, :1], seen[1][:, :1])


@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_a_walk_cannot_start_clean(sampler):
    with pytest.raises(ValueError, match="clean"):
        samplers.last(sampler(constant(0.0, VPS), torch.zeros(1, 1), torch.tensor([-1, 0, 10]), VPS))


def test_last_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="two times"):
        samplers.last(samplers.ddim(constant(0.0, VPS), torch.zeros(1, 1), torch.tensor([5]), VPS))
