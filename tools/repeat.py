"""Run the pipeline once for each value of a parameter and keep the numbers: folds, seeds. From the repository's root:

PYTHONPATH=src python tools/repeat.py seeds --system mmccd                 the list `seeds` of params.yaml; also seed=0,1,2
PYTHONPATH=src python tools/repeat.py splits.fold=0,1,2,3,4 -S splits.mode=heldout --system ddmd

Each value is a DVC experiment in a folder of its own (`dvc exp run --temp`), so the workspace stays as it is. Its numbers
go to metrics/repeats/<system>/<parameter>/<value>.json, from which the stage `tables` takes mean and standard deviation.
A value that is there already, from the same setup, code and parameters, is skipped: start it again after an interruption.
`seed` is that of training and sampling; patients and splits stay the same (`data_seed`).
"""

import argparse
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gliomap.base import params, run
from gliomap.base.errors import UserError
from gliomap.base.files import read_json, write_json
from gliomap.scoring import repeats

# systems with an evaluation in their paper's conventions: evaluate_<name>
OWN = {"ddmd": "confusion", "anofpdm": "mixed", "tsgm": "otsu"}
CODE = ("dvc.yaml", "conf", "src", "stages")  # what a number depends on, beside the values in params.yaml
GRAPH = Path("conf/graph.yaml")
PARAMS, LIST, ALL = "params.yaml", "seeds", "all"


@dataclass(frozen=True)
class Plan:
    """What is repeated. overrides: `key=value` for every run, sorted."""

    system: str
    parameter: str
    values: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def targets(self) -> tuple[str, ...]:
        """The stages that write this system's numbers."""
        own = OWN.get(self.system)
        return (f"evaluate@{self.system}", *([f"evaluate_{own}"] if own else []))

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders below metrics/ that hold them."""
        return (self.system, *([OWN[self.system]] if self.system in OWN else []))

    def path(self, value: str) -> Path:
        """Where the numbers of one value go."""
        return repeats.folder(self.system, self.parameter) / f"{value}.json"

    def setup(self, value: str, revision: str) -> dict[str, Any]:
        """data, scale, recipe, overrides, revision and `code` of the run with this value."""
        settings = params.load(Path(PARAMS))
        settings |= dict(word.split("=", 1) for word in (*self.overrides, f"{self.parameter}={value}"))
        cohort = {name: str(settings[name]) for name in repeats.COHORT if name in settings}
        return cohort | {
            "overrides": list(self.overrides), "revision": revision, "code": code_at(revision, self.parameter)
        }  # fmt: skip

    def name(self, value: str, setup: Mapping[str, Any]) -> str:
        """Of the experiment: a function of everything that makes its numbers."""
        made_by = {name: text for name, text in setup.items() if name != "revision"}
        words = (self.system, self.parameter, value, run.fingerprint([made_by, self.parameter, value])[:8])
        return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words))


def main(argv: list[str]) -> None:
    """metrics/repeats/<system>/<parameter>/<value>.json for each system and value, one after the other."""
    plans = parse(argv)
    revision = git("rev-parse", "HEAD").strip()
    if changed := git("status", "--porcelain", "--", PARAMS, *CODE).splitlines():
        found = f"{changed[0].split()[-1]} has uncommitted changes"
        where = ", ".join((PARAMS, *CODE))
        raise UserError(f"{found}, expected none in {where}: numbers are kept by revision; commit or stash them")
    for plan in plans:
        for value in plan.values:
            repeat(plan, value, revision)


def repeat(plan: Plan, value: str, revision: str) -> None:
    """One run, unless its numbers are recorded."""
    setup = plan.setup(value, revision)
    what = f"{plan.system}, {plan.parameter}={value}"
    if recorded(plan, value, setup):
        run.log(f"{what}: already in {plan.path(value)}")
        return
    name = plan.name(value, setup)
    commit = experiment(plan, value, name)
    numbers = {folder: numbers_of(commit, folder) for folder in plan.folders}
    record = {"system": plan.system, "parameter": plan.parameter, "value": value, "setup": setup}
    write_json(plan.path(value), record | {"experiment": name, "numbers": numbers})
    run.log(f"{what}: {len(numbers[plan.folders[-1]])} rows in {plan.path(value)}")


def parse(argv: list[str]) -> list[Plan]:
    """The command line, a plan for each system. UserError on words that cannot be meant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help=f"parameter=value,value,...: a run for each value; or {LIST}, as in {PARAMS}")
    parser.add_argument("-S", "--set-param", action="append", default=[], help="parameter=value, the same in every run")
    parser.add_argument("--system", required=True, nargs="+", help=f"whose numbers are kept: `systems` of {GRAPH}; or {ALL}")
    args = parser.parse_args(argv)
    sweep = listed_seeds() if args.sweep == LIST else args.sweep
    for word in (sweep, *args.set_param):
        if not re.fullmatch(r"[\w.]+=.+", word):
            raise UserError(f"found {word!r}, expected parameter=value, such as splits.fold=0,1,2; change that argument")
    parameter, _, listed = sweep.partition("=")
    values = tuple(dict.fromkeys(listed.split(",")))
    if wrong := [value for value in values if not re.fullmatch(r"\w[\w.+-]*", value)]:
        raise UserError(f"found the value {wrong[0]!r}, expected numbers or words with commas between; they name files")
    return [Plan(system, parameter, values, tuple(sorted(args.set_param))) for system in systems(args.system)]


def listed_seeds() -> str:
    """`seed=0,1,2` from the list `seeds` of params.yaml."""
    found = params.read({LIST: tuple[int, ...]})[LIST]
    if not found:
        raise UserError(f"{PARAMS}: {LIST} is empty, expected whole numbers such as 0, 1, 2; write them there")
    return f"{repeats.SEED}={','.join(map(str, found))}"


def systems(wanted: list[str]) -> list[str]:
    """Those named, each once; `all` stands for all of the graph. UserError on one that it does not have."""
    there = list(params.load(GRAPH).get("systems", {}))
    if unknown := [name for name in wanted if name not in (*there, ALL)]:
        expected = ", ".join([*there, ALL])
        raise UserError(f"found the system {unknown[0]!r}, expected one of {expected}; {GRAPH} lists them under `systems`")
    return there if ALL in wanted else list(dict.fromkeys(wanted))


def recorded(plan: Plan, value: str, setup: Mapping[str, Any]) -> bool:
    """Whether a run of this setup is recorded, by code that has not changed since, whatever else was committed."""
    path = plan.path(value)
    if not path.is_file():
        return False
    found = read_json(path).get("setup", {})
    return all(found.get(name) == setup.get(name) for name in (*repeats.COHORT, "overrides", "code"))


@cache
def code_at(revision: str, parameter: str) -> str:
    """Equal for revisions that agree in CODE and in the values of params.yaml, but for the one that is repeated."""
    trees = git("ls-tree", revision, "--", *CODE)
    return run.fingerprint([trees, values_at(revision, parameter)])[:8]


def values_at(revision: str, parameter: str) -> dict[str, Any]:
    """params.yaml of that revision, without the parameter and without `seeds`, which no number depends on."""
    values = YAML(typ="safe", pure=True).load(git("show", f"{revision}:{PARAMS}"))
    values.pop(LIST, None)
    inner = values
    *groups, last = parameter.split(".")
    for group in groups:
        inner = inner.get(group) if isinstance(inner.get(group), dict) else {}
    inner.pop(last, None)
    return values


def experiment(plan: Plan, value: str, name: str) -> str:
    """The commit of the experiment of this name, which is run unless it is there. UserError if it fails."""
    if commit := commit_of(name):
        return commit
    words = [word for pair in (*plan.overrides, f"{plan.parameter}={value}") for word in ("-S", pair)]
    command = ["dvc", "exp", "run", "--temp", "-n", name, *words, *plan.targets]
    run.log(" ".join(command))
    try:
        code = subprocess.run(command, check=False).returncode
    except FileNotFoundError as error:
        raise UserError("found no program dvc, expected it on the PATH; put the folder .venv/bin there") from error
    commit = commit_of(name)
    if code or not commit:
        what = f"the experiment {name} ended with exit code {code}" + ("" if commit else " and left no commit")
        raise UserError(f"{what}, expected 0; mend what it reports and start this again, finished values are skipped")
    return commit


def commit_of(name: str) -> str:
    """The commit that DVC keeps under this name; empty if there is none."""
    return (git("for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}").split() or [""])[-1]


def numbers_of(commit: str, folder: str) -> dict[str, dict[str, float | None]]:
    """Row -> numbers from metrics/<folder>/ as the experiment committed them; a row in a folder there is `folder/row`.

    UserError if there are none.
    """
    below = f"metrics/{folder}/"
    paths = [path for path in git("ls-tree", "-r", "--name-only", commit, below).split() if path.endswith(".json")]
    found = {path.removeprefix(below).removesuffix(".json"): json.loads(git("show", f"{commit}:{path}")) for path in paths}
    if not found:
        raise UserError(f"metrics/{folder}: found no numbers in {commit[:10]}, expected those of its stage; see dvc.yaml")
    return found


def git(*words: str) -> str:
    """What git prints. UserError if it fails."""
    try:
        return subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        why = " ".join((getattr(error, "stderr", "") or str(error)).split())
        raise UserError(f"git {words[0]}: {why}; run this in the root of the repository") from error


if __name__ == "__main__":
    run.main(main)
