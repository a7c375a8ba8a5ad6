"""Which method, at what cost: the head of the page and of README.md, from the leaderboard."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from gliomap.base.errors import UserError
from gliomap.base.files import read_csv
from gliomap.scoring.leaderboard import Numbers
from gliomap.scoring.tables import Setup, fixed, is_number, markdown, with_interval

DICE = "dice_slice_tumour"
COST = ("evaluations_per_slice", "training_seconds", "training_parameters")
COUNTS = ("n_tumour_slices", "n_patients_tumour")
TEXT = ("method", "name", "system", "supervision", "recipe")  # fields of a Row
NEEDED = (DICE, "auprc_pooled_brain", "seconds_per_slice", *COST, *COUNTS, "n_slices", "n_patients")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TRAINED = {  # order of the answers, and how they begin
    "pixel masks": "Trained on pixel masks",
    "slice labels": "Trained on slice labels only",
    "none": "Not trained at all",
}
HEAD = (
    "supervision", "method", "Dice", "AUPRC", "s per slice", "evaluations", "training s", "parameters", "slices", "patients"
)  # fmt: skip
TOP = 3  # methods of each supervision in README.md
NOTE = (
    "Dice: mean over the test slices with tumour, at the threshold found on the validation patients; [low, high]: "
    "{interval}. AUPRC: over the pixels in the brain of all test slices. The highest of many rows was picked on the test "
    "patients themselves, which flatters it."
)


@dataclass(frozen=True)
class Row:
    """A method with what it reached and what it took: a line of the leaderboard. numbers: its columns, NaN where empty."""

    key: str
    name: str
    system: str
    supervision: str
    recipe: str
    numbers: Numbers

    @property
    def dice(self) -> float:
        """At the validation threshold; below every number if there is none."""
        return self._number(DICE, -1.0)

    @property
    def low(self) -> float:
        """Lower end of the interval of Dice; Dice itself without one."""
        return self._number(f"{DICE}_lo", self.dice)

    @property
    def high(self) -> float:
        """Upper end of the interval of Dice; Dice itself without one."""
        return self._number(f"{DICE}_hi", self.dice)

    @property
    def seconds(self) -> float:
        """Of inference, per slice."""
        return self._number("seconds_per_slice", 0.0)

    def _number(self, name: str, otherwise: float) -> float:
        value = self.numbers.get(name)
        return float(value) if is_number(value) else otherwise

    def cells(self) -> list[str]:
        """As HEAD."""
        dice, area = (with_interval(self.numbers, name, 3, self.key) for name in (DICE, "auprc_pooled_brain"))
        evaluations, training, parameters = (self._number(name, 0.0) for name in COST)
        cost = [f"{self.seconds:.4f}", f"{evaluations:,g}", f"{training:,.0f}", f"{parameters:,.0f}"]
        return [self.supervision, self.name, dice, area, *cost, *(fixed(self.numbers[name], 0) for name in COUNTS)]

    def words(self) -> str:
        """`DDMD, Dice 0.656 [0.516, 0.766], 0.05 s per slice`."""
        return f"{self.name}, Dice {self.cells()[2]}, {self.seconds:.2g} s per slice"

    def cost(self) -> str:
        """What it takes, in one sentence."""
        evaluations, training, _ = (self._number(name, 0.0) for name in COST)
        return f"{self.seconds:.2g} s and {evaluations:,g} network evaluations per slice, {training:,.0f} s of training."

    def against_flair(self) -> str:
        """How it compares with the FLAIR threshold, patient by patient; nothing where the leaderboard has no comparison."""
        names = ("difference", "difference_lo", "difference_hi", "p_holm")
        mean, low, high, p = (self._number(f"vs_flair_{name}", math.nan) for name in names)
        if not (is_number(mean) and is_number(p)):
            return ""
        interval = f" [{low:+.3f}, {high:+.3f}]" if is_number(low) and is_number(high) else ""
        return f"Against the FLAIR threshold, patient by patient: {mean:+.3f}{interval}, p = {p:.2g} (Holm)."


@dataclass(frozen=True)
class Answer:
    """The methods with one supervision on one recipe.

    rows: highest Dice first. cheapest: the fastest whose Dice is not below the interval of the best.
    """

    title: str
    rows: tuple[Row, ...]
    best: Row
    cheapest: Row


def read(path: Path) -> list[Row]:
    """The lines of metrics/tables/leaderboard.csv, in its order. UserError if it or a column is missing, or it is empty."""
    found = read_csv(path, keep_default_na=False, na_values=[""])
    if missing := sorted({*TEXT, *NEEDED} - set(found)):
        what = f"found no column {', '.join(missing)}, expected what tables writes"
        raise UserError(f"{path}: {what}; run `dvc repro -f tables`")
    if found.empty:
        raise UserError(f"{path}: found no method, expected at least one; run `dvc repro -f tables`")
    return [Row(*(str(line[name]) for name in TEXT), line) for line in found.to_dict("records")]


def answers(found: Iterable[Row]) -> list[Answer]:
    """One for each supervision and recipe, most supervision first; rows of different recipes are never compared."""
    order = [*TRAINED]

    def kind(row: Row) -> tuple[str, int, str]:
        name = row.supervision
        return row.recipe, order.index(name) if name in order else len(order), name

    groups = [list(group) for _, group in groupby(sorted(found, key=kind), kind)]
    several = len({row.recipe for group in groups for row in group}) > 1
    return [_answer(group, several) for group in groups]


def _answer(group: list[Row], several: bool) -> Answer:
    ranked = sorted(group, key=lambda row: -row.dice)
    best = ranked[0]
    cheapest = min((row for row in ranked if row.dice >= min(best.low, best.dice)), key=lambda row: (row.seconds, -row.dice))
    title = TRAINED.get(best.supervision, f"Supervision: {best.supervision}")
    return Answer(f"{title}, recipe {best.recipe}" if several else title, tuple(ranked), best, cheapest)


def extract(found: Iterable[Answer], top: int = 1) -> str:
    """A Markdown table: of each answer the `top` highest Dice and the cheapest. Several recipes are named."""
    found = list(found)
    several = len({row.recipe for answer in found for row in answer.rows}) > 1
    shown = [{row.key: row for row in (*answer.rows[:top], answer.cheapest)}.values() for answer in found]
    rows = [row for group in shown for row in sorted(group, key=lambda row: -row.dice)]
    cells = [row.cells() for row in rows]
    if several:
        cells = [[f"{kind}, recipe {row.recipe}", *more] for row, (kind, *more) in zip(rows, cells, strict=True)]
    return markdown(HEAD, cells, text_columns=2)


def readme_block(found: Sequence[Row], setup: Setup, figure: str) -> str:
    """The Markdown between the markers of README.md. figure: a picture's path from there."""
    answered = answers(found)
    lines = [f"- **{answer.title}** ({len(answer.rows)} methods): {answer.best.words()}." for answer in answered]
    rule = f"The best {TOP} of each supervision, and the fastest whose Dice lies within the interval of the best:"
    note = NOTE.format(interval=setup.interval()) + " All methods: [leaderboard.md](metrics/tables/leaderboard.md)."
    picture = f"![Dice of all methods against seconds per slice]({figure})"
    return "\n\n".join([setup.sentence(), "\n".join(lines), rule, extract(answered, TOP), note, picture]) + "\n"


def with_block(readme: str, block: str) -> str:
    """The text of README.md with the block between its two markers. UserError if they are not there, once and in order."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise UserError(f"README.md: expected the lines {BEGIN} and {END} once each, in this order; put them back")
    return f"{before}{BEGIN}\n{block}{END}{after}"
