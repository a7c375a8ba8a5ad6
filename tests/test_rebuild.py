"""MMCCD's baselines: units, noise, losses and scores in closed form, loading, broken input."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import restoring_toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import rebuild
from gliomap.methods.rebuild import Network, RebuildScorer, Restore, diffused
from gliomap.methods.rebuild_training import (
    Baur,
    BaurTraining,
    Corruption,
    Dae,
    Ddpm,
    Plan,
    Units,
    plans,
    rolled,
)
from gliomap.methods.reconstruction import divergence
from gliomap.nets.dae import DaeShape
from gliomap.nets.unet import UNet, UNetShape
from restoring_toys import SIZE, TRAIN, losses_of

CPU = torch.device("cpu")
BAUR = Baur(width=4, most=8, bottleneck_px=8, latent=3, dropout_ae=0.0, dropout_vae=0.0, kl=2.0)
NOISE = Corruption(sd=0.2, cells=4)
SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(8,), groups=4, dropout=0.0)
DIFFUSION = Diffusion(steps=1000, beta_min=1e-4, beta_max=0.02)
OWN = Restore(error="squared", weights="raw", steps_per_1000=10, draws=1)


batch_of = partial(restoring_toys.batch_of, 1)


def method_of(key: str, background: float = -1.0):
    plan = Plan.of(key)
    if plan.kind == "ddpm":
        return Ddpm(plan, SHAPE, DIFFUSION, SIZE)
    if plan.kind in ("dae", "coarse"):
        return Dae(plan, DaeShape(4), NOISE, SIZE, background)
    return BaurTraining(plan, BAUR, SIZE, background)


class Fixed(nn.Module):
    """Answers with the same images whatever it is asked, as a denoiser that knows the slice."""

    def __init__(self, answer: torch.Tensor) -> None:
        super().__init__()
        self.answer, self.seen = answer, []

    def forward(self, x, t=None):
        self.seen.append(x)
        return self.answer


def test_a_line_of_the_graph_names_the_networks():
    assert plans(["ae=ae/flair", "dae_t2=dae/t2"]) == [Plan("ae", "flair"), Plan("dae", "t2")]
    assert Plan("coarse", "t1ce").key == "coarse-t1ce"


# -- units


@pytest.mark.parametrize(("background", "bright"), [(-1.0, 1.0), (-3.0, 3.0), (0.0, 1.0), (math.nan, 3.0)])
def test_every_recipe_has_its_background_at_0_and_its_bright_end_at_1(background, bright):
    units = Units(background)
    low = -3.0 if math.isnan(background) else background
    x = torch.tensor([low, bright, 2 * bright - low])
    assert torch.allclose(units.to(x), torch.tensor([0.0, 1.0, 2.0]))  # brighter ones are not cut off
    assert torch.allclose(units.back(units.to(x)), x)


def test_the_loss_of_ae_and_vae_does_not_depend_on_the_recipes_scale():
    """In -3..3 the absolute error is 6 times that of 0..1: units keep its balance with the divergence (spec 7.2)."""
    for key in ("ae/flair", "vae/flair", "dae/flair"):
        found = []
        for background in (-1.0, -3.0, 0.0):
            torch.manual_seed(0)
            method, batch = method_of(key, background), batch_of()
            images = Units(background).back(Units(-1.0).to(batch.images))
            [(_, loss)] = method.losses(Batch(batch.rows, images, batch.brain, 0), Noise(0))
            found.append(loss.item())
        assert found == pytest.approx(3 * [found[0]], rel=1e-5)


# -- noise of the DAE


def test_white_noise_has_its_deviation_and_every_pixel_its_own():
    drawn = NOISE.drawn(torch.zeros(40, 1, 32, 32), torch.arange(40), 0, Noise(0), coarse=False)
    assert drawn.std().item() == pytest.approx(0.2, rel=0.02)
    assert abs((drawn[:, :, 1:] * drawn[:, :, :-1]).mean().item()) < 0.05 * 0.2**2


def test_coarse_noise_is_smooth_and_moved_around_the_torus():
    drawn = Corruption(1.0, 4).drawn(torch.zeros(60, 1, 32, 32), torch.arange(60), 0, Noise(0), coarse=True)[:, 0]
    near = (drawn[:, 1:] * drawn[:, :-1]).mean() / drawn.square().mean()
    assert near > 0.9
    jump = (drawn - drawn.roll(1, 1)).abs().mean(2).argmax(1)  # where the first and last row of the grid meet
    assert len(jump.unique()) > 10


def test_coarse_noise_without_a_move_is_the_bilinear_grid():
    class Still(Noise):
        def integers(self, name, keys, step, low, high, device="cpu"):
            return torch.zeros(len(keys), dtype=torch.int64)

    drawn = NOISE.drawn(torch.zeros(2, 1, 7, 7), torch.arange(2), 3, Still(0), coarse=True)
    grid = 0.2 * Noise(0).normal("rebuild/coarse", torch.arange(2), 3, (1, 4, 4))
    assert torch.allclose(drawn[..., ::2, ::2], grid, atol=1e-6)
    assert torch.allclose(drawn[..., 1, 0], (grid[..., 0, 0] + grid[..., 1, 0]) / 2, atol=1e-6)


def test_rolling_is_by_each_images_own_shift():
    x = torch.rand(3, 2, 5, 7)
    down, right = torch.tensor([0, 2, 4]), torch.tensor([0, 6, 1])
    out = rolled(x, down, right)
    for i in range(3):
        assert torch.equal(out[i], x[i].roll((int(down[i]), int(right[i])), (1, 2)))


@pytest.mark.parametrize("coarse", [False, True])
def test_noise_of_a_slice_does_not_depend_on_the_others(coarse):
    rows = torch.tensor([4, 9, 2])
    like = torch.zeros(3, 1, SIZE, SIZE)
    whole = NOISE.drawn(like, rows, 1, Noise(0), coarse)
    assert torch.equal(NOISE.drawn(like[:1], rows[1:2], 1, Noise(0), coarse), whole[1:2])
    assert not torch.equal(whole[0], whole[1])


# -- losses


def test_ae_loss_is_a_sum_over_pixels_and_a_mean_over_slices():
    method, batch = method_of("ae/flair"), batch_of()
    for parameter in method.nets["net"].parameters():
        nn.init.zeros_(parameter)  # everything is restored as 0
    [(name, loss)] = method.losses(batch, Noise(0))
    assert name == "net"
    assert loss.item() == pytest.approx(((batch.images + 1) / 2).sum().item() / 6, rel=1e-5)


def test_vae_adds_its_divergence_and_draws_its_vector():
    method, batch = method_of("vae/flair"), batch_of()
    net = method.nets["net"].eval()
    losses = [next(method.losses(batch, Noise(seed)))[1].item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    x = (batch.images + 1) / 2
    mean, log_sigma = net.vectors(x)
    z = mean + log_sigma.exp() * Noise(0).normal("rebuild/z", batch.rows, 0, (3,))
    expected = (net.decoded(z) - x).abs().flatten(1).sum(1).mean() + 2.0 * divergence(mean, log_sigma).mean()
    assert losses[0] == pytest.approx(expected.item(), rel=1e-5)


def test_dae_adds_noise_to_the_brain_only_and_counts_the_brain_only():
    method, batch = method_of("dae/flair"), batch_of()
    x = (batch.images + 1) / 2
    method.nets["net"] = answer = Fixed(x + 0.5)
    [(_, loss)] = method.losses(batch, Noise(0))
    added = answer.seen[0] - x
    assert (added[batch.brain[:, None] == 0] == 0).all()
    assert added[batch.brain[:, None] == 1].std().item() == pytest.approx(0.2, rel=0.1)
    assert loss.item() == pytest.approx(0.25 * batch.brain.mean().item(), rel=1e-5)  # a mean over all pixels
    method.nets["net"] = Fixed(x + 7 * (1 - batch.brain[:, None]))
    assert next(method.losses(batch, Noise(0)))[1].item() == pytest.approx(0, abs=1e-10)


def test_ddpm_predicts_the_slice_from_a_noisy_one():
    method, batch = method_of("ddpm/flair"), batch_of()
    [(_, loss)] = method.losses(batch, Noise(0))  # the network starts at 0
    assert loss.item() == pytest.approx(batch.images.square().mean().item(), rel=1e-5)
    exact = Fixed(batch.images)
    method.denoiser = Denoiser(exact, method.schedule, target="x0")
    assert next(method.losses(batch, Noise(0)))[1].item() == 0
    eps = Noise(0).normal("rebuild/eps", batch.rows, 0, (1, SIZE, SIZE))
    t = method.schedule.draw(Noise(0).uniform("rebuild/time", batch.rows, 0, ()))
    alpha, sigma = (v.float().view(-1, 1, 1, 1) for v in method.schedule.marginal(t))
    assert torch.allclose(exact.seen[0], alpha * batch.images + sigma * eps, atol=1e-6)


@pytest.mark.parametrize("key", ["ae/flair", "vae/t1ce", "coarse/flair", "dae/t2", "ddpm/t1"])
def test_every_baseline_learns(key):
    method, batch = method_of(key), batch_of()
    assert method.modalities == (key.partition("/")[2],)
    [optimiser] = method.optimisers(TRAIN).values()
    assert optimiser.defaults["betas"] == ((0.5, 0.999) if key[:2] in ("ae", "va") else (0.9, 0.999))
    found = losses_of(method, batch, 25)
    assert found[-1] < 0.8 * found[0]


def test_the_ddpm_has_the_published_parameters():
    """MMCCD's network without the condition's channel (spec 2.1): that of f is 32 x 9 larger."""
    shape = UNetShape(width=32, mult=(1, 1, 2, 3, 4), blocks=2, attention_px=(32, 16, 8), groups=16, dropout=0.1)
    with torch.device("meta"):
        net = UNet(shape.config(in_channels=1, out_channels=1, image_size=128))
    assert sum(p.numel() for p in net.parameters()) == 6_600_257 - 32 * 9


# -- scores


@pytest.mark.parametrize(("error", "expected"), [("squared", 0.36), ("absolute", 0.6)])
def test_the_map_is_the_error_in_the_recipes_units_inside_the_brain(error, expected):
    """0.1 of a range of 6 is 0.6."""
    batch = batch_of()
    net = lambda x: x + 0.1  # noqa: E731
    scores = RebuildScorer("flair", Network(net, Units(-3.0)), error, 1).score(batch, Noise(0))
    assert torch.allclose(scores.map, expected * batch.brain, atol=1e-5)
    assert torch.allclose(scores.reconstruction, batch.images[:, 0] + 0.6, atol=1e-5)
    assert scores.evaluations.tolist() == [1] * 6


def test_what_learned_the_brain_alone_leaves_the_rest_of_the_slice_as_it_is():
    batch, net = batch_of(), nn.Conv2d(1, 1, 1)
    everywhere, _ = Network(net, Units(-1.0)).restored(batch, Noise(0), 0)
    inside, calls = Network(net, Units(-1.0), inside=True).restored(batch, Noise(0), 0)
    brain = batch.brain[:, None] > 0
    assert calls == 1
    assert torch.equal(inside[brain], everywhere[brain])
    assert torch.equal(inside[~brain], batch.images[~brain])
    assert not torch.equal(everywhere[~brain], batch.images[~brain])


@pytest.mark.parametrize(("level", "steps", "calls"), [(0.5, 100, 50), (0.5, 10, 5), (0.3, 1, 1), (1.0, 10, 10)])
def test_a_ddpm_that_knows_the_slice_restores_it_from_every_level(level, steps, calls):
    batch = batch_of()
    denoiser = Denoiser(Fixed(batch.images), DIFFUSION.schedule(), target="x0")
    own = Restore("squared", "raw", steps, draws=1)
    scores = diffused("flair", denoiser, own, level).score(batch, Noise(0))
    assert scores.map.abs().max() < 1e-8
    assert scores.evaluations.tolist() == [calls] * 6


def test_a_ddpm_starts_at_its_level_with_noise_of_slice_and_draw():
    batch, schedule = batch_of(2), DIFFUSION.schedule()
    net = Fixed(torch.zeros(2, 1, SIZE, SIZE))
    scores = diffused("flair", Denoiser(net, schedule, target="x0"), Restore("squared", "raw", 2, 3), 0.4).score(
        batch, Noise(0)
    )
    alpha, sigma = (v.item() for v in schedule.marginal(torch.tensor(399)))
    starts = [x for x in net.seen if torch.allclose((x - alpha * batch.images).std(), torch.tensor(sigma), rtol=0.1)]
    noise = torch.stack([(x - alpha * batch.images) / sigma for x in starts])
    assert len(starts) == 3
    assert len({round(v, 4) for v in noise[:, :, 0, 0, 0].flatten().tolist()}) == 6
    assert torch.allclose(scores.map, batch.images[:, 0].square() * batch.brain, atol=1e-6)
    assert scores.evaluations.tolist() == [3, 3]  # one call for each draw


def test_draws_average_the_errors_not_the_restorations():
    batch = batch_of()

    class Swings:
        def restored(self, batch, noise, draw):
            return batch.images + (-1) ** draw, 1

    scores = RebuildScorer("flair", Swings(), "squared", 2).score(batch, Noise(0))
    assert torch.allclose(scores.map, batch.brain)
    assert torch.allclose(scores.reconstruction, batch.images[:, 0])


# -- loading


def saved(key: str, folder) -> None:
    method = method_of(key)
    noisy = lambda v: v + 0.05 * torch.randn(v.shape) if v.is_floating_point() else v  # noqa: E731
    raw = {name: {k: noisy(v).abs() if "var" in k else noisy(v) for k, v in net.state_dict().items()}
           for name, net in method.nets.items()}  # fmt: skip
    ema = {name: {k: torch.zeros_like(v) for k, v in state.items()} for name, state in raw.items()}
    weights.save(folder / "rebuild" / key.replace("/", "-"), raw, ema, {"method": method.name, "networks": method.arguments})


KEYS = ("ae/flair", "vae/flair", "dae/flair", "coarse/flair", "ddpm/flair")


@pytest.fixture
def models(tmp_path):
    for key in KEYS:
        saved(key, tmp_path)
    files.write_json(tmp_path / "levels/ddpm-flair.json", {"network": "ddpm-flair", "noise_level": 0.3})
    return tmp_path


def slices_of(size: int = SIZE) -> SimpleNamespace:
    return SimpleNamespace(images=torch.zeros(1, 4, size, size), background=-1.0)


@pytest.mark.parametrize("key", KEYS)
def test_a_stored_baseline_scores_each_slice_by_itself(models, key):
    scorer = rebuild.scorer({"rebuild.restore": OWN}, models, slices_of(), CPU, key)
    assert scorer.modalities == ("flair",)
    batch = batch_of()
    whole = scorer.score(batch, Noise(0))
    assert whole.map.std() > 0
    assert whole.evaluations.tolist() == [3 if key == "ddpm/flair" else 1] * 6
    for i in range(6):
        alone = scorer.score(Batch(batch.rows[i : i + 1], batch.images[i : i + 1], batch.brain[i : i + 1], 0), Noise(0))
        assert torch.allclose(alone.map[0], whole.map[i], atol=1e-4)


def test_averaged_weights_are_for_dae_and_ddpm_only(models):
    own = Restore("squared", "ema", 10, 1)
    batch = batch_of()
    for key, nothing in zip(KEYS, (False, False, True, True, True), strict=True):
        scores = rebuild.scorer({"rebuild.restore": own}, models, slices_of(), CPU, key).score(batch, Noise(0))
        restored = scores.reconstruction - (0 if key.startswith("ddpm") else -1)  # all weights 0: restored as 0 of its scale
        assert bool(restored[batch.brain > 0].abs().max() < 1e-5) == nothing, key


def test_what_is_missing_or_does_not_fit_is_one_sentence(models):
    p = {"rebuild.restore": OWN}
    for pair in ("gan/flair", "ae", "dae/ct"):
        with pytest.raises(UserError, match=rf"found '{pair}', expected ae\|vae\|dae\|coarse\|ddpm/t1\|t1ce\|t2\|flair"):
            rebuild.scorer(p, models, slices_of(), CPU, pair)
    with pytest.raises(UserError, match="trained on slices of 16 px, found slices of 32 px"):
        rebuild.scorer(p, models, slices_of(32), CPU, "dae/flair")
    with pytest.raises(UserError, match=r"dae-t2.model\.json: no such file"):
        rebuild.scorer(p, models, slices_of(), CPU, "dae/t2")
    files.write_json(models / "levels/ddpm-flair.json", {"network": "other", "noise_level": 0.3})
    with pytest.raises(UserError, match="no noise_level of ddpm-flair, expected a number; run the stage tune_rebuild"):
        rebuild.scorer(p, models, slices_of(), CPU, "ddpm/flair")
    (models / "levels/ddpm-flair.json").unlink()
    with pytest.raises(UserError, match=r"levels.ddpm-flair\.json: no such file"):
        rebuild.scorer(p, models, slices_of(), CPU, "ddpm/flair")
    with pytest.raises(UserError, match="bottleneck_px is 8 for slices of 20 px"):
        BaurTraining(Plan("ae", "flair"), BAUR, 20, -1.0)
