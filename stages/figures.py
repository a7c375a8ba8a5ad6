"""Draw the figures and write the tables behind DVC's plots: python stages/figures.py"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from gliomap.base import run
from gliomap.base.files import read_csv, write_csv
from gliomap.data.slices import Slices
from gliomap.scoring import figures, gallery, leaderboard, overview, pictures
from gliomap.scoring.gallery import Figures
from gliomap.scoring.leaderboard import Entry

PLOTS = Path("plots")


def main(argv: list[str]) -> None:
    """plots/grids/<method>.png, plots/overview.png and plots/{dice_by_method,dice_by_area,pr}.csv. Takes no arguments."""
    with run.stage({"data": str, "recipe": str, "scale": str, "figures": Figures}) as p:
        settings, where = p["figures"], f"data {p['data']}, recipe {p['recipe']}, scale {p['scale']}"
        slices = Slices.open(Path("data/slices") / p["recipe"])
        entries = leaderboard.entries(Path("conf/graph.yaml"))
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
            drawn = overview.picture(*tables.values(), metrics[entries[0].key], where)
            pictures.save(drawn, PLOTS / "overview.png", settings.dpi)
            for entry in run.progress(entries, label="figures", unit="methods"):
                drawn = grid(entry, scores[entry.key], slices, settings, where)
                pictures.save(drawn, PLOTS / "grids" / f"{entry.key}.png", settings.dpi)


def grid(entry: Entry, scores: pd.DataFrame, slices: Slices, settings: Figures, where: str) -> Figure:
    """The picture of one method, on the modality that its map belongs to."""
    found = gallery.read(entry.place, scores)
    chosen = gallery.choose(scores, settings.tumour_slices, settings.healthy_slices)
    modality = next((name for name in entry.modalities if name in slices.modalities), slices.modalities[-1])
    shown = gallery.examples(found, chosen, slices, modality)
    caption = f"{len(chosen)} of {len(scores)} test slices; {where}"
    names = (entry.name, pictures.NAMES.get(modality, modality))
    return figures.grid(shown, gallery.scale(found, shown, slices), names, caption)


if __name__ == "__main__":
    run.main(main)
