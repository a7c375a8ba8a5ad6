"""TSGM's two diffusion baselines: closed forms with denoisers that know the answer, order of channels, calls, batches."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import NULL, Denoiser, Prediction
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.engine.contract import Batch
from gliomap.methods import cfg, dpm
from gliomap.methods.dpm import Clf, Dpm, DpmScorer, Free, limited, normalised, shown
from gliomap.methods.restoration import Nets
from gliomap.methods.restoration_training import Guided, NoisyClassifier
from gliomap.methods.variants import MODALITIES
from restoration_toys import CPU, DIFFUSION, SCHEDULE, SHAPE, SIZE, Even, Oracle, batch_of, images, random_nets

OWN = Dpm(
    weights="ema",
    clf=Clf(noise_level=0.5, scale=0.0, encode="ddim"),
    free=Free(noise_level=0.75, scale=3.0, quantile=0.99),
    steps_per_1000=20,
)
TO_NETWORK = [MODALITIES.index(name) for name in cfg.MODALITIES]


def scorer_of(pair: str, net, own: Dpm = OWN, available: tuple[str, ...] = MODALITIES) -> DpmScorer:
    return DpmScorer(pair, Nets(Denoiser(net, SCHEDULE), 0, classifier=Even()), own, available)


# -- dynamic normalisation


def test_limited_leaves_a_normal_image_and_squeezes_a_bright_one_by_its_own_quantile():
    x0 = torch.zeros(2, 2, 10, 10)
    x0[0, 0] = torch.linspace(-0.9, 1.0, 100).view(10, 10)
    x0[1, 1] = torch.linspace(0, 99, 100).view(10, 10)
    found = limited(x0, 0.5)  # median of 0 .. 99: 49.5
    assert torch.equal(found[0], x0[0])
    assert torch.allclose(found[1, 1], (x0[1, 1] / 49.5).clamp(max=1))
    assert not found[1, 0].any()


def test_normalised_keeps_the_state_and_changes_x0_and_noise_together():
    x, t = torch.randn(2, 1, 8, 8), torch.tensor([600, 300])
    wild = lambda x, t: Prediction(5 * x, x)  # noqa: E731
    found = normalised(wild, SCHEDULE, 0.9)(x, t)
    alpha, sigma = (v.view(-1, 1, 1, 1).float() for v in SCHEDULE.marginal(t))
    assert torch.allclose(found.x0, limited(5 * x, 0.9))
    assert torch.allclose(alpha * found.x0 + sigma * found.eps, x, atol=1e-5)


# -- closed forms


@pytest.mark.parametrize("pair", ["clf/all", "free/all"])
def test_a_denoiser_that_knows_the_slice_leaves_no_residual(pair):
    batch = batch_of(images())
    scores = scorer_of(pair, Oracle(batch.images[:, TO_NETWORK])).score(batch, Noise(0))
    assert scores.extra["residual"].abs().max() < 1e-3
    assert torch.allclose(scores.extra["restored"].float(), (batch.images + 1) / 2, atol=1e-3)


@pytest.mark.parametrize("pair", ["clf/all", "free/all"])
def test_residual_is_half_the_difference_in_the_order_of_the_modalities(pair):
    """The network takes FLAIR for 0.2 darker: 0.1 of a [0, 1] image, in the last channel and nowhere else."""
    batch = batch_of(images() / 2)
    healthy = batch.images.clone()
    healthy[:, MODALITIES.index("flair")] -= 0.2
    scores = scorer_of(pair, Oracle(healthy[:, TO_NETWORK])).score(batch, Noise(0))
    expected = torch.tensor([0.0, 0.0, 0.0, 0.1]).view(4, 1, 1).expand(3, 4, SIZE, SIZE)
    assert torch.allclose(scores.extra["residual"].float(), expected, atol=1e-3)
    assert torch.allclose(scores.map, 0.025 * batch.brain, atol=1e-3)
    assert {value.dtype for value in scores.extra.values()} == {torch.float16}


@pytest.mark.parametrize(("scale", "shift"), [(0.0, 0.0), (1.0, 0.04), (3.0, 0.12)])
def test_guidance_scale_is_that_of_null_plus_s_times_the_difference(scale, shift):
    """The label adds 0.04 to x0; s of it remain."""
    batch = batch_of(images() / 2)
    own = dataclasses.replace(OWN, free=dataclasses.replace(OWN.free, scale=scale))
    scores = scorer_of("free/all", Oracle(batch.images[:, TO_NETWORK], 0.04), own).score(batch, Noise(0))
    assert torch.allclose(scores.extra["restored"].float(), (batch.images + shift + 1) / 2, atol=1e-3)


def test_free_encodes_without_a_label_and_decodes_with_both():
    batch = batch_of(images())
    oracle = Oracle(batch.images[:, TO_NETWORK])
    scores = scorer_of("free/all", oracle).score(batch, Noise(0))
    assert oracle.labels == [{NULL}] * 15 + [{0}, {NULL}] * 15
    assert scores.evaluations.tolist() == [45] * 3


def test_classifier_guidance_encodes_and_decodes_as_healthy_and_pushes_by_its_scale():
    batch = batch_of(images() / 4)
    found = []
    for scale in (0.0, 2000.0):
        own = dataclasses.replace(OWN, clf=dataclasses.replace(OWN.clf, scale=scale))
        oracle = Oracle(batch.images[:, TO_NETWORK])
        scores = scorer_of("clf/all", oracle, own).score(batch, Noise(0))
        assert oracle.labels == [{0}] * 20
        assert scores.evaluations.tolist() == [30] * 3
        found.append(scores.extra["restored"].float().mean())
    assert found[1] > found[0] + 0.01  # this classifier calls bright images healthy


def test_noised_encoding_is_an_option_and_saves_calls():
    batch = batch_of(images())
    own = dataclasses.replace(OWN, clf=dataclasses.replace(OWN.clf, encode="noise"))
    scores = scorer_of("clf/all", Oracle(batch.images[:, TO_NETWORK]), own).score(batch, Noise(0))
    assert scores.evaluations.tolist() == [20] * 3


@pytest.mark.parametrize(("pair", "key"), [("clf/all", "ddim_clf"), ("free/all", "ddib")])
def test_scores_of_a_slice_do_not_depend_on_its_batch(pair, key):
    batch = batch_of(images(4))
    scorer = DpmScorer(pair, random_nets(key), OWN)
    with torch.inference_mode():
        whole = scorer.score(batch, Noise(0))
        parts = [scorer.score(batch_of(batch.images[i : i + 2], 5 + i), Noise(0)) for i in (0, 2)]
    for name in ("residual", "restored"):
        joined = torch.cat([part.extra[name] for part in parts])
        assert torch.allclose(whole.extra[name].float(), joined.float(), atol=2e-3)


# -- which modalities


@pytest.mark.parametrize(
    ("pair", "available", "expected"),
    [
        ("clf/all", MODALITIES, MODALITIES),
        ("clf/flair", MODALITIES, ("flair",)),
        ("clf/flair", ("t1ce",), ("t1ce",)),
        ("clf/flair", ("t2", "t1ce"), ("t1ce",)),
        ("free/all", ("t1ce",), MODALITIES),
    ],
)
def test_one_modality_networks_are_shown_what_there_is(pair, available, expected):
    assert shown(pair, available) == expected


def saved(method, folder) -> None:
    states = {"net": {k: v + 0.1 for k, v in method.nets["net"].state_dict().items()}}
    weights.save(folder, states, states, {"method": method.name, "networks": method.arguments})


def slices_of(**changes) -> SimpleNamespace:
    own = {"images": np.zeros((1, 1, SIZE, SIZE)), "modalities": ("t1ce",), "background": -1.0, "folder": Path("store")}
    return SimpleNamespace(**{**own, **changes})


def test_a_stored_flair_model_scores_a_cohort_without_flair(tmp_path):
    labels = torch.zeros(9, dtype=torch.int64)
    saved(Guided(SHAPE, DIFFUSION, SIZE, labels, "slice", ("flair",)), tmp_path / "guided" / "flair")
    saved(NoisyClassifier(SHAPE, DIFFUSION, SIZE, labels, ("flair",)), tmp_path / "classifier" / "flair")
    scorer = dpm.scorer({"dpm": OWN}, tmp_path, slices_of(), CPU, "clf/flair")
    assert scorer.modalities == ("t1ce",)
    x = images()[:, :1]
    scores = scorer.score(Batch(torch.arange(3), x, torch.ones(3, SIZE, SIZE), 0), Noise(0))
    assert scores.extra["residual"].shape == (3, 1, SIZE, SIZE)
    assert torch.allclose(scores.map, scores.extra["residual"][:, 0].float(), atol=1e-3)
    assert dpm.scorer({"dpm": OWN}, tmp_path, slices_of(modalities=MODALITIES), CPU, "clf/flair").modalities == ("flair",)


def test_what_is_unknown_missing_or_in_another_range_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="pair is 'clf/t2', expected one of clf/all, clf/flair, free/all"):
        dpm.scorer({"dpm": OWN}, tmp_path, slices_of(), CPU, "clf/t2")
    with pytest.raises(UserError, match="background is -3, expected -1 or 0"):
        dpm.scorer({"dpm": OWN}, tmp_path, slices_of(background=-3.0), CPU, "clf/all")
    for pair, folder in (("clf/all", "guided.all"), ("free/all", "cfg.all")):
        with pytest.raises(UserError, match=rf"{folder}.model\.json"):
            dpm.scorer({"dpm": OWN}, tmp_path, slices_of(), CPU, pair)
