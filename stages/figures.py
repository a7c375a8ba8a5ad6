"""Draw the figures and write the tables behind DVC's plots: python stages/figures.py"""

from pathlib import Path

from gliomap.base import run
from gliomap.base.files import read_csv, write_csv
from gliomap.base.pool import in_order
from gliomap.scoring import gallery, leaderboard, overview, pictures
from gliomap.scoring.gallery import Figures
from gliomap.scoring.method_grid import Job, draw

PLOTS = Path("plots")
MANY = 8  # pictures that are drawn sooner than processes are started


def main(argv: list[str]) -> None:
    """plots/grids/<method>.png, plots/overview.png and plots/{dice_by_method,dice_by_area,pr}.csv. Takes no arguments."""
    with run.stage({"data": str, "scale": str, "figures": Figures}) as p:
        settings, where = p["figures"], f"data {p['data']}, scale {p['scale']}"
        entries = leaderboard.entries(Path("conf/graph.yaml"))
        recipes = leaderboard.recipes(entries)
        names = ", ".join(dict.fromkeys(recipes.values()))
        metrics = leaderboard.metrics(entries)
        scores = {e.key: gallery.read_scores(e.place) for e in entries}
        curves = {e.key: read_csv(e.place.curve) for e in entries}
        tables = {
            "dice_by_method": overview.dice_by_method(entries, scores),
            "dice_by_area": overview.dice_by_area(entries, metrics),
            "pr": overview.precision_recall(entries, curves),
        }
        for name, table in tables.items():
            write_csv(PLOTS / f"{name}.csv", table)
        with pictures.style():
            drawn = overview.picture(*tables.values(), metrics[entries[0].key], f"{where}, recipe {names}")
            pictures.save(drawn, PLOTS / "overview.png", settings.dpi)
        jobs = [
            Job(e, scores[e.key], settings, f"{where}, recipe {recipes[e.system]}", PLOTS / "grids" / f"{e.key}.png")
            for e in entries
        ]
        drawn = in_order(draw, jobs, run.workers() if len(jobs) >= MANY else 1)
        for _ in run.progress(drawn, total=len(jobs), label="figures", unit="methods"):
            pass


if __name__ == "__main__":
    run.main(main)
