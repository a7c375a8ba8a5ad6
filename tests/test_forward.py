"""The streaming form against the stored stack (AnoFPDM spec 4.2 to 4.7, 4.9)."""

import dataclasses

import numpy as np
import pytest
import torch

from gliomap.diffusion.denoiser import Prediction
from gliomap.methods.forward import Forward, Rules, quantiles

B, C, SIZE, K = 3, 4, 8, 7
RULES = Rules((2.0, 0.5), "healthy", "absolute", "excluded", (0, 3), (1, 6))


def predictions(seed: int = 0) -> tuple[torch.Tensor, list[tuple[Prediction, Prediction]]]:
    """x0 in [-1, 1] and K pairs of predictions, some beyond the range so that clipping matters."""
    rng = torch.Generator().manual_seed(seed)
    x0 = torch.rand(B, C, SIZE, SIZE, generator=rng) * 2 - 1
    draws = torch.randn(K, 2, B, C, SIZE, SIZE, generator=rng)
    return x0, [(Prediction(c, c), Prediction(n, n)) for c, n in draws]


def streamed(rules: Rules) -> tuple[Forward, list]:
    x0, pairs = predictions()
    forward = Forward(x0, rules)
    return forward, [forward.add(c, n) for c, n in pairs]


def stack(rules: Rules, weight: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(S_h, S_ref, M) of shapes (K, B, m, H, W), same, (K, B, m), straight from the equations."""
    x0, pairs = predictions()
    channels = list(rules.channels)
    x = x0[:, channels].numpy().astype(np.float64)
    c, n = (np.stack([pair[i].x0[:, channels].numpy() for pair in pairs]).astype(np.float64) for i in (0, 1))
    x_h = np.clip((1 + weight) * c - weight * n, -1, 1)
    x_ref = np.clip(n if rules.reference == "null" else c, -1, 1)
    s_h, s_ref = (x_h - x) ** 2, (x_ref - x) ** 2
    gap = np.abs(s_h - s_ref) if rules.divergence == "absolute" else (x_h - x_ref) ** 2
    return s_h, s_ref, gap.mean((-2, -1))


@pytest.mark.parametrize("reference", ["null", "healthy"])
@pytest.mark.parametrize("divergence", ["absolute", "squared"])
@pytest.mark.parametrize("end_step", ["included", "excluded"])
def test_stream_equals_the_stored_stack(reference, divergence, end_step):
    rules = dataclasses.replace(RULES, reference=reference, divergence=divergence, end_step=end_step)
    forward, _ = streamed(rules)
    maps, cosine = forward.maps().numpy(), forward.cosine().numpy()
    for j, weight in enumerate(rules.w):
        s_h, s_ref, m = stack(rules, weight)
        end = m.argmax(0)
        assert (forward.end[:, j].numpy() == end).all()
        assert np.allclose(forward.best[:, j], m.max(0), atol=1e-6)
        for b in range(B):
            for channel in range(2):
                e = end[b, channel]
                part = s_h[: e + 1 if end_step == "included" else max(e, 1), b, channel]
                wanted = part.mean(0) if end_step == "included" or e > 0 else np.zeros((SIZE, SIZE))
                assert np.allclose(maps[b, j, channel], wanted, atol=1e-6)
        a, b_ = s_h.mean((2, 3, 4)), s_ref.mean((2, 3, 4))
        wanted = (a * b_).sum(0) / (np.linalg.norm(a, axis=0) * np.linalg.norm(b_, axis=0))
        assert np.allclose(cosine[:, j], wanted, atol=1e-6)


def test_the_end_step_is_the_first_of_equals_and_each_modality_has_its_own():
    x0 = torch.zeros(1, C, 2, 2)
    forward = Forward(x0, dataclasses.replace(RULES, w=(0.0,), reference="null", fixed=()))
    for flair, t2 in ((0.1, 0.4), (0.5, 0.4), (0.5, 0.2)):
        c = torch.zeros(1, C, 2, 2)
        c[:, 0], c[:, 3] = flair, t2
        forward.add(Prediction(c, c), Prediction(x0, x0))
    assert forward.end.tolist() == [[[1, 0]]]
    maps = forward.maps()
    assert torch.allclose(maps[0, 0, 0], torch.full((2, 2), 0.01))  # only the step before the end
    assert maps[0, 0, 1].abs().max() == 0  # excluded, and nothing before it: 0, not NaN


def test_weight_zero_is_the_label_and_minus_one_is_no_label():
    x0, pairs = predictions()
    forward = Forward(x0, dataclasses.replace(RULES, w=(0.0, -1.0)))
    c, n = pairs[0]
    x_h, x_ref = forward.predictions(c, n)
    assert torch.equal(x_h[:, 0], c.x0[:, [0, 3]].clamp(-1, 1))
    assert torch.equal(x_h[:, 1], n.x0[:, [0, 3]].clamp(-1, 1))
    assert torch.equal(x_ref[:, 0], x_h[:, 0])


def test_maps_at_fixed_ends_are_means_up_to_and_with_them():
    forward, errors = streamed(RULES)
    for i in RULES.fixed:
        wanted = torch.stack([s_h[:, 0].mean(1) for s_h, _ in errors[: i + 1]]).mean(0)
        assert torch.allclose(forward.fixed[i], wanted, atol=1e-6)


def test_quantiles_are_those_of_torch():
    maps = torch.rand(2, 2, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    levels = torch.linspace(0.98, 0.9, 101)
    wanted = torch.quantile(maps.flatten(-2), levels, dim=-1).permute(1, 2, 3, 0)
    assert torch.allclose(quantiles(maps, levels), wanted, atol=1e-6)
