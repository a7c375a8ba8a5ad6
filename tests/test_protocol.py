"""What dvc.yaml makes of `protocol` (recipe of each store, whose networks the DPM rows take) and of tools/pairs.py."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dvc.parsing import DataResolver
from dvc.repo import Repo
from ruamel.yaml import YAML
from tools import pairs

from gliomap.base.errors import UserError
from gliomap.scoring import modality_table
from gliomap.scoring.modality_table import PairsPaper

ROOT = Path(__file__).resolve().parents[1]
SWITCHED = (pairs.GRAPH, pairs.PIPELINE)
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


@cache
def with_pairs(*words: str) -> dict[str, dict]:
    """After tools/pairs.py with these words."""
    choice = pairs.Choice.of(list(words))
    return resolved(lambda name, text: pairs.edited(Path(name), text, choice) if Path(name) in SWITCHED else text)


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


def test_all_of_mmccds_table_2_runs_after_one_command():
    found = with_pairs("all")
    cells = modality_table.cells(PairsPaper.read(ROOT / "conf/papers/mmccd_table2.yaml"), {})
    made = {str(out) for stage in found.values() for out in stage.get("outs", [])}
    read = {str(dep) for stage in found.values() for dep in stage["deps"]}
    assert len(cells) == 24
    for cell in cells:
        for split in ("val", "test"):
            assert f"predictions/mmccd/{split}/{cell.key}.npz" in made, cell
        assert cell.key in found["evaluate@mmccd"]["cmd"].split()
    assert {path for path in read if path.startswith(("models/mmccd/", "models/translator/", "models/levels/"))} <= made
    trained = {word.split("=")[1] for word in found["train_rebuild"]["cmd"].split() if "=" in word and "/" in word}
    assert {f"models/rebuild/{word.replace('/', '-')}" for word in trained} <= made
    assert {"dae/t1", "ddpm/t2"} <= trained


def test_the_default_is_what_is_committed_and_every_choice_leads_back_to_it():
    default = pairs.Choice.of(["default"])
    for path in SWITCHED:
        text = (ROOT / path).read_text()
        assert pairs.edited(path, text, default) == text
        for words in (["all"], ["t1-t2"], ["t2-t1", "t1"]):
            changed = pairs.edited(path, text, pairs.Choice.of(words))
            assert pairs.edited(path, changed, default) == text


def test_rows_that_others_added_stay_and_a_list_that_is_not_there_is_one_sentence():
    text = (ROOT / pairs.GRAPH).read_text()
    text = text.replace("dae_coarse ddpm_flair\n", "dae_coarse ddpm_flair asymmetry\n", 1)
    text = text.replace("=ddpm/flair\n", "=ddpm/flair mine=dae/t1ce\n", 1)
    found = YAML(typ="safe", pure=True).load(pairs.edited(pairs.GRAPH, text, pairs.Choice.of(["all"])))
    assert found["systems"]["mmccd"].split()[-5:] == ["dae_t2", "ddpm_t2", "dae_t1", "ddpm_t1", "asymmetry"]
    assert found["rebuilt"].split()[-2:] == ["ddpm_t1=ddpm/t1", "mine=dae/t1ce"]
    with pytest.raises(UserError, match=r"conf/graph.yaml: found no line `rebuilt:` with ddpm_flair=ddpm/flair, expected"):
        pairs.edited(pairs.GRAPH, text.replace("rebuilt: ", "rebuild: "), pairs.Choice.of(["all"]))


def test_training_curves_are_those_of_the_networks_that_are_trained():
    for words in (["flair-t2"], ["default"], ["all"]):
        choice = pairs.Choice.of(words)
        text = pairs.edited(pairs.PIPELINE, (ROOT / pairs.PIPELINE).read_text(), choice)
        shown = set(re.findall(r"(?m)^        models/((?:mmccd|translator)/\w+-\w+)/log\.csv:", text))
        made = (str(out) for stage in with_pairs(*words).values() for out in stage.get("outs", []))
        assert shown == set(re.findall(r"models/((?:mmccd|translator)/\w+-\w+)", " ".join(made)))


def test_a_pair_takes_both_of_its_translators_and_no_other_rows():
    found = with_pairs("t1-t2", "t1")
    names = {name for name in found if name.startswith(("train_translator", "train_mmccd"))}
    assert names == {
        *(f"train_translator@{pair}" for pair in ("flair-t2", "t2-flair", "t1-t2", "t2-t1")),
        *(f"train_mmccd@{pair}" for pair in ("flair-t2", "t1-t2")),
    }
    assert {"infer@mmccd_t1_t2", "infer@cyclic_unet_t1_t2"} <= set(found)
    assert "infer@mmccd_t2_flair" not in found
    rebuilt = found["infer_rebuild"]["cmd"].split()
    assert "dae_t1=dae/t1" in rebuilt
    assert "dae_t2=dae/t2" not in rebuilt


def test_a_pair_that_does_not_exist_is_one_sentence():
    with pytest.raises(UserError, match=r"found the pair 't1-t1ce', expected some of flair-t2, .*, default; change"):
        pairs.Choice.of(["t2-t1", "t1-t1ce"])
