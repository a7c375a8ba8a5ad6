"""Tables: exact text from known numbers, the paper's numbers as printed, and one-sentence errors for what is missing."""

import json
from pathlib import Path

import pytest

import ranking_toys
from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_json
from gliomap.scoring import costs, leaderboard, papers, ranking, tables
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.papers import Closest, Column, Paper, Printed
from stage_toys import stage_of

ROOT = Path(__file__).resolve().parents[1]
SETUP = tables.Setup("phantom", "common", "smoke", 0.95)
COUNTS = {"n_tumour_slices": 41.0, "n_patients_tumour": 3.0, "n_slices": 49.0, "n_patients": 4.0}


def entry(key: str, name: str = "", models: tuple[str, ...] = ()) -> Entry:
    return Entry(key, "toy", name or key, "none", ("flair",), models)


def numbers(dice: float | None, low: float | None = None, high: float | None = None) -> dict:
    ours = {"dice_slice_tumour": dice, "dice_slice_tumour_lo": low, "dice_slice_tumour_hi": high}
    return COUNTS | ours | {k.replace("tumour", "tumour_oracle", 1): v for k, v in ours.items()}


def paper(*rows: Printed) -> Paper:
    dice = Column("Dice", "dice", "dice_slice_tumour", "n_tumour_slices", True, 3, "Mean over slices.")
    closest = Closest("brats2021", "mmccd", "paper")
    return Paper("X", "A. Author, 2023", "test set", closest, "Oracle.", "Table 1", "Impossible.", (dice,), rows)


def printed(method: str, dice: float, doubtful: tuple[str, ...] = ()) -> Printed:
    return Printed(method, method.upper(), "slice labels", dice, 0.9, 0.3, 0.4, 0.5, 6.0, doubtful)


def test_a_markdown_table_letter_by_letter():
    found = tables.markdown(["a", "b"], [["x|y", "1"]], text_columns=1)
    assert found == "| a | b |\n| :--- | ---: |\n| x\\|y | 1 |"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0.58123, 0.5, 0.6), "0.581 [0.500, 0.600]"),
        ((0.58123, None, None), "0.581"),
        ((None, None, None), "-"),
        ((float("nan"), 0.1, 0.2), "-"),
    ],
)
def test_a_number_with_its_interval(values, expected):
    found = {"n_patients": 3, "d": values[0], "d_lo": values[1], "d_hi": values[2]}
    assert tables.with_interval(found, "d", 3, "m") == expected


def test_patients_go_with_the_slices_that_they_are_counted_for():
    found = [tables.patients_behind(name) for name in ("n_slices", "n_tumour_slices", "n_unhealthy_slices")]
    assert found == ["n_patients", "n_patients_tumour", "n_patients_unhealthy"]


def test_the_papers_table_letter_by_letter():
    found = papers.rows(
        paper(printed("ae", 0.2249, ("dice",)), printed("mmccd", 0.6092)),
        [entry("mmccd"), entry("random")],
        {"mmccd": numbers(0.5, 0.4, 0.6), "random": numbers(0.1)},
    )
    text = papers.text(paper(printed("ae", 0.2249, ("dice",))), found, SETUP)
    assert text.endswith(
        "## Dice\n\nMean over slices.\n\n"
        "| method | supervision | paper | validation | oracle | slices | patients |\n"
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: |\n"
        "| AE | slice labels | 0.2249 (a) | - (not in this version) | - | - | - |\n"
        "| MMCCD | slice labels | 0.6092 | 0.500 [0.400, 0.600] | 0.500 [0.400, 0.600] | 41 | 3 |\n"
        "| random | none | - | 0.100 | 0.100 | 41 | 3 |\n\n"
        "(a) Impossible.\n"
    )
    assert text.startswith("# X, Table 1: the paper's numbers and ours\n\nData: **phantom** (generated images, not")


def test_the_csv_holds_both_sides_and_says_what_is_missing():
    both = paper(printed("ae", 0.2249, ("auc", "assd")), printed("mmccd", 0.6092))
    found = papers.frame(both, papers.rows(both, [entry("mmccd")], {"mmccd": numbers(0.5)})).set_index("method")
    assert found.loc["mmccd", "paper_dice"] == 0.6092
    assert found.loc["mmccd", "dice_slice_tumour"] == 0.5
    assert found["note"].tolist() == ["not in this version; doubtful in the paper: auc assd", ""]


@pytest.mark.parametrize(
    ("setup", "said"),
    [
        (tables.Setup("phantom", "mmccd", "paper", 0.95), "images are generated"),
        (tables.Setup("brats2021", "common", "paper", 0.95), "closest to it would be `recipe: mmccd`."),
        (tables.Setup("msd", "common", "gpu", 0.95), "`data: brats2021`, `recipe: mmccd`, `scale: paper`"),
    ],
)
def test_a_run_that_reproduces_nothing_says_so(setup, said):
    found = papers.difference(paper(), setup)
    assert "No reproduction" in found
    assert said in found


def test_the_closest_run_is_not_called_different():
    assert "No reproduction" not in papers.difference(paper(), tables.Setup("brats2021", "mmccd", "paper", 0.95))


def test_mmccds_numbers_are_those_of_its_table_1():
    rows = papers.Paper.read(ROOT / "conf/papers/mmccd.yaml").rows
    assert [r.dice for r in rows] == [0.2249, 0.2640, 0.4619, 0.5662, 0.5810, 0.6092]
    assert [r.auc for r in rows] == [0.4621, 0.4739, 0.9298, 0.9267, 0.9409, 0.9409]
    assert [r.assd for r in rows] == [3.5936, 3.513, 7.5508, 6.5021, 6.3487, 6.1171]
    assert [r.method for r in rows if r.doubtful == ("auc", "assd")] == ["ae", "vae1"]
    # the mean of D / (2 - D) over slices is at least D / (2 - D) of the mean Dice: Jensen, so a slip of the pen shows
    assert all(r.dice / (2 - r.dice) <= r.jaccard <= r.dice for r in rows)


def test_a_typing_error_in_a_papers_file_is_named(tmp_path):
    text = (ROOT / "conf/papers/mmccd.yaml").read_text().replace("dice: 0.6092", "dicee: 0.6092")
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UserError, match=r"rows\[5\].*dicee.*did you mean 'dice'"):
        papers.Paper.read(tmp_path / "p.yaml")


def test_best_dice_first_none_last_ties_as_given():
    found = {"a": numbers(0.2), "b": numbers(None), "c": numbers(0.7), "d": numbers(0.2)}
    assert [e.key for e in tables.ranked([entry(k) for k in found], found)] == ["c", "a", "d", "b"]


def test_missing_metrics_name_file_and_remedy(tmp_path):
    with pytest.raises(UserError, match=r"m\.json: no such file"):
        leaderboard.numbers(tmp_path / "m.json", "evaluate@s")
    (tmp_path / "m.json").write_text('{"dice": "high"}')
    with pytest.raises(UserError, match=r"evaluate@s"):
        leaderboard.numbers(tmp_path / "m.json", "evaluate@s")
    with pytest.raises(UserError, match=r"metrics of m: dice_slice_tumour is missing"):
        tables.ranked([entry("m")], {"m": {}})


def test_methods_come_from_the_graph_in_its_order(tmp_path):
    graph = tmp_path / "graph.yaml"
    graph.write_text(
        "methods:\n  z: {pair: flair-t2, name: Z, supervision: none, needs: [models/a/b, models/a/b, src/x.py]}\n  a: {}\n"
    )
    z, a = leaderboard.entries(graph)
    assert (z.key, z.name, z.modalities, z.models) == ("z", "Z", ("flair", "t2"), ("a/b",))
    assert (a.name, a.supervision, a.modalities) == ("a", "not stated", ())


@pytest.mark.parametrize("text", ["methods: {}\n", "other: 1\n", "methods: {a: 3}\n"])
def test_a_graph_without_methods_is_refused(tmp_path, text):
    (tmp_path / "graph.yaml").write_text(text)
    with pytest.raises(UserError, match=r"graph\.yaml"):
        leaderboard.entries(tmp_path / "graph.yaml")


def write_cost(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for model, steps in (("mmccd-flair-t2", 3000), ("translator-t2-flair", 500)):
        (folder / f"train-{model}.json").write_text(json.dumps({"parameters": 10_000, "steps": steps, "seconds": 1.25}))
    for method, calls in (("mmccd", 1160), ("random", 0)):
        found = {"seconds_per_slice": 0.5, "evaluations_per_slice": calls, "slices": 98}
        (folder / f"infer-{method}.json").write_text(json.dumps(found))


def test_cost_sums_over_the_networks_of_a_method(tmp_path):
    write_cost(tmp_path)
    models = ("mmccd/flair-t2", "translator/t2-flair")
    table = costs.frame([entry("mmccd", "MMCCD", models), entry("random")], tmp_path)
    text = costs.text(table, SETUP)
    assert "| MMCCD | 2 | 20,000 | 3,500 | 2.5 | 0.50000 | 1,160 | 98 |\n| random | 0 | 0 | 0 | 0.0 |" in text


def test_cost_names_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"infer-random\.json: no such file"):
        costs.frame([entry("random")], tmp_path)
    (tmp_path / "infer-random.json").write_text("{}")
    with pytest.raises(UserError, match=r"seconds_per_slice, evaluations_per_slice, slices is missing"):
        costs.frame([entry("random")], tmp_path)


def everything(paper_file: Path, dice: float) -> dict:
    """Every metric that the tables ask for, all with the same value."""
    names = [name for column in papers.Paper.read(paper_file).columns for name in column.names()]
    names += ranking.METRICS
    found = {name + end: dice for name in names for end in ("", "_lo", "_hi")}
    found |= dict.fromkeys(ranking.COUNTS, 40) | {"tercile_mm2_lower": 310.0, "tercile_mm2_upper": 1240.0}
    found |= {"n_distance_slices": 40, "n_patients_distance": 2, "prevalence_pooled_brain": 0.1, "dice_ceiling": 0.9}
    return found | COUNTS


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which stages/tables.py can run."""
    (tmp_path / "conf/papers").mkdir(parents=True)
    (tmp_path / "conf/scale").mkdir()
    source = ROOT / "conf/papers/mmccd.yaml"
    for name in ("mmccd", "mmccd_table2"):
        (tmp_path / f"conf/papers/{name}.yaml").write_text((ROOT / f"conf/papers/{name}.yaml").read_text())
    (tmp_path / "conf/scale/smoke.yaml").write_text("evaluate: {}\n")
    (tmp_path / "conf/graph.yaml").write_text(
        "methods:\n  mmccd: {needs: [models/mmccd/flair-t2]}\n  random: {system: trivial, name: random, supervision: none}\n"
    )
    (tmp_path / "params.yaml").write_text(
        "data: phantom\nscale: smoke\nprotocol: common\nrecipe: common\nseed: 0\nseeds: [0, 1, 2]\ndata_seed: 0\n"
        "evaluate: {confidence: 0.95, replicates: 50}\nfigures: {dpi: 50}\n"
        "weigh: {weights: searched}\notsu: {threshold: otsu}\n"
    )
    write_cost(tmp_path / "metrics/cost")
    recipe = {"recipe": "common", "modalities": ["flair"], "pixel_mm": 2.0, "background": -1.0}
    for system in ("mmccd", "trivial", "anofpdm", "ddmd", "tsgm"):
        write_json(tmp_path / f"data/slices/{system}/recipe.json", recipe)
    for method, dice in (("mmccd/mmccd", 0.5), ("trivial/random", 0.25)):
        write_json(tmp_path / f"metrics/{method}.json", everything(source, dice))
        write_csv(tmp_path / f"scores/{method}.csv", ranking_toys.scores((dice,) * 4))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_the_same_tables_twice_and_seconds_in_costs_and_leaderboard_only(project):
    stage_of("tables").main([])
    first = {p.name: p.read_bytes() for p in (project / "metrics/tables").iterdir()}
    names = ("mmccd_table1", "mmccd_table2", "leaderboard", "cost")
    assert set(first) == {f"{name}.{end}" for name in names for end in ("csv", "md")}
    stage_of("tables").main([])
    assert first == {p.name: p.read_bytes() for p in (project / "metrics/tables").iterdir()}
    (project / "metrics/cost/infer-mmccd.json").write_text(
        json.dumps({"seconds_per_slice": 9.0, "evaluations_per_slice": 1, "slices": 98})
    )
    stage_of("tables").main([])
    changed = {p.name for p in (project / "metrics/tables").iterdir() if p.read_bytes() != first[p.name]}
    assert changed == {f"{name}.{end}" for name in ("cost", "leaderboard") for end in ("csv", "md")}


def test_the_stage_puts_paper_and_ours_side_by_side(project):
    stage_of("tables").main([])
    text = (project / "metrics/tables/mmccd_table1.md").read_text()
    assert "| MMCCD | slice labels | 0.6092 | 0.500 [0.500, 0.500] | 0.500 [0.500, 0.500] | 41 | 3 |" in text
    assert "| AE | slice labels | 3.5936 (a) | - (not in this version) | - | - | - |" in text
    assert text.index("| AE |") < text.index("| DDPM |") < text.index("| Cyclic U-Net |") < text.index("| MMCCD |")


def test_the_stage_without_an_evaluated_method_writes_nothing(project):
    (project / "metrics/trivial/random.json").unlink()
    with pytest.raises(UserError, match=r"random\.json: no such file"):
        stage_of("tables").main([])
    assert not (project / "metrics/tables").exists()
