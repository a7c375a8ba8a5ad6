"""What each method costs, from metrics/cost/*.json: in a table of its own, because seconds differ from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gliomap.base.errors import UserError
from gliomap.base.files import read_json
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.tables import Setup, markdown

TRAIN = ("parameters", "steps", "seconds")
INFER = ("seconds_per_slice", "evaluations_per_slice", "slices")
HEAD = ("method", "networks", "parameters", "steps", "training s", "s per slice", "evaluations per slice", "slices")
NOTES = """\
- Networks, parameters, steps and training seconds are sums over the networks that a method needs. A network that two
  methods share is trained once and counted for both.
- Evaluations: calls of a network for one slice, all stripes and steps together. Slices: validation and test.
- Seconds are those of this run's machine and differ from run to run; only this table and leaderboard hold any."""


def frame(entries: Sequence[Entry], folder: Path) -> pd.DataFrame:
    """One row a method, in the order given. `folder` holds train-<method>-<key>.json and infer-<method>.json.

    UserError if one of them, or a number in it, is missing.
    """
    return pd.DataFrame([_record(entry, folder) for entry in entries])


def _record(entry: Entry, folder: Path) -> dict[str, Any]:
    runs = [_numbers(folder / f"train-{model.replace('/', '-')}.json", TRAIN) for model in entry.models]
    sums = {f"training_{name}": round(sum(run[name] for run in runs), 1) for name in TRAIN}
    made_by = {"method": entry.key, "name": entry.name, "networks": len(runs)}
    return made_by | sums | _numbers(folder / f"infer-{entry.key}.json", INFER)


def _numbers(path: Path, names: Sequence[str]) -> dict[str, float]:
    found = read_json(path)
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{path}: {', '.join(missing)} is missing; run `dvc repro -f` for the stage that writes this file")
    return {name: found[name] for name in names}


def text(table: pd.DataFrame, setup: Setup) -> str:
    """The same as Markdown."""
    rows = [_cells(record) for record in table.to_dict("records")]
    return "\n\n".join(["# Cost", setup.sentence(), markdown(HEAD, rows, text_columns=1), NOTES]) + "\n"


def _cells(record: Mapping[str, Any]) -> list[str]:
    counts = [f"{record[name]:,.0f}" for name in ("networks", "training_parameters", "training_steps")]
    speed = [f"{record['training_seconds']:,.1f}", f"{record['seconds_per_slice']:.5f}"]
    return [record["name"], *counts, *speed, f"{record['evaluations_per_slice']:,g}", f"{record['slices']:,.0f}"]
