"""Simplex noise: the published algorithm's values, a function of the key alone, its size and its smoothness."""


import numpy as np
import pytest
import torch

from gliomap.diffusion import simplex
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.simplex import GRADIENTS, PERIOD, Simplex

ANO = Simplex(octaves=6, persistence=0.8, frequency=16.0)
SHAPE = (4, 32, 32)


def spencer_order(seed: int) -> np.ndarray:
    """The permutation of the released OpenSimplex for a seed: a shuffle by Knuth's 64-bit generator."""

    def advance(state: int) -> int:
        state = (state * 6364136223846793005 + 1442695040888963407) & (2**64 - 1)
        return state - 2**64 if state >= 2**63 else state

    for _ in range(3):
        seed = advance(seed)
    source, order = list(range(PERIOD)), np.empty(PERIOD, np.int64)
    for i in range(PERIOD - 1, -1, -1):
        seed = advance(seed)
        r = (seed + 31) % (i + 1)
        order[i], source[r] = source[r], source[i]
    return order


def test_one_octave_is_the_released_opensimplex():
    """Values of opensimplex 0.4.5.1, noise3 with seed 11. It leaves out lattice points that add less than 1e-4."""
    at = np.array([(0.3, 1.7, 2.9), (-5.2, 100.1, 33.3), (12.5, -7.25, 0.75)])
    pixel, point, weight = simplex._influence(at)
    gradient = GRADIENTS[simplex._hashed(spencer_order(11)[None], point)[0] % len(GRADIENTS)]
    found = np.bincount(pixel, (weight * gradient).sum(1))
    assert found == pytest.approx([-0.734852140174, 0.293208890536, 0.53801482858], abs=1e-4)


def test_there_are_24_different_gradients_of_one_length_that_cancel():
    assert len(np.unique(GRADIENTS, axis=0)) == 24
    assert np.allclose((GRADIENTS**2).sum(1), 11**2 + 2 * 4**2)
    assert np.abs(GRADIENTS.sum(0)).max() == 0


def test_noise_is_zero_at_lattice_points():
    """At such a point its own offset is 0, and its neighbours are just out of reach."""
    points = np.array([(0, 0, 0), (3, -2, 5), (7, 1, 1)])
    at = points + simplex.SQUISH * points.sum(1, keepdims=True)
    _, _, weight = simplex._influence(at.astype(float))
    assert np.abs(weight).max() < 1e-12


def test_fields_are_a_function_of_seed_name_key_and_step():
    found = ANO.fields(Noise(1), "a", [5, 9], 3, SHAPE)
    assert torch.equal(found, ANO.fields(Noise(1), "a", np.array([5, 9]), 3, SHAPE))
    for other in ((Noise(2), "a", [5, 9], 3), (Noise(1), "b", [5, 9], 3), (Noise(1), "a", [5, 9], 4)):
        assert not torch.allclose(found, ANO.fields(*other, SHAPE), atol=0.1)


def test_a_slice_has_the_same_field_in_every_batch():
    whole = ANO.fields(Noise(0), "a", torch.arange(20), 0, SHAPE)
    for keys in ([7], [3, 7, 19], list(range(19, -1, -1))):
        assert torch.allclose(ANO.fields(Noise(0), "a", keys, 0, SHAPE), whole[keys], atol=1e-6)


def test_fields_of_slices_and_channels_are_independent():
    f = ANO.fields(Noise(0), "a", range(60), 0, SHAPE).flatten(2)
    f = f - f.mean((0, 1))
    within = (f[:, 0] * f[:, 1]).mean() / f.square().mean()
    between = (f[:-1, 0] * f[1:, 0]).mean() / f.square().mean()
    assert abs(within) < 0.1
    assert abs(between) < 0.1


@pytest.mark.parametrize(("size", "frequency"), [(32, 16.0), (64, 32.0)])
def test_mean_is_zero_and_the_deviation_is_that_of_the_docstring(size, frequency):
    settings = Simplex(octaves=6, persistence=0.8, frequency=frequency)
    f = settings.fields(Noise(0), "a", range(96), 0, (4, size, size))
    assert f.dtype == torch.float32
    assert f.mean().item() == pytest.approx(0, abs=0.02)
    assert f.std().item() == pytest.approx(0.51, abs=0.01)
    assert f.abs().max() < sum(0.8**i for i in range(6))
    everywhere = f.flatten(0, 1).std(0)  # no pixel is a lattice point in every field
    assert everywhere.min() > 0.4
    assert everywhere.max() < 0.62


def test_one_octave_stays_within_one():
    f = Simplex(octaves=1, persistence=0.5, frequency=4.0).fields(Noise(0), "a", range(50), 0, SHAPE)
    assert 0.7 < f.abs().max() <= 1


def test_octaves_halve_the_cells_and_share_the_gradients():
    """The k-th octave of frequency f is the first of frequency f / 2^k on the same plane: amplitudes and cells add up."""
    coarse, fine, both = (Simplex(*args) for args in ((1, 0.5, 8.0), (1, 0.5, 4.0), (2, 0.5, 8.0)))
    order = np.random.default_rng(0).permutation(PERIOD)[None]
    first = simplex._spread(coarse, 16, 16, 0).times(order)
    y, x = np.mgrid[:16, :16].reshape(2, -1)
    at = np.stack([x / 4, y / 4, np.full(256, simplex.FIRST * simplex.ALONG / simplex.PLANES * 2)], 1)
    pixel, point, weight = simplex._influence(at)
    gradient = GRADIENTS[simplex._hashed(order, point)[0] % len(GRADIENTS)]
    second = np.bincount(pixel, (weight * gradient).sum(1))
    assert np.allclose(simplex._spread(both, 16, 16, 0).times(order), first + 0.5 * second, atol=1e-5)
    assert not np.allclose(simplex._spread(fine, 16, 16, 0).times(order), second, atol=0.1)  # that one is on another plane


def correlation_length(frequency: float) -> float:
    """Pixels until the correlation along a row falls below one half."""
    f = Simplex(octaves=1, persistence=0.8, frequency=frequency).fields(Noise(0), "a", range(40), 0, (2, 48, 48))
    at = [((f[..., lag:] * f[..., : 48 - lag]).mean() / f.square().mean()).item() for lag in range(24)]
    lag = next(lag for lag, value in enumerate(at) if value < 0.5)
    return lag - (0.5 - at[lag]) / (at[lag - 1] - at[lag])


def test_correlation_length_grows_with_the_cells():
    lengths = [correlation_length(f) for f in (4.0, 8.0, 16.0)]
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] == pytest.approx(4 * lengths[0], rel=0.15)
