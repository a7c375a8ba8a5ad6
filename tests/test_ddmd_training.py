"""Training of the mask diffusion: sizes, first loss, what the network sees, CIMD's additions (DDMD spec 4, 7.2, 11)."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from ddmd_toys import CIMD, OWN, batch_of, known_of
from gliomap.base.errors import UserError
from gliomap.data.features import channels
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion, column
from gliomap.methods.ddmd_training import MODALITIES, Training, coded, configure, decoded
from gliomap.nets.unet import UNet, UNetShape
from stage_toys import SIZE

KINDS = {"mini": "none", "light": "inter", "full": "both"}
COUNTS = {
    (256, (1, 1, 2, 2, 4, 4)): (113_674_370, 113_675_522, 113_676_674),
    (128, (1, 1, 2, 3, 4)): (85_603_842, 85_604_994, 85_606_146),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddmd")
    known_of(folder)
    return folder


def training_of(root, kind="none", cimd=None, **changes) -> Training:
    return Training(dataclasses.replace(OWN, **changes), SIZE, known_of(root, kind), cimd)


def shaken(training: Training) -> Training:
    """With a last layer that is not 0, so that something depends on what the network sees."""
    nn.init.normal_(training.nets["net"].head.weight, std=0.1)
    return training


@pytest.mark.parametrize(("size", "mult"), COUNTS)
def test_published_networks_have_the_published_parameters(size, mult):
    shape = UNetShape(width=128, mult=mult, blocks=2, attention_px=(16,), groups=32, dropout=0.0)
    own = dataclasses.replace(OWN, net=shape)
    with torch.device("meta"):
        nets = [UNet(configure(own, size, kind)) for kind in KINDS.values()]
    assert tuple(sum(p.numel() for p in net.parameters()) for net in nets) == COUNTS[size, mult]


def test_signal_of_the_published_schedule():
    alpha, _ = Diffusion(1000, 1e-4, 0.02).schedule().marginal(torch.tensor([1, 250, 500, 1000]) - 1)
    assert alpha.square().tolist() == pytest.approx([0.9999, 0.52409, 0.07859, 4.036e-5], rel=2e-4)


@pytest.mark.parametrize("mask_range", ["unit", "symmetric"])
def test_untrained_it_predicts_no_noise_so_the_simple_loss_is_one(root, mask_range):
    training = training_of(root, variance="fixed_large", mask_range=mask_range)
    steps = [list(training.losses(batch_of(root, list(range(24)), step), Noise(0))) for step in range(8)]
    assert [name for ((name, _),) in steps] == ["net"] * 8
    assert np.mean([loss.item() for ((_, loss),) in steps]) == pytest.approx(1.0, abs=0.01)  # 196,608 pixels
    learned = training_of(root, mask_range=mask_range)
    first = next(learned.losses(batch_of(root, list(range(24)), 0), Noise(0)))[1]
    assert first > steps[0][0][1]  # the bound of the variance comes on top


def test_the_prior_sees_the_noise_whatever_the_network_estimates(root):
    """With target x0 the output is turned into the noise that belongs to it; Eq. 8 then gives x_t back."""
    training = shaken(training_of(root, cimd=CIMD, target="x0"))
    batch, seen = batch_of(root, [0, 1]), []
    training.nets["prior"].register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    next(training.losses(batch, Noise(0)))
    out, x, t = training.watched.last
    alpha, sigma = (column(value, x) for value in training.schedule.marginal(t))
    assert torch.allclose(alpha * out[:, :1] + sigma * seen[0][:, -1:], x[:, :1], atol=1e-5)


def test_the_bound_does_not_move_the_predicted_noise(root):
    """Spec 11.8: the gradient at the noise channel is that of the squared error alone, whatever the variance does."""
    training, noise = shaken(training_of(root)), Noise(0)
    batch = batch_of(root, [0, 1, 2, 3])
    ((_, loss),) = training.losses(batch, noise)
    out = training.watched.last[0]
    (gradient,) = torch.autograd.grad(loss, out)
    eps = noise.normal("ddmd/eps/0", batch.rows, 0, (1, SIZE, SIZE))
    simple = 2 * (out[:, :1] - eps) / eps.numel()
    assert torch.allclose(gradient[:, :1], simple, atol=1e-9)
    assert gradient[:, 1:].abs().sum() > 0


@pytest.mark.parametrize("kind", ["none", "inter", "intra", "both", "shuffled", "untrained", "residual"])
def test_the_network_sees_the_noisy_mask_the_slice_and_its_features(root, kind):
    training = training_of(root, kind)
    seen = []
    training.denoiser.net = lambda x, t: seen.append((x, t)) or torch.zeros(len(x), 2, SIZE, SIZE)
    batch = batch_of(root, [0, 4, 25])
    list(training.losses(batch, Noise(0)))
    ((x, t),) = seen
    assert x.shape == (3, 5 + channels(kind), SIZE, SIZE)
    assert torch.equal(x[:, 1:5], batch.images)
    features = known_of(root, kind).features.of(np.array([0, 4, 25]))
    assert np.array_equal(x[:, 5:].numpy(), features)
    alpha, sigma = (v.float().view(-1, 1, 1, 1) for v in training.schedule.marginal(t))
    eps = Noise(0).normal("ddmd/eps/0", batch.rows, 0, (1, SIZE, SIZE))
    mask = (x[:, :1] - sigma * eps) / alpha
    near = (sigma / alpha < 30).flatten()  # where the mask is not lost in rounding
    truth = torch.from_numpy(known_of(root).masks.of_rows([0, 4, 25]))[:, None]
    assert near.any()
    assert torch.allclose(mask[near], truth[near].float(), atol=1e-3)


def test_every_input_channel_takes_part(root):
    training = shaken(training_of(root, "both"))
    next(training.losses(batch_of(root, [0, 1, 2, 3]), Noise(0)))[1].backward()
    gradient = training.nets["net"].stem.weight.grad.abs().sum((0, 2, 3))
    assert len(gradient) == 7
    assert (gradient > 0).all()


def test_mean_of_parts_of_a_batch_is_the_loss_of_the_batch(root):
    training = shaken(training_of(root, "inter"))
    rows = [0, 3, 7, 26]
    whole, *parts = (next(training.losses(batch_of(root, r), Noise(0)))[1] for r in (rows, rows[:2], rows[2:]))
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


@pytest.mark.parametrize(("mask_range", "low"), [("unit", 0.0), ("symmetric", -1.0)])
def test_masks_are_coded_and_back(mask_range, low):
    mask = torch.tensor([0.0, 1.0, 0.25])
    assert coded(mask, mask_range)[:2].tolist() == [low, 1.0]
    assert torch.equal(decoded(coded(mask, mask_range), mask_range), mask)


def test_a_test_slice_cannot_be_trained_on(root):
    batch = batch_of(root, [30])
    with pytest.raises(UserError, match="slice 30 of another split"):
        next(training_of(root).losses(batch, Noise(0)))


# -- CIMD


def test_cimd_steps_twice_on_a_batch_with_new_noise_and_validates_once(root):
    training = training_of(root, cimd=CIMD)
    batch = batch_of(root, [0, 1, 2, 3])
    first, second = (loss.item() for _, loss in training.losses(batch, Noise(0)))
    assert first != second
    assert len(list(training_of(root, cimd=dataclasses.replace(CIMD, double_step=False)).losses(batch, Noise(0)))) == 1
    for net in training.nets.values():
        net.eval()
    assert len(list(training.losses(batch, Noise(0)))) == 1


def test_without_its_weight_cimd_is_mini(root):
    batch = batch_of(root, [0, 1, 2, 3])
    mini = next(training_of(root).losses(batch, Noise(0)))[1].item()
    for kl in (0.0, 1e-3):
        found = next(training_of(root, cimd=dataclasses.replace(CIMD, kl=kl)).losses(batch, Noise(0)))[1].item()
        assert (found == mini) == (kl == 0)


def test_the_regulariser_pulls_at_the_predicted_noise_and_its_weight_is_kl(root):
    training = shaken(training_of(root, cimd=CIMD))
    batch = batch_of(root, [0, 1, 2, 3])
    loss = next(training.losses(batch, Noise(0)))[1]
    mask = training.known.mask(batch.rows)
    regulariser = training.regulariser(batch.images, mask)
    assert regulariser.shape == (4,)
    assert (regulariser > 0).all()
    plain = next(shaken_like(training, training_of(root)).losses(batch, Noise(0)))[1]
    assert (loss - plain).item() == pytest.approx(CIMD.kl * regulariser.mean().item(), rel=1e-3)
    (gradient,) = torch.autograd.grad(regulariser.mean(), training.watched.last[0])
    assert gradient[:, :1].abs().sum() > 0
    assert gradient[:, 1:].abs().sum() == 0  # of the two channels only the noise


def shaken_like(source: Training, target: Training) -> Training:
    target.nets["net"].load_state_dict(source.nets["net"].state_dict())
    return target


@pytest.mark.parametrize("train_encoders", [False, True])
def test_encoders_learn_only_if_asked(root, train_encoders):
    training = shaken(training_of(root, cimd=dataclasses.replace(CIMD, train_encoders=train_encoders)))
    before = {name: [p.clone() for p in net.parameters()] for name, net in training.nets.items()}
    optimiser = training.optimisers(OWN.train)["net"]
    for _, loss in training.losses(batch_of(root, [0, 1, 2, 3]), Noise(0)):
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, net in training.nets.items():
        moved = any(not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True))
        assert moved == (name == "net" or train_encoders), name


@pytest.mark.parametrize(("only", "seen"), [(True, 2), (False, 1 + len(MODALITIES))])
def test_encoders_see_the_first_modality_or_all(root, only, seen):
    training = training_of(root, cimd=dataclasses.replace(CIMD, first_channel_only=only))
    assert training.nets["posterior"].blocks[0].in_channels == training.nets["prior"].blocks[0].in_channels == seen
    next(training.losses(batch_of(root, [0, 1]), Noise(0)))
