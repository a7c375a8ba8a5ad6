"""MMCCD's Table 2: the paper's 24 cells, exact text from known numbers, and cells that were not run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gliomap.base.errors import UserError
from gliomap.scoring import leaderboard, modality_table, tables
from gliomap.scoring.modality_table import Gain, PairsPaper, Printed
from gliomap.scoring.papers import Closest

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "conf/papers/mmccd_table2.yaml"
SETUP = tables.Setup("phantom", "common", "smoke", 0.95)
COUNTS = {"n_tumour_slices": 41.0, "n_patients_tumour": 3.0, "n_slices": 49.0, "n_patients": 4.0}
ROWS = (Printed("DDPM", ("d_flair", "d_t2"), (0.5, 0.4)), Printed("MMCCD", ("m", "m_t2_t1"), (0.61, 0.45)))
PAPER = PairsPaper(
    "X", "A. Author, 2023", "test set", Closest("brats2021", "mmccd", "paper"), "Oracle.", "Table 2", "dice_slice_tumour",
    "n_tumour_slices", 3, Gain("MMCCD", "DDPM"), ("flair-t2", "t2-t1"), ROWS,
)  # fmt: skip


def numbers(dice: float | None, low: float | None = None, high: float | None = None) -> dict:
    ours = {"dice_slice_tumour": dice, "dice_slice_tumour_lo": low, "dice_slice_tumour_hi": high}
    return COUNTS | ours | {k.replace("tumour", "tumour_oracle", 1): v and v + 0.01 for k, v in ours.items()}


FOUND = {"d_flair": numbers(0.25, 0.2, 0.3), "m": numbers(0.5, 0.4, 0.6), "m_t2_t1": numbers(0.3)}


def test_the_papers_cells_are_24_of_18_numbers_and_give_the_differences_that_its_text_quotes():
    paper = PairsPaper.read(PATH)
    cells = modality_table.cells(paper, {})
    assert len(cells) == 24
    assert len({(cell.name, cell.key) for cell in cells}) == len({(cell.name, cell.printed) for cell in cells}) == 18
    by = {(cell.name, cell.x, cell.y): cell.printed for cell in cells}
    assert by["MMCCD", "t2", "t1"] - by["Cyclic U-Net", "t2", "t1"] == pytest.approx(0.0957)
    assert by["Cyclic U-Net", "t1", "t2"] - by["DDPM", "t1", "t2"] == pytest.approx(0.0397)
    assert by["Cyclic U-Net", "t1", "flair"] - by["DDPM", "t1", "flair"] == pytest.approx(0.1041)


def test_it_shares_its_first_column_with_table_1():
    cells = modality_table.cells(PairsPaper.read(PATH), {})
    ours = {cell.key: cell.printed for cell in cells if cell.x == "flair"}
    table1 = YAML(typ="safe", pure=True).load((ROOT / "conf/papers/mmccd.yaml").read_text())["rows"]
    shared = {row["method"]: row["dice"] for row in table1 if row["method"] in ours}
    assert shared.keys() >= {"dae_flair", "ddpm_flair", "cyclic_unet", "mmccd"}
    assert all(ours[key] == dice for key, dice in shared.items())


def test_a_key_says_which_modalities_its_cell_is_about():
    for cell in modality_table.cells(PairsPaper.read(PATH), {}):
        ends = (
            f"_{cell.x}"
            if cell.name in ("DAE", "DDPM")
            else ""
            if (cell.x, cell.y) == ("flair", "t2")
            else f"_{cell.x}_{cell.y}"
        )
        assert cell.key.endswith(ends), cell
        assert ends or cell.key in ("mmccd", "cyclic_unet")


@pytest.mark.parametrize("more", [False, True], ids=["as it is", "all pairs that are commented out"])
def test_what_the_graph_infers_of_the_table_it_also_trains(more):
    text = (ROOT / "conf/graph.yaml").read_text()
    text = re.sub(r"(?m)^  # (- \w+-\w+$|(?:mmccd|cyclic_unet)_\w+: \{)", r"  \1", text) if more else text
    graph = YAML(typ="safe", pure=True).load(text)
    cells = {
        cell.key: cell
        for cell in modality_table.cells(PairsPaper.read(PATH), {})
        if cell.name in ("Cyclic U-Net", "MMCCD")
    }
    rows = {key: row for key, row in graph["methods"].items() if key in cells}
    assert {"mmccd", "cyclic_unet"} <= set(rows)
    trained = {f"models/translator/{pair}" for pair in graph["translators"]} | {
        f"models/mmccd/{p}" for p in graph["diffusions"]
    }
    for key, row in rows.items():
        x, y = cells[key].x, cells[key].y
        there = f"models/mmccd/{x}-{y}" if row["module"] == "mmccd" else f"models/translator/{x}-{y}"
        assert row["pair"] == f"{x}-{y}"
        assert set(row["needs"]) == {there, f"models/translator/{y}-{x}"} <= trained, key


def test_the_text_letter_by_letter():
    text = modality_table.text(PAPER, modality_table.cells(PAPER, FOUND), SETUP)
    assert text.startswith("# X, Table 2: the paper's numbers and ours\n\nData: **phantom** (generated images, not")
    assert "3 of 4 cells were run." in text
    assert (
        "| method | FLAIR via T2 | T2 via T1 |\n| :--- | ---: | ---: |\n"
        "| DDPM | 0.5000 / 0.250 | 0.4000 / not run |\n| MMCCD | 0.6100 / 0.500 | 0.4500 / 0.300 |\n"
    ) in text
    assert (
        "| input X | translated Y | method | paper | validation | oracle | slices | patients |\n"
        "| :--- | :--- | :--- | ---: | ---: | ---: | ---: | ---: |\n"
        "| FLAIR | T2 | DDPM | 0.5000 | 0.250 [0.200, 0.300] | 0.260 [0.210, 0.310] | 41 | 3 |\n"
        "| FLAIR | T2 | MMCCD | 0.6100 | 0.500 [0.400, 0.600] | 0.510 [0.410, 0.610] | 41 | 3 |\n"
        "| T2 | T1 | DDPM | 0.4000 | - (not run) | - | - | - |\n"
        "| T2 | T1 | MMCCD | 0.4500 | 0.300 | 0.310 | 41 | 3 |\n"
    ) in text
    assert text.endswith(
        "| input X | translated Y | paper | validation | oracle |\n| :--- | :--- | ---: | ---: | ---: |\n"
        "| FLAIR | T2 | +11.00 | +25.00 | +25.00 |\n| T2 | T1 | +5.00 | not run | not run |\n"
    )


def test_the_frame_has_a_row_a_cell_with_intervals_and_why_there_is_nothing():
    table = modality_table.frame(PAPER, modality_table.cells(PAPER, FOUND), SETUP).set_index(["method"])
    assert table["paper_dice"].tolist() == [0.5, 0.61, 0.4, 0.45]
    assert table.loc["m", "dice_slice_tumour_lo"] == 0.4
    assert table.loc["m", "dice_slice_tumour_oracle"] == 0.51
    assert table["note"].tolist() == ["", "", "not run", ""]
    assert table["against_paper_dice"].tolist() == ["not comparable", "not comparable", "-", "not comparable"]
    assert table.loc["d_t2"].isna().sum() == 10  # two numbers with two limits each, four counts
    closest = tables.Setup("brats2021", "mmccd", "paper", 0.95)
    table = modality_table.frame(PAPER, modality_table.cells(PAPER, FOUND), closest)
    assert table["against_paper_dice"].tolist() == ["no spread stated", "no spread stated", "-", "no spread stated"]


def test_a_method_without_a_number_has_none():
    text = modality_table.text(PAPER, modality_table.cells(PAPER, FOUND | {"m": numbers(None)}), SETUP)
    assert "| FLAIR | T2 | +11.00 | - | - |" in text
    assert "0.6100 / - |" in text


def test_metrics_without_the_number_name_the_remedy():
    with pytest.raises(UserError, match="metrics of m: dice_slice_tumour is missing"):
        modality_table.text(PAPER, modality_table.cells(PAPER, {"m": COUNTS}), SETUP)


@pytest.mark.parametrize(("old", "new", "words"), [
    ("0.4993, ", "", "dice of MMCCD has 5 entries, expected one for each of the 6 pairs"),
    ("mmccd_t2_t1, ", "", "methods of MMCCD has 5 entries"),
    ("over: Cyclic U-Net", "over: Cyclic UNet", "gain names Cyclic UNet, expected names of rows"),
    ("pairs:", "pears:", "unknown key 'pears'"),
])  # fmt: skip
def test_a_slip_in_the_papers_file_is_named(tmp_path, old, new, words):
    text = PATH.read_text()
    assert text.count(old) == 1
    (tmp_path / "p.yaml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=words):
        PairsPaper.read(tmp_path / "p.yaml")


def test_the_table_takes_its_numbers_from_the_graphs_methods():
    keys = {entry.key for entry in leaderboard.entries(ROOT / "conf/graph.yaml")}
    paper = PairsPaper.read(PATH)
    found = modality_table.cells(paper, dict.fromkeys(keys, numbers(0.5)))
    assert {(cell.name, cell.x, cell.y) for cell in found if cell.ours} >= {
        ("MMCCD", "flair", "t2"),
        ("Cyclic U-Net", "flair", "t2"),
    }
    assert modality_table.text(replace(paper, digits=1), found, SETUP).count("0.6092 / 0.5") == 1
