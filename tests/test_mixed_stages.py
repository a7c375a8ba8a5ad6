"""calibrate_labels, tune_labels and evaluate_mixed on toy predictions: outputs, who sees what, bytes, broken inputs."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

import mixed_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError

STORE = Path("data/slices/common")
DECISIONS = [f"models/decisions/{row}.json" for row in (*toys.FORWARD, "anofpdm_tuned")]
OUTPUTS = [
    f"{folder}/{row}.{end}" for row in toys.ROWS for folder, end in (("scores/mixed", "csv"), ("metrics/mixed", "json"))
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return toys.project(tmp_path_factory.mktemp("project") / "toy")


@pytest.fixture(scope="module")
def template_finished(template, tmp_path_factory):
    folder = shutil.copytree(template, tmp_path_factory.mktemp("finished") / "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        toys.decide()
        toys.evaluate()
    return folder


@pytest.fixture
def project(template, copy_of):
    return copy_of(template)


@pytest.fixture
def finished(template_finished, copy_of):
    """The project after all three stages."""
    return copy_of(template_finished)


def numbers(row):
    return files.read_json(f"metrics/mixed/{row}.json")


def scores(row):
    return pd.read_csv(f"scores/mixed/{row}.csv")


def test_calibration_by_labels_opens_no_mask_no_image_and_nothing_of_the_test_set(project):
    for path in [*STORE.glob("masks_*"), *STORE.glob("*_test.*"), STORE / "images.npy", STORE / "brain.npy"]:
        path.unlink(missing_ok=True)
    for path in project.rglob("test.npz"):
        path.unlink()
    toys.stage("calibrate_labels", "anofpdm_ddim")
    found = files.read_json(DECISIONS[1])
    assert (found["kind"], found["w"], found["n_slices"], found["n_unhealthy_slices"]) == ("forward", [2.0, 1.2], 12, 6)
    assert (found["quantile_high"], found["quantile_low"]) == (0.98, 0.90)
    assert len(found["tau"]) == len(found["m_max"]) == len(found["balanced_accuracy"]) == len(found["tau_unrestricted"]) == 2
    assert found["accuracy"][0] > 0.9


def test_tau_and_m_max_are_those_of_the_arrays(finished):
    found, val = files.read_json(DECISIONS[1]), files.read_npz("predictions/anofpdm/val/anofpdm_ddim.npz")
    ill = pd.read_csv(STORE / "labels_val.csv")["tumour"].to_numpy() == 1
    assert found["m_max"][1] == val["divergence"][ill, 1].max(0).tolist()
    alarms = (val["cosine"][~ill, 0].astype(float) <= found["tau"][0]).mean()
    assert alarms <= 1 / 6  # at most 8 % of six healthy slices, interpolated: the lowest one


def test_tuning_reads_no_test_file(project):
    toys.stage("calibrate_labels", "anofpdm_ddim")
    for path in [*STORE.glob("*_test.*"), *project.rglob("test.npz")]:
        path.unlink()
    toys.stage("tune_labels")
    found = files.read_json(DECISIONS[2])
    assert found["kind"] == "tuned"
    assert found["end"] in toys.FIXED
    assert found["tau"] == files.read_json(DECISIONS[1])["tau"][0]
    assert len(found["grid"]) == 2


def test_every_row_says_what_its_mixed_numbers_are_made_of(finished):
    for row in toys.ROWS:
        n = numbers(row)
        share = n["n_healthy_slices"] / n["n_slices"]
        assert n["floor_all_empty_mixed"] == pytest.approx(share) == 0.5
        for name in ("dice", "iou"):  # one set of masks: the decomposition that the paper's own rows fail
            made = share * n["specificity_healthy_slices"] + (1 - share) * n[f"{name}_unhealthy_same_mask"]
            assert n[f"{name}_mixed"] == pytest.approx(made, abs=1e-5)
            assert n[f"{name}_unhealthy_bypassed"] >= n[f"{name}_unhealthy_same_mask"]
        assert n["specificity_healthy_slices"] >= n["specificity_healthy_slices_bypassed"]
        assert n["dice_mixed_lo"] <= n["dice_mixed"] <= n["dice_mixed_hi"]
        assert (n["n_slices"], n["n_slices_in_split"], n["n_patients"], n["slices_per_batch"]) == (12, 12, 3, 5)
    assert numbers("ddim")["dice_unhealthy_bypassed"] == numbers("ddim")["dice_unhealthy_same_mask"]


def test_the_numbers_follow_from_the_table_of_slices(finished):
    table, n = scores("anofpdm_ddim"), numbers("anofpdm_ddim")
    assert table["row"].tolist() == list(range(24, 36))
    assert sorted(np.bincount(table["batch"])) == [4, 4, 4]
    ill = table["tumour_px"] > 0
    assert n["dice_mixed"] == pytest.approx(table["dice_same_mask"].mean(), rel=1e-5)
    assert n["iou_unhealthy_bypassed"] == pytest.approx(table["iou_bypassed"][ill].mean(), rel=1e-5)
    assert n["specificity_healthy_slices"] == pytest.approx((table["predicted_px_same_mask"][~ill] == 0).mean(), rel=1e-5)
    assert n["accuracy_image"] == pytest.approx((table["called_unhealthy"] == table["tumour"]).mean(), rel=1e-5)
    emptied = table["called_unhealthy"] == 0
    assert (table["predicted_px_same_mask"][emptied] == 0).all()
    assert (table["predicted_px_bypassed"][emptied] > 0).any()


def test_average_precision_by_batches_and_pooled_is_scikit_learns(finished):
    table, n = scores("ddib"), numbers("ddib")
    maps = files.read_npz("predictions/anofpdm/test/ddib.npz")["whole"][:, 0]
    truth = np.load(STORE / "masks_test.npy").astype(bool)
    inside = np.load(STORE / "images.npy")[24:].astype(np.float32).mean(1) > -0.95
    pixels = [inside & (table["batch"].to_numpy() == b)[:, None, None] for b in range(3)]
    found = [average_precision_score(truth[at], maps[at]) for at in pixels if truth[at].any()]
    assert n["n_batches_mixed"] == len(found) == 2  # the third has no tumour: an average precision does not exist
    expected = np.mean(found)
    assert n["auprc_foreground_batch5_mixed"] == pytest.approx(expected, rel=1e-5)
    assert n["auprc_foreground_pooled_mixed"] == pytest.approx(
        average_precision_score(truth[inside], maps[inside]), rel=1e-5
    )
    ill = inside & truth.any((1, 2))[:, None, None]
    assert n["auprc_foreground_pooled_unhealthy"] == pytest.approx(average_precision_score(truth[ill], maps[ill]), rel=1e-5)
    assert n["prevalence_foreground_mixed"] == pytest.approx(truth[inside].mean(), rel=1e-5)


def test_nothing_found_scores_the_floor(finished):
    files.write_json("models/decisions/ddim.json", {"kind": "fixed", "theta": 1e9})
    toys.evaluate("ddim")
    n = numbers("ddim")
    assert n["dice_mixed"] == n["iou_mixed"] == pytest.approx(n["floor_all_empty_mixed"], abs=1e-5)
    assert n["specificity_healthy_slices"] == 1
    assert n["balanced_accuracy_image"] == 0.5


@pytest.mark.slow
def test_two_runs_give_the_same_bytes(finished):
    first = {path: files.md5(path) for path in [*DECISIONS, *OUTPUTS]}
    toys.decide()
    toys.evaluate()
    assert first == {path: files.md5(path) for path in first}


def test_another_seed_makes_other_batches_and_leaves_the_masks(finished):
    before, dice = scores("ddim")["batch"].tolist(), numbers("ddim")["dice_mixed"]
    Path("params.yaml").write_text(toys.PARAMS.replace("seed: 7", "seed: 8"))
    toys.evaluate("ddim")
    assert scores("ddim")["batch"].tolist() != before
    assert numbers("ddim")["dice_mixed"] == dice


@pytest.mark.slow
def test_the_decisions_depend_on_validation_data_only(project):
    toys.decide()
    before = [files.md5(path) for path in DECISIONS]
    np.save(STORE / "masks_test.npy", np.ones((12, 32, 32), np.uint8))
    for row in toys.FORWARD:
        toys.write(project, row, "test", cosine=np.ones((12, 2), np.float32))
    toys.decide()
    assert before == [files.md5(path) for path in DECISIONS]


def test_a_subset_of_the_slices_may_be_predicted(finished):
    old = files.read_npz("predictions/anofpdm/test/anofpdm_ddim.npz")
    whole = ("w", "steps", "fixed_end")
    toys.write(finished, "anofpdm_ddim", "test", **{k: v if k in whole else v[1::2] for k, v in old.items()})
    toys.evaluate("anofpdm_ddim")
    n = numbers("anofpdm_ddim")
    assert (n["n_slices"], n["n_slices_in_split"], n["n_healthy_slices"]) == (6, 12, 0)
    assert n["specificity_healthy_slices"] is n["auroc_image"] is None


def test_test_slices_without_tumour_have_no_average_precision(finished):
    np.save(STORE / "masks_test.npy", np.zeros((12, 32, 32), np.uint8))
    toys.evaluate("ddim")
    n = numbers("ddim")
    assert (
        n["auprc_foreground_batch5_mixed"] is n["auprc_foreground_pooled_unhealthy"] is n["dice_unhealthy_bypassed"] is None
    )
    assert n["floor_all_empty_mixed"] == 1


STAGES = {
    "calibrate_labels": (("calibrate_labels", "anofpdm_ddim"), "val"),
    "tune_labels": (("tune_labels",), "val"),
    "evaluate_mixed": (("evaluate_mixed", "anofpdm_ddim"), "test"),
}
BROKEN = {
    "no similarity": ({"drop": ("cosine",)}, "found no cosine"),
    "NaN": ({"cosine": np.full((12, 2), np.nan, np.float32)}, "NaN or infinity in cosine"),
    "other rows": ({"rows": np.arange(100, 112)}, "not in this split"),
    "descending rows": ({"rows": np.arange(35, 23, -1)}, "not in ascending order"),
    "too few": ({"cosine": np.zeros((11, 2), np.float32)}, r"cosine has shape \(11, 2\), expected \(12, "),
    "rows in a table": ({"rows": np.zeros((12, 2), int)}, r"rows has shape \(12, 2\)"),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("name", STAGES)
def test_broken_predictions_are_one_sentence_and_leave_the_outputs(finished, case, name):
    (command, split), (change, words) = STAGES[name], BROKEN[case]
    before = [files.md5(path) for path in [*DECISIONS, *OUTPUTS]]
    toys.write(finished, "anofpdm_ddim", split, **change)
    with pytest.raises(UserError, match=words) as error:
        toys.stage(*command)
    assert "\n" not in str(error.value)
    assert f"anofpdm/{split}/anofpdm_ddim.npz" in str(error.value)
    assert before == [files.md5(path) for path in [*DECISIONS, *OUTPUTS]]


@pytest.mark.parametrize("name", STAGES)
def test_missing_and_damaged_predictions_are_named(finished, name):
    command, split = STAGES[name]
    path = Path(f"predictions/anofpdm/{split}/anofpdm_ddim.npz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{split}/anofpdm_ddim.npz: not a readable npz file"):
        toys.stage(*command)
    path.unlink()
    with pytest.raises(UserError, match=f"{split}/anofpdm_ddim.npz: no such file"):
        toys.stage(*command)


@pytest.mark.parametrize(("command", "path"), [
    (("calibrate_labels", "anofpdm_ddim"), STORE / "labels_val.csv"),
    (("tune_labels",), STORE / "masks_val.npy"),
    (("tune_labels",), DECISIONS[1]),
    (("evaluate_mixed", "anofpdm_tuned"), DECISIONS[2]),
    (("evaluate_mixed", "ddim"), STORE / "masks_test.npy"),
    (("evaluate_mixed", "ddim"), STORE / "images.npy"),
    (("evaluate_mixed", "ddim"), STORE / "labels_test.csv"),
])  # fmt: skip
def test_a_missing_file_is_named(finished, command, path):
    Path(path).unlink()
    with pytest.raises(UserError, match=f"{Path(path).name}: no such file"):
        toys.stage(*command)


def test_maps_of_another_size_than_the_masks_are_refused(finished):
    toys.write(finished, "ddim", "test", whole=np.zeros((12, 1, 16, 16), np.float32))
    with pytest.raises(UserError, match=r"whole has images of \(16, 16\), expected \(32, 32\)"):
        toys.evaluate("ddim")


def test_one_kind_of_validation_slices_cannot_calibrate(project):
    labels = pd.read_csv(STORE / "labels_val.csv")
    files.write_csv(STORE / "labels_val.csv", labels.assign(tumour=0))
    with pytest.raises(UserError, match="0 of 12 validation slices are unhealthy"):
        toys.stage("calibrate_labels", "anofpdm_ddim")
