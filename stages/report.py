"""Write the page with everything, and the results in README.md: python stages/report.py"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gliomap.base import run
from gliomap.base.files import write_text
from gliomap.base.pool import in_order
from gliomap.scoring import leaderboard, report, report_answer, report_parts, report_viewer
from gliomap.scoring.report import Content
from gliomap.scoring.report_answer import Row
from gliomap.scoring.report_viewer import Report
from gliomap.scoring.tables import Setup

SECTIONS = {"data": str, "scale": str, "evaluate.confidence": float, "report": Report}
PAGE, README = Path("report/index.html"), Path("README.md")
PLOTS, TABLES = Path("plots"), Path("metrics/tables")
FIGURE = "plots/dice_by_cost.png"  # in README.md
MANY = 8  # methods and figures that are made sooner than processes are started


def main(argv: list[str]) -> None:
    """report/index.html, and the part of README.md between its markers. Takes no arguments."""
    with run.stage(SECTIONS) as p:
        setup, rows = found(p)
        entries = leaderboard.entries(Path("conf/graph.yaml"))
        recipes, methods = report_viewer.jobs(entries, {row.system: row.recipe for row in rows}, p["report"])
        pictures = report_parts.pictures(PLOTS, {entry.key: entry.name for entry in entries})
        work = [*methods, *pictures]
        made = in_order(report.make, work, run.workers() if len(work) >= MANY else 1)
        viewed, figures = report.split(work, run.progress(made, total=len(work), label="report", unit="parts"))
        content = Content(setup, rows, recipes, viewed, pictures, figures)
        block = report_answer.readme_block(rows, setup, FIGURE)
        readme = report_answer.with_block(README.read_text(encoding="utf-8"), block)
        page = report.page(content, Path(), PLOTS, TABLES)
        write_text(PAGE, page)
        write_text(README, readme)
    run.log(f"report: {len(methods)} methods, {len(pictures)} figures, {len(page) / 1e6:.1f} MB; open {PAGE}")


def found(p: Mapping[str, Any]) -> tuple[Setup, list[Row]]:
    """What the answers start from: the run's setup and the leaderboard. p: values of SECTIONS."""
    rows = report_answer.read(TABLES / "leaderboard.csv")
    recipes = ", ".join(dict.fromkeys(row.recipe for row in rows))
    return Setup(p["data"], recipes, p["scale"], p["evaluate.confidence"]), rows


if __name__ == "__main__":
    run.main(main)
