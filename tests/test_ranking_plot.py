"""Dice against seconds: what is drawn where, and names that do not lie on each other."""

import json
from pathlib import Path

import numpy as np
import pytest

import ranking_toys as toys
from gliomap.scoring import pictures, ranking_plot

TEMPLATE = Path(__file__).resolve().parents[1] / ".dvc/plots/by_cost.json"


@pytest.fixture(scope="module")
def board():
    return toys.board()


def drawn(board):
    with pictures.style():
        return ranking_plot.picture(board, "data phantom")


def names(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_the_table_has_what_the_template_asks_for(board):
    table = ranking_plot.table(board)
    text = TEMPLATE.read_text()
    fields = {part.split('"')[0] for part in text.split('"field": "')[1:]} - {"rev"}
    assert {field for field in fields if not field.startswith("<")} <= set(table.columns)
    assert "<DVC_METRIC_Y>" in fields
    assert json.loads(text)["encoding"]["x"]["scale"]["type"] == "log"


def test_no_time_is_drawn_at_a_hundred_thousandth_of_a_second(board):
    table = ranking_plot.table(board.assign(seconds_per_slice=0.0))
    assert table["seconds"].unique() == [1e-5]


def test_a_method_without_dice_is_not_drawn(board):
    table = ranking_plot.table(board.assign(dice_slice_tumour=board["dice_slice_tumour"].where(board["method"] != "weak")))
    assert "WEAK" not in table["method"].tolist()
    assert len(table) == 4


def test_each_class_has_a_panel_with_its_methods(board):
    axes = drawn(board).axes
    titles = ["supervision: none", "supervision: slice labels", "supervision: pixel masks"]
    assert [axis.get_title("left") for axis in axes] == titles
    found = [sorted(names(axis)) for axis in axes]
    assert found == [["1  THRESHOLD_FLAIR", "2  RANDOM"], ["3  STRONG", "4  WEAK"], ["5  MASKS"]]
    assert all(axis.get_xscale() == "log" and axis.get_xlim() == (1e-4, 1.0) for axis in axes)


def test_the_heading_says_how_many(board):
    assert drawn(board).get_suptitle() == "data phantom; 8 tumour slices of 3 test patients"
    two = board.assign(recipe=["common"] * 3 + ["ddmd"] * 2, n_patients_tumour=[3, 3, 3, 2, 2])
    words = "common: 8 tumour slices of 3 test patients; ddmd: 8 tumour slices of 2 test patients"
    assert drawn(two).get_suptitle() == f"data phantom; {words}"


def test_points_stand_at_their_seconds_and_dice(board):
    inside = drawn(board).axes[1].collections[-1].get_offsets()
    np.testing.assert_allclose(sorted(map(tuple, inside)), [(0.01, 0.45), (0.1, 0.75)])


def test_the_dotted_line_is_the_flair_threshold(board):
    for axis in drawn(board).axes:
        assert [line.get_ydata()[0] for line in axis.lines if line.get_linestyle() == ":"] == [0.5]


def test_every_recipe_has_a_row(board):
    two = board.assign(recipe=["common"] * 3 + ["ddmd"] * 2, seconds_per_slice=[2e-4, 2e-3, 2e-2, 0.2, 20.0])
    axes = drawn(two).axes
    assert len(axes) == 6
    assert names(axes[1]) == ["3  STRONG"]
    assert names(axes[4]) == ["4  WEAK"]
    assert {axis.get_xlim() for axis in axes} == {(1e-4, 100.0)}
    assert axes[4].get_title("left") == "supervision: slice labels, recipe ddmd"


def test_names_that_have_room_stay_where_they_are():
    np.testing.assert_allclose(ranking_plot.spread(np.array([0.1, 0.5, 0.9]), 0.1), [0.1, 0.5, 0.9])


def test_names_at_one_height_part_evenly():
    np.testing.assert_allclose(ranking_plot.spread(np.array([0.5, 0.5, 0.5]), 0.1), [0.4, 0.5, 0.6])


@pytest.mark.parametrize("heights", [[0.0, 0.0, 0.01], [0.98, 1.0, 1.0], [0.3], []])
def test_names_stay_inside(heights):
    found = ranking_plot.spread(np.array(heights), 0.1)
    assert (np.diff(found) >= 0.1 - 1e-12).all()
    assert ((found >= 0) & (found <= 1 + 1e-12)).all()


def test_too_many_names_share_the_room():
    found = ranking_plot.spread(np.full(30, 0.5), 0.1)
    np.testing.assert_allclose(found, np.linspace(0, 1, 30), atol=1e-12)


def test_equal_tables_give_equal_pictures(board, tmp_path):
    for name in "ab":
        with pictures.style():
            pictures.save(ranking_plot.picture(board, "data phantom"), tmp_path / f"{name}.png", 50)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
