"""One page with everything, that needs no network: answer, viewer, tables, figures, cost and configuration of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Protocol

from gliomap.base import run
from gliomap.scoring import report_parts, report_scatter
from gliomap.scoring.report_answer import NOTE, Answer, Row, answers, extract
from gliomap.scoring.report_parts import Picture
from gliomap.scoring.tables import Setup, by_recipe, fixed

HERE = Path(__file__).parent
PACKAGES = ("gliomap", "torch", "numpy", "scipy", "dvc")
WARNING = "Research software, <strong>not a medical device</strong>."
PHANTOM = " All images here are generated: they say nothing about patients and reproduce no paper."
CHOICE = "The slices were chosen by tumour area (without tumour: by brain area) alone, before any prediction was looked at."


class Work(Protocol):
    """A part of the page that a process can make by itself."""

    def made(self) -> Any:
        """The finished part."""


def make(work: Work) -> Any:
    """The part; a function of its own so that processes can be given it."""
    return work.made()


@dataclass(frozen=True)
class Content:
    """What the page is filled with.

    rows: a row a method. viewer: of report_viewer: recipes, and methods as made by its jobs. figures: HTML of each picture.
    """

    setup: Setup
    rows: Sequence[Row]
    recipes: Mapping[str, Any]
    methods: Sequence[Mapping[str, Any]]
    pictures: Sequence[Picture]
    figures: Sequence[str]


def split(work: Sequence[Work], made: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """What the viewer's jobs made, and what the pictures made; both in order."""
    both: tuple[list[Any], list[Any]] = ([], [])
    for one, result in zip(work, made, strict=True):
        both[isinstance(one, Picture)].append(result)
    return both


def page(content: Content, root: Path, plots: Path, tables: Path) -> str:
    """The whole page. root: of the repository, for its configuration; plots, tables: folders of figures and tables."""
    found = answers(content.rows)
    setup = content.setup
    viewer = {"recipes": content.recipes, "methods": content.methods, "first": _first(found)}
    parts = {
        "data": escape(setup.data),
        "scale": escape(setup.scale),
        "setup": report_parts.html_of(setup.sentence()).removeprefix("<p>").removesuffix("</p>\n"),
        "counts": f"{len(content.rows)} methods, {_counts(content.rows)}.",
        "warning": WARNING + (PHANTOM if setup.data == "phantom" else ""),
        "answers": "\n".join(_card(answer) for answer in found),
        "scatter": report_scatter.svg(found),
        "interval": escape(setup.interval()),
        "extract": report_parts.html_of(extract(found, 2)),
        "note": escape(NOTE.format(interval=setup.interval())),
        "choice": CHOICE,
        "tables": report_parts.tables(tables, report_parts.table_names(tables)),
        "figures": report_parts.figures(plots, content.pictures, content.figures),
        "cost": report_parts.html_of((tables / "cost.md").read_text(encoding="utf-8").partition("\n")[2]),
        "versions": escape(", ".join(f"{name} {number}" for name, number in run.versions(*PACKAGES).items())),
        "configuration": report_parts.configuration(root),
        "viewer": json.dumps(viewer, separators=(",", ":"), allow_nan=False).replace("</", "<\\/"),
    }
    files = {"style": "report.css", "script": "report.js"}
    parts |= {name: (HERE / file).read_text(encoding="utf-8") for name, file in files.items()}
    return Template((HERE / "report.html").read_text(encoding="utf-8")).substitute(parts)


def _first(found: Sequence[Answer]) -> str:
    """The method that the viewer opens with: the best without pixel masks, if there is one that was trained."""
    best = {answer.best.supervision: answer.best.key for answer in found}
    return best.get("slice labels", found[0].best.key)


def _counts(rows: Sequence[Row]) -> str:
    """Test slices and patients, of each recipe if there are several."""
    of_recipe = {row.recipe: row.numbers for row in reversed(rows)}
    words = {
        recipe: f"{fixed(numbers['n_slices'], 0)} test slices of {fixed(numbers['n_patients'], 0)} patients"
        for recipe, numbers in sorted(of_recipe.items())
    }
    return escape(by_recipe(words))


def _card(answer: Answer) -> str:
    best, cheap = answer.best, answer.cheapest
    kind = report_scatter.kind(best.supervision)
    if cheap is best:
        more = "No faster method comes within that interval."
    else:
        words = f"{escape(cheap.words())}"
        more = f"Fastest within that interval: {words}."
    title = f"<h3>{escape(answer.title)} ({len(answer.rows)} methods)</h3>"
    name = f"<strong>{escape(best.name)}: Dice {escape(best.cells()[2])}</strong>"
    lines = "".join(f"<p>{line}</p>" for line in (best.cost(), best.against_flair(), more) if line)
    return f'<div class="answer {kind}">{title}{name}{lines}</div>'

