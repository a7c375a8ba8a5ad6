"""VAE and f-AnoGAN: losses in closed form, who learns when, loading, scores, broken input."""

import copy
import dataclasses
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import restoring_toys
from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import reconstruction
from gliomap.methods.reconstruction import (
    Adversary,
    Gan,
    Inversion,
    ReconstructionScorer,
    Vae,
    divergence,
    fed,
    penalty,
)
from gliomap.methods.variants import against
from gliomap.nets.baur import BaurShape, configure
from restoring_toys import SIZE, TRAIN, losses_of

CPU = torch.device("cpu")
SHAPE = BaurShape(width=4, most=8, bottleneck_px=8, latent=3, dropout=0.0)
OWN = Adversary(critic_steps=3, penalty=10.0, features=1.0)


batch_of = partial(restoring_toys.batch_of, 4)


def gan_nets() -> dict[str, nn.Module]:
    nets = Gan(SHAPE, OWN, SIZE, -1.0).nets
    return {name: net.eval().requires_grad_(False) for name, net in nets.items()}


def inversion(own: Adversary = OWN) -> Inversion:
    return Inversion(configure(SHAPE, 4, SIZE), own, gan_nets(), -1.0)


# -- VAE


def test_divergence_of_gaussians_by_hand():
    """0 at the prior; mean m costs m^2 / 2; sigma = 2 costs (4 - ln 4 - 1) / 2."""
    mean = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
    log_sigma = torch.tensor([[0.0, 0.0], [0.0, 0.0], [2.0, 1.0]]).log().nan_to_num(neginf=0.0)
    assert torch.allclose(
        divergence(mean, log_sigma), torch.tensor([0.0, 4.5, 0.5 * (3 - 4**0.5 * torch.tensor(2.0).log())])
    )


def test_vae_loss_is_a_sum_over_pixels_and_a_mean_over_slices():
    method, batch = Vae(SHAPE, SIZE, -1.0), batch_of()
    for parameter in method.nets["net"].parameters():
        nn.init.zeros_(parameter)  # mean 0, sigma 1, everything restored as 0
    [(name, loss)] = method.losses(batch, Noise(0))
    assert name == "net"
    assert loss.item() == pytest.approx(((batch.images + 1) / 2).sum().item() / 6, rel=1e-5)


def test_vae_takes_its_vector_by_chance_but_restores_without():
    method, batch = Vae(SHAPE, SIZE, -1.0), batch_of()
    method.nets["net"].eval()
    first, again, other = (next(method.losses(batch, Noise(seed)))[1].item() for seed in (0, 0, 1))
    assert first == again != other
    scorer = ReconstructionScorer(method.nets["net"], -1.0)
    assert torch.equal(scorer.score(batch, Noise(0)).map, scorer.score(batch, Noise(1)).map)


def test_vae_learns():
    method, batch = Vae(SHAPE, SIZE, -1.0), batch_of()
    [optimiser] = method.optimisers(TRAIN).values()
    assert optimiser.defaults["betas"] == (0.5, 0.999)
    found = losses_of(method, batch, 30)
    assert found[-1] < 0.7 * found[0]


# -- f-AnoGAN


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_gradient_penalty_of_a_linear_critic(slope):
    """|slope v| = slope for a unit vector v: (slope - 1)^2."""
    v = torch.randn(4, SIZE, SIZE)
    v = slope * v / v.norm()
    found = penalty(lambda x: (x * v).flatten(1).sum(1), torch.rand(5, 4, SIZE, SIZE))
    assert found.item() == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_penalty_is_float32_under_autocast_and_teaches_the_critic():
    critic = Gan(SHAPE, OWN, SIZE, -1.0).nets["critic"]
    with torch.autocast("cpu", torch.bfloat16):
        found = penalty(critic, torch.rand(2, 4, SIZE, SIZE))
    found.backward()
    assert found.dtype == torch.float32
    assert all(p.grad is not None and p.grad.any() for p in critic.parameters() if p.ndim > 1)


def test_critic_steps_come_first_each_on_slices_of_its_own_and_only_their_net_learns():
    method, batch = Gan(SHAPE, OWN, SIZE, -1.0), batch_of()
    seen = []
    method.nets["critic"].register_forward_pre_hook(lambda net, args: seen.append(args[0]))
    names = []
    for name, loss in method.losses(batch, Noise(0)):
        for net in method.nets.values():
            net.zero_grad()
        loss.backward()
        names.append(name)
        other = {"critic": "generator", "generator": "critic"}[name]
        assert any(p.grad is not None and p.grad.any() for p in method.nets[name].parameters())
        assert all(p.grad is None or not p.grad.any() for p in method.nets[other].parameters())
        assert all(p.requires_grad for net in method.nets.values() for p in net.parameters())
    assert names == ["critic"] * 3 + ["generator"]
    unit = (batch.images + 1) / 2
    for j in range(3):  # fake, real, between
        assert torch.equal(seen[3 * j + 1], unit[j::3])
        between = (seen[3 * j + 2] - seen[3 * j]) / (seen[3 * j + 1] - seen[3 * j])
        share = between.flatten(1).median(1).values
        assert ((share > 0) & (share < 1)).all()
    assert not torch.equal(seen[0], seen[3])


def test_held_out_losses_need_no_gradient_and_leave_the_penalty_out():
    method, batch = Gan(SHAPE, OWN, SIZE, -1.0), batch_of(2)
    for net in method.nets.values():
        net.eval()
    with torch.no_grad():
        found = dict(method.losses(batch, Noise(0)))
        fake = method.made(batch.rows, Noise(0), "critic/0", 0)
        critic = method.nets["critic"]
        expected = critic(fake).mean() - critic((batch.images + 1) / 2).mean()
    assert list(found) == ["critic", "generator"]
    assert torch.allclose(found["critic"], expected)


def test_a_batch_is_told_for_one_step_of_the_critic():
    assert fed(TRAIN, OWN) == dataclasses.replace(TRAIN, batch=12)
    with pytest.raises(UserError, match="2 slices a step for 3 steps of the critic"):
        next(Gan(SHAPE, OWN, SIZE, -1.0).losses(batch_of(2), Noise(0)))


@pytest.mark.parametrize("share", [0.0, 2.0])
def test_inversion_adds_the_features_and_leaves_the_gan_alone(share):
    method, batch = inversion(dataclasses.replace(OWN, features=share)), batch_of()
    method.nets["encoder"].eval()
    before = copy.deepcopy(method.gan)
    [(name, loss)] = method.losses(batch, Noise(0))
    x = (batch.images + 1) / 2
    made = method.gan["generator"](method.nets["encoder"](x))
    far = [f - g for f, g in ((made, x), (method.gan["critic"].features(made), method.gan["critic"].features(x)))]
    assert name == "encoder"
    assert loss.item() == pytest.approx((far[0].square().mean() + share * far[1].square().mean()).item(), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in method.nets["encoder"].parameters())
    for name, net in method.gan.items():
        assert all(p.grad is None for p in net.parameters())
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), before[name].parameters(), strict=True))
    assert set(method.nets) == {"encoder"}


def test_the_encoder_ends_within_the_range_of_tanh():
    found = inversion().nets["encoder"].eval()(1e4 * torch.randn(3, 4, SIZE, SIZE))
    assert found.shape == (3, 3)
    assert found.abs().max() <= 1


# -- scores


def test_residual_and_restored_are_in_unit_images_over_the_whole_image():
    batch = batch_of()
    y = (batch.images + 1) / 2
    shift = torch.tensor([0.0, 0.1, -0.2, 3.0]).view(4, 1, 1)
    scores = against(y, y + shift, batch.brain, torch.ones(6, dtype=torch.int64))
    restored = (y + shift).clamp(0, 1)
    assert scores.extra["residual"].dtype == scores.extra["restored"].dtype == torch.float16
    assert torch.equal(scores.extra["restored"], restored.half())
    assert torch.equal(scores.extra["residual"], (y - restored).abs().half())
    assert torch.allclose(scores.map, (y - restored).abs().mean(1) * batch.brain)
    assert (scores.map[batch.brain == 0] == 0).all()
    assert (scores.extra["residual"][:, 3, 0, 0] == (1 - y[:, 3, 0, 0]).half()).all()  # outside the brain too


@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_a_perfect_network_leaves_nothing_whatever_the_range_of_the_slices(background):
    batch = batch_of()
    if background == 0:
        batch = dataclasses.replace(batch, images=(batch.images + 1) / 2)
    scores = ReconstructionScorer(nn.Identity(), background).score(batch, Noise(0))
    assert not scores.map.any()
    assert scores.evaluations.tolist() == [1] * 6


# -- loading


def saved(method, folder) -> None:
    states = {
        name: {k: v + 0.05 if v.is_floating_point() else v for k, v in net.state_dict().items()}
        for name, net in method.nets.items()
    }
    weights.save(folder, states, states, {"method": method.name, "networks": method.arguments})


@pytest.fixture
def models(tmp_path):
    saved(Vae(SHAPE, SIZE, -1.0), tmp_path / "vae" / "all")
    saved(Gan(SHAPE, OWN, SIZE, -1.0), tmp_path / "fanogan" / "gan")
    saved(inversion(), tmp_path / "fanogan" / "encoder")
    return tmp_path


def slices_of(size: int = SIZE) -> SimpleNamespace:
    return SimpleNamespace(images=torch.zeros(1, 4, size, size), background=-1.0)


@pytest.mark.parametrize("pair", ["vae/all", "fanogan/all"])
def test_a_stored_method_scores_each_slice_by_itself(models, pair):
    scorer = reconstruction.scorer({}, models, slices_of(), CPU, pair)
    assert scorer.modalities == ("t1", "t1ce", "t2", "flair")
    batch = batch_of()
    whole = scorer.score(batch, Noise(0))
    assert whole.map.std() > 0
    for i in range(6):
        alone = scorer.score(Batch(batch.rows[i : i + 1], batch.images[i : i + 1], batch.brain[i : i + 1], 0), Noise(1))
        assert torch.allclose(alone.map[0], whole.map[i], atol=1e-5)


def test_what_is_missing_or_does_not_fit_is_one_sentence(models, tmp_path):
    with pytest.raises(UserError, match="pair is 'ae/all', expected one of vae/all, fanogan/all"):
        reconstruction.scorer({}, models, slices_of(), CPU, "ae/all")
    with pytest.raises(UserError, match="trained on slices of 16 px, found slices of 32 px"):
        reconstruction.scorer({}, models, slices_of(32), CPU, "vae/all")
    (models / "fanogan/gan/model.json").unlink()
    with pytest.raises(UserError, match=r"fanogan.gan.model\.json: no such file"):
        reconstruction.scorer({}, models, slices_of(), CPU, "fanogan/all")
    with pytest.raises(UserError, match="background is nan"):
        Vae(SHAPE, SIZE, float("nan"))
