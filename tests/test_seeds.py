"""Runs that differ in their seed: which belong to this one, what the tables show of them, and what the seed reaches."""

import pytest

from gliomap.base import files
from gliomap.scoring import repeats, seeds
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.repeats import Seeds, Source
from gliomap.scoring.tables import Setup

SETUP = Setup("phantom", "common", "smoke", 0.95)
WHICH = Seeds(0, (0, 1, 2))
NOW = {"dice": 0.5, "hd95": None, "n_patients": 4}


def numbers(dice, **changes):
    return NOW | {"dice": dice} | changes


def record(value, rows, kind="mmccd", system="mmccd", **setup):
    setup = {"data": "phantom", "scale": "smoke", "recipe": "common", "overrides": []} | setup
    path = repeats.folder(system, "seed") / f"{'-'.join(setup['overrides'])}{value}.json"
    files.write_json(path, {"value": str(value), "setup": setup, "numbers": {kind: rows}})


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def over(rows, which=WHICH, system="mmccd", kind="mmccd"):
    return repeats.over_seeds(Source(system, kind), rows, SETUP, which)


def test_mean_and_deviation_by_hand():
    for seed, dice in enumerate((0.5, 0.6, 0.7)):
        record(seed, {"mmccd": numbers(dice)})
    found = over({"mmccd": NOW})["mmccd"]
    assert (found["dice_seed_mean"], found["dice_seed_sd"], found["dice_seeds"]) == (0.6, 0.1, 3)  # with n - 1
    assert (found["n_patients_seed_mean"], found["n_patients_seed_sd"]) == (4, 0)
    assert "hd95_seeds" not in found  # in no run
    assert {name: found[name] for name in NOW} == NOW
    assert seeds.suffix(found, "dice", 3) == "; 0.600±0.100 (3 seeds)"
    assert seeds.suffix(found, "dice", 1, 100) == "; 60.0±10.0 (3 seeds)"
    assert seeds.suffix(found, "hd95", 1) == ""
    assert seeds.suffix({f"dice{end}": float("nan") for end in ("_seed_mean", "_seed_sd", "_seeds")}, "dice", 1) == ""
    assert seeds.columns(found, ["dice", "hd95"]) == {"dice_seed_mean": 0.6, "dice_seed_sd": 0.1, "dice_seeds": 3}


def test_only_listed_seeds_count():
    for seed, dice in enumerate((0.5, 0.6, 100.0)):
        record(seed, {"mmccd": numbers(dice)})
    assert over({"mmccd": NOW}, Seeds(0, (0, 1)))["mmccd"]["dice_seed_mean"] == 0.55
    assert over({"mmccd": NOW}, Seeds(0, (0,))) == {"mmccd": NOW}  # one run has no spread
    assert over({"mmccd": NOW}, Seeds(0, (1, 2)))["mmccd"]["dice_seed_mean"] == 50.3  # this run is a fourth one


@pytest.mark.parametrize("wrong", [
    {"now": numbers(0.51)},  # older code or other parameters
    {"now": numbers(0.5, hd95=3.0)},
    {"scale": "gpu"},
    {"recipe": "mmccd"},
    {"protocol": "paper"},
])  # fmt: skip
def test_runs_to_which_this_one_does_not_belong_are_left_out(wrong, capsys):
    setup = {name: value for name, value in wrong.items() if name != "now"}
    record(0, {"mmccd": wrong.get("now", NOW)}, **setup)
    record(1, {"mmccd": numbers(0.6)}, **setup)
    assert over({"mmccd": NOW}) == {"mmccd": NOW}
    said = "metrics/repeats/mmccd/seed: runs not shown, seed 0 is not" in capsys.readouterr().out
    assert said == ("now" in wrong)


def test_without_the_run_of_this_seed_nothing_is_shown():
    record(1, {"mmccd": numbers(0.6)})
    record(2, {"mmccd": numbers(0.7)})
    assert over({"mmccd": NOW}) == {"mmccd": NOW}


def test_each_row_finds_its_own_runs():
    """With another value for one method alone, the runs still hold for the other."""
    for seed in (0, 1):
        record(seed, {"mmccd": numbers(0.4 + seed), "cyclic_unet": numbers(0.5 + seed)})
        record(seed, {"mmccd": numbers(0.5 + seed / 10)}, overrides=["mmccd.mask_stride=4"])
    found = over({"mmccd": NOW, "cyclic_unet": NOW, "new": NOW})
    assert (found["mmccd"]["dice_seed_mean"], found["cyclic_unet"]["dice_seed_mean"]) == (0.55, 1.0)
    assert found["new"] == NOW


def test_overrides_that_say_what_the_setup_says_anyway_make_no_other_group():
    record(0, {"mmccd": NOW}, overrides=["scale=smoke"])
    record(1, {"mmccd": numbers(0.7)})
    assert over({"mmccd": NOW})["mmccd"]["dice_seeds"] == 2


def test_rows_of_several_systems_keep_their_order():
    entries = [Entry(key, system, key, "", (), ()) for key, system in (("a", "x"), ("b", "y"), ("c", "x"))]
    for seed in (0, 1):
        record(seed, {"b": numbers(0.5 + seed)}, kind="y", system="y")
    found = repeats.of_methods(entries, dict.fromkeys("abc", NOW), SETUP, WHICH)
    assert list(found) == ["a", "b", "c"]
    assert ["dice_seeds" in values for values in found.values()] == [False, True, False]
    runs = repeats.by_system(entries, dict.fromkeys("abc", NOW), SETUP, WHICH)
    assert (runs["y"].spread("b", "dice"), runs["x"].spread("a", "dice")) == ((1.0, pytest.approx(0.5**0.5), 2), None)


def test_numbers_in_folders_of_a_kind():
    for seed in (0, 1):
        record(seed, {"icts/tsgm": numbers(0.5 + seed)}, kind="otsu", system="tsgm")
    found = over({("icts", "tsgm"): NOW, ("test", "tsgm"): NOW}, system="tsgm", kind="otsu")
    assert (found["icts", "tsgm"]["dice_seed_mean"], found["test", "tsgm"]) == (1.0, NOW)


def test_a_table_says_what_its_seeds_mean_if_it_shows_any():
    record(0, {"mmccd": NOW})
    record(1, {"mmccd": numbers(-0.6)})
    table = f"| 0.5{seeds.suffix(over({'mmccd': NOW})['mmccd'], 'dice', 2)} |\n"
    assert table == "| 0.5; -0.05±0.78 (2 seeds) |\n"
    text = seeds.explained(table, (0, 1))
    assert text.startswith(f"{table}\n*; a±s (n seeds)*: mean and sample standard deviation, both")
    assert text.endswith("out of 0, 1.\n")
    plain = "| 71.2±1.3 (5 folds) | 85.90±0.12 |\n"
    assert seeds.explained(plain, (0, 1)) == plain
