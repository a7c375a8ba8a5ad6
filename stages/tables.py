"""Write the tables: a paper's numbers beside ours, all methods, and what they cost: python stages/tables.py"""

from pathlib import Path

from gliomap import run
from gliomap.files import write_csv, write_text
from gliomap.scoring import costs, leaderboard, papers, tables

METRICS, OUT = Path("metrics"), Path("metrics/tables")


def main(argv: list[str]) -> None:
    """metrics/tables/{mmccd_table1,summary,cost}.{csv,md} from metrics/*.json and metrics/cost/. Takes no arguments."""
    with run.stage({"data": str, "recipe": str, "scale": str, "evaluate.confidence": float}) as p:
        setup = tables.Setup(p["data"], p["recipe"], p["scale"], p["evaluate.confidence"])
        entries = leaderboard.entries(Path("conf/graph.yaml"))
        metrics = leaderboard.metrics(METRICS, [entry.key for entry in entries])
        paper = papers.read(Path("conf/papers/mmccd.yaml"))
        rows = papers.rows(paper, entries, metrics)
        write_csv(OUT / "mmccd_table1.csv", papers.frame(paper, rows))
        write_text(OUT / "mmccd_table1.md", papers.text(paper, rows, setup))
        write_csv(OUT / "summary.csv", tables.summary_frame(entries, metrics))
        write_text(OUT / "summary.md", tables.summary_text(entries, metrics, setup))
        cost = costs.frame(entries, METRICS / "cost")
        write_csv(OUT / "cost.csv", cost)
        write_text(OUT / "cost.md", costs.text(cost, setup))
    best = tables.ranked(entries, metrics)[0]
    run.log(f"tables: {len(entries)} methods, highest Dice {best.name}; {OUT}/summary.md")


if __name__ == "__main__":
    run.main(main)
