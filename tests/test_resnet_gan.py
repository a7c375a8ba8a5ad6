"""CycleGAN's networks: the published counts of parameters, fields of view, and what must not leak between images."""

import pytest
import torch

from gliomap.nets.resnet_gan import GeneratorShape, JudgeShape, PatchJudge, ResnetGenerator

PAPER = GeneratorShape(width=64, blocks=9, skip=False)
SMALL = GeneratorShape(width=4, blocks=1, skip=False)


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("channels", "expected"), [(1, 11_365_633), (4, 11_384_452)])
def test_generator_has_the_published_number_of_parameters(channels, expected):
    with torch.device("meta"):
        assert count(ResnetGenerator(channels, PAPER)) == expected


def test_judge_has_the_published_number_of_parameters_and_patches():
    with torch.device("meta"):
        judge = PatchJudge(1, JudgeShape(64, 3))
        assert count(judge) == 2_762_689
        assert judge(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 30, 30)


def test_a_judge_of_three_layers_sees_patches_of_70_pixels():
    """Without normalisation, which sees the whole image: the gradient of one output covers 70 x 70 pixels."""
    judge = torch.nn.Sequential(*(m for m in PatchJudge(1, JudgeShape(2, 3)) if isinstance(m, torch.nn.Conv2d)))
    x = torch.zeros(1, 1, 256, 256, requires_grad=True)
    judge(x)[0, 0, 15, 15].backward()
    seen = x.grad[0, 0] != 0
    assert (seen.any(0).sum(), seen.any(1).sum()) == (70, 70)


def test_weights_start_at_n_0_002_without_bias_and_nothing_is_normalised_by_learned_numbers():
    torch.manual_seed(0)
    net = ResnetGenerator(1, GeneratorShape(16, 2, skip=False))
    weights = torch.cat([p.flatten() for name, p in net.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    assert abs(weights.mean().item()) < 1e-4
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))
    assert not list(net.buffers())


@pytest.mark.parametrize("net", [ResnetGenerator(2, SMALL), PatchJudge(2, JudgeShape(4, 2))], ids=["generator", "judge"])
def test_an_image_does_not_change_the_result_of_another(net):
    x = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_generator_keeps_size_and_range():
    out = ResnetGenerator(1, SMALL)(3 * torch.randn(2, 1, 36, 20))
    assert out.shape == (2, 1, 36, 20)
    assert out.abs().max() <= 1


def test_with_skip_the_first_output_is_the_image_and_a_change_is_added_and_cut_off():
    net = ResnetGenerator(1, GeneratorShape(4, 1, skip=True))
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    x[:, :, :4] = -1  # outside the head
    assert torch.equal(net(x), x)
    net[-2].bias.data.fill_(10.0)  # tanh of it is 1
    torch.testing.assert_close(net(x), torch.where(x > -1, (x + 1).clamp(max=1), -1.0))
