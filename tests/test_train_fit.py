"""The loop itself: batches, averaging, schedule, order of optimisers, losses that are not numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from gliomap.base.errors import UserError
from gliomap.engine import checkpoint
from gliomap.engine.batches import Feed, content_hash, permutation
from gliomap.engine.train import Compute, Job, NonFiniteLoss, State, fit, lr_factor, train_model
from train_toys import TRAIN, ToyMethod, ToySlices

PLAIN = replace(TRAIN, warmup=0, decay_from=1.0, clip=0.0, ema=0.0, weight_decay=0.0, val_slices=0, steps=6, log_every=2)


class Rank:
    """What Feed asks of a Fabric."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.device, self.global_rank, self.world_size = torch.device("cpu"), rank, world


def feed_of(rows=range(7), fabric=None, modalities=("flair",), slices=None) -> Feed:
    return Feed(slices or ToySlices(), np.array(rows), modalities, 3, fabric or Fabric(accelerator="cpu", devices=1))


def fitted(method, train, folder, feed=None, held_out=None):
    return fit(method, feed or feed_of(modalities=method.modalities), train, Job("k", 3, {}), folder, held_out)


class Linear:
    """loss = w . x: with plain gradient descent the weight after n steps is known in closed form."""

    name, modalities, arguments = "linear", ("flair",), {}

    def __init__(self) -> None:
        self.nets = {"w": nn.Linear(1, 1, bias=False)}
        nn.init.zeros_(self.nets["w"].weight)

    def optimisers(self, train):
        return {"w": torch.optim.SGD(self.nets["w"].parameters(), train.lr)}

    def losses(self, batch, noise):
        yield "w", self.nets["w"](torch.ones(1, 1)).sum()


class Gan:
    """Two optimisers; writes down what each loss saw of the other's weights."""

    name, modalities, arguments = "gan", ("flair",), {}

    def __init__(self) -> None:
        self.nets = {name: nn.Linear(1, 1, bias=False) for name in ("generator", "discriminator")}
        for net in self.nets.values():
            nn.init.ones_(net.weight)
        self.seen = []

    def optimisers(self, train):
        return {name: torch.optim.SGD(net.parameters(), 0.1) for name, net in self.nets.items()}

    def losses(self, batch, noise):
        generator, discriminator = self.nets["generator"], self.nets["discriminator"]
        fake = generator(torch.ones(1, 1))
        yield "generator", discriminator(fake).sum()  # leaves a gradient in the discriminator too
        self.seen.append((generator.weight.item(), discriminator.weight.item()))
        yield "discriminator", discriminator(fake.detach()).sum()
        self.seen.append((generator.weight.item(), discriminator.weight.item()))


def test_ema_is_the_closed_form(tmp_path):
    state = fitted(Linear(), replace(PLAIN, lr=0.5, ema=0.75), tmp_path)
    weights = [-0.5 * (k + 1) for k in range(6)]  # after each step
    expected = weights[0]  # the average starts at the first one
    for weight in weights[1:]:
        expected = 0.75 * expected + 0.25 * weight
    assert state.nets["w"].weight.item() == weights[-1]
    assert state.averaged()["w"].weight.item() == pytest.approx(expected, abs=1e-7)


def test_without_ema_averaged_is_raw(tmp_path):
    state = fitted(Linear(), PLAIN, tmp_path)
    assert state.averaged()["w"] is state.nets["w"]


def test_log_is_the_mean_since_the_last_row(tmp_path):
    log = fitted(Linear(), replace(PLAIN, lr=0.5, steps=5), tmp_path).log
    # loss of step k is the weight before it: 0, -0.5, -1, ...; rows at 2, 4 and, at the end, 5
    assert log == [{"step": step, "lr": 0.5, "loss": loss} for step, loss in ((2, -0.25), (4, -1.25), (5, -2.0))]


def test_second_optimiser_sees_the_first_ones_step(tmp_path):
    method = Gan()
    log = fitted(method, replace(PLAIN, steps=1, log_every=1), tmp_path).log
    # generator: 1 - 0.1 * 1 = 0.9; discriminator: its gradient is the first fake, 1, without what the generator's loss left
    assert method.seen == [pytest.approx((0.9, 1.0)), pytest.approx((0.9, 0.9))]
    assert log == [{"step": 1, "lr": 0.1, "loss_generator": 1.0, "loss_discriminator": 1.0}]


def test_lr_schedule():
    train = replace(TRAIN, steps=10, warmup=2, decay_from=0.5)
    factors = [lr_factor(step, train) for step in range(10)]
    assert factors == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert {lr_factor(step, replace(train, warmup=0, decay_from=1.0)) for step in range(10)} == {1.0}
    assert lr_factor(0, replace(train, warmup=0, decay_from=0.0)) == 1.0


def test_clip_bounds_the_step(tmp_path):
    state = fitted(Linear(), replace(PLAIN, lr=1.0, clip=0.25), tmp_path)
    assert state.nets["w"].weight.item() == pytest.approx(-0.25 * 6, rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_names_step_and_slices(tmp_path, bad):
    train = replace(PLAIN, save_every=2)
    with pytest.raises(NonFiniteLoss) as caught:
        fitted(ToyMethod(poison=(3, bad)), train, tmp_path)
    text = str(caught.value)
    assert "toy/k: loss of 'net' is" in text
    assert "at step 4;" in text
    for row in feed_of().rows_of(3, 4):
        assert f"{row} (case{row // 4}, z {70 + row})" in text
    assert checkpoint.load(tmp_path)["step"] == 2


def test_a_non_finite_second_loss_of_a_step_is_of_that_step(tmp_path):
    method = ToyMethod()
    state = State(method, PLAIN)
    state.step, state.turns = 3, {"net": 2}
    state.fresh = {"net": [torch.tensor(value) for value in (1.0, 1.0, 1.0, 1.0, 1.0, float("nan"))]}
    assert state.settle()[:2] == (2, "net")


def test_batches_cover_each_epoch_once():
    feed = feed_of(range(3, 10))
    seen = np.concatenate([feed.rows_of(step, 4) for step in range(7)])
    for epoch in range(4):
        assert sorted(seen[7 * epoch : 7 * (epoch + 1)]) == list(range(3, 10))
    assert list(seen[:7]) != list(seen[7:14])
    assert np.array_equal(seen[:7] - 3, permutation(3, 0, 7))


def test_batch_larger_than_the_rows_spans_epochs():
    feed = feed_of(range(3))
    assert sorted(feed.rows_of(0, 7)[:6]) == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(np.concatenate([feed.rows_of(0, 7), feed.rows_of(1, 7)]), feed.rows_of(0, 14))


def test_shares_of_processes_make_the_whole_batch():
    whole = feed_of().batch(5, 6)
    parts = [feed_of(fabric=Rank(rank, 3)).batch(5, 6) for rank in range(3)]
    assert sorted(torch.cat([part.rows for part in parts]).tolist()) == sorted(whole.rows.tolist())
    assert {len(part.rows) for part in parts} == {2}


def test_batch_holds_what_the_store_holds():
    slices = ToySlices()
    batch = feed_of(slices=slices, modalities=("flair", "t2")).batch(2, 4)
    rows = batch.rows.numpy()
    assert batch.step == 2
    assert (batch.images.dtype, batch.brain.dtype, batch.rows.dtype) == (torch.float32, torch.float32, torch.int64)
    assert np.array_equal(batch.images.numpy(), slices.images[rows][:, ::-1].astype(np.float32))
    assert np.array_equal(batch.brain.numpy() == 1, slices.brain_of(rows))


def test_no_rows_is_a_user_error():
    with pytest.raises(UserError, match="no slices to train on"):
        feed_of([])


def test_content_hash_sees_rows_images_and_brain():
    slices, rows = ToySlices(), np.arange(5)
    base = content_hash(slices, rows, ("flair",))
    assert content_hash(ToySlices(), rows, ("flair",)) == base
    assert content_hash(slices, rows[::-1], ("flair",)) != base
    assert content_hash(slices, rows, ("t2",)) != base
    slices.images[6] += 1  # not among the rows
    assert content_hash(slices, rows, ("flair",)) == base
    slices.images[4, 1, 0, 0] += 1
    assert content_hash(slices, rows, ("flair",)) != base


def test_dropout_is_a_function_of_seed_and_step(tmp_path):
    torch.manual_seed(0)
    first = ToyMethod(dropout=0.5)
    torch.manual_seed(0)
    second = ToyMethod(dropout=0.5)
    one = fitted(first, PLAIN, tmp_path / "a")
    torch.rand(17)  # what happened before must not matter
    two = fitted(second, PLAIN, tmp_path / "b")
    assert one.log == two.log
    assert torch.equal(one.nets["net"][0].weight, two.nets["net"][0].weight)


def test_validation_loss_is_without_dropout_and_changes_nothing(tmp_path):
    logs = []
    for held_out in (None, feed_of([7, 8, 9])):
        torch.manual_seed(0)
        method = ToyMethod(dropout=0.5)
        logs.append(fitted(method, replace(PLAIN, lr=1e-30), tmp_path / str(len(logs)), held_out=held_out).log)
        assert method.nets["net"].training
    values = [row.pop("val_loss") for row in logs[1]]
    assert logs[0] == logs[1]
    assert len(set(values)) == 1  # frozen weights, no dropout, same noise: the same loss every time
    assert len({row["loss"] for row in logs[0]}) > 1


def test_train_model_writes_the_contract(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIOMAP_WORK", str(tmp_path / "work"))
    job = Job("a", 1, {"train": TRAIN, "compute": Compute("32-true", 1), "toy": 3}, tmp_path)
    out = train_model(job, ToyMethod, ToySlices(), np.arange(7), TRAIN, Compute("32-true", 1), np.arange(7, 10))
    assert out == tmp_path / "models" / "toy" / "a"
    log = pd.read_csv(out / "log.csv")
    assert list(log.columns) == ["step", "lr", "loss", "val_loss"]
    assert list(log["step"]) == [5, 10, 12]
    cost = pd.read_json(tmp_path / "metrics" / "cost" / "train-toy-a.json", typ="series")
    assert cost["steps"] == 12
    assert cost["parameters"] == 8 * 9 + 8 + 16 + 72 + 1
    meta = (out / "model.json").read_text()
    assert str(tmp_path) not in meta
    assert '"toy": 3' in meta
