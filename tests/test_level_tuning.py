"""The choice of a noise level: on tumour slices alone, inside the eroded brain, as calibration would score the row."""

import numpy as np
import pandas as pd
import pytest

from gliomap.base.errors import UserError
from gliomap.level_tuning import decide, tumour_rows
from gliomap.scoring import inputs
from gliomap.scoring.inputs import Inputs
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


ROWS = np.array([5, 7])
TRUE = Store().masks("val")[[1, 3]].astype(np.float32)


def scored(maps: np.ndarray, post: Postprocess = POST) -> Inputs:
    arrays = {"rows": ROWS, "map": maps, "image_score": np.zeros(2, np.float32)}
    return inputs.beside(arrays, Store(), "val", post)


def reached(maps: np.ndarray, post: Postprocess = POST) -> float:
    return decide((0.5,), lambda level: scored(maps, post), RULE, post)["dice_slice_tumour"]


def test_only_slices_with_tumour_on_the_grid_count():
    assert tumour_rows(Store(), np.arange(4, 10)).tolist() == [5, 7]
    assert tumour_rows(Store(), np.array([4, 7, 9])).tolist() == [7]  # infer.slice_step leaves 5 out


def test_dice_at_the_best_threshold_by_hand():
    """The mask itself reaches 1. A map that finds only row 5 at any threshold reaches (1 + 0) / 2."""
    assert reached(TRUE) == 1
    assert reached(TRUE * np.array([1, 0], np.float32)[:, None, None]) == pytest.approx(0.5)
    # 2 mm of 2 mm pixels leave the middle 2 x 2 of the brain: one pixel of row 5's four, four of row 7's nine
    assert reached(TRUE, Postprocess(2.0, 0, 0)) == pytest.approx((2 * 1 / (1 + 4) + 2 * 4 / (4 + 9)) / 2, abs=1e-6)


def test_the_best_level_wins_the_first_of_equals_and_the_edge_is_told():
    asked = []

    def maps(level: float) -> Inputs:
        asked.append(level)
        good = {0.2: 0.0, 0.4: 1.0, 0.6: 1.0, 0.8: 0.0}[level]
        return scored(TRUE * np.array([1, good], np.float32)[:, None, None])

    decision = decide((0.2, 0.4, 0.6, 0.8), maps, RULE, POST)
    assert asked == [0.2, 0.4, 0.6, 0.8]
    assert (decision["noise_level"], decision["dice_slice_tumour"], decision["at_edge"]) == (0.4, 1.0, False)
    assert [entry["dice_slice_tumour"] for entry in decision["grid"]] == [0.5, 1.0, 1.0, 0.5]
    assert (decision["n_tumour_slices"], decision["n_patients"]) == (2, 2)  # p1, p2
    assert decide((0.6, 0.8), maps, RULE, POST)["at_edge"]
    assert not decide((0.8,), maps, RULE, POST)["at_edge"]  # nothing was chosen


def test_no_level_or_no_tumour_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"rebuild\.noise_levels is empty"):
        decide((), lambda level: None, RULE, POST)
    store = Store()
    store.folder = tmp_path
    with pytest.raises(UserError, match=r"masks_val\.npy: none of the validation slices has a tumour"):
        tumour_rows(store, np.array([4, 8, 9]))
