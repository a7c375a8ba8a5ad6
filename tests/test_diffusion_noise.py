"""Noise: a function of (seed, name, key, step), the same everywhere and for ever; and its distributions."""

import numpy as np
import pytest
import torch

from gliomap.diffusion.noise import Noise

SHAPE = (1, 4, 4)
KEYS = torch.tensor([7, 0, 123_456, 2**40, 3])


@pytest.mark.parametrize(
    "draw",
    [
        lambda keys: Noise(5).normal("a", keys, 2, SHAPE),
        lambda keys: Noise(5).uniform("a", keys, 2, SHAPE),
        lambda keys: Noise(5).uniform("a", keys, 2, ()),
        lambda keys: Noise(5).integers("a", keys, 2, -3, 10**6),
    ],
)
def test_a_sample_knows_neither_batch_nor_order(draw):
    whole, order = draw(KEYS), torch.tensor([3, 1, 4, 0, 2])
    assert len(whole) == len(KEYS)
    assert torch.equal(draw(KEYS[order]), whole[order])
    assert torch.equal(torch.cat([draw(KEYS[:2]), draw(KEYS[2:])]), whole)
    assert torch.equal(draw(KEYS.numpy()), whole)
    assert torch.equal(draw(KEYS.tolist()), whole)
    assert len(draw(KEYS[:0])) == 0


def test_the_numbers_stay_as_they_are():
    """Other numbers here mean other numbers in every published result: say so in the changelog."""
    noise = Noise(0)
    assert noise.normal("eps", [12], 3, (4,)).tolist() == [
        pytest.approx([-0.867388, 0.148678, 0.849528, 0.650908], abs=1e-6)
    ]
    assert noise.uniform("eps", [12], 3, (2,)).tolist() == [pytest.approx([0.786004, 0.092705], abs=1e-6)]
    assert noise.integers("eps", [12, 13], 3, 0, 1000).tolist() == [786, 888]


def test_seed_name_key_and_step_all_matter():
    names = [(0, "a", 1, 1), (1, "a", 1, 1), (0, "b", 1, 1), (0, "a", 2, 1), (0, "a", 1, 2), (0, "a1", 1, 1),
             (2**32, "a", 1, 1), (0, "a", 1 + 2**32, 1), (0, "a", -1, 1), (0, "a", 1, 11), (0, "a", 11, 1)]  # fmt: skip
    drawn = torch.cat([Noise(seed).normal(name, [key], step, (64,)) for seed, name, key, step in names])
    correlation = torch.corrcoef(drawn) - torch.eye(len(names))
    assert correlation.abs().max() < 0.5


def test_neighbouring_keys_and_steps_are_uncorrelated_and_normal():
    noise = Noise(1)
    x = torch.stack([noise.normal("eps", range(64), step, (32,)) for step in range(16)])
    assert x.dtype == torch.float32
    assert abs(x.mean().item()) < 0.02
    assert x.std().item() == pytest.approx(1, abs=0.02)
    assert (x**4).mean().item() == pytest.approx(3, abs=0.2)
    assert (x[1:] * x[:-1]).mean().abs() < 0.02
    assert (x[:, 1:] * x[:, :-1]).mean().abs() < 0.02
    assert (x[..., 1:] * x[..., :-1]).mean().abs() < 0.02


def test_uniform_and_integers_fill_their_range():
    u = Noise(2).uniform("u", range(500), 0, (20,))
    assert u.dtype == torch.float32
    assert 0 <= u.min() < 0.001
    assert 0.999 < u.max() < 1
    assert torch.allclose(u.flatten().histc(10, 0, 1), torch.tensor(1000.0), atol=120)
    drawn = Noise(2).integers("i", range(1000), 0, 3, 8)
    assert drawn.dtype == torch.int64
    assert sorted(set(drawn.tolist())) == [3, 4, 5, 6, 7]
    assert drawn.bincount()[3:].min() > 150


def test_draws_are_bound_to_keys_and_shaped_like_x():
    noise, x = Noise(4), torch.zeros(5, 2, 3, 3, dtype=torch.float64)
    draw = noise.draws("sampler", KEYS, x)
    assert draw(8).dtype == torch.float64
    assert torch.equal(draw(8), noise.normal("sampler", KEYS, 8, (2, 3, 3)).double())
    assert not torch.equal(draw(8), draw(9))


def test_numpy_generator_elsewhere_is_left_alone():
    np.random.seed(0)
    torch.manual_seed(0)
    states = np.random.get_state()[1].copy(), torch.get_rng_state()
    Noise(3).normal("a", [1, 2], 0, (8,))
    assert (np.random.get_state()[1] == states[0]).all()
    assert torch.equal(torch.get_rng_state(), states[1])
