"""Is a cohort fit for use? All cases in parallel, what only shows between cases, the report, and who is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_json
from gliomap.base.params import number
from gliomap.base.pool import in_order
from gliomap.data.case import Case
from gliomap.data.checks import Expected, Finding, Problem, examine

FEW = 4  # cases that are checked sooner than processes are started
SHOWN = 10  # problems in an error message; all are in a file


@dataclass(frozen=True)
class Cohort:
    """What to take of the source, and what to do about bad cases (section `cohort` of params.yaml)."""

    on_bad_case: Literal["fail", "skip"]  # fail: stop and list all problems; skip: leave the bad cases out and say so
    limit: int = number(min=0)  # take the first cases only, by id; 0 = all
    shape: tuple[int, ...] = number(min=2)  # voxels that every volume must have; the phantom knows its own


def check_cohort(cases: Sequence[Case], shape: tuple[int, ...], voxel: float, workers: int) -> list[Finding]:
    """One finding a case, in the order of `cases`: each by itself, then equal images and ids. Progress is shown."""
    return check_all(cases, Expected(shape=tuple(shape), voxel=voxel), workers)


def check_all(cases: Sequence[Case], expected: Expected, workers: int) -> list[Finding]:
    """As `check_cohort`, for cases that should be as `expected`."""
    look = partial(examine, expected=expected)
    found = in_order(look, cases, workers if len(cases) >= FEW else 1)
    findings = list(run.progress(found, total=len(cases), label="check", unit="case"))
    return _with(_with(findings, _same_images(findings)), _same_ids(findings))


def _with(findings: Sequence[Finding], more: Iterator[tuple[int, Problem]]) -> list[Finding]:
    result = list(findings)
    for i, problem in more:
        result[i] = replace(result[i], problems=(*result[i].problems, problem))
    return result


def _same_images(findings: Sequence[Finding]) -> Iterator[tuple[int, Problem]]:
    """(index, problem) of each image that an earlier case, or another modality of its own case, has too."""
    first: dict[str, str] = {}
    for i, finding in enumerate(findings):
        for path, digest in finding.digests.items():
            if digest in first:
                remedy = "keep one of them, else training and test images would be the same"
                found = f"the voxels of {first[digest]}"
                yield i, Problem(finding.case.id, path, "same image twice", "an image of its own", found, remedy)
            else:
                first[digest] = path


def _same_ids(findings: Sequence[Finding]) -> Iterator[tuple[int, Problem]]:
    first: dict[str, str] = {}
    for i, finding in enumerate(findings):
        path = next(iter(finding.case.all_files.values()), finding.case.id)
        if finding.case.id in first:
            found = f"{finding.case.id} again, first at {first[finding.case.id]}"
            yield i, Problem(finding.case.id, path, "case id used twice", "one case an id", found, "rename or remove one")
        first.setdefault(finding.case.id, path)


def report(findings: Sequence[Finding], source: str) -> dict[str, Any]:
    """Counts, tumour volumes and every problem of a checked cohort, for metrics/cohort.json: no absolute path, no time."""
    used = [f for f in findings if f.usable]
    problems = [p for f in findings for p in f.problems]
    volumes = [f.tumour_ml for f in used if f.tumour_ml]
    return {
        "source": source,
        "cases": {"found": len(findings), "used": len(used), "excluded": len(findings) - len(used)},
        "patients": len({f.case.patient for f in used}),
        "layouts": dict(Counter(f.case.layout for f in used)),
        "without_tumour": sum(f.tumour_ml == 0 for f in used),
        "tumour_ml": _range(volumes),
        "errors": dict(Counter(p.what for p in problems if p.severity == "error")),
        "notes": dict(Counter(p.what for p in problems if p.severity == "note")),
        "problems": [asdict(p) for p in problems],
    }


def _range(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {name: round(float(value), 1) for name, value in zip(("min", "median", "max"), np.quantile(values, (0, 0.5, 1)))}


def accept(findings: Sequence[Finding], on_bad_case: str, listing: Path) -> list[Finding]:
    """The usable cases. UserError if one is bad and `on_bad_case` is fail, or if none is left.

    All problems are written to the file `listing`; the first ten are in the message.
    """
    problems = [p for f in findings for p in f.problems]
    errors = [p for p in problems if p.severity == "error"]
    if problems:
        write_json(listing, [asdict(p) for p in problems])
    for note in (n for n in problems if n.severity == "note"):
        run.log(f"note: {note.case}: {note}")
    if not errors:
        return list(findings)
    bad = [f.case.id for f in findings if not f.usable]
    if on_bad_case == "fail":
        raise UserError(_message(findings, bad, errors, listing))
    for problem in errors:
        run.log(f"left out: {problem.case}: {problem}")
    if len(bad) == len(findings):
        raise UserError(_message(findings, bad, errors, listing))
    run.log(f"{len(bad)} of {len(findings)} cases are left out; all problems are in {listing}")
    return [f for f in findings if f.usable]


def _message(findings: Sequence[Finding], bad: list[str], errors: list[Problem], listing: Path) -> str:
    root = findings[0].case.root
    shown = "".join(f"\n  {problem.case}: {problem}" for problem in errors[:SHOWN])
    more = f"\n  ... and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
    skip = "`dvc exp run -S cohort.on_bad_case=skip` leaves these cases out"
    remedy = f"mend the files; {skip}" if len(bad) < len(findings) else "no case is left: mend the files"
    return (
        f"{root}: {len(bad)} of {len(findings)} cases cannot be used ({len(errors)} problems; every one is in {listing}):"
        f"{shown}{more}\n{remedy}"
    )
