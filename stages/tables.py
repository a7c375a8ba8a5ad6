"""Write the tables: a paper's numbers beside ours, all methods, and what they cost: python stages/tables.py"""

from dataclasses import replace
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
    tables,
    tsgm_table,
)
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.repeats import Seeds, Source, over_seeds
from gliomap.scoring.tsgm_table import Rules, Threshold
from gliomap.scoring.weights import Rule

GRAPH = Path("conf/graph.yaml")
SECTIONS = {
    "data_seed": int, "evaluate.replicates": int, "figures.dpi": int,
    "seed": int, "seeds": tuple[int, ...],
    "data": str, "recipe": str, "scale": str, "evaluate.confidence": float,
    "weigh.weights": Rule, "otsu.threshold": Threshold,
}  # fmt: skip
COST, OUT = Path("metrics/cost"), Path("metrics/tables")
PLOTS = Path("plots")


def main(argv: list[str]) -> None:
    """metrics/tables/*.{csv,md} from metrics/<system>/, metrics/mixed/ and metrics/cost/. Takes no arguments.

    mmccd_table1, mmccd_table2, summary, cost; and anofpdm_table1,
    ddmd_table1, tsgm_table2, tsgm_table3, if the graph has rows for them.
    """
    with run.stage(SECTIONS) as p:
        setup = tables.Setup(p["data"], p["recipe"], p["scale"], p["evaluate.confidence"])
        which = Seeds(p["seed"], p["seeds"])
        entries = leaderboard.entries(GRAPH)
        metrics = repeats.of_methods(entries, leaderboard.metrics(entries), setup, which)
        in_ddmd = confusion_table.rows(entries, setup)
        in_ddmd = replace(in_ddmd, numbers=over_seeds(Source("ddmd", "confusion"), in_ddmd.numbers, setup, which))
        in_tsgm = tsgm(entries, setup, Rules(p["weigh.weights"], p["otsu.threshold"]), which)
        in_mixed = over_seeds(Source("anofpdm", "mixed"), mixed_table.metrics(mixed_table.keys(GRAPH)), setup, which)
        cost = costs.frame(entries, COST)
        recipes = dict.fromkeys((entry.system for entry in entries), p["recipe"])
        found = ranking.Sources(metrics, ranking.read_scores(entries), cost, recipes)
        draws = paired.Draws(p["evaluate.replicates"], p["evaluate.confidence"], p["data_seed"])
        board = ranking.frame(entries, found, draws)
        paper = papers.read(Path("conf/papers/mmccd.yaml"))
        rows = papers.rows(paper, entries, metrics)
        write_csv(OUT / "mmccd_table1.csv", papers.frame(paper, rows))
        write_text(OUT / "mmccd_table1.md", seeds.explained(papers.text(paper, rows, setup), which.listed))
        pairs = modality_table.read(Path("conf/papers/mmccd_table2.yaml"))
        cells = modality_table.cells(pairs, metrics)
        write_csv(OUT / "mmccd_table2.csv", modality_table.frame(pairs, cells, setup))
        write_text(OUT / "mmccd_table2.md", seeds.explained(modality_table.text(pairs, cells, setup), which.listed))
        write_csv(OUT / "leaderboard.csv", board)
        write_text(OUT / "leaderboard.md", seeds.explained(ranking_text.text(board, setup), which.listed))
        plot(board, setup, p["figures.dpi"])
        write_csv(OUT / "cost.csv", cost)
        write_text(OUT / "cost.md", costs.text(cost, setup))
        if in_ddmd.numbers:
            ddmd = confusion_table.read(Path("conf/papers/ddmd.yaml"))
            write_csv(OUT / "ddmd_table1.csv", confusion_table.frame(ddmd, in_ddmd))
            write_text(OUT / "ddmd_table1.md", seeds.explained(confusion_table.text(ddmd, in_ddmd, setup), which.listed))
        for name, (frame, text) in in_tsgm.items():
            write_csv(OUT / f"{name}.csv", frame)
            write_text(OUT / f"{name}.md", seeds.explained(text, which.listed))
        if in_mixed:
            anofpdm = mixed_table.read(Path("conf/papers/anofpdm.yaml"))
            write_csv(OUT / "anofpdm_table1.csv", mixed_table.frame(anofpdm, in_mixed))
            write_text(OUT / "anofpdm_table1.md", seeds.explained(mixed_table.text(anofpdm, in_mixed, setup), which.listed))
    best = tables.ranked(entries, metrics)[0]
    run.log(f"tables: {len(entries)} methods, highest Dice {best.name}; {OUT}/leaderboard.md")


def plot(board: pd.DataFrame, setup: tables.Setup, dpi: int) -> None:
    """plots/dice_by_cost.{png,csv}: Dice against seconds per slice."""
    write_csv(PLOTS / "dice_by_cost.csv", ranking_plot.table(board))
    heading = f"data {setup.data}, recipe {', '.join(dict.fromkeys(board['recipe']))}, scale {setup.scale}"
    with pictures.style():
        pictures.save(ranking_plot.picture(board, heading), PLOTS / "dice_by_cost.png", dpi)


def tsgm(entries: list[Entry], setup: tables.Setup, rules: Rules, which: Seeds) -> dict[str, tuple[pd.DataFrame, str]]:
    """TSGM's two tables by name; nothing if the graph has no rows for them."""
    if not any(entry.system == tsgm_table.SYSTEM for entry in entries):
        return {}
    paper = tsgm_table.read(Path("conf/papers/tsgm.yaml"))
    found = tsgm_table.find(paper, entries)
    found = replace(found, numbers=over_seeds(Source("tsgm", "otsu"), found.numbers, setup, which))
    wanted = {"tsgm_table2": paper.table2, "tsgm_table3": paper.table3}
    return {
        name: (tsgm_table.frame(paper, table, found), tsgm_table.text(paper, table, found, setup, rules))
        for name, table in wanted.items()
    }


if __name__ == "__main__":
    run.main(main)
