"""Schedules and samplers against the schedulers of diffusers, with a toy network in the place of a trained one."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMDPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    ScoreSdeVeScheduler,
)

from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.schedule import VE, VP

VPS, VES = VP(1000, 1e-4, 0.02), VE(0.01, 348.0)
LINEAR = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
X = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def toy(x, t):
    """A smooth estimate of either target that depends on x and t."""
    t = torch.as_tensor(t, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return 0.8 * torch.tanh(x[:, :1] * (1 + t / 2000)) + 0.1 * torch.sin(t / 100)


def toy_ve(x, sigma):
    """An estimate of x0 under noise of any size."""
    sigma = torch.as_tensor(sigma, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return torch.tanh(x / (1 + sigma)) + 0.1 * torch.sin(sigma.log())


def stepped(scheduler, x, net=toy, **options):
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t), t, x, **options).prev_sample
    return x


@pytest.mark.parametrize("steps", [3, 7, 10, 50, 100, 1000])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_grids(steps, spacing):
    scheduler = DDIMScheduler(**LINEAR, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    ours = VPS.grid(steps, spacing)[:-1]
    if spacing == "leading" and 1000 % steps:
        assert (ours - scheduler.timesteps).abs().max() <= 1000 % steps  # theirs leaves out the last levels
    else:
        assert torch.equal(ours, scheduler.timesteps)


@pytest.mark.parametrize("steps", [10, 50, 100])
@pytest.mark.parametrize(("target", "theirs"), [("eps", "epsilon"), ("x0", "sample")])
def test_ddim(steps, target, theirs):
    options = {"timestep_spacing": "leading", "set_alpha_to_one": True, "clip_sample": False, "prediction_type": theirs}
    scheduler = DDIMScheduler(**LINEAR, **options)
    scheduler.set_timesteps(steps)
    ours = samplers.last(samplers.ddim(Denoiser(toy, VPS, target).bind(), X, VPS.grid(steps, "leading"), VPS))
    assert torch.allclose(ours, stepped(scheduler, X), atol=2e-4 if target == "eps" else 2e-5)


def test_clipped_ddim_derives_eps_again():
    """The official code's way, which diffusers takes only if asked."""
    scheduler = DDIMScheduler(**LINEAR, timestep_spacing="leading", set_alpha_to_one=True, clip_sample=True)
    scheduler.set_timesteps(20)
    denoise = Denoiser(toy, VPS, clip=(-1, 1)).bind()
    ours = samplers.last(samplers.ddim(denoise, X, VPS.grid(20, "leading"), VPS))
    assert torch.allclose(ours, stepped(scheduler, X, use_clipped_model_output=True), atol=2e-5)
    assert not torch.allclose(ours, stepped(scheduler, X, use_clipped_model_output=False), atol=0.05)


def test_ddim_inversion():
    """diffusers' inverse scheduler is the official reverse step if it is called with the time to go to."""
    scheduler = DDIMInverseScheduler(**LINEAR, timestep_spacing="leading", set_alpha_to_one=True, clip_sample=False)
    scheduler.set_timesteps(50)
    up, x = VPS.grid(50, "leading")[:-1].flip(0), X
    for t, u in pairwise(up):
        x = scheduler.step(toy(x, t), u, x).prev_sample
    assert torch.allclose(samplers.last(samplers.ddim(Denoiser(toy, VPS).bind(), X, up, VPS)), x, atol=1e-4)


@pytest.mark.parametrize("steps", [20, 200])
@pytest.mark.parametrize(
    ("variance", "theirs"), [("large", "fixed_large"), ("small", "fixed_small"), ("learned", "learned_range")]
)
def test_ancestral(steps, variance, theirs):
    """Also over a part of the levels, where the learned share lies between that step's own variances."""
    options = {"variance_type": theirs, "clip_sample": False, "prediction_type": "sample", "timestep_spacing": "leading"}
    scheduler = DDPMScheduler(**LINEAR, **options)
    scheduler.set_timesteps(steps)
    learned = variance == "learned"
    net = (lambda x, t: torch.cat([toy(x, t), torch.sin(3 * x)], dim=1)) if learned else toy
    generator = torch.Generator().manual_seed(5)
    expected = stepped(scheduler, X, net, generator=generator)
    generator.manual_seed(5)
    noises = [torch.randn(X.shape, generator=generator) for _ in range(steps)]
    denoise = Denoiser(net, VPS, "x0", learned_variance=learned).bind()
    walk = samplers.ancestral(denoise, X, VPS.grid(steps, "leading"), VPS, noises.__getitem__, variance)
    assert torch.allclose(samplers.last(walk), expected, atol=1e-4)


@pytest.mark.parametrize("steps", [5, 20, 50])
def test_dpm_solver_2m_vp(steps):
    options = {"prediction_type": "sample", "final_sigmas_type": "zero", "lower_order_final": True}
    scheduler = DPMSolverMultistepScheduler(**LINEAR, **options, algorithm_type="dpmsolver++", solver_order=2)
    times = VPS.grid(steps, "trailing")
    scheduler.set_timesteps(timesteps=times[:-1].tolist())
    ours = samplers.last(samplers.dpm_solver_2m(Denoiser(toy, VPS, "x0").bind(), X, times, VPS))
    assert torch.allclose(ours, stepped(scheduler, X), atol=2e-4)


@pytest.mark.parametrize("steps", [5, 20, 50])
@pytest.mark.parametrize(("spacing", "theirs"), [("karras", "karras"), ("linspace", "exponential")])
def test_dpm_solver_2m_ve(steps, spacing, theirs):
    scheduler = EDMDPMSolverMultistepScheduler(sigma_min=0.01, sigma_max=348.0, sigma_schedule=theirs)
    scheduler.set_timesteps(steps)
    times = VES.grid(steps, spacing)
    assert torch.allclose(VES.marginal(times)[1].float(), scheduler.sigmas, rtol=1e-5)
    data, expected = scheduler.config.sigma_data, 348 * X
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        skip = data**2 / (sigma**2 + data**2)
        out = (toy_ve(expected, sigma) - skip * expected) / (sigma * data / (sigma**2 + data**2).sqrt())
        expected = scheduler.step(out, t, expected).prev_sample
    ours = samplers.last(samplers.dpm_solver_2m(Denoiser(toy_ve, VES, "x0").bind(), 348 * X, times, VES))
    assert torch.allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("steps", [4, 10, 28])
def test_heun(steps):
    scheduler = HeunDiscreteScheduler(**LINEAR, timestep_spacing="linspace", prediction_type="epsilon")
    scheduler.set_timesteps(steps)
    times = VPS.grid(steps, "linspace")
    assert torch.equal(scheduler.timesteps[::2].round().long(), times[:-1])
    expected = X / VPS.marginal(times[0])[0].item()
    for t in scheduler.timesteps:
        expected = scheduler.step(toy(scheduler.scale_model_input(expected, t), t), t, expected).prev_sample
    ours = samplers.last(samplers.heun(Denoiser(toy, VPS).bind(), X, times, VPS))
    assert torch.allclose(ours, expected, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("corrections", [1, 2])
def test_predictor_corrector(corrections):
    """One image at a time: diffusers averages the norms over the batch. Its end time, 1e-5, moves sigma by 0.01 %."""
    steps, x = 60, 348 * X[:1]
    scheduler = ScoreSdeVeScheduler(snr=0.075, sigma_min=0.01, sigma_max=348.0, sampling_eps=1e-5)
    scheduler.set_timesteps(steps)
    scheduler.set_sigmas(steps)
    score = lambda x, sigma: (toy_ve(x, sigma) - x) / sigma**2  # noqa: E731
    generator = torch.Generator().manual_seed(1)
    expected = x
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=True):
        for _ in range(corrections):
            expected = scheduler.step_correct(score(expected, sigma), expected, generator=generator).prev_sample
        expected, mean = scheduler.step_pred(score(expected, sigma), t, expected, generator, return_dict=False)
    generator.manual_seed(1)
    noises = [torch.randn(x.shape, generator=generator) for _ in range((corrections + 1) * steps)]
    denoise = Denoiser(toy_ve, VES, "x0").bind()
    walk = samplers.predictor_corrector(denoise, x, VES.grid(steps, "linspace"), VES, noises.__getitem__, 0.075, corrections)
    assert torch.allclose(samplers.last(walk), mean, rtol=1e-3, atol=1e-3 * math.sqrt(corrections))
