"""MMCCD: what training feeds the network, closed forms of the map, independence of batching, skipped stripes."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import mmccd
from gliomap.methods.mmccd import PRESETS, Cycle, Diffusion, Mmccd, MmccdScorer, MmccdTrain, Options, Training
from gliomap.methods.stripes import every_stripe
from gliomap.methods.translator import Translator
from gliomap.nets.unet import UNetShape

SIZE, WIDTH = 16, 4
SHAPE = UNetShape(width=8, mult=(1, 2), blocks=1, attention_px=(), groups=4, dropout=0.0)
DIFFUSION = Diffusion(steps=1000, beta_min=1e-4, beta_max=0.02)
TRAIN = MmccdTrain(
    steps=10, batch=4, lr=1e-3, weight_decay=0, warmup=0, decay_from=1, clip=0, ema=0,
    log_every=5, save_every=5, val_slices=0, mask_width=WIDTH, mask_step=1, mask_edge="follow", mask_per="follow",
)  # fmt: skip
P = Mmccd(
    follow="code", net=SHAPE, diffusion=DIFFUSION, train=TRAIN, mask_stride=2, mask_edge="valid", cond_noise="follow",
    init_noise="follow", sampler="ddim", ddim_steps=4, spacing="trailing", error="squared", weights="raw", pairs=16,
)  # fmt: skip


def batch_of(images: torch.Tensor, brain: torch.Tensor | None = None, rows: torch.Tensor | None = None) -> Batch:
    rows = torch.arange(len(images)) + 5 if rows is None else rows
    return Batch(rows, images, torch.ones_like(images[:, 0]) if brain is None else brain, 3)


def disk(n: int = 3) -> torch.Tensor:
    """float32 (n, SIZE, SIZE): a small brain off the centre."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return (((y - 6) ** 2 + (x - 8) ** 2) < 20).float().expand(n, -1, -1)


class Constant(nn.Module):
    """Predicts c everywhere."""

    def __init__(self, c: float):
        super().__init__()
        self.c = c

    def forward(self, x, t=None, label=None):
        return torch.full_like(x[:, :1], self.c)


class Condition(nn.Module):
    """Predicts its condition: what stands outside and under the stripe."""

    def forward(self, x, t=None, label=None):
        return x[:, 1:]


def scorer_of(f: nn.Module, g: nn.Module, **changes) -> MmccdScorer:
    p = dataclasses.replace(P, **changes)
    stripes = every_stripe(SIZE, WIDTH, p.mask_stride, mmccd.followed(p.mask_edge, "mask_edge", p.follow))
    return MmccdScorer("flair", Denoiser(f, VP(1000, 1e-4, 0.02), target="x0"), g, stripes, Options.of(p))


def random_net(in_channels: int, time: bool) -> nn.Module:
    from gliomap.nets.unet import UNet

    torch.manual_seed(in_channels)
    net = UNet(SHAPE.config(in_channels, 1, SIZE, time=time)).eval().requires_grad_(False)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.15)
    return net


# -- training


def test_condition_has_standard_normal_noise_under_one_whole_stripe_and_nothing_else_changes():
    method = Training(("flair", "t2"), 64, (SHAPE, DIFFUSION, dataclasses.replace(TRAIN, mask_width=16)), "paper")
    x = torch.full((200, 1, 64, 64), 9.0)
    corrupted = method.corrupted(x, batch_of(x), Noise(0))[:, 0]
    changed = corrupted != 9
    rows, columns = changed.all(2).sum(1), changed.all(1).sum(1)
    assert set((rows + columns).tolist()) == {16}
    assert changed.sum((1, 2)).unique().tolist() == [16 * 64]
    assert 0.3 < (rows > 0).float().mean() < 0.7
    values = corrupted[changed]
    assert values.mean().item() == pytest.approx(0, abs=0.01)
    assert values.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("follow", "different"), [("paper", True), ("code", False)])
def test_stripe_per_sample_or_per_batch(follow, different):
    method = Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, TRAIN), follow)
    x = torch.full((12, 1, SIZE, SIZE), 9.0)
    corrupted = method.corrupted(x, batch_of(x), Noise(0))
    stripes = (corrupted != 9).flatten(1).unique(dim=0)
    assert (len(stripes) > 1) == different
    assert len(corrupted.flatten(1).unique(dim=0)) == 12  # the noise under it is never shared


def test_code_edge_cuts_stripes_off_and_paper_does_not():
    areas = {}
    for follow in ("paper", "code"):
        method = Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, dataclasses.replace(TRAIN, mask_per="sample")), follow)
        x = torch.full((200, 1, SIZE, SIZE), 9.0)
        areas[follow] = set((method.corrupted(x, batch_of(x), Noise(0)) != 9).sum((1, 2, 3)).tolist())
    assert areas["paper"] == {WIDTH * SIZE}
    assert areas["code"] == {w * SIZE for w in (1, 2, 3, 4)}


def test_first_loss_is_the_mean_square_of_y_and_does_not_depend_on_the_rest_of_the_batch():
    """The network starts at 0 and predicts y0, so its first loss is known."""
    method = Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, TRAIN), "paper")
    images = torch.randn(6, 2, SIZE, SIZE)
    [(name, loss)] = method.losses(batch_of(images), Noise(0))
    assert name == "f"
    assert loss.item() == pytest.approx(images[:, 1].square().mean().item(), rel=1e-5)
    nn.init.normal_(method.nets["f"].head.weight)
    whole = next(method.losses(batch_of(images), Noise(0)))[1]
    rows = torch.arange(6) + 5
    parts = [next(method.losses(batch_of(images[i : i + 2], rows=rows[i : i + 2]), Noise(0)))[1] for i in (0, 2, 4)]
    assert whole.item() == pytest.approx(torch.stack(parts).mean().item(), rel=1e-5)


def test_training_sees_condition_and_noisy_target_and_learns_from_both():
    method = Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, TRAIN), "paper")
    nn.init.normal_(method.nets["f"].head.weight)
    [(_, loss)] = method.losses(batch_of(torch.randn(4, 2, SIZE, SIZE)), Noise(0))
    loss.backward()
    assert (method.nets["f"].stem.weight.grad.abs().sum((0, 2, 3)) > 0).all()


def test_stripe_wider_than_the_image_is_refused():
    with pytest.raises(UserError, match="mask_width is 17, expected at most the image size 16"):
        Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, dataclasses.replace(TRAIN, mask_width=17)), "paper")


# -- inference: closed forms


def test_map_is_zero_if_the_cycle_returns_the_slice():
    scores = scorer_of(Constant(0.7), Constant(0.3)).score(batch_of(torch.full((2, 1, SIZE, SIZE), 0.3)), Noise(0))
    assert scores.map.abs().max() < 1e-12
    assert torch.allclose(scores.reconstruction, torch.full((2, SIZE, SIZE), 0.3))


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver_2m", "heun", "ancestral"])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_constant_prediction_is_where_every_sampler_ends(sampler, steps):
    """Spec test 4 through the whole scorer: y ends at c, g adds 0.1, the map is (c + 0.1 - x)^2."""
    x = torch.linspace(-1, 1, 2 * SIZE * SIZE).view(2, 1, SIZE, SIZE)
    scorer = scorer_of(Constant(0.4), _Plus(0.1), sampler=sampler, ddim_steps=steps)
    scores = scorer.score(batch_of(x), Noise(0))
    assert torch.allclose(scores.map, (0.5 - x[:, 0]).square(), atol=3e-4)  # x/alpha is 160 at first


class _Plus(nn.Module):
    def __init__(self, c: float):
        super().__init__()
        self.c = c

    def forward(self, x):
        return x + self.c


@pytest.mark.parametrize(("error", "power"), [("squared", 2), ("absolute", 1)])
def test_map_is_the_coverage_weighted_mean_of_errors_under_the_stripes(error, power):
    """With f = its condition and g = identity, the error under a stripe is (noise - x), by hand here."""
    x = torch.randn(2, 1, SIZE, SIZE)
    scorer = scorer_of(Condition(), nn.Identity(), cond_noise="per_mask", error=error, mask_stride=3)
    batch, noise = batch_of(x), Noise(1)
    scores = scorer.score(batch, noise)
    assert len(scorer.stripes) == 10
    for b in range(2):
        total, coverage, back = (torch.zeros(SIZE, SIZE) for _ in range(3))
        for axis, start in zip(scorer.stripes.axis.tolist(), scorer.stripes.start.tolist(), strict=True):
            key = batch.rows[b : b + 1] * 2 * SIZE + axis * SIZE + start
            filled, mask = x[b, 0].clone(), torch.zeros(SIZE, SIZE)
            fill = noise.normal("mmccd/fill", key, 0, (WIDTH, SIZE))[0]
            (filled if axis == 0 else filled.T)[start : start + WIDTH] = fill
            (mask if axis == 0 else mask.T)[start : start + WIDTH] = 1
            total, coverage, back = (
                total + mask * (filled - x[b, 0]).abs() ** power, coverage + mask, back + mask * filled
            )  # fmt: skip
        assert coverage.min() >= 2
        assert torch.allclose(scores.map[b], total / coverage, atol=1e-5)
        assert torch.allclose(scores.reconstruction[b], back / coverage, atol=1e-5)


def test_a_cycle_that_fails_at_one_place_only_shows_there_only():
    class Bump(nn.Module):
        def forward(self, x):
            bump = torch.zeros_like(x)
            bump[..., 5:8, 6:9] = 0.5
            return x + bump

    x = torch.zeros(1, 1, SIZE, SIZE)
    found = scorer_of(Constant(0.0), Bump()).score(batch_of(x), Noise(0)).map[0]
    assert torch.allclose(found[5:8, 6:9], torch.tensor(0.25))
    assert found.sum().item() == pytest.approx(9 * 0.25)


# -- inference: what must not change the result


@pytest.mark.parametrize(("init_noise", "sampler"), [("shared", "ddim"), ("per_mask", "ancestral"), ("shared", "heun")])
def test_result_does_not_depend_on_how_slices_and_stripes_are_batched(init_noise, sampler):
    """Spec test 6."""
    x, brain = torch.randn(3, 1, SIZE, SIZE), disk()
    f, g = random_net(2, True), random_net(1, False)
    changes = {"init_noise": init_noise, "sampler": sampler, "ddim_steps": 3, "mask_stride": 6}
    whole = scorer_of(f, g, pairs=1000, **changes).score(batch_of(x, brain), Noise(0))
    for pairs in (1, 7):
        single = scorer_of(f, g, pairs=pairs, **changes)
        for i in range(3):
            one = single.score(batch_of(x[i : i + 1], brain[i : i + 1], torch.tensor([5 + i])), Noise(0))
            assert torch.allclose(one.map[0], whole.map[i], rtol=1e-3, atol=1e-5)
            assert torch.allclose(one.reconstruction[0], whole.reconstruction[i], rtol=1e-3, atol=1e-5)
            assert one.evaluations[0] == whole.evaluations[i]
    assert not torch.allclose(
        whole.map, scorer_of(f, g, pairs=1000, **changes).score(batch_of(x, brain), Noise(1)).map, atol=1e-4
    )


def test_skipped_stripes_do_not_change_the_map_inside_the_brain_and_are_not_counted():
    x, brain = torch.randn(1, 1, SIZE, SIZE), disk(1)
    f, g = random_net(2, True), random_net(1, False)
    skipping = scorer_of(f, g).score(batch_of(x, brain), Noise(0))
    everything = scorer_of(f, g).score(batch_of(x), Noise(0))
    inside = brain > 0
    assert torch.allclose(skipping.map[inside], everything.map[inside], rtol=1e-3, atol=1e-6)
    assert skipping.map[~inside].abs().max() == 0
    stripes = every_stripe(SIZE, WIDTH, 2, "valid")
    assert everything.evaluations.item() == len(stripes) * (4 + 1)
    assert skipping.evaluations.item() == int((stripes.mask[:, 0] & inside).flatten(1).any(1).sum()) * (4 + 1)
    assert skipping.evaluations < everything.evaluations


def test_a_slice_without_brain_costs_nothing_and_scores_zero():
    x = torch.randn(2, 1, SIZE, SIZE)
    brain = torch.stack([torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE)])
    scores = scorer_of(Constant(0), Constant(0)).score(batch_of(x, brain), Noise(0))
    assert scores.evaluations[0] == 0
    assert scores.map[0].abs().max() == 0
    assert torch.equal(scores.reconstruction[0], x[0, 0])


def recording(denoiser: Denoiser, note):
    """The denoiser, with note(image, y) called at every call."""
    bind = lambda image: lambda y, t: note(image, y) or denoiser.bind(image=image)(y, t)  # noqa: E731
    return SimpleNamespace(schedule=denoiser.schedule, bind=bind)


@pytest.mark.parametrize(("cond_noise", "equal"), [("per_mask", True), ("per_step", False)])
def test_condition_noise_once_or_at_every_step(cond_noise, equal):
    scorer, seen = scorer_of(Constant(0), Constant(0), cond_noise=cond_noise), []
    stripes = scorer.stripes[torch.tensor([0, 3])]
    cycle = Cycle(torch.tensor([1, 1]), torch.ones(2, 1, SIZE, SIZE), stripes, Noise(0), scorer)
    cycle.f = recording(scorer.f, lambda image, y: seen.append(image))
    cycle.sampled()
    assert len(seen) == cycle.calls == 4
    assert torch.equal(seen[0], seen[1]) == equal
    assert all(torch.equal(image[~stripes.mask], torch.ones_like(image[~stripes.mask])) for image in seen)
    assert not torch.equal(seen[0][0], seen[0][1])


@pytest.mark.parametrize(("init_noise", "equal"), [("shared", True), ("per_mask", False)])
def test_start_is_shared_by_the_stripes_of_a_slice_or_not(init_noise, equal):
    scorer = scorer_of(Constant(0), Constant(0), init_noise=init_noise)
    starts = []
    scorer.f.bind = lambda image: (
        lambda y, t: starts.append(y) or Denoiser(Constant(0), VP(1000, 1e-4, 0.02), target="x0").bind(image=image)(y, t)
    )
    Cycle(
        torch.tensor([1, 1, 2]), torch.ones(3, 1, SIZE, SIZE), scorer.stripes[torch.tensor([0, 3, 3])], Noise(0), scorer
    ).sampled()
    assert torch.equal(starts[0][0], starts[0][1]) == equal
    assert not torch.equal(starts[0][1], starts[0][2])


# -- switches and files


def test_every_switch_that_may_follow_has_a_value_for_paper_and_code():
    kinds = {}
    for section in (Mmccd, MmccdTrain):
        kinds |= {f.name: params.typing.get_type_hints(section)[f.name] for f in dataclasses.fields(section)}
    may = {name: params.get_args(kind) for name, kind in kinds.items() if "follow" in params.get_args(kind)}
    for preset in PRESETS.values():
        assert preset.keys() == may.keys()
        assert all(value in may[name] for name, value in preset.items())


def test_presets_differ_where_paper_and_code_differ():
    differ = {name for name in PRESETS["paper"] if PRESETS["paper"][name] != PRESETS["code"][name]}
    assert differ == {"mask_edge", "cond_noise", "error", "mask_per"}  # rows 8, 9, 13, 14


def test_an_explicit_switch_overrules_follow():
    p = dataclasses.replace(P, follow="paper", cond_noise="per_step", error="follow")
    options = Options.of(p)
    assert (options.cond_noise, options.error, options.steps) == ("per_step", "absolute", 4)


def test_scorer_is_built_from_the_stored_models(tmp_path):
    f = Training(("flair", "t2"), SIZE, (SHAPE, DIFFUSION, TRAIN), "paper")
    g = Translator(("t2", "flair"), SHAPE, SIZE)
    for method, folder in ((f, "mmccd/flair-t2"), (g, "translator/t2-flair")):
        states = {name: net.state_dict() for name, net in method.nets.items()}
        weights.save(tmp_path / folder, states, states, {"method": method.name, "networks": method.arguments})
    slices = SimpleNamespace(modalities=("t2", "flair"), images=np.zeros((1, 2, SIZE, SIZE)))
    wide = dataclasses.replace(P, train=dataclasses.replace(TRAIN, mask_width=7))  # the trained width counts, not this one
    scorer = mmccd.scorer({"mmccd": wide}, tmp_path, slices, torch.device("cpu"), "flair-t2")
    assert scorer.stripes.width == WIDTH
    scores = scorer.score(batch_of(torch.full((2, 1, SIZE, SIZE), 0.5), disk(2)), Noise(0))
    assert torch.allclose(scores.map, 0.25 * disk(2), atol=1e-5)  # untrained networks give 0
    with pytest.raises(UserError, match="t2-flair"):
        mmccd.scorer({"mmccd": P}, tmp_path, slices, torch.device("cpu"), "t2-flair")
    gaps = dataclasses.replace(P, mask_stride=WIDTH + 1)
    with pytest.raises(UserError, match=rf"mmccd\.mask_stride is {WIDTH + 1}, expected at most .* {WIDTH}"):
        mmccd.scorer({"mmccd": gaps}, tmp_path, slices, torch.device("cpu"), "flair-t2")
