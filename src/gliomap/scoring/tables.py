"""What tables are made of. Their text depends on metrics/*.json and the setup only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gliomap.scoring import seeds
from gliomap.scoring.leaderboard import Entry, Numbers, need

NONE = "-"
DATA = {"phantom": "generated images, not patients", "local": "a local folder"}  # other names speak for themselves
COUNTS = ("n_tumour_slices", "n_patients_tumour", "n_slices", "n_patients")


@dataclass(frozen=True)
class Setup:
    """What the numbers were made with: keys of params.yaml. confidence: mass of the intervals, 0.95 for 95 %."""

    data: str
    recipe: str
    scale: str
    confidence: float
    protocol: str = "common"

    def sentence(self) -> str:
        """Source of the data and size of the run, for the head of a table."""
        source = f" ({DATA[self.data]})" if self.data in DATA else ""
        return f"Data: **{self.data}**{source}, recipe `{self.recipe}`, scale `{self.scale}`."

    def interval(self) -> str:
        """What the brackets hold."""
        return f"{100 * self.confidence:g} % interval of a bootstrap over patients; absent with a single patient"


def ranked(entries: Sequence[Entry], metrics: Mapping[str, Numbers]) -> list[Entry]:
    """By Dice at the validation threshold, best first; methods without it last; ties in the order given."""

    def place(entry: Entry) -> float:
        dice = need(metrics[entry.key], "dice_slice_tumour", entry.key)
        return -dice if is_number(dice) else math.inf

    return sorted(entries, key=place)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int) -> str:
    """A GitHub table: the first `text_columns` columns to the left, the others to the right."""
    rule = [":---" if i < text_columns else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in [head, rule, *rows])


def with_interval(numbers: Numbers, name: str, digits: int, method: str) -> str:
    """`0.581 [0.552, 0.610]`; "-" if there is no such number, no brackets without an interval.

    Behind it mean and deviation over seeds, where known: see scoring/seeds.py.
    """
    value, low, high = need(numbers, name, method), numbers.get(f"{name}_lo"), numbers.get(f"{name}_hi")
    known = all(is_number(v) for v in (value, low, high))
    shown = fixed(value, digits) + (f" [{fixed(low, digits)}, {fixed(high, digits)}]" if known else "")
    return shown + seeds.suffix(numbers, name, digits)


def count(numbers: Numbers, name: str, method: str) -> str:
    """A whole number; "-" if there is none."""
    return fixed(need(numbers, name, method), 0)


def by_recipe(words: Mapping[str, str]) -> str:
    """What is said of each recipe: without its name if there is one only."""
    return "; ".join(words.values() if len(words) == 1 else (f"{recipe}: {said}" for recipe, said in words.items()))


def patients_behind(slices: str) -> str:
    """Name of the number of patients, by that of their slices: `n_tumour_slices` -> `n_patients_tumour`."""
    population = slices.removeprefix("n_").removesuffix("slices").rstrip("_")
    return f"n_patients_{population}" if population else "n_patients"


def fixed(value: float | None, digits: int) -> str:
    """The number with so many decimals; "-" if there is none."""
    return f"{value:.{digits}f}" if is_number(value) else NONE


def is_number(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)
