"""What tables are made of, and the summary of all methods. Its text depends on metrics/*.json and the setup only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gliomap.scoring.leaderboard import Entry, Numbers, need

NONE = "-"
DATA = {"phantom": "generated images, not patients", "local": "a local folder"}  # other names speak for themselves
COLUMNS = (  # of the summary: title, metric, digits
    ("Dice", "dice_slice_tumour", 3),
    ("Dice, oracle", "dice_slice_tumour_oracle", 3),
    ("AUPRC", "auprc_pooled_brain", 3),
    ("AUROC", "auroc_pooled_brain", 3),
    ("HD95 mm", "hd95_max_directed_mm", 1),
    ("ASSD mm", "assd_mean_of_directed_mm", 2),
    ("image AUROC", "auroc_image", 3),
)
COUNTS = ("n_tumour_slices", "n_slices", "n_patients")
NOTES = """\
- [low, high]: {interval}.
- Dice, HD95 and ASSD are at the threshold found on the validation patients; *oracle*: found on the test masks
  themselves, an upper bound.
- Dice (`dice_slice_tumour`): mean over tumour slices. A perfect map would get {ceiling}: tumour outside the eroded brain
  is lost to every method.
- AUPRC, AUROC (`auprc_pooled_brain`, `auroc_pooled_brain`): over the pixels inside the brain of all test slices.
  Expected of a random map: AUPRC {floor}, AUROC 0.500.
- HD95 (`hd95_max_directed_mm`), ASSD (`assd_mean_of_directed_mm`): mean over the tumour slices with a prediction; lower
  is better.
- image AUROC (`auroc_image`): slices with tumour against slices without.
- Supervision: what training saw. Every validation threshold has seen the pixel masks of the validation patients.
- Definitions: docs/protocol.md. What each method costs: cost.md."""


@dataclass(frozen=True)
class Setup:
    """What the numbers were made with: keys of params.yaml. confidence: mass of the intervals, 0.95 for 95 %."""

    data: str
    recipe: str
    scale: str
    confidence: float

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


def summary_frame(entries: Sequence[Entry], metrics: Mapping[str, Numbers]) -> pd.DataFrame:
    """All methods, best Dice first, one row each, with intervals; the columns are the names in metrics/*.json."""
    names = [metric + end for _, metric, _ in COLUMNS for end in ("", "_lo", "_hi")]
    return pd.DataFrame([_record(e, metrics[e.key], names) for e in ranked(entries, metrics)])


def _record(entry: Entry, numbers: Numbers, names: Iterable[str]) -> dict[str, Any]:
    record = {"method": entry.key, "name": entry.name, "supervision": entry.supervision}
    record |= {name: numbers.get(name) for name in names}
    return record | {name: count(numbers, name, entry.key) for name in COUNTS}


def summary_text(entries: Sequence[Entry], metrics: Mapping[str, Numbers], setup: Setup) -> str:
    """The same as Markdown, with the floors and the ceiling of the numbers below."""
    order = ranked(entries, metrics)
    rows = []
    for e in order:
        cells = [with_interval(metrics[e.key], metric, digits, e.key) for _, metric, digits in COLUMNS]
        rows.append([e.name, e.supervision, *cells, *(count(metrics[e.key], name, e.key) for name in COUNTS)])
    head = ["method", "supervision", *(title for title, _, _ in COLUMNS), "tumour slices", "slices", "patients"]
    best = metrics[order[0].key]
    floor, ceiling = (fixed(best.get(name), 3) for name in ("prevalence_pooled_brain", "dice_ceiling"))
    notes = NOTES.format(interval=setup.interval(), floor=floor, ceiling=ceiling)
    first = f"{setup.sentence()} Test patients; best Dice first."
    return "\n\n".join(["# All methods", first, markdown(head, rows, text_columns=2), notes]) + "\n"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int) -> str:
    """A GitHub table: the first `text_columns` columns to the left, the others to the right."""
    rule = [":---" if i < text_columns else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in [head, rule, *rows])


def with_interval(numbers: Numbers, name: str, digits: int, method: str) -> str:
    """`0.581 [0.552, 0.610]`; "-" if there is no such number, no brackets without an interval or with one patient only."""
    value, low, high = need(numbers, name, method), numbers.get(f"{name}_lo"), numbers.get(f"{name}_hi")
    several = (need(numbers, "n_patients", method) or 0) > 1
    known = several and all(is_number(v) for v in (value, low, high))
    return fixed(value, digits) + (f" [{fixed(low, digits)}, {fixed(high, digits)}]" if known else "")


def count(numbers: Numbers, name: str, method: str) -> str:
    """A whole number; "-" if there is none."""
    return fixed(need(numbers, name, method), 0)


def fixed(value: float | None, digits: int) -> str:
    """The number with so many decimals; "-" if there is none."""
    return f"{value:.{digits}f}" if is_number(value) else NONE


def is_number(value: float | None) -> bool:
    """Whether there is a finite number."""
    return value is not None and math.isfinite(value)
