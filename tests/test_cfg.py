"""The classifier-free denoiser: labels, null labels, sizes (AnoFPDM spec 2 and 3.1)."""

import dataclasses

import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import NULL
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine import weights
from gliomap.engine.contract import Batch, Train
from gliomap.methods.cfg import HEALTHY, UNHEALTHY, Cfg, Training, configure, load
from gliomap.nets.unet import UNet, UNetShape

SIZE = 16
SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(8,), groups=4, dropout=0.0)
TRAIN = Train(
    steps=4, batch=2, lr=1e-3, weight_decay=0.0, warmup=0, decay_from=1.0, clip=0.0, ema=0.9, log_every=1, save_every=4,
    val_slices=0,
)  # fmt: skip
OWN = Cfg(
    follow="code", net=SHAPE, heads="follow", first_activation="follow", label_tokens=True,
    diffusion=Diffusion(1000, 1e-4, 0.02), train=TRAIN, null_share=0.1,
)  # fmt: skip
LABELS = torch.tensor([HEALTHY, UNHEALTHY] * 1000)


def batch_of(rows, step=0) -> Batch:
    rows = torch.as_tensor(rows)
    images = Noise(1).normal("test/slices", rows, 0, (4, SIZE, SIZE)) * 0.3
    return Batch(rows, images, torch.ones(len(rows), SIZE, SIZE), step)


def test_at_paper_scale_it_has_the_parameters_of_the_released_network():
    shape = UNetShape(width=128, mult=(1, 1, 2, 3, 4), blocks=2, attention_px=(32, 16, 8), groups=32, dropout=0.1)
    with torch.device("meta"):
        for follow in ("paper", "code"):  # heads and activations have no weights
            net = UNet(configure(dataclasses.replace(OWN, follow=follow, net=shape), 128))
            assert sum(p.numel() for p in net.parameters()) == 103_082_500


def test_presets_are_the_papers_and_the_codes():
    paper, code = (configure(dataclasses.replace(OWN, follow=follow), SIZE) for follow in ("paper", "code"))
    assert (paper.heads, paper.first_activation) == (2, True)
    assert (code.heads, code.first_activation) == (4, False)
    mixed = configure(dataclasses.replace(OWN, heads=2, first_activation="on"), SIZE)
    assert (mixed.heads, mixed.first_activation) == (2, True)


def test_a_tenth_of_the_labels_is_hidden_and_the_others_are_the_slices_own():
    training = Training(OWN, SIZE, LABELS)
    rows = torch.arange(2000)
    shown = training.shown(Batch(rows, torch.empty(0), torch.empty(0), 3), Noise(0))
    hidden = shown == NULL
    assert 0.08 < hidden.float().mean() < 0.12
    assert torch.equal(shown[~hidden], LABELS[~hidden])
    again = training.shown(Batch(rows, torch.empty(0), torch.empty(0), 4), Noise(0))
    assert not torch.equal(again == NULL, hidden)  # drawn anew at each step


def test_untrained_it_predicts_no_noise_so_the_loss_is_one():
    ((name, loss),) = Training(OWN, SIZE, LABELS).losses(batch_of(range(64)), Noise(0))
    assert name == "net"
    assert loss.item() == pytest.approx(1.0, abs=0.02)


def test_the_network_is_told_time_and_label():
    training = Training(dataclasses.replace(OWN, null_share=0.0), SIZE, LABELS)
    told = []
    training.denoiser.net = lambda x, t, label: told.append((t, label)) or torch.zeros_like(x)
    list(training.losses(batch_of([0, 1, 2, 3]), Noise(0)))
    ((t, label),) = told
    assert label.tolist() == [HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY]
    assert t.dtype == torch.int64
    assert ((t >= 0) & (t < 1000)).all()


def test_label_changes_the_prediction_once_trained_and_null_is_neither():
    torch.manual_seed(0)
    net = Training(OWN, SIZE, LABELS).nets["net"]
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, t = torch.randn(1, 4, SIZE, SIZE), torch.tensor([100])
    outs = [net(x, t, torch.tensor([label])) for label in (HEALTHY, UNHEALTHY, NULL)]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not torch.allclose(outs[i], outs[j], atol=1e-4)


def test_it_is_loaded_as_it_was_saved_and_only_for_its_image_size(tmp_path):
    training = Training(OWN, SIZE, LABELS)
    states = {name: net.state_dict() for name, net in training.nets.items()}
    weights.save(tmp_path / "cfg" / "all", states, states, {"method": "cfg", "networks": training.arguments})
    denoiser = load(tmp_path / "cfg" / "all", "ema", SIZE, torch.device("cpu"))
    assert denoiser.clip is None
    assert denoiser.schedule.T == 1000
    with pytest.raises(UserError, match="trained on slices of 16 px, found slices of 32 px"):
        load(tmp_path / "cfg" / "all", "ema", 2 * SIZE, torch.device("cpu"))
