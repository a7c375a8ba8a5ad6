"""tau, M_max and Algorithm 1 of AnoFPDM by hand, and the two ways to tune with masks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.scoring import decisions
from gliomap.scoring.decisions import Labels
from gliomap.scoring.mixed import Thetas
from gliomap.scoring.mixed_inputs import Predicted

PAPER = Labels(100, 0.01, 0.08)


def predicted(**arrays) -> Predicted:
    n = len(next(v for k, v in arrays.items() if k not in ("w", "fixed_end")))
    return Predicted(Path("val.npz"), pd.DataFrame({"row": range(n)}), arrays, n)


@pytest.mark.parametrize(("r", "q"), [(0.0, 0.98), (0.5, 0.94), (1.0, 0.90), (1.7, 0.90), (0.21, 0.9632), (0.53, 0.9376)])
def test_the_quantile_falls_with_the_divergence(r, q):
    index = decisions.quantile_index(np.array([[r * 0.16, r * 0.13]]), np.array([0.16, 0.13]))
    assert decisions.quantile(index, 0.98, 0.90) == pytest.approx(np.full((1, 2), q), abs=1e-12)


def test_no_hundredth_is_lost_to_rounding():
    assert decisions.quantile_index(np.arange(101, dtype=np.float32) / 100, np.array(1.0)).tolist() == list(range(101))


def test_a_largest_divergence_of_zero_is_no_divergence():
    assert decisions.quantile_index(np.zeros((1, 2)), np.array([0.0, 1.0])).tolist() == [[0, 0]]


def test_q_star_is_the_mean_of_two_quantiles_at_indices_of_their_own():
    quantiles = np.stack([np.arange(101.0), 1000 + np.arange(101.0)])[None]
    assert decisions.thresholds(quantiles, np.array([[10, 100]])).tolist() == [(10 + 1100) / 2]


def test_tau_by_hand():
    # 101 healthy similarities 0.900, 0.901 .. 1.000: the q-quantile is 0.9 + q / 10, so the candidates are 0.901 .. 0.908
    healthy = 0.9 + np.arange(101) / 1000
    cosine = np.concatenate([healthy, [0.5, 0.6, 0.9045]])
    ill = np.arange(104) >= 101
    # errors at t: healthy below t, plus 0.9045 while t is below it: 1 + 1 at the start (0.900; 0.9045), 5 from 0.9045 on
    assert decisions.tau(cosine, ill, PAPER) == pytest.approx(0.901, abs=1e-9)
    many = np.concatenate([healthy, np.full(10, 0.9045)])  # now 10 of them outweigh the 5 healthy ones below
    found = decisions.tau(many, np.arange(111) >= 101, PAPER)
    candidates = 0.901 + 0.007 * np.arange(100) / 99
    assert found == pytest.approx(candidates[candidates >= 0.9045][0], abs=1e-9)  # the first of equals: 50 candidates


def test_the_unrestricted_tau_is_not_bound_to_few_false_alarms():
    cosine = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    ill = np.array([True, True, False, True, False])
    assert decisions.tau_unrestricted(cosine, ill) == pytest.approx(0.25)  # 4 of 5 right, as at 0.65: the first of equals
    assert decisions.tau_unrestricted(cosine, ~ill) < 0.1  # turned round, no slice is called unhealthy: 3 of 5
    assert decisions.tau_unrestricted(cosine, np.ones(5, bool)) == 0.9  # and with nothing else, all are


@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_more_accurate_than_the_unrestricted_one(seed):
    rng = np.random.default_rng(seed)
    cosine, ill = rng.integers(0, 12, 40) / 12, rng.random(40) < 0.5
    best = max(((cosine <= t) == ill).mean() for t in [-1, *cosine])
    assert ((cosine <= decisions.tau_unrestricted(cosine, ill)) == ill).mean() == best


def test_accuracies_by_hand():
    called, ill = np.array([1, 1, 0, 0, 0], bool), np.array([1, 0, 0, 0, 0], bool)
    assert decisions.accuracies(called, ill) == (0.8, pytest.approx((1 + 3 / 4) / 2))
    assert np.isnan(decisions.accuracies(called, np.zeros(5, bool))[1])


def test_m_max_is_over_unhealthy_slices_and_each_modality_by_itself():
    ill = np.array([True, True, False, False])
    divergence = np.array([[[0.1, 0.4]], [[0.2, 0.3]], [[9, 9]], [[8, 8]]], np.float32)
    cosine = np.array([[0.5], [0.6], [0.9], [0.95]])
    found = decisions.calibrate(predicted(cosine=cosine, divergence=divergence, w=np.array([2.0])), ill, PAPER)
    assert found["m_max"] == [[pytest.approx(0.2), pytest.approx(0.4)]]
    assert found["accuracy_unrestricted"] == [1.0]
    assert found["w"] == [2.0]


def test_the_weight_by_labels_is_the_largest_with_nearly_the_best_accuracy():
    ill = np.arange(20) >= 10
    good = np.where(ill, 0.1, 0.9 + np.arange(20) / 1000)
    cosine = np.stack([good, good, 0.5 + np.arange(20) % 7 / 100], 1)
    made = predicted(cosine=cosine, divergence=np.ones((20, 3, 2)), w=np.array([1.2, 2.0, 3.0]))
    found = decisions.calibrate(made, ill, PAPER)
    assert found["w_by_labels"] == 2.0
    assert len(found["tau"]) == len(found["m_max"]) == 3


@pytest.mark.parametrize("ill", [np.zeros(4, bool), np.ones(4, bool)])
def test_one_kind_of_slices_cannot_calibrate(ill):
    with pytest.raises(UserError, match=r"expected both kinds"):
        decisions.calibrate(predicted(cosine=np.ones((4, 1)), divergence=np.ones((4, 1, 2)), w=np.ones(1)), ill, PAPER)


def bright(n: int = 2) -> np.ndarray:
    """float32 (n, 16, 16): a square of 49 pixels at 1 on 0.1, and nothing in the last."""
    maps = np.full((n, 16, 16), 0.1, np.float32)
    maps[:-1, 4:11, 4:11] = 1
    return maps


def test_a_forward_row_cuts_at_q_star_and_empties_what_looks_healthy():
    maps = bright(3)
    maps[2] = maps[1]
    quantiles = np.full((3, 1, 2, 101), 1.0, np.float32)
    arrays = {"whole": maps[:, None], "w": np.array([2.0]), "quantiles": quantiles, "divergence": np.ones((3, 1, 2))}
    found = predicted(**arrays, cosine=np.array([[0.5], [0.7], [0.71]]))
    made = decisions.decide(found, {"kind": "forward", "w": [2.0], "tau": [0.7], "m_max": [[1.0, 1.0]]}, 40)
    assert made.unhealthy.tolist() == [True, True, False]  # at tau: unhealthy
    assert made.all_slices.sum((1, 2)).tolist() == [49, 49, 49]  # at Q*: predicted
    assert made.mixed.sum((1, 2)).tolist() == [49, 49, 0]
    assert made.score == pytest.approx([0.5, 0.3, 0.29])


def test_other_weights_than_calibrated_are_refused():
    arrays = {"whole": bright()[:, None], "w": np.array([2.0]), "quantiles": np.ones((2, 1, 2, 101))}
    found = predicted(**arrays, divergence=np.ones((2, 1, 2)), cosine=np.ones((2, 1)))
    with pytest.raises(UserError, match=r"w is \[2.0\], calibrated were \[1.5\]"):
        decisions.decide(found, {"kind": "forward", "w": [1.5], "tau": [0.7], "m_max": [[1.0, 1.0]]}, 0)


def test_a_baseline_calls_a_slice_by_any_pixel_before_small_components_leave():
    maps = bright()
    maps[1, 0, 0] = 1
    made = decisions.decide(predicted(whole=maps[:, None]), {"kind": "fixed", "theta": 0.5}, 40)
    assert made.unhealthy.tolist() == [True, True]
    assert made.mixed.sum((1, 2)).tolist() == [49, 0]
    assert made.mixed is made.all_slices
    assert made.score.tolist() == [1, 1]


def test_tuning_finds_the_end_step_and_threshold_that_were_put_in():
    truth = bright() > 0.5
    noise = np.random.default_rng(0).random((2, 16, 16)).astype(np.float16)
    fixed = np.stack([noise, bright().astype(np.float16)], 1)
    found = predicted(fixed=fixed, fixed_end=np.array([3, 7]), cosine=np.array([[0.1], [0.9]]))
    tuned = decisions.tune(found, truth, 0.5, Thetas(0.25, 1.5, 0.25).candidates(), 0)
    assert (tuned["end"], tuned["theta"], tuned["tau"], tuned["at_edge"]) == (7, 0.25, 0.5, True)
    assert tuned["dice_mixed"] == pytest.approx(1.0)
    assert [point["end"] for point in tuned["grid"]] == [3, 7]
    made = decisions.decide(found, {"kind": "tuned", **tuned}, 0)
    assert np.array_equal(made.mixed, truth)
    # called healthy: nothing is left of it, and the tuner counts that
    emptied = predicted(fixed=fixed, fixed_end=np.array([3, 7]), cosine=np.array([[0.9], [0.9]]))
    tuned = decisions.tune(emptied, truth, 0.5, Thetas(0.25, 1.5, 0.25).candidates(), 0)
    assert tuned["dice_mixed"] == pytest.approx(0.5, abs=1e-5)


def test_an_end_step_that_was_not_predicted_is_refused():
    found = predicted(fixed=np.zeros((1, 1, 4, 4)), fixed_end=np.array([3]), cosine=np.ones((1, 1)))
    with pytest.raises(UserError, match=r"fixed_end is \[3\], expected 580 among them"):
        decisions.decide(found, {"kind": "tuned", "tau": 0.5, "end": 580, "theta": 0.1}, 0)


def test_the_grid_of_thresholds_is_the_papers():
    values = Thetas(0.01, 0.69, 0.01).candidates()
    assert values.tolist() == [round(0.01 * i, 2) for i in range(1, 70)]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({}, "found kind None"),
        ([1], "found kind None"),
        ({"kind": "magic"}, "found kind 'magic', expected one of forward, tuned, fixed"),
        ({"kind": "tuned", "tau": 1.0}, "found no end, theta"),
        ({"kind": "fixed", "theta": 1.0, "recipe": "mmccd"}, "found recipe mmccd, expected anofpdm"),
    ],
)
def test_a_wrong_decisions_file_is_one_sentence(tmp_path, chosen, words):
    files.write_json(tmp_path / "d.json", chosen)
    with pytest.raises(UserError, match=words):
        decisions.load(tmp_path / "d.json", "anofpdm")
