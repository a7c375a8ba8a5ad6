"""The figures of the DDMD paper, from its predictions and discrepancies: `python stages/figures_ddmd.py --store ddmd`."""

from pathlib import Path

from gliomap.base import run
from gliomap.base.files import write_csv
from gliomap.data.slices import Slices
from gliomap.scoring import bootstrap, ddmd_figures, ddmd_pictures, leaderboard, pictures, summary
from gliomap.scoring.ddmd_figures import Separation
from gliomap.scoring.gallery import Figures
from gliomap.scoring.summary import Evaluate

SYSTEM, PLOTS, GRAPH = "ddmd", Path("plots/ddmd"), Path("conf/graph.yaml")
SECTIONS = {"data": str, "scale": str, "data_seed": int, "separation": Separation, "evaluate": Evaluate, "figures": Figures}


def main(argv: list[str]) -> None:
    """plots/ddmd/{masks,separation}.csv and {masks,separation,sampling}.png."""
    args = run.parser(__doc__).parse_args(argv)
    with run.stage(SECTIONS) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        where = f"data {p['data']}, recipe {slices.recipe}, scale {p['scale']}"
        entries = leaderboard.of_system(GRAPH, SYSTEM)
        names = {entry.key: entry.name for entry in entries}
        scores = ddmd_figures.scores(Path("models/discrepancy/scores.csv"), slices)
        resamples = bootstrap.draw(scores["patient"].to_numpy(), p["evaluate"].replicates, p["data_seed"])
        numbers = ddmd_figures.separation(scores, p["separation"].bins, resamples, p["evaluate"].confidence)
        shown, chosen = ddmd_figures.chosen([entry.place for entry in entries], slices)
        study = ddmd_figures.study(Path("predictions") / SYSTEM / "study.npz", slices)
        write_csv(PLOTS / "separation.csv", summary.rounded(numbers))
        write_csv(PLOTS / "masks.csv", summary.rounded(chosen))
        variants = {key.removeprefix(f"{SYSTEM}_"): name for key, name in names.items()}
        with pictures.style():
            drawn = {
                "masks": ddmd_pictures.masks(shown, names, f"Masks on a test slice of each third by tumour area: {where}"),
                "separation": ddmd_pictures.separation(scores, numbers, f"Discrepancy scores of test slices: {where}"),
                "sampling": ddmd_pictures.sampling(study, variants, f"One chain by noise levels passed: {where}"),
            }
            for name, figure in drawn.items():
                pictures.save(figure, PLOTS / f"{name}.png", p["figures"].dpi)
    run.log(f"figures of DDMD: 2 tables, 3 pictures in {PLOTS}")


if __name__ == "__main__":
    run.main(main)
