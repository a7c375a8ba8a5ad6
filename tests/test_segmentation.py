"""Segmentation networks: published sizes, unpooling, strides and atrous rates, the ResNet against MONAI's."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from monai.networks import nets as monai

from gliomap.nets import deeplab
from gliomap.nets.deeplab import DeepLab, DeepLabShape, Pyramid, ResNet
from gliomap.nets.segmentation import PRIOR, ClassicUNet, SegNet, Width, conv, pooled, unpooled

SMALL = {
    "unet": lambda channels=4: ClassicUNet(channels, Width(4)),
    "segnet": lambda channels=4: SegNet(channels, Width(4)),
    "deeplab": lambda channels=4: DeepLab(channels, DeepLabShape(18, 4)),
    "deeplab50": lambda channels=4: DeepLab(channels, DeepLabShape(50, 4)),
}
UNET = [4, 64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024]  # channels on the way down; two convolutions a level
VGG = [4, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
MIRRORED = [512, 512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64]  # and a last convolution to 2 classes


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def normalised(channels: list[int], kernel: int = 3) -> int:
    """Parameters of convolutions without bias from each number of channels to the next, each with a normalisation."""
    return sum(kernel**2 * a * b + 2 * b for a, b in itertools.pairwise(channels))


def test_unet_has_31_million_parameters():
    up = sum(4 * 2 * c * c + c for c in (512, 256, 128, 64))  # 2 x 2, from twice the channels, with bias
    join = sum(normalised([2 * c, c, c]) for c in (512, 256, 128, 64))
    with torch.device("meta"):
        net = ClassicUNet(4, Width(64))
    assert count(net) == normalised(UNET) + up + join + (64 * 2 + 2) == 31_038_274


def test_segnet_has_29_million_parameters():
    with torch.device("meta"):
        net = SegNet(4, Width(64))
    assert count(net) == normalised(VGG) + normalised(MIRRORED) + (9 * 64 * 2 + 2) == 29_436_802


@pytest.mark.parametrize(("layers", "known"), [(18, 16_606_434), (50, 40_350_434), (101, 59_342_562)])
def test_deeplab_has_59_million_parameters_with_101_layers(layers, known):
    """The backbone's number is MONAI's ResNet without its classifier; the rest is arithmetic."""
    with torch.device("meta"):
        net = DeepLab(4, DeepLabShape(layers, 64))
        make = getattr(monai, f"resnet{layers}")
        oracle = make(spatial_dims=2, n_input_channels=4, feed_forward=False, bias_downsample=False)
    deep, low = (512, 64) if layers == 18 else (2048, 256)
    pyramid = 2 * normalised([deep, 256], 1) + 3 * normalised([deep, 256]) + normalised([5 * 256, 256], 1)
    decoder = normalised([low, 48], 1) + normalised([256 + 48, 256, 256]) + (256 * 2 + 2)
    assert count(net) == count(oracle) + pyramid + decoder == known


@pytest.mark.parametrize("layers", [18, 50])
def test_the_first_three_stages_are_monais_resnet(layers):
    """The fourth differs by its stride only: dilated instead."""
    make = getattr(monai, f"resnet{layers}")
    oracle = make(spatial_dims=2, n_input_channels=4, feed_forward=False, conv1_t_stride=2, bias_downsample=False).eval()
    net = ResNet(4, DeepLabShape(layers, 64)).eval()
    for own, other in zip(net.state_dict().values(), oracle.state_dict().values(), strict=True):
        own.copy_(other)
    x = torch.randn(2, 4, 32, 32)
    with torch.inference_mode():
        y = oracle.maxpool(oracle.act(oracle.bn1(oracle.conv1(x))))
        first = oracle.layer1(y)
        third = oracle.layer3(oracle.layer2(first))
        assert torch.allclose(net.stages[0](net.stem(x)), first, atol=1e-5)
        assert torch.allclose(net.stages[2](net.stages[1](first)), third, atol=1e-5)
        low, high = net(x)
    assert torch.equal(low, first)
    assert high.shape == (2, oracle.layer4[-1].bn2.num_features * (4 if layers > 18 else 1), 2, 2)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", SMALL)
def test_two_logits_per_pixel_and_a_gradient_for_every_weight(name, size):
    net = SMALL[name](5)
    logits = net(torch.randn(2, 5, size, size))
    assert logits.shape == (2, 2, size, size)
    (logits * torch.randn_like(logits)).sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_trained_network_treats_each_slice_alone(name):
    net = SMALL[name]()
    net(torch.randn(4, 4, 32, 32))  # running statistics other than 0 and 1
    net.eval()
    x = torch.randn(3, 4, 32, 32)
    assert torch.allclose(net(x)[1], net(x[1:2])[0], atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_bf16_autocast_is_close_and_gives_float32(name):
    net, x = SMALL[name]().eval(), torch.randn(2, 4, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x)
    assert rounded.dtype == torch.float32
    share = 0.3 if name == "segnet" else 0.05  # a maximum that moves to the next pixel is a jump
    assert 0 < (rounded - net(x)).norm() < share * net(x).norm()


def test_pooling_and_unpooling_are_pytorchs():
    x = torch.randn(2, 3, 8, 6)
    values, choice = pooled(x)
    other, where = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(values, other)
    y = torch.randn_like(values)
    assert torch.equal(unpooled(y, choice), F.max_unpool2d(y, where, 2))


def test_unpooling_is_the_inverse_of_pooling_where_the_maxima_were():
    x = torch.rand(2, 3, 8, 8) + 1
    back = unpooled(*pooled(x))
    assert torch.equal(pooled(back)[0], pooled(x)[0])
    assert ((back == x) | (back == 0)).all()
    assert ((back > 0).sum() * 4 == x.numel()).item()


def test_unpooling_works_where_algorithms_must_be_deterministic():
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    torch.use_deterministic_algorithms(True)
    try:
        (unpooled(*pooled(x)) * 3).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(x.grad, 3.0 * (unpooled(*pooled(x)) != 0))


def reach(net: torch.nn.Module, size: int) -> set[int]:
    """Rows, counted from the middle one, on which the middle pixel of the output depends."""
    x = torch.zeros(1, 1, size, size, requires_grad=True)
    net(x)[..., size // 2, size // 2].sum().backward()
    return set((x.grad[0, 0].abs().sum(1).nonzero().flatten() - size // 2).tolist())


@pytest.mark.parametrize("rate", deeplab.RATES)
def test_atrous_convolution_looks_as_far_as_its_rate(rate):
    net = conv(1, 1, 3, dilation=rate)[:1]
    torch.nn.init.ones_(net[0].weight)
    assert reach(net, 41) == {-rate, 0, rate}


def test_pyramid_has_the_papers_rates_and_sees_the_whole_slice():
    net = Pyramid(2, 4)
    assert [branch[0].dilation for branch in net.around] == [(6, 6), (12, 12), (18, 18)]
    x = torch.randn(2, 2, 4, 4)
    net.eval()
    for branch in (net.pixel, *net.around):
        torch.nn.init.zeros_(branch[0].weight)
    y = net(x)
    assert torch.allclose(y, y[..., :1, :1].expand_as(y), atol=1e-6)  # what is left is one value per slice
    assert not torch.allclose(y, net(x + 1))


def test_the_last_stage_is_dilated_in_place_of_its_stride():
    net = ResNet(4, DeepLabShape(18, 4))
    layers = [[m for m in stage.modules() if isinstance(m, torch.nn.Conv2d)] for stage in net.stages]
    assert [{m.dilation for m in stage if m.kernel_size == (3, 3)} for stage in layers] == [{(1, 1)}] * 3 + [{(2, 2)}]
    low, high = net(torch.randn(2, 4, 64, 64))
    assert (low.shape[-1], high.shape[-1]) == (16, 4)


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_network_starts_from_the_prior(name):
    net = SMALL[name]()
    torch.nn.init.zeros_(net.head.weight)
    assert net(torch.randn(2, 4, 32, 32)).softmax(1)[:, 1].sub(PRIOR).abs().max() < 1e-6


def test_initial_weights_are_he_normal():
    net = ClassicUNet(4, Width(32))
    layer = net.down[4][1][0]
    assert layer.weight.std().item() == pytest.approx((2 / (9 * layer.in_channels)) ** 0.5, rel=0.01)
    assert all((up.bias == 0).all() for up in net.up)
