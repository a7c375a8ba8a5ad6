"""Inside or outside a paper's spread: by hand, at the edge, in the paper's unit and rounding, and never of another setup."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gliomap.scoring import confusion_table, mixed_table, papers, tsgm_table
from gliomap.scoring.confusion_table import Rows
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.papers import Closest
from gliomap.scoring.repeats import NONE_YET, Repeats
from gliomap.scoring.spread import INSIDE, NOT_COMPARABLE, OUTSIDE, UNSTATED, Comparison, Stated
from gliomap.scoring.tables import Setup
from test_confusion_table import ours as confusion_numbers
from test_mixed_table import ours as mixed_numbers
from test_tsgm_table import RULES as TSGM_RULES
from test_tsgm_table import made as tsgm_made
from test_tsgm_table import ours as tsgm_numbers

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "papers"
SAME = Comparison(())


@pytest.mark.parametrize(
    ("text", "value", "spread", "decimals"),
    [
        ("85.90±0.12", 85.9, 0.12, 2),
        ("77.6±0.1", 77.6, 0.1, 1),
        ("66.1", 66.1, np.nan, 1),
        ("4", 4, np.nan, 0),
        ("0.6092", 0.6092, np.nan, 4),
    ],
)
def test_a_printed_number_is_taken_apart(text, value, spread, decimals):
    found = Stated.of(text)
    assert (found.value, found.decimals) == (value, decimals)
    assert found.spread == pytest.approx(spread, nan_ok=True)


@pytest.mark.parametrize("text", ["-", "unknown", ""])
def test_what_is_no_number_states_nothing(text):
    assert Stated.of(text) is None


@pytest.mark.parametrize("text", ["77.6±", "1.2.3", "77,6±0.1"])
def test_a_damaged_number_is_refused(text):
    with pytest.raises(ValueError, match="could not convert"):
        Stated.of(text)


@pytest.mark.parametrize(
    ("ours", "mark"),
    [
        (0.776, INSIDE),
        (0.777, INSIDE),  # 77.7 - 77.6 = 0.1 is the edge itself, whatever binary fractions say
        (0.775, INSIDE),
        (0.77749, INSIDE),  # printed with one decimal it is 77.7
        (0.77751, OUTSIDE),  # 77.8
        (0.77449, OUTSIDE),  # 77.4
        (None, "-"),
        (np.nan, "-"),
    ],
)
def test_ours_is_rounded_as_the_paper_rounds_and_the_edge_is_inside(ours, mark):
    assert SAME.mark(Stated.of("77.6±0.1"), ours, scale=100) == mark


def test_a_spread_in_units_of_1_beside_a_mean_in_hundredths():
    stated = Stated.of("85.90±0.12")  # TSGM's way: 12 points
    assert SAME.mark(stated, 0.75, scale=100, spread_scale=100) == INSIDE
    assert SAME.mark(stated, 0.75, scale=100) == OUTSIDE
    assert SAME.mark(stated, 0.7389, scale=100, spread_scale=100) == OUTSIDE


def test_a_number_without_a_spread_is_neither_inside_nor_outside_however_near():
    assert SAME.mark(Stated.of("66.1"), 0.661, scale=100) == UNSTATED
    assert SAME.mark(None, 0.661) == "-"


@pytest.mark.parametrize("name", ["data", "recipe", "scale"])
def test_another_setup_is_not_comparable_even_where_the_numbers_agree(name):
    closest = Closest("brats2021", "anofpdm", "paper")
    like = {"data": "brats2021", "recipe": "anofpdm", "scale": "paper", "confidence": 0.95}
    assert Comparison.of(closest, Setup(**like)).comparable
    other = Comparison.of(closest, Setup(**like | {name: "other"}))
    assert other.unlike == (name,)
    assert other.mark(Stated.of("77.6±0.1"), 77.6) == NOT_COMPARABLE
    assert other.mark(Stated.of("77.6"), 77.6) == NOT_COMPARABLE
    assert f"`{name}` differ" in other.legend("mean", "")
    assert "over three runs" in SAME.legend("the mean", "Its ± is over three runs.")


def like(paper) -> Setup:
    """A run set up as the paper was."""
    return Setup(paper.closest.data, paper.closest.recipe, paper.closest.scale, 0.95)


def test_anofpdms_table_marks_the_first_of_ours():
    paper = mixed_table.MixedPaper.read(FOLDER / "anofpdm.yaml")
    found = {"anofpdm_ddpm": mixed_numbers(paper, 0.7771), "anofpdm_ddim": mixed_numbers(paper, 0.7771)}
    text = mixed_table.text(paper, found, like(paper))
    table = text[text.index("## Dice, mixed") : text.index("## IoU, mixed")]
    assert "| method | tuned on | paper | ours | against the paper | slices | patients |" in table
    assert "| 77.6±0.1 | 77.7 [77.7, 77.7] | inside | 98 | 3 |" in table
    assert "| 77.8 | 77.7 [77.7, 77.7] | no spread stated | 98 | 3 |" in table
    assert "nothing found (floor) | - | 53.4 | 58.0 | - | 98 | 3 |" in table
    left_empty = text[text.index("## Healthy slices left empty") :]
    assert "against the paper" not in left_empty  # computed from the paper, not printed there
    frame = mixed_table.frame(paper, found, like(paper)).set_index("method")
    assert frame.loc["anofpdm_ddpm", "against_paper_iou_mixed"] == OUTSIDE  # 71.3±0.1
    assert frame.loc["ddib", "against_paper_iou_mixed"] == "-"  # none of ours


def test_ddmds_table_takes_our_mean_over_folds_where_there_is_one():
    paper = confusion_table.ConfusionPaper.read(FOLDER / "ddmd.yaml")
    one = Rows(
        {"unet": Entry("unet", "ddmd", "U-Net", "pixel masks", (), ())}, {"unet": confusion_numbers(paper, 0.755)}, NONE_YET
    )
    folds = Repeats(("0", "1"), (), ({"unet": confusion_numbers(paper, 0.7)}, {"unet": confusion_numbers(paper, 0.71)}))
    marks = {}
    for name, found in (("one", one), ("folds", replace(one, folds=folds))):
        marks[name] = confusion_table.frame(paper, found, like(paper)).set_index("method").loc["unet", "against_paper_dice"]
        assert f"| {marks[name]} |" in confusion_table.text(paper, found, like(paper))
    assert marks == {"one": OUTSIDE, "folds": OUTSIDE}  # 75.5 and 70.5 against 74.16±1.29
    near = replace(one, numbers={"unet": confusion_numbers(paper, 0.7545)})
    assert confusion_table.frame(paper, near, like(paper))["against_paper_dice"][0] == INSIDE


def test_tsgms_table_marks_its_own_cohort_only_with_a_spread_in_units_of_1():
    paper = tsgm_table.TsgmPaper.read(FOLDER / "tsgm.yaml")
    found = tsgm_made(test__tsgm=tsgm_numbers(paper, 0.75), inhouse__tsgm=tsgm_numbers(paper, 0.74))
    frame = tsgm_table.frame(paper, paper.table2, found, like(paper)).set_index(["cohort", "method"])
    assert frame.loc[("test", "tsgm"), "against_paper_dice"] == INSIDE  # 75 against 85.90±0.12: within 12 points
    assert frame.loc[("inhouse", "tsgm"), "against_paper_dice"] == NOT_COMPARABLE
    assert frame.loc[("test", "vae"), "against_paper_dice"] == "-"
    text = tsgm_table.text(paper, paper.table2, found, like(paper), TSGM_RULES)
    assert "best weights (oracle) | against the paper | tumour slices" in text


def test_mmccds_table_prints_no_spread_so_nothing_is_inside():
    paper = papers.Paper.read(FOLDER / "mmccd.yaml")
    numbers = {name: 0.6092 for column in paper.columns for name in [*column.names(), column.n]} | {
        "n_slices": 9,
        "n_patients": 3,
        "n_patients_tumour": 3,
        "n_patients_distance": 3,
    }
    entry = Entry("mmccd", "mmccd", "MMCCD", "slice labels", (), ())
    rows = papers.rows(paper, [entry], {"mmccd": numbers | {"n_tumour_slices": 9}})
    marks = papers.frame(paper, rows, like(paper)).set_index("method")["against_paper_dice"]
    assert marks["mmccd"] == UNSTATED
    assert marks["ae"] == "-"
    assert (
        papers.frame(paper, rows, Setup("phantom", "mmccd", "paper", 0.95))["against_paper_dice"].iloc[-1] == NOT_COMPARABLE
    )


def test_on_the_phantom_no_table_has_the_column_and_each_says_why():
    setup = Setup("phantom", "common", "smoke", 0.95)
    mixed = mixed_table.MixedPaper.read(FOLDER / "anofpdm.yaml")
    confusion = confusion_table.ConfusionPaper.read(FOLDER / "ddmd.yaml")
    tsgm = tsgm_table.TsgmPaper.read(FOLDER / "tsgm.yaml")
    texts = [
        mixed_table.text(mixed, {"ddim": mixed_numbers(mixed, 0.7)}, setup),
        confusion_table.text(confusion, Rows({}, {}, NONE_YET), setup),
        tsgm_table.text(tsgm, tsgm.table2, tsgm_made(test__tsgm=tsgm_numbers(tsgm)), setup, TSGM_RULES),
    ]
    for text in texts:
        assert "`data`, `recipe`, `scale` differ from the paper's" in text
        assert "against the paper |" not in text
