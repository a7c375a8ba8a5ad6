"""Mean and deviation over seeds in every table, and which stages a seed reaches."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gliomap.base import files
from gliomap.scoring import confusion_table, mixed_table, papers, repeats, seeds, tables, tsgm_table
from gliomap.scoring.confusion_table import Rows
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.repeats import NONE_YET
from gliomap.scoring.tables import Setup
from gliomap.scoring.tsgm_table import Cohort, Found, Line
from stage_toys import stage_of
from test_scoring_tables import everything, project  # noqa: F401 - a fixture

ROOT = Path(__file__).resolve().parents[1]
SETUP = Setup("phantom", "common", "smoke", 0.95)
OVER = seeds.beside({"dice": (0.575, 0.0125, 3), "dice_mean": (0.8, 0.01, 2)})
COUNTS = {"n_tumour_slices": 4, "n_healthy_slices": 5, "n_patients_tumour": 2, "n_slices": 9, "n_patients": 3}
NETWORKS = ("train", "tune", "infer", "residuals", "study")  # scripts that draw weights or noise


def test_the_cell_of_the_common_protocol():
    numbers = {"dice": 0.581, "dice_lo": 0.552, "dice_hi": 0.61, "n_patients": 4} | OVER
    assert tables.with_interval(numbers, "dice", 3, "mmccd") == "0.581 [0.552, 0.610]; 0.575±0.013 (3 seeds)"
    assert tables.with_interval({"dice": 0.5, "n_patients": 4}, "dice", 3, "mmccd") == "0.500"


def test_ddmds_table_in_hundredths_with_columns_in_units_of_1():
    paper = confusion_table.ConfusionPaper.read(ROOT / "conf/papers/ddmd.yaml")
    names = [metric for column in paper.columns for metric in column.ours.values()]
    numbers = dict.fromkeys(names, 0.5) | {f"floor_{name}": 0.1 for name in names} | COUNTS
    numbers |= seeds.beside({"dice_slice_tumour": (0.6, 0.02, 3)})
    found = Rows({"unet": Entry("unet", "ddmd", "U-Net", "pixel masks", (), ())}, {"unet": numbers}, NONE_YET)
    assert "| U-Net | 74.16±1.29 | 50.0; 60.0±2.0 (3 seeds) | 50.0 |" in confusion_table.text(paper, found, SETUP)
    row = confusion_table.frame(paper, found).set_index("method").loc["unet"]
    found = {name: value for name, value in row.items() if "_seed" in name}
    assert found == {"dice_slice_tumour_seed_mean": 0.6, "dice_slice_tumour_seed_sd": 0.02, "dice_slice_tumour_seeds": 3}


def test_anofpdms_table_with_its_numbers_by_batch():
    paper = mixed_table.MixedPaper.read(ROOT / "conf/papers/anofpdm.yaml")
    every = [metric for column in paper.columns for metric in column.ours.values()]
    names = [name.replace("{batch}", "100") for name in every]
    rest = ["floor_all_empty_mixed", "prevalence_foreground_mixed", "prevalence_foreground_unhealthy"]
    counts = dict.fromkeys((name for column in paper.columns for name in (column.n, tables.patients_behind(column.n))), 9)
    numbers = dict.fromkeys([*names, *rest], 0.5) | counts | {"n_patients": 3, "slices_per_batch": 100}
    numbers |= seeds.beside(dict.fromkeys(names, (0.6, 0.02, 3)))
    text = mixed_table.text(paper, {"ddib": numbers}, SETUP)
    assert text.count("50.0; 60.0±2.0 (3 seeds)") == len(names)
    row = mixed_table.frame(paper, {"ddib": numbers}).set_index("method").loc["ddib"]
    for name in every:
        assert row[f"{name.replace('{batch}', '')}_seed_mean"] == 0.6, name


@pytest.mark.parametrize(("unit", "name", "expected"), [
    ("hundredths", "dice", "70.00±0.10 [65.0, 80.0]; 80.0±1.0 (2 seeds)"),  # the first one as the paper prints it
    ("length", "dice", "0.70±0.10 [0.7, 0.8]; 0.8±0.0 (2 seeds)"),
    ("share", "dice_mean", "70.0; 80.0±1.0 (2 seeds)"),
])  # fmt: skip
def test_tsgms_cells_have_two_deviations_and_say_which_is_over_seeds(unit, name, expected):
    column = tsgm_table.Column("", "none", unit, {"ours": name}, {}, "")
    numbers = {"dice_mean": 0.7, "dice_sd": 0.1, "dice_mean_low": 0.65, "dice_mean_high": 0.8, "n_patients": 3} | OVER
    line = Line(Cohort("test", ""), "tsgm", "TSGM", None, numbers, "")
    assert tsgm_table._ours(line, column, name) == expected


def test_tsgms_frame_has_columns_for_them():
    paper = tsgm_table.TsgmPaper.read(ROOT / "conf/papers/tsgm.yaml")
    entry = Entry("tsgm", "tsgm", "TSGM", "slice labels", (), ())
    found = Found({"tsgm": entry}, {}, {}, {("test", "tsgm"): {"n_patients": 3} | OVER})
    frame = tsgm_table.frame(paper, paper.table2, found)
    row = frame[(frame["cohort"] == "test") & (frame["method"] == "tsgm")].iloc[0]
    assert (row["dice_mean_seed_mean"], row["dice_mean_seeds"]) == (0.8, 2)


def test_the_papers_table_and_its_csv():
    paper = papers.Paper.read(ROOT / "conf/papers/mmccd.yaml")
    numbers = everything(ROOT / "conf/papers/mmccd.yaml", 0.5) | seeds.beside({"dice_slice_tumour": (0.6, 0.1, 3)})
    found = papers.rows(paper, [], {"mmccd": numbers})
    assert "0.500 [0.500, 0.500]; 0.600±0.100 (3 seeds)" in papers.text(paper, found, SETUP)
    row = papers.frame(paper, found).set_index("method").loc["mmccd"]
    assert (row["dice_slice_tumour_seed_sd"], row["dice_slice_tumour_seeds"]) == (0.1, 3)


def test_the_stage_shows_recorded_seeds_and_says_what_they_are(project):  # noqa: F811
    stage_of("tables").main([])
    folder = project / "metrics/tables"
    before = {path.name: path.read_text() for path in folder.glob("*.md")}
    assert not any("seeds)" in text for text in before.values())
    source = project / "conf/papers/mmccd.yaml"
    setup = {"data": "phantom", "scale": "smoke", "recipe": "common", "overrides": []}
    for seed, dice in enumerate((0.5, 0.6, 0.7)):
        record = {"value": str(seed), "setup": setup, "numbers": {"mmccd": {"mmccd": everything(source, dice)}}}
        files.write_json(repeats.folder("mmccd", "seed") / f"{seed}.json", record)
    stage_of("tables").main([])
    after = {path.name: path.read_text() for path in folder.glob("*.md")}
    assert {name for name in after if after[name] != before[name]} == set(after) - {"cost.md"}
    text = after["mmccd_table1.md"]
    assert "0.500 [0.500, 0.500]; 0.600±0.100 (3 seeds)" in text
    assert text.endswith("`seed` alone (same patients), out of 0, 1, 2.\n")


def test_a_seed_reaches_networks_and_the_seed_of_the_data_everything_else():
    """The tables read `seed` to know which of the recorded runs is this one."""
    stages = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    seen = {"seed": set(), "data_seed": set()}
    for name, stage in stages.items():
        body = stage.get("do", stage)
        script = re.search(r"python stages/(\w+)\.py", body["cmd"])[1]
        for key in seen:
            if key in body.get("params", []):
                seen[key].add(script)
        if script.startswith(NETWORKS) and not script.startswith("tune_labels"):
            assert "seed" in body["params"], name
    assert all(script.startswith(NETWORKS) for script in seen["seed"] - {"tables"})
    assert {"download", "preprocess", "external", "evaluate"} <= seen["data_seed"]
    assert not any(script.startswith(NETWORKS) for script in seen["data_seed"])
