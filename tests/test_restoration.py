"""The restoring baselines: closed forms with denoisers that know the answer, calls, batches."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import NULL, Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.methods.restoration import WAYS, Nets, Point, RestorationScorer, Walk, levels
from restoration_toys import SCHEDULE, SIZE, Even, Oracle, P, batch_of, images, nets_of, point_of, random_nets, restored

# -- levels


def test_every_level_of_the_paper_is_visited():
    assert torch.equal(levels(SCHEDULE, 0.3, 1000), torch.arange(299, -2, -1))


@pytest.mark.parametrize(
    ("noise_level", "steps", "times"),
    [(0.3, 20, [299, 249, 199, 149, 99, 49, -1]), (0.45, 4, [449, 224, -1]), (0.1, 1, [99, -1]), (0.002, 1000, [1, 0, -1])],
)
def test_fewer_steps_keep_the_level_they_start_at(noise_level, steps, times):
    assert levels(SCHEDULE, noise_level, steps).tolist() == times


@pytest.mark.parametrize("noise_level", [0.0, 0.001, 1.2])
def test_a_level_that_is_none_is_refused(noise_level):
    with pytest.raises(UserError, match=r"expected 2 \.\. 1000 levels"):
        levels(SCHEDULE, noise_level, 20)


# -- closed forms


@pytest.mark.parametrize("key", WAYS)
def test_a_denoiser_that_knows_the_slice_returns_it(key):
    x = images()
    found = restored(key, nets_of(key, Oracle(x), 0), x, point_of(key, scale=0.0))
    assert torch.allclose(found, x, atol=2e-5)


@pytest.mark.parametrize("key", WAYS)
def test_the_map_of_a_perfect_restoration_is_zero(key):
    x = images()
    scorer = RestorationScorer(key, nets_of(key, Oracle(x), 0), point_of(key, scale=0.0), P, 3)
    scores = scorer.score(batch_of(x), Noise(0))
    assert scores.map.abs().max() < 1e-4
    assert torch.allclose(scores.reconstruction, x[:, 0], atol=1e-4)


def test_ddib_moves_the_slice_by_one_plus_w_times_what_the_label_adds():
    """The label adds 0.05 to x0: (1 + w) 0.05 in the guided prediction, which the last step returns."""
    x = images() / 2
    for w in (-1.0, 0.0, 2.0):
        found = restored("ddib", nets_of("ddib", Oracle(x, 0.05)), x, Point(0.3, w=w))
        assert torch.allclose(found, x + (1 + w) * 0.05, atol=1e-4)


def test_ddib_encodes_without_a_label_and_decodes_with_both():
    x = images()
    oracle = Oracle(x)
    restored("ddib", nets_of("ddib", oracle), x, Point(0.3, w=1.0))
    assert oracle.labels == [{NULL}] * 6 + [{0}, {NULL}] * 6


@pytest.mark.parametrize("label", [0, None])
def test_classifier_guidance_tells_the_denoiser_its_label(label):
    x = images()
    oracle = Oracle(x)
    restored("ddim_clf", nets_of("ddim_clf", oracle, label), x, Point(0.2, scale=1.0))
    assert oracle.labels == [None if label is None else {label}] * 4


def test_classifier_guidance_of_one_step_in_closed_form():
    """x0 + sigma^2 / alpha scale grad, with grad = 1 / (4 SIZE^2) everywhere; not clipped again."""
    x = torch.full((2, 4, SIZE, SIZE), 0.9)
    own = dataclasses.replace(P, steps_per_1000=1)
    found = restored("ddim_clf", nets_of("ddim_clf", Oracle(x)), x, Point(0.3, scale=500.0), own)
    alpha, sigma = (value.item() for value in SCHEDULE.marginal(torch.tensor(299)))
    assert torch.allclose(found, x + sigma**2 / alpha * 500 / (4 * SIZE**2), rtol=1e-4)
    assert found.max() > 1


def test_scale_0_is_ddim_and_w_minus_1_is_no_label():
    x, nets = images(), random_nets("ddim_clf")
    steered = restored("ddim_clf", nets, x, Point(0.3, scale=0.0))
    plain = Walk(x, torch.arange(3), Noise(0), levels(SCHEDULE, 0.3, 20), SCHEDULE, None)
    assert torch.allclose(steered, plain.back(nets.denoiser.bind(label=0), plain.noised()), atol=1e-5)
    assert not torch.allclose(steered, restored("ddim_clf", nets, x, Point(0.3, scale=1e5)), atol=1e-2)
    nets = random_nets("ddib")
    unlabelled = nets.denoiser.bind(label=NULL)
    found = restored("ddib", nets, x, Point(0.3, w=-1.0))
    assert torch.allclose(found, plain.back(unlabelled, plain.inverted(unlabelled)), atol=1e-4)


def test_ddim_encoding_leads_back_and_chance_does_not():
    """Over every level the inversion of a smooth model and the way back cancel; a noised start ends elsewhere."""
    x = images() / 4

    class Shrink(nn.Module):
        """The best denoiser of slices that are N(0, 1/4) in every pixel."""

        def forward(self, x, t, label=None):
            alpha, sigma = (v.view(-1, 1, 1, 1) for v in SCHEDULE.marginal(t))
            return (sigma * x / (alpha**2 / 4 + sigma**2)).float()

    nets = Nets(Denoiser(Shrink(), SCHEDULE), classifier=Even())
    every = dataclasses.replace(P, steps_per_1000=1000)
    back, noised = (
        restored("ddim_clf", nets, x, Point(0.2, scale=0.0), dataclasses.replace(every, encode=encode))
        for encode in ("ddim", "noise")
    )
    assert (back - x).abs().max() < 0.01
    assert (noised - x).abs().max() > 0.1


@pytest.mark.parametrize(("follow", "switch", "encode"), [("paper", "follow", "ddim"), ("code", "ddim", "ddim")])
def test_follow_and_switch_choose_the_encoding(follow, switch, encode):
    x, nets = images(), random_nets("ddim_clf")
    point = Point(0.2, scale=5.0)
    found = restored("ddim_clf", nets, x, point, dataclasses.replace(P, follow=follow, encode=switch))
    assert torch.equal(found, restored("ddim_clf", nets, x, point, dataclasses.replace(P, encode=encode)))
    assert not torch.allclose(found, restored("ddim_clf", nets, x, point), atol=1e-3)


@pytest.mark.parametrize("key", ["anoddpm", "anoddpm_simplex", "ddim", "ddib"])
def test_a_low_level_changes_little_and_a_high_one_much(key):
    x, nets = images(), random_nets(key)
    low, high = (restored(key, nets, x, point_of(key, noise_level)) for noise_level in (0.004, 0.6))
    assert (low - x).abs().mean() < 0.06
    assert (high - x).abs().mean() > 3 * (low - x).abs().mean()


def test_ancestral_end_is_clipped_and_simplex_noise_is_used_at_every_step():
    x = images()
    for key in ("anoddpm", "anoddpm_simplex"):
        assert restored(key, random_nets(key), 3 * x, Point(0.5)).abs().max() <= 1
    nets = random_nets("anoddpm_simplex")
    seen = []
    field = SimpleNamespace(
        fields=lambda noise, name, rows, step, shape: seen.append((name, step)) or torch.zeros(3, *shape)
    )
    restored("anoddpm_simplex", dataclasses.replace(nets, field=field), x, Point(0.2))
    assert seen == [("restoration/start", 0)] + [("restoration/step", k) for k in range(3)]


# -- scores


@pytest.mark.parametrize(("error", "value"), [("absolute", 0.15), ("squared", 0.025)])
def test_map_is_the_mean_difference_of_flair_and_t2(error, value):
    x = images() / 2
    truth = x + torch.tensor([0.1, 0.7, -0.7, -0.2]).view(4, 1, 1)
    own = dataclasses.replace(P, error=error)
    batch = batch_of(x)
    scores = RestorationScorer("ddim", nets_of("ddim", Oracle(truth)), Point(0.3), own, 1).score(batch, Noise(0))
    assert torch.allclose(scores.extra["whole"], torch.full((3, 1, SIZE, SIZE), value), atol=1e-4)
    assert torch.allclose(scores.map, value * batch.brain, atol=1e-4)
    assert torch.allclose(scores.reconstruction, x[:, 0] + 0.1, atol=1e-4)


def test_whole_is_median_filtered():
    x = images(1) / 2
    truth = x.clone()
    truth[:, 0, 8, 8] += 0.4  # a lone pixel
    truth[:, 0, 2:7, 2:7] += 0.4
    scorer = RestorationScorer("ddim", nets_of("ddim", Oracle(truth)), Point(0.3), P, 3)
    whole = scorer.score(batch_of(x), Noise(0)).extra["whole"][0, 0]
    assert whole[8, 8] < 1e-4
    assert whole[4, 4].item() == pytest.approx(0.2, abs=1e-4)


@pytest.mark.parametrize(
    ("key", "calls"), [("anoddpm", 6), ("anoddpm_simplex", 6), ("ddim", 6), ("ddim_clf", 12), ("ddib", 18)]
)
def test_every_network_evaluation_is_counted(key, calls):
    x = images()
    scores = RestorationScorer(key, nets_of(key, Oracle(x), 0), point_of(key), P, 1).score(batch_of(x), Noise(0))
    assert scores.evaluations.tolist() == [calls] * 3


@pytest.mark.parametrize("key", WAYS)
def test_scores_of_a_slice_do_not_depend_on_its_batch_but_on_the_seed(key):
    x = images(5)
    scorer = RestorationScorer(key, random_nets(key), point_of(key), P, 3)
    with torch.inference_mode():
        whole = scorer.score(batch_of(x), Noise(0))
        parts = [scorer.score(batch_of(x[i : i + 2], 5 + i), Noise(0)) for i in (0, 2, 4)]
        other = scorer.score(batch_of(x), Noise(1))
    for name in ("map", "reconstruction", "evaluations"):
        assert torch.allclose(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]), atol=1e-4)
    assert torch.allclose(whole.map, other.map, atol=1e-4) == (key == "ddib")  # the only one without chance


def test_classifier_guidance_works_under_inference_mode_and_autocast():
    nets, x = random_nets("ddim_clf"), images()
    scorer = RestorationScorer("ddim_clf", nets, Point(0.3, scale=20.0), P, 1)
    exact = scorer.score(batch_of(x), Noise(0))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rounded = scorer.score(batch_of(x), Noise(0))
    assert rounded.map.dtype == torch.float32
    assert (rounded.map - exact.map).abs().mean() < 0.05 * exact.map.abs().mean()
