"""What dvc.yaml makes of `protocol`: which recipe each store gets, and whose networks the DPM rows take."""

import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dvc.parsing import DataResolver
from dvc.repo import Repo
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
OWN = {"mmccd": "mmccd", "anofpdm": "anofpdm", "ddmd": "ddmd", "tsgm": "tsgm", "trivial": "common"}


@cache
def stages(protocol: str) -> dict[str, dict]:
    """Every stage of dvc.yaml under a protocol, templates filled in."""
    with TemporaryDirectory() as folder:
        for name in ("dvc.yaml", "conf/graph.yaml", "params.yaml"):
            (Path(folder) / name).parent.mkdir(exist_ok=True)
            text = re.sub(r"(?m)^protocol: \S+", f"protocol: {protocol}", (ROOT / name).read_text())
            (Path(folder) / name).write_text(text)
        definition = YAML(typ="safe", pure=True).load((Path(folder) / "dvc.yaml").read_text())
        with Repo(folder, uninitialized=True) as repo:
            return DataResolver(repo, folder, definition).resolve()["stages"]


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
