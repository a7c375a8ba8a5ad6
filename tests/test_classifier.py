"""The noisy-image classifier and the v1 U-Net beside it: sizes of the paper, pooling, gradients, labels without an MLP."""

import dataclasses

import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import Prediction
from gliomap.diffusion.guidance import classifier_guided
from gliomap.diffusion.schedule import VP
from gliomap.methods.restoration_training import denoiser_config
from gliomap.nets.classifier import Classifier, Pool, configure
from gliomap.nets.unet import NULL, UNet, UNetShape, sinusoid

PAPER = UNetShape(width=128, mult=(1, 1, 2, 3, 4), blocks=2, attention_px=(32, 16, 8), groups=32, dropout=0.0)
SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(8,), groups=4, dropout=0.0)


def awake(net: torch.nn.Module) -> torch.nn.Module:
    """The network with all its weights random, the zeroed ones too."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def test_parameter_counts_of_the_paper():
    with torch.device("meta"):
        denoiser = UNet(denoiser_config(PAPER, 128, variance=False, classes=None))
        guided = UNet(denoiser_config(PAPER, 128, variance=True, classes=2))
        classifier = Classifier(configure(PAPER, 4, 2, 128))
    assert count(denoiser) == 96_318_468
    assert count(guided) == count(denoiser) + 4 * (128 * 9 + 1) + 2 * 512  # four more channels out, two rows of labels
    assert count(classifier) == 42_057_218


def test_a_label_without_mlp_is_a_row_of_the_table_added_to_the_time():
    net = awake(UNet(denoiser_config(SHAPE, 16, variance=False, classes=2)))
    t, label = torch.tensor([7, 7, 7]), torch.tensor([0, NULL, 1])
    found, tokens = net._embedding(t, label, 3)
    rows = torch.stack([net.label.weight[0], torch.zeros(32), net.label.weight[1]])
    assert tokens is None
    assert net.label_mlp is None
    assert torch.allclose(found, torch.nn.functional.silu(net.time(sinusoid(t, 8)) + rows))


def test_label_table_learns_and_a_label_changes_the_output():
    net = awake(UNet(denoiser_config(SHAPE, 16, variance=True, classes=2))).train()
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([5, 5])
    net(x, t, torch.tensor([0, 1])).square().mean().backward()
    assert (net.label.weight.grad.abs().amax(1) > 0).all()
    assert not torch.allclose(net(x, t, torch.tensor([0, 0])), net(x, t, torch.tensor([1, 1])), atol=1e-3)


@pytest.mark.parametrize(("width", "head"), [(128, 64), (64, 64), (96, 32), (16, 16), (8, 8)])
def test_heads_are_64_wide_or_what_the_width_allows(width, head):
    shape = dataclasses.replace(SHAPE, width=width, groups=8)
    assert configure(shape, 4, 2, 16).head_channels == head


def test_classifier_runs_and_every_weight_gets_a_gradient():
    net = awake(Classifier(configure(SHAPE, 4, 2, 16))).train()
    out = net(torch.randn(3, 4, 16, 16), torch.tensor([0, 500, 999]))
    assert out.shape == (3, 2)
    assert out.dtype == torch.float32
    out.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_classifier_knows_the_level_and_treats_each_slice_alone():
    net = awake(Classifier(configure(SHAPE, 4, 2, 16)))
    x, t = torch.randn(3, 4, 16, 16), torch.tensor([10, 600, 10])
    whole = net(x, t)
    for i in range(3):
        assert torch.allclose(whole[i], net(x[i : i + 1], t[i : i + 1])[0], atol=1e-5)
    assert not torch.allclose(whole[0], net(x[:1], t[1:2])[0], atol=1e-3)


def test_bf16_autocast_is_close_and_gives_float32():
    net = awake(Classifier(configure(SHAPE, 4, 2, 16)))
    x, t = torch.randn(2, 4, 16, 16), torch.tensor([1, 900])
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x, t)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - net(x, t)).abs().max() < 0.1 * net(x, t).abs().max()


def test_pooling_of_equal_pixels_without_positions_is_a_linear_map_of_one():
    pool = awake(Pool(8, 16, 4, 3))
    torch.nn.init.zeros_(pool.position)
    x = torch.randn(2, 8, 1, 1).expand(2, 8, 4, 4)
    value = pool.qkv(x[:, :, 0, 0])[:, 16:]
    assert torch.allclose(pool(x), pool.project(value), atol=1e-5)


def test_pooling_is_attention_of_the_mean_over_itself_and_all_pixels():
    pool = awake(Pool(4, 4, 4, 2))
    x = torch.randn(1, 4, 2, 2)
    pixels = x[0].flatten(1).T
    tokens = torch.cat([pixels.mean(0, keepdim=True), pixels]) + pool.position
    q, k, v = pool.qkv(tokens).split(4, dim=1)
    attended = (q[:1] @ k.T / 2).softmax(1) @ v
    assert torch.allclose(pool(x), pool.project(attended), atol=1e-6)


def test_probabilities_of_the_classes_sum_to_one():
    net = awake(Classifier(configure(SHAPE, 4, 2, 16)))
    x, t = torch.randn(5, 4, 16, 16), torch.full((5,), 30)
    total = sum(net.log_probability(label)(x, t).exp() for label in (0, 1))
    assert torch.allclose(total, torch.ones(5), atol=1e-6)


def test_guidance_pushes_along_the_gradient_found_by_finite_differences():
    net = awake(Classifier(configure(SHAPE, 4, 2, 16))).double()
    net.pool.forward = lambda x, pool=net.pool: Pool.forward(pool, x.double())
    net.norm.forward = lambda x, norm=net.norm: torch.nn.GroupNorm.forward(norm, x.double())
    net.time.forward = lambda e, time=net.time: torch.nn.Sequential.forward(time, e.double())
    schedule, healthy = VP(1000, 1e-4, 0.02), net.log_probability(0)
    x, t = torch.randn(1, 4, 16, 16, dtype=torch.float64), torch.tensor([300])
    still = Prediction(torch.zeros_like(x), torch.zeros_like(x))
    pushed = classifier_guided(lambda *_: still, healthy, 2.0, schedule)(x, t)
    way = torch.randn_like(x)
    h = 1e-3
    slope = (healthy(x + h * way, t) - healthy(x - h * way, t)).item() / (2 * h)
    alpha, sigma = (value.item() for value in schedule.marginal(t))
    assert (-pushed.eps * way).sum().item() == pytest.approx(2 * sigma * slope, rel=1e-2)
    assert torch.allclose(alpha * pushed.x0 + sigma * pushed.eps, torch.zeros_like(x), atol=1e-9)


def test_a_shape_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="attention_px has 7"):
        configure(dataclasses.replace(SHAPE, attention_px=(7,)), 4, 2, 16)
