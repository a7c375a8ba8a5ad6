"""The networks of Baur et al.: counts by hand, shapes of every layer, what may depend on what."""

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.nets.baur import BaurConfig, BaurShape, Critic, Decoder, Encoder, VariationalAutoencoder, configure, of

PAPER = BaurShape(width=32, most=128, bottleneck_px=8, latent=128, dropout=0.1)
SMALL = BaurConfig(width=4, most=8, bottleneck_px=4, latent=3, dropout=0.5, channels=2, image_size=16)


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def kernels(pairs, norm: int = 2) -> int:
    """5 x 5 convolutions with bias, and two numbers a channel of a norm."""
    return sum(25 * a * b + b + norm * b for a, b in pairs)


def test_parameters_of_the_vae_at_256_px_by_hand():
    with torch.device("meta"):
        net = VariationalAutoencoder(configure(PAPER, 4, 256))
    encoder = kernels([(4, 32), (32, 64), (64, 128), (128, 128), (128, 128)]) + 129 * 16 + (16 * 64 + 1) * 2 * 128
    decoder = 129 * 16 * 64 + 17 * 128 + kernels([(128, 128), (128, 128), (128, 128), (128, 64), (64, 32)]) + 33 * 4
    assert count(net) == encoder + decoder


def test_layers_halve_to_the_bottleneck_and_double_back():
    net, shapes = VariationalAutoencoder(configure(PAPER, 4, 64)).eval(), []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, x, y: shapes.append(tuple(y.shape[1:])))
    out = net(torch.zeros(2, 4, 64, 64))
    assert shapes == [
        (32, 32, 32), (64, 16, 16), (128, 8, 8), (16, 8, 8), (256,),
        (1024,), (128, 8, 8), (128, 16, 16), (64, 32, 32), (32, 64, 64), (4, 64, 64),
    ]  # fmt: skip
    assert (out.shape, out.dtype) == ((2, 4, 64, 64), torch.float32)


def test_a_sigmoid_ends_in_the_unit_interval_and_a_line_does_not():
    z = 50 * torch.randn(4, 3)
    low_high = {kind: Decoder(SMALL, "layer", kind).eval()(z).aminmax() for kind in ("sigmoid", "linear")}
    assert low_high["sigmoid"].min >= 0
    assert low_high["sigmoid"].max <= 1
    assert low_high["linear"].min < 0


@pytest.mark.parametrize("net", [Critic(SMALL), nn.Sequential(Decoder(SMALL, "layer", "sigmoid"), Critic(SMALL))])
def test_layer_norm_keeps_images_apart_in_training_too(net):
    torch.manual_seed(0)
    x = torch.randn(4, 3) if isinstance(net, nn.Sequential) else torch.randn(4, 2, 16, 16)
    for layer in net.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    whole = net.train()(x)
    assert whole.shape == (4,)
    assert torch.allclose(whole, torch.cat([net(x[i : i + 1]) for i in range(4)]), atol=1e-5)


def test_mean_and_log_sigma_are_vectors_of_their_own():
    net = Encoder(SMALL, vectors=2).eval()
    found = net(torch.randn(5, 2, 16, 16))
    assert found.shape == (5, 2, 3)
    assert not torch.allclose(found[:, 0], found[:, 1])


def test_biases_start_at_0_and_weights_within_glorots_bounds():
    layer = next(m for m in Encoder(SMALL).modules() if isinstance(m, nn.Conv2d))
    bound = (6 / (25 * (2 + 4))) ** 0.5
    assert 0.9 * bound < layer.weight.abs().max() <= bound
    assert not layer.bias.any()


def test_a_configuration_comes_back_from_json():
    value = {"width": 4, "most": 8, "bottleneck_px": 4, "latent": 3, "dropout": 0.5, "channels": 2, "image_size": 16}
    assert of(value) == SMALL
    assert SMALL.widths == (4, 8)
    assert SMALL.squeezed == (1, 4, 4)


@pytest.mark.parametrize(("bottleneck", "size"), [(8, 8), (8, 24), (16, 8), (8, 20)])
def test_a_bottleneck_that_halving_does_not_reach_is_refused(bottleneck, size):
    with pytest.raises(UserError, match=f"bottleneck_px is {bottleneck} for slices of {size} px"):
        Critic(configure(BaurShape(4, 8, bottleneck, 3, 0.0), 2, size))
