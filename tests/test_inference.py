"""Which slices are scored, and what ends up in the predictions."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from gliomap.data.image_score import image_scores
from gliomap.diffusion.noise import Noise
from gliomap.engine.device import launch
from gliomap.engine.inference import Infer, Setting, chosen, cost, predict
from gliomap.engine.scorer import Scores


def index() -> pd.DataFrame:
    """Two test cases of 5 and 2 slices and a training case, rows not in the order of z."""
    return pd.DataFrame({
        "row": range(9), "case": ["b"] * 5 + ["a"] * 2 + ["c"] * 2, "z": [14, 13, 12, 11, 10, 70, 60, 1, 2],
        "split": ["test"] * 7 + ["train"] * 2,
    })  # fmt: skip


@pytest.mark.parametrize(("step", "rows"), [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [1, 3, 6]), (3, [0, 3, 6]), (9, [2, 6])])
def test_every_nth_slice_of_a_case_in_the_order_of_z(step, rows):
    assert chosen(index(), "test", step).tolist() == rows


def test_a_split_without_slices_gives_no_rows():
    assert chosen(index(), "val", 1).tolist() == []


def test_image_score_is_the_99th_percentile_inside_the_brain():
    maps = np.zeros((2, 10, 10), np.float32)
    maps[0] = np.arange(100).reshape(10, 10)
    brain = np.zeros((2, 10, 10), bool)
    brain[0, :5] = True
    assert image_scores(maps, brain).tolist() == pytest.approx([0.99 * 49, 0])


class Echo:
    """Scores with the slice itself as map."""

    modalities = ("flair",)

    def score(self, batch, noise):
        assert torch.is_inference_mode_enabled()
        x = batch.images[:, 0]
        return Scores(x, torch.full((len(x),), 3), mask=x > 0.5, reconstruction=-x)


def test_predictions_hold_every_row_once_and_do_not_depend_on_the_batch():
    images = np.random.default_rng(0).random((7, 1, 4, 4), np.float32)
    slices = SimpleNamespace(read=lambda rows, _: images[rows], brain_of=lambda rows: np.ones((len(rows), 4, 4), bool))
    rows, found = np.array([1, 2, 4, 6, 0]), []
    for size in (1, 2, 5):
        infer = Infer(slice_step=1, batch=size, precision="32-true")
        found.append(predict(Echo(), rows, Setting(slices, Noise(0), infer, launch("32-true", 1)), "test"))
    for arrays, evaluations, seconds in found:
        assert seconds > 0
        assert np.array_equal(arrays["rows"], rows)
        assert np.array_equal(arrays["map"], images[rows, 0])
        assert arrays["map"].dtype == np.float32
        assert arrays["reconstruction"].dtype == np.float16
        assert np.array_equal(arrays["mask"], (images[rows, 0] > 0.5).astype(np.uint8))
        assert np.array_equal(arrays["image_score"], found[0][0]["image_score"])
        assert evaluations.tolist() == [3] * 5


def test_cost_per_slice():
    summary = cost(2.0, np.array([10, 20, 30, 40]))
    assert summary == {"seconds_per_slice": 0.5, "evaluations_per_slice": 25.0, "slices": 4}
