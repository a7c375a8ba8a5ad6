"""Write the tables: each paper's numbers beside ours, the leaderboard, and what all methods cost: python stages/tables.py"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from gliomap.base import run
from gliomap.base.files import write_csv, write_text
from gliomap.scoring import (
    confusion_table,
    costs,
    leaderboard,
    mixed_table,
    modality_table,
    paired,
    papers,
    pictures,
    ranking,
    ranking_plot,
    ranking_text,
    repeats,
    seeds,
    tsgm_table,
)
from gliomap.scoring.leaderboard import Entry, Numbers
from gliomap.scoring.repeats import Seeds, Source, over_seeds
from gliomap.scoring.tables import Setup
from gliomap.scoring.tsgm_table import Rules, Threshold
from gliomap.scoring.weights import Rule

GRAPH, PAPERS = Path("conf/graph.yaml"), Path("conf/papers")
COST, OUT, PLOTS = Path("metrics/cost"), Path("metrics/tables"), Path("plots")
SECTIONS = {
    "data": str, "protocol": str, "recipe": str, "scale": str, "seed": int, "data_seed": int, "seeds": tuple[int, ...],
    "evaluate.replicates": int, "evaluate.confidence": float, "figures.dpi": int,
    "weigh.weights": Rule, "otsu.threshold": Threshold,
}  # fmt: skip
Made = dict[str, tuple[pd.DataFrame, str]]  # name of a table -> itself, and as Markdown


@dataclass(frozen=True)
class Results:
    """What the tables are made from.

    entries: methods in the order of the graph. metrics: of each, in the common protocol. recipes: of each system's slices.
    """

    entries: list[Entry]
    metrics: Mapping[str, Numbers]
    recipes: Mapping[str, str]
    setup: Setup
    seeds: Seeds

    def of(self, system: str) -> Setup:
        """The setup, with the recipe of a system; as it is if there is no such system."""
        return replace(self.setup, recipe=self.recipes.get(system, self.setup.recipe))


def main(argv: list[str]) -> None:
    """metrics/tables/*.{csv,md} and plots/dice_by_cost.{csv,png} from metrics/ and scores/. Takes no arguments.

    leaderboard, cost, mmccd_table1, mmccd_table2; and anofpdm_table1, ddmd_table1, tsgm_table2, tsgm_table3, if the graph
    has rows for them.
    """
    with run.stage(SECTIONS) as p:
        setup = Setup(p["data"], p["recipe"], p["scale"], p["evaluate.confidence"], p["protocol"])
        which, entries = Seeds(p["seed"], p["seeds"]), leaderboard.entries(GRAPH)
        metrics = repeats.of_methods(entries, leaderboard.metrics(entries), setup, which)
        found = Results(entries, metrics, leaderboard.recipes(entries), setup, which)
        draws = paired.Draws(p["evaluate.replicates"], p["evaluate.confidence"], p["data_seed"])
        everything = all_methods(found, draws)
        made = {**everything, **mmccd(found), **anofpdm(found), **ddmd(found)}
        made |= tsgm(found, Rules(p["weigh.weights"], p["otsu.threshold"]))
        for name, (frame, text) in made.items():
            write_csv(OUT / f"{name}.csv", frame)
            write_text(OUT / f"{name}.md", seeds.explained(text, which.listed))
        board = everything["leaderboard"][0]
        plot(board, setup, p["figures.dpi"])
    run.log(f"tables: {len(made)}, of {len(board)} methods; {OUT}/leaderboard.md")


def all_methods(found: Results, draws: paired.Draws) -> Made:
    """The leaderboard, and the cost of every method."""
    cost = costs.frame(found.entries, COST)
    sources = ranking.Sources(found.metrics, ranking.read_scores(found.entries), cost, found.recipes)
    board = ranking.frame(found.entries, sources, draws)
    everywhere = replace(found.setup, recipe=", ".join(sorted(set(found.recipes.values()))))
    return {"leaderboard": (board, ranking_text.text(board, everywhere)), "cost": (cost, costs.text(cost, everywhere))}


def plot(board: pd.DataFrame, setup: Setup, dpi: int) -> None:
    """plots/dice_by_cost.{png,csv}: Dice against seconds per slice."""
    write_csv(PLOTS / "dice_by_cost.csv", ranking_plot.table(board))
    heading = f"data {setup.data}, recipe {', '.join(dict.fromkeys(board['recipe']))}, scale {setup.scale}"
    with pictures.style():
        pictures.save(ranking_plot.picture(board, heading), PLOTS / "dice_by_cost.png", dpi)


def mmccd(found: Results) -> Made:
    """Tables 1 and 2. In the first, below the paper's rows, all other methods on the same slices."""
    setup, paper = found.of("mmccd"), papers.Paper.read(PAPERS / "mmccd.yaml")
    alike = [entry for entry in found.entries if found.recipes[entry.system] == setup.recipe]
    rows = papers.rows(paper, alike, found.metrics)
    pairs = modality_table.PairsPaper.read(PAPERS / "mmccd_table2.yaml")
    cells = modality_table.cells(pairs, found.metrics)
    return {
        "mmccd_table1": (papers.frame(paper, rows, setup), papers.text(paper, rows, setup)),
        "mmccd_table2": (modality_table.frame(pairs, cells, setup), modality_table.text(pairs, cells, setup)),
    }


def anofpdm(found: Results) -> Made:
    """Table 1."""
    numbers = mixed_table.metrics(mixed_table.keys(GRAPH))
    if not numbers:
        return {}
    numbers = over_seeds(Source("anofpdm", "mixed"), numbers, found.setup, found.seeds)
    setup, paper = found.of("anofpdm"), mixed_table.MixedPaper.read(PAPERS / "anofpdm.yaml")
    return {"anofpdm_table1": (mixed_table.frame(paper, numbers, setup), mixed_table.text(paper, numbers, setup))}


def ddmd(found: Results) -> Made:
    """Table 1."""
    rows = confusion_table.rows(found.entries, found.setup)
    if not rows.numbers:
        return {}
    rows = replace(rows, numbers=over_seeds(Source("ddmd", "confusion"), rows.numbers, found.setup, found.seeds))
    setup, paper = found.of("ddmd"), confusion_table.ConfusionPaper.read(PAPERS / "ddmd.yaml")
    return {"ddmd_table1": (confusion_table.frame(paper, rows, setup), confusion_table.text(paper, rows, setup))}


def tsgm(found: Results, rules: Rules) -> Made:
    """Tables 2 and 3."""
    if not any(entry.system == tsgm_table.SYSTEM for entry in found.entries):
        return {}
    setup, paper = found.of(tsgm_table.SYSTEM), tsgm_table.TsgmPaper.read(PAPERS / "tsgm.yaml")
    rows = tsgm_table.find(paper, found.entries)
    rows = replace(rows, numbers=over_seeds(Source("tsgm", "otsu"), rows.numbers, found.setup, found.seeds))
    wanted = {"tsgm_table2": paper.table2, "tsgm_table3": paper.table3}
    return {
        name: (tsgm_table.frame(paper, table, rows, setup), tsgm_table.text(paper, table, rows, setup, rules))
        for name, table in wanted.items()
    }


if __name__ == "__main__":
    run.main(main)
