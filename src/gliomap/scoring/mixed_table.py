"""Table 1 of the AnoFPDM paper beside ours, in the paper's conventions, with what predicting nothing would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.scoring import leaderboard, seeds
from gliomap.scoring.leaderboard import Numbers
from gliomap.scoring.papers import NOT_PRINTED, Heading, difference
from gliomap.scoring.spread import COLUMN, HEADING, Comparison, Stated
from gliomap.scoring.tables import NONE, Setup, fixed, is_number, markdown, patients_behind

FOLDER = Path("metrics/mixed")
NOTHING = "nothing found (floor)"
LEGEND = """\
- *paper*: as printed; (b) from the later revision of the paper, where some definitions differ.
- [low, high]: {interval}.
- *tuned on*: what thresholds and settings were chosen with, on validation slices.
{marks}"""
MEANING = "The paper's ± is over three runs."


@dataclass(frozen=True)
class Column:
    """One number of the paper, and ours that go with it: heading -> name in metrics/mixed; `n` counts their slices."""

    title: str
    paper: Literal[
        "dice_mixed", "iou_mixed", "auprc_mixed", "dice_unhealthy", "iou_unhealthy", "auprc_unhealthy", "specificity", "none"
    ]
    ours: dict[str, str]
    n: str
    convention: str


@dataclass(frozen=True)
class Printed:
    """A row of the paper, in hundredths, as text: `77.6±0.1`."""

    method: str
    name: str
    tuned_on: str
    edition: Literal["v1", "later"]
    dice_mixed: str
    iou_mixed: str
    auprc_mixed: str
    dice_unhealthy: str
    iou_unhealthy: str
    auprc_unhealthy: str


@dataclass(frozen=True)
class MixedPaper(Heading):
    """conf/papers/anofpdm.yaml."""

    source: str
    healthy_share: float
    inconsistency: str
    tuning: str
    columns: tuple[Column, ...]
    rows: tuple[Printed, ...]


def keys(graph: Path) -> list[str]:
    """The rows that the pipeline evaluates: `mixed_rows` of conf/graph.yaml, names with spaces between; none if absent."""
    found = params.load(graph).get("mixed_rows") or ""
    if not isinstance(found, str):
        raise UserError(f"{graph}: mixed_rows is {found!r}, expected the names of rows in one line; see docs/extending.md")
    return found.split()


def metrics(names: Sequence[str]) -> dict[str, Numbers]:
    """metrics/mixed/<row>.json of each row. UserError if one is missing, or is no mapping of numbers."""
    return {name: leaderboard.numbers(FOLDER / f"{name}.json", "evaluate_mixed") for name in names}


def number(text: str) -> tuple[float, float]:
    """`77.6±0.1` as (77.6, 0.1); NaN where nothing follows."""
    value, _, spread = text.partition("±")
    return float(value), float(spread) if spread else np.nan


def left_empty(row: Printed, healthy_share: float) -> tuple[float, float]:
    """Share of healthy slices left empty, in hundredths, that a row of the paper implies: from Dice and from IoU.

    mixed = share * empty + (1 - share) * unhealthy, where one set of masks is behind both.
    """
    pairs = [(row.dice_mixed, row.dice_unhealthy), (row.iou_mixed, row.iou_unhealthy)]
    found = [(number(m)[0] - (1 - healthy_share) * number(u)[0]) / healthy_share for m, u in pairs]
    return found[0], found[1]


def frame(paper: MixedPaper, found: Mapping[str, Numbers], setup: Setup | None = None) -> pd.DataFrame:
    """One row a method: `paper_*` as printed, in hundredths; the others by their names in metrics/mixed, in units of 1.

    `against_paper_*`, with a setup: what `spread.Comparison.mark` says of the first of ours.
    """
    comparison = Comparison.of(paper.closest, setup) if setup else None
    records = []
    for key, name, tuned_on, printed in _order(paper, found):
        record: dict[str, Any] = {"method": key, "name": name, "tuned_on": tuned_on}
        record["paper_edition"] = printed.edition if printed else None
        for column in paper.columns:
            record |= _paper_numbers(column.paper, printed, paper.healthy_share)
        numbers = found.get(key, {})
        for metric in (m for column in paper.columns for m in column.ours.values()):
            plain = metric.replace("{batch}", "")  # `slices_per_batch` says how many
            record |= {plain + end: numbers.get(_named(metric, numbers) + end) for end in ("", "_lo", "_hi")}
            more = seeds.columns(numbers, [_named(metric, numbers)])
            record |= {name.replace(_named(metric, numbers), plain, 1): value for name, value in more.items()}
        if comparison:
            marks = {c.paper: _mark(comparison, c, printed, numbers) for c in paper.columns if _is_printed(c)}
            record |= {COLUMN + name: mark for name, mark in marks.items()}
        for name in ("floor_all_empty_mixed", "slices_per_batch", *_counts(paper), "n_patients"):
            record[name] = numbers.get(name)
        records.append(record)
    return pd.DataFrame(records)


def text(paper: MixedPaper, found: Mapping[str, Numbers], setup: Setup) -> str:
    """The same as Markdown, in hundredths: one table for each number, its convention above it."""
    comparison = Comparison.of(paper.closest, setup)
    marks = comparison.legend("the first column", MEANING)
    parts = [
        f"# {paper.name}, {paper.source}: the paper's numbers and ours",
        f"{setup.sentence()} {difference(paper, setup)}",
        f"Paper: {paper.paper}. {paper.source}: {paper.setting}.",
        paper.conventions.strip(),
        paper.inconsistency.strip(),
        paper.tuning.strip(),
        LEGEND.format(interval=setup.interval(), marks=marks),
    ]
    for column in paper.columns:
        parts += [f"## {column.title}", column.convention.strip(), _table(paper, column, found, comparison)]
    return "\n\n".join(parts) + "\n"


def _order(paper: MixedPaper, found: Mapping[str, Numbers]) -> list[tuple[str, str, str, Printed | None]]:
    """Key, name, tuning and printed row: the paper's in its order, then those of ours that it lacks."""
    theirs = [(row.method, row.name, row.tuned_on, row) for row in paper.rows]
    known = {row.method for row in paper.rows}
    return theirs + [(key, key, "not stated", None) for key in found if key not in known]


def _table(paper: MixedPaper, column: Column, found: Mapping[str, Numbers], comparison: Comparison) -> str:
    marked = comparison.comparable and _is_printed(column)
    printed = [] if column.paper == NOT_PRINTED else ["paper"]
    head = ["method", "tuned on", *printed, *column.ours, *([HEADING] if marked else []), "slices", "patients"]
    rows = [_floor(paper, column, found, marked)] if column.paper != NOT_PRINTED else []
    for key, name, tuned_on, row in _order(paper, found):
        cells = [] if column.paper == NOT_PRINTED else [_printed(column.paper, row, paper.healthy_share)]
        numbers = found.get(key)
        if numbers is None:
            cells += [f"{NONE} (not in this version)", *[NONE] * (len(column.ours) + 1 + marked)]
        else:
            cells += [_ours(numbers, metric, key) for metric in column.ours.values()]
            cells += [_mark(comparison, column, row, numbers)] if marked else []
            cells += [fixed(_need(numbers, name, key), 0) for name in (column.n, patients_behind(column.n))]
        rows.append([name, tuned_on, *cells])
    return markdown(head, rows, text_columns=2)


def _is_printed(column: Column) -> bool:
    """Whether the paper itself prints the number: healthy slices left empty are computed from its columns."""
    return column.paper not in (NOT_PRINTED, "specificity")


def _mark(comparison: Comparison, column: Column, row: Printed | None, numbers: Numbers) -> str:
    stated = Stated.of(getattr(row, column.paper)) if row else None
    ours = numbers.get(_named(next(iter(column.ours.values())), numbers))
    return comparison.mark(stated, ours, scale=100)


def _floor(paper: MixedPaper, column: Column, found: Mapping[str, Numbers], marked: bool) -> list[str]:
    """What empty masks and a constant map score. Same slices, same floor: that of the first row."""
    key = next(iter(found), None)
    kind, _, population = column.paper.partition("_")
    share = paper.healthy_share if population == "mixed" else float(kind == "specificity")
    theirs = NONE if kind == "auprc" else fixed(100 * share, 1)
    if key is None:
        ours = None
    elif kind == "auprc":
        ours = _need(found[key], f"prevalence_foreground_{population}", key)
    else:
        ours = _need(found[key], "floor_all_empty_mixed", key) if population == "mixed" else share
    cells = [fixed(100 * ours, 1) if is_number(ours) else NONE] * len(column.ours)
    counts = [fixed(_need(found[key], name, key), 0) if key else NONE for name in (column.n, patients_behind(column.n))]
    return [NOTHING, NONE, theirs, *cells, *([NONE] if marked else []), *counts]


def _printed(name: str, row: Printed | None, healthy_share: float) -> str:
    if row is None:
        return NONE
    shown = " / ".join(fixed(v, 1) for v in left_empty(row, healthy_share)) if name == "specificity" else getattr(row, name)
    return shown + (" (b)" if row.edition == "later" else "")


def _paper_numbers(name: str, row: Printed | None, healthy_share: float) -> dict[str, float | None]:
    if name == NOT_PRINTED:
        return {}
    if name == "specificity":
        values = left_empty(row, healthy_share) if row else (None, None)
        return {
            f"paper_specificity_from_{kind}": v if v is None else round(v, 1) for kind, v in zip(("dice", "iou"), values)
        }
    value, spread = number(getattr(row, name)) if row else (None, None)
    return {f"paper_{name}": value, f"paper_{name}_sd": spread}


def _ours(numbers: Numbers, metric: str, key: str) -> str:
    """`77.8 [75.1, 80.2]` in hundredths; no brackets without an interval or with one patient only."""
    name = _named(metric, numbers)
    value, low, high = _need(numbers, name, key), numbers.get(f"{name}_lo"), numbers.get(f"{name}_hi")
    if not is_number(value):
        return NONE
    known = (_need(numbers, "n_patients", key) or 0) > 1 and is_number(low) and is_number(high)
    shown = fixed(100 * value, 1) + (f" [{fixed(100 * low, 1)}, {fixed(100 * high, 1)}]" if known else "")
    return shown + seeds.suffix(numbers, name, 1, 100)


def _named(metric: str, numbers: Numbers) -> str:
    return metric.replace("{batch}", f"{numbers.get('slices_per_batch') or 0:.0f}")


def _counts(paper: MixedPaper) -> list[str]:
    return list(dict.fromkeys(column.n for column in paper.columns))


def _need(numbers: Numbers, name: str, key: str) -> float | None:
    if name not in numbers:
        raise UserError(f"{FOLDER / key}.json: {name} is missing; run `dvc repro -f evaluate_mixed`")
    return numbers[name]
