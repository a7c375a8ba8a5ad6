"""Which methods there are, what to call them, and what `evaluate` found for each: the rows of every table and figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.base.place import Place
from gliomap.data.slices import made_with

SLICES = Path("data/slices")
Numbers = Mapping[str, float | None]  # of metrics/<system>/<method>.json; None where a number does not exist


@dataclass(frozen=True)
class Entry:
    """One method of conf/graph.yaml.

    key: its name in every path. system: what it is scored with. name, supervision: as tables show them. modalities: those of
    its `pair`, in that order. models: folders below models/ that its inference needs.
    """

    key: str
    system: str
    name: str
    supervision: str
    modalities: tuple[str, ...]
    models: tuple[str, ...]

    @property
    def place(self) -> Place:
        """Where the stages leave what they say about it."""
        return Place(self.system, self.key)


def entries(graph: Path) -> list[Entry]:
    """The rows of the graph file, `methods` and then `together`, in its order. UserError if there is none."""
    found = params.load(graph)
    methods = found.get("methods")
    if not isinstance(methods, dict) or not methods:
        raise UserError(f"{graph}: found no methods, expected a mapping `methods`; see docs/extending.md")
    return [_entry(key, value, graph) for key, value in {**methods, **found.get("together", {})}.items()]


def of_system(graph: Path, system: str) -> list[Entry]:
    """Those of `entries` that are scored with the system. UserError if there is none."""
    found = [entry for entry in entries(graph) if entry.system == system]
    if not found:
        raise UserError(f"{graph}: found no method of system {system}, expected one or more; see docs/extending.md")
    return found


def _entry(key: str, value: Any, graph: Path) -> Entry:
    if not isinstance(value, dict):
        raise UserError(f"{graph}: methods.{key} is {value!r}, expected keys such as module and pair; see docs/extending.md")
    needed = (need for need in value.get("needs", []) if need.startswith("models/") and not need.endswith(".json"))
    networks = value["networks"].split() if "networks" in value else (need.removeprefix("models/") for need in needed)
    return Entry(
        key=key,
        system=str(value.get("system", key)),
        name=str(value.get("name", key)),
        supervision=str(value.get("supervision", "not stated")),
        modalities=tuple(str(value.get("pair") or "").replace("-", " ").split()),
        models=tuple(dict.fromkeys(networks)),
    )


def metrics(entries: Iterable[Entry]) -> dict[str, Numbers]:
    """The numbers of each method, by its key. UserError if a file is missing, or is no mapping of numbers."""
    return {entry.key: numbers(entry.place.metrics, f"evaluate@{entry.system}") for entry in entries}


def recipes(entries: Iterable[Entry]) -> dict[str, str]:
    """Recipe of each system's slices, by data/slices/<system>/recipe.json. UserError if one is missing."""
    systems = dict.fromkeys(entry.system for entry in entries)
    return {system: str(made_with(SLICES / system)["recipe"]) for system in systems}


def numbers(path: Path, stage: str) -> Numbers:
    """A file of metrics. UserError if it is missing, or is no mapping of numbers; `stage` writes it."""
    found = read_json(path)
    if not isinstance(found, dict) or not all(v is None or isinstance(v, int | float) for v in found.values()):
        raise UserError(f"{path}: found something else than numbers by name; run `dvc repro -f {stage}`")
    return found


def need(numbers: Numbers, name: str, method: str) -> float | None:
    """A metric that `evaluate` always writes. UserError if it is not there."""
    if name not in numbers:
        raise UserError(f"metrics of {method}: {name} is missing; run `dvc repro -f` for the evaluate stage of its system")
    return numbers[name]
