"""Sampling of masks: perfect oracles, Eq. 17, chains and pairs, what a Scorer promises (DDMD spec 5 and 11)."""

import dataclasses
import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ddmd_toys import OWN, TRAIN, batch_of, known_of
from gliomap.base.errors import UserError
from gliomap.data.features import Features
from gliomap.data.slices import Slices
from gliomap.diffusion import samplers
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import ddmd
from gliomap.methods.ddmd import CLIP, Chains, DdmdScorer
from gliomap.methods.ddmd_training import Known, Training, coded, conditions, configure
from gliomap.nets.unet import UNet, UNetShape
from stage_toys import SIZE

SCHEDULE = VP(1000, 1e-4, 0.02)
ROWS = [0, 1, 3, 25]  # with and without tumour, of two splits
SAMPLERS = {"ancestral": 1000, "ddim": 10, "dpm_solver_2m": 10, "heun": 10}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddmd")
    known_of(folder)
    return folder


class Oracle(nn.Module):
    """Knows the masks: the noise in x is exact at every level. Their slices are told by the first modality."""

    def __init__(self, batch, masks: torch.Tensor, learned: bool):
        super().__init__()
        self.images, self.masks, self.learned = batch.images[:, 0], masks, learned
        self.seen = []

    def forward(self, x, t):
        self.seen.append(x.clone())
        which = [next(i for i, image in enumerate(self.images) if torch.equal(image, own)) for own in x[:, 1]]
        alpha, sigma = (v.view(-1, 1, 1, 1) for v in SCHEDULE.marginal(t))
        eps = ((x[:, :1].double() - alpha * self.masks[which]) / sigma).float()
        return torch.cat([eps, torch.zeros_like(eps)], dim=1) if self.learned else eps


def random_net(kind: str = "none") -> UNet:
    torch.manual_seed(1)
    net = UNet(configure(OWN, SIZE, kind)).eval().requires_grad_(False)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    return net


def scorer_of(root, net: nn.Module, kind: str = "none", learned: bool = True, **changes) -> DdmdScorer:
    own = dataclasses.replace(OWN, **changes)
    denoiser = Denoiser(net, SCHEDULE, clip=CLIP, learned_variance=learned)
    return DdmdScorer(denoiser, known_of(root, kind).features, own.mask_range, own)


# -- sampling


@pytest.mark.parametrize("mask_range", ["unit", "symmetric"])
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_with_the_true_noise_every_sampler_returns_the_mask(root, sampler, learned, mask_range):
    batch = batch_of(root, ROWS[:2])
    truth = known_of(root).mask(batch.rows)
    oracle = Oracle(batch, coded(truth, mask_range), learned)
    steps = SAMPLERS[sampler]
    scorer = scorer_of(root, oracle, learned=learned, sampler=sampler, steps=steps, chains=2, mask_range=mask_range)
    scores = scorer.score(batch, Noise(0))
    assert torch.equal(scores.mask, truth[:, 0] > 0)  # Dice 1
    assert torch.allclose(scores.map, truth[:, 0] * batch.brain, atol=0.02)
    assert scores.evaluations.tolist() == [2 * (2 * steps - 1 if sampler == "heun" else steps)] * 2


@pytest.mark.parametrize("level", [1, 2, 250, 999])
def test_an_ancestral_step_without_clipping_is_equation_17(level):
    """x_(t-1) = (x_t - beta_t / sqrt(1 - abar_t) eps) / sqrt(alpha_t) + sqrt(beta_t) z."""
    torch.manual_seed(0)
    x, eps, z = torch.randn(3, 2, 1, 8, 8, dtype=torch.float64).unbind(0)
    denoiser = Denoiser(lambda *_: eps, SCHEDULE)
    found = samplers.last(samplers.ancestral(
        denoiser.bind(), x, torch.tensor([level, level - 1]), SCHEDULE, lambda k: z, "large"
    ))  # fmt: skip
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    beta, abar = betas[level], torch.cumprod(1 - betas, 0)[level]
    expected = (x - beta / (1 - abar).sqrt() * eps) / (1 - beta).sqrt() + beta.sqrt() * z
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_the_condition_is_the_same_at_every_step_and_the_mask_is_not(root, sampler):
    batch = batch_of(root, ROWS)
    net, seen = random_net("both"), []
    net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    scorer = scorer_of(root, net, "both", sampler=sampler, steps=5, chains=1)
    scorer.score(batch, Noise(0))
    assert len(seen) == 5
    expected = conditions(batch, scorer.features)
    assert all(torch.equal(x[:, 1:], expected) for x in seen)
    assert not any(torch.equal(a[:, :1], b[:, :1]) for a, b in pairwise(seen))


# -- chains


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_pairs_per_call_and_the_rest_of_the_batch_do_not_matter(root, sampler):
    net, noise = random_net("inter"), Noise(3)
    whole = scorer_of(root, net, "inter", sampler=sampler).score(batch_of(root, ROWS), noise)
    for pairs in (1, 3, 7):
        scores = scorer_of(root, net, "inter", sampler=sampler, pairs=pairs).score(batch_of(root, ROWS), noise)
        assert torch.allclose(scores.map, whole.map, atol=1e-5)
        assert torch.allclose(scores.extra["sd"], whole.extra["sd"], atol=1e-3)
        assert scores.evaluations.tolist() == whole.evaluations.tolist() == [20] * 4
    alone = scorer_of(root, net, "inter", sampler=sampler).score(batch_of(root, ROWS[2:3]), noise)
    assert torch.allclose(alone.map[0], whole.map[2], atol=1e-5)


def test_more_chains_begin_with_the_same_ones(root):
    batch, noise, net = batch_of(root, ROWS), Noise(0), random_net()
    one, two, four = (scorer_of(root, net, chains=n).score(batch, noise) for n in (1, 2, 4))
    assert one.extra["sd"].abs().max() == 0
    second = 2 * two.map - one.map
    assert not torch.allclose(second, one.map, atol=1e-2)
    inside = batch.brain > 0
    spread = ((one.map - second).abs() / 2)[inside]
    assert torch.allclose(two.extra["sd"].float()[inside], spread, atol=2e-3)
    assert four.extra["sd"].mean() > 0
    assert four.extra["sd"].dtype == torch.float16


def test_variants_and_samplers_start_from_the_same_noise(root):
    batch = batch_of(root, ROWS)
    starts = []
    for kind in ("none", "both"):
        scorer = scorer_of(root, random_net(kind), kind)
        chain = torch.zeros(len(ROWS), dtype=torch.int64)
        chains = Chains(conditions(batch, scorer.features), batch.rows, chain, Noise(0))
        starts.append(next(chains.walk(scorer.denoiser, scorer.own))[1])
    assert torch.equal(*starts)
    assert starts[0].std().item() == pytest.approx(1, abs=0.05)


def test_mask_is_the_mean_above_the_threshold_also_outside_the_brain_and_the_map_inside_only(root):
    batch = batch_of(root, ROWS)
    half = torch.full((len(ROWS), 1, SIZE, SIZE), 0.5)
    low, high = (
        scorer_of(root, Oracle(batch, half, True), threshold=value, steps=50).score(batch, Noise(0)) for value in (0.4, 0.6)
    )
    assert low.mask.all()
    assert not high.mask.any()
    assert torch.allclose(low.map, 0.5 * batch.brain, atol=0.02)


# -- loading


@pytest.fixture
def trained(root, tmp_path):
    """models/ with one variant, `light`."""
    training = Training(OWN, SIZE, known_of(root, "inter"), None)
    nn.init.normal_(training.nets["net"].head.weight, std=0.1)
    states = {name: net.state_dict() for name, net in training.nets.items()}
    weights.save(tmp_path / "ddmd" / "light", states, states, {"method": "ddmd", "networks": training.arguments})
    (tmp_path / "discrepancy").symlink_to(root / "discrepancy")
    return tmp_path


def test_it_is_loaded_as_it_was_trained_with_its_features(root, trained):
    slices = Slices.open(root / "common")
    scorer = ddmd.scorer({"ddmd": OWN, "seed": 0}, trained, slices, torch.device("cpu"), "light")
    assert scorer.features.kind == "inter"
    assert scorer.denoiser.learned_variance
    assert scorer.denoiser.clip == CLIP
    assert scorer.mask_range == "unit"
    assert torch.isfinite(scorer.score(batch_of(root, ROWS), Noise(0)).map).all()


def test_missing_models_and_features_are_one_sentence(root, trained):
    slices = Slices.open(root / "common")
    with pytest.raises(UserError, match=r"ddmd/full/model\.json: no such file"):
        ddmd.scorer({"ddmd": OWN, "seed": 0}, trained, slices, torch.device("cpu"), "full")
    (trained / "discrepancy").unlink()
    with pytest.raises(UserError, match=r"discrepancy\.json: no such file"):
        ddmd.scorer({"ddmd": OWN, "seed": 0}, trained, slices, torch.device("cpu"), "light")


CUT = (slice(8, 24), slice(6, 22))  # a part of the toy slices that holds every tumour


def cut_known(root) -> Known:
    masks = known_of(root).masks
    part = SimpleNamespace(of_rows=lambda rows: masks.of_rows(rows)[:, *CUT])
    return Known(part, Features("none", "raw", (), (), np.arange(36), 16))


@pytest.mark.slow
def test_a_small_network_learns_the_masks_of_eight_slices(root):
    """Spec 11.10: the chains' mean reaches Dice 0.95 on the slices that it was trained on, of 16 pixels here."""
    torch.manual_seed(0)
    shape = UNetShape(width=16, mult=(1, 2), blocks=1, attention_px=(), groups=4, dropout=0.0)
    known, whole = cut_known(root), batch_of(root, [0, 3, 6, 9, 12, 15, 1, 2])
    batch = Batch(whole.rows, whole.images[:, :, *CUT], whole.brain[:, *CUT], 0)
    training = Training(dataclasses.replace(OWN, net=shape), 16, known, None)
    train = dataclasses.replace(TRAIN, steps=300, lr=4e-3)
    optimiser = training.optimisers(train)["net"]
    for step in range(train.steps):
        ((_, loss),) = training.losses(dataclasses.replace(batch, step=step), Noise(0))
        optimiser.param_groups[0]["lr"] = train.lr * 0.5 * (1 + math.cos(math.pi * step / train.steps))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    denoiser = Denoiser(training.nets["net"].eval(), SCHEDULE, clip=CLIP, learned_variance=True)
    found = DdmdScorer(denoiser, known.features, "unit", dataclasses.replace(OWN, steps=5)).score(batch, Noise(1)).mask
    truth = known.mask(batch.rows)[:, 0] > 0
    both, sizes = (found & truth).sum((1, 2)), found.sum((1, 2)) + truth.sum((1, 2))
    assert (2 * both[:6] / sizes[:6]).mean() > 0.95
    assert found[6:].sum() < 5  # next to nothing where there is no tumour
