"""Folds and seeds as experiments: what is run, kept, skipped; DVC is a small script here, git is real."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tools import repeat as tool

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.scoring import repeats
from gliomap.scoring.tables import Setup

ROOT = Path(__file__).resolve().parents[1]
FOLDS = ["splits.fold=0,1,2", "-S", "splits.mode=heldout", "--system", "ddmd"]
SETUP = Setup("phantom", "common", "smoke", 0.95)
PARAMS = "data: phantom\nscale: smoke\nrecipe: common\nseed: 0\nseeds: [0, 1, 2]\n"
GRAPH = "systems: {mmccd: mmccd cyclic_unet, anofpdm: ddim, ddmd: unet, tsgm: tsgm}\n"
PATHS = {  # of the numbers that each target writes
    "evaluate@ddmd": "ddmd/unet", "evaluate_confusion": "confusion/unet", "evaluate@mmccd": "mmccd/mmccd",
    "evaluate@anofpdm": "anofpdm/ddim", "evaluate_mixed": "mixed/ddim", "evaluate@tsgm": "tsgm/tsgm",
    "evaluate_otsu": "otsu/icts/tsgm",
}  # fmt: skip
FAKE = f"""#!{sys.executable}
# As `dvc exp run --temp -n NAME -S a=b ... targets`: one commit on top of HEAD under refs/exps, the workspace untouched.
import json, os, subprocess, sys
def git(*words, **options):
    return subprocess.run(["git", *words], check=True, capture_output=True, text=True, **options).stdout.strip()
words = sys.argv[1:]
assert words[:4] == ["exp", "run", "--temp", "-n"]
name = words[4]
settings = dict(w.split("=") for w in words if "=" in w)
open("calls.txt", "a").write(" ".join(words) + "\\n")
fold = int(settings.get("splits.fold", settings.get("seed", 0)))
if os.environ.get("FAIL_AT") == str(fold):
    sys.exit(3)
index = dict(os.environ, GIT_INDEX_FILE=os.path.abspath(".git/fake-index"))
git("read-tree", "HEAD", env=index)
targets = [w for w in words if w.startswith("evaluate")]
for path, value in zip([f"metrics/{{ {PATHS!r}[target] }}.json" for target in targets], (0.2 + fold, 0.5 + fold / 10)):
    blob = git("hash-object", "-w", "--stdin", input=json.dumps({{"dice_slice_tumour": value, "n_patients": 4}}))
    git("update-index", "--add", "--cacheinfo", "100644," + blob + "," + path, env=index)
commit = git("commit-tree", git("write-tree", env=index), "-p", "HEAD", "-m", name)
git("update-ref", "refs/exps/ab/cdef/" + name, commit)
"""


def git(*words):
    subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with a committed params.yaml, and a dvc on the PATH."""
    folder, programs = tmp_path / "repo", tmp_path / "bin"
    (folder / "src").mkdir(parents=True)
    programs.mkdir()
    (programs / "dvc").write_text(FAKE)
    (programs / "dvc").chmod((programs / "dvc").stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "n")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "e@x")
    files.write_text("params.yaml", PARAMS)
    files.write_text("conf/graph.yaml", GRAPH)
    files.write_text("conf/scale/smoke.yaml", "{}\n")
    files.write_text("src/code.py", "x = 1\n")
    files.write_text(".gitignore", "calls.txt\n")
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-qm", "one")
    return folder


def calls():
    return Path("calls.txt").read_text().splitlines() if Path("calls.txt").exists() else []


def commit(path, text):
    files.write_text(path, text)
    git("add", "-A")
    git("commit", "-qm", "more")


def test_every_fold_is_run_once_and_its_numbers_kept(project):
    tool.main(FOLDS)
    assert len(calls()) == 3
    assert calls()[1].endswith("-S splits.mode=heldout -S splits.fold=1 evaluate@ddmd evaluate_confusion")
    found = files.read_json("metrics/repeats/ddmd/splits.fold/1.json")
    assert found["numbers"] == {
        "ddmd": {"unet": {"dice_slice_tumour": 1.2, "n_patients": 4}},
        "confusion": {"unet": {"dice_slice_tumour": 0.6, "n_patients": 4}},
    }
    assert (found["parameter"], found["value"], found["system"]) == ("splits.fold", "1", "ddmd")
    setup = found["setup"]
    assert {name: setup[name] for name in ("data", "scale", "recipe")} == {
        "data": "phantom", "scale": "smoke", "recipe": "common"
    }  # fmt: skip
    assert setup["overrides"] == ["splits.mode=heldout"]
    assert len(setup["revision"]) == 40
    status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    assert status == "?? metrics/\n"  # nothing else of the workspace has changed


def test_mean_and_sample_standard_deviation_over_the_folds(project):
    tool.main(FOLDS)
    found = repeats.read(repeats.folder("ddmd", "splits.fold"), "confusion", SETUP)
    mean, sd, n = found.spread("unet", "dice_slice_tumour")
    assert (mean, sd, n) == (pytest.approx(0.6), pytest.approx(0.1), 3)  # 0.5, 0.6, 0.7 by hand, with n - 1
    assert found.values == ("0", "1", "2")
    assert "splits.fold = 0, 1, 2, splits.mode=heldout" in repeats.sentence(found, "splits.fold")
    assert found.spread("unet", "dice_pooled") is None
    other = Setup("phantom", "common", "gpu", 0.95)
    assert repeats.read(repeats.folder("ddmd", "splits.fold"), "confusion", other) == repeats.NONE_YET


def test_what_is_recorded_is_skipped_also_after_the_results_are_committed(project):
    tool.main(FOLDS)
    tool.main(FOLDS)
    assert len(calls()) == 3
    commit("README.md", "results\n")
    tool.main(["splits.fold=0,1,2,3", *FOLDS[1:]])
    assert len(calls()) == 4


def test_another_setup_or_other_code_is_run_again(project):
    tool.main(["splits.fold=0", *FOLDS[1:]])
    tool.main(["splits.fold=0", "-S", "splits.mode=repeat", "--system", "ddmd"])
    assert len(calls()) == 2
    commit("src/code.py", "x = 2\n")
    tool.main(["splits.fold=0", "-S", "splits.mode=repeat", "--system", "ddmd"])
    assert len(calls()) == 3


def test_an_interrupted_run_goes_on_where_it_stopped(project, monkeypatch):
    monkeypatch.setenv("FAIL_AT", "1")
    with pytest.raises(UserError, match="ended with exit code 3 and left no commit, expected 0; mend"):
        tool.main(FOLDS)
    assert [p.name for p in Path("metrics/repeats/ddmd/splits.fold").iterdir()] == ["0.json"]
    monkeypatch.delenv("FAIL_AT")
    Path("metrics/repeats/ddmd/splits.fold/0.json").unlink()  # stopped before it was written: the experiment is there
    tool.main(FOLDS)
    assert [line.split("splits.fold=")[1][0] for line in calls()] == ["0", "1", "1", "2"]


def test_seeds_are_repeated_alike(project):
    tool.main(["seed=1,2", "--system", "ddmd", "-S", "data=local", "-S", "scale=gpu"])
    setup = files.read_json("metrics/repeats/ddmd/seed/2.json")["setup"]
    assert (setup["data"], setup["scale"], setup["overrides"]) == ("local", "gpu", ["data=local", "scale=gpu"])


@pytest.mark.parametrize(("system", "targets", "numbers"), [
    ("mmccd", "evaluate@mmccd", {"mmccd": {"mmccd": {"dice_slice_tumour": 1.2, "n_patients": 4}}}),
    ("anofpdm", "evaluate@anofpdm evaluate_mixed", {
        "anofpdm": {"ddim": {"dice_slice_tumour": 1.2, "n_patients": 4}},
        "mixed": {"ddim": {"dice_slice_tumour": 0.6, "n_patients": 4}},
    }),
    ("tsgm", "evaluate@tsgm evaluate_otsu", {  # a folder for each population there
        "tsgm": {"tsgm": {"dice_slice_tumour": 1.2, "n_patients": 4}},
        "otsu": {"icts/tsgm": {"dice_slice_tumour": 0.6, "n_patients": 4}},
    }),
])  # fmt: skip
def test_every_system_with_the_evaluation_of_its_paper(project, system, targets, numbers):
    tool.main(["seed=1", "--system", system])
    assert calls()[0].endswith(f"-S seed=1 {targets}")
    assert files.read_json(f"metrics/repeats/{system}/seed/1.json")["numbers"] == numbers


def test_the_seeds_are_those_of_params_and_systems_come_one_after_the_other(project):
    tool.main(["seeds", "--system", "mmccd", "tsgm"])
    assert [line.split("-S ")[1] for line in calls()] == [
        f"seed={seed} {targets}"
        for targets in ("evaluate@mmccd", "evaluate@tsgm evaluate_otsu")
        for seed in (0, 1, 2)
    ]  # fmt: skip
    assert [plan.system for plan in tool.parse(["seeds", "--system", "all"])] == ["mmccd", "anofpdm", "ddmd", "tsgm"]


def test_no_seeds_or_an_unknown_system_are_refused(project):
    with pytest.raises(UserError, match=r"found the system 'mcd', expected one of mmccd, anofpdm, ddmd, tsgm, all; "):
        tool.parse(["seeds", "--system", "mcd"])
    files.write_text("params.yaml", PARAMS.replace("[0, 1, 2]", "[]"))
    with pytest.raises(UserError, match="seeds is empty, expected whole numbers such as 0, 1, 2"):
        tool.parse(["seeds", "--system", "mmccd"])


@pytest.mark.parametrize(("old", "new", "runs"), [
    ("[0, 1, 2]", "[0, 1, 2, 3]", 4),  # only the new one
    ("seed: 0", "seed: 2  # a comment", 3),  # the value that is repeated
    ("scale: smoke", "scale: smoke\nddmd: {chains: 1}", 6),
])  # fmt: skip
def test_recorded_runs_outlast_changes_of_params_that_reach_no_number(project, old, new, runs):
    tool.main(["seeds", "--system", "ddmd"])
    commit("params.yaml", PARAMS.replace(old, new))
    tool.main(["seeds", "--system", "ddmd"])
    assert len(calls()) == runs


@pytest.mark.parametrize(("words", "message"), [
    (["splits.fold", "--system", "ddmd"], "found 'splits.fold', expected parameter=value"),
    (["splits.fold=0,a/b", "--system", "ddmd"], "found the value 'a/b'"),
    (["splits.fold=0,,1", "--system", "ddmd"], "found the value ''"),
    (["seed=0", "-S", "nonsense", "--system", "ddmd"], "found 'nonsense'"),
])  # fmt: skip
def test_a_command_line_that_cannot_be_meant_is_refused(project, words, message):
    with pytest.raises(UserError, match=message) as error:
        tool.parse(words)
    assert "\n" not in str(error.value)


def test_uncommitted_code_is_refused(project):
    files.write_text("src/code.py", "x = 3\n")
    with pytest.raises(UserError, match=r"src/code.py has uncommitted changes, expected none"):
        tool.main(FOLDS)
    assert not calls()


def test_without_dvc_or_git_it_says_so(project, monkeypatch, tmp_path):
    programs = tmp_path / "only_git"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git"))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UserError, match="found no program dvc"):
        tool.main(FOLDS)
    monkeypatch.chdir(tmp_path)
    files.write_text("conf/graph.yaml", GRAPH)
    with pytest.raises(UserError, match=r"git rev-parse: .*; run this in the root of the repository"):
        tool.main(FOLDS)


def record(folder, value, dice, **setup):
    setup = {"data": "phantom", "scale": "smoke", "recipe": "common", "overrides": []} | setup
    numbers = {"confusion": {"unet": {"d": dice}}}
    files.write_json(folder / f"{value}.json", {"value": value, "setup": setup, "numbers": numbers})


def test_runs_with_other_overrides_are_not_averaged_and_values_are_in_order(tmp_path):
    for value in ("2", "10", "1"):
        record(tmp_path, value, float(value), overrides=["splits.mode=heldout"])
    record(tmp_path, "3", 1000.0)
    record(tmp_path, "4", 1000.0, scale="gpu")
    found = repeats.read(tmp_path, "confusion", SETUP)
    assert (found.values, found.overrides) == (("1", "2", "10"), ("splits.mode=heldout",))
    assert found.of("unet", "d").tolist() == [1, 2, 10]
    assert found.of("segnet", "d").size == 0


def test_runs_of_different_code_are_never_averaged(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    place = repeats.folder("ddmd", "seed")
    for value, code, dice in (("0", "new", 0.6), ("1", "old", 0.30), ("2", "old", 0.31)):
        record(place, value, dice, code=code)
    found = repeats.groups(place, "confusion", SETUP)
    assert [(group.code, group.values) for group in found] == [("old", ("1", "2")), ("new", ("0",))]
    assert "code old" in repeats.sentence(repeats.read(place, "confusion", SETUP), "seed")
    assert "2 of 3 runs shown, the others are of other overrides, code or parameters" in capsys.readouterr().out
    now = repeats.matching(repeats.Source("ddmd", "confusion"), {"unet": {"d": 0.6}}, SETUP, repeats.Seeds(0, (0, 1, 2)))
    assert now.of("unet", "d").tolist() == [0.6]


def test_a_run_without_a_number_is_not_counted_and_one_run_has_no_spread(tmp_path):
    record(tmp_path, "0", 0.4)
    record(tmp_path, "1", None)
    found = repeats.read(tmp_path, "confusion", SETUP)
    assert found.spread("unet", "d") is None
    record(tmp_path, "2", 0.6)
    assert repeats.read(tmp_path, "confusion", SETUP).spread("unet", "d") == (0.5, pytest.approx(0.02**0.5), 2)


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "0.json").write_text(json.dumps({"value": "0"}))
    with pytest.raises(UserError, match=r"0.json: found something else than setup, value, numbers, expected what tools"):
        repeats.read(tmp_path, "confusion", SETUP)
