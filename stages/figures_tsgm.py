"""The figures of the TSGM paper: `python stages/figures_tsgm.py --store tsgm --external icts inhouse`."""

from pathlib import Path

from gliomap.base import run
from gliomap.base.files import write_csv
from gliomap.scoring import leaderboard, pictures, residuals, summary, tsgm_album, tsgm_figures, tsgm_study
from gliomap.scoring.gallery import Figures
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.residuals import SYSTEM
from gliomap.scoring.summary import Evaluate
from gliomap.scoring.weights import Rule

PLOTS, GRAPH = Path("plots/tsgm"), Path("conf/graph.yaml")
SECTIONS = {
    "data": str, "scale": str, "data_seed": int, "weigh.weights": Rule, "otsu": Otsu,
    "evaluate": Evaluate, "figures": Figures
}  # fmt: skip


def main(argv: list[str]) -> None:
    """plots/tsgm/{scores,differences,weights,snr,levels}.csv and a PNG for each of tsgm_album.CAPTIONS."""
    parser = run.parser(__doc__)
    parser.add_argument("--external", nargs="*", default=[], help="cohorts under data/external/")
    args = parser.parse_args(argv)
    with run.stage(SECTIONS) as p:
        entries = leaderboard.of_system(GRAPH, SYSTEM)
        names = {entry.key: entry.name for entry in entries}
        val, *scored = residuals.populations(args.store, ("val", "test"), args.external)
        words = f"data {p['data']}, recipe {val.slices.recipe}, scale {p['scale']}"
        test, *external = [tsgm_figures.scored(population, entries) for population in scored]
        optima, study = tsgm_figures.optima(entries), tsgm_study.read(val, p["weigh.weights"])
        with pictures.style():
            tables, drawn = tsgm_album.of_study(study, tsgm_study.component_px(p["otsu"], val.slices.pixel_mm), words)
            tables |= {
                "scores": tsgm_figures.scores_by_method(test, names),
                "differences": tsgm_figures.differences(test, names, p["evaluate"], p["data_seed"]),
                "weights": tsgm_figures.mean_weights(optima, names),
            }
            drawn |= tsgm_album.of_slices(test, external, names, words)
            drawn |= tsgm_album.of_scores(tables["scores"], optima, names, words)
            for name, table in tables.items():
                write_csv(PLOTS / f"{name}.csv", summary.rounded(table))
            for name, figure in drawn.items():
                pictures.save(figure, PLOTS / f"{name}.png", p["figures"].dpi)
    run.log(f"figures of TSGM: {len(tables)} tables, {len(drawn)} pictures in {PLOTS}")


if __name__ == "__main__":
    run.main(main)
