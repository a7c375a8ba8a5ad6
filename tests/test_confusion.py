"""Numbers from confusion counts: by hand, against scikit-learn and MONAI, empty masks, what the paper implies."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, jaccard_score, recall_score

import scoring_toys as toys
from gliomap.scoring import confusion, counts
from gliomap.scoring.confusion import Confusion
from gliomap.scoring.counts import Counts
from gliomap.scoring.summary import Evaluate

EVALUATE = Evaluate(100, 0.9)
LARGE = Confusion(50.0)


def cells(*values):
    return Counts(*(np.array([v]) for v in values))


def made(prediction=None, **changes):
    """Inputs of the toy cohort with an own mask: the truth moved two pixels, unless told otherwise."""
    inputs = toys.inputs()
    own = np.roll(inputs.truth, 2, axis=2) if prediction is None else prediction
    return replace(inputs, own=own, **changes)


def numbers(inputs):
    return confusion.metrics(inputs, confusion.count(inputs), LARGE, EVALUATE, seed=0)


@pytest.mark.parametrize(("tp", "fp", "fn", "tn", "expected"), [
    (6, 2, 4, 88, {"dice": 2 / 3, "miou": 0.25 + 44 / 94, "pa_plain": 0.94, "mpa": 0.3 + 44 / 90, "recall": 0.6}),
    (0, 0, 0, 100, {"dice": 1, "miou": 1, "pa_plain": 1, "mpa": 1, "recall": np.nan}),        # both empty
    (0, 5, 0, 95, {"dice": 0, "miou": 0.475, "pa_plain": 0.95, "mpa": 0.95, "recall": np.nan}),  # truth empty
    (0, 0, 5, 95, {"dice": 0, "miou": 0.475, "pa_plain": 0.95, "mpa": 0.5, "recall": 0}),     # prediction empty
    (5, 0, 0, 95, {"dice": 1, "miou": 1, "pa_plain": 1, "mpa": 1, "recall": 1}),              # perfect
    (0, 95, 5, 0, {"dice": 0, "miou": 0, "pa_plain": 0, "mpa": 0, "recall": 0}),              # inverted
    (100, 0, 0, 0, {"dice": 1, "miou": 1, "pa_plain": 1, "mpa": 1, "recall": 1}),             # all tumour: no background
])  # fmt: skip
def test_a_slice_by_hand(tp, fp, fn, tn, expected):
    found = {name: float(function(cells(tp, fp, fn, tn))[0]) for name, function in confusion.OF_SLICE.items()}
    assert found == pytest.approx(expected, nan_ok=True)


def test_scikit_learn_agrees_on_random_masks():
    rng = np.random.default_rng(0)
    prediction, truth = rng.random((5, 12, 12)) < 0.3, rng.random((5, 12, 12)) < 0.2
    c = counts.count(prediction, truth)
    for i in range(5):
        p, t = prediction[i].ravel(), truth[i].ravel()
        expected = {
            "dice": f1_score(t, p), "miou": jaccard_score(t, p, average="macro"), "pa_plain": accuracy_score(t, p),
            "mpa": balanced_accuracy_score(t, p), "recall": recall_score(t, p),
        }  # fmt: skip
        found = {name: float(function(c)[i]) for name, function in confusion.OF_SLICE.items()}
        assert found == pytest.approx(expected)


@pytest.mark.slow
def test_monai_agrees_on_dice_and_mean_iou():
    torch, metrics = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(1)
    prediction, truth = rng.random((4, 10, 10)) < 0.4, rng.random((4, 10, 10)) < 0.4
    both = [torch.tensor(np.stack([~m, m], 1).astype(np.float32)) for m in (prediction, truth)]
    c = counts.count(prediction, truth)
    assert confusion.dice(c) == pytest.approx(metrics.compute_dice(*both, include_background=False)[:, 0].numpy())
    assert confusion.miou(c) == pytest.approx(metrics.compute_iou(*both, include_background=True).mean(1).numpy())


def test_miou_is_at_least_the_tumours_iou_and_mean_accuracy_at_least_miou():
    """DDMD spec 6 and 11.9: what tells the paper's Miou and PA apart from plainer readings."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        share = rng.random(2) * 0.6
        p, t = (rng.random((3, 8, 8)) < s for s in share)
        total = Counts(*(np.array(v.sum()) for v in vars(counts.count(p, t)).values()))
        iou = counts.iou(total)
        if max(t.mean(), p.mean()) <= 0.5:  # the background is the larger class
            assert confusion.miou(total) >= iou
        if t.any() and not t.all():
            assert confusion.mpa(total) >= confusion.miou(total) - 1e-12
        dice = confusion.dice(total)
        assert confusion.miou(total) <= (dice / (2 - dice) + 1) / 2 + 1e-12


def test_pooled_numbers_and_those_of_slices_and_patients_by_hand():
    inputs = made()
    c, n = confusion.count(inputs), numbers(inputs)
    p, t = inputs.own.ravel(), inputs.truth.ravel()
    assert n["dice_pooled"] == pytest.approx(f1_score(t, p))
    assert n["miou_pooled"] == pytest.approx(jaccard_score(t, p, average="macro"))
    assert n["mpa_pooled"] == pytest.approx(balanced_accuracy_score(t, p))
    assert n["pa_plain_pooled"] == pytest.approx((p == t).mean())
    assert n["recall_pooled"] == pytest.approx(recall_score(t, p))
    ill = inputs.truth.any((1, 2))
    for name in ("dice", "miou", "mpa"):
        each = confusion.OF_SLICE[name](c)
        assert n[f"{name}_slice_tumour"] == pytest.approx(each[ill].mean())
        assert n[f"{name}_slice_all"] == pytest.approx(each.mean())
    patient = inputs.index["patient"].to_numpy()
    parts = [patient == who for who in np.unique(patient)]
    dices = [f1_score(inputs.truth[part].ravel(), inputs.own[part].ravel()) for part in parts]
    assert n["dice_patient"] == pytest.approx(np.mean(dices))
    assert n["dice_slice_all"] > n["dice_slice_tumour"]  # half of the slices are empty in both
    for name in ("dice_slice_tumour", "miou_pooled", "mpa_pooled", "dice_patient"):
        assert n[f"{name}_lo"] < n[name] < n[f"{name}_hi"]


def test_the_floor_is_what_empty_masks_score():
    inputs = made()
    n = numbers(inputs)
    empty = numbers(made(np.zeros_like(inputs.truth)))
    for name in ("dice_slice_all", "miou_pooled", "mpa_pooled", "pa_plain_pooled", "fp_slices_any", "dice_patient"):
        assert n[f"floor_{name}"] == empty[name]
    share = (~inputs.truth.any((1, 2))).mean()
    assert (n["floor_dice_slice_tumour"], n["floor_dice_slice_all"], n["floor_mpa_pooled"]) == (0, share, 0.5)
    assert n["floor_pa_plain_pooled"] == pytest.approx(1 - inputs.truth.mean())
    assert not [name for name in n if name.startswith("floor_") and name.endswith(("_lo", "_hi"))]


def test_false_alarms_are_shares_of_healthy_slices():
    inputs = made(np.zeros_like(toys.inputs().truth))
    healthy = np.flatnonzero(~inputs.tumour)
    inputs.own[healthy[0], 0, :5] = True  # 5 px of 9 mm2: 45 mm2
    inputs.own[healthy[1], 0, :6] = True  # 54 mm2
    n = numbers(inputs)
    assert n["fp_slices_any"] == pytest.approx(2 / len(healthy))
    assert n["fp_slices_large"] == pytest.approx(1 / len(healthy))


def test_a_labelled_tumour_without_a_pixel_on_the_grid_is_counted_and_left_out():
    inputs = made()
    lost = np.flatnonzero(inputs.tumour)[0]
    inputs.truth[lost] = False
    n = numbers(inputs)
    assert n["n_excluded_tumour_lost_on_grid"] == 1
    assert n["n_tumour_slices"] == inputs.tumour.sum() - 1
    assert n["n_healthy_slices"] == (~inputs.tumour).sum()


def test_a_patient_without_tumour_has_no_dice_and_all_slices_healthy_is_no_error():
    inputs = made()
    first = (inputs.index["patient"] == "p0").to_numpy()
    inputs.truth[first] = inputs.own[first] = False
    n = numbers(inputs)
    assert (n["n_patients"], n["n_patients_tumour"]) == (6, 5)
    assert n["dice_patient"] < 1
    inputs.truth[:] = False
    n = numbers(replace(inputs, tumour=np.zeros(len(inputs.tumour), bool)))
    assert np.isnan([n["dice_patient"], n["recall_pooled"], n["dice_slice_tumour"]]).all()
    assert n["n_healthy_slices"] == n["n_slices"]


def test_the_table_has_a_line_for_each_slice():
    inputs = made()
    inputs.index["brain_px"] = inputs.brain.sum((1, 2))
    table = confusion.table(inputs, confusion.count(inputs))
    assert len(table) == len(inputs.index)
    assert (table[["tp", "fp", "fn", "tn"]].sum(1) == toys.SIZE**2).all()
    assert (table["tumour_px"] == inputs.truth.sum((1, 2))).all()
    assert (table["predicted_px"] == inputs.own.sum((1, 2))).all()
    assert table.loc[table["tumour"] == 0, "recall"].isna().all()


def test_without_an_own_mask_there_is_nothing_to_count():
    with pytest.raises(ValueError, match="no mask of the method's own"):
        confusion.count(toys.inputs())
