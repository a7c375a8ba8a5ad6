"""The ensemble's training: members differ, do not know of each other, and see every slice equally often."""

from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from discrepancy_toys import MODALITIES, ToyStore
from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine.batches import Feed
from gliomap.engine.contract import Batch, Train
from gliomap.methods import ensemble
from gliomap.methods.ensemble import Ensemble, EnsembleConfig, build, rows_of, train_of
from gliomap.nets.autoencoder import AutoencoderShape, configure

NET = configure(AutoencoderShape(latent=3, hidden=12, widths=(4, 6)), 4, 8)
CONFIG = EnsembleConfig(NET, members=3, population="mixture", seed=0)
TRAIN = Train(
    steps=100, batch=2, lr=1e-2, weight_decay=0.0, warmup=0, decay_from=1.0, clip=0.0, ema=0.0, log_every=5, save_every=50,
    val_slices=0,
)  # fmt: skip


def batch_of(images: torch.Tensor, step: int = 0) -> Batch:
    return Batch(torch.arange(len(images)), images, torch.ones(len(images), 8, 8), step)


def images(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(count).normal(size=(count, 4, 8, 8)).astype(np.float32))


def train(method: Ensemble, batches: list[torch.Tensor]) -> None:
    optimisers = method.optimisers(TRAIN)
    for step, x in enumerate(batches):
        for name, loss in method.losses(batch_of(x, step), Noise(0)):
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()


def flat(net: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().float() for value in net.state_dict().values()])


# -- the members


def test_first_weights_are_a_function_of_seed_population_and_member():
    """All that differ must differ: with equal first weights the untrained inter map would be 0."""
    others = [CONFIG, EnsembleConfig(NET, 3, "healthy", 0), EnsembleConfig(NET, 3, "mixture", 1)]
    nets = [net for config in others for net in build(config).values()]
    assert len({flat(net).numpy().tobytes() for net in nets}) == 9
    torch.manual_seed(77)
    state = torch.get_rng_state()
    again = build(EnsembleConfig.of(asdict(CONFIG)))
    assert torch.equal(torch.get_rng_state(), state)
    assert list(again) == ["member0", "member1", "member2"]
    assert all(torch.equal(flat(a), flat(b)) for a, b in zip(nets, again.values(), strict=False))


@pytest.mark.parametrize("members", [1, 0])
def test_fewer_than_two_members_are_refused(members):
    with pytest.raises(UserError, match=f"autoencoder.members is {members}, expected 2 or more"):
        build(EnsembleConfig(NET, members, "healthy", 0))


# -- their training


def test_a_member_trains_as_if_it_were_alone():
    torch.manual_seed(0)
    batches = [images(6) * (k + 1) for k in range(4)]
    method = Ensemble(CONFIG)
    train(method, batches)
    alone = build(CONFIG)["member1"]
    optimiser = torch.optim.Adam(alone.parameters(), lr=TRAIN.lr)
    for x in batches:
        optimiser.zero_grad()
        F.mse_loss(alone(x[1::3]), x[1::3]).backward()
        optimiser.step()
    assert torch.allclose(flat(method.nets["member1"]), flat(alone), atol=1e-6)
    assert not torch.allclose(flat(alone), flat(build(CONFIG)["member1"]), atol=1e-3)


def test_members_see_every_slice_equally_often_in_an_order_of_their_own():
    """Over three rounds through 12 slices by steps of 3 x 2, a member sees 36 / 3 = 12 slices."""
    store = ToyStore.make({}, splits=(12, 2, 2))
    fabric = SimpleNamespace(device=torch.device("cpu"), global_rank=0, world_size=1)
    feed = Feed(store, store.rows("train"), MODALITIES, 0, fabric)
    seen = [Counter(), Counter(), Counter()]
    orders = [[], [], []]
    for step in range(600):
        for j in range(3):
            rows = feed.rows_of(step, 6)[j::3].tolist()
            seen[j].update(rows)
            orders[j] += rows
    assert len({tuple(order) for order in orders}) == 3
    counts = np.array([[counter[row] for row in range(12)] for counter in seen])
    assert counts.sum(1).tolist() == [1200, 1200, 1200]
    assert counts.sum(0).tolist() == [300] * 12
    assert 75 < counts.min() <= counts.max() < 125


def test_the_loss_shares_out_in_training_and_shows_all_slices_otherwise(monkeypatch):
    method, sizes = Ensemble(CONFIG), []
    monkeypatch.setattr(ensemble.F, "mse_loss", lambda a, b: sizes.append(len(b)) or (a - b).square().mean())
    assert [name for name, _ in method.losses(batch_of(images(7)), Noise(0))] == ["member0", "member1", "member2"]
    for net in method.nets.values():
        net.eval()
    list(method.losses(batch_of(images(7)), Noise(0)))
    assert sizes == [3, 2, 2, 7, 7, 7]


def test_a_member_cannot_learn_from_one_slice():
    with pytest.raises(UserError, match=r"autoencoder\.train\.batch leaves 1 slices a step for member2"):
        list(Ensemble(CONFIG).losses(batch_of(images(5)), Noise(0)))


def test_training_brings_the_error_down():
    """Slices on a plane of three dimensions, which fit through three numbers; a constant would leave all of it."""
    torch.manual_seed(0)
    basis = torch.nn.functional.interpolate(torch.randn(3, 4, 2, 2), size=8, mode="bilinear")
    x = torch.einsum("nk,kchw->nchw", torch.randn(48, 3), basis)
    method = Ensemble(CONFIG)
    train(method, [x] * 60)
    for net in method.nets.values():
        assert F.mse_loss(net.eval()(x), x) < 0.5 * x.square().mean()


# -- populations and steps


def test_healthy_ensembles_see_no_tumour_and_mixtures_see_as_many_as_healthy():
    store = ToyStore.make(dict.fromkeys((1, 3, 4, 5, 6, 7, 9, 11), 1))
    healthy, mixture = (rows_of(population, store, "train", 0) for population in ("healthy", "mixture"))
    assert healthy.tolist() == [0, 2, 8]
    assert set(healthy) < set(mixture)
    assert (len(mixture), store.tumour[mixture].sum()) == (6, 3)
    assert rows_of("healthy", store, "val", 0).tolist() == [10, 12, 13]


def test_equal_epochs_or_equal_steps():
    assert train_of(TRAIN, 3, 1.0, False) == train_of(TRAIN, 3, 0.5, True)
    healthy = train_of(TRAIN, 3, 0.5, False)
    assert (healthy.steps, healthy.batch) == (50, 6)
    assert train_of(TRAIN, 3, 0.0, False).steps == 1
