"""The autoencoder: the published counts, the shape of every layer, and the short vector that everything goes through."""

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.nets.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderShape, configure

PAPER = AutoencoderShape(latent=16, hidden=2048, widths=(16, 32, 64, 64))
SMALL = AutoencoderShape(latent=3, hidden=12, widths=(4, 6))


def by_hand(size: int) -> int:
    """The layer table: 4 x 4 kernels without bias, two numbers a channel of a norm, linear maps with bias."""
    flat = 64 * (size // 16) ** 2
    kernels = 2 * 16 * (4 * 16 + 16 * 32 + 32 * 64 + 64 * 64)
    norms = 2 * (16 + 32 + 64 + 64) + 2 * (64 + 32 + 16) + 2 * 2 * 2048
    linear = (flat + 1) * 2048 + (2048 + 1) * 16 + (16 + 1) * 2048 + (2048 + 1) * flat
    return kernels + norms + linear


@pytest.mark.parametrize(("size", "published"), [(256, 67_418_704), (128, 17_074_768), (64, 4_488_784), (32, 1_342_288)])
def test_parameters_are_the_published_ones(size, published):
    with torch.device("meta"):
        net = Autoencoder(configure(PAPER, 4, size))
    assert sum(p.numel() for p in net.parameters()) == published == by_hand(size)


def test_layers_halve_flatten_and_double_as_the_table_says():
    net, shapes = Autoencoder(configure(PAPER, 4, 64)).eval(), []
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, x, y: shapes.append(tuple(y.shape[1:])))
    out = net(torch.zeros(2, 4, 64, 64))
    assert shapes == [
        (16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 4, 4), (2048,), (16,), (2048,), (1024,),
        (64, 8, 8), (32, 16, 16), (16, 32, 32), (4, 64, 64),
    ]  # fmt: skip
    assert (out.shape, out.dtype) == ((2, 4, 64, 64), torch.float32)
    kinds = [type(layer).__name__ for layer in net]
    assert kinds[-1] == "ConvTranspose2d"  # linear output
    assert (kinds.count("BatchNorm2d"), kinds.count("BatchNorm1d"), kinds.count("ReLU")) == (7, 2, 9)


def test_all_that_passes_the_middle_is_the_latent_vector():
    """The Jacobian of the output has no higher rank than the latent vector."""
    torch.manual_seed(0)
    net = Autoencoder(configure(SMALL, 2, 8)).eval()
    jacobian = torch.autograd.functional.jacobian(lambda x: net(x).flatten(), torch.randn(1, 2, 8, 8)).flatten(1)
    assert torch.linalg.matrix_rank(jacobian, rtol=1e-4) == SMALL.latent


def test_a_configuration_comes_back_from_json():
    config = configure(SMALL, 2, 8)
    assert AutoencoderConfig.of({"latent": 3, "hidden": 12, "widths": [4, 6], "channels": 2, "image_size": 8}) == config


@pytest.mark.parametrize(("widths", "size"), [((4, 6), 6), ((), 8)])
def test_slices_that_cannot_be_halved_are_refused(widths, size):
    with pytest.raises(UserError, match=f"{len(widths)} widths on slices of {size} px"):
        Autoencoder(configure(AutoencoderShape(3, 12, widths), 2, size))
