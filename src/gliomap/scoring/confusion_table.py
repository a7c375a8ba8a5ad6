"""Table 1 of the DDMD paper beside ours, in its conventions, with what predicting nothing would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.scoring import leaderboard, repeats, seeds
from gliomap.scoring.leaderboard import Entry, Numbers
from gliomap.scoring.mixed_table import NOTHING, number
from gliomap.scoring.papers import ABSENT, NOT_PRINTED, Heading, difference
from gliomap.scoring.repeats import Repeats
from gliomap.scoring.spread import COLUMN, HEADING, Comparison, Stated
from gliomap.scoring.tables import NONE, Setup, fixed, is_number, markdown

FOLDER = Path("metrics/confusion")
PARAMETER = "splits.fold"
UNKNOWN = "unknown"
COUNTS = {  # heading -> name
    "tumour slices": "n_tumour_slices",
    "healthy slices": "n_healthy_slices",
    "slices": "n_slices",
    "patients": "n_patients",
}
LEGEND = """\
- *paper*: as printed, mean±sd over its five folds; (95 %): how sure it is that the number belongs to this cell;
  unknown: lost or not to be placed.
- {ours}.
- *nothing found (floor)*: what empty masks score on the same slices.
{marks}"""
MEANING = "The paper's ± is the standard deviation over five folds; inside means within one of them, no more."


@dataclass(frozen=True)
class Column:
    """One number of the paper, and ours that go with it: heading -> name in metrics/confusion, the primary one first."""

    title: str
    paper: Literal["dice", "miou", "pa", "none"]
    ours: dict[str, str]
    convention: str


@dataclass(frozen=True)
class Printed:
    """A row of the paper, in hundredths, as text: `74.16±1.29`, or `unknown`. certainty: that a number is in its cell."""

    method: str
    name: str
    dice: str
    miou: str
    pa: str
    certainty: float = params.number(min=0, max=1)


@dataclass(frozen=True)
class ConfusionPaper(Heading):
    """conf/papers/ddmd.yaml."""

    source: str
    supervision: str
    damage: str
    columns: tuple[Column, ...]
    rows: tuple[Printed, ...]


@dataclass(frozen=True)
class Rows:
    """Ours by key, in the order of conf/graph.yaml, and the folds that were run with the same setup."""

    entries: Mapping[str, Entry]
    numbers: Mapping[str, Numbers]
    folds: Repeats


def rows(entries: Sequence[Entry], setup: Setup, system: str = "ddmd") -> Rows:
    """Of the system's methods: metrics/confusion/<row>.json and metrics/repeats/<system>/splits.fold/*.json.

    UserError if a row's numbers are missing, or a file is damaged.
    """
    mine = {entry.key: entry for entry in entries if entry.system == system}
    numbers = {key: leaderboard.numbers(FOLDER / f"{key}.json", "evaluate_confusion") for key in mine}
    return Rows(mine, numbers, repeats.read(repeats.folder(system, PARAMETER), "confusion", setup))


def frame(paper: ConfusionPaper, found: Rows, setup: Setup | None = None) -> pd.DataFrame:
    """One row a method: `paper_*` as printed, in hundredths; ours by their names in metrics/confusion, in units of 1.

    `<name>_lo`, `_hi`: of the single run; `<name>_fold_mean`, `_fold_sd`, `_folds`: over folds, where there are any.
    `against_paper_*`, with a setup: what `spread.Comparison.mark` says of the first of ours, over folds if there are any.
    """
    comparison = Comparison.of(paper.closest, setup) if setup else None
    metrics = _metrics(paper)
    records = []
    for key, name, printed in _order(paper, found):
        supervision = found.entries[key].supervision if key in found.entries else paper.supervision
        record: dict[str, Any] = {"method": key, "name": name, "supervision": supervision}
        for column in paper.columns:
            record |= _paper_numbers(column.paper, printed)
        numbers = found.numbers.get(key, {})
        if comparison:
            marks = {c.paper: _mark(comparison, c, printed, found, key) for c in paper.columns if c.paper != NOT_PRINTED}
            record |= {COLUMN + name: mark for name, mark in marks.items()}
        for metric in metrics:
            record |= {metric + end: numbers.get(metric + end) for end in ("", "_lo", "_hi")}
            mean, sd, n = found.folds.spread(key, metric) or (np.nan, np.nan, None)
            mean, sd = (float(f"{value:.6g}") for value in (mean, sd))
            record |= {f"{metric}_fold_mean": mean, f"{metric}_fold_sd": sd, f"{metric}_folds": n}
        record |= seeds.columns(numbers, metrics)
        records.append(record | {name: numbers.get(name) for name in COUNTS.values()})
    return pd.DataFrame(records)


def text(paper: ConfusionPaper, found: Rows, setup: Setup) -> str:
    """The same as Markdown, in hundredths: one table for each number, its convention above it."""
    over = [repeats.sentence(found.folds, PARAMETER)] if len(found.folds.values) > 1 else []
    ours = "; ".join(["*ours*: " + over[0] if over else "*ours*: one run", f"[low, high]: {setup.interval()}"])
    comparison = Comparison.of(paper.closest, setup)
    marks = comparison.legend("the first column", MEANING)
    parts = [
        f"# {paper.name}, {paper.source}: the paper's numbers and ours",
        f"**Every row is trained on the {paper.supervision}** of its training slices, the paper's methods and ours alike.",
        f"{setup.sentence()} {difference(paper, setup)}",
        f"Paper: {paper.paper}. {paper.source}: {paper.setting}.",
        paper.conventions.strip(),
        paper.damage.strip(),
        LEGEND.format(ours=ours, marks=marks),
    ]
    for column in paper.columns:
        parts += [f"## {column.title}", column.convention.strip(), _table(paper, column, found, comparison)]
    return "\n\n".join(parts) + "\n"


def _order(paper: ConfusionPaper, found: Rows) -> list[tuple[str, str, Printed | None]]:
    """Key, name and printed row: the paper's in its order, then those of ours that it lacks."""
    theirs = [(row.method, row.name, row) for row in paper.rows]
    known = {row.method for row in paper.rows}
    return theirs + [(key, entry.name, None) for key, entry in found.entries.items() if key not in known]


def _metrics(paper: ConfusionPaper) -> list[str]:
    return [metric for column in paper.columns for metric in column.ours.values()]


def _table(paper: ConfusionPaper, column: Column, found: Rows, comparison: Comparison) -> str:
    marked = comparison.comparable and column.paper != NOT_PRINTED
    printed = [] if column.paper == NOT_PRINTED else ["paper"]
    head = ["method", *printed, *column.ours, *([HEADING] if marked else []), *COUNTS]
    lines = [_floor(column, found, marked)]
    for key, name, row in _order(paper, found):
        cells = [] if column.paper == NOT_PRINTED else [_printed(column.paper, row)]
        if key in found.numbers:
            cells += [_ours(found, key, metric) for metric in column.ours.values()]
            cells += [_mark(comparison, column, row, found, key)] if marked else []
            cells += _counts(found, key)
        else:
            cells += [f"{NONE} ({ABSENT})", *[NONE] * (len(column.ours) + len(COUNTS) - 1 + marked)]
        lines.append([name, *cells])
    return markdown(head, lines, text_columns=1)


def _mark(comparison: Comparison, column: Column, row: Printed | None, found: Rows, key: str) -> str:
    metric = next(iter(column.ours.values()))
    over, numbers = found.folds.spread(key, metric), found.numbers.get(key, {})
    stated = Stated.of(getattr(row, column.paper)) if row else None
    return comparison.mark(stated, over[0] if over else numbers.get(metric), scale=100)


def _floor(column: Column, found: Rows, marked: bool) -> list[str]:
    """Same slices, same floor: that of the first row. Empty masks raise no false alarm, and none is printed."""
    theirs = [] if column.paper == NOT_PRINTED else [NONE]
    key = next(iter(found.numbers), None)
    if key is None:
        return [NOTHING, *theirs, *[NONE] * (len(column.ours) + len(COUNTS) + marked)]
    names = [f"floor_{metric}" for metric in column.ours.values()]
    over = [found.folds.spread(key, name) for name in names]
    values = [_need(found.numbers[key], name, key) if mean is None else mean[0] for name, mean in zip(names, over)]
    return [NOTHING, *theirs, *map(_hundredths, values), *([NONE] if marked else []), *_counts(found, key)]


def _counts(found: Rows, key: str) -> list[str]:
    """Slices and patients behind a row's numbers; `96 to 98` where its folds differ."""
    shown = []
    for name in COUNTS.values():
        known = found.folds.of(key, name)
        values = known if len(known) > 1 else [_need(found.numbers[key], name, key)]
        shown.append(" to ".join(fixed(value, 0) for value in sorted({min(values), max(values)})))
    return shown


def _printed(name: str, row: Printed | None) -> str:
    """`74.16±1.29`; with how sure that is, where it is not certain."""
    if row is None:
        return NONE
    shown = getattr(row, name)
    return shown if shown == UNKNOWN or row.certainty == 1 else f"{shown} ({100 * row.certainty:.0f} %)"


def _paper_numbers(name: str, row: Printed | None) -> dict[str, float | None]:
    """paper_<name>, _sd and _certainty (that the number is in its cell, 0 where it is unknown); None without a row."""
    if name == NOT_PRINTED:
        return {}
    known = row is not None and getattr(row, name) != UNKNOWN
    value, spread = number(getattr(row, name)) if known else (None, None)
    certainty = None if row is None else row.certainty if known else 0.0
    return {f"paper_{name}": value, f"paper_{name}_sd": spread, f"paper_{name}_certainty": certainty}


def _ours(found: Rows, key: str, metric: str) -> str:
    """Over folds `71.2±1.3 (5 folds)`, else `71.2 [68.0, 74.1]`, in hundredths; no brackets with one patient only."""
    if over := found.folds.spread(key, metric):
        return f"{_hundredths(over[0])}±{_hundredths(over[1])} ({over[2]} folds)"
    numbers = found.numbers[key]
    value, low, high = _need(numbers, metric, key), numbers.get(f"{metric}_lo"), numbers.get(f"{metric}_hi")
    known = all(is_number(v) for v in (value, low, high))
    shown = _hundredths(value) + (f" [{_hundredths(low)}, {_hundredths(high)}]" if known else "")
    return shown + seeds.suffix(numbers, metric, 1, 100)


def _hundredths(value: float | None) -> str:
    return fixed(100 * value, 1) if is_number(value) else NONE


def _need(numbers: Numbers, name: str, key: str) -> float | None:
    if name not in numbers:
        raise UserError(f"{FOLDER / key}.json: {name} is missing; run `dvc repro -f evaluate_confusion`")
    return numbers[name]
