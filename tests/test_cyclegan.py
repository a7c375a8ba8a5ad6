"""CycleGAN's training: losses against closed forms, the pool, frozen judges, partners, augmentation, and loading."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train
from gliomap.methods import cyclegan
from gliomap.methods.cyclegan import Design, ImagePool, Losses, Sampling, Training
from gliomap.nets.resnet_gan import GeneratorShape, JudgeShape
from train_toys import TRAIN

SIZE = 16
PLAIN = Losses(cycle=10.0, identity=0.5, pool=3)
STILL = Sampling(matched=True, near_mm=0.0, resize=1.0, flip=0.0)
ALL = ("t1", "t1ce", "t2", "flair")


class Toys:
    """Eight training slices, the odd ones with tumour, and two healthy ones of validation; brightness names the slice."""

    folder, background = "toys", -1.0

    def __init__(self, size: int = SIZE) -> None:
        level = (torch.arange(10)[:, None] * 4 + torch.arange(4)) / 40 - 0.5
        self.images = level[..., None, None].expand(10, 4, size, size).numpy()
        self.index = pd.DataFrame({"split": ["train"] * 8 + ["val"] * 2, "z": [80, 81, 82, 83, 90, 91, 92, 100, 80, 90]})

    def rows(self, split: str, tumour: bool) -> np.ndarray:
        return np.array([8, 9]) if split == "val" else np.arange(int(tumour), 8, 2)

    def read(self, rows: np.ndarray, modalities: tuple[str, ...]) -> np.ndarray:
        return self.images[np.asarray(rows)][:, [ALL.index(name) for name in modalities]].astype(np.float32)


def training(own: Losses = PLAIN, sampling: Sampling = STILL, variant: str = "flair", skip: bool = True) -> Training:
    torch.manual_seed(0)
    return Training(Design(GeneratorShape(2, 1, skip), JudgeShape(2, 1), own, sampling), variant, Toys())


def batch(method: Training, rows=(1, 5), step: int = 3) -> Batch:
    rows = np.array(rows)
    images = torch.from_numpy(Toys().read(rows, method.modalities))
    return Batch(torch.from_numpy(rows), images, torch.ones(len(rows), SIZE, SIZE), step)


def step(method: Training) -> dict[str, float]:
    return {name: loss.item() for name, loss in method.losses(batch(method), Noise(0))}


def adding(method: Training, domain: str, change: float) -> None:
    """The generator now adds `change` to every image."""
    method.nets[f"to_{domain}"][-2].bias.data.fill_(np.arctanh(change))


def always(method: Training, domain: str, value: float) -> None:
    """The judge now says `value` of every patch."""
    last = method.nets[f"judge_{domain}"][-1]
    last.weight.data.zero_()
    last.bias.data.fill_(value)


def test_losses_are_the_closed_forms_of_known_networks():
    """G adds 0.1, F takes 0.05 away, the judges always say 0.3 and 0.8."""
    method = training()
    adding(method, "tumour", 0.1)
    adding(method, "healthy", -0.05)
    always(method, "tumour", 0.3)
    always(method, "healthy", 0.8)
    found = step(method)
    adversarial = 0.7**2 + 0.2**2
    cycle, identity = 2 * 0.05, 0.1 + 0.05
    assert found["generators"] == pytest.approx(adversarial + 10 * cycle + 5 * identity, rel=1e-5)
    assert found["judges"] == pytest.approx(0.5 * (0.7**2 + 0.3**2 + 0.2**2 + 0.8**2), rel=1e-5)


def test_without_identity_only_that_term_is_missing():
    values = []
    for identity in (0.5, 0.0):
        method = training(Losses(10.0, identity, 0))
        adding(method, "tumour", 0.1)
        values.append(step(method)["generators"])
    assert values[0] - values[1] == pytest.approx(5 * 0.1, rel=1e-4)


def test_judges_do_not_learn_in_the_generators_step_and_the_other_way_round():
    method = training(skip=False)
    kinds = {"generators": "to_", "judges": "judge_"}
    for name, loss in method.losses(batch(method), Noise(0)):
        for net in method.nets.values():
            net.zero_grad()
        loss.backward()
        learning = {key for key, net in method.nets.items() if any(p.grad is not None for p in net.parameters())}
        assert learning == {f"{kinds[name]}tumour", f"{kinds[name]}healthy"}


def test_the_optimisers_hold_all_parameters_once_with_the_papers_betas():
    method = training()
    held = {name: optimiser.param_groups[0] for name, optimiser in method.optimisers(TRAIN).items()}
    sizes = {name: sum(p.numel() for p in group["params"]) for name, group in held.items()}
    count = lambda prefix: sum(p.numel() for k, net in method.nets.items() if k.startswith(prefix) for p in net.parameters())  # noqa: E731
    assert sizes == {"generators": count("to_"), "judges": count("judge_")}
    assert {group["betas"] for group in held.values()} == {(0.5, 0.999)}


def images(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def test_the_pool_fills_first_and_then_swaps_where_it_is_told_to():
    pool = ImagePool(2, 1, 1)
    yes, place = torch.tensor([True, True, True]), torch.tensor([1, 1, 1])
    assert pool.exchange(images(1, 2, 3), yes, place).flatten().tolist() == [1, 2, 2]
    assert pool.images.flatten().tolist() == [1, 3]
    shown = pool.exchange(images(4, 5, 6), torch.tensor([False, True, True]), torch.tensor([0, 0, 0]))
    assert shown.flatten().tolist() == [4, 1, 5]
    assert pool.images.flatten().tolist() == [6, 3]
    assert pool.filled == 2


def test_a_pool_of_no_size_returns_the_new_images():
    assert ImagePool(0, 1, 1).exchange(images(1, 2), torch.ones(2) > 0, torch.zeros(2).long()).flatten().tolist() == [1, 2]


def test_the_pool_is_part_of_the_state_and_watching_leaves_it_alone():
    method = training()
    for net in method.nets.values():
        net.eval()
    step(method)
    assert method.nets["pool_tumour"].filled == 0
    for net in method.nets.values():
        net.train()
    step(method)
    state = method.nets["pool_tumour"].state_dict()
    assert state["filled"] == 2
    assert state["images"].shape == (3, 1, SIZE, SIZE)


def test_half_of_the_images_are_swapped_once_the_pool_is_full():
    """Each step's slices have other levels; the share of old images among those shown is near one half."""
    method, old = training(), 0
    for k in range(60):
        fake = torch.full((2, 1, SIZE, SIZE), float(k))
        shown = method._pooled(fake, "tumour", batch(method, step=k), Noise(0))
        old += int((shown[:, 0, 0, 0] < k).sum())
    assert 40 < old < 80


def partners(method: Training, rows: tuple[int, int]) -> set[int]:
    """Rows of the partners of slices, over many steps."""
    level = {round(float(x), 4): i for i, x in enumerate(Toys().read(np.arange(10), method.modalities)[:, 0, 0, 0])}
    drawn = [method.partners(batch(method, rows, k), Noise(0))[:, 0, 0, 0].tolist() for k in range(30)]
    return {level[round(x, 4)] for pair in drawn for x in pair}


def test_partners_are_healthy_slices_of_the_same_split():
    method = training()
    assert partners(method, (1, 5)) == {0, 2, 4, 6}
    assert partners(method, (8, 9)) == {8, 9}


def test_near_partners_are_at_most_so_far_away_and_the_nearest_where_there_are_none():
    method = training(sampling=Sampling(True, 2.0, 1.0, 0.0))
    assert partners(method, (1, 3)) == {0, 2}
    assert partners(method, (5, 5)) == {4, 6}
    assert partners(method, (7, 7)) == {6}


def test_a_split_without_healthy_slices_is_one_sentence():
    method = training()
    method.healthy["train"] = np.empty(0, np.int64)
    with pytest.raises(UserError, match="split 'train' has no healthy slice"):
        step(method)


@pytest.mark.parametrize("matched", [True, False])
def test_single_draws_a_modality_a_slice_the_same_for_both_if_matched(matched):
    method = training(sampling=Sampling(matched, 0.0, 1.0, 0.0), variant="single")
    same = []
    for k in range(30):
        one = batch(method, step=k)
        pair = [method.seen(one.images, one, Noise(0), domain) for domain in ("healthy", "tumour")]
        assert pair[0].shape == (2, 1, SIZE, SIZE)
        same += (pair[0] == pair[1]).flatten(1).all(1).tolist()
    assert np.mean(same) == 1 if matched else 0.1 < np.mean(same) < 0.45


def test_images_in_0_1_are_shown_in_minus_1_to_1():
    method = training()
    method.slices.background = 0.0
    one = batch(method)
    torch.testing.assert_close(method.seen(one.images, one, Noise(0), "tumour"), 2 * one.images - 1)


def test_augmentation_only_enlarges_crops_and_mirrors():
    """A ramp from left to right stays a ramp, flatter by the factor, rising or falling; a constant stays what it is."""
    own = Sampling(True, 0.0, 1.25, 0.5)
    ramp = torch.linspace(-0.5, 0.5, 32).expand(40, 1, 32, 32)
    frame = SimpleNamespace(rows=torch.arange(40), step=0)
    out = cyclegan.augmented(ramp, own, frame, Noise(0), "name")
    assert out.shape == ramp.shape
    slope = out[:, 0, 16, 20] - out[:, 0, 16, 12]
    torch.testing.assert_close(slope.abs(), torch.full((40,), 8 / 31 / 1.25), atol=1e-3, rtol=0)
    assert 8 < (slope < 0).sum() < 32
    assert len({round(x, 3) for x in out[:, 0, 16, 16].abs().tolist()}) > 4
    empty = torch.full_like(ramp, -1)
    assert torch.equal(cyclegan.augmented(empty, own, frame, Noise(0), "name"), empty)


def test_an_augmentation_that_does_nothing_changes_nothing():
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(cyclegan.augmented(x, STILL, SimpleNamespace(rows=torch.arange(2), step=0), Noise(0), "n"), x)


def test_pictures_are_cut_off_not_rounded():
    x = torch.tensor([-1.5, -1.0, -0.999, 0.0, 0.999, 1.0, 1.5])
    assert cyclegan.to_bytes(x).tolist() == [0, 0, 0, 127, 254, 255, 255]


def test_slices_that_cannot_be_halved_twice_are_one_sentence():
    with pytest.raises(UserError, match="18 px, expected a multiple of 4"):
        cyclegan.check(18)


@pytest.fixture
def saved(tmp_path):
    method = training(variant="multi")
    adding(method, "healthy", -0.2)
    states = {name: net.state_dict() for name, net in method.nets.items()}
    folder = tmp_path / "cyclegan" / "multi"
    weights.save(folder, states, states, {"method": "cyclegan", "networks": method.arguments})
    return folder


def test_a_generator_is_loaded_by_its_direction(saved):
    x = torch.rand(1, 4, SIZE, SIZE) / 2
    cpu = torch.device("cpu")
    torch.testing.assert_close(cyclegan.load(saved, "to_healthy", "raw", SIZE, cpu)(x), x - 0.2)
    assert torch.equal(cyclegan.load(saved, "to_tumour", "ema", SIZE, cpu)(x), x)


def test_a_generator_of_another_size_is_one_sentence(saved):
    with pytest.raises(UserError, match="trained on slices of 16 px, found slices of 32 px"):
        cyclegan.load(saved, "to_tumour", "raw", 32, torch.device("cpu"))


def test_the_toys_learning_rate_is_the_optimisers():
    train = Train(**{**TRAIN.__dict__, "lr": 0.25})
    assert {o.param_groups[0]["lr"] for o in training().optimisers(train).values()} == {0.25}
