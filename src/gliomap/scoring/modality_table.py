"""Table 2 of the MMCCD paper beside ours: Dice of each method by the modality that it segments and the one in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from gliomap.base.errors import UserError
from gliomap.scoring import seeds
from gliomap.scoring.leaderboard import Numbers, need
from gliomap.scoring.papers import Heading, difference
from gliomap.scoring.pictures import NAMES
from gliomap.scoring.spread import COLUMN, Comparison, Stated
from gliomap.scoring.tables import COUNTS, NONE, Setup, count, fixed, is_number, markdown, patients_behind, with_interval

NOT_RUN = "not run"
LEGEND = """\
- *validation*: ours, at the threshold found on the validation patients. The number to quote.
- *oracle*: ours, at the threshold found on the test masks themselves. An upper bound, never the headline.
- [low, high]: {interval}.
- *slices*, *patients*: those behind our number; slices with tumour.
- *{absent}*: conf/graph.yaml does not list the method or the pair; it says how to add one.
- Supervision: slice labels, every row was shown slices known to be free of tumour.
- No number is marked inside or outside the paper's spread: it states none."""
CONVENTION = "Paper and ours: mean over tumour slices of the Dice of a slice; an empty prediction scores 0."


@dataclass(frozen=True)
class Printed:
    """A row of the paper: Dice at each pair, and the key of ours that stands beside it."""

    name: str
    methods: tuple[str, ...]
    dice: tuple[float, ...]


@dataclass(frozen=True)
class Gain:
    """Two rows whose difference the paper quotes, by name."""

    of: str
    over: str


@dataclass(frozen=True)
class PairsPaper(Heading):
    """conf/papers/mmccd_table2.yaml. metric, n: ours in metrics/<system>/<method>.json; pairs: <x>-<y>."""

    source: str
    metric: str
    n: str
    digits: int
    gain: Gain
    pairs: tuple[str, ...]
    rows: tuple[Printed, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The paper's table. UserError naming what does not fit."""
        paper = super().read(path)
        for row in paper.rows:
            for what, found in (("methods", row.methods), ("dice", row.dice)):
                if len(found) != len(paper.pairs):
                    wrong = f"has {len(found)} entries, expected one for each of the {len(paper.pairs)} pairs"
                    raise UserError(f"{path}: {what} of {row.name} {wrong}; mend the file")
        unknown = {paper.gain.of, paper.gain.over} - {row.name for row in paper.rows}
        if unknown:
            raise UserError(f"{path}: gain names {', '.join(sorted(unknown))}, expected names of rows; mend the file")
        return paper


@dataclass(frozen=True)
class Cell:
    """One of the table's cells. x, y: modalities; ours: None if the graph lacks the method."""

    x: str
    y: str
    name: str
    key: str
    printed: float
    ours: Numbers | None


def cells(paper: PairsPaper, metrics: Mapping[str, Numbers]) -> list[Cell]:
    """All cells, pair by pair, in the paper's order. metrics: of all methods of the graph, by key."""
    return [
        Cell(*pair.split("-", 1), row.name, row.methods[i], row.dice[i], metrics.get(row.methods[i]))
        for i, pair in enumerate(paper.pairs)
        for row in paper.rows
    ]


def frame(paper: PairsPaper, found: Sequence[Cell], setup: Setup) -> pd.DataFrame:
    """One row a cell: `paper_dice` as printed; ours by their names in metrics/*.json; note: why there is none.

    `against_paper_dice`: what `spread.Comparison.mark` says of ours at the validation threshold.
    """
    comparison = Comparison.of(paper.closest, setup)
    names = [metric + end for metric in _metrics(paper) for end in ("", "_lo", "_hi")]
    records = []
    for cell in found:
        record: dict[str, Any] = {"input": cell.x, "translated": cell.y, "method": cell.key, "name": cell.name}
        record["paper_dice"] = cell.printed
        record |= {name: (cell.ours or {}).get(name) for name in names}
        record |= seeds.columns(cell.ours or {}, _metrics(paper))
        stated = Stated.of(f"{cell.printed:.4f}")
        record[f"{COLUMN}dice"] = comparison.mark(stated, (cell.ours or {}).get(paper.metric))
        record |= {name: count(cell.ours, name, cell.key) if cell.ours is not None else None for name in COUNTS}
        records.append(record | {"note": "" if cell.ours is not None else NOT_RUN})
    return pd.DataFrame(records)


def text(paper: PairsPaper, found: Sequence[Cell], setup: Setup) -> str:
    """The same as Markdown: the paper's own layout, then every cell with interval and n, then the quoted differences."""
    run = sum(cell.ours is not None for cell in found)
    parts = [
        f"# {paper.name}, {paper.source}: the paper's numbers and ours",
        f"{setup.sentence()} {difference(paper, setup)} {run} of {len(found)} cells were run.",
        f"Paper: {paper.paper}. {paper.source}: {paper.setting}.",
        paper.conventions.strip(),
        LEGEND.format(interval=setup.interval(), absent=NOT_RUN),
        "## Dice, paper / ours (validation)",
        CONVENTION,
        _layout(paper, found),
        "## Dice, each cell",
        _every(paper, found),
        f"## {paper.gain.of} minus {paper.gain.over}, in hundredths of Dice",
        "The paper prints no test and no interval for it; the leaderboard has paired tests of ours.",
        _gains(paper, found),
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(paper: PairsPaper) -> tuple[str, str]:
    """At the validation and at the oracle threshold."""
    return paper.metric, f"{paper.metric}_oracle"


def _layout(paper: PairsPaper, found: Sequence[Cell]) -> str:
    """The paper's table: a line a method, a column a pair."""
    by_row = {row.name: [cell for cell in found if cell.name == row.name] for row in paper.rows}
    head = ["method", *(f"{_name(pair.split('-', 1)[0])} via {_name(pair.split('-', 1)[1])}" for pair in paper.pairs)]
    lines = [[name, *(f"{cell.printed:.4f} / {_value(paper, cell)}" for cell in row)] for name, row in by_row.items()]
    return markdown(head, lines, text_columns=1)


def _value(paper: PairsPaper, cell: Cell) -> str:
    return NOT_RUN if cell.ours is None else fixed(need(cell.ours, paper.metric, cell.key), paper.digits)


def _every(paper: PairsPaper, found: Sequence[Cell]) -> str:
    lines = []
    for cell in found:
        line = [_name(cell.x), _name(cell.y), cell.name, f"{cell.printed:.4f}"]
        if cell.ours is None:
            lines.append([*line, f"{NONE} ({NOT_RUN})", *[NONE] * 3])
            continue
        ours = [with_interval(cell.ours, metric, paper.digits, cell.key) for metric in _metrics(paper)]
        lines.append([*line, *ours, *(count(cell.ours, name, cell.key) for name in (paper.n, patients_behind(paper.n)))])
    head = ["input X", "translated Y", "method", "paper", "validation", "oracle", "slices", "patients"]
    return markdown(head, lines, text_columns=3)


def _gains(paper: PairsPaper, found: Sequence[Cell]) -> str:
    by = {(cell.x, cell.y, cell.name): cell for cell in found}
    lines = []
    for x, y in (pair.split("-", 1) for pair in paper.pairs):
        better, other = by[x, y, paper.gain.of], by[x, y, paper.gain.over]
        ours = [_gain(better, other, metric) for metric in _metrics(paper)]
        lines.append([_name(x), _name(y), f"{100 * (better.printed - other.printed):+.2f}", *ours])
    return markdown(["input X", "translated Y", "paper", "validation", "oracle"], lines, text_columns=2)


def _gain(better: Cell, other: Cell, metric: str) -> str:
    """`+2.82`, or that one of the two was not run."""
    if better.ours is None or other.ours is None:
        return NOT_RUN
    a, b = (need(cell.ours, metric, cell.key) for cell in (better, other))
    return f"{100 * (a - b):+.2f}" if is_number(a) and is_number(b) else NONE


def _name(modality: str) -> str:
    return NAMES.get(modality, modality)
