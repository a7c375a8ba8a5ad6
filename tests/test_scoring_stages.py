"""calibrate and evaluate on a toy cohort: outputs, determinism, who sees what, broken inputs."""

import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scoring_toys as toys
from gliomap.base import files

STAGES = Path(__file__).resolve().parents[1] / "stages"
OUTPUTS = ("models/thresholds/toy/toy.json", "scores/toy/toy.csv", "metrics/toy/toy.json", "scores/toy/pr/toy.csv")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return toys.project(tmp_path_factory.mktemp("project") / "toy")


@pytest.fixture
def project(template, copy_of):
    return copy_of(template)


@pytest.fixture(scope="module")
def template_finished(template, tmp_path_factory):
    folder = shutil.copytree(template, tmp_path_factory.mktemp("finished") / "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        both(patch)
    return folder


@pytest.fixture
def finished(template_finished, copy_of):
    """The project after both stages."""
    return copy_of(template_finished)


def stage(name, monkeypatch, recipe="common"):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "toy", "toy", "--store", recipe])
    runpy.run_path(str(STAGES / f"{name}.py"), run_name="__main__")


def both(monkeypatch):
    stage("calibrate", monkeypatch)
    stage("evaluate", monkeypatch)


def fails(name, words, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        stage(name, monkeypatch)
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert words in message


def test_both_stages_write_what_they_promise(project, monkeypatch, capsys):
    both(monkeypatch)
    chosen, numbers = files.read_json(OUTPUTS[0]), files.read_json(OUTPUTS[2])
    table, curve = pd.read_csv(OUTPUTS[1]), pd.read_csv(OUTPUTS[3])
    assert chosen["threshold"] == pytest.approx(numbers["threshold_validation"], rel=1e-5)
    assert (chosen["n_slices"], chosen["n_tumour_slices"], chosen["n_patients"]) == (12, 6, 3)
    assert numbers["dice_slice_tumour_oracle"] >= numbers["dice_slice_tumour"] > 0.3
    assert (numbers["n_slices"], numbers["n_slices_in_split"], numbers["n_healthy_slices"]) == (12, 12, 6)
    assert table["row"].tolist() == list(range(24, 36))
    assert table["dice"][table["tumour"] == 1].mean() == pytest.approx(numbers["dice_slice_tumour"], rel=1e-5)
    assert list(curve.columns) == ["method", "recall", "precision"]
    assert "seconds" not in Path(OUTPUTS[2]).read_text()
    assert "over 6 tumour slices" in capsys.readouterr().out


def test_two_runs_give_the_same_bytes(finished, monkeypatch):
    first = [files.md5(path) for path in OUTPUTS]
    both(monkeypatch)
    assert first == [files.md5(path) for path in OUTPUTS]


def test_calibrate_needs_nothing_of_the_test_set_and_no_images(project, monkeypatch):
    for path in [*project.rglob("*_test.*"), *project.rglob("test/*.npz"), *project.rglob("images.npy")]:
        path.unlink()
    stage("calibrate", monkeypatch)
    assert files.read_json(OUTPUTS[0])["dice_slice_tumour"] > 0.3


def test_the_threshold_depends_on_validation_data_only(project, monkeypatch):
    stage("calibrate", monkeypatch)
    before = files.md5(OUTPUTS[0])
    toys.predict(project, "test", map=np.ones((12, toys.SIZE, toys.SIZE), np.float32))
    np.save("data/slices/common/masks_test.npy", np.ones((12, toys.SIZE, toys.SIZE), np.uint8))
    stage("calibrate", monkeypatch)
    assert files.md5(OUTPUTS[0]) == before


def test_a_higher_threshold_finds_less_and_leaves_the_areas(finished, monkeypatch):
    before = files.read_json(OUTPUTS[2])
    chosen = files.read_json(OUTPUTS[0])
    files.write_json(OUTPUTS[0], chosen | {"threshold": chosen["threshold"] * 1.1})
    stage("evaluate", monkeypatch)
    after = files.read_json(OUTPUTS[2])
    assert before["recall_slice_tumour"] > after["recall_slice_tumour"]
    assert before["auprc_pooled_brain"] == after["auprc_pooled_brain"]


def test_a_methods_own_mask_is_scored_beside_the_threshold(project, monkeypatch):
    truth = np.load("data/slices/common/masks_test.npy")
    toys.predict(project, "test", mask=truth)
    both(monkeypatch)
    numbers = files.read_json(OUTPUTS[2])
    assert numbers["dice_slice_tumour_own"] == numbers["dice_pooled_own"] == 1
    assert numbers["hd95_pooled_mm_own"] == 0
    assert numbers["dice_slice_tumour"] < 1
    assert "dice_own" in pd.read_csv(OUTPUTS[1])


def test_part_of_the_slices_may_be_scored_and_the_numbers_say_so(project, monkeypatch):
    for split in ("val", "test"):
        old = files.read_npz(f"predictions/toy/{split}/toy.npz")
        toys.predict(project, split, **{k: v[1::2] for k, v in old.items()})
    both(monkeypatch)
    numbers = files.read_json(OUTPUTS[2])
    assert (numbers["n_slices"], numbers["n_slices_in_split"], numbers["n_healthy_slices"]) == (6, 12, 0)
    assert numbers["auroc_image"] is None
    assert pd.read_csv(OUTPUTS[1])["row"].tolist() == [25, 27, 29, 31, 33, 35]


BROKEN = {
    "no array": ({"drop": ("map",)}, "found no map"),
    "other rows": ({"rows": np.arange(100, 112)}, "not in this split"),
    "descending rows": ({"rows": np.arange(23, 11, -1)}, "not in ascending order"),
    "other size": ({"map": np.zeros((12, 16, 16), np.float32)}, "map has shape (12, 16, 16), expected (12, 32, 32)"),
    "too few maps": ({"map": np.zeros((11, 32, 32), np.float32)}, "map has shape (11, 32, 32)"),
    "own mask": ({"mask": np.zeros((12, 16, 16), np.uint8)}, "mask has shape"),
    "image score": ({"image_score": np.full(12, np.nan, np.float32)}, "NaN or infinity in image_score of 12 slices"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize(("name", "split"), [("calibrate", "val"), ("evaluate", "test")])
def test_broken_predictions_are_one_sentence_and_leave_the_outputs(finished, monkeypatch, capsys, case, name, split):
    before = [files.md5(path) for path in OUTPUTS]
    change, words = BROKEN[case]
    toys.predict(finished, split, **change)
    fails(name, words, monkeypatch, capsys)
    assert before == [files.md5(path) for path in OUTPUTS]


def test_a_nan_in_a_map_names_slice_and_file(project, monkeypatch, capsys):
    maps = files.read_npz("predictions/toy/val/toy.npz")["map"]
    maps[5, 3, 3] = np.nan
    toys.predict(project, "val", map=maps)
    fails(
        "calibrate",
        "predictions/toy/val/toy.npz: found NaN or infinity in map of 1 slices, the first is row 17",
        monkeypatch,
        capsys,
    )
    assert not Path(OUTPUTS[0]).exists()


def test_a_patient_left_out_is_refused(project, monkeypatch, capsys):
    old = files.read_npz("predictions/toy/val/toy.npz")
    toys.predict(project, "val", **{k: v[4:] for k, v in old.items()})
    fails("calibrate", "found no slice of 1 cases (case3", monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "path"),
    [("calibrate", "predictions/toy/val/toy.npz"), ("evaluate", "predictions/toy/test/toy.npz"), ("evaluate", OUTPUTS[0])],
)
def test_a_missing_file_is_named(project, monkeypatch, capsys, name, path):
    stage("calibrate", monkeypatch)
    capsys.readouterr()
    Path(path).unlink()
    fails(name, f"{path}: no such file", monkeypatch, capsys)
    assert not Path(OUTPUTS[2]).exists()


def test_other_postprocessing_than_at_calibration_is_refused(project, monkeypatch, capsys):
    stage("calibrate", monkeypatch)
    capsys.readouterr()
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(text.replace("erode_mm: 6.0", "erode_mm: 3.0"))
    fails("evaluate", "models/thresholds/toy/toy.json: found postprocess", monkeypatch, capsys)


def test_a_split_without_tumour_is_refused(project, monkeypatch, capsys):
    np.save("data/slices/common/masks_val.npy", np.zeros((12, toys.SIZE, toys.SIZE), np.uint8))
    fails("calibrate", "none of the 12 val slices has a tumour", monkeypatch, capsys)
