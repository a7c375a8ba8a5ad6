"""The choice of a noise level: on tumour slices alone, inside the eroded brain, as calibration would score the row."""

import numpy as np
import pandas as pd
import pytest

from gliomap.base.errors import UserError
from gliomap.level_tuning import Truth, decide
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate

POST = Postprocess(erode_mm=0.0, median_px=0, component_px=0)
RULE = Calibrate(rule="validation_dice", candidates=50)
SIZE = 6


class Store:
    """Ten slices: rows 4 to 9 validate; 5, 7, 8 are labelled as tumour, 8 without a pixel on this grid."""

    pixel_mm = 2.0
    index = pd.DataFrame({"row": range(10), "patient": [f"p{i // 3}" for i in range(10)]})

    def rows(self, split, tumour=None):
        return np.array([5, 7, 8])

    def mask_rows(self, split):
        return np.arange(4, 10)

    def masks(self, split):
        masks = np.zeros((6, SIZE, SIZE), np.uint8)
        masks[1, 1:3, 1:3] = 1  # row 5
        masks[3, 2:5, 2:5] = 1  # row 7
        return masks

    def brain_of(self, rows):
        brain = np.zeros((len(rows), SIZE, SIZE), bool)
        brain[:, 1:5, 1:5] = True
        return brain


def truth_of(post: Postprocess = POST) -> Truth:
    return Truth.of(Store(), np.arange(4, 10), post, RULE)


def test_only_scored_tumour_slices_count():
    truth = truth_of()
    assert truth.rows.tolist() == [5, 7]
    assert truth.mask.sum((1, 2)).tolist() == [4, 9]
    assert truth.patients == 2  # p1, p2
    assert Truth.of(Store(), np.array([4, 7, 9]), POST, RULE).rows.tolist() == [7]  # infer.slice_step leaves 5 out


def test_the_region_is_the_eroded_brain():
    assert truth_of().region.sum((1, 2)).tolist() == [16, 16]
    assert truth_of(Postprocess(2.0, 0, 0)).region.sum((1, 2)).tolist() == [4, 4]  # 2 mm are one pixel


def test_dice_at_the_best_threshold_by_hand():
    """The mask itself reaches 1. A map that finds only row 5 at any threshold reaches (1 + 0) / 2."""
    truth = truth_of()
    assert truth.reached(truth.mask.astype(np.float32)) == 1
    one = truth.mask * np.array([1, 0], np.float32)[:, None, None]
    assert truth.reached(one) == pytest.approx(0.5)
    region = truth.region.astype(np.float32) + np.random.default_rng(0).normal(0, 1e-9, truth.region.shape)
    everything = (2 * 4 / (16 + 4) + 2 * 9 / (16 + 9)) / 2
    assert truth.reached(region.astype(np.float32)) <= everything + 0.1


def test_the_best_level_wins_the_first_of_equals_and_the_edge_is_told():
    truth, asked = truth_of(), []

    def maps(level: float) -> np.ndarray:
        asked.append(level)
        good = {0.2: 0.0, 0.4: 1.0, 0.6: 1.0, 0.8: 0.0}[level]
        return truth.mask * np.array([1, good], np.float32)[:, None, None]

    decision = decide((0.2, 0.4, 0.6, 0.8), maps, truth)
    assert asked == [0.2, 0.4, 0.6, 0.8]
    assert (decision["noise_level"], decision["dice_slice_tumour"], decision["at_edge"]) == (0.4, 1.0, False)
    assert [entry["dice_slice_tumour"] for entry in decision["grid"]] == [0.5, 1.0, 1.0, 0.5]
    assert (decision["n_tumour_slices"], decision["n_patients"]) == (2, 2)
    assert decide((0.6, 0.8), maps, truth)["at_edge"]
    assert not decide((0.8,), maps, truth)["at_edge"]  # nothing was chosen


def test_no_level_or_no_tumour_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"rebuild\.noise_levels is empty"):
        decide((), lambda level: None, truth_of())
    store = Store()
    store.folder = tmp_path
    with pytest.raises(UserError, match=r"masks_val\.npy: none of the validation slices has a tumour"):
        Truth.of(store, np.array([4, 8, 9]), POST, RULE)
