"""The supervised networks as a method: loss, features, masks, inference. Eight toy slices, a bright square as tumour."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gliomap.base.errors import UserError
from gliomap.data.features import Features
from gliomap.data.masks import MaskTable
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import supervised
from gliomap.methods.supervised import MODALITIES, SupervisedScorer, Training, build, likelihood, seen
from gliomap.nets.deeplab import DeepLabShape
from gliomap.nets.segmentation import Width
from train_toys import TRAIN

SIZE, COUNT = 32, 8
SHAPES = {"unet": Width(8), "segnet": Width(16), "deeplab": DeepLabShape(layers=18, width=16)}
CPU = torch.device("cpu")


def masks() -> np.ndarray:
    """uint8 (8, 32, 32): a square that wanders; none in the last slice."""
    found = np.zeros((COUNT, SIZE, SIZE), np.uint8)
    for i in range(COUNT - 1):
        found[i, 6 + i : 16 + i, 4 + 2 * i : 14 + 2 * i] = 1
    return found


def table() -> MaskTable:
    return MaskTable(np.zeros(COUNT, np.int64), np.arange(COUNT), {"train": masks()})


def features(kind: str, values: np.ndarray | None = None) -> Features:
    """Maps for the eight slices; random numbers unless values are given."""
    count = supervised.channels(kind)
    maps = np.random.default_rng(1).random((count, COUNT, SIZE, SIZE)).astype(np.float16) if values is None else values
    return Features(kind, "raw", tuple(maps), (1.0,) * count, np.arange(COUNT), SIZE)


def batch_of(rows: list[int], contrast: float = 1.5) -> Batch:
    """Slices of noise with the tumour brighter in two of the modalities."""
    images = np.random.default_rng(0).normal(0, 0.3, (COUNT, 4, SIZE, SIZE)).astype(np.float32)
    images[:, 2:] += contrast * masks()[:, None]
    brain = torch.ones(len(rows), SIZE, SIZE)
    brain[:, :, :8] = 0
    return Batch(torch.tensor(rows), torch.from_numpy(images[rows]), brain, 0)


def fitted(training: Training, batch: Batch, steps: int, lr: float = 5e-3) -> list[float]:
    """Losses of `steps` steps on one batch."""
    optimiser = torch.optim.Adam(training.nets["net"].parameters(), lr)
    found = []
    for _ in range(steps):
        ((_, loss),) = training.losses(batch, Noise(0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_loss_is_cross_entropy_over_all_pixels():
    logits, mask = 3 * torch.randn(3, 2, 5, 5), torch.randint(2, (3, 5, 5), dtype=torch.uint8)
    assert torch.allclose(likelihood(logits, mask), F.cross_entropy(logits, mask.long()), atol=1e-6)
    assert likelihood(torch.zeros(1, 2, 4, 4), torch.ones(1, 4, 4)).item() == pytest.approx(np.log(2))


def test_channel_one_is_tumour():
    sure = torch.tensor([-20.0, 20.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert likelihood(sure, torch.ones(1, 4, 4)) < 1e-6
    assert likelihood(sure, torch.zeros(1, 4, 4)) > 30


@pytest.mark.slow
@pytest.mark.parametrize(("net", "steps"), [("unet", 40), ("segnet", 40), ("deeplab", 40)])
def test_four_slices_are_learned_by_heart(net, steps):
    training = Training(net, SHAPES[net], table(), features("none"))
    batch = batch_of([0, 2, 4, 7])
    losses = fitted(training, batch, steps)
    assert losses[-1] < 0.2 * losses[0]
    module = training.nets["net"]
    with torch.no_grad():
        for _ in range(30):
            module(batch.images)  # the running statistics catch up
    scores = SupervisedScorer(module.eval(), features("none")).score(batch, Noise(0))
    assert dice(scores.mask.numpy(), masks()[[0, 2, 4, 7]] > 0) > 0.9


@pytest.mark.parametrize(("kind", "count"), [("none", 4), ("inter", 5), ("both", 6), ("residual", 5)])
def test_features_follow_the_modalities(kind, count):
    batch, own = batch_of([5, 3]), features(kind)
    x = seen(batch, own)
    assert x.shape == (2, count, SIZE, SIZE)
    assert torch.equal(x[:, :4], batch.images)
    for i in range(count - 4):
        assert torch.equal(x[:, 4 + i], torch.from_numpy(own.maps[i][[5, 3]].astype(np.float32)))


@pytest.mark.parametrize("net", SHAPES)
def test_features_enter_the_network(net):
    training, batch = Training(net, SHAPES[net], table(), features("both")), batch_of([0, 1, 2, 3])
    ((_, loss),) = training.losses(batch, Noise(0))
    loss.backward()
    first = next(p for p in training.nets["net"].parameters())
    assert first.shape[1] == 6
    assert (first.grad.abs().sum((0, 2, 3)) > 0).all()
    training.features = features("both", np.zeros((2, COUNT, SIZE, SIZE), np.float16))
    assert next(training.losses(batch, Noise(0)))[1].item() != pytest.approx(loss.item(), rel=1e-3)


def test_masks_are_looked_up_by_row():
    """With a network that shows its fifth channel, the loss is small for the own mask only."""
    own = features("inter", masks()[None].astype(np.float16))
    training = Training("unet", Width(4), table(), own)
    training.nets["net"] = shows_the_fifth_channel = torch.nn.Conv2d(5, 2, 1)
    torch.nn.init.zeros_(shows_the_fifth_channel.weight)
    with torch.no_grad():
        shows_the_fifth_channel.weight[1, 4], shows_the_fifth_channel.bias[:] = 40.0, torch.tensor([0.0, -20.0])
        ((name, loss),) = training.losses(batch_of([6, 1, 3]), Noise(0))
        training.masks = MaskTable(np.zeros(COUNT, np.int64), np.arange(COUNT)[::-1].copy(), table().masks)
        ((_, wrong),) = training.losses(batch_of([6, 1, 3]), Noise(0))
    assert name == "net"
    assert loss < 1e-6
    assert wrong > 0.5


@pytest.mark.parametrize("net", SHAPES)
def test_a_slice_scores_the_same_in_any_batch_and_noise(net):
    scorer = SupervisedScorer(build(net, SHAPES[net], "both", SIZE).eval(), features("both"))
    with torch.inference_mode():
        whole = scorer.score(batch_of([0, 3, 6]), Noise(0))
        alone = scorer.score(batch_of([3]), Noise(9))
    assert torch.allclose(whole.map[1], alone.map[0], atol=1e-5)
    assert (whole.mask[1] == alone.mask[0]).float().mean() > 0.99
    assert whole.evaluations.tolist() == [1, 1, 1]


def test_map_is_a_probability_inside_the_brain_and_the_mask_is_over_the_full_image():
    scorer = SupervisedScorer(build("unet", SHAPES["unet"], "none", SIZE).eval(), features("none"))
    torch.nn.init.zeros_(scorer.net.head.bias)  # in place of the prior: both classes occur
    batch = batch_of([0, 1])
    with torch.inference_mode():
        scores = scorer.score(batch, Noise(0))
        bare = scorer.net(batch.images).softmax(1)[:, 1]
    assert torch.allclose(scores.map, bare * batch.brain, atol=1e-6)
    assert torch.equal(scores.mask, bare > 0.5)
    assert scores.mask[:, :, :8].any()
    assert (scores.map[:, :, :8] == 0).all()


def write_model(folder: Path, net: str = "unet", kind: str = "none") -> Training:
    training = Training(net, SHAPES[net], table(), features(kind))
    states = {"net": training.nets["net"].state_dict()}
    meta = {"method": "supervised", "networks": training.arguments, "seed": 0}
    weights.save(folder / "supervised" / "key", states, states, meta)
    return training


def load(folder: Path, size: int = SIZE) -> SupervisedScorer:
    images = np.zeros((COUNT, 4, size, size), np.float16)
    slices = SimpleNamespace(images=images, index=range(COUNT), folder=Path("toys"), recipe="toys")
    return supervised.scorer({"supervised.weights": "raw"}, folder, slices, CPU, "key")


@pytest.mark.parametrize("net", SHAPES)
def test_what_was_saved_scores_as_before(tmp_path, net):
    training = write_model(tmp_path, net)
    batch = batch_of([1, 2])
    with torch.inference_mode():
        expected = SupervisedScorer(training.nets["net"].eval(), features("none")).score(batch, Noise(0))
        found = load(tmp_path).score(batch, Noise(0))
    assert torch.allclose(found.map, expected.map, atol=1e-5)


def test_features_are_asked_for_as_the_model_says(tmp_path):
    write_model(tmp_path, kind="inter")
    with pytest.raises(UserError, match=r"discrepancy"):  # there are none in the folder
        load(tmp_path)


def test_slices_of_another_size_are_refused(tmp_path):
    write_model(tmp_path)
    with pytest.raises(UserError, match="trained on slices of 32 px, found slices of 64 px"):
        load(tmp_path, size=64)


@pytest.mark.parametrize(("net", "size", "stride"), [("unet", 40, 16), ("segnet", 48, 32), ("deeplab", 36, 16)])
def test_a_size_that_cannot_be_pooled_is_refused(net, size, stride):
    with pytest.raises(UserError, match=f"{size} px, expected a multiple of {stride} for {net}"):
        build(net, SHAPES[net], "none", size)


def test_a_batch_of_one_cannot_be_normalised_but_can_be_watched():
    training = Training("deeplab", SHAPES["deeplab"], table(), features("none"))
    with pytest.raises(UserError, match="batch is 1 slice per device, expected 2 or more"):
        next(training.losses(batch_of([0]), Noise(0)))
    training.nets["net"].eval()
    assert torch.isfinite(next(training.losses(batch_of([0]), Noise(0)))[1])


def test_optimiser_is_adam_at_the_rate_of_the_budget():
    training = Training("unet", SHAPES["unet"], table(), features("none"))
    own = dataclasses.replace(TRAIN, weight_decay=0.0, lr=1e-5)
    optimiser = training.optimisers(own)["net"]
    (group,) = optimiser.param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-5, 0.0)
    assert {id(p) for p in group["params"]} == {id(p) for p in training.nets["net"].parameters()}


def test_modalities_are_in_the_papers_order():
    assert MODALITIES == ("t1", "t1ce", "t2", "flair") == Training.modalities == SupervisedScorer.modalities
