"""AE and VAE with a dense bottleneck: the published counts, shapes, where dropout acts, what passes the middle."""

import pytest
import torch
from torch import nn

from gliomap.methods.rebuild_training import Baur, vectors_of
from gliomap.nets.baur import BaurConfig
from gliomap.nets.dense_autoencoder import DenseAutoencoder

PAPER = Baur(width=32, most=128, bottleneck_px=8, latent=128, dropout_ae=0.2, dropout_vae=0.1, kl=1.0)
SMALL = BaurConfig(width=4, most=8, bottleneck_px=4, latent=3, dropout=0.0, channels=1, image_size=16)


def by_hand(vectors: int) -> int:
    """5 x 5 convolutions with bias and two numbers a channel of a norm; 1 x 1 ones and linear maps with bias."""
    down = [(1, 32), (32, 64), (64, 128), (128, 128)]
    up = [(128, 128), (128, 64), (64, 32), (32, 32)]
    strided = sum(25 * a * b + 3 * b for a, b in down + up)
    middle = 129 * 16 + vectors * 1025 * 128 + 129 * 1024 + 17 * 128 + 2 * 128
    return strided + middle + 33


@pytest.mark.parametrize(("kind", "published", "dropout"), [("ae", 1_627_249, 0.2), ("vae", 1_758_449, 0.1)])
def test_parameters_are_the_published_ones(kind, published, dropout):
    """1.63 and 1.76 million at 128 px, one modality."""
    with torch.device("meta"):
        net = DenseAutoencoder(PAPER.config(kind, 128), vectors_of(kind))
    assert sum(p.numel() for p in net.parameters()) == published == by_hand(vectors_of(kind))
    assert net.dropout.p == dropout


def test_channels_halve_as_the_image_doubles():
    net, shapes = DenseAutoencoder(PAPER.config("ae", 64), 1).eval(), []
    for layer in net.decoder:
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, x, y: shapes.append(tuple(y.shape[1:])))
    out = net(torch.zeros(2, 1, 64, 64))
    assert shapes == [(1024,), (128, 8, 8), (128, 16, 16), (64, 32, 32), (32, 64, 64), (1, 64, 64)]
    assert (out.shape, out.dtype) == ((2, 1, 64, 64), torch.float32)


@pytest.mark.parametrize("vectors", [1, 2])
def test_all_that_passes_the_middle_is_one_vector(vectors):
    """The Jacobian of the output has no higher rank than the vector is long: that of a VAE goes through the mean alone."""
    torch.manual_seed(0)
    net = DenseAutoencoder(SMALL, vectors).eval()
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x).flatten(), torch.randn(1, 1, 16, 16)).flatten(1)
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-4) == SMALL.latent


def test_dropout_is_on_the_vectors_alone():
    torch.manual_seed(0)
    net = DenseAutoencoder(BaurConfig(**{**vars(SMALL), "dropout": 0.5, "latent": 64}), 2).train()
    rates = [layer.p for layer in net.modules() if isinstance(layer, nn.Dropout)]
    assert sorted(rates) == [0.0, 0.5]  # that of the shared encoder is off
    mean, log_sigma = net.vectors(torch.randn(4, 1, 16, 16))
    for values in (mean, log_sigma):
        assert 0.3 < (values == 0).float().mean() < 0.7
