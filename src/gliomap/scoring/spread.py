"""Is our number inside the spread that a paper prints beside its own? Asked only of a run set up as the paper was."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gliomap.scoring.tables import NONE, Setup, is_number

INSIDE, OUTSIDE = "inside", "outside"
UNSTATED = "no spread stated"
NOT_COMPARABLE = "not comparable"
HEADING = "against the paper"
COLUMN = "against_paper_"  # and the paper's name of the number: in the CSV files
EDGE = 1e-9  # rounding of the sums, in units of the last printed digit
LEGEND = """\
- *against the paper*: *inside* where ours ({which}), rounded as the paper rounds, is at most the paper's ± away from its
  number, else *outside*. {meaning}
- *no spread stated*: the paper prints a number without ±. An interval of ours around it is no statement of the paper."""


@dataclass(frozen=True)
class Stated:
    """A printed number: `85.90±0.12`. spread: what follows ±, NaN if nothing does. decimals: of the number as printed."""

    value: float
    spread: float
    decimals: int

    @classmethod
    def of(cls, text: str) -> Stated | None:
        """None if no number is printed. ValueError of a text that only looks like one, such as `77.6±`."""
        if not text[:1].isdigit():
            return None
        value, sign, spread = text.partition("±")
        return cls(float(value), float(spread) if sign else np.nan, len(value.partition(".")[2]))


@dataclass(frozen=True)
class Comparison:
    """unlike: the choices in params.yaml in which a run differs from the paper's setting; none if it is comparable."""

    unlike: tuple[str, ...]

    @classmethod
    def of(cls, closest: Any, setup: Setup) -> Comparison:
        """closest: a dataclass of the choices that come closest to the paper (`papers.Closest`)."""
        return cls(tuple(f.name for f in fields(closest) if getattr(setup, f.name) != getattr(closest, f.name)))

    @property
    def comparable(self) -> bool:
        """Whether data, recipe and scale are those of the paper."""
        return not self.unlike

    def mark(self, stated: Stated | None, ours: float | None, *, scale: float = 1, spread_scale: float = 1) -> str:
        """INSIDE, OUTSIDE, UNSTATED or NOT_COMPARABLE of one cell; `-` where one of the two numbers is missing.

        scale: ours times this is in the paper's unit; spread_scale: the printed ± times this is in the unit of its number.
        """
        if stated is None or not is_number(ours):
            return NONE
        if not self.comparable:
            return NOT_COMPARABLE
        if not is_number(stated.spread):
            return UNSTATED
        away = abs(round(scale * ours, stated.decimals) - stated.value)
        return INSIDE if away <= spread_scale * stated.spread + EDGE * 10**-stated.decimals else OUTSIDE

    def legend(self, which: str, meaning: str) -> str:
        """What the marks mean, or why there are none. which: of our numbers is marked; meaning: of the paper's ±."""
        if self.comparable:
            return LEGEND.format(which=which, meaning=meaning)
        names = ", ".join(f"`{name}`" for name in self.unlike)
        return f"- No number is marked inside or outside the paper's spread: {names} differ from the paper's, see above."
