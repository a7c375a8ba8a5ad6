"""stages/evaluate_confusion.py on toy predictions: outputs, bytes, broken inputs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import confusion_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError

KINDS = (("scores", "csv"), ("metrics", "json"))
OUTPUTS = [f"{folder}/confusion/{row}.{end}" for row in toys.ROWS for folder, end in KINDS]
TEST = Path("predictions/ddmd/test/unet.npz")
STORE = Path("data/slices/common")


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.evaluate)


@pytest.fixture
def project(template, copy_of):
    return copy_of(template)


def numbers(row):
    return files.read_json(f"metrics/confusion/{row}.json")


def test_a_perfect_mask_scores_one_and_moved_ones_less_and_less(project):
    perfect = numbers("unet")
    names = ("dice_slice_tumour", "dice_slice_all", "dice_pooled", "dice_patient", "miou_pooled", "mpa_pooled")
    assert {perfect[name] for name in names} == {1}
    assert perfect["fp_slices_any"] == 0
    dice = [numbers(row)["dice_slice_tumour"] for row in toys.ROWS]
    assert dice == sorted(dice, reverse=True)
    assert dice[1] > dice[3] + 0.1
    assert numbers("cimd")["fp_slices_any"] == pytest.approx(1 / 6, abs=1e-5)
    assert (numbers("cimd")["fp_slices_large"], numbers("ddmd_light")["fp_slices_large"]) == (0, 0.166667)  # 27 and 54 mm2
    assert {(numbers(row)["n_slices"], numbers(row)["n_patients"]) for row in toys.ROWS} == {(12, 3)}


def test_the_numbers_follow_from_the_table_of_slices(project):
    table, n = pd.read_csv("scores/confusion/cimd.csv"), numbers("cimd")
    assert table["row"].tolist() == list(range(24, 36))
    ill = table["tumour"] == 1
    assert n["dice_slice_tumour"] == pytest.approx(table.loc[ill, "dice"].mean(), rel=1e-5)
    assert n["miou_slice_all"] == pytest.approx(table["miou"].mean(), rel=1e-5)
    tp, fp, fn = (table[name].sum() for name in ("tp", "fp", "fn"))
    assert n["dice_pooled"] == pytest.approx(2 * tp / (2 * tp + fp + fn), rel=1e-5)


def test_the_map_does_not_matter_and_two_runs_give_the_same_bytes(project):
    before = [files.md5(path) for path in OUTPUTS]
    toys.predict(project, "unet", map=np.zeros((12, 32, 32), np.float32))
    toys.evaluate()
    assert before == [files.md5(path) for path in OUTPUTS]


def test_a_subset_of_the_slices_may_be_predicted(project):
    old = files.read_npz(TEST)
    toys.predict(project, "unet", **{name: values[1::2] for name, values in old.items()})
    toys.evaluate("unet")
    n = numbers("unet")
    assert (n["n_slices"], n["n_slices_in_split"], n["n_healthy_slices"]) == (6, 12, 0)
    assert n["fp_slices_any"] is None


BROKEN = {
    "no mask": ({"drop": ("mask",)}, "found no mask, expected the method's own; leave unet out"),
    "other size": ({"mask": np.zeros((12, 16, 16), np.uint8)}, r"mask has shape \(12, 16, 16\), expected \(12, 32, 32\)"),
    "other rows": ({"rows": np.arange(100, 112)}, "not in this split"),
    "descending rows": ({"rows": np.arange(35, 23, -1)}, "not in ascending order"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_predictions_are_one_sentence_and_leave_the_outputs(project, case):
    change, words = BROKEN[case]
    before = [files.md5(path) for path in OUTPUTS]
    toys.predict(project, "unet", **change)
    with pytest.raises(UserError, match=words) as error:
        toys.evaluate()
    assert "\n" not in str(error.value)
    assert "ddmd/test/unet.npz" in str(error.value)
    assert before == [files.md5(path) for path in OUTPUTS]


@pytest.mark.parametrize("path", [TEST, STORE / "masks_test.npy", STORE / "labels_test.csv", STORE / "index.csv"])
def test_a_missing_file_is_named(project, path):
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name}: no such file"):
        toys.evaluate()
