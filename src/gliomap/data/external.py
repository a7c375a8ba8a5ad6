"""External cohorts, on which methods are only tested: generated, or a folder of yours; any subset of the modalities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.params import number
from gliomap.data import grid
from gliomap.data.case import MODALITIES, NAMINGS, Case, find_cases
from gliomap.data.checks import Expected, Finding
from gliomap.data.cohort import accept, check_all, report
from gliomap.data.location import absolute
from gliomap.data.phantom.cohort import generate_below
from gliomap.data.phantom.populations import POPULATIONS
from gliomap.data.phantom.settings import Knobs, PhantomSettings
from gliomap.data.store import Content

SPLIT = "test"  # the only one


@dataclass(frozen=True)
class External:
    """The file conf/external/<cohort>.yaml: where the cases come from, and which modalities every case has."""

    kind: Literal["phantom", "local"]
    phantom: Literal["meningioma", "thick"]  # which population is generated
    root: str
    modalities: tuple[Literal["t1", "t1ce", "t2", "flair"], ...]


@dataclass(frozen=True)
class ExternalPhantom:
    """Section `external_phantom` of params.yaml: subjects in each generated external cohort."""

    subjects: int = number(min=1, max=999)


@dataclass(frozen=True)
class Checked:
    """An external cohort that was looked at: usable cases, and its part of metrics/external.json."""

    cases: list[Case]
    report: dict[str, Any]


def modalities_of(name: str, cohort: External) -> tuple[str, ...]:
    """What the cohort has, in the order of MODALITIES. UserError if that is nothing, or more than its phantom has."""
    wanted = tuple(m for m in MODALITIES if m in cohort.modalities)
    if not wanted:
        raise UserError(f"{config(name)}: modalities is empty, expected some of {', '.join(MODALITIES)}; list them there")
    made = POPULATIONS[cohort.phantom].modalities
    absent = [m for m in wanted if m not in made]
    if cohort.kind == "phantom" and absent:
        found = f"modalities has {', '.join(absent)}"
        raise UserError(f"{config(name)}: {found}, but phantom {cohort.phantom} has only {', '.join(made)}; take it out")
    return wanted


def config(name: str) -> str:
    """The file of a cohort."""
    return f"conf/external/{name}.yaml"


def obtain(name: str, cohort: External, phantom: ExternalPhantom, knobs: Knobs, seed: int) -> list[Case]:
    """The cases by id, generated if need be, with the files of the cohort's modalities only. UserError if there are none."""
    wanted = modalities_of(name, cohort)
    if not cohort.root.strip():
        raise UserError(f"{config(name)}: root is empty, expected the folder with your cases; set it there")
    root, below = absolute(cohort.root), ""
    if cohort.kind == "phantom":
        below = generate_below(root, PhantomSettings(phantom.subjects, 0, 1, knobs), seed, cohort.phantom)
    cases = find_cases(root, below, config(name))
    if not cases:
        expected = f"expected files named {NAMINGS} at most four folders down"
        raise UserError(f"{root}: no cases found, {expected}; set `root` in {config(name)}")
    run.log(f"{name}: {len(cases)} cases in {root}")
    return [replace(case, files={m: case.files[m] for m in wanted if m in case.files}) for case in cases]


def check(name: str, cohort: External, cases: Sequence[Case], on_bad_case: str, workers: int) -> Checked:
    """Look at every case. UserError if one is unfit and `on_bad_case` is "fail", or if none is left."""
    wanted = modalities_of(name, cohort)
    findings = check_all(cases, Expected(wanted, voxel=None, placed=grid.placed), workers)
    accepted: list[Finding] = accept(findings, on_bad_case, run.work() / f"problems-{name}.json")
    source = f"phantom {cohort.phantom}" if cohort.kind == "phantom" else cohort.kind
    return Checked([f.case for f in accepted], {"modalities": wanted, **report(findings, source)})


def content(name: str, cohort: External) -> Content:
    """What the slice store of the cohort holds."""
    return Content(modalities_of(name, cohort), (SPLIT,), grid.read_registered)
