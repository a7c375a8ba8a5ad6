"""The leaderboard in Markdown, with a legend in plain words. Everything is read off the table that ranking.frame made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gliomap.scoring import paired, ranking, seeds
from gliomap.scoring.ranking import AGAINST, DICE, FLAIR, SIZES
from gliomap.scoring.tables import NONE, Setup, fixed, is_number, markdown

Row = Mapping[str, Any]
Column = tuple[str, Callable[[Row], str]]
LEVEL = 0.05  # of the remark on what the tests can show

NOTES = """\
## How to read this

- Order: by supervision (what training saw: nothing, which slices hold a tumour, or its outline), then by Dice. A method
  with more supervision has an easier task. The rows without supervision are floors: brightness alone, and chance.
- [low, high]: {interval}. From few patients such intervals are too narrow.
- Dice: overlap of prediction and truth, 0 to 1, mean over the test slices with tumour, at the threshold found on the
  validation patients, whose outlines every row has seen in that way. *oracle*: at the best threshold for the test slices
  themselves, an upper bound that nobody reaches without their outlines.
- small, medium, large: thirds of those slices by tumour area.
- AUPRC, AUROC: does the map rank tumour pixels above the others, over all pixels inside the brain; no threshold. image
  AUROC: does one number for a slice rank slices with tumour above those without. Chance: AUROC 0.5.
- HD95, ASSD: distances between the outlines in mm, lower is better, mean over the tumour slices with a prediction, whose
  number is given: a method that leaves difficult slices empty looks better here.
- s per slice, training s: seconds on the machine of this run, which differ from run to run. evaluations: calls of a network
  for one slice. training s, parameters: sums over the networks that a method needs; one that two methods share counts for
  both.
- minus ...: difference of Dice, averaged for each patient and then over patients, so that a patient counts once however many
  slices there are. p: how often a difference at least as large comes up if a coin decides, patient by patient, which of the
  two methods is which {coin}. p corrected: by Holm over the rows, because among many comparisons some look good by chance.
- The best of a class was found on the same test slices, so p against it is somewhat too small, and its Dice somewhat high.
- A large p does not say that two methods are alike: the interval of the difference says how unlike they may be.
- Definitions: docs/protocol.md. The networks behind the seconds: cost.md. All columns: leaderboard.csv."""


def text(table: pd.DataFrame, setup: Setup) -> str:
    """All of it: for each recipe the best of each class, all methods, Dice, maps and distances, comparisons; the legend.

    Cells of methods with runs over seeds say so (seeds.suffix); seeds.explained adds what that means.
    """
    recipes = list(dict.fromkeys(table["recipe"]))
    parts = ["# Leaderboard", replace(setup, recipe=", ".join(recipes)).sentence()]
    if len(recipes) > 1:
        parts.append("Methods on different recipes saw different slices. They are not ranked against each other.")
    for recipe in recipes:
        parts += _of_recipe(table[table["recipe"] == recipe])
    return "\n\n".join([*parts, NOTES.format(interval=setup.interval(), coin=_coin(table))]) + "\n"


def short(table: pd.DataFrame) -> str:
    """The best row of each class of supervision, one recipe's: a Markdown table for a reader with a minute."""
    sizes = table["supervision"].value_counts()
    columns: list[Column] = [
        ("supervision", lambda row: row["supervision"]),
        ("best method", lambda row: row["name"]),
        ("of", lambda row: str(sizes[row["supervision"]])),
        ("Dice", _interval(DICE, 3)),
        ("minus FLAIR threshold", _difference("vs_flair")),
        ("AUPRC", _interval("auprc_pooled_brain", 3)),
        *COST,
    ]
    return _markdown(ranking.best_of_each(table), columns, 2)


def _of_recipe(table: pd.DataFrame) -> list[str]:
    first = table.iloc[0]
    n = f"{_count(first, 'n_slices')} test slices of {_count(first, 'n_patients')} patients"
    floor, ceiling = fixed(first["prevalence_pooled_brain"], 3), fixed(first["dice_ceiling"], 3)
    with_tumour = f"{_count(first, 'n_tumour_slices')} of the slices, of {_count(first, 'n_patients_tumour')} patients"
    limits = (
        f"{with_tumour}, have a tumour. AUPRC expected of a random map: {floor}. "
        f"Dice of a perfect map: {ceiling}, because tumour outside the eroded brain is lost to every method."
    )
    shown = {
        "The best of each kind of supervision": short(table),
        "All methods": _markdown(table, OVERVIEW, 3),
        "Dice": _markdown(table, _dice(table), 2),
        "Maps and distances": _markdown(table, MAPS, 2),
        "Comparisons, patient by patient": _markdown(table, _compared(table), 2),
    }
    sections = [f"### {title}\n\n{rows}" for title, rows in shown.items()]
    return [f"## Recipe `{first['recipe']}`: {n}", limits, *sections, _power(table)]


def _dice(table: pd.DataFrame) -> list[Column]:
    first = table.iloc[0]
    lower, upper = (fixed(first[f"tercile_mm2_{end}"] / 100, 1) for end in ("lower", "upper"))
    words = (f"up to {lower} cm²", f"up to {upper} cm²", f"above {upper} cm²")
    thirds = [
        (f"{size}: {said}, n = {_count(first, f'n_tumour_slices_{size}')}", _interval(f"{DICE}_{size}", 3))
        for size, said in zip(SIZES, words)
    ]
    every = f", n = {_count(first, 'n_tumour_slices')}"
    return [*NAMED, (f"Dice{every}", _interval(DICE, 3)), (f"oracle{every}", _interval(f"{DICE}_oracle", 3)), *thirds]


def _compared(table: pd.DataFrame) -> list[Column]:
    n = f", n = {_count(table.iloc[0], 'n_patients_paired')} patients"
    titles = dict(zip(AGAINST, (f"minus FLAIR threshold{n}", f"minus best of class{n}")))
    columns: list[Column] = [*NAMED]
    for prefix in AGAINST:
        columns += [(titles[prefix], _difference(prefix)), ("p", _p(f"{prefix}_p")), ("p corrected", _p(f"{prefix}_p_holm"))]
    return columns


def _power(table: pd.DataFrame) -> str:
    """What the classes' best are, and what the tests could show at all with so many patients and rows."""
    first, names = table.iloc[0], dict(zip(table["method"], table["name"]))
    best = "; ".join(f"{names[row.best_of_class]} ({row.supervision})" for row in ranking.best_of_each(table).itertuples())
    said = [f"Best of class: {best}."] + ([] if FLAIR in names else ["There is no FLAIR threshold on this recipe."])
    rows = max(int(table[f"{prefix}_p"].notna().sum()) for prefix in AGAINST)
    limit = f"With {_count(first, 'n_patients_paired')} patients with tumour no p is below {_figure(first['p_least'])}"
    if not rows:
        return " ".join([*said, f"{limit}."])
    least = min(1.0, first["p_least"] * rows)
    limit += f", and after the correction for {rows} rows none is below {_figure(least)}"
    if least > LEVEL:
        limit += ": **too few patients for a corrected test to tell methods apart**; read the intervals"
    return " ".join([*said, f"{limit}."])


def _coin(table: pd.DataFrame) -> str:
    exact = table["n_patients_paired"] <= int(np.log2(paired.ENUMERATED))
    drawn = f"{paired.DRAWS:,} times by the seed"
    if exact.all():
        return "(all ways to do so were tried)"
    return f"({drawn}, or in all ways where there are at most {paired.ENUMERATED:,})" if exact.any() else f"({drawn})"


def _interval(name: str, digits: int) -> Callable[[Row], str]:
    """`0.581 [0.552, 0.610]`, without brackets if there is no interval, and the mean over seeds if there is one."""

    def cell(row: Row) -> str:
        limits = [row[name + end] for end in ("_lo", "_hi")]
        known = all(map(is_number, (row[name], *limits)))
        brackets = f" [{', '.join(fixed(v, digits) for v in limits)}]" if known else ""
        return fixed(row[name], digits) + brackets + seeds.suffix(row, name, digits)

    return cell


def _difference(prefix: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        value, low, high = (row[f"{prefix}_difference{end}"] for end in ("", "_lo", "_hi"))
        if not is_number(value):
            return NONE
        return f"{value:+.3f}" + (f" [{low:+.3f}, {high:+.3f}]" if is_number(low) else "")

    return cell


def _p(name: str) -> Callable[[Row], str]:
    return lambda row: _chance(row[name])


def _chance(p: float) -> str:
    """Three decimals; `< 0.001` below, "-" for none."""
    return "< 0.001" if is_number(p) and p < 0.001 else fixed(p, 3)


def _figure(value: float) -> str:
    """Three significant digits without an exponent, thousands apart: 0.00066, 60.3, 8,330."""
    if not is_number(value):
        return NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, fractional=False, unique=True, trim="-")


def _count(row: Row, name: str) -> str:
    return f"{row[name]:.0f}"


def _markdown(table: pd.DataFrame, columns: Sequence[Column], text_columns: int) -> str:
    rows = [[cell(row) for _, cell in columns] for row in table.to_dict("records")]
    return markdown([title for title, _ in columns], rows, text_columns=text_columns)


NAMED: tuple[Column, ...] = (("no.", lambda row: str(row["no"])), ("method", lambda row: row["name"]))
COST: tuple[Column, ...] = (
    ("s per slice", lambda row: _figure(row["seconds_per_slice"])),
    ("evaluations", lambda row: _figure(row["evaluations_per_slice"])),
    ("training s", lambda row: _figure(row["training_seconds"])),
    ("parameters", lambda row: f"{row['training_parameters']:,.0f}"),
)
OVERVIEW: tuple[Column, ...] = (
    *NAMED,
    ("supervision", lambda row: row["supervision"]),
    ("Dice", _interval(DICE, 3)),
    ("AUPRC", _interval("auprc_pooled_brain", 3)),
    ("image AUROC", _interval("auroc_image", 3)),
    *COST,
)
MAPS: tuple[Column, ...] = (
    *NAMED,
    ("AUPRC", _interval("auprc_pooled_brain", 3)),
    ("AUROC", _interval("auroc_pooled_brain", 3)),
    ("image AUROC", _interval("auroc_image", 3)),
    ("HD95 mm", _interval("hd95_max_directed_mm", 1)),
    ("ASSD mm", _interval("assd_mean_of_directed_mm", 2)),
    ("slices with a prediction", lambda row: _count(row, "n_distance_slices")),
)
