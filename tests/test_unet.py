"""The U-Net: parameter counts of the papers, identity with diffusers' own, zero start, labels, gradients."""

import dataclasses
import json
import math

import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion import denoiser
from gliomap.nets.unet import NULL, Attention, Residual, UNet, UNetConfig, UNetShape, sinusoid

PAPER = {"width": 32, "mult": (1, 1, 2, 3, 4), "blocks": 2, "attention_px": (32, 16, 8), "groups": 16, "dropout": 0.1}
MMCCD = {**PAPER, "image_size": 128}
ANOFPDM = {
    **PAPER, "in_channels": 4, "out_channels": 4, "image_size": 128, "width": 128, "groups": 32, "heads": 4,
    "resample": "conv", "classes": 2, "label_tokens": True, "first_activation": False,
}  # fmt: skip
TINY = {"in_channels": 2, "out_channels": 1, "width": 8, "mult": (1, 2), "blocks": 1, "attention_px": (8,), "image_size": 16}
SMALL = UNetConfig(**TINY, groups=4)
LABELLED = dataclasses.replace(SMALL, classes=2, label_tokens=True, heads=2)


def awake(config: UNetConfig, seed: int = 0) -> UNet:
    """A network whose zero-initialised layers are random too."""
    torch.manual_seed(seed)
    net = UNet(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


@pytest.mark.parametrize(
    ("config", "count"),
    [
        pytest.param(UNetConfig(in_channels=2, out_channels=1, **MMCCD), 6_600_257, id="mmccd-f"),
        pytest.param(UNetConfig(in_channels=1, out_channels=1, **MMCCD), 6_599_969, id="mmccd-g-as-released"),
        pytest.param(UNetConfig(in_channels=1, out_channels=1, **MMCCD, time=False), 5_918_753, id="mmccd-g"),
        pytest.param(UNetConfig(**ANOFPDM), 103_082_500, id="anofpdm"),
    ],
)
def test_parameter_counts_of_the_papers(config, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(config).parameters()) == count


@pytest.mark.parametrize("config", [SMALL, LABELLED, dataclasses.replace(SMALL, resample="pool", time=False)])
def test_output_is_exactly_zero_before_training(config):
    net = UNet(config)
    out = net(torch.randn(2, 2, 16, 16), torch.tensor([0, 999]))
    assert out.shape == (2, 1, 16, 16)
    assert out.abs().max() == 0


def test_sinusoid_has_cosines_first_and_reaches_the_long_period():
    e = sinusoid(torch.tensor([0, 7]), 8)
    assert torch.equal(e[0], torch.tensor([1.0, 1, 1, 1, 0, 0, 0, 0]))
    assert torch.allclose(e[1, [0, 4]], torch.tensor([math.cos(7), math.sin(7)]))
    assert torch.allclose(e[1, 3], torch.tensor(7 * 10000 ** (-3 / 4)).cos())


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"scale_shift": False},
        {"resample": "conv"},
        {"resample": "pool", "scale_shift": False},
        {"first_activation": False, "label_tokens": True, "classes": 3, "resample": "conv"},
        {"head_channels": 4},
        {"time": False, "attention_px": ()},
    ],
    ids=str,
)
def test_variants_run_and_every_weight_gets_a_gradient(flags):
    net = awake(dataclasses.replace(SMALL, **flags)).train()
    label = torch.tensor([1, NULL]) if "classes" in flags else None
    out = net(torch.randn(2, 2, 16, 16), torch.tensor([3, 800]), label)
    out.square().mean().backward()
    assert out.shape == (2, 1, 16, 16)
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_without_a_time_the_modulation_is_left_out():
    net = awake(SMALL)
    without = awake(dataclasses.replace(SMALL, time=False))
    without.load_state_dict({k: v for k, v in net.state_dict().items() if k in without.state_dict()})
    x = torch.randn(1, 2, 16, 16)
    assert torch.equal(net(x), without(x))
    assert not torch.allclose(net(x), net(x, torch.tensor([500])))


def test_bf16_autocast_is_close_and_gives_float32():
    net = awake(SMALL)
    x, t = torch.randn(2, 2, 16, 16), torch.tensor([1, 900])
    exact = net(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x.to(memory_format=torch.channels_last), t)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_time_and_condition_change_the_output():
    net, x = awake(SMALL), torch.randn(1, 2, 16, 16)
    out = net(x, torch.tensor([10]))
    assert not torch.allclose(out, net(x, torch.tensor([600])))
    assert not torch.allclose(out, net(torch.cat([x[:, :1], x[:, 1:] + 1], 1), torch.tensor([10])))


def test_null_is_the_same_value_for_network_and_denoiser():
    assert NULL == denoiser.NULL


def test_null_label_is_a_value_and_equals_no_label():
    net, x, t = awake(LABELLED), torch.randn(3, 2, 16, 16), torch.tensor([5, 5, 5])
    mixed = net(x, t, torch.tensor([0, NULL, 1]))
    assert torch.allclose(mixed[1], net(x, t)[1], atol=1e-5)
    for i, label in ((0, 0), (2, 1)):
        assert torch.allclose(mixed[i : i + 1], net(x[i : i + 1], t[:1], torch.tensor([label])), atol=1e-5)
        assert not torch.allclose(mixed[i], net(x, t)[i], atol=1e-3)


def test_null_label_embedding_is_exactly_zero_but_its_tokens_still_enter_the_softmax():
    net = awake(LABELLED)
    embedding, tokens = net._embedding(torch.tensor([5]), torch.tensor([NULL]), 1)
    assert tokens.abs().max() == 0
    assert torch.equal(embedding, torch.nn.functional.silu(net.time(sinusoid(torch.tensor([5]), 8))))
    attention, x = net.middle[1], torch.randn(1, 16, 8, 8)
    assert not torch.allclose(attention(x, None, tokens), attention(x, None, None), atol=1e-4)


def test_attention_of_equal_pixels_is_a_linear_map_of_one_pixel():
    torch.manual_seed(0)
    block = Attention(SMALL, 8)
    torch.nn.init.normal_(block.project.weight)
    x = torch.randn(1, 8, 1, 1).expand(1, 8, 4, 4)
    value = block.qkv(block.norm(x)[0, :, 0, 0])[16:]
    assert torch.allclose(block(x, None, None)[0, :, 2, 1], x[0, :, 2, 1] + block.project(value), atol=1e-5)


def test_dropout_acts_in_training_only():
    block = Residual(dataclasses.replace(SMALL, dropout=0.5, time=False), 8, 8)
    torch.nn.init.normal_(block.conv2.weight)
    x = torch.randn(1, 8, 8, 8)
    assert not torch.allclose(block(x, None, None), block(x, None, None))
    block.eval()
    assert torch.equal(block(x, None, None), block(x, None, None))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"image_size": 18, "mult": (1, 2, 2)}, "image size is 18"),
        ({"attention_px": (7,)}, "attention_px has 7"),
        ({"groups": 5}, "groups = 5"),
        ({"heads": 3}, "heads"),
        ({"label_tokens": True}, "needs classes"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(change, word):
    with pytest.raises(UserError, match=word):
        dataclasses.replace(SMALL, **change)


def test_configuration_survives_json():
    config = UNetShape(**PAPER).config(2, 1, 128, time=False)
    assert UNetConfig.of(json.loads(json.dumps(dataclasses.asdict(config)))) == config


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param({}, {"resnet_time_scale_shift": "scale_shift"}, id="mmccd"),
        pytest.param({"resample": "conv"}, {"resnet_time_scale_shift": "scale_shift"}, id="conv"),
        pytest.param({"scale_shift": False}, {"resnet_time_scale_shift": "default"}, id="additive"),
        pytest.param({"head_channels": 8}, {"resnet_time_scale_shift": "scale_shift", "attention_head_dim": 8}, id="heads"),
    ],
)
def test_same_function_as_diffusers_unet(ours, theirs):
    config = UNetConfig(2, 1, 16, (1, 2, 3), 2, (8, 4), 16, 8, **ours)
    net, oracle = awake(config), diffusers_twin(config, theirs)
    copy_to_diffusers(net, oracle)
    x, t = torch.randn(2, 2, 16, 16), torch.tensor([0, 731])
    with torch.no_grad():
        expected, found = oracle(x, t).sample, net(x, t)
    assert (found - expected).abs().max() / expected.abs().max() < 3e-6


def diffusers_twin(config: UNetConfig, arguments: dict):
    """diffusers' UNet2DModel of the same design, in evaluation mode."""
    from diffusers import UNet2DModel

    plain = "Resnet{}sampleBlock2D" if config.resample == "residual" else "{}Block2D"
    down = ["AttnDownBlock2D" if px in config.attention_px else plain.format("Down") for px in config.sizes]
    up = ["AttnUpBlock2D" if px in config.attention_px else plain.format("Up") for px in config.sizes[::-1]]
    kind = "resnet" if config.resample == "residual" else "conv"
    arguments = {"attention_head_dim": None, **arguments}
    return UNet2DModel(
        sample_size=config.image_size, in_channels=config.in_channels, out_channels=config.out_channels,
        block_out_channels=[config.width * m for m in config.mult], layers_per_block=config.blocks,
        down_block_types=down, up_block_types=up, downsample_type=kind, upsample_type=kind, freq_shift=0,
        flip_sin_to_cos=True, norm_num_groups=config.groups, attn_norm_num_groups=config.groups, norm_eps=1e-5, **arguments,
    ).eval()  # fmt: skip


def copy_to_diffusers(net: UNet, oracle) -> None:
    """Our weights into diffusers' module, block by block; every one of its weights must be met exactly once."""
    target, met = oracle.state_dict(), {}

    def put(name: str, module: torch.nn.Module) -> None:
        met.update({f"{name}.{key}": value for key, value in module.state_dict().items()})

    for name, ours in pairs(net, oracle):
        if isinstance(ours, Residual):
            names = {"norm1": "norm1", "conv1": "conv1", "embed": "time_emb_proj", "norm2": "norm2", "conv2": "conv2"}
            for mine, other in names.items():
                put(f"{name}.{other}", getattr(ours, mine))
            if not isinstance(ours.skip, torch.nn.Identity):
                put(f"{name}.conv_shortcut", ours.skip)
        elif isinstance(ours, Attention):
            put(f"{name}.group_norm", ours.norm)
            put(f"{name}.to_out.0", ours.project)
            heads, channels = ours.heads, ours.project.in_features
            weight = ours.qkv.weight.view(heads, 3, channels // heads, channels)
            bias = ours.qkv.bias.view(heads, 3, channels // heads)
            for i, part in enumerate("qkv"):
                met[f"{name}.to_{part}.weight"] = weight[:, i].reshape(channels, channels)
                met[f"{name}.to_{part}.bias"] = bias[:, i].reshape(channels)
        else:
            put(name, ours)
    assert met.keys() == target.keys()
    oracle.load_state_dict(met)


def pairs(net: UNet, oracle):
    """(name in diffusers, our module), in step through both networks."""
    yield from {
        "time_embedding.linear_1": net.time[0], "time_embedding.linear_2": net.time[2], "conv_in": net.stem,
        "conv_norm_out": net.norm, "conv_out": net.head, "mid_block.resnets.0": net.middle[0],
        "mid_block.attentions.0": net.middle[1], "mid_block.resnets.1": net.middle[2],
    }.items()  # fmt: skip
    for side, stages, blocks in (
        ("down", iter(net.encoder), oracle.down_blocks),
        ("up", iter(net.decoder), oracle.up_blocks),
    ):
        for level, block in enumerate(blocks):
            name, last = f"{side}_blocks.{level}", None
            for i in range(len(block.resnets)):
                last = next(stages)
                yield f"{name}.resnets.{i}", last[0]
                if getattr(block, "attentions", None):
                    yield f"{name}.attentions.{i}", last[1]
            changer = getattr(block, f"{side}samplers", None)
            if changer:
                ours = next(stages)[0] if side == "down" else last[-1]
                inner = ".conv" if not isinstance(ours, Residual) else ""
                yield f"{name}.{side}samplers.0{inner}", ours if not inner else ours.conv
