"""Runs that tools/repeat.py recorded, one for each fold or seed: mean and sample standard deviation over those alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.scoring.leaderboard import Numbers
from gliomap.scoring.tables import Setup, is_number

FOLDER = Path("metrics/repeats")
KEYS = ("setup", "value", "numbers")


@dataclass(frozen=True)
class Repeats:
    """Runs of one setup. values: of the parameter, in order. overrides: what was set for all of them, `key=value`.

    numbers: one mapping of row -> numbers for each value.
    """

    values: tuple[str, ...]
    overrides: tuple[str, ...]
    numbers: tuple[Mapping[str, Numbers], ...]

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

    Runs with other overrides are other experiments: of several groups the largest counts. UserError on a damaged file.
    """
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for path in sorted(place.glob("*.json")):
        run = _checked(path)
        if all(run["setup"].get(name) == getattr(setup, name) for name in ("data", "scale", "recipe")):
            groups.setdefault(tuple(run["setup"].get("overrides", ())), []).append(run)
    if not groups:
        return NONE_YET
    overrides, runs = min(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    runs.sort(key=lambda run: _order(run["value"]))
    return Repeats(tuple(run["value"] for run in runs), overrides, tuple(run["numbers"].get(kind, {}) for run in runs))


def sentence(found: Repeats, parameter: str) -> str:
    """What plus-minus means in a table that shows the runs; what brackets mean otherwise is the caller's."""
    what = ", ".join((f"{parameter} = {', '.join(found.values)}", *found.overrides))
    return f"a±s: mean and sample standard deviation over {len(found.values)} runs ({what})"


def _checked(path: Path) -> dict[str, Any]:
    run = read_json(path)
    if not isinstance(run, dict) or any(name not in run for name in KEYS) or not isinstance(run["setup"], dict):
        found = f"found something else than {', '.join(KEYS)}"
        raise UserError(f"{path}: {found}, expected what tools/repeat.py writes; delete the file and run that again")
    return run


def _order(value: str) -> Sequence[Any]:
    """Numbers by size, before texts."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
