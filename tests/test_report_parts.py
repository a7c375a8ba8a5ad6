"""The parts of the page: who is best and cheapest, PNG strips, Markdown, configuration, scatter."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_text
from gliomap.scoring import report_answer, report_parts, report_png, report_scatter
from gliomap.scoring.report_answer import BEGIN, END
from gliomap.scoring.report_scatter import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from gliomap.scoring.tables import Setup
from report_toys import row

SETUP = Setup("phantom", "common", "smoke", 0.95)


def test_the_cheapest_is_the_fastest_whose_dice_lies_in_the_interval_of_the_best():
    rows = [row("fast", dice=0.4, seconds=0.01), row("best", dice=0.7, low=0.5, seconds=1.0), row("close", seconds=0.1)]
    (answer,) = report_answer.answers(rows)
    assert (answer.best.key, answer.cheapest.key) == ("best", "close")
    assert [r.key for r in answer.rows] == ["best", "close", "fast"]


def test_answers_go_from_most_to_least_supervision():
    kinds = ["none", "of a new kind", "slice labels", "pixel masks"]
    found = report_answer.answers([row(kind[:2], kind) for kind in kinds])
    assert [a.best.supervision for a in found] == ["pixel masks", "slice labels", "none", "of a new kind"]


def test_rows_of_different_recipes_are_not_compared():
    found = report_answer.answers([row("a", dice=0.9, recipe="tsgm"), row("b", dice=0.1, recipe="common")])
    assert [(a.best.key, a.title) for a in found] == [
        ("b", "Not trained at all, recipe common"), ("a", "Not trained at all, recipe tsgm"),
    ]  # fmt: skip
    table = report_answer.extract(found)
    assert table.index("| none, recipe common | B |") < table.index("| none, recipe tsgm | A |")


def test_a_method_without_dice_comes_last_and_is_never_the_best():
    without = row("none", dice=None, low=None, high=None, seconds=0.001)
    (answer,) = report_answer.answers([without, row("some", dice=0.0, low=0.0)])
    assert answer.best.key == answer.cheapest.key == "some"
    assert answer.rows[-1].key == "none"


def test_the_extract_has_numbers_interval_and_n():
    table = report_answer.extract(report_answer.answers([row("a", dice=0.5, seconds=0.25)]))
    assert "| none | A | 0.500 [0.400, 0.600] | 0.300 | 0.2500 | 2 | 60 | 1,000,000 | 9 | 3 |" in table


def test_the_comparison_with_the_flair_threshold_is_told_where_there_is_one():
    assert row().against_flair() == ""
    names = ("difference", "difference_lo", "difference_hi", "p_holm")
    numbers = dict(zip([f"vs_flair_{name}" for name in names], (-0.05, -0.1, 0.02, 0.3), strict=True))
    assert replace(row(), numbers=numbers).against_flair().endswith(": -0.050 [-0.100, +0.020], p = 0.3 (Holm).")


def test_a_leaderboard_is_read_in_its_order_with_nothing_for_an_empty_cell(tmp_path):
    line = dict.fromkeys(report_answer.NEEDED, 0.5) | dict.fromkeys(report_answer.TEXT, "none")
    lines = [line | {"method": key} for key in "ba"]
    table = pd.DataFrame(lines).assign(seconds_per_slice=[None, 0.25])
    write_csv(tmp_path / "l.csv", table)
    found = report_answer.read(tmp_path / "l.csv")
    assert [(r.key, r.supervision, r.dice, r.seconds) for r in found] == [("b", "none", 0.5, 0.0), ("a", "none", 0.5, 0.25)]
    write_csv(tmp_path / "l.csv", table.drop(columns="recipe"))
    with pytest.raises(UserError, match=r"l\.csv: found no column recipe,.*tables"):
        report_answer.read(tmp_path / "l.csv")
    write_csv(tmp_path / "l.csv", table.iloc[:0])
    with pytest.raises(UserError, match=r"l\.csv: found no method"):
        report_answer.read(tmp_path / "l.csv")


def test_the_block_of_the_readme_shows_the_best_and_the_cheapest_of_each_supervision():
    rows = [row(f"m{i}", "slice labels", dice=0.5 - i / 100, low=0.1, seconds=1 - i / 10) for i in range(6)]
    block = report_answer.readme_block([*rows, row("floor")], SETUP, "plots/overview.png")
    assert re.findall(r"\| slice labels \| (M\d)", block) == ["M0", "M1", "M2", "M5"]
    assert "(6 methods): M0, Dice 0.500 [0.100, 0.600], 1 s per slice." in block
    assert "](plots/overview.png)" in block
    assert "generated images, not patients" in block


def test_the_block_replaces_what_is_between_the_markers_and_nothing_else():
    text = f"a\n{BEGIN}\nold\n{END}\nz\n"
    once = report_answer.with_block(text, "new\n")
    assert once == f"a\n{BEGIN}\nnew\n{END}\nz\n"
    assert report_answer.with_block(once, "new\n") == once


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{END}{BEGIN}", f"{BEGIN}{END}{END}"])
def test_missing_or_doubled_markers_are_refused(text):
    with pytest.raises(UserError, match=r"README\.md.*once each"):
        report_answer.with_block(text, "new\n")


def test_levels_are_the_share_of_the_range_and_stay_in_it():
    values = np.array([-9.0, 1.0, 2.0, 3.0, 9.0, np.nan])
    np.testing.assert_array_equal(report_png.levels(values, 1.0, 3.0), [0, 0, 32, 63, 63, 0])  # 31.5 rounds to even


def test_a_strip_is_the_tiles_one_below_the_other():
    tiles = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    image = Image.open(BytesIO(report_png.strip(tiles, report_png.greys())))
    assert (image.mode, image.size) == ("P", (4, 6))
    np.testing.assert_array_equal(np.asarray(image), tiles.reshape(6, 4))
    np.testing.assert_array_equal(np.asarray(image.convert("L")), report_png.greys()[tiles.reshape(6, 4), 0])


def test_a_strip_keeps_the_opacity_of_its_colours():
    image = Image.open(BytesIO(report_png.strip(np.array([[[0, 1]]]), [(0, 0, 0, 0), (255, 215, 0, 165)])))
    assert [image.convert("RGBA").getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 0, 0), (255, 215, 0, 165)]


def test_reduction_takes_means_and_leaves_what_fits():
    tiles = np.array([[[1.0, 3.0], [5.0, 7.0]]])
    np.testing.assert_allclose(report_png.reduced(tiles, 1), [[[4.0]]])
    np.testing.assert_array_equal(report_png.reduced(tiles, 2), tiles)
    assert report_png.reduced(np.zeros((1, 10, 20)), 8).shape == (1, 4, 8)


def test_a_shrunk_picture_is_on_white_and_nearly_the_same(tmp_path):
    pixels = np.zeros((40, 30, 4), np.uint8)
    pixels[:20] = (200, 30, 60, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    png, size = report_png.shrunk(tmp_path / "a.png")
    found = np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)
    assert size == (30, 40)
    assert np.abs(found[:20] - (200, 30, 60)).max() <= 8
    assert (found[20:] > 247).all()


def test_markdown_becomes_html_that_can_do_nothing():
    made = report_parts.html_of("# Head\n\n<script>x</script> [a](https://example.org) ![b](https://example.org/c.png)\n")
    assert "<h3>Head</h3>" in made
    assert "&lt;script&gt;" in made
    assert not re.search(r"<(script|img|a)\b", made)


def test_tables_keep_their_cells_and_alignment():
    made = report_parts.html_of("| a | b |\n| :--- | ---: |\n| x \\| y | 1 |\n")
    assert '<div class="wide"><table>' in made
    assert re.findall(r"<td[^>]*>(.*?)</td>", made) == ["x | y", "1"]
    assert "right" in made


def test_the_leaderboard_comes_first_and_the_cost_has_its_own_place(tmp_path):
    for name in ("zeta", "cost", "anofpdm_table1", "summary", "leaderboard"):
        write_text(tmp_path / f"{name}.md", "# T\n")
    assert report_parts.table_names(tmp_path) == ["leaderboard", "summary", "anofpdm_table1", "zeta"]


def test_the_configuration_says_what_auto_was_and_where_a_value_comes_from(tmp_path):
    write_text(tmp_path / "params.yaml", "data: d\nscale: s\na: {b: auto, c: [1, 2]}\n")
    write_text(tmp_path / "conf/scale/s.yaml", "a: {b: 7}\n")
    write_text(tmp_path / "conf/data/d.yaml", "root: <here>\n")
    lines = re.findall(r"<td><code>(.*?)</code></td><td>(.*?)</td><td>(.*?)</td>", report_parts.configuration(tmp_path))
    assert ("a.b", "7", "conf/scale/s.yaml") in lines
    assert ("a.c", "[1, 2]", "params.yaml") in lines
    assert ("root", "&lt;here&gt;", "conf/data/d.yaml") in lines


def test_points_stand_where_seconds_and_dice_put_them():
    drawn = report_scatter.svg(report_answer.answers([
        row("a", "pixel masks", dice=1.0, seconds=0.01), row("b", "pixel masks", dice=0.0, low=0.0, seconds=1.0),
    ]))  # fmt: skip
    points = re.findall(r'data-method="(\w)".*?<circle class="dot masks" cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert points == [("a", f"{LEFT:.1f}", f"{TOP:.1f}"), ("b", f"{WIDTH - RIGHT:.1f}", f"{HEIGHT - BOTTOM:.1f}")]


def test_names_in_the_scatter_do_not_overlap():
    rows = [row(kind[:2], kind, seconds=1e-3) for kind in ("none", "slice labels", "pixel masks")]
    drawn = report_scatter.svg(report_answer.answers(rows))
    heights = sorted(float(y) for y in re.findall(r'class="name" x="[\d.]+" y="([\d.]+)"', drawn))
    assert len(heights) == 3
    assert np.diff(heights).min() >= report_scatter.CLOSE


def test_names_are_escaped_in_the_scatter():
    assert "<NET>" not in report_scatter.svg(report_answer.answers([row("<net>")]))


def test_a_scatter_of_nothing_says_so():
    assert report_scatter.svg(report_answer.answers([row(dice=None, low=None, high=None)])) == "<p>No method has a Dice.</p>"
