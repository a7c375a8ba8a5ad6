"""The leaderboard: order, comparisons by hand, recipes kept apart, and its text word by word where it states a number."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import ranking_toys as toys
from gliomap.base.errors import UserError
from gliomap.base.files import write_csv
from gliomap.scoring import ranking, ranking_text, seeds, tables

SETUP = tables.Setup("phantom", "common", "smoke", 0.95)


@pytest.fixture(scope="module")
def board():
    return toys.board().set_index("method", drop=False)


@pytest.fixture(scope="module")
def text(board):
    return ranking_text.text(board, SETUP)


def cells(text: str, heading: str, name: str) -> list[str]:
    """The row of a method in the table below a heading."""
    section = text.split(f"### {heading}\n")[1]
    line = next(line for line in section.splitlines() if line.startswith("|") and f"| {name} |" in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_order_is_supervision_then_dice(board):
    assert board["method"].tolist() == ["threshold_flair", "random", "strong", "weak", "masks"]
    assert board["no"].tolist() == [1, 2, 3, 4, 5]


def test_a_method_without_dice_is_the_last_of_its_class():
    metrics = toys.sources().metrics | {"strong": toys.numbers(None)}
    found = toys.board(metrics=metrics)
    assert found["method"].tolist() == ["threshold_flair", "random", "weak", "strong", "masks"]
    assert found["best_of_class"].tolist()[2:4] == ["weak", "weak"]


def test_supervision_with_another_name_follows():
    methods = [replace(toys.entry("weak"), supervision="boxes"), *toys.entries("masks", "random")]
    assert [e.key for e in ranking.ordered(methods, toys.sources().metrics)] == ["random", "masks", "weak"]


def test_differences_and_p_by_hand(board):
    # strong minus FLAIR: 0.1 0.2 0.3 0.4; only all signs alike reach the sum of 1.0: 2 of 16 patterns
    assert board.loc["strong", "vs_flair_difference"] == pytest.approx(0.25)
    assert board.loc["strong", "vs_flair_p"] == 2 / 16
    # weak minus FLAIR: 0.1 0 -0.2 -0.1, sum -0.2. |+-1 +-2 +-1| >= 2 in tenths: 4, 2, 2, 0 and their negatives: 6 of 8
    assert board.loc["weak", "vs_flair_difference"] == pytest.approx(-0.05)
    assert board.loc["weak", "vs_flair_p"] == 6 / 8
    # weak minus strong: 0 -0.2 -0.5 -0.5; zeros take either sign: 4 of 16 reach the sum
    assert board.loc["weak", ["vs_best_difference", "vs_best_p"]].tolist() == pytest.approx([-0.3, 4 / 16])


def test_no_method_is_compared_with_itself(board):
    assert np.isnan(board.loc["threshold_flair", ["vs_flair_p", "vs_best_p", "vs_best_difference"]].astype(float)).all()
    assert board["best_of_class"].to_dict() == {
        "threshold_flair": "threshold_flair", "random": "threshold_flair", "strong": "strong", "weak": "strong",
        "masks": "masks",
    }  # fmt: skip
    assert np.isnan(board.loc[["strong", "masks"], "vs_best_p"]).all()


def test_each_comparison_is_corrected_over_its_rows(board):
    # against FLAIR: 2/16 2/16 2/16 and 6/8: 4/8, then never less, then 6/8
    assert board["vs_flair_p_holm"].tolist()[1:] == pytest.approx([0.5, 0.5, 0.75, 0.5])
    # against the best: 2/16 (random) and 4/16 (weak): 2/8, 2/8
    assert board["vs_best_p_holm"].dropna().tolist() == pytest.approx([0.25, 0.25])


def test_the_interval_is_of_the_same_resamples_for_all(board):
    mean, low, high = (board.loc["masks", f"vs_flair_difference{end}"] for end in ("", "_lo", "_hi"))
    assert [mean, low, high] == pytest.approx([0.4, 0.4, 0.4])
    assert 0.1 <= board.loc["strong", "vs_flair_difference_lo"] < 0.25 < board.loc["strong", "vs_flair_difference_hi"] <= 0.4


def test_costs_and_counts_stand_beside_the_scores(board):
    row = board.loc["strong"]
    assert row[list(ranking.COST)].tolist() == [0.1, 20.0, 61.25, 1_234_567]
    assert row[["n_tumour_slices", "n_distance_slices", "n_patients_paired"]].tolist() == [8, 7, 4]


def test_recipes_are_ranked_and_compared_apart():
    methods = [*toys.entries("weak", "threshold_flair"), toys.entry("strong", "other"), toys.entry("masks", "other")]
    moved = toys.scores(toys.DICE["masks"]).assign(z=lambda t: t["z"] + 50)
    found = toys.board(methods, scores=toys.sources().scores | {"strong": moved, "masks": moved})
    assert found["recipe"].tolist() == ["common", "common", "ddmd", "ddmd"]
    assert found["no"].tolist() == [1, 2, 1, 2]
    assert found["vs_flair_p"].notna().tolist() == [False, True, False, False]  # the second recipe has no FLAIR threshold
    text = ranking_text.text(found, SETUP)
    assert "not ranked against each other" in text
    assert text.count("There is no FLAIR threshold on this recipe.") == 1
    assert "recipe `common, ddmd`" in text


def test_other_slices_are_refused():
    scores = toys.sources().scores
    shifted = scores["weak"].assign(row=scores["weak"]["row"] + 1)
    with pytest.raises(UserError, match=r"scores/toy/weak\.csv: its slices are not those of scores/toy/.*evaluate@toy"):
        toys.board(scores=scores | {"weak": shifted})


def test_scores_without_dice_are_refused():
    scores = toys.sources().scores
    with pytest.raises(UserError, match=r"random\.csv: found no column dice"):
        toys.board(scores=scores | {"random": scores["random"].drop(columns="dice")})


def test_a_missing_metric_is_named():
    cut = {k: v for k, v in toys.numbers(0.5).items() if k != "auroc_image"}
    with pytest.raises(UserError, match=r"metrics of weak: auroc_image is missing"):
        toys.board(metrics=toys.sources().metrics | {"weak": cut})


def test_the_best_of_each_class_come_first_in_the_text(text):
    section = text.split("### The best of each kind of supervision\n")[1].split("###")[0]
    assert [line.split("|")[2].strip() for line in section.splitlines() if line.startswith("|")][2:] == [
        "THRESHOLD_FLAIR", "STRONG", "MASKS",
    ]  # fmt: skip
    assert cells(text, "The best of each kind of supervision", "STRONG") == [
        "slice labels", "STRONG", "2", "0.750 [0.750, 0.750]", "+0.250 [" + section.split("+0.250 [")[1].split("]")[0] + "]",
        "0.750 [0.750, 0.750]", "0.1", "20", "61.2", "1,234,567",
    ]  # fmt: skip


def test_n_stands_beside_the_numbers(text):
    assert "## Recipe `common`: 12 test slices of 4 patients\n\n8 of the slices, of 3 patients, have a tumour." in text
    assert "| small: up to 3.1 cm², n = 3 | medium: up to 12.4 cm², n = 2 | large: above 12.4 cm², n = 3 |" in text
    assert "| minus FLAIR threshold, n = 4 patients | p | p corrected | minus best of class, n = 4 patients |" in text
    assert cells(text, "Maps and distances", "WEAK")[-3:] == ["12.3 [12.3, 12.3]", "1.23 [1.23, 1.23]", "7"]


def test_the_text_says_what_the_tests_cannot_show(text):
    limit = "no p is below 0.125, and after the correction for 4 rows none is below 0.5: **too few patients"
    assert f"With 4 patients with tumour {limit}" in text
    assert "Best of class: THRESHOLD_FLAIR (none); STRONG (slice labels); MASKS (pixel masks)." in text
    assert "(all ways to do so were tried)" in text


def test_enough_patients_are_not_called_too_few(board):
    many = board.assign(p_least=1 / 10_001, n_patients_paired=74)
    text = ranking_text.text(many, SETUP)
    assert "too few patients" not in text
    assert "10,000 times by the seed" in text


@pytest.mark.parametrize(
    ("p", "shown"), [(0.0004, "< 0.001"), (0.001, "0.001"), (0.0312, "0.031"), (1.0, "1.000"), (np.nan, "-")]
)
def test_a_p_is_never_zero(board, p, shown):
    text = ranking_text.text(board.assign(vs_flair_p=p), SETUP)
    assert cells(text, "Comparisons, patient by patient", "WEAK")[3] == shown


@pytest.mark.parametrize(("value", "shown"), [(0.000662, "0.000662"), (60.333, "60.3"), (8333.4, "8,333"), (0.0, "0")])
def test_seconds_have_three_digits_and_no_exponent(board, value, shown):
    text = ranking_text.text(board.assign(seconds_per_slice=value), SETUP)
    assert cells(text, "All methods", "WEAK")[6] == shown


def test_runs_over_seeds_stand_behind_the_number(text):
    metrics = toys.sources().metrics
    weak = metrics["weak"] | seeds.beside({ranking.DICE: (0.5, 0.1, 3)})
    found = toys.board(metrics=metrics | {"weak": weak}).set_index("method")
    assert found.loc["weak", f"{ranking.DICE}{seeds.COUNT}"] == 3
    again = seeds.explained(ranking_text.text(found.reset_index(), SETUP), (0, 1, 2))
    assert cells(again, "Dice", "WEAK")[2] == "0.450 [0.450, 0.450]; 0.500±0.100 (3 seeds)"
    assert cells(again, "Dice", "STRONG")[2] == "0.750 [0.750, 0.750]"
    assert "a±s (n seeds)" in again
    assert "±" not in text


def test_scores_are_read_by_method_with_names_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = toys.scores(toys.FLAIR).assign(patient="007", case="NA")
    write_csv(toys.entry("weak").place.scores, found)
    read = ranking.read_scores([toys.entry("weak")])["weak"]
    assert read["patient"].unique() == ["007"]
    assert read["case"].unique() == ["NA"]  # a name, not a missing value
    with pytest.raises(UserError, match=r"scores/toy/strong\.csv: no such file"):
        ranking.read_scores([toys.entry("strong")])


def test_one_patient_has_no_brackets():
    lone = {key: frame[frame["patient"] == "a"] for key, frame in toys.sources().scores.items()}
    absent = {f"{name}{end}": None for name in (ranking.DICE, "auprc_pooled_brain") for end in ("_lo", "_hi")}
    metrics = {key: found | {"n_patients": 1} | absent for key, found in toys.sources().metrics.items()}
    found = toys.board(scores=lone, metrics=metrics)
    text = ranking_text.text(found, SETUP)
    assert cells(text, "Dice", "STRONG")[2] == "0.750"
    assert cells(text, "Comparisons, patient by patient", "STRONG")[2:5] == ["+0.100", "1.000", "1.000"]


def test_the_same_input_gives_the_same_table():
    pd.testing.assert_frame_equal(toys.board(), toys.board(toys.entries()[::-1]))
