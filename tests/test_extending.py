"""docs/extending.md is literally true: its two methods, word for word, pass the DAG's tests and reach the tables."""

import os
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

import closure
import extending
import gliomap.methods
import test_dag
from gliomap.base import files
from gliomap.scoring import method_grid
from stage_toys import stage_of

pytestmark = [pytest.mark.pipeline, pytest.mark.slow]
NEW = {"train@mirror", "infer@asymmetry", "infer@mirror"}
LONGER = {"calibrate@trivial", "evaluate@trivial"}  # with both keys at the end of their command
ORDER = ("train@mirror", "infer@asymmetry", "infer@mirror", "infer_thresholds", "infer@random", *sorted(LONGER))
ROWS = {"asymmetry": "Left against right", "mirror": "Told from the other side"}
MISNAMED = "misnamed"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The copy with both methods; the package finds their files, and this process stands in the copy."""
    from dvc.repo import Repo

    folder = extending.project(tmp_path_factory.mktemp("extended") / "toy")
    Repo.init(str(folder), no_scm=True).close()
    method_grid._opened.cache_clear()  # keyed by a path relative to this one
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        patch.setattr(gliomap.methods, "__path__", [*gliomap.methods.__path__, str(folder / "src/gliomap/methods")])
        yield folder
    method_grid._opened.cache_clear()
    for name in (*ROWS, MISNAMED):
        sys.modules.pop(f"gliomap.methods.{name}", None)


@pytest.fixture(scope="module")
def stages(project):
    """Every stage of the copy as DVC resolves it."""
    from dvc.repo import Repo

    with Repo(str(project)) as repo:
        return {stage.name: stage for stage in repo.index.stages}


@pytest.fixture
def in_copy(project):
    """The tests of the DAG look at the copy."""
    with pytest.MonkeyPatch.context() as patch:  # of our own: one of those tests undoes the usual one
        patch.setattr(test_dag, "ROOT", project)
        patch.setattr(test_dag, "MODULES", project / "src" / "gliomap" / "methods")
        patch.setattr(test_dag, "closure", partial(closure.closure, root=project))
        yield


def run(stage) -> None:
    script, argv = test_dag.command(stage)
    stage_of(script.stem).main(argv)


@pytest.fixture(scope="module")
def finished(project, stages):
    """The new methods and the floors, trained, inferred, calibrated and evaluated by the commands of dvc.yaml."""
    for name in ORDER:
        run(stages[name])
    graph = YAML(typ="safe", pure=True).load(Path("conf/graph.yaml").read_text())
    graph["systems"] = {name: rows for name, rows in graph["systems"].items() if name == "trivial"}
    for kind in ("methods", "together"):
        graph[kind] = {key: row for key, row in graph[kind].items() if row["system"] in graph["systems"]}
    graph.pop("mixed_rows")
    with open("conf/graph.yaml", "w") as stream:
        YAML().dump(graph, stream)  # the other systems have not run here
    for name in ("tables", "figures"):
        run(stages[name])
    return project


def test_the_doc_names_a_file_and_a_place_for_every_block():
    text = (extending.ROOT / "docs" / "extending.md").read_text()
    assert len(extending.blocks()) == text.count("```\n\n") == 9
    made = [names[0] for names, _, body in extending.blocks() if body.startswith('"""')]
    assert made == [f"src/gliomap/methods/{name}.py" for name in ROWS]


def test_the_new_stages_are_there_and_all_others_are_as_they_were(stages):
    from dvc.repo import Repo

    with Repo(str(extending.ROOT)) as repo:
        before = {stage.name: stage.cmd for stage in repo.index.stages}
    assert set(stages) - set(before) == NEW
    assert {name for name, command in before.items() if stages[name].cmd != command} == LONGER


def test_the_docs_lines_are_complete(stages, in_copy):
    new = {name: stages[name] for name in NEW}
    test_dag.test_deps_hold_the_import_closure(new)
    test_dag.test_metrics_and_plots_stay_in_git_and_big_outputs_do_not(new)
    test_dag.test_deps_hold_no_code_that_is_not_imported(stages)


def test_the_new_stages_declare_the_parameters_that_they_read(stages, in_copy, monkeypatch):
    test_dag.test_declared_params_are_the_sections_the_script_reads({name: stages[name] for name in NEW}, monkeypatch)


def test_every_new_parameter_is_read_at_every_scale_and_every_row_is_scored(stages, in_copy):
    test_dag.test_every_key_in_params_yaml_is_read_by_some_stage(stages)
    test_dag.test_every_method_belongs_to_one_system_that_scores_it()
    for scale in ("smoke", "laptop", "gpu", "paper"):
        test_dag.test_every_scale_fills_every_auto_and_nothing_else(scale)


def test_the_chain_from_training_to_tables_has_no_gap(stages):
    made = {str(out): name for name, stage in stages.items() for out in stage.outs}
    for name, wanted in {
        "infer@mirror": "train@mirror", "calibrate@trivial": "infer@mirror", "evaluate@trivial": "calibrate@trivial",
        "tables": "evaluate@trivial", "figures": "evaluate@trivial",
    }.items():  # fmt: skip
        read = [d.rstrip("/") for d in test_dag.files_of(stages[name], "deps")]
        makers = {maker for out, maker in made.items() for d in read if out == d or out.startswith(d + os.sep)}
        assert wanted in makers, f"{name} does not depend on {wanted}"


def test_both_methods_find_the_bright_discs_better_than_chance(finished):
    for key in ROWS:
        numbers = files.read_json(Path("metrics/trivial") / f"{key}.json")
        assert numbers["auprc_pooled_brain"] > 2 * numbers["prevalence_pooled_brain"], key
        assert numbers["n_patients"] == 3


def test_both_methods_stand_in_the_tables_with_what_they_cost(finished):
    texts = [path.read_text() for path in Path("metrics/tables").glob("*.md")]
    for name in ROWS.values():
        assert sum(f"| {name} |" in text for text in texts) >= 2, name
    cost = pd.read_csv("metrics/tables/cost.csv").set_index("method")
    assert cost.loc["mirror", "training_steps"] == 20
    assert cost.loc["mirror", "evaluations_per_slice"] == 1
    assert cost.loc["asymmetry", "networks"] == 0


def test_both_methods_have_a_picture_and_a_curve(finished):
    for key, name in ROWS.items():
        assert Path(f"plots/grids/{key}.png").stat().st_size > 10_000
        assert name in set(pd.read_csv("plots/pr.csv")["method"])


def test_a_file_and_its_training_must_have_one_name(project, stages):
    folder = project / "src/gliomap/methods"
    (folder / f"{MISNAMED}.py").write_text((folder / "mirror.py").read_text())
    with pytest.raises(files.UserError, match=r"misnamed\.py: Training\.name is not 'misnamed'"):
        stage_of("train").main(
            [MISNAMED if word == "mirror" else word for word in test_dag.command(stages["train@mirror"])[1]]
        )
