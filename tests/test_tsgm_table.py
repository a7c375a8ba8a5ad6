"""TSGM's tables 2 and 3: the paper's numbers, ours beside them on three cohorts, and why a cell is empty."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.scoring import tables, tsgm_table
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.tsgm_table import Found, Rules

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "conf/papers/tsgm.yaml"
SETUP = tables.Setup("phantom", "common", "smoke", 0.95)
RULES = Rules("searched", "otsu")
KINDS = {"icts": "phantom", "inhouse": "local"}
THERE = {"icts": ("t1ce",), "inhouse": MODALITIES}


@pytest.fixture(scope="module")
def paper():
    return tsgm_table.TsgmPaper.read(FILE)


def entry(key, system="tsgm"):
    return Entry(key, system, f"our {key}", "slice labels", (), ())


def ours(paper, mean=0.7, sd=0.1, **changes):
    """Every number that the tables ask for, all the same."""
    found = {}
    for column in paper.columns:
        for name in column.ours.values():
            found |= {name: mean} if column.unit == "share" else {f"{name}_mean": mean, f"{name}_sd": sd}
        found |= dict.fromkeys(column.counts.values(), 41)
    found |= {"dice_mean_low": 0.6, "dice_mean_high": 0.8, "n_patients": 4, "n_patients_tumour": 3}
    return found | {"component_mm2": 400.0} | changes


def made(**numbers):
    """Found of `population__row` keywords."""
    cells = {tuple(key.split("__")): value for key, value in numbers.items()}
    return Found({row: entry(row) for _, row in cells}, KINDS, THERE, cells)


def block(text, title):
    """Lines of the table below a title."""
    first = text[text.index(f"## {title}\n") :]
    return first[first.index("| paper's cohort") :].split("\n\n")[0].splitlines()


def test_the_papers_numbers_are_those_of_its_table_2(paper):
    printed = {(row.cohort, row.method): row for row in paper.table2.rows}
    assert [m for c, m in printed if c == "test"] == ["cyclegan", "vae", "fanogan", "dpm_cf", "dpm_clf", "tsgm"]
    assert [m for c, m in printed if c == "icts"] == ["cyclegan", "vae", "fanogan", "dpm_cf", "dpm_clf_flair", "tsgm"]
    assert printed["test", "tsgm"].dice == "85.90±0.12"
    assert (printed["icts", "tsgm"].dice, printed["inhouse", "tsgm"].dice) == ("62.26±0.17", "74.03±0.21")
    assert printed["icts", "vae"].hd95 == "-"
    distance = {key: float(row.hd95.split("±")[0]) for key, row in printed.items() if row.hd95 != "-"}
    assert min((d, m) for (c, m), d in distance.items() if c == "test") == (2.86, "fanogan")  # as the convention says


def test_what_is_said_of_the_published_auprc_holds_for_the_papers_rows(paper):
    """TSGM spec 6: 2 AUPRC = PRE + REC + p (1 - REC) with p, the share of tumour pixels, near 3 % on BraTS."""
    shares = {}
    for row in paper.table2.rows:
        if row.cohort == "test":
            auprc, precision, recall = (float(v.split("±")[0]) / 100 for v in (row.auprc, row.precision, row.recall))
            shares[row.method] = (2 * auprc - precision - recall) / (1 - recall)
    assert all(0.028 < share < 0.037 for key, share in shares.items() if key != "tsgm")
    assert shares["tsgm"] == pytest.approx(0.0125, abs=0.001)


def test_the_rows_of_table_3_that_table_2_has_too_are_the_same(paper):
    both = {row.method: row for row in paper.table2.rows if row.cohort == "test"}
    variants = ["flair", "t2", "", "multi"]
    assert [row.method for row in paper.table3.rows] == [
        "_".join(filter(None, (base, variant))) for base in ("cyclegan", "tsgm") for variant in variants
    ]
    for row in paper.table3.rows:
        if row.method in both:
            assert replace(row, name="") == replace(both[row.method], name="")


def test_the_first_lines_say_what_the_cohorts_are_and_what_was_seen(paper):
    text = tsgm_table.text(paper, paper.table2, made(test__tsgm=ours(paper)), SETUP, RULES)
    head = text[: text.index("## DSC")]
    assert text.splitlines()[0] == "# TSGM, Table 2: the paper's numbers and ours (all methods, three cohorts)"
    assert "Data: **phantom** (generated images, not patients)" in text.splitlines()[2]
    assert "- BraTS 2020 (`test`): here the test slices of `data: phantom`." in head
    assert "- ICTS (`icts`): here **generated images, not patients**, that stand in for it; T1ce; tested only." in head
    assert "- In-house (`inhouse`): here the local folder in conf/external; T1, T1ce, T2, FLAIR; tested only." in head
    assert "searched on the **pixel masks of validation patients**" in head
    assert "Masks: Otsu's threshold of each slice, over the whole image; components of at most 400 mm² leave." in head
    assert not re.search(r"\n\n\n", text)
    other = tsgm_table.text(paper, paper.table3, made(), SETUP, Rules("published", "validation"))
    assert "Ours are those of the released code, chosen on pixel masks. Masks: one threshold a row" in other
    assert "ICTS" not in other[: other.index("Paper: ")]


def test_the_table_letter_by_letter(paper):
    cells = {"test__cyclegan": ours(paper, 0.5, dice_oracle_weights_mean=None, dice_oracle_weights_sd=None),
             "test__regression": ours(paper, 0.4, n_patients_tumour=1, dice_mean_low=None, dice_mean_high=None),
             "icts__cyclegan": ours(paper, sd=None),
             "inhouse__vae": ours(paper, 0.3)}  # fmt: skip
    found = block(tsgm_table.text(paper, paper.table2, made(**cells), SETUP, RULES), "DSC")
    absent = "- (not in this version) | - | - | - | - |"
    assert found[:5] == [
        "| paper's cohort | method | paper | ours | no filter | best weights (oracle) | tumour slices | patients |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| BraTS 2020 | CycleGAN | 84.58±0.09 | 50.00±0.10 [60.0, 80.0] | 50.00±0.10 | - | 41 | 3 |",
        f"| BraTS 2020 | VAE | 42.79±0.08 | {absent}",
        f"| BraTS 2020 | f-AnoGAN | 22.06±0.07 | {absent}",
    ]
    assert found[8] == "| BraTS 2020 | our regression | - | 40.00±0.10 | 40.00±0.10 | 40.00±0.10 | 41 | 1 |"
    assert found[9] == "| ICTS | CycleGAN | 55.57±0.13 | 70.00 [60.0, 80.0] | 70.00 | 70.00 | 41 | 3 |"
    assert found[10] == "| ICTS | VAE | - | - (needs T1, T2, FLAIR) | - | - | - | - |"
    assert found[17].startswith("| In-house | VAE | 19.92±0.14 | 30.00±0.10 [60.0, 80.0] |")


def test_distances_are_no_hundredths_and_shares_have_no_spread(paper):
    cell = ours(paper, hd95_onesided_px_mean=7.654, hd95_onesided_px_sd=5.5, n_no_distance=2, alarm_rate_healthy=0.25)
    text = tsgm_table.text(paper, paper.table3, made(test__tsgm_t2=cell), SETUP, RULES)
    assert "| TSGM, T2 only | 18.11±8.92 | 7.65±5.50 | 0.70±0.10 | 41 | 2 | 3 |" in block(text, "HD95")[7]
    assert block(text, "False alarms")[7] == "| BraTS 2020 | TSGM, T2 only | 25.0 | 70.0 | 70.0 | 41 | 41 | 4 |"


def test_the_frame_keeps_units_and_says_why_a_row_is_empty(paper):
    frame = tsgm_table.frame(paper, paper.table2, made(test__tsgm=ours(paper), inhouse__vae=ours(paper)))
    at = frame.set_index(["cohort", "method"])
    row = at.loc["test", "tsgm"]
    names = ["paper_dice", "paper_dice_sd", "dice_mean", "dice_sd", "dice_mean_low"]
    assert row[names].tolist() == [85.9, 0.12, 0.7, 0.1, 0.6]
    assert (row["hd95_mm_mean"], row["alarm_rate_healthy"], row["note"]) == (0.7, 0.7, "")
    assert at.loc[("icts", "vae"), "note"] == "needs T1, T2, FLAIR"
    assert at.loc[("test", "vae"), "note"] == "not in this version"
    assert at.loc[("icts", "vae"), ["paper_dice", "paper_auprc_sd", "dice_mean"]].isna().all()
    assert "dice_nofilter_mean_low" not in frame
    assert len(tsgm_table.frame(paper, paper.table3, made())) == 8


def cohorts(folder):
    for name, modalities in THERE.items():
        files.write_text(folder / f"conf/external/{name}.yaml", f"kind: phantom\nmodalities: [{', '.join(modalities)}]\n")


def test_numbers_are_read_where_the_modalities_are_there(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cohorts(tmp_path)
    wanted = [(p, k) for p in ("test", "icts", "inhouse") for k in ("tsgm", "vae", "tsgm_t2") if p != "icts" or k == "tsgm"]
    for population, key in wanted:
        files.write_json(f"metrics/otsu/{population}/{key}.json", ours(paper))
    entries = [entry("mmccd", "mmccd"), *map(entry, ("tsgm", "vae", "tsgm_t2"))]
    found = tsgm_table.find(paper, entries)
    assert set(found.numbers) == set(wanted)
    assert found.kinds == {"icts": "phantom", "inhouse": "phantom"}
    Path("metrics/otsu/inhouse/vae.json").unlink()
    with pytest.raises(UserError, match=r"metrics/otsu/inhouse/vae.json: no such file"):
        tsgm_table.find(paper, entries)


def test_without_the_system_nothing_is_read(paper, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not tsgm_table.find(paper, [entry("mmccd", "mmccd")]).numbers


def test_a_missing_number_is_named(paper):
    broken = ours(paper)
    del broken["auprc_map_sd"]
    with pytest.raises(UserError, match=r"otsu/test/tsgm.json: auprc_map_sd is missing; run `dvc repro -f evaluate_otsu`"):
        tsgm_table.text(paper, paper.table2, made(test__tsgm=broken), SETUP, RULES)


def test_an_unknown_key_of_the_paper_is_refused(tmp_path):
    path = tmp_path / "tsgm.yaml"
    path.write_text(FILE.read_text().replace("unit: length", "unit: mm"))
    with pytest.raises(UserError, match=r"columns\[5\].unit is 'mm'"):
        tsgm_table.TsgmPaper.read(path)
