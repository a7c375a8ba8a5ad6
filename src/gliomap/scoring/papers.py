"""A paper's table beside ours: what was printed, what we get by the same convention, and what the two do not share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import pandas as pd

from gliomap.base import params
from gliomap.scoring import seeds
from gliomap.scoring.leaderboard import Entry, Numbers
from gliomap.scoring.spread import COLUMN, Comparison, Stated
from gliomap.scoring.tables import COUNTS, NONE, Setup, count, markdown, patients_behind, with_interval

NOT_PRINTED = "none"
ABSENT = "not in this version"
LEGEND = """\
- *validation*: ours, at the threshold found on the validation patients. The number to quote.
- *oracle*: ours, at the threshold found on the test masks themselves. An upper bound, never the headline.
- [low, high]: {interval}. The paper prints none.
- *slices*, *patients*: those behind our number; slices with tumour.
- *supervision*: what training saw. Slice labels: it was shown slices known to be free of tumour. None: nothing is
  trained. Every validation threshold has seen the pixel masks of the validation patients.
- No number is marked inside or outside the paper's spread: it states none."""


@dataclass(frozen=True)
class Closest:
    """The choices in params.yaml that come closest to the paper's setting."""

    data: str
    recipe: str
    scale: str


@dataclass(frozen=True)
class Column:
    """One number of the paper and ours that goes with it, by its name in metrics/<method>.json; `n` counts its slices."""

    title: str
    paper: Literal["dice", "auc", "jaccard", "precision", "recall", "assd", "none"]
    metric: str
    n: str
    thresholded: bool
    digits: int
    convention: str

    def names(self) -> list[str]:
        """Our metrics: at the validation and the oracle threshold, or the one that needs no threshold."""
        return [self.metric, f"{self.metric}_oracle"] if self.thresholded else [self.metric]


@dataclass(frozen=True)
class Printed:
    """A method's row in the paper. doubtful: the numbers that cannot be taken as a target."""

    method: str
    name: str
    supervision: str
    dice: float
    auc: float
    jaccard: float
    precision: float
    recall: float
    assd: float
    doubtful: tuple[str, ...]


@dataclass(frozen=True)
class Heading:
    """What every file in conf/papers/ says of its paper: name and citation, its setting, its conventions of scoring."""

    name: str
    paper: str
    setting: str
    closest: Closest
    conventions: str

    @classmethod
    def read(cls, path: Path) -> Self:
        """The paper's tables. UserError naming the key that does not fit."""
        return params.convert(params.load(path), cls, str(path), "")


@dataclass(frozen=True)
class Paper(Heading):
    """A table of a paper: conf/papers/<name>.yaml."""

    source: str
    doubt: str
    columns: tuple[Column, ...]
    rows: tuple[Printed, ...]


@dataclass(frozen=True)
class Row:
    """A row of the comparison. printed: None if the paper lacks the method; ours: None if this version does."""

    key: str
    name: str
    supervision: str
    printed: Printed | None
    ours: Numbers | None


def rows(paper: Paper, entries: Sequence[Entry], metrics: Mapping[str, Numbers]) -> list[Row]:
    """The paper's methods in its order, then those of ours that it lacks, in theirs."""
    known = {row.method for row in paper.rows}
    theirs = [Row(row.method, row.name, row.supervision, row, metrics.get(row.method)) for row in paper.rows]
    return theirs + [Row(e.key, e.name, e.supervision, None, metrics[e.key]) for e in entries if e.key not in known]


def frame(paper: Paper, found: Sequence[Row], setup: Setup | None = None) -> pd.DataFrame:
    """One row a method: `paper_*` as printed, the others by their names in metrics/*.json, with intervals.

    `against_paper_*`, with a setup: what `spread.Comparison.mark` says of ours at the validation threshold.
    """
    comparison = Comparison.of(paper.closest, setup) if setup else None
    return pd.DataFrame([_record(paper, row, comparison) for row in found])


def _record(paper: Paper, row: Row, comparison: Comparison | None) -> dict[str, Any]:
    record: dict[str, Any] = {"method": row.key, "name": row.name, "supervision": row.supervision}
    for column in paper.columns:
        if column.paper != NOT_PRINTED:
            record[f"paper_{column.paper}"] = getattr(row.printed, column.paper, None)
        record |= {name + end: (row.ours or {}).get(name + end) for name in column.names() for end in ("", "_lo", "_hi")}
        record |= seeds.columns(row.ours or {}, column.names())
        if comparison and column.paper != NOT_PRINTED:
            stated = None if row.printed is None else Stated.of(_printed(column.paper, row.printed).split()[0])
            record[COLUMN + column.paper] = comparison.mark(stated, (row.ours or {}).get(column.metric))
    for name in dict.fromkeys([*COUNTS, *(name for c in paper.columns for name in (c.n, patients_behind(c.n)))]):
        record[name] = count(row.ours, name, row.key) if row.ours is not None else None
    return record | {"note": _note(row)}


def _note(row: Row) -> str:
    if row.printed is None:
        return "not in the paper"
    doubts = [f"doubtful in the paper: {' '.join(row.printed.doubtful)}"] if row.printed.doubtful else []
    return "; ".join(([ABSENT] if row.ours is None else []) + doubts)


def text(paper: Paper, found: Sequence[Row], setup: Setup) -> str:
    """The same as Markdown: one table for each number, its convention above it."""
    parts = [
        f"# {paper.name}, {paper.source}: the paper's numbers and ours",
        f"{setup.sentence()} {difference(paper, setup)}",
        f"Paper: {paper.paper}. {paper.source}: {paper.setting}.",
        paper.conventions.strip(),
        LEGEND.format(interval=setup.interval()),
    ]
    for column in paper.columns:
        parts += [f"## {column.title}", column.convention.strip(), _table(column, found)]
        if any(row.printed and column.paper in row.printed.doubtful for row in found):
            parts.append(f"(a) {paper.doubt.strip()}")
    return "\n\n".join(parts) + "\n"


def difference(paper: Heading, setup: Setup) -> str:
    """What keeps this run from being a reproduction of the paper."""
    if setup.data == "phantom":
        return "**No reproduction of the paper:** the images are generated; the two sides share methods and metrics only."
    names = [f.name for f in fields(Closest) if getattr(setup, f.name) != getattr(paper.closest, f.name)]
    if not names:
        return "Data, recipe and scale are the ones closest to the paper."
    wanted = ", ".join(f"`{name}: {getattr(paper.closest, name)}`" for name in names)
    return f"**No reproduction of the paper:** closest to it would be {wanted}."


def _table(column: Column, found: Sequence[Row]) -> str:
    ours = ["validation", "oracle"] if column.thresholded else ["ours"]
    printed = ["paper"] if column.paper != NOT_PRINTED else []
    head = ["method", "supervision", *printed, *ours, "slices", "patients"]
    return markdown(head, [_cells(column, row) for row in found], text_columns=2)


def _cells(column: Column, row: Row) -> list[str]:
    printed = [_printed(column.paper, row.printed)] if column.paper != NOT_PRINTED else []
    if row.ours is None:
        absent = [f"{NONE} ({ABSENT})", *[NONE] * (len(column.names()) + 1)]
        return [row.name, row.supervision, *printed, *absent]
    ours = [with_interval(row.ours, name, column.digits, row.key) for name in column.names()]
    counts = [count(row.ours, name, row.key) for name in (column.n, patients_behind(column.n))]
    return [row.name, row.supervision, *printed, *ours, *counts]


def _printed(name: str, row: Printed | None) -> str:
    if row is None:
        return NONE
    return f"{getattr(row, name):.4f}{' (a)' if name in row.doubtful else ''}"
