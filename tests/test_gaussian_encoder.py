"""CIMD's Gaussian encoders: size, initial values, divergence (DDMD spec 7.2)."""

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from gliomap.nets.gaussian_encoder import BIAS_SD, GaussianEncoder, divergence

PUBLISHED = (32, 64, 128, 192)


def test_published_size_is_that_of_its_convolutions():
    encoder, count = GaussianEncoder(2, PUBLISHED, 6), 0
    for before, width in zip((2, *PUBLISHED), PUBLISHED):
        count += (9 * before + 1) * width + 2 * (9 * width + 1) * width
    count += (PUBLISHED[-1] + 1) * 12
    assert sum(p.numel() for p in encoder.parameters()) == count == 1_368_108


@pytest.mark.parametrize("size", [32, 33])
def test_any_size_becomes_one_gaussian_a_slice(size):
    mean, log_sd = GaussianEncoder(2, (4, 8, 8), 6)(torch.randn(3, 2, size, size))
    assert mean.shape == log_sd.shape == (3, 6)
    assert not torch.allclose(mean[0], mean[1])


def test_initial_values_are_as_released():
    torch.manual_seed(0)
    encoder = GaussianEncoder(2, PUBLISHED, 6)
    first, deep = encoder.blocks[0], encoder.blocks[-2]
    assert deep.weight.std().item() == pytest.approx((2 / (9 * 192)) ** 0.5, rel=0.02)
    assert first.bias.abs().max() <= 2 * BIAS_SD
    assert deep.bias.std().item() == pytest.approx(0.88 * BIAS_SD, rel=0.2)  # cut off at two standard deviations
    assert 0.3 < encoder.head.bias.std() < 2


def test_divergence_is_torchs_own():
    torch.manual_seed(0)
    q, p = ((torch.randn(5, 6), torch.randn(5, 6)) for _ in range(2))
    theirs = kl_divergence(*(Independent(Normal(mean, log_sd.exp()), 1) for mean, log_sd in (q, p)))
    assert torch.allclose(divergence(q, p), theirs, rtol=1e-5)
    assert torch.allclose(divergence(p, p), torch.zeros(5), atol=1e-6)
