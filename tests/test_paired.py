"""The paired test against enumeration by hand, SciPy's, and its nominal level; Holm's correction by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gliomap.scoring import paired


def trial(n: int, seed: int = 0) -> paired.Trial:
    return paired.trial([f"p{i:03d}" for i in range(n)], paired.Draws(400, 0.95, seed))


def test_three_patients_by_hand():
    # sums of +-1 +-2 +-3: 6 and -6 are as far as what was found, 2 of 8 patterns
    assert trial(3).p_value([1.0, 2.0, 3.0]) == 2 / 8
    # sums of +-1 +-2 -+3, found 0: every pattern is at least as far
    assert trial(3).p_value([1.0, 2.0, -3.0]) == 1.0
    # found 4; 6, 4, -4, -6 are as far
    assert trial(3).p_value([-1.0, 2.0, 3.0]) == 4 / 8


def test_exact_agrees_with_scipy():
    rng = np.random.default_rng(1)
    for _ in range(5):
        a, b = rng.normal(0.3, 1, 8), rng.normal(0, 1, 8)
        options = {"permutation_type": "samples", "vectorized": True, "n_resamples": np.inf}
        theirs = stats.permutation_test((a, b), lambda x, y, axis: np.mean(x - y, axis=axis), **options)
        assert trial(8).difference(a, b).p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_every_pattern_of_signs_is_tried_once():
    found = trial(4)
    assert found.exact
    assert {tuple(row) for row in found.signs} == set(product((-1.0, 1.0), repeat=4))


def test_ties_by_rounding_count():
    # 0.1 + 0.2 - 0.3 is 5.6e-17: equal sums in another order must stay equal
    d = np.array([0.1, 0.2, 0.3, -0.3, 0.6])
    by_hand = np.mean([abs(np.dot(s, np.rint(d * 10))) >= 9 for s in product((-1, 1), repeat=5)])
    assert trial(5).p_value(d) == by_hand


def test_no_difference_is_no_evidence():
    found = trial(6).difference(np.full(6, 0.4), np.full(6, 0.4))
    assert (found.mean, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("n", "smallest"), [(1, 1.0), (2, 0.5), (8, 2 / 256), (16, 2 / 65536), (17, 1 / 10_001)])
def test_the_smallest_p_that_there_is(n, smallest):
    found = trial(n)
    assert found.exact == (n <= 16)
    assert found.smallest == smallest
    # all differences alike is as extreme as it gets; of 10,000 drawn patterns of 17 signs one may happen to be all alike
    p = found.p_value(np.ones(n))
    assert p == smallest if found.exact else smallest <= p <= 5 * smallest


def test_a_single_patient_has_no_interval():
    found = trial(1).difference(np.array([0.6]), np.array([0.2]))
    assert (found.mean, found.p) == (pytest.approx(0.4), 1.0)
    assert np.isnan([found.low, found.high]).all()


def test_drawn_signs_agree_with_the_exact_test_and_follow_the_seed():
    d = np.random.default_rng(3).normal(0.25, 1, 17)
    drawn, again, other = (trial(17, seed).p_value(d) for seed in (0, 0, 1))
    up = (np.arange(2**17)[:, None] >> np.arange(17)) & 1
    exact = np.mean(np.abs((2.0 * up - 1) @ d) >= abs(d.sum()) - 1e-9)
    assert drawn == again
    assert drawn != other
    assert drawn == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000))


def test_the_level_is_kept_if_nothing_differs():
    shared, rng = trial(7), np.random.default_rng(4)
    p = np.array([shared.p_value(rng.standard_t(3, 7)) for _ in range(1500)])
    for level in (8 / 128, 32 / 128):  # values that an exact p can take: reached with exactly that chance
        assert np.mean(p <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 1500))


def test_the_interval_is_that_of_the_mean_over_patients():
    rng = np.random.default_rng(5)
    a, b = rng.random(200), rng.random(200)
    found = paired.trial([str(i) for i in range(200)], paired.Draws(4000, 0.95, 0)).difference(a, b)
    half = 1.96 * np.std(a - b) / np.sqrt(200)
    assert found.mean == pytest.approx(np.mean(a) - np.mean(b))
    assert [found.low, found.high] == pytest.approx([found.mean - half, found.mean + half], abs=0.1 * half)


def test_patients_count_alike_whatever_their_number_of_slices():
    patients = ["b", "b", "b", "a", "c", "d"]
    scores = pd.DataFrame({"patient": patients, "dice": [0.1, 0.2, 0.3, 0.8, 0.9, np.nan]})
    scores["tumour"], scores["tumour_px"] = [1, 1, 1, 1, 1, 0], [9, 9, 9, 9, 0, 0]  # c: lost on the grid, d: healthy
    found = paired.patient_means(scores)
    assert found.index.tolist() == ["a", "b"]
    assert found.tolist() == pytest.approx([0.8, 0.2])


def test_holm_by_hand():
    # sorted 0.01 0.02 0.03 0.04 times 4 3 2 1: 0.04 0.06 0.06 0.04, never less than the one before
    assert paired.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert paired.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_holm_leaves_out_what_is_no_comparison():
    found = paired.holm([np.nan, 0.02, 0.5])
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([0.04, 0.5])
    assert len(paired.holm([])) == 0
