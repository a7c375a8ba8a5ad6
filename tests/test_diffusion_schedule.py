"""Noise schedules: the papers' check values, grids of sampling times, the Gaussian posterior, no state."""

import math

import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.schedule import CLEAN, VE, VP, Posterior, diffuse, posterior

VPS = VP(1000, 1e-4, 0.02)
VES = VE(0.01, 348.0)
ALL = [("leading", VPS), ("trailing", VPS), ("linspace", VPS), ("karras", VPS), ("linspace", VES), ("karras", VES)]


def test_abar_of_the_papers():
    t = torch.tensor([0, 100, 250, 500, 999])
    abar = VPS.marginal(t)[0] ** 2
    assert abar.dtype == torch.float64
    assert [f"{a:.5f}" for a in abar[:4]] == ["0.99990", "0.89514", "0.52142", "0.07780"]  # MMCCD spec 11.3
    assert f"{abar[4]:.4e}" == "4.0358e-05"
    one_based = VPS.marginal(torch.tensor([249, 499]))[0] ** 2  # DDMD spec 11.3
    assert torch.allclose(one_based, torch.tensor([0.52409, 0.07859]).double(), atol=5e-6)


def test_sigma_of_the_paper():
    t = VES.grid(1000, "linspace")
    sigma = VES.marginal(t)[1][:-1]
    assert sigma[[0, -1]].tolist() == pytest.approx([348, 0.01])
    assert (sigma[:-1] / sigma[1:]).tolist() == pytest.approx([1.01052] * 999, abs=1e-5)  # TSGM spec 11.4
    share = (sigma[:-1] ** 2 - sigma[1:] ** 2).sqrt() / sigma[:-1]
    assert share.tolist() == pytest.approx([0.1439] * 999, abs=1e-4)


def test_vp_preserves_variance_and_ve_the_image():
    t = torch.arange(-1, 1000)
    alpha, sigma = VPS.marginal(t)
    assert (alpha**2 + sigma**2 - 1).abs().max() < 1e-15
    assert (sigma.diff() > 0).all()
    assert (VES.marginal(torch.linspace(0, 1, 7))[0] == 1).all()


@pytest.mark.parametrize("schedule", [VPS, VES])
def test_clean_time_has_no_noise(schedule):
    alpha, sigma = schedule.marginal(schedule.grid(3, "linspace")[-1])
    assert (alpha.item(), sigma.item()) == (1.0, 0.0)


def test_leading_grid_of_mmccd():
    assert VPS.grid(100, "leading").tolist() == [*range(990, -1, -10), CLEAN]


@pytest.mark.parametrize(
    ("spacing", "steps", "times"),
    [
        ("leading", 3, [666, 333, 0]), ("trailing", 1, [999]), ("trailing", 4, [999, 749, 499, 249]),
        ("linspace", 1, [999]), ("linspace", 4, [999, 666, 333, 0]), ("karras", 1, [999]), ("leading", 1, [0]),
    ],
)  # fmt: skip
def test_grids_by_hand(spacing, steps, times):
    assert VPS.grid(steps, spacing).tolist() == [*times, CLEAN]


@pytest.mark.parametrize(("spacing", "schedule"), ALL)
def test_every_grid_descends_to_clean(spacing, schedule):
    for steps in (1, 2, 3, 7, 50, 334, 600, 999, 1000):
        grid = schedule.grid(steps, spacing)
        assert len(grid) == steps + 1
        assert (grid.diff() < 0).all()
        assert grid[-1] == CLEAN
        assert grid[-2] >= 0
        assert schedule.marginal(grid)[1].isfinite().all()


def test_rounding_takes_no_ve_grid_out_of_its_range():
    """A last time of -1e-17 would pass for clean."""
    for high in (1.0, 5.0, 73.0, 80.0, 348.0):
        for steps in (2, 5, 18, 40):
            times = VE(0.002 * high, high).grid(steps, "karras")[:-1]
            assert times[0] <= 1
            assert times[-1] >= 0


@pytest.mark.parametrize(("steps", "schedule"), [(20, VPS), (20, VES)])
def test_karras_levels_are_even_in_their_seventh_root(steps, schedule):
    alpha, sigma = schedule.marginal(schedule.grid(steps, "karras")[:-1])
    root = (sigma / alpha) ** (1 / 7)
    tolerance = 0.05 if schedule is VPS else 1e-9  # VP has 1000 levels to choose from
    assert (root.diff() / root.diff().mean() - 1).abs().max() < tolerance
    assert root[[0, -1]].tolist() == pytest.approx([(schedule.marginal(t)[1] / schedule.marginal(t)[0]).item() ** (1 / 7)
                                                    for t in (schedule.grid(1, "karras")[0], torch.tensor(0))])  # fmt: skip


def test_training_times_cover_all_levels_evenly():
    u = (torch.arange(5000) + 0.5) / 5000
    assert torch.equal(VPS.draw(u).bincount(), torch.full((1000,), 5))
    assert VPS.draw(torch.tensor([0.0, 1 - 2**-24])).tolist() == [0, 999]
    assert torch.equal(VES.draw(u), u.double())


def test_labels_are_index_and_sigma():
    assert VPS.label(torch.tensor([0, 999])).tolist() == [0, 999]
    assert VES.label(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.01, 348])


@pytest.mark.parametrize(("t", "u"), [(999, 998), (990, 980), (500, 20), (1, 0)])
def test_posterior_is_bayes_rule(t, u):
    """q(x_u | x_t, x0) ~ q(x_t | x_u) q(x_u | x0), with q(x_t | x_u) = N(r x_u, s_t^2 - r^2 s_u^2), r = a_t / a_u."""
    for schedule, at, to in [(VPS, torch.tensor(t), torch.tensor(u)), (VES, torch.tensor(t / 999), torch.tensor(u / 999))]:
        (a_t, s_t), (a_u, s_u) = schedule.marginal(at), schedule.marginal(to)
        r = a_t / a_u
        noise = s_t**2 - r**2 * s_u**2
        precision = r**2 / noise + 1 / s_u**2
        bayes = Posterior(a_u / s_u**2 / precision, r / noise / precision, noise, 1 / precision)
        for ours, theirs in zip(posterior(schedule, at, to), bayes, strict=True):
            assert ours.item() == pytest.approx(theirs.item(), rel=1e-9)


def test_posterior_of_neighbours_has_the_betas():
    t = torch.arange(1000)
    q = posterior(VPS, t, t - 1)
    assert torch.allclose(q.large, torch.linspace(1e-4, 0.02, 1000).double(), rtol=1e-6)
    assert q.small[0] == 0
    assert (q.small[1:] < q.large[1:]).all()
    assert (q.of_x0[0].item(), q.of_x[0].item()) == (pytest.approx(1), 0)


def test_diffuse_with_a_time_per_sample_and_with_one_for_all():
    x0, eps, t = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.tensor([0, 500, CLEAN])
    x = diffuse(x0, eps, t, VPS)
    assert torch.equal(x[2], x0[2])
    assert torch.allclose(x[1], math.sqrt(0.0777971) * x0[1] + math.sqrt(1 - 0.0777971) * eps[1], atol=1e-5)
    assert torch.equal(diffuse(x0, eps, t[1], VPS)[1], x[1])


def test_half_precision_leaves_no_trace_in_the_schedule():
    """A scheduler that casts its own table once is coarse for ever after (MONAI's add_noise)."""
    t = torch.arange(1000)
    before = [value.clone() for value in VPS.marginal(t)]
    half = torch.randn(1000, 1, 2, 2, dtype=torch.float16)
    assert diffuse(half, half, t, VPS).dtype == torch.float16
    for value in VPS.marginal(t):
        value.zero_()
    for old, new in zip(before, VPS.marginal(t), strict=True):
        assert new.dtype == torch.float64
        assert torch.equal(old, new)


def test_schedules_cannot_be_changed():
    with pytest.raises(AttributeError):
        VPS.T = 10
    with pytest.raises(AttributeError):
        VES.sigma_max = 80.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: VPS.grid(1001, "leading"), "1001.*1 .. 1000"),
        (lambda: VPS.grid(0, "karras"), "are 0"),
        (lambda: VPS.grid(10, "even"), "'even'.*trailing"),
        (lambda: VES.grid(10, "leading"), "'leading'.*linspace"),
        (lambda: VES.grid(0, "karras"), "are 0"),
        (lambda: VP(1, 1e-4, 0.02), "T = 1"),
        (lambda: VP(10, 0.02, 1e-4), "beta from 0.02 to 0.0001"),
        (lambda: VP(10, 0.02, 1.0), "beta"),
        (lambda: VE(1.0, 0.1), "sigma from 1.0 to 0.1"),
    ],
)
def test_impossible_schedules_are_user_errors(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_time_beyond_the_schedule_is_an_error():
    with pytest.raises(IndexError):
        VPS.marginal(torch.tensor([1000]))
