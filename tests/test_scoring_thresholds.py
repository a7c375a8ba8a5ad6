"""The threshold search: equal to trying every threshold on masks, exact under ties, never worse as oracle."""

import numpy as np
import pytest

import scoring_toys as toys
from gliomap.base.errors import UserError
from gliomap.base.files import write_json
from gliomap.scoring import counts, masks, thresholds
from gliomap.scoring.masks import Postprocess


def by_hand(maps, region, truth, tried, component_px):
    """Mean Dice of each threshold, from its masks."""
    made = [masks.segment(maps, region, h, component_px) for h in tried]
    return np.array([counts.dice(counts.count(m, truth)).mean() for m in made])


@pytest.mark.parametrize("component_px", [0, 1, 4, 12])
@pytest.mark.parametrize("levels", [None, 5])
def test_fast_search_equals_brute_force(component_px, levels):
    x = toys.inputs(patients=4, seed=1)
    maps, region, truth = x.maps[x.scored], x.region[x.scored], x.truth[x.scored]
    if levels:  # many ties
        maps = np.round(maps * levels / maps.max())
    tried = thresholds.candidates(maps, region, "validation_dice", 60)
    fast = thresholds.mean_dice(maps, region, truth, tried, component_px)
    slow = by_hand(maps, region, truth, tried, component_px)
    np.testing.assert_allclose(fast, slow, atol=1e-12)
    found = thresholds.search(maps, region, truth, tried, component_px)
    assert found.dice == pytest.approx(slow.max())
    assert slow[np.flatnonzero(tried == found.threshold)[0]] == pytest.approx(slow.max())
    assert slow.max() > 0


def test_of_equally_good_thresholds_the_highest_is_taken():
    maps = np.array([[[0.0, 0.0, 5.0, 5.0]]])
    truth = maps > 1
    tried = np.array([-1.0, 0.0, 1.0, 4.0, 5.0])
    found = thresholds.search(maps, np.ones_like(truth), truth, tried)
    assert (found.threshold, found.dice, found.at_edge) == (4.0, 1.0, False)


def test_a_constant_map_predicts_nothing():
    truth = np.ones((1, 4, 4), bool)
    maps = np.full((1, 4, 4), 0.3, np.float32)
    tried = thresholds.candidates(maps, truth, "validation_dice", 100)
    found = thresholds.search(maps, truth, truth, tried)
    assert found.dice == 0
    assert not masks.segment(maps, truth, found.threshold).any()


@pytest.mark.parametrize("rule", ["validation_dice", "code_grid"])
def test_the_oracle_is_never_worse_than_the_validation_threshold(rule):
    test = toys.inputs(seed=2)
    tumour = [m[test.scored] for m in (test.maps, test.region, test.truth)]
    for h in np.quantile(test.maps, np.linspace(0.5, 1, 23)):
        oracle = thresholds.find(test, rule, 20, 0, also=float(h))
        reached = counts.dice(counts.count(masks.segment(*tumour[:2], h), tumour[2])).mean()
        assert oracle.dice >= reached - 1e-12


def test_code_grid_is_a_tenth_of_the_global_range_and_one_outlier_sets_it():
    maps = np.zeros((2, 4, 4))
    maps[0, 0, 0], maps[1, 3, 3] = -2.0, 8.0
    tried = thresholds.candidates(maps, np.zeros((2, 4, 4), bool), "code_grid", 2000)
    np.testing.assert_allclose(tried, np.linspace(-2.0, -2.0 + 0.099 * 10, 100))


def test_code_grid_warns_at_its_edge(capsys):
    x = toys.inputs()
    found = thresholds.find(x, "code_grid", 0, 0)
    assert found.at_edge
    assert "the first or last of the 100 tried" in capsys.readouterr().out


@pytest.mark.parametrize("transform", [np.sqrt, np.exp, lambda m: 1e-4 * m + 3])
def test_a_monotone_transform_of_the_map_changes_no_mask(transform):
    x = toys.inputs(seed=5)
    made = []
    for maps in (x.maps.astype(np.float64), transform(x.maps.astype(np.float64))):
        tried = np.unique(maps[x.region])
        s = x.scored
        found = thresholds.search(maps[s], x.region[s], x.truth[s], tried)
        made.append(masks.segment(maps, x.region, found.threshold))
    np.testing.assert_array_equal(*made)


def test_slices_without_truth_are_refused():
    with pytest.raises(ValueError, match="with truth"):
        thresholds.mean_dice(np.zeros((1, 4, 4)), np.ones((1, 4, 4)), np.zeros((1, 4, 4)), np.zeros(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "other"}, "found method other, expected toy"),
        ({"recipe": "mmccd"}, "found recipe mmccd, expected common"),
        ({"postprocess": {}}, "found postprocess"),
        ({"threshold": None}, "found no threshold"),
    ],
)
def test_a_threshold_made_for_something_else_is_refused(tmp_path, change, words):
    post = Postprocess(7.5, 0, 0)
    good = {"method": "toy", "recipe": "common", "rule": "validation_dice", "candidates": 9, "threshold": 0.1}
    good["postprocess"] = {"erode_mm": 7.5, "median_px": 0, "component_px": 0}
    path = tmp_path / "toy.json"
    write_json(path, good)
    assert thresholds.load(path, "toy", "common", post)["threshold"] == 0.1
    write_json(path, good | change)
    with pytest.raises(UserError, match=words):
        thresholds.load(path, "toy", "common", post)
