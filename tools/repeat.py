"""Run the pipeline once for each value of a parameter and keep the numbers: folds, seeds. From the repository's root:

PYTHONPATH=src python tools/repeat.py splits.fold=0,1,2,3,4 -S splits.mode=heldout --system ddmd

Each value is a DVC experiment in a folder of its own (`dvc exp run --temp`), so the workspace stays as it is. Its numbers
go to metrics/repeats/<system>/<parameter>/<value>.json, from which the stage `tables` takes mean and standard deviation.
A value that is there already, from the same setup and the same code, is skipped: start it again after an interruption.
"""

import argparse
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomap.base import params, run
from gliomap.base.errors import UserError
from gliomap.base.files import read_json, write_json
from gliomap.scoring import repeats

OWN = {"ddmd": "confusion", "anofpdm": "mixed"}  # systems with an evaluation in their paper's conventions: evaluate_<name>
CODE = ("dvc.yaml", "params.yaml", "conf", "src", "stages")  # what a number depends on
COHORT = ("data", "scale", "recipe")


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
        """data, scale, recipe, overrides, revision of the run with this value."""
        settings = params.load(Path("params.yaml"))
        settings |= dict(word.split("=", 1) for word in (*self.overrides, f"{self.parameter}={value}"))
        cohort = {name: str(settings[name]) for name in COHORT}
        return cohort | {"overrides": list(self.overrides), "revision": revision}

    def name(self, value: str, setup: Mapping[str, Any]) -> str:
        """Of the experiment: a function of everything that makes its numbers."""
        words = (self.system, self.parameter, value, run.fingerprint([dict(setup), self.parameter, value])[:8])
        return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words))


def main(argv: list[str]) -> None:
    """metrics/repeats/<system>/<parameter>/<value>.json for each value, one after the other."""
    plan = parse(argv)
    revision = git("rev-parse", "HEAD").strip()
    if changed := git("status", "--porcelain", "--", *CODE).splitlines():
        found = f"{changed[0].split()[-1]} has uncommitted changes"
        raise UserError(f"{found}, expected none in {', '.join(CODE)}: numbers are kept by revision; commit or stash them")
    for value in plan.values:
        setup = plan.setup(value, revision)
        if recorded(plan.path(value), setup):
            run.log(f"{plan.parameter}={value}: already in {plan.path(value)}")
            continue
        commit = experiment(plan, value, plan.name(value, setup))
        numbers = {folder: numbers_of(commit, folder) for folder in plan.folders}
        record = {"system": plan.system, "parameter": plan.parameter, "value": value, "setup": setup}
        write_json(plan.path(value), record | {"experiment": plan.name(value, setup), "numbers": numbers})
        run.log(f"{plan.parameter}={value}: {len(numbers[plan.folders[-1]])} rows in {plan.path(value)}")


def parse(argv: list[str]) -> Plan:
    """The command line. UserError on words that are not `key=value`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="parameter=value,value,...: a run for each value")
    parser.add_argument("-S", "--set-param", action="append", default=[], help="parameter=value, the same in every run")
    parser.add_argument("--system", required=True, help="whose numbers are kept: key under `systems` in conf/graph.yaml")
    args = parser.parse_args(argv)
    for word in (args.sweep, *args.set_param):
        if not re.fullmatch(r"[\w.]+=.+", word):
            raise UserError(f"found {word!r}, expected parameter=value, such as splits.fold=0,1,2; change that argument")
    parameter, _, listed = args.sweep.partition("=")
    values = tuple(dict.fromkeys(listed.split(",")))
    if wrong := [value for value in values if not re.fullmatch(r"\w[\w.+-]*", value)]:
        raise UserError(f"found the value {wrong[0]!r}, expected numbers or words with commas between; they name files")
    return Plan(args.system, parameter, values, tuple(sorted(args.set_param)))


def recorded(path: Path, setup: Mapping[str, Any]) -> bool:
    """Whether the file holds a run of this setup, by code that has not changed since, whatever else was committed."""
    if not path.is_file():
        return False
    found = read_json(path).get("setup", {})
    alike = all(found.get(name) == setup[name] for name in (*COHORT, "overrides"))
    return alike and same_code(str(found.get("revision")), setup["revision"])


def same_code(old: str, new: str) -> bool:
    """Whether two revisions agree in CODE; False if one of them is not known here."""
    command = ["git", "diff", "--quiet", old, new, "--", *CODE]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


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
    """Row -> numbers from metrics/<folder>/*.json as the experiment committed them. UserError if there are none."""
    paths = git("ls-tree", "--name-only", commit, f"metrics/{folder}/").split()
    found = {Path(path).stem: json.loads(git("show", f"{commit}:{path}")) for path in paths if path.endswith(".json")}
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
