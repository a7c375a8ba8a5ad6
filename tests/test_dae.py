"""The denoising U-Net: the published count, shapes of every layer, standardised filters, broken input."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.nets.dae import DaeConfig, DenoisingUNet, Standardised, groups


def by_hand(width: int, channels: int) -> int:
    """3 x 3 convolutions with bias and two numbers a channel of a norm; 2 x 2 transposed ones; a 1 x 1 one."""
    a, b, c, d = (width << level for level in range(4))
    pairs = [(channels, a), (a, a), (a, b), (b, b), (b, c), (c, c), (c, d), (d, d)]
    pairs += [(d, c), (c, c), (c, b), (b, b), (b, a), (a, a)]
    up = sum(4 * big * small + small for big, small in ((d, c), (c, b), (b, a)))
    return sum(9 * x * y + 3 * y for x, y in pairs) + up + (a + 1) * channels


@pytest.mark.parametrize(("width", "channels", "published"), [(64, 1, 7_701_825), (16, 1, None), (8, 4, None)])
def test_parameters(width, channels, published):
    with torch.device("meta"):
        net = DenoisingUNet(DaeConfig(width, channels, 64))
    found = sum(p.numel() for p in net.parameters())
    assert found == by_hand(width, channels)
    assert published in (None, found)


def test_groups_are_the_published_ones():
    assert [groups(n) for n in (64, 128, 256, 512)] == [8, 16, 16, 32]
    assert [groups(n) for n in (4, 7, 12)] == [2, 7, 4]


def test_layers_halve_three_times_and_double_back():
    net, shapes = DenoisingUNet(DaeConfig(4, 1, 32)), []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(lambda layer, x, y: shapes.append(tuple(y.shape[1:])))
    out = net(torch.randn(2, 1, 32, 32))
    assert shapes == [
        (4, 32, 32), (4, 32, 32), (8, 16, 16), (8, 16, 16), (16, 8, 8), (16, 8, 8), (32, 4, 4), (32, 4, 4),
        (16, 8, 8), (16, 8, 8), (16, 8, 8), (8, 16, 16), (8, 16, 16), (8, 16, 16), (4, 32, 32), (4, 32, 32), (4, 32, 32),
        (1, 32, 32),
    ]  # fmt: skip
    assert (out.shape, out.dtype) == ((2, 1, 32, 32), torch.float32)


def test_a_filter_counts_by_its_shape_only():
    """Scaling a filter, or adding a constant to it, changes nothing; its effective taps have mean 0 and deviation 1."""
    torch.manual_seed(0)
    layer, x = Standardised(2, 3), torch.randn(1, 2, 8, 8)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(5.0).add_(0.3)
    assert torch.allclose(layer(x), before, atol=1e-3)
    delta = torch.zeros(18, 2, 3, 3)  # every tap by itself; in the centre of 3 x 3 pixels nothing is reflected
    delta.view(18, 18)[torch.arange(18), torch.arange(18)] = 1
    taps = layer(delta)[:, :, 1, 1] - layer.bias
    alone = torch.nn.functional.conv2d(delta, layer.weight)[:, :, 0, 0]
    expected = (alone - alone.mean(0)) / alone.std(0)
    assert torch.allclose(taps, expected, atol=1e-3)


def test_the_border_is_reflected():
    """A slice that is constant along an axis stays so: zero padding would show at the border."""
    layer, x = Standardised(1, 2), torch.randn(1, 1, 1, 8).expand(1, 1, 8, 8)
    out = layer(x)
    assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-5)


def test_the_head_is_float32_under_autocast():
    net, x = DenoisingUNet(DaeConfig(4, 1, 16)).eval(), torch.randn(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x)
    assert out.dtype == torch.float32
    assert not torch.equal(out, out.bfloat16().float())


def test_a_configuration_comes_back_from_json():
    config = DaeConfig(4, 1, 32)
    assert DaeConfig.of(asdict(config)) == config


@pytest.mark.parametrize("size", [20, 8])
def test_slices_that_cannot_be_halved_three_times_are_refused(size):
    with pytest.raises(UserError, match=f"slices have {size} px, expected a multiple of 8, 16 or more"):
        DaeConfig(4, 1, size)
