"""NCSN++: size, census, initial output, layout of the weights, FIR, what it depends on (TSGM spec 3.3, 11.2, 11.3)."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.nets.ncsnpp import Attention, Down, Fir, Fourier, NcsnConfig, NCSNpp, NcsnShape, Output, Residual, conv, norm

PAPER = NcsnShape(width=128, mult=(1, 1, 2, 2, 2, 2, 2), blocks=2, attention_px=(16,), dropout=0.0)
TINY = NcsnShape(width=8, mult=(1, 2), blocks=1, attention_px=(8,), dropout=0.0).config(2, 1, 16)


@pytest.fixture(scope="module")
def published():
    with torch.device("meta"):
        return NCSNpp(PAPER.config(2, 1, 256))


def shaken(config: NcsnConfig) -> NCSNpp:
    """With weights that are not nearly 0 anywhere."""
    net = NCSNpp(config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    return net


def count(net: nn.Module, trained: bool = False) -> int:
    return sum(p.numel() for p in net.parameters() if p.requires_grad or not trained)


def test_published_network_has_the_published_parameters(published):
    assert count(published) == 65_558_305
    assert count(published, trained=True) == 65_558_177
    with torch.device("meta"):
        assert count(NCSNpp(PAPER.config(8, 4, 256))) == 65_656_156


def test_census_of_the_published_blocks(published):
    found = [type(module) for module in published.modules()]
    census = {kind: found.count(kind) for kind in (Residual, Attention, Down, Output, Fourier)}
    assert census == {Residual: 49, Attention: 4, Down: 6, Output: 7, Fourier: 1}
    assert len(published.encoder) == 14 + 6
    resized = [module for module in published.modules() if isinstance(module, Residual) and isinstance(module.resize, Fir)]
    assert len(resized) == 6 + 6
    assert {module.num_groups for module in published.modules() if isinstance(module, nn.GroupNorm)} == {32}


def test_weights_are_in_the_order_of_the_released_code():
    """Frequencies, embedding, stem, encoder (block, attention, down, combiner), middle, decoder coarse to fine, merge."""
    block, output = ["norm1", "conv1", "embed", "norm2", "conv2"], ["0", "2"]
    attention = ["norm", "query", "key", "value", "project"]
    expected = ["linear1", "linear2", "stem"]
    expected += [*block, *block, "skip", "combine", *block, "skip", *attention]  # encoder: 16 px, down to 8 px
    expected += [*block, *attention, *block]  # middle
    expected += [*block, "skip", *block, "skip", *attention, *output, *block, "skip"]  # 8 px, up
    expected += [*block, "skip", *block, "skip", *output, "merge"]  # 16 px
    names = [name.rsplit(".", 2) for name, _ in NCSNpp(TINY).named_parameters()]
    assert names[0] == ["level", "frequency"]
    assert [parts[-2] for parts in names if parts[-1] == "weight"] == expected


@pytest.mark.parametrize("width", [16, 32])
def test_untrained_output_is_nearly_zero(width):
    net = NCSNpp(dataclasses.replace(TINY, width=width, mult=(1, 1, 2)))
    h = net(torch.rand(4, 2, 16, 16), torch.tensor([0.01, 0.5, 10, 348]))
    assert 1e-8 < h.abs().mean() < 1e-4


def test_initial_weights_have_the_variance_of_the_mean_fan():
    weight = conv(24, 40, 3).weight
    assert weight.var().item() == pytest.approx(1 / (9 * (24 + 40) / 2), rel=0.05)
    assert weight.abs().max() <= np.sqrt(3 / (9 * 32))
    assert conv(24, 40, 3, 1e-10).weight.std().item() == pytest.approx(1e-5 / np.sqrt(9 * 32), rel=0.05)


@pytest.mark.parametrize(("channels", "groups"), [(8, 2), (24, 6), (128, 32), (144, 16), (256, 32)])
def test_groups_divide_the_channels(channels, groups):
    assert norm(channels).num_groups == groups


def test_fir_down_is_the_separable_kernel_at_every_second_place():
    x = torch.randn(2, 3, 8, 8)
    line = np.array([1, 3, 3, 1]) / 8
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    by_hand = sum(line[i] * line[j] * padded[:, :, i : i + 7 : 2, j : j + 7 : 2] for i in range(4) for j in range(4))
    assert np.allclose(Fir("down")(x).numpy(), by_hand, atol=1e-6)


def test_fir_up_is_the_transpose_of_down_with_gain_four():
    x, y = torch.randn(1, 2, 8, 8), torch.randn(1, 2, 4, 4)
    assert (Fir("up")(y) * x).sum().item() == pytest.approx(4 * (y * Fir("down")(x)).sum().item(), rel=1e-4)
    flat = Fir("up")(torch.ones(1, 1, 6, 6))
    assert flat.shape == (1, 1, 12, 12)
    assert torch.allclose(flat[..., 1:-1, 1:-1], torch.ones(10, 10))


def test_fir_is_exact_under_autocast_and_is_no_weight():
    x, fir = torch.randn(1, 2, 8, 8), Fir("down")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fir(x), fir(x.float()))
        assert fir(x.bfloat16()).dtype == torch.float32
    assert not fir.state_dict()


def test_embedding_is_of_the_logarithm_of_the_level():
    level = Fourier(TINY)
    seen = []
    level.linear1.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    level(torch.tensor([1.0, 2.0]))
    phase = 2 * np.pi * np.log(2.0) * level.frequency.numpy()
    assert torch.equal(seen[0][0], torch.cat([torch.zeros(8), torch.ones(8)]))
    assert np.allclose(seen[0][1].numpy(), np.concatenate([np.sin(phase), np.cos(phase)]), atol=1e-4)
    assert not level.frequency.requires_grad


def test_a_residual_block_keeps_the_variance():
    block = Residual(TINY, 8, 8)  # its branch starts at 0
    x = torch.randn(4, 8, 16, 16)
    assert torch.allclose(block(x, torch.zeros(4, 32)), x / np.sqrt(2), atol=1e-4)


def test_images_are_independent_and_every_input_counts():
    net = shaken(TINY).eval()
    x, sigma = torch.rand(3, 2, 16, 16), torch.tensor([0.1, 1.0, 30.0])
    whole = net(x, sigma)
    assert whole.shape == (3, 1, 16, 16)
    assert torch.allclose(net(x[1:2], sigma[1:2]), whole[1:2], atol=1e-5)
    for channel in range(2):
        other = x.clone()
        other[1, channel] += 0.5
        assert (net(other, sigma) - whole)[1].abs().max() > 1e-3
    assert (net(x, 2 * sigma) - whole).abs().max() > 1e-3


def test_every_weight_takes_part():
    net = shaken(TINY)
    net(torch.rand(2, 2, 16, 16), torch.tensor([0.1, 3.0])).square().mean().backward()
    idle = [name for name, p in net.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)]
    assert not [name for name in idle if not name.endswith("key.bias")]  # softmax does not see it


def test_small_levels_survive_bf16():
    """Noise of 0.01 on images of 0..1 has to arrive at the first layer as it is."""
    net, seen = NCSNpp(TINY), []
    net.stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    x = 0.9 + 0.01 * torch.randn(1, 2, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(x, torch.tensor([0.01]))
    assert out.dtype == torch.float32
    assert torch.equal(seen[0], 2 * x - 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_size": 17}, "image size is 17, expected a multiple of 2"),
        ({"width": 6}, "width is 6, expected a multiple of 4"),
        ({"attention_px": (5,)}, "attention_px has 5, the levels have 16, 8 pixels"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change, says):
    with pytest.raises(UserError, match=says):
        dataclasses.replace(TINY, **change)


def test_configuration_comes_back_from_model_json():
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(TINY).items()}
    assert NcsnConfig.of(values) == TINY
