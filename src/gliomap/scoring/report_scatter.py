"""Dice against seconds per slice as an SVG in the page: it takes its colours from the page's style, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from gliomap.scoring.report_answer import TRAINED, Answer, Row

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 34, 46
CLOSE = 14  # pixels between two labels, at least
LETTER = 7.5  # mean width of a letter of a label, pixels
SHORTEST = 1e-6  # seconds; what took less is drawn here


def svg(answers: Sequence[Answer]) -> str:
    """All methods as points with the interval of Dice; the best and the cheapest of each answer have their names.

    A point is a link to the viewer with data-method, and has a title with all words.
    """
    rows = [row for answer in answers for row in answer.rows if row.dice >= 0]
    if not rows:
        return "<p>No method has a Dice.</p>"
    across = _Axis(rows)
    named = list({row.key: row for a in answers for row in (a.best, a.cheapest) if row.dice >= 0}.values())
    parts = [*_frame(across), *_legend(rows), *(_point(row, across) for row in rows), *_labels(named, across)]
    words = "Dice against seconds per slice of every method, by supervision; the table below has the numbers"
    start = f'<svg class="scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">'
    return "\n".join([start, *parts, "</svg>"])


class _Axis:
    """Seconds per slice over whole decades, logarithmic, and Dice from 0 to 1, as pixels."""

    def __init__(self, rows: Sequence[Row]):
        exponents = [math.log10(max(row.seconds, SHORTEST)) for row in rows]
        self.first, self.last = math.floor(min(exponents)), math.ceil(max(exponents))
        self.last += self.last == self.first

    def x(self, seconds: float) -> float:
        share = (math.log10(max(seconds, SHORTEST)) - self.first) / (self.last - self.first)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    @staticmethod
    def y(dice: float) -> float:
        return round(HEIGHT - BOTTOM - dice * (HEIGHT - TOP - BOTTOM), 1)


def _frame(across: _Axis) -> list[str]:
    parts = []
    for exponent in range(across.first, across.last + 1):
        x = across.x(10.0**exponent)
        parts.append(f'<path class="grid" d="M{x} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{10.0**exponent:g}</text>')
    for tenth in range(0, 11, 2):
        y = across.y(tenth / 10)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tenth / 10:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    words = f'<text class="axis" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">seconds per slice (this machine)</text>'
    return [*parts, words, f'<text class="axis" x="6" y="{TOP - 12}">Dice</text>']


def _legend(rows: Sequence[Row]) -> list[str]:
    parts, x = [], LEFT + 60
    for words in dict.fromkeys(row.supervision for row in rows):
        parts.append(f'{_mark(words, x, TOP - 16)}<text class="tick" x="{x + 10}" y="{TOP - 12}">{escape(words)}</text>')
        x += 36 + LETTER * len(words)
    return parts


def _point(row: Row, across: _Axis) -> str:
    x, y = across.x(row.seconds), across.y(row.dice)
    bar = f'<path class="bar {kind(row.supervision)}" d="M{x} {across.y(row.low)}V{across.y(row.high)}"/>'
    title = f"<title>{escape(row.words())}</title>"
    link = f'<a href="#viewer" data-method="{escape(row.key)}" tabindex="-1">'
    return f"{link}{title}{bar}{_mark(row.supervision, x, y)}</a>"


def _mark(supervision: str, x: float, y: float) -> str:
    """Another shape for each supervision, so that colour is not needed."""
    name = kind(supervision)
    if name == "masks":
        return f'<circle class="dot {name}" cx="{x}" cy="{y}" r="5"/>'
    sides = {"labels": "M{} {}m-4.5-4.5h9v9h-9z", "untrained": "M{} {}m0-6l5.5 10h-11z"}
    return f'<path class="dot {name}" d="{sides.get(name, "M{} {}m0-6l6 6l-6 6l-6-6z").format(x, y)}"/>'


def kind(supervision: str) -> str:
    """Its name in the page's style: masks, labels, untrained or other."""
    return dict(zip(TRAINED, ("masks", "labels", "untrained"), strict=True)).get(supervision, "other")


def _labels(rows: Sequence[Row], across: _Axis) -> list[str]:
    """Names beside their points, left of them where the right is full, moved down where they would overlap."""
    parts, taken = [], []
    for row in sorted(rows, key=lambda row: -row.dice):
        x, y, name = across.x(row.seconds), across.y(row.dice) - 9, row.name
        wide = LETTER * len(name)
        left = x + 9 if x + 9 + wide < WIDTH - RIGHT else x - 9 - wide
        while any(abs(y - other) < CLOSE and left < end and start < left + wide for start, end, other in taken):
            y += 2
        taken.append((left, left + wide, y))
        parts.append(f'<text class="name" x="{left:.1f}" y="{y + 4:.1f}">{escape(name)}</text>')
    return parts
