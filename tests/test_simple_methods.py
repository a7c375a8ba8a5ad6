"""Translator, Cyclic U-Net, intensity threshold and random map: closed forms and broken input."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train
from gliomap.engine.scorer import parse_pair
from gliomap.methods import cyclic_unet, threshold, uniform
from gliomap.methods.translator import Translator, load
from gliomap.nets.unet import UNetShape

SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(), groups=4, dropout=0.0)
CPU = torch.device("cpu")
TRAIN = Train(
    steps=60,
    batch=8,
    lr=3e-3,
    weight_decay=0,
    warmup=0,
    decay_from=0.5,
    clip=0,
    ema=0,
    log_every=60,
    save_every=60,
    val_slices=0,
)


def batch_of(images: torch.Tensor, brain: torch.Tensor | None = None, first_row: int = 0) -> Batch:
    rows = torch.arange(first_row, first_row + len(images))
    return Batch(rows, images, torch.ones_like(images[:, 0]) if brain is None else brain, 0)


class Plus(nn.Module):
    """x -> x + c."""

    def __init__(self, c: float):
        super().__init__()
        self.c = c

    def forward(self, x):
        return x + self.c


# -- Cyclic U-Net


def test_cyclic_map_is_zero_where_the_cycle_returns_the_slice():
    x = torch.randn(3, 1, 16, 16)
    scores = cyclic_unet.CyclicUnetScorer("flair", Plus(0.5), Plus(-0.5), "squared").score(batch_of(x), Noise(0))
    assert scores.map.abs().max() < 1e-12
    assert torch.allclose(scores.reconstruction, x[:, 0])
    assert scores.evaluations.tolist() == [2, 2, 2]


@pytest.mark.parametrize(("error", "value"), [("squared", 0.09), ("absolute", 0.3)])
def test_cyclic_map_is_the_error_inside_the_brain_and_zero_outside(error, value):
    brain = torch.zeros(2, 8, 8)
    brain[:, 2:5] = 1
    scorer = cyclic_unet.CyclicUnetScorer("flair", Plus(0.5), Plus(-0.2), error)
    found = scorer.score(batch_of(torch.randn(2, 1, 8, 8), brain), Noise(0)).map
    assert torch.allclose(found, value * brain, atol=1e-6)


def trained(pair: tuple[str, str], images: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    method = Translator(pair, SHAPE, images.shape[-1])
    optimiser = method.optimisers(TRAIN)["net"]
    for step in range(TRAIN.steps):
        which = torch.from_numpy(np.random.default_rng(step).integers(0, len(images), TRAIN.batch))
        [(_, loss)] = method.losses(Batch(which, images[which], images[which, 0], step), Noise(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return method.nets["net"].eval()


@pytest.mark.slow
def test_cyclic_unet_finds_a_tissue_that_it_never_saw():
    """Spec item 9: healthy tissues map x to y one to one; the blob's x does not occur in training."""
    rng = np.random.default_rng(0)
    tissue = rng.integers(0, 3, (40, 2, 2)).repeat(8, 1).repeat(8, 2)
    noise = rng.normal(0, 0.02, (40, 2, 16, 16))
    values = np.array([[-0.6, 0.5], [0.0, -0.7], [0.4, 0.1]])
    images = torch.from_numpy((values[tissue].transpose(0, 3, 1, 2) + noise).astype(np.float32))
    healthy, test = images[:32], images[32:].clone()
    truth = torch.zeros(8, 16, 16, dtype=torch.bool)
    truth[:, 5:10, 4:9] = True
    test[:, 0][truth] = 1.0
    f, g = trained(("x", "y"), healthy), trained(("y", "x"), healthy[:, [1, 0]])
    with torch.no_grad():
        found = cyclic_unet.CyclicUnetScorer("x", f, g, "squared").score(batch_of(test[:, :1]), Noise(0)).map
    order = found.flatten().argsort(descending=True)
    hits = truth.flatten()[order].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    assert (precision * hits).sum() / hits.sum() > 4 * hits.mean()


# -- translator


def test_translator_loss_is_the_mean_squared_error_of_the_second_channel():
    method = Translator(("flair", "t2"), SHAPE, 16)
    images = torch.randn(4, 2, 16, 16)
    [(name, loss)] = method.losses(batch_of(images), Noise(0))
    assert name in method.optimisers(TRAIN)
    assert loss.item() == pytest.approx(images[:, 1].square().mean().item(), rel=1e-5)  # the output is 0 before training


def saved(folder: Path, pair: str = "t2-flair", size: int = 16) -> Translator:
    method = Translator(tuple(pair.split("-")), SHAPE, size)
    states = {"net": method.nets["net"].state_dict()}
    weights.save(folder / "translator" / pair, states, states, {"method": "translator", "networks": method.arguments})
    return method


def test_a_stored_translator_comes_back_as_the_same_function(tmp_path):
    method = saved(tmp_path)
    for parameter in method.nets["net"].parameters():
        nn.init.normal_(parameter, std=0.2)
    states = {"net": method.nets["net"].state_dict()}
    weights.save(
        tmp_path / "translator" / "t2-flair", states, states, {"method": "translator", "networks": method.arguments}
    )
    _, net = load(tmp_path / "translator" / "t2-flair", "net", "raw", 16, CPU)
    x = torch.randn(2, 1, 16, 16)
    assert torch.allclose(net(x), method.nets["net"].eval()(x), atol=1e-5)
    assert not any(p.requires_grad for p in net.parameters())


def test_cyclic_unet_reads_both_ways_and_says_which_is_missing(tmp_path):
    slices = SimpleNamespace(modalities=("t1", "t2", "flair"), images=np.zeros((1, 3, 16, 16)))
    p = {"cyclic_unet": cyclic_unet.CyclicUnet(weights="ema", error="squared")}
    saved(tmp_path)
    with pytest.raises(UserError, match=r"flair-t2.model\.json"):
        cyclic_unet.scorer(p, tmp_path, slices, CPU, "flair-t2")
    saved(tmp_path, "flair-t2")
    scorer = cyclic_unet.scorer(p, tmp_path, slices, CPU, "flair-t2")
    assert scorer.modalities == ("flair",)
    slices.images = np.zeros((1, 3, 32, 32))
    with pytest.raises(UserError, match="slices of 16 px, found slices of 32 px"):
        cyclic_unet.scorer(p, tmp_path, slices, CPU, "flair-t2")


@pytest.mark.parametrize("pair", ["flair", "flair-flair", "flair-t3", "flair-t2-t1", ""])
def test_a_bad_pair_is_refused(pair):
    with pytest.raises(UserError, match="expected two of"):
        parse_pair(pair, ("t1", "t2", "flair"))


# -- threshold


def test_equalised_intensities_of_a_volume_are_uniform():
    volume = np.random.default_rng(0).gamma(2.0, size=200_000)
    ranks = threshold.ranks(volume, np.quantile(volume, np.linspace(0, 1, 257)))
    assert np.histogram(ranks, 20, (0, 1))[0] == pytest.approx(10_000, rel=0.02)
    assert np.corrcoef(ranks, volume.argsort().argsort())[0, 1] > 0.9999


def test_ranks_are_monotone_in_range_and_give_ties_the_middle_of_their_share():
    quantiles = np.array([0.0, 0.1, 0.1, 0.1, 0.5, 1.0, 1.0])
    image = np.array([-3.0, 0.0, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0, 7.0])
    ranks = threshold.ranks(image, quantiles)
    assert (np.diff(ranks) >= 0).all()
    assert ranks.tolist() == pytest.approx([0, 0, 1 / 12, 2 / 6, 7 / 12, 4 / 6, (4 + 0.8) / 6, 5.5 / 6, 1])


@pytest.mark.parametrize("dark", [False, True])
def test_threshold_map_is_the_rank_in_its_own_volume(dark):
    flat, steep = np.linspace(-1, 1, 257), np.linspace(-1, 0, 257)
    slices = SimpleNamespace(
        modalities=("t1", "flair"), quantiles_of=lambda rows: np.stack([[flat * 0, flat], [flat * 0, steep]])
    )
    brain = torch.ones(2, 4, 4)
    brain[:, 0] = 0
    batch = batch_of(torch.full((2, 1, 4, 4), -0.5), brain)
    found = threshold.ThresholdScorer("flair", slices, dark).score(batch, Noise(0))
    expected = torch.tensor([0.25, 0.5])
    assert torch.allclose(found.map[:, 1:], (1 - expected if dark else expected)[:, None, None].expand(-1, 3, 4))
    assert found.map[:, 0].abs().max() == 0
    assert found.evaluations.tolist() == [0, 0]


def test_threshold_needs_a_modality_that_is_there():
    slices = SimpleNamespace(modalities=("t1", "flair"))
    p = {"threshold": threshold.Threshold(dark=("t1",))}
    assert threshold.scorer(p, Path(), slices, CPU, "t1").dark
    assert not threshold.scorer(p, Path(), slices, CPU, "flair").dark
    with pytest.raises(UserError, match="'t2', expected one of t1, flair"):
        threshold.scorer(p, Path(), slices, CPU, "t2")


# -- random


def test_random_map_is_uniform_inside_the_brain_and_does_not_depend_on_the_batch():
    brain = (torch.rand(6, 32, 32) > 0.3).float()
    scorer, noise = uniform.UniformScorer(("t1",)), Noise(3)
    images = torch.zeros(6, 1, 32, 32)
    whole = scorer.score(batch_of(images, brain), noise).map
    parts = [scorer.score(batch_of(images[i : i + 2], brain[i : i + 2], i), noise).map for i in (0, 2, 4)]
    assert torch.equal(whole, torch.cat(parts))
    assert whole[brain == 0].abs().max() == 0
    inside = whole[brain > 0]
    assert inside.min() >= 0
    assert inside.max() < 1
    assert inside.mean().item() == pytest.approx(0.5, abs=0.03)
    assert inside.std().item() == pytest.approx(12**-0.5, abs=0.02)
    assert not torch.equal(scorer.score(batch_of(images, brain), Noise(4)).map, whole)
