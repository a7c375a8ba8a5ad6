"""TSGM's inference: exact oracles for every sampler and start, spec 4's loop by hand, independence, rescaling, counts."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VE
from gliomap.methods import tsgm
from gliomap.methods.tsgm import Generator, Images, TsgmScorer, levels, rescaled
from stage_toys import SIZE
from tsgm_toys import CALLS, OWN, SCHEDULE, Mixing, batch_of, exact, joint

ROWS = [3, 7, 20]


def scorer_of(restorer, variant="single", modalities=MODALITIES, samples=1, images=64) -> TsgmScorer:
    return TsgmScorer(restorer, variant, modalities, -1.0, samples, images)


def darkened(y):
    """A healthy image for every image: at most 0.6."""
    return y.clamp_max(0.6)


# -- sampling


@pytest.mark.parametrize("begin", ["noise", "image"])
@pytest.mark.parametrize("sampler", CALLS)
@pytest.mark.parametrize("variant", ["single", "multi", "flair"])
def test_with_an_exact_network_the_residual_is_the_tumour(variant, sampler, begin):
    """Whatever the network's truth is, it is restored, and every network call is counted (spec 11.5)."""
    scorer = scorer_of(joint(exact(darkened), sampler=sampler, begin=begin), variant)
    batch = batch_of(ROWS)
    if variant == "flair":
        batch = dataclasses.replace(batch, images=batch.images[:, 3:])
    scores = scorer.score(batch, Noise(0))
    unit = (batch.images + 1) / 2
    assert scorer.modalities == (("flair",) if variant == "flair" else MODALITIES)
    assert torch.allclose(scores.extra["restored"].float(), unit.clamp_max(0.6), atol=0.01)
    assert torch.allclose(scores.extra["residual"].float(), (unit - 0.6).clamp_min(0), atol=0.01)
    assert torch.allclose(scores.map, (unit - 0.6).clamp_min(0).mean(1) * batch.brain, atol=0.01)
    assert torch.allclose(scores.reconstruction, unit[:, -1].clamp_max(0.6), atol=0.01)
    images = 4 if variant == "single" else 1
    assert scores.evaluations.tolist() == [CALLS[sampler](8) * images] * 3


def test_the_papers_sampler_is_the_loop_of_spec_4():
    """Order, step sizes, levels and noises of spec 4, written out, from N(0, 1) as the code has it."""
    n, r = 12, 0.075
    restorer = joint(Mixing(), follow="code", sampler="pc", spacing="linspace", steps=n, snr=r, rescale="clip")
    batch = batch_of([5], 1)
    y, noise = ((batch.images + 1) / 2), Noise(4)
    found = restorer.restored(Images.of(batch, y, ("t1",), 1, noise))
    sigma = [0.01 * 34800 ** (k / (n - 1)) for k in range(n)]
    draws = (noise.normal("tsgm/step/t1/0", [5], k, (1, SIZE, SIZE)) for k in range(2 * n))
    x = noise.normal("tsgm/start/t1/0", [5], 0, (1, SIZE, SIZE))
    for k in range(n - 1, -1, -1):

        def score(x, s=sigma[k]):
            return (Mixing()(torch.cat([x, y], 1), torch.tensor([s])) - x) / s**2

        g, z = score(x), next(draws)
        e = 2 * (r * z.norm() / g.norm()) ** 2
        x = x + e * g + (2 * e).sqrt() * z
        change = sigma[k] ** 2 - (sigma[k - 1] ** 2 if k else 0)
        mean = x + change * score(x)
        x = mean + math.sqrt(change) * next(draws) if k else mean
    assert torch.allclose(found, x.clamp(0, 1), atol=2e-3)
    assert (x.clamp(0, 1) - y).abs().mean() > 0.01  # it was no trivial walk


def test_deterministic_samplers_start_at_sigma_max_whatever_the_code_does():
    batch, noise = batch_of(ROWS, 1), Noise(0)
    expected = {("pc", "code"): 1, ("pc", "paper"): 348, ("heun", "code"): 348, ("ddim", "paper"): 348}
    for (sampler, follow), deviation in expected.items():
        restorer = joint(Mixing(), sampler=sampler, follow=follow)
        start = restorer.start(Images.of(batch, (batch.images + 1) / 2, ("t1",), 1, noise))
        assert start.std().item() == pytest.approx(deviation, rel=0.05)
    assert joint(Mixing(), sampler="pc", follow="code", start="sigma").own.initial == "sigma"


def test_one_step_is_the_regression_limit():
    """Data +-1 around the condition: at sigma_max the best guess is the condition itself, and one call makes it."""

    def net(x, sigma):
        noisy, y = x.chunk(2, dim=1)
        return y + 0.2 * torch.tanh(0.2 * (noisy - y) / sigma.view(-1, 1, 1, 1) ** 2)

    restorer = dataclasses.replace(joint(net), once=True)
    batch = batch_of(ROWS)
    scores = scorer_of(restorer).score(batch, Noise(0))
    assert scores.evaluations.tolist() == [4] * 3
    assert scores.extra["residual"].max() < 0.01
    sampled = scorer_of(joint(net, steps=20)).score(batch, Noise(0))
    assert sampled.extra["residual"].float().mean() > 0.05  # a sample takes a side


# -- where it begins


@pytest.mark.parametrize("spacing", ["linspace", "karras"])
@pytest.mark.parametrize("high", [0.5, 5.0, 348.0])
def test_a_partial_start_uses_only_levels_from_there_down(spacing, high):
    own = dataclasses.replace(OWN, begin="image", begin_sigma=high, spacing=spacing, steps=6)
    times = levels(SCHEDULE, own)
    sigma = SCHEDULE.marginal(times)[1]
    assert sigma[0].item() == pytest.approx(high)
    assert sigma[-2].item() == pytest.approx(0.01)
    assert sigma[-1] == 0
    assert torch.allclose(sigma, VE(0.01, high).marginal(VE(0.01, high).grid(6, spacing))[1])


def test_the_papers_density_below_a_level_is_spec_10s_share():
    """N ln(begin / min) / ln(max / min) of 1000 levels: 37, 44, 59 and 81 % for 0.5, 1, 5 and 50."""
    sigma = SCHEDULE.marginal(SCHEDULE.grid(1000, "linspace")[:-1])[1]
    for high, share in ((0.5, 0.37), (1, 0.44), (5, 0.59), (50, 0.81)):
        assert (sigma <= high).double().mean().item() == pytest.approx(share, abs=0.01)
        assert math.log(high / 0.01) / math.log(34800) == pytest.approx(share, abs=0.01)


def test_it_begins_at_the_image_or_at_cyclegans_restoration_plus_noise():
    batch, noise = batch_of(ROWS, 1), Noise(0)
    images = Images.of(batch, (batch.images + 1) / 2, ("t1",), 1, noise)
    pure = joint(Mixing()).start(images) / 348
    begun = joint(Mixing(), begin="image", begin_sigma=0.5).start(images)
    assert torch.allclose(begun, images.unit + 0.5 * pure, atol=1e-5)
    first = Generator(nn.Sequential(nn.Hardtanh(-1, 0.2)))  # at most 0.6 in [0, 1]
    restorer = dataclasses.replace(joint(Mixing(), begin="cyclegan", begin_sigma=0.5), first=first)
    assert torch.allclose(restorer.start(images), images.unit.clamp_max(0.6) + 0.5 * pure, atol=1e-5)
    assert images.calls == 1  # the generator's own


@pytest.mark.parametrize("high", [0.0, 0.01, 349.0])
def test_a_start_outside_of_the_trained_levels_is_refused(high):
    with pytest.raises(UserError, match=r"begin_sigma is .*expected more than 0\.01 and at most 348"):
        levels(SCHEDULE, dataclasses.replace(OWN, begin="image", begin_sigma=high))


# -- images, samples, scale


@pytest.mark.parametrize("sampler", ["pc", "heun"])
@pytest.mark.parametrize("variant", ["single", "multi"])
def test_images_per_call_and_company_do_not_matter(variant, sampler):
    restorer, noise = joint(Mixing(), sampler=sampler), Noise(1)
    whole = scorer_of(restorer, variant, samples=2).score(batch_of(ROWS), noise)
    for images in (1, 5):
        scores = scorer_of(restorer, variant, samples=2, images=images).score(batch_of(ROWS), noise)
        for name in ("residual", "restored", "sd"):
            assert torch.allclose(scores.extra[name].float(), whole.extra[name].float(), atol=2e-3), name
        assert torch.equal(scores.evaluations, whole.evaluations)
    alone = scorer_of(restorer, variant, samples=2).score(batch_of(ROWS[1:2]), noise)
    assert torch.allclose(alone.map[0], whole.map[1], atol=1e-4)


def test_a_modality_gets_the_same_noise_alone_and_among_others():
    """So that tsgm_flair and a cohort of one modality differ from the rest by their networks and images alone."""
    restorer, batch = joint(Mixing()), batch_of(ROWS)
    among = scorer_of(restorer).score(batch, Noise(2)).extra["restored"][:, 3]
    own = dataclasses.replace(batch, images=batch.images[:, 3:])
    for variant, there in (("flair", MODALITIES), ("single", ("flair",))):
        alone = scorer_of(restorer, variant, there)
        assert alone.modalities == ("flair",)
        assert torch.allclose(alone.score(own, Noise(2)).extra["restored"][:, 0], among, atol=2e-3)


def test_samples_are_averaged_and_their_scatter_is_kept():
    restorer, batch = joint(Mixing()), batch_of(ROWS)
    one, two, three = (scorer_of(restorer, samples=n).score(batch, Noise(0)) for n in (1, 2, 3))
    assert "sd" not in one.extra
    first = one.extra["restored"].float()
    second = 2 * two.extra["restored"].float() - first
    assert (second - first).abs().mean() > 0.01
    assert torch.allclose(two.extra["sd"].float(), (second - first).abs() / 2, atol=2e-3)
    unit = (batch.images + 1) / 2
    assert torch.allclose(two.extra["residual"].float(), (unit - two.extra["restored"].float()).abs(), atol=1e-3)
    assert three.evaluations.tolist() == [3 * 4 * 15] * 3
    assert {value.dtype for value in three.extra.values()} == {torch.float16}


def test_restorations_are_scaled_by_their_own_range_or_cut():
    x = torch.tensor([-0.5, 0.5, 1.5]).expand(1, 1, 1, 3)
    assert rescaled(x, "clip").flatten().tolist() == [0, 0.5, 1]
    assert rescaled(x, "minmax").flatten().tolist() == [0, 0.5, 1]
    assert rescaled(x / 2, "clip").flatten().tolist() == [0, 0.25, 0.75]
    assert rescaled(x / 2, "minmax").flatten().tolist() == [0, 0.5, 1]


def test_follow_is_the_code_or_the_paper_and_can_be_overruled():
    code, paper = (dataclasses.replace(OWN, follow=name, sampler="pc") for name in ("code", "paper"))
    assert (code.initial, code.range, code.which) == ("unit", "minmax", "raw")
    assert (paper.initial, paper.range, paper.which) == ("sigma", "clip", "ema")
    mixed = dataclasses.replace(code, start="sigma", rescale="clip", weights="ema")
    assert (mixed.initial, mixed.range, mixed.which) == ("sigma", "clip", "ema")


def test_the_codes_loader_shows_each_image_by_its_own_range():
    """An exact network that changes nothing leaves no residual in the loader's scale, though the image was dim."""
    batch = batch_of(ROWS)
    dim = dataclasses.replace(batch, images=(batch.images + 1) * 0.3 - 1)
    restorer = dataclasses.replace(joint(exact(lambda y: y), follow="code"), loader="slice_minmax")
    scores = scorer_of(restorer).score(dim, Noise(0))
    assert scores.extra["residual"].max() < 0.01
    assert scores.extra["restored"].amax((2, 3)).min() == 1


def test_cyclegan_sees_and_gives_minus_one_to_one():
    batch = batch_of(ROWS)
    scorer = scorer_of(Generator(nn.Hardtanh(-1, 0.2)))
    scores = scorer.score(batch, Noise(0))
    assert scores.evaluations.tolist() == [4] * 3
    assert torch.allclose(scores.extra["restored"].float(), ((batch.images + 1) / 2).clamp_max(0.6), atol=1e-3)


def test_maps_are_zero_outside_of_the_brain_and_residuals_are_not_masked():
    batch = batch_of(ROWS)
    scores = scorer_of(joint(exact(lambda y: y + 0.25))).score(batch, Noise(0))
    outside = batch.brain == 0
    assert (scores.map[outside] == 0).all()
    residual = scores.extra["residual"].float()[outside[:, None].expand(-1, 4, -1, -1)]
    assert torch.allclose(residual, torch.tensor(0.25), atol=0.01)


@pytest.mark.parametrize("pair", ["single", "sampled/single", ""])
def test_an_unknown_kind_is_one_sentence(pair):
    with pytest.raises(UserError, match="expected one of tsgm, onestep, cyclegan, regression"):
        tsgm.scorer({"tsgm.sampling": OWN}, None, None, torch.device("cpu"), pair)


def test_gaussian_data_keep_their_spread_also_from_the_codes_start():
    """Spec 4: the paper's sampler mends a start of standard deviation 1; a deterministic one would not."""

    def net(x, sigma):
        noisy, y = x.chunk(2, dim=1)
        s = sigma.view(-1, 1, 1, 1).double()
        return (y + 0.01 / (0.01 + s**2) * (noisy.double() - y)).float()  # N(y, 0.1^2)

    y = torch.full((2, 1, 24, 24), 0.5)
    images = Images(y, torch.tensor([1, 2]), ("t1/0",) * 2, Noise(0))
    spread = {}
    for follow, sampler in (("code", "pc"), ("paper", "pc"), ("paper", "heun")):
        own = joint(net, follow=follow, sampler=sampler, spacing="linspace", steps=400, rescale="clip")
        spread[follow, sampler] = own.restored(images).std().item()
    assert all(value == pytest.approx(0.1, rel=0.08) for value in spread.values()), spread
    flow = samplers.last(samplers.heun(Denoiser(net, SCHEDULE, target="x0").bind(image=y), images.normal("start", 0),
                                       SCHEDULE.grid(40, "karras"), SCHEDULE))  # fmt: skip
    assert flow.std() < 0.001
