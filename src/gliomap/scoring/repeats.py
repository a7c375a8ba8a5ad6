"""Runs that tools/repeat.py recorded, one for each fold or seed: mean and sample standard deviation over those alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.scoring import seeds
from gliomap.scoring.leaderboard import Entry, Numbers
from gliomap.scoring.tables import Setup, is_number

FOLDER = Path("metrics/repeats")
SEED = "seed"
COHORT = {"data": "", "scale": "", "recipe": "", "protocol": "common"}  # keys that runs must share: what absence means
KEYS = ("setup", "value", "numbers")
Key = TypeVar("Key", str, tuple[str, str])


@dataclass(frozen=True)
class Repeats:
    """Runs of one setup. values: of the parameter, in order. overrides: what was set for all of them, `key=value`.

    numbers: one mapping of row -> numbers for each value. code: what tools/repeat.py calls their code and parameters.
    """

    values: tuple[str, ...]
    overrides: tuple[str, ...]
    numbers: tuple[Mapping[str, Numbers], ...]
    code: str = ""

    def of(self, row: str, metric: str) -> np.ndarray:
        """float64 (n,): the metric of the row in the runs that have it."""
        found = (numbers.get(row, {}).get(metric) for numbers in self.numbers)
        return np.array([value for value in found if is_number(value)], np.float64)

    def spread(self, row: str, metric: str) -> tuple[float, float, int] | None:
        """(mean, sample standard deviation with n - 1, n); None for fewer than two runs."""
        values = self.of(row, metric)
        return (float(values.mean()), float(values.std(ddof=1)), len(values)) if len(values) > 1 else None


NONE_YET = Repeats((), (), ())


def folder(system: str, parameter: str) -> Path:
    """Where the runs of a system over the values of a parameter are recorded, <value>.json each."""
    return FOLDER / system / parameter


def read(place: Path, kind: str, setup: Setup) -> Repeats:
    """The runs in the folder with this data, scale and recipe; NONE_YET if there are none. kind: a folder below metrics/.

    Runs with other overrides, or of other code, are other experiments: of several groups the largest counts, and a line
    says so. UserError on a damaged file.
    """
    found = groups(place, kind, setup)
    if len(found) > 1:
        shown = f"{len(found[0].values)} of {sum(len(group.values) for group in found)} runs"
        run.log(f"{place}: {shown} shown, the others are of other overrides, code or parameters; record them again")
    return next(iter(found), NONE_YET)


def groups(place: Path, kind: str, setup: Setup) -> list[Repeats]:
    """As `read`, all groups of runs of the same code with the same overrides (beyond data, scale, recipe), largest first."""
    found: dict[tuple[str, tuple[str, ...]], list[dict[str, Any]]] = {}
    for path in sorted(place.glob("*.json")):
        recorded = _checked(path)
        if all(recorded["setup"].get(name, absent) == getattr(setup, name, absent) for name, absent in COHORT.items()):
            words = recorded["setup"].get("overrides", ())
            own = tuple(word for word in words if word.partition("=")[0] not in COHORT)
            found.setdefault((str(recorded["setup"].get("code", "")), own), []).append(recorded)
    ordered = sorted(found.items(), key=lambda group: (-len(group[1]), group[0]))
    return [_group(code, overrides, runs, kind) for (code, overrides), runs in ordered]


def _group(code: str, overrides: tuple[str, ...], runs: list[dict[str, Any]], kind: str) -> Repeats:
    runs.sort(key=lambda found: _order(found["value"]))
    values, numbers = (found["value"] for found in runs), (found["numbers"].get(kind, {}) for found in runs)
    return Repeats(tuple(values), overrides, tuple(numbers), code)


@dataclass(frozen=True)
class Seeds:
    """Keys of params.yaml. now: `seed`, of the numbers of this run. listed: `seeds`, which tables take together."""

    now: int
    listed: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """Whose runs: system, and the folder below metrics/ that holds their numbers."""

    system: str
    kind: str


def by_system(entries: Sequence[Entry], metrics: Mapping[str, Numbers], setup: Setup, which: Seeds) -> dict[str, Repeats]:
    """`matching` of every system, its methods in the common protocol: metrics of `evaluate`, by method."""
    own = {entry.system: {e.key: metrics[e.key] for e in entries if e.system == entry.system} for entry in entries}
    return {system: matching(Source(system, system), rows, setup, which) for system, rows in own.items()}


def of_methods(entries: Sequence[Entry], metrics: Mapping[str, Numbers], setup: Setup, which: Seeds) -> dict[str, Numbers]:
    """The metrics with what `over_seeds` adds, system by system, in the order given."""
    found = by_system(entries, metrics, setup, which)
    return {entry.key: _beside(found[entry.system], entry.key, metrics[entry.key]) for entry in entries}


def over_seeds(source: Source, rows: Mapping[Key, Numbers], setup: Setup, which: Seeds) -> dict[Key, Numbers]:
    """The rows, and beside each number its mean and deviation over `matching` runs (`seeds.beside`), where there are two.

    Their keys: names of rows, or (folder, name) of those in a folder of the kind.
    """
    names = {key: key if isinstance(key, str) else "/".join(key) for key in rows}
    found = matching(source, {names[key]: numbers for key, numbers in rows.items()}, setup, which)
    return {key: _beside(found, names[key], numbers) for key, numbers in rows.items()}


def matching(source: Source, rows: Mapping[str, Numbers], setup: Setup, which: Seeds) -> Repeats:
    """The recorded runs with a listed seed of which this run is one, row by row; values: all of the listed seeds.

    The run with this run's seed must be recorded, with the numbers that the row has. So runs of older code or of other
    parameters are left out; of several groups that match, the largest counts. UserError on a damaged file.
    """
    place = folder(source.system, SEED)
    found = groups(place, source.kind, setup)
    values = tuple(map(str, which.listed))
    merged: dict[str, dict[str, Numbers]] = {value: {} for value in values}
    for row, numbers in rows.items():
        for value, recorded in _runs(found, row, numbers, str(which.now)).items():
            if value in merged:
                merged[value][row] = recorded
    if found and rows and not any(merged.values()):
        run.log(f"{place}: runs not shown, seed {which.now} is not among them or has other numbers; record them again")
    return Repeats(values, (), tuple(merged.values()))


def _runs(found: Sequence[Repeats], row: str, numbers: Numbers, now: str) -> dict[str, Numbers]:
    """Value -> numbers of the row, in the first group whose run of the value `now` has these numbers; empty without one."""
    for group in found:
        runs = {value: rows[row] for value, rows in zip(group.values, group.numbers, strict=True) if row in rows}
        if now in runs and _alike(runs[now], numbers):
            return runs
    return {}


def _beside(found: Repeats, row: str, numbers: Numbers) -> Numbers:
    spreads = {name: found.spread(row, name) for name in numbers}
    return {**numbers, **seeds.beside({name: spread for name, spread in spreads.items() if spread is not None})}


def _alike(one: Numbers, other: Numbers) -> bool:
    """Whether both hold the same value wherever both hold a name, and share one at least."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(_same(one[name], other[name]) for name in shared)


def _same(one: float | None, other: float | None) -> bool:
    if not is_number(one) or not is_number(other):
        return is_number(one) == is_number(other)
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


def sentence(found: Repeats, parameter: str) -> str:
    """What plus-minus means in a table that shows the runs; what brackets mean otherwise is the caller's."""
    code = (f"code {found.code}",) if found.code else ()
    what = ", ".join((f"{parameter} = {', '.join(found.values)}", *found.overrides, *code))
    return f"a±s: mean and sample standard deviation over {len(found.values)} runs ({what})"


def _checked(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict) or any(name not in found for name in KEYS) or not isinstance(found["setup"], dict):
        wrong = f"found something else than {', '.join(KEYS)}"
        raise UserError(f"{path}: {wrong}, expected what tools/repeat.py writes; delete the file and run that again")
    return found


def _order(value: str) -> Sequence[Any]:
    """Numbers by size, before texts."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
