"""AnoFPDM as a Scorer: which calls it makes, what they are told, and that a slice's result is its own."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.diffusion.denoiser import NULL, Denoiser
from gliomap.diffusion.noise import Noise
from gliomap.diffusion.schedule import VP
from gliomap.engine.contract import Batch
from gliomap.methods.anofpdm import LEVELS, Anofpdm, AnofpdmScorer, levels
from gliomap.methods.cfg import HEALTHY, MODALITIES

SIZE = 8
OWN = Anofpdm(
    follow="code", more_w=(), reference="follow", divergence="absolute", end_step="follow", ddim_index="clean",
    start="follow", fixed_ends=(0.5, 1.0), weights="ema", w=2.0, steps=600, stride=60, quantile_high=0.98,
    quantile_low=0.90, study=4,
)  # fmt: skip


class Gaussian(nn.Module):
    """The exact noise prediction where slices are N(mean of the label, spread^2) in each pixel: known in closed form."""

    def __init__(self, spread: float = 0.3) -> None:
        super().__init__()
        self.spread, self.schedule, self.calls = spread, VP(), []

    def forward(self, x, t, label):
        self.calls.append((t.clone(), label.clone()))
        alpha, sigma = (v.to(x)[:, None, None, None] for v in self.schedule.marginal(t))
        mean = torch.where(label == HEALTHY, -0.2, 0.1)[:, None, None, None]
        x0 = mean + self.spread**2 * alpha / (alpha**2 * self.spread**2 + sigma**2) * (x - alpha * mean)
        return (x - alpha * x0) / sigma


def batch_of(rows) -> Batch:
    rows = torch.as_tensor(rows)
    images = Noise(5).normal("test/slices", rows, 0, (len(MODALITIES), SIZE, SIZE)) * 0.3
    brain = torch.ones(len(rows), SIZE, SIZE)
    brain[:, 0] = 0
    return Batch(rows, images, brain, 0)


def scorer(style="ddpm", **changes) -> AnofpdmScorer:
    return AnofpdmScorer(style, Denoiser(Gaussian(), VP()), dataclasses.replace(OWN, **changes), median_size=3)


@pytest.mark.parametrize("style", ["ddpm", "ddim"])
def test_two_evaluations_a_level_serve_every_weight_and_both_references(style):
    found = scorer(style, more_w=(0.5, 1.2))
    scores = found.score(batch_of([4, 9]), Noise(0))
    calls = found.denoiser.net.calls
    first = [([0, 0], [NULL, NULL])] if style == "ddim" else []  # from level 0 to the first of the stride
    wanted = first + [([k] * 4, [HEALTHY, HEALTHY, NULL, NULL]) for k in range(59, 600, 60)]
    assert [(t.tolist(), label.tolist()) for t, label in calls] == wanted
    assert scores.evaluations.tolist() == [20 + len(first)] * 2
    assert scores.extra["whole"].shape == (2, 3, SIZE, SIZE)
    assert found.constants["w"].tolist() == [2.0, 0.5, pytest.approx(1.2)]


def test_as_released_the_network_is_told_one_level_less_and_called_three_times():
    found = scorer("ddim", ddim_index="code", stride=1, steps=5)
    assert found.score(batch_of([1]), Noise(0)).evaluations.tolist() == [15]
    told = [t[0].item() for t, _ in found.denoiser.net.calls]
    assert told == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]  # the step without label, then both labels


def test_clean_index_gives_nearly_the_map_of_the_released_one():
    clean = scorer("ddim", stride=1, steps=300).score(batch_of([1, 2]), Noise(0))
    code = scorer("ddim", stride=1, steps=300, ddim_index="code").score(batch_of([1, 2]), Noise(0))
    assert (clean.map - code.map).abs().max() < 0.02 * clean.map.max()


@pytest.mark.parametrize("style", ["ddpm", "ddim"])
def test_a_slice_does_not_depend_on_its_batch_nor_a_weight_on_the_others(style):
    together = scorer(style, more_w=(0.5,)).score(batch_of([3, 8, 11]), Noise(0))
    alone = scorer(style, w=0.5).score(batch_of([8]), Noise(0))
    assert torch.allclose(together.extra["whole"][1, 1], alone.extra["whole"][0, 0], atol=1e-6)
    assert torch.allclose(together.extra["cosine"][1, 1], alone.extra["cosine"][0, 0], atol=1e-6)


def test_other_seed_other_map_in_ddpm_style_only():
    maps = {style: [scorer(style).score(batch_of([3]), Noise(seed)).map for seed in (0, 1)] for style in ("ddpm", "ddim")}
    assert not torch.allclose(*maps["ddpm"])
    assert torch.equal(*maps["ddim"])  # `code` starts from the slice itself: nothing is drawn


def test_presets_name_the_reference_the_start_and_the_end_step():
    paper, code = (scorer("ddim", follow=follow) for follow in ("paper", "code"))
    assert (paper.rules.reference, paper.start, paper.rules.end_step) == ("null", "noise", "included")
    assert (code.rules.reference, code.start, code.rules.end_step) == ("healthy", "image", "excluded")
    assert scorer("ddim", follow="code", reference="null").rules.reference == "null"


def test_without_guidance_the_reference_of_the_code_is_the_prediction_itself():
    scores = scorer(w=0.0).score(batch_of([3]), Noise(0))
    assert scores.extra["divergence"].abs().max() == 0  # w = 0: x_h = x_ref, the bug D1 of the released code
    assert torch.allclose(scores.extra["cosine"], torch.ones(1, 1))
    assert scorer(w=0.0, follow="paper").score(batch_of([3]), Noise(0)).extra["divergence"].min() > 0


def test_arrays_are_what_calibration_expects():
    scores = scorer("ddim", more_w=(1.0,)).score(batch_of([3, 4]), Noise(0))
    assert scores.map[:, 0].abs().max() == 0  # outside the brain
    assert torch.allclose(scores.image, 1 - scores.extra["cosine"][:, 0])
    assert scores.extra["quantiles"].shape == (2, 2, 2, LEVELS)
    assert (scores.extra["quantiles"].diff(dim=-1) <= 0).all()  # from the high quantile down
    assert scores.extra["fixed"].shape == (2, 2, SIZE, SIZE)
    assert set(scores.extra["end"].flatten().tolist()) <= set(range(59, 600, 60))
    assert scores.extra["curve_h"].shape == scores.extra["curve_ref"].shape == (2, 10)


def test_levels_are_the_last_of_each_stride():
    assert levels(dataclasses.replace(OWN, stride=20), 1000).tolist() == list(range(19, 600, 20))
    assert levels(dataclasses.replace(OWN, stride=1), 1000).tolist() == list(range(600))


@pytest.mark.parametrize(
    ("style", "changes", "sentence"),
    [
        ("forward", {}, "style of AnoFPDM is 'forward', expected ddpm or ddim"),
        ("ddpm", {"steps": 1001}, r"anofpdm\.steps is 1001, expected at most 1000"),
        ("ddim", {"steps": 1000, "stride": 1, "ddim_index": "code"}, r"anofpdm\.steps is 1000, expected at most 999"),
        ("ddpm", {"stride": 601}, r"anofpdm\.stride is 601, expected at most anofpdm\.steps"),
        ("ddim", {"ddim_index": "code"}, "`code` with stride 60, expected stride 1"),
    ],
)
def test_bad_settings_are_one_sentence(style, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        scorer(style, **changes)


def test_scale_of_a_modality_does_not_matter_to_errors_of_a_slice_in_range():
    """Errors are measured in the scale of [-1, 1]: a prediction that is off by 2 everywhere scores 4, never more."""

    class Far(nn.Module):
        def forward(self, x, t, label):
            alpha, sigma = (v.to(x)[:, None, None, None] for v in VP().marginal(t))
            return (x - alpha * 9) / sigma  # x0 = 9 everywhere

    batch = dataclasses.replace(batch_of([1]), images=-torch.ones(1, 4, SIZE, SIZE))
    scores = AnofpdmScorer("ddpm", Denoiser(Far(), VP()), OWN, median_size=3).score(batch, Noise(0))
    assert np.allclose(scores.extra["curve_h"], 4.0)
