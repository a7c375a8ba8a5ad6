"""Write the tables: a paper's numbers beside ours, all methods, and what they cost: python stages/tables.py"""

from pathlib import Path

import pandas as pd

from gliomap.base import run
from gliomap.base.files import write_csv, write_text
from gliomap.scoring import confusion_table, costs, leaderboard, mixed_table, papers, tables, tsgm_table
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.tsgm_table import Rules, Threshold
from gliomap.scoring.weights import Rule

GRAPH = Path("conf/graph.yaml")
SECTIONS = {
    "data": str, "recipe": str, "scale": str, "evaluate.confidence": float,
    "weigh.weights": Rule, "otsu.threshold": Threshold,
}  # fmt: skip
COST, OUT = Path("metrics/cost"), Path("metrics/tables")


def main(argv: list[str]) -> None:
    """metrics/tables/*.{csv,md} from metrics/<system>/, metrics/mixed/ and metrics/cost/. Takes no arguments.

    mmccd_table1, summary, cost; and anofpdm_table1, ddmd_table1, tsgm_table2, tsgm_table3, if the graph has rows for them.
    """
    with run.stage(SECTIONS) as p:
        setup = tables.Setup(p["data"], p["recipe"], p["scale"], p["evaluate.confidence"])
        entries = leaderboard.entries(GRAPH)
        metrics = leaderboard.metrics(entries)
        in_ddmd = confusion_table.rows(entries, setup)
        in_tsgm = tsgm(entries, setup, Rules(p["weigh.weights"], p["otsu.threshold"]))
        in_mixed = mixed_table.metrics(mixed_table.keys(GRAPH))
        paper = papers.read(Path("conf/papers/mmccd.yaml"))
        rows = papers.rows(paper, entries, metrics)
        write_csv(OUT / "mmccd_table1.csv", papers.frame(paper, rows))
        write_text(OUT / "mmccd_table1.md", papers.text(paper, rows, setup))
        write_csv(OUT / "summary.csv", tables.summary_frame(entries, metrics))
        write_text(OUT / "summary.md", tables.summary_text(entries, metrics, setup))
        cost = costs.frame(entries, COST)
        write_csv(OUT / "cost.csv", cost)
        write_text(OUT / "cost.md", costs.text(cost, setup))
        if in_ddmd.numbers:
            ddmd = confusion_table.read(Path("conf/papers/ddmd.yaml"))
            write_csv(OUT / "ddmd_table1.csv", confusion_table.frame(ddmd, in_ddmd))
            write_text(OUT / "ddmd_table1.md", confusion_table.text(ddmd, in_ddmd, setup))
        for name, (frame, text) in in_tsgm.items():
            write_csv(OUT / f"{name}.csv", frame)
            write_text(OUT / f"{name}.md", text)
        if in_mixed:
            anofpdm = mixed_table.read(Path("conf/papers/anofpdm.yaml"))
            write_csv(OUT / "anofpdm_table1.csv", mixed_table.frame(anofpdm, in_mixed))
            write_text(OUT / "anofpdm_table1.md", mixed_table.text(anofpdm, in_mixed, setup))
    best = tables.ranked(entries, metrics)[0]
    run.log(f"tables: {len(entries)} methods, highest Dice {best.name}; {OUT}/summary.md")


def tsgm(entries: list[Entry], setup: tables.Setup, rules: Rules) -> dict[str, tuple[pd.DataFrame, str]]:
    """TSGM's two tables by name; nothing if the graph has no rows for them."""
    if not any(entry.system == tsgm_table.SYSTEM for entry in entries):
        return {}
    paper = tsgm_table.read(Path("conf/papers/tsgm.yaml"))
    found = tsgm_table.find(paper, entries)
    wanted = {"tsgm_table2": paper.table2, "tsgm_table3": paper.table3}
    return {
        name: (tsgm_table.frame(paper, table, found), tsgm_table.text(paper, table, found, setup, rules))
        for name, table in wanted.items()
    }


if __name__ == "__main__":
    run.main(main)
