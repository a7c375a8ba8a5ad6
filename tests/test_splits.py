"""Splits by patient: disjoint, reproducible, none empty; lists that do not fit are named."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gliomap.base.errors import UserError
from gliomap.data.splits import Splits, apportion, assign, require_disjoint

ROOT = Path(__file__).resolve().parents[1]
RATIO = Splits("ratio", (0.7, 0.1, 0.2), 5, 0, 0.1, "mmccd")


def folds(fold, count=5):
    return replace(RATIO, mode="folds", folds=count, fold=fold)


def heldout(fold, share=0.1, count=5):
    return replace(RATIO, mode="heldout", folds=count, fold=fold, holdout=share)


def repeat(fold):
    return replace(RATIO, mode="repeat", fold=fold)


EVERY = {"ratio": RATIO, "fold 0": folds(0), "fold 3": folds(3), "heldout": heldout(2), "repeat": repeat(3)}


def table(patients, visits=1, healthy=0):
    """`visits` cases of each of `patients` patients; the last `healthy` patients have no tumour."""
    rows = [(f"p{i:03d}-{v}", f"p{i:03d}", int(i < patients - healthy)) for i in range(patients) for v in range(visits)]
    return pd.DataFrame(rows, columns=["case", "patient", "tumour"])


def sizes(result):
    return Counter(result.values())


@pytest.mark.parametrize("splits", EVERY.values(), ids=EVERY)
def test_every_case_is_in_one_set_and_every_patient_too(splits):
    manifest = table(30, visits=3)
    result = assign(manifest, splits, seed=1)
    assert set(result) == set(manifest["case"])
    of_patient = {}
    for case, name in result.items():
        of_patient.setdefault(case[:4], set()).add(name)
    assert all(len(names) == 1 for names in of_patient.values())


@pytest.mark.parametrize(
    ("patients", "expected"), [(10, (7, 1, 2)), (40, (28, 4, 8)), (1251, (876, 125, 250)), (3, (1, 1, 1))]
)
def test_ratios_give_these_sizes(patients, expected):
    got = sizes(assign(table(patients), RATIO, seed=0))
    assert (got["train"], got["val"], got["test"]) == expected


@pytest.mark.parametrize("splits", EVERY.values(), ids=EVERY)
def test_the_order_of_the_cases_does_not_matter_and_the_seed_does(splits):
    manifest = table(50)
    result = assign(manifest, splits, seed=7)
    assert assign(manifest.sample(frac=1, random_state=3), splits, seed=7) == result
    assert assign(manifest, splits, seed=8) != result


def test_one_more_patient_moves_hardly_anyone():
    before = assign(table(60), RATIO, seed=0)
    after = assign(table(61), RATIO, seed=0)
    assert sum(before[case] != after[case] for case in before) <= 2


def test_every_patient_is_tested_in_exactly_one_fold_and_validates_in_the_one_before():
    manifest = table(23)
    runs = [assign(manifest, folds(k), seed=2) for k in range(5)]
    for case in manifest["case"]:
        names = [run[case] for run in runs]
        assert names.count("test") == 1
        assert names[names.index("test") - 1] == "val"
    counts = [sizes(run)["test"] for run in runs]
    assert sum(counts) == 23
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("splits", [RATIO, folds(0), repeat(2)], ids=["ratio", "folds", "repeat"])
def test_healthy_patients_are_spread_like_the_others(splits):
    result = assign(table(40, healthy=20), splits, seed=0)
    healthy = Counter(name for case, name in result.items() if int(case[1:4]) >= 20)
    diseased = Counter(name for case, name in result.items() if int(case[1:4]) < 20)
    assert healthy == diseased
    assert set(healthy) == {"train", "val", "test"}


def test_held_out_patients_test_every_fold_and_the_others_take_turns_to_validate():
    """DDMD spec 1.3 in numbers: of 369 patients 37 are held out, the other 332 are cut into five parts."""
    manifest = table(369)
    runs = [assign(manifest, heldout(k), seed=2) for k in range(5)]
    tested = [{case for case, name in run.items() if name == "test"} for run in runs]
    assert len(tested[0]) == 37
    assert all(test == tested[0] for test in tested)
    validated = Counter(case for run in runs for case, name in run.items() if name == "val")
    assert set(validated) == set(manifest["case"]) - tested[0]
    assert set(validated.values()) == {1}
    assert sorted(sizes(run)["val"] for run in runs) == [66, 66, 66, 67, 67]
    assert {tuple(sizes(assign(table(36), heldout(k), 0))[n] for n in ("train", "val", "test")) for k in range(5)} <= {
        (25, 7, 4), (26, 6, 4)
    }  # fmt: skip


def test_held_out_patients_without_tumour_are_a_tenth_too():
    result = assign(table(60, healthy=20), heldout(0), seed=1)
    healthy = Counter(name for case, name in result.items() if int(case[1:4]) >= 40)
    assert (healthy["test"], sizes(result)["test"]) == (2, 6)
    assert healthy["val"] in (3, 4)


def test_repeated_splits_have_the_same_sizes_other_patients_and_begin_with_the_plain_one():
    manifest = table(100)
    runs = [assign(manifest, repeat(k), seed=3) for k in range(5)]
    assert runs[0] == assign(manifest, RATIO, seed=3)
    assert all(sizes(run) == {"train": 70, "val": 10, "test": 20} for run in runs)
    tests = [{case for case, name in run.items() if name == "test"} for run in runs]
    assert len(set.union(*tests)) > 50  # 67 expected of independent draws, 100 of cross-validation, 20 of a held-out set
    assert 0 < len(tests[1] & tests[2]) < 10


@pytest.mark.parametrize(
    ("total", "ratios", "at_least", "parts"),
    [
        (10, (0.7, 0.1, 0.2), 1, [7, 1, 2]),
        (5, (0.7, 0.1, 0.2), 1, [3, 1, 1]),
        (4, (0.7, 0.1, 0.2), 0, [3, 0, 1]),
        (4, (0.7, 0.1, 0.2), 1, [2, 1, 1]),
        (2, (0.7, 0.1, 0.2), 1, [1, 0, 1]),
        (0, (0.7, 0.1, 0.2), 1, [0, 0, 0]),
        (369, (0.9, 0.0, 0.1), 1, [332, 0, 37]),
    ],
)
def test_parts_are_whole_and_sum_up(total, ratios, at_least, parts):
    assert apportion(total, ratios, at_least) == parts


def test_parts_never_differ_from_the_exact_share_by_one_or_more():
    rng = np.random.default_rng(0)
    for _ in range(300):
        total, ratios = int(rng.integers(0, 2000)), tuple(rng.dirichlet([1, 1, 1]))
        parts = apportion(total, ratios, 0)
        assert sum(parts) == total
        assert all(abs(part - total * ratio) < 1 for part, ratio in zip(parts, ratios, strict=True))


@pytest.fixture
def lists(tmp_path):
    """A folder of id lists: `write(val=[...], test=[...])` gives the Splits that use it."""

    def write(**ids):
        for name, cases in ids.items():
            (tmp_path / "own").mkdir(exist_ok=True)
            (tmp_path / "own" / f"{name}.csv").write_text("case\n" + "".join(f"{case}\n" for case in cases))
        return replace(RATIO, mode="files", files="own")

    write.folder = tmp_path
    return write


def test_lists_name_validation_and_test_and_the_rest_trains(lists):
    splits = lists(val=["p001-0"], test=["p003-0", "p004-0"])
    result = assign(table(6), splits, 0, lists.folder)
    assert result == {
        "p000-0": "train", "p001-0": "val", "p002-0": "train", "p003-0": "test", "p004-0": "test", "p005-0": "train",
    }  # fmt: skip


def test_the_other_visits_of_a_listed_case_go_with_it(lists):
    result = assign(table(4, visits=2), lists(val=["p001-0"], test=["p002-1"]), 0, lists.folder)
    assert {case for case, name in result.items() if name == "val"} == {"p001-0", "p001-1"}
    assert {case for case, name in result.items() if name == "test"} == {"p002-0", "p002-1"}


def test_listed_ids_that_are_not_in_the_cohort_are_reported(lists, capsys):
    assign(table(6), lists(val=["p001-0", "gone"], test=["p003-0"]), 0, lists.folder)
    assert "val.csv: 1 of 2 ids are not in the cohort: gone" in capsys.readouterr().out


REFUSED = {  # (lists or splits, patients) -> words
    "both lists": (({"val": ["p001-0"], "test": ["p001-1"]}, 4), "patient p001 is in val (p001-0) and in test (p001-1)"),
    "same id twice": (({"val": ["p001-0", "p001-0"], "test": ["p002-0"]}, 4), "p001-0 is there twice"),
    "other data": (
        ({"val": ["BraTS2021_00005"], "test": ["p002-0"]}, 4),
        "none of its 1 ids such as BraTS2021_00005 is in the",
    ),
    "empty list": (({"val": [], "test": ["p002-0"]}, 4), "none of its 0 ids is in the cohort"),
    "no list": (({"test": ["p002-0"]}, 4), "val.csv: no such file"),
    "nobody left": (({"val": ["p000-0"], "test": ["p001-0"]}, 2), "train would be empty with 2 patients"),
    "sum": ((replace(RATIO, ratios=(0.7, 0.1, 0.1)), 9), "splits.ratios is [0.7, 0.1, 0.1], expected three shares"),
    "two shares": ((replace(RATIO, ratios=(0.9, 0.1)), 9), "expected three shares (train, val, test) with sum 1"),
    "no validation": ((replace(RATIO, ratios=(0.9, 0.0, 0.1)), 9), "val would be empty with 9 patients"),
    "too few": ((RATIO, 2), "val would be empty with 2 patients"),
    "fold": ((folds(5), 9), "splits.fold is 5, expected 0 to 4"),
    "few for folds": ((folds(0, 5), 1), "train and val would be empty with 1 patients"),
    "fold of heldout": ((heldout(5), 9), "splits.fold is 5, expected 0 to 4"),
    "fold of repeat": ((repeat(6), 9), "splits.fold is 6, expected 0 to 4"),
    "nobody held out": ((heldout(0, share=0.0), 9), "test would be empty with 9 patients"),
    "everybody held out": ((heldout(0, share=1.0), 9), "train and val would be empty with 9 patients"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_splits_that_cannot_be_are_refused_with_advice(lists, kind):
    (given, patients), words = REFUSED[kind]
    splits = lists(**given) if isinstance(given, dict) else given
    with pytest.raises(UserError, match=re.escape(words)) as error:
        assign(table(patients, visits=2), splits, 0, lists.folder)
    assert "; " in str(error.value)  # what to do


def test_a_list_without_header_is_refused(lists):
    splits = lists(val=[], test=["p002-0"])
    (lists.folder / "own" / "val.csv").write_text("p001-0\np003-0\n")
    with pytest.raises(UserError, match=r"val.csv: found the columns \['p001-0'\], expected `case`"):
        assign(table(4), splits, 0, lists.folder)


def test_leaks_are_named():
    patient_of = {"x-0": "x", "x-1": "x", "y-0": "y"}
    require_disjoint([("x-0", "train"), ("x-1", "train"), ("y-0", "test")], patient_of)
    with pytest.raises(UserError, match=r"patient x is in train \(x-0\) and in test \(x-1\)"):
        require_disjoint([("x-0", "train"), ("x-1", "test"), ("y-0", "test")], patient_of)


def test_the_lists_of_mmccd_are_those_of_its_released_split():
    """139 test and 138 validation ids of the 1251 of BraTS 2021; 974 are left to train (MMCCD specification, 1.2)."""
    val, test = (pd.read_csv(ROOT / "conf" / "splits" / "mmccd" / f"{name}.csv")["case"] for name in ("val", "test"))
    assert (len(set(val)), len(set(test)), len(set(val) & set(test))) == (138, 139, 0)
    assert all(re.fullmatch(r"BraTS2021_\d{5}", case) for case in [*val, *test])
    assert val.is_monotonic_increasing
    assert {"BraTS2021_00227", "BraTS2021_00496", "BraTS2021_01344"} <= set(test)  # without tumour in z 70 to 89
    rest = [f"other{i}" for i in range(974)]
    manifest = pd.DataFrame({"case": [*val, *test, *rest]}).assign(patient=lambda t: t["case"])
    splits = replace(RATIO, mode="files")
    assert sizes(assign(manifest, splits, 0, ROOT / "conf" / "splits")) == {"train": 974, "val": 138, "test": 139}
