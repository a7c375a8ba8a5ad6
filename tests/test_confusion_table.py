"""DDMD's table 1: the paper's numbers with their doubts, ours beside them, folds where they were run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.scoring import confusion_table, repeats, tables
from gliomap.scoring.confusion_table import Rows
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.repeats import NONE_YET, Repeats

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "conf/papers/ddmd.yaml"
SETUP = tables.Setup("phantom", "common", "smoke", 0.95)


@pytest.fixture(scope="module")
def paper():
    return confusion_table.ConfusionPaper.read(FILE)


def entry(key, system="ddmd"):
    return Entry(key, system, f"our {key}", "pixel masks", (), ())


def ours(paper, value, **changes):
    """Every number that the table asks for, all the same."""
    names = [metric for column in paper.columns for metric in column.ours.values()]
    found = {name + end: value for name in names for end in ("", "_lo", "_hi")} | {f"floor_{name}": 0.25 for name in names}
    return found | {"n_tumour_slices": 41, "n_healthy_slices": 57, "n_slices": 98, "n_patients": 3} | changes


def rows(folds=NONE_YET, **numbers):
    return Rows({key: entry(key) for key in numbers}, numbers, folds)


def first_table(text):
    first = text[text.index("## Dice") :]
    return first[first.index("| method") : first.index("\n\n## Miou")].splitlines()


def test_the_papers_numbers_are_those_of_its_table_1(paper):
    printed = {row.method: row for row in paper.rows}
    assert list(printed) == ["unet", "segnet", "deeplab", "cimd", "ddmd_mini", "ddmd_light", "ddmd_full"]
    dice = [printed[m].dice for m in ("unet", "segnet", "deeplab", "cimd", "ddmd_mini", "ddmd_light")]
    assert dice == ["74.16±1.29", "75.08±2.32", "78.92±1.46", "81.15±1.25", "79.25±0.85", "84.26±0.83"]
    light = printed["ddmd_light"]
    assert (light.miou, light.pa, light.certainty) == ("88.58±1.22", "92.32±0.81", 0.99)
    assert (printed["ddmd_mini"].pa, printed["ddmd_full"].dice, printed["ddmd_full"].miou) == ("unknown",) * 3


def test_what_the_conventions_say_holds_for_the_papers_numbers(paper):
    """DDMD spec 6: Dice < Miou < PA in every row, and Miou above what the same pooled counts would allow."""
    known = [row for row in paper.rows if row.certainty > 0]
    assert len(known) == 6
    for row in known:
        dice, miou, *pa = (float(v.split("±")[0]) / 100 for v in (row.dice, row.miou, row.pa) if v != "unknown")
        assert dice < miou
        assert not pa or miou < pa[0]
        assert miou > (dice / (2 - dice) + 1) / 2
    assert "pooled counts" in paper.conventions


def test_the_first_line_says_how_every_row_is_trained(paper):
    text = confusion_table.text(paper, rows(unet=ours(paper, 0.7)), SETUP)
    assert text.splitlines()[0] == "# DDMD, Table 1: the paper's numbers and ours"
    assert text.splitlines()[2].startswith("**Every row is trained on the pixel masks** of its training slices")
    assert "Data: **phantom** (generated images" in text
    assert not re.search(r"[^\n]\n\n\n", text)


def test_the_table_letter_by_letter(paper):
    fair = ours(paper, 0.8, dice_slice_tumour_lo=0.75, dice_pooled_lo=None)
    found = rows(unet=ours(paper, 0.7), unet_fair=fair)
    assert first_table(confusion_table.text(paper, found, SETUP)) == [
        "| method | paper | slices with tumour | all slices | pooled | per patient "
        "| tumour slices | healthy slices | slices | patients |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| nothing found (floor) | - | 25.0 | 25.0 | 25.0 | 25.0 | 41 | 57 | 98 | 3 |",
        "| U-Net | 74.16±1.29 | " + "70.0 [70.0, 70.0] | " * 4 + "41 | 57 | 98 | 3 |",
        "| SegNet | 75.08±2.32 | - (not in this version) | - | - | - | - | - | - | - |",
        "| DeepLabv3+ | 78.92±1.46 | - (not in this version) | - | - | - | - | - | - | - |",
        "| CIMD | 81.15±1.25 | - (not in this version) | - | - | - | - | - | - | - |",
        "| DDMD-mini | 79.25±0.85 (95 %) | - (not in this version) | - | - | - | - | - | - | - |",
        "| DDMD-light | 84.26±0.83 (99 %) | - (not in this version) | - | - | - | - | - | - | - |",
        "| DDMD (full) | unknown | - (not in this version) | - | - | - | - | - | - | - |",
        "| our unet_fair | - | 80.0 [75.0, 80.0] | 80.0 [80.0, 80.0] | 80.0 | 80.0 [80.0, 80.0] | 41 | 57 | 98 | 3 |",
    ]


def test_folds_take_the_place_of_the_single_run(paper):
    numbers = tuple({"unet": ours(paper, value, n_slices=n)} for value, n in ((0.6, 96), (0.7, 98), (0.8, 98)))
    folds = Repeats(("0", "1", "2"), ("splits.mode=heldout",), numbers)
    found = rows(folds, unet=ours(paper, 0.1), cimd=ours(paper, 0.3))
    text = confusion_table.text(paper, found, SETUP)
    table = first_table(text)
    assert table[3] == "| U-Net | 74.16±1.29 | " + "70.0±10.0 (3 folds) | " * 4 + "41 | 57 | 96 to 98 | 3 |"
    assert table[6].startswith("| CIMD | 81.15±1.25 | 30.0 [30.0, 30.0] |")  # a row that the folds lack
    assert table[2].startswith("| nothing found (floor) | - | 25.0 |")
    assert "over 3 runs (splits.fold = 0, 1, 2, splits.mode=heldout)" in text
    frame = confusion_table.frame(paper, found).set_index("method")
    line = frame.loc["unet"]
    assert (line["dice_slice_tumour_fold_mean"], line["dice_slice_tumour_folds"]) == (pytest.approx(0.7), 3)
    assert line["dice_slice_tumour_fold_sd"] == pytest.approx(0.1)
    assert line["dice_slice_tumour"] == 0.1


def test_the_frame_holds_what_was_printed_and_how_sure_it_is(paper):
    frame = confusion_table.frame(paper, rows(unet=ours(paper, 0.7), unet_x=ours(paper, 0.6))).set_index("method")
    assert frame.loc["unet", ["paper_dice", "paper_dice_sd", "paper_dice_certainty"]].tolist() == [74.16, 1.29, 1.0]
    mini = frame.loc["ddmd_mini"]
    assert mini["paper_miou_certainty"] == 0.95
    assert mini["paper_pa_certainty"] == 0
    assert frame.loc["ddmd_full", ["paper_dice", "paper_miou", "paper_pa"]].isna().all()
    assert frame.loc["unet_x", "paper_dice_certainty"] != 1
    assert set(frame["supervision"]) == {"pixel masks"}
    assert frame.loc["unet", "dice_patient_hi"] == 0.7


def test_without_any_row_the_paper_stands_alone(paper):
    text = confusion_table.text(paper, rows(), SETUP)
    assert first_table(text)[2] == "| nothing found (floor) | - | - | - | - | - | - | - | - | - |"
    assert len(confusion_table.frame(paper, rows())) == 7


def test_a_number_that_does_not_exist_is_a_dash(paper):
    text = confusion_table.text(paper, rows(unet=ours(paper, 0.7, fp_slices_any=None)), SETUP)
    assert "| U-Net | - | 70.0 [70.0, 70.0] | 41 | 57 | 98 | 3 |" in text[text.index("## False alarms") :]


def test_rows_are_those_of_the_system_and_their_folds(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write_json("metrics/confusion/unet.json", ours(paper, 0.5))
    setup = {"data": "phantom", "scale": "smoke", "recipe": "common", "overrides": []}
    for value in ("0", "1"):
        numbers = {"confusion": {"unet": ours(paper, 0.5)}, "ddmd": {}}
        record = {"value": value, "setup": setup, "numbers": numbers}
        files.write_json(repeats.folder("ddmd", "splits.fold") / f"{value}.json", record)
    found = confusion_table.rows([entry("mmccd", "mmccd"), entry("unet")], SETUP)
    assert list(found.numbers) == ["unet"]
    assert found.folds.values == ("0", "1")
    assert confusion_table.rows([entry("unet")], replace(SETUP, scale="gpu")).folds == NONE_YET
    with pytest.raises(UserError, match=r"metrics/confusion/cimd.json: no such file"):
        confusion_table.rows([entry("cimd")], SETUP)


def test_a_missing_number_is_named(paper):
    broken = ours(paper, 0.7)
    del broken["miou_pooled"]
    with pytest.raises(UserError, match=r"confusion/unet.json: miou_pooled is missing; run `dvc repro -f evaluate_conf"):
        confusion_table.text(paper, rows(unet=broken), SETUP)


def test_an_unknown_key_of_the_paper_is_refused(tmp_path):
    path = tmp_path / "ddmd.yaml"
    path.write_text(FILE.read_text().replace("certainty: 0.95", "certainty: 95.0"))
    with pytest.raises(UserError, match=r"rows\[4\].certainty is 95.0, expected 0 to 1"):
        confusion_table.ConfusionPaper.read(path)
