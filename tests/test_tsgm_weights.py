"""Weights of the modalities: the grid of the released code, search on slices one can see, means, missing modalities."""

import numpy as np
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.scoring import counts, otsu, weights
from gliomap.scoring.weights import Best, Seen
from scoring_toys import disc

GRID, MODALITIES = weights.grid(0.1, 4), ("t1", "t1ce", "t2", "flair")
BRAIN, TRUTH, ELSEWHERE = disc(14), disc(5, (16, 20)), disc(5, (16, 9))


def seen(*bright, noise=0.02, seed=0):
    """Four modalities; `bright` are the masks (or None) that stand out in each."""
    rng = np.random.default_rng(seed)
    residual = noise * rng.random((4, 32, 32))
    for values, mask in zip(residual, bright):
        values += 0 if mask is None else mask
    return Seen(residual.astype(np.float16), BRAIN, TRUTH)


def test_the_grid_has_220_exact_combinations_in_the_order_of_the_code():
    loops = [(a, b, c, 10 - a - b - c) for a in range(10) for b in range(10 - a) for c in range(10 - a - b)]
    np.testing.assert_array_equal(np.round(GRID * 10), loops)
    assert len(GRID) == 220
    np.testing.assert_allclose(GRID.sum(1), 1, atol=1e-12)
    assert GRID[0].tolist() == [0, 0, 0, 1]
    assert GRID[:, 3].min() == 0.1


@pytest.mark.parametrize(("step", "modalities", "expected"), [(0.1, 1, 1), (0.5, 2, 2), (0.25, 3, 10), (1.0, 4, 1)])
def test_grids_of_other_sizes(step, modalities, expected):
    assert weights.grid(step, modalities).shape == (expected, modalities)


@pytest.mark.parametrize("step", [0.3, 0.15])
def test_a_step_that_does_not_divide_one_is_refused(step):
    with pytest.raises(UserError, match=r"params.yaml: tsgm.search.step is .*choose 0.1"):
        weights.grid(step, 4)


def test_published_weights_sum_to_one():
    assert sum(weights.PUBLISHED.values()) == pytest.approx(1, abs=1e-12)
    assert tuple(weights.PUBLISHED) == MODALITIES


def test_combinations_are_weighted_sums():
    residual = np.arange(8, dtype=np.float16).reshape(4, 2)
    np.testing.assert_allclose(weights.combine(residual, np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1]])), [[4, 5], [6, 7]])


@pytest.mark.parametrize("only", [0, 1, 2, 3])
def test_the_modality_that_shows_the_tumour_gets_the_weight(only):
    bright = [ELSEWHERE] * 4
    bright[only] = TRUTH
    best = weights.search(seen(*bright), GRID, 0)
    assert best.weights.argmax() == only
    assert best.dice == 1


def test_of_equal_combinations_the_first_wins():
    assert weights.search(seen(TRUTH, TRUTH, TRUTH, TRUTH, noise=0), GRID, 0).weights.tolist() == [0, 0, 0, 1]


def test_components_up_to_the_limit_find_nothing():
    slice_ = seen(None, None, None, TRUTH, noise=0)
    assert weights.search(slice_, GRID, TRUTH.sum() - 1).dice == 1
    assert weights.search(slice_, GRID, TRUTH.sum()).dice == 0


@pytest.mark.parametrize("component_px", [0, 12])
def test_the_search_sees_the_masks_that_are_made_of_the_whole_map(component_px):
    slice_ = seen(ELSEWHERE * 0.5, TRUTH * 0.2, TRUTH * 0.7, TRUTH * 0.4, noise=0.5, seed=2)
    best = weights.search(slice_, GRID, component_px)
    maps = weights.combine(slice_.residual, GRID) * BRAIN
    masks = otsu.segment(maps, otsu.maps_thresholds(maps), component_px)
    dice = counts.dice(counts.count(masks, np.repeat(TRUTH[None], len(GRID), 0)))
    assert best.dice == pytest.approx(dice.max(), abs=1e-12)
    np.testing.assert_array_equal(best.weights, GRID[dice.argmax()])
    assert dice.max() > dice.min() + 0.1


def test_what_lies_outside_of_the_brain_does_not_count():
    outside = np.zeros((32, 32))
    outside[0, :8] = 5
    assert weights.search(seen(outside, outside, outside, outside + TRUTH), GRID, 0).dice == 1


def test_a_slice_without_brain_finds_nothing():
    assert weights.search(seen(TRUTH)._replace(brain=np.zeros((32, 32), bool)), GRID, 0).dice == 0


def test_slices_are_spread_over_patients_and_within_them():
    patients = np.array(["a"] * 9 + ["b"] * 3 + ["c"])
    assert weights.spread(patients, 7).tolist() == [1, 4, 7, 9, 10, 11, 12]
    assert weights.spread(patients, 3).tolist() == [4, 10, 12]
    assert weights.spread(patients, 0).tolist() == weights.spread(patients, 50).tolist() == list(range(13))
    assert weights.spread(patients, 1).tolist() == [4]
    assert weights.spread(patients[:0], 5).tolist() == []


def test_the_mean_leaves_out_slices_without_a_hit():
    found = [Best(np.array([0.0, 1.0]), 0.5), Best(np.array([0.5, 0.5]), 0.1), Best(np.array([1.0, 0.0]), 0.0)]
    assert weights.mean(found, 2).tolist() == [0.25, 0.75]
    assert weights.mean(found[2:], 2).tolist() == [0.5, 0.5]


def test_weights_of_missing_modalities_are_shared_out():
    np.testing.assert_allclose(weights.of(weights.PUBLISHED, ("t1ce", "t2")), [19 / 49, 30 / 49])
    assert weights.of(weights.PUBLISHED, ("t1ce",)).tolist() == [1]
    assert weights.of({"t1": 0.0, "t2": 0.0, "flair": 1.0}, ("t1", "t2")).tolist() == [0.5, 0.5]


def test_which_weights_a_row_gets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_json("models/weights/tsgm.json", {"searched": dict(zip(MODALITIES, (0.1, 0.2, 0.3, 0.4)))})
    assert weights.choose("searched", "tsgm", MODALITIES, True).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert weights.choose("published", "tsgm", MODALITIES, True).tolist() == pytest.approx([0.07, 0.19, 0.3, 0.44])
    assert weights.choose("uniform", "tsgm", MODALITIES, True).tolist() == [0.25] * 4
    assert weights.choose("searched", "vae", MODALITIES, False).tolist() == [0.25] * 4
    assert weights.choose("searched", "tsgm_flair", ("flair",), True).tolist() == [1]


@pytest.mark.parametrize("found", [{}, {"searched": {"t1": 0.5}}, {"searched": {"t1": 0.5, "t2": None}}])
def test_a_damaged_file_of_weights_is_one_sentence(tmp_path, monkeypatch, found):
    monkeypatch.chdir(tmp_path)
    files.write_json("models/weights/tsgm.json", found)
    with pytest.raises(UserError, match=r"weights/tsgm\.json: found no weight of .*t2, expected .*run weight_search"):
        weights.choose("searched", "tsgm", ("t1", "t2"), True)
