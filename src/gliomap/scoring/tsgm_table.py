"""Tables 2 and 3 of the TSGM paper beside ours, in its conventions, and what it does not report (TSGM spec 6 to 8)."""

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
from gliomap.scoring.leaderboard import Entry, Numbers
from gliomap.scoring.mixed_table import number
from gliomap.scoring.papers import ABSENT, NOT_PRINTED, Heading, difference
from gliomap.scoring.pictures import NAMES
from gliomap.scoring.spread import COLUMN, HEADING, NOT_COMPARABLE, Comparison, Stated
from gliomap.scoring.tables import NONE, Setup, fixed, is_number, markdown
from gliomap.scoring.weights import Rule

FOLDER, COHORTS = Path("metrics/otsu"), Path("conf/external")
SYSTEM, MAIN, INTERVAL = "tsgm", "test", "dice"  # INTERVAL: the number that has one
Threshold = Literal["otsu", "validation"]  # as section `otsu` has it
KINDS = {"phantom": "**generated images, not patients**, that stand in for it", "local": "the local folder in conf/external"}
THRESHOLDS = {
    "otsu": "Otsu's threshold of each slice, over the whole image",
    "validation": "one threshold a row, found on the pixel masks of the validation patients",
}
WEIGHTS = {
    "searched": "were searched on the **pixel masks of validation patients**",
    "published": "are those of the released code, chosen on pixel masks",
    "uniform": "are equal",
}
LEGEND = """\
- *paper*: as printed. *ours*: mean±standard deviation over slices. {spread}
- [low, high]: {interval}.
- *needs ...*: the row cannot be had on a cohort without these modalities; nor did the paper.
{marks}"""
MEANING = "Its ± is the standard deviation over slices by our reading, wide beside what two trainings differ by."


@dataclass(frozen=True)
class Cohort:
    """Slices with a table block of their own. population: folder in metrics/otsu; `test` is the main cohort's."""

    population: str
    name: str


@dataclass(frozen=True)
class Column:
    """One number of the paper, and ours that go with it: heading -> name in metrics/otsu. counts: heading -> name.

    unit: mean and sd in hundredths and in units of 1; a share in hundredths, without sd; or a length.
    """

    title: str
    paper: Literal["dice", "auprc", "iou", "precision", "recall", "hd95", "none"]
    unit: Literal["hundredths", "share", "length"]
    ours: dict[str, str]
    counts: dict[str, str]
    convention: str


@dataclass(frozen=True)
class Printed:
    """A row of the paper, as text: `85.90±0.12`, or `-`. cohort: population; method: key of ours that stands for it."""

    cohort: str
    method: str
    name: str
    dice: str
    auprc: str
    iou: str
    precision: str
    recall: str
    hd95: str


@dataclass(frozen=True)
class Table:
    """One table of the paper. extras: keys of rows of ours that follow in every cohort."""

    source: str
    title: str
    extras: tuple[str, ...]
    rows: tuple[Printed, ...]


@dataclass(frozen=True)
class TsgmPaper(Heading):
    """conf/papers/tsgm.yaml. needs: row -> modalities without which it has no numbers."""

    supervision: str
    spread: str
    cohorts: tuple[Cohort, ...]
    needs: dict[str, tuple[str, ...]]
    columns: tuple[Column, ...]
    table2: Table
    table3: Table


@dataclass(frozen=True)
class Rules:
    """What all masks were made with: `weigh.weights` and `otsu.threshold` of params.yaml."""

    weights: Rule
    threshold: Threshold


@dataclass(frozen=True)
class Found:
    """Ours. entries: by key. kinds: of each cohort but `test`, conf/external. modalities: those of a cohort, by population.

    numbers: (population, row) -> numbers; without the rows that a cohort lacks the modalities for.
    """

    entries: Mapping[str, Entry]
    kinds: Mapping[str, str]
    modalities: Mapping[str, tuple[str, ...]]
    numbers: Mapping[tuple[str, str], Numbers]


@dataclass(frozen=True)
class Line:
    """A row of a table. printed: None if the paper lacks it; ours: None if we do, and `why`."""

    cohort: Cohort
    key: str
    name: str
    printed: Printed | None
    ours: Numbers | None
    why: str


def find(paper: TsgmPaper, entries: Sequence[Entry]) -> Found:
    """metrics/otsu/<population>/<row>.json of the system's rows, for the cohorts of the paper and what they consist of.

    UserError if numbers that should be there are missing, or a file is damaged.
    """
    mine = {entry.key: entry for entry in entries if entry.system == SYSTEM}
    external = [cohort.population for cohort in paper.cohorts if cohort.population != MAIN] if mine else []
    sources = {name: params.load(COHORTS / f"{name}.yaml") for name in external}
    modalities = {name: tuple(source.get("modalities") or NAMES) for name, source in sources.items()}
    found = Found(mine, {name: str(source.get("kind")) for name, source in sources.items()}, modalities, {})
    populations = [cohort.population for cohort in paper.cohorts]
    wanted = [(name, key) for name in populations for key in mine if not _lacking(paper, found, name, key)]
    numbers = {at: leaderboard.numbers(FOLDER / at[0] / f"{at[1]}.json", "evaluate_otsu") for at in wanted}
    return Found(mine, found.kinds, modalities, numbers)


def lines(paper: TsgmPaper, table: Table, found: Found) -> list[Line]:
    """Cohort by cohort: the paper's rows in its order, then the extras that this version has."""
    made = []
    for cohort in paper.cohorts:
        printed = [row for row in table.rows if row.cohort == cohort.population]
        extras = [key for key in table.extras if key in found.entries and printed]
        pairs = [(row.method, row.name, row) for row in printed]
        for key, name, row in pairs + [(key, found.entries[key].name, None) for key in extras]:
            ours = found.numbers.get((cohort.population, key))
            made.append(Line(cohort, key, name, row, ours, "" if ours else _why(paper, found, cohort.population, key)))
    return made


def frame(paper: TsgmPaper, table: Table, found: Found, setup: Setup | None = None) -> pd.DataFrame:
    """One row a method and cohort: `paper_*`, `paper_*_sd` as printed; ours by their names in metrics/otsu, in units of 1.

    note: why there are none. `against_paper_*`, with a setup: what `spread.Comparison.mark` says of the first of ours.
    """
    comparison = Comparison.of(paper.closest, setup) if setup else None
    records = []
    for line in lines(paper, table, found):
        record: dict[str, Any] = {"cohort": line.cohort.population, "method": line.key, "name": line.name}
        for column in paper.columns:
            record |= _paper_numbers(column.paper, line.printed)
        numbers = line.ours or {}
        for column in paper.columns:
            names = [name + end for name in column.ours.values() for end in _ends(column, name)]
            record |= {name: numbers.get(name) for name in [*names, *column.counts.values()]}
            wholes = [name if column.unit == "share" else f"{name}_mean" for name in column.ours.values()]
            record |= seeds.columns(numbers, wholes)
        if comparison:
            marks = {c.paper: _mark(comparison, c, line) for c in paper.columns if c.paper != NOT_PRINTED}
            record |= {COLUMN + name: mark for name, mark in marks.items()}
        records.append(record | {"component_mm2": numbers.get("component_mm2"), "note": line.why})
    return pd.DataFrame(records)


def text(paper: TsgmPaper, table: Table, found: Found, setup: Setup, rules: Rules) -> str:
    """The same as Markdown: what the cohorts are and what was seen, then one table for each number."""
    comparison = Comparison.of(paper.closest, setup)
    marks = comparison.legend("the first column", MEANING)
    parts = [
        f"# {paper.name}, {table.source}: the paper's numbers and ours ({table.title})",
        f"{setup.sentence()} {difference(paper, setup)}",
        _cohorts(paper, table, found, setup),
        f"{paper.supervision.strip()} Ours {WEIGHTS[rules.weights]}. Masks: {THRESHOLDS[rules.threshold]}{_filter(found)}.",
        f"Paper: {paper.paper}. {table.source}: {paper.setting}.",
        paper.conventions.strip(),
        LEGEND.format(spread=paper.spread.strip(), interval=setup.interval(), marks=marks),
    ]
    made = lines(paper, table, found)
    for column in paper.columns:
        parts += [f"## {column.title}", column.convention.strip(), _table(column, made, comparison)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _lacking(paper: TsgmPaper, found: Found, population: str, key: str) -> list[str]:
    """Modalities that the row needs and the cohort lacks."""
    there = found.modalities.get(population)
    return [] if there is None else [name for name in paper.needs.get(key, ()) if name not in there]


def _why(paper: TsgmPaper, found: Found, population: str, key: str) -> str:
    lacking = _lacking(paper, found, population, key)
    return f"needs {', '.join(NAMES.get(name, name) for name in lacking)}" if lacking else ABSENT


def _cohorts(paper: TsgmPaper, table: Table, found: Found, setup: Setup) -> str:
    """A line on each cohort of the table: what it is here."""
    shown = {row.cohort for row in table.rows}
    made = []
    for cohort in paper.cohorts:
        if cohort.population == MAIN and MAIN in shown:
            made.append(f"- {cohort.name} (`{MAIN}`): here the test slices of `data: {setup.data}`.")
        elif cohort.population in shown and cohort.population in found.kinds:
            kind = found.kinds[cohort.population]
            there = ", ".join(NAMES.get(name, name) for name in found.modalities[cohort.population])
            made.append(f"- {cohort.name} (`{cohort.population}`): here {KINDS.get(kind, kind)}; {there}; tested only.")
    return "\n".join(made)


def _filter(found: Found) -> str:
    """`; components of at most 400 mm² leave` with the areas that the rows' numbers name."""
    areas = sorted({v["component_mm2"] for v in found.numbers.values() if is_number(v.get("component_mm2"))})
    return f"; components of at most {' or '.join(f'{area:g}' for area in areas)} mm² leave" if areas else ""


def _table(column: Column, made: Sequence[Line], comparison: Comparison) -> str:
    marked = comparison.comparable and column.paper != NOT_PRINTED
    heading = [HEADING] if marked else []
    printed = [] if column.paper == NOT_PRINTED else ["paper"]
    rows = []
    for line in made:
        cells = [getattr(line.printed, column.paper, NONE)] if printed else []
        if line.ours is None:
            cells += [f"{NONE} ({line.why})", *[NONE] * (len(column.ours) + len(column.counts) - 1 + marked)]
        else:
            cells += [_ours(line, column, name) for name in column.ours.values()]
            cells += [_mark(comparison, column, line)] if marked else []
            cells += [fixed(_need(line, name), 0) for name in column.counts.values()]
        rows.append([line.cohort.name, line.name, *cells])
    return markdown(["paper's cohort", "method", *printed, *column.ours, *heading, *column.counts], rows, text_columns=2)


def _mark(comparison: Comparison, column: Column, line: Line) -> str:
    """Of the first of ours. Hundredths have their ± in units of 1. What stands in for another cohort is not compared."""
    stated = Stated.of(getattr(line.printed, column.paper)) if line.printed else None
    ours, scale = (line.ours or {}).get(f"{next(iter(column.ours.values()))}_mean"), 1 if column.unit == "length" else 100
    if line.cohort.population != MAIN and stated and is_number(ours):
        return NOT_COMPARABLE
    return comparison.mark(stated, ours, scale=scale, spread_scale=scale)


def _ends(column: Column, name: str) -> tuple[str, ...]:
    if column.unit == "share":
        return ("",)
    return ("_mean", "_sd", "_mean_low", "_mean_high") if name == INTERVAL else ("_mean", "_sd")


def _ours(line: Line, column: Column, name: str) -> str:
    """`85.90±0.12 [81.3, 88.2]`, `5.08±3.26`, or `3.1` of a share; no brackets without an interval."""
    numbers, scale = line.ours or {}, 1 if column.unit == "length" else 100
    if column.unit == "share":
        return _scaled(_need(line, name), scale, 1) + _over_seeds(line, column, name)
    mean, sd = _need(line, f"{name}_mean"), _need(line, f"{name}_sd")
    shown = _scaled(mean, scale, 2) + (f"±{sd:.2f}" if is_number(mean) and is_number(sd) else "")
    low, high = (numbers.get(f"{name}_mean_{end}") for end in ("low", "high"))
    there = is_number(low) and is_number(high)
    known = shown + (f" [{_scaled(low, scale, 1)}, {_scaled(high, scale, 1)}]" if there else "")
    return known + _over_seeds(line, column, name)


def _over_seeds(line: Line, column: Column, name: str) -> str:
    """Of the mean over slices: mean and deviation over seeds; empty where they are not known."""
    whole = name if column.unit == "share" else f"{name}_mean"
    return seeds.suffix(line.ours or {}, whole, 1, 1 if column.unit == "length" else 100)


def _scaled(value: float | None, scale: float, digits: int) -> str:
    return fixed(scale * value, digits) if is_number(value) else NONE


def _paper_numbers(name: str, row: Printed | None) -> dict[str, float | None]:
    if name == NOT_PRINTED:
        return {}
    known = row is not None and getattr(row, name) != NONE
    value, sd = number(getattr(row, name)) if known else (np.nan, np.nan)
    return {f"paper_{name}": value, f"paper_{name}_sd": sd}


def _need(line: Line, name: str) -> float | None:
    if line.ours is None or name not in line.ours:
        path = FOLDER / line.cohort.population / f"{line.key}.json"
        raise UserError(f"{path}: {name} is missing; run `dvc repro -f evaluate_otsu`")
    return line.ours[name]
