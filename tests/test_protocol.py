"""What dvc.yaml makes of `protocol`: which recipe each store gets, and whose networks the DPM rows take."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dvc.parsing import DataResolver
from dvc.repo import Repo
from ruamel.yaml import YAML

from gliomap.scoring import modality_table

ROOT = Path(__file__).resolve().parents[1]
OWN = {"mmccd": "mmccd", "anofpdm": "anofpdm", "ddmd": "ddmd", "tsgm": "tsgm", "trivial": "common"}


def resolved(edit: Callable[[str, str], str]) -> dict[str, dict]:
    """Every stage of dvc.yaml, templates filled in, once `edit` (file name, text) has changed dvc.yaml, graph and params."""
    with TemporaryDirectory() as folder:
        for name in ("dvc.yaml", "conf/graph.yaml", "params.yaml"):
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            (Path(folder) / name).write_text(edit(name, (ROOT / name).read_text()))
        definition = YAML(typ="safe", pure=True).load((Path(folder) / "dvc.yaml").read_text())
        with Repo(folder, uninitialized=True) as repo:
            return DataResolver(repo, folder, definition).resolve()["stages"]


@cache
def stages(protocol: str) -> dict[str, dict]:
    """Under a protocol."""
    return resolved(lambda _, text: re.sub(r"(?m)^protocol: \S+", f"protocol: {protocol}", text))


@pytest.mark.parametrize(("protocol", "recipes"), [("common", dict.fromkeys(OWN, "common")), ("paper", OWN)])
def test_each_system_gets_the_recipe_that_the_documentation_says(protocol, recipes):
    words = stages(protocol)["preprocess@all"]["cmd"].split("preprocess.py ")[1].split()
    assert dict(word.split("=") for word in words) == recipes
    assert stages(protocol)["external@tsgm"]["cmd"].split()[-1] == recipes["tsgm"]
    read = {key for key in stages(protocol)["preprocess@all"]["params"] if str(key).startswith("preprocess.")}
    assert read == {f"preprocess.{name}" for name in recipes.values()}


def test_the_networks_of_the_dpm_rows_are_trained_on_the_slices_that_they_score():
    for protocol, folder in (("common", "models"), ("paper", "models/dpm/models")):
        rows = stages(protocol)["residuals_baselines@tsgm"]
        assert f"dpm_clf={folder} dpm_cf={folder} " in rows["cmd"]
        assert {f"{folder}/cfg/all", f"{folder}/guided/all", f"{folder}/classifier/all"} <= set(rows["deps"])
        for stage in ("train_cfg", "train_guided"):
            assert stages(protocol)[f"{stage}@of_common"]["cmd"].endswith("--store anofpdm --root .")
            assert (f"{stage}@of_paper" in stages(protocol)) == (protocol == "paper")
    assert stages("paper")["train_cfg@of_paper"]["cmd"].endswith("--store tsgm --root models/dpm")
    assert stages("paper")["train_cfg@of_paper"]["outs"] == ["models/dpm/models/cfg/all"]


def test_a_stage_reads_the_slices_that_its_command_names():
    for protocol in ("common", "paper"):
        for name, stage in stages(protocol).items():
            if named := re.search(r"--store (\w+)", stage["cmd"]):
                read = {str(dep).split("/")[2] for dep in stage["deps"] if str(dep).startswith("data/slices/")}
                assert read == {named[1]}, name


def test_both_protocols_have_the_same_stages_but_for_the_trainings_on_tsgms_slices():
    assert set(stages("paper")) - set(stages("common")) == {"train_cfg@of_paper", "train_guided@of_paper"}
    assert not set(stages("common")) - set(stages("paper"))


def test_all_of_mmccds_table_2_runs_after_the_edits_that_the_graph_asks_for():
    graph = (ROOT / "conf/graph.yaml").read_text()
    words = re.search(r"(?m)^# add +(dae_t2=.*?) +to `rebuilt`", graph)[1]

    def edit(name: str, text: str) -> str:
        if name == "dvc.yaml":
            return re.sub(r"(?m)^      # - ", "      - ", text)
        if name == "conf/graph.yaml":
            text = re.sub(r"(?m)^  # (- \w+-\w+$|\w+: \{system: mmccd)", r"  \1", text)
            return re.sub(r"(?m)^(rebuilt: .*)$", rf"\1 {words}", text)
        return text

    found = resolved(edit)
    cells = modality_table.cells(modality_table.PairsPaper.read(ROOT / "conf/papers/mmccd_table2.yaml"), {})
    made = {str(out) for stage in found.values() for out in stage.get("outs", [])}
    read = {str(dep) for stage in found.values() for dep in stage["deps"]}
    assert len(cells) == 24
    for cell in cells:
        for split in ("val", "test"):
            assert f"predictions/mmccd/{split}/{cell.key}.npz" in made, cell
    assert {path for path in read if path.startswith(("models/mmccd/", "models/translator/", "models/levels/"))} <= made
    assert {f"models/rebuild/{word.split('=')[1].replace('/', '-')}" for word in words.split()} <= made
