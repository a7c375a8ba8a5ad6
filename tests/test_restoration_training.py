"""The restoring baselines: their trainings, loading, the tuning grid, broken input."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.base.files import write_json
from gliomap.diffusion.denoiser import NULL
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import restoration
from gliomap.methods.cfg import slice_labels
from gliomap.methods.restoration import Point
from gliomap.methods.restoration_training import Guided, NoisyClassifier, Training, Unconditional
from gliomap.scoring.mixed import Thetas
from gliomap.tuning import Grid, masks_of
from restoration_toys import CPU, DIFFUSION, FIELD, MIXED, SHAPE, SIZE, P, batch_of, images

# -- training


def trainings(labels: torch.Tensor) -> dict[str, Training]:
    return {
        "gauss": Unconditional(SHAPE, DIFFUSION, SIZE, None),
        "simplex": Unconditional(SHAPE, DIFFUSION, SIZE, FIELD),
        "guided": Guided(SHAPE, DIFFUSION, SIZE, labels, "slice"),
        "classifier": NoisyClassifier(SHAPE, DIFFUSION, SIZE, labels),
    }


def loss_of(method: Training, batch: Batch) -> torch.Tensor:
    [(name, loss)] = method.losses(batch, Noise(0))
    assert name == "net"
    return loss


def test_losses_before_training_are_the_energy_of_the_noise_or_one_bit():
    """The denoisers say 0. Two classes that nothing tells apart cost log 2 on average."""
    x, labels = images(64), torch.arange(200) % 2
    found = {key: loss_of(method, batch_of(x)).item() for key, method in trainings(labels).items()}
    assert found["gauss"] == pytest.approx(1, abs=0.02)
    field = FIELD.fields(Noise(0), "ddpm/simplex", range(5, 69), 0, (4, SIZE, SIZE))
    assert found["simplex"] == pytest.approx(field.square().mean().item(), rel=1e-4)
    assert found["guided"] > 1  # and a little for the variance
    assert found["classifier"] == pytest.approx(np.log(2), abs=0.2)


@pytest.mark.parametrize("key", ["gauss", "simplex", "guided", "classifier"])
def test_a_loss_is_the_mean_over_its_slices_whatever_the_batch(key):
    method = trainings(torch.arange(200) % 2)[key]
    for parameter in method.nets["net"].parameters():
        nn.init.normal_(parameter, std=0.1)
    x = images(4)
    whole = loss_of(method, batch_of(x))
    halves = [loss_of(method, batch_of(x[i : i + 2], 5 + i)) for i in (0, 2)]
    assert torch.allclose(whole, sum(halves) / 2, rtol=1e-3)


@pytest.mark.parametrize("key", ["guided", "classifier"])
def test_labels_are_those_of_the_global_rows(key):
    labels = torch.zeros(200, dtype=torch.int64)
    labels[7] = 1
    seen = []
    method = trainings(labels)[key]
    net = method.nets["net"]

    def spied(x, t, label=None):
        seen.append(label)
        return net(x, t) if label is None else net(x, t, label)

    if key == "guided":
        method.denoiser.net = spied
        loss_of(method, batch_of(images(4)))
        assert seen[0].tolist() == [0, 0, 1, 0]
        return
    net.pool.project.weight.data.zero_()
    net.pool.project.bias.data.copy_(torch.tensor([0.0, 20.0]))  # sure of a tumour: right for row 7 alone
    assert loss_of(method, batch_of(images(4))).item() == pytest.approx(15.0, abs=1e-3)


def test_an_unconditional_guided_model_knows_no_label():
    method = Guided(SHAPE, DIFFUSION, SIZE, torch.zeros(200, dtype=torch.int64), "none")
    assert method.nets["net"].label is None
    assert method.arguments["label"] == "none"
    assert loss_of(method, batch_of(images())).isfinite()


def test_slice_labels_are_null_outside_the_splits():
    rows = {"train": np.array([0, 1]), "val": np.array([4])}
    frames = {"train": [0, 1], "val": [1]}
    slices = SimpleNamespace(index=range(6), rows=rows.get, labels=lambda split: {"tumour": frames[split]})
    assert slice_labels(slices, ("train", "val")).tolist() == [0, 1, NULL, NULL, 1, NULL]


# -- loading


def saved(method: Training, folder) -> None:
    states = {"net": {k: v + 0.1 for k, v in method.nets["net"].state_dict().items()}}
    weights.save(folder, states, states, {"method": method.name, "networks": method.arguments})


@pytest.fixture
def models(tmp_path):
    """A folder with every model but DDIB's."""
    places = {"gauss": "ddpm/gauss", "simplex": "ddpm/simplex", "guided": "guided/all", "classifier": "classifier/all"}
    for key, method in trainings(torch.zeros(9, dtype=torch.int64)).items():
        saved(method, tmp_path / places[key])
    return tmp_path


def decide(models, key: str, **decision) -> None:
    write_json(models / "decisions" / f"{key}.json", {"kind": "fixed", "theta": 0.3, **decision})


@pytest.mark.parametrize(
    ("key", "setting"), [("anoddpm", {}), ("anoddpm_simplex", {}), ("ddim", {}), ("ddim_clf", {"scale": 9})]
)
def test_a_stored_baseline_comes_back_at_its_tuned_setting(models, key, setting):
    decide(models, key, setting={"noise_level": 0.2, **setting})
    slices = SimpleNamespace(images=np.zeros((1, 4, SIZE, SIZE)), pixel_mm=6.0)
    scorer = restoration.scorer({"restoration": P, "mixed": MIXED}, models, slices, CPU, key)
    assert scorer.point == Point(0.2, scale=setting.get("scale"))
    assert scorer.median_size == 1
    assert scorer.times[0] == 199
    assert scorer.nets.field == (FIELD if key == "anoddpm_simplex" else None)
    assert scorer.nets.label == (0 if key == "ddim_clf" else None)
    assert scorer.score(batch_of(images()), Noise(0)).map.isfinite().all()


@pytest.mark.parametrize(
    "decision",
    [
        {"setting": {"noise_level": 0.2}},
        {"setting": {"noise_level": 0.2, "scale": "big"}},
        {"setting": None},
        {"setting": {"noise_level": 0.2, "scale": 1.0}, "kind": "forward"},
    ],
)
def test_a_decision_of_another_kind_is_one_sentence(models, decision):
    decide(models, "ddim_clf", **decision)
    with pytest.raises(UserError, match=r"decisions.ddim_clf\.json: found no setting of noise_level, scale"):
        restoration.decided(models, "ddim_clf")


def test_what_is_missing_or_of_another_size_is_one_sentence(models, tmp_path):
    with pytest.raises(UserError, match=r"decisions.ddim\.json: no such file"):
        restoration.decided(models, "ddim")
    with pytest.raises(UserError, match=r"cfg.all.model\.json"):
        restoration.load("ddib", P, models, SIZE, CPU)
    with pytest.raises(UserError, match="baseline is 'vae', expected one of anoddpm"):
        restoration.load("vae", P, models, SIZE, CPU)
    for key in ("ddim", "ddim_clf"):
        with pytest.raises(UserError, match="trained on slices of 16 px, found slices of 32 px"):
            restoration.load(key, P, models, 32, CPU)


# -- the grid


def test_grid_is_every_combination():
    points = list(Grid(noise_level=(0.2, 0.4), w=(), scale=(1.0, 10.0)).points("ddim_clf"))
    assert points == [Point(0.2, scale=1.0), Point(0.2, scale=10.0), Point(0.4, scale=1.0), Point(0.4, scale=10.0)]


@pytest.mark.parametrize(
    ("key", "grid", "words"),
    [
        ("ddim", Grid(noise_level=(), w=(), scale=()), "noise_level is empty"),
        ("ddib", Grid(noise_level=(0.2,), w=(), scale=()), "tune.ddib.w is empty"),
        ("ddim", Grid(noise_level=(0.2,), w=(2.0,), scale=()), r"tune.ddim.w is \[2.0\], expected an empty list"),
    ],
)
def test_a_grid_that_does_not_fit_its_baseline_is_refused(key, grid, words):
    with pytest.raises(UserError, match=words):
        list(grid.points(key))


def test_thetas_of_the_paper():
    found = Thetas(first=0.01, last=0.69, step=0.01).candidates()
    assert len(found) == 69
    assert (found[0], found[42], found[-1]) == (0.01, 0.43, 0.69)
    with pytest.raises(UserError, match=r"to try is 0\.1, expected at least the first"):
        Thetas(first=0.2, last=0.1, step=0.01).candidates()


def test_validation_without_any_tumour_is_refused():
    slices = SimpleNamespace(
        folder=Path("store"), masks=lambda _: np.zeros((3, 4, 4), np.uint8), mask_rows=lambda _: np.arange(3)
    )
    with pytest.raises(UserError, match="none of the 2 validation slices has a tumour"):
        masks_of(slices, np.array([0, 2]))
