"""VE-JP and its control: first loss, both scalings, what the networks see, files (TSGM spec 3, 11.3)."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.samplers import heun, last
from gliomap.engine import weights
from gliomap.methods import regression, vejp
from gliomap.methods.variants import minmax
from gliomap.methods.vejp import Levels, Pairs, Scaled, Training, as_loaded, denoiser_of, resolve
from stage_toys import SIZE
from train_toys import TRAIN
from vejp_toys import LEVELS, LIFT, OWN, PLAIN, batch_of, write_pairs, write_slices

CPU = torch.device("cpu")
VARIANTS = {"single": 4, "flair": 1, "t2": 1, "multi": 4}  # modalities of the pairs
S = LEVELS.sigma_data


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("vejp")
    slices = write_slices(root / "common")
    return {variant: write_pairs(root / variant, slices, variant) for variant in VARIANTS}


def training_of(tables, variant="single", **changes) -> Training:
    return Training(dataclasses.replace(OWN, **changes), SIZE, tables[variant], variant)


def first_loss(training, rows=(1, 2, 4, 5), step=0) -> torch.Tensor:
    ((name, loss),) = training.losses(batch_of(list(rows), step), Noise(0))
    assert name == "net"
    return loss


def test_the_papers_levels():
    """Spec 11.4."""
    schedule = Levels(0.01, 348.0, 0.5).schedule()
    _, sigma = schedule.marginal(torch.tensor([0.0, 1.0]))
    assert sigma.tolist() == pytest.approx([0.01, 348])
    levels = schedule.marginal(schedule.grid(1000, "linspace")[:-1])[1]
    assert (levels[:-1] / levels[1:]).mean().item() == pytest.approx(1.01052, abs=1e-5)
    assert math.sqrt(1 - 1.01052**-2) == pytest.approx(0.1439, abs=1e-4)
    with pytest.raises(UserError, match="sigma from 5 to 2"):
        Levels(5, 2, 0.5).schedule()


@pytest.mark.parametrize("variant", VARIANTS)
def test_untrained_it_predicts_no_noise_so_the_first_loss_is_one(tables, variant):
    """Spec 11.3; 24 slices of 1024 pixels: the standard deviation of their mean is 0.009 or less."""
    training = training_of(tables, variant)
    losses = [first_loss(training, tables[variant].rows[:12], step).item() for step in range(2)]
    assert np.mean(losses) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("scaling", ["edm", "residual"])
@pytest.mark.parametrize("sigma", [0.01, 0.3, 20.0])
def test_scalings_are_karras_preconditioning_of_the_noisy_channel(sigma, scaling):
    """c_skip, c_out and c_in of Karras et al. 2022, Table 1; `residual` has them for the difference to the condition."""
    x, y, level = torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.tensor([sigma, sigma])
    seen, out = [], torch.randn(2, 1, 8, 8)
    scaled = Scaled(lambda u, s: seen.append((u, s)) or out, scaling, S)
    found = scaled(torch.cat([x, y], dim=1), level)
    total, centre = math.sqrt(sigma**2 + S**2), y if scaling == "residual" else 0 * y
    assert torch.allclose(found, centre + S**2 / total**2 * (x - centre) + sigma * S / total * out, atol=1e-5)
    assert torch.allclose(seen[0][0], torch.cat([(x - centre) / total, y], dim=1), rtol=1e-5)
    assert torch.equal(seen[0][1], level)
    assert scaled.weight(level)[0].item() == pytest.approx((total / (sigma * S)) ** 2, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 20.0])
def test_edm_targets_have_variance_one_at_every_level(sigma):
    """For data of standard deviation sigma_data around 0: c_out was chosen so (Karras et al. 2022, Eq. 114 ff.)."""
    x0, z, level = S * torch.randn(1, 1, 300, 300), torch.randn(1, 1, 300, 300), torch.tensor([sigma])
    scaled = Scaled(lambda u, s: torch.zeros(1, 1, 300, 300), "edm", S)
    error = scaled(torch.cat([x0 + sigma * z, x0], dim=1), level) - x0
    assert (scaled.weight(level) * error.square().mean()).item() == pytest.approx(1, abs=0.03)


def test_plain_output_is_sigma_times_the_score():
    """The released network's output h is minus the noise: D = x + sigma^2 h / sigma (spec 10.2)."""
    h = torch.randn(2, 1, 8, 8)
    denoise = denoiser_of(lambda x, sigma: h, LEVELS, "none").bind(image=torch.rand(2, 1, 8, 8))
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([0.3, 0.9], dtype=torch.float64)
    sigma = LEVELS.schedule().label(t).float().view(2, 1, 1, 1)
    found = denoise(x, t)
    assert torch.equal(found.eps, -h)
    assert torch.allclose(found.x0, x + sigma**2 * (h / sigma), atol=1e-5)


def test_an_untrained_residual_gives_the_condition_back_where_noise_drowns_the_image():
    x, y, t = 20 * torch.randn(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.ones(2, dtype=torch.float64)
    found = denoiser_of(lambda u, s: torch.zeros(2, 1, 8, 8), LEVELS, "residual").bind(image=y)(x, t)
    assert (found.x0 - y).abs().max() < 0.03  # c_skip is 2e-4 there, x up to 80


@pytest.mark.parametrize("scaling", ["none", "edm", "residual"])
def test_the_loss_is_the_error_of_x0_in_the_scalings_unit(tables, scaling):
    """Eq. 7: (sigma s + z)^2 = (D - x0)^2 / sigma^2; edm has 1 / c_out^2 in place of 1 / sigma^2."""
    training = training_of(tables, scaling=scaling)
    for parameter in training.nets["net"].parameters():
        nn.init.normal_(parameter, std=0.05)
    batch = batch_of([2])
    healthy, synthetic = training.pairs.of(batch, Noise(0))
    t = training.denoiser.schedule.draw(Noise(0).uniform("vejp/time", batch.rows, 0, ()))
    z = Noise(0).normal("vejp/eps", batch.rows, 0, (1, SIZE, SIZE))
    sigma = training.denoiser.schedule.label(t).item()
    error = training.denoiser.bind(image=synthetic)(healthy + sigma * z, t).x0 - healthy
    unit = sigma if scaling == "none" else sigma * S / math.hypot(sigma, S)
    assert first_loss(training, [2]).item() == pytest.approx(error.square().mean().item() / unit**2, rel=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pairs_are_of_one_modality_and_in_unit_range(tables, variant):
    """The square of a pair sits where its modality has it, so both images are of the same modality."""
    pairs = Pairs(tables[variant], variant, "volume")
    rows = tables[variant].rows[:10]
    healthy, synthetic = pairs.of(batch_of(rows.tolist(), step=3), Noise(0))
    assert healthy.shape == (10, 4 if variant == "multi" else 1, SIZE, SIZE)
    assert 0 <= healthy.min() <= synthetic.max() <= 1
    lifted = (synthetic - healthy).amax((2, 3))
    assert torch.allclose(lifted, torch.full_like(lifted, LIFT / 255), atol=1e-6)
    assert ((synthetic - healthy) > 0).sum((2, 3)).unique().tolist() == [36]
    if variant == "single":
        places = ((synthetic - healthy) > 0).any(2).float().argmax(2).flatten()
        assert set(places.tolist()) == {8, 11, 14, 17}
        again, _ = pairs.of(batch_of(rows[4:5].tolist(), step=3), Noise(0))
        assert torch.equal(again[0], healthy[4])  # the draw is the row's own


def test_the_loader_scales_each_image_by_its_own_range(tables):
    pair = [Pairs(tables["multi"], "multi", loader).of(batch_of([1, 2]), Noise(0)) for loader in ("volume", "slice_minmax")]
    for plain, scaled in zip(*pair, strict=True):
        assert torch.equal(scaled, minmax(plain))
        assert scaled.amax((2, 3)).unique().tolist() == [1]
    assert torch.equal(as_loaded(plain, "volume"), plain)


@pytest.mark.parametrize(
    ("loader", "follow", "expected"),
    [("follow", "paper", "volume"), ("follow", "code", "slice_minmax"), ("volume", "code", "volume")],
)
def test_follow_resolves_the_loader(loader, follow, expected):
    assert resolve(loader, follow) == expected


def test_one_draw_of_everything_per_row_and_step(tables):
    training = training_of(tables)
    assert first_loss(training, [1, 2]).item() == first_loss(training, [1, 2]).item()
    assert first_loss(training, [1, 2], 0).item() != pytest.approx(first_loss(training, [1, 2], 1).item(), abs=1e-4)
    alone = [first_loss(training, [row]).item() for row in (1, 2)]
    assert first_loss(training, [1, 2]).item() == pytest.approx(np.mean(alone), rel=1e-4)


def test_frequencies_are_not_trained(tables):
    training = training_of(tables)
    optimiser = training.optimisers(dataclasses.replace(TRAIN, weight_decay=0.0, lr=2e-4))["net"]
    trained = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert id(training.nets["net"].level.frequency) not in trained
    assert len(trained) == len(list(training.nets["net"].parameters())) - 1
    assert optimiser.defaults["betas"] == (0.9, 0.999)


@pytest.mark.slow
def test_what_is_learned_by_heart_is_restored_by_sampling(tables):
    """Two slices of one modality: after 60 steps Heun makes the healthy images out of noise, not the conditions."""
    own = dataclasses.replace(OWN, scaling="residual", levels=Levels(sigma_min=0.02, sigma_max=5.0, sigma_data=0.1))
    training = Training(own, SIZE, tables["flair"], "flair")
    optimiser = training.optimisers(dataclasses.replace(TRAIN, lr=5e-3, weight_decay=0.0))["net"]
    for step in range(60):
        optimiser.zero_grad()
        first_loss(training, [1, 2, 1, 2], step).backward()
        optimiser.step()
    healthy, synthetic = training.pairs.of(batch_of([1, 2]), Noise(0))
    schedule = training.denoiser.schedule
    start = 5.0 * torch.randn(2, 1, SIZE, SIZE)
    found = last(heun(training.denoiser.bind(image=synthetic), start, schedule.grid(6, "karras"), schedule))
    square = (synthetic - healthy) > 0
    assert (found - healthy).abs()[square].mean() < 0.6 * LIFT / 255


def saved(training, folder, **changes):
    states = {"net": training.nets["net"].state_dict()}
    meta = {"method": training.name, "networks": training.arguments, **changes}
    weights.save(folder, states, states, meta)
    return folder


@pytest.mark.parametrize("scaling", ["none", "edm", "residual"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_saved_predicts_as_before(tables, tmp_path, scaling, variant):
    training = training_of(tables, variant, scaling=scaling, loader="slice_minmax")
    for parameter in training.nets["net"].parameters():
        nn.init.normal_(parameter, std=0.05)
    loaded = vejp.load(saved(training, tmp_path / variant), "ema", SIZE, CPU)
    assert (loaded.loader, loaded.variant, loaded.sigma_max) == ("slice_minmax", variant, 20.0)
    x, y = (torch.rand(2, 4 if variant == "multi" else 1, SIZE, SIZE) for _ in range(2))
    t = torch.tensor([0.2, 0.8], dtype=torch.float64)
    found, expected = (d.bind(image=y)(x, t) for d in (loaded.denoiser, training.denoiser))
    assert torch.allclose(found.x0, expected.x0, atol=1e-4)
    assert not any(p.requires_grad for p in loaded.denoiser.net.net.parameters())


def test_slices_of_another_size_are_refused(tables, tmp_path):
    folder = saved(training_of(tables), tmp_path / "regression" / "single")
    with pytest.raises(UserError, match="trained on slices of 32 px, found slices of 64 px"):
        vejp.load(folder, "raw", 64, CPU)
    with pytest.raises(UserError, match="weights of 'vejp', expected 'regression'"):
        regression.load(folder, "raw", SIZE, CPU)


def test_a_row_without_a_pair_is_refused(tables):
    with pytest.raises(UserError, match="slice 0 has no synthetic tumour"):
        first_loss(training_of(tables), [1, 0])


def test_regression_learns_the_healthy_image_from_its_partner(tables):
    training = regression.Training(PLAIN, "volume", SIZE, tables["single"], "single")
    healthy, synthetic = training.pairs.of(batch_of([1, 2, 4]), Noise(0))
    assert first_loss(training, [1, 2, 4]).item() == pytest.approx(healthy.square().mean().item(), rel=1e-5)  # it gives 0
    seen = []
    training.nets["net"].register_forward_pre_hook(lambda net, inputs: seen.append(inputs))
    first_loss(training, [1, 2, 4])
    assert torch.equal(seen[0][0], synthetic)
    assert training.nets["net"].time is None


def test_regression_comes_back_as_it_was(tables, tmp_path):
    training = regression.Training(PLAIN, "volume", SIZE, tables["single"], "single")
    nn.init.normal_(training.nets["net"].head.weight, std=0.1)
    folder = saved(training, tmp_path / "regression" / "single")
    loaded = regression.load(folder, "raw", SIZE, CPU)
    y = torch.rand(2, 1, SIZE, SIZE)
    assert torch.allclose(loaded.restore(y), training.nets["net"](y), atol=1e-5)
    assert (loaded.loader, loaded.variant) == ("volume", "single")
    with pytest.raises(UserError, match="trained on slices of 32 px, found slices of 64 px"):
        regression.load(folder, "raw", 64, CPU)
