"""The figures of the MMCCD paper, and what its stripes and steps buy: `python stages/figures_mmccd.py --store mmccd`."""

from pathlib import Path

from matplotlib.figure import Figure

from gliomap.base import run
from gliomap.base.files import write_csv
from gliomap.data.slices import Slices
from gliomap.scoring import leaderboard, mmccd_figures, mmccd_pictures, pictures, summary, tradeoff
from gliomap.scoring.gallery import Figures
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate

PLOTS, GRAPH = Path("plots/mmccd"), Path("conf/graph.yaml")
SECTIONS = {"data": str, "scale": str, "postprocess": Postprocess, "calibrate": Calibrate, "figures": Figures}
FIG3 = (
    "MMCCD, Fig. 3: methods on FLAIR (orange: prediction at the validation threshold, blue: truth). Test slices spread over "
    "the tumour areas, chosen without looking at predictions; {where}"
)
FIG4 = (
    "MMCCD, Fig. 4: where Cyclic U-Net {x} -> {y} -> {x} fails: its lowest Dice among the larger half of the tumours, one "
    "slice a patient (the paper shows T2 -> T1 -> T2); {where}"
)
CURVE = (
    "MMCCD: stripes and steps on {n} validation slices of {patients} patients, each setting at the threshold best for it on "
    "them; rank correlation: of the maps with those of {reference}; {where}"
)


def main(argv: list[str]) -> None:
    """plots/mmccd/tradeoff.{csv,png}, methods.png (Fig. 3) and failures.png (Fig. 4)."""
    args = run.parser(__doc__).parse_args(argv)
    with run.stage(SECTIONS) as p:
        slices, post = Slices.open(Path("data/slices") / args.store), p["postprocess"]
        where = f"data {p['data']}, recipe {slices.recipe}, scale {p['scale']}"
        study = tradeoff.read(slices, post)
        table = tradeoff.frame(study, tradeoff.cycle(study, post), p["calibrate"].candidates, post.component_px)
        words = {"n": len(study.rows), "patients": table["n_patients"][0], "reference": study.describe(study.reference)}
        with pictures.style():
            drawn = {"tradeoff": mmccd_pictures.tradeoff(table, CURVE.format(where=where, **words))}
            drawn |= examples(leaderboard.entries(GRAPH), slices, where)
            write_csv(PLOTS / "tradeoff.csv", summary.rounded(table))
            for name, figure in drawn.items():
                pictures.save(figure, PLOTS / f"{name}.png", p["figures"].dpi)
    run.log(f"figures of MMCCD: {len(drawn)} pictures in {PLOTS}")


def examples(entries: list[Entry], slices: Slices, where: str) -> dict[str, Figure]:
    """The paper's two figures of slices, by the name of their file."""
    rows, both = mmccd_figures.methods(entries), mmccd_figures.pair(entries)
    names = {entry.key: entry.name for entry in rows}
    x, y = (pictures.NAMES.get(name, name) for name in both[0].modalities)
    failures, heading = mmccd_figures.failures(both, slices), FIG4.format(x=x, y=y, where=where)
    return {
        "methods": mmccd_pictures.methods(mmccd_figures.examples(rows, slices), names, FIG3.format(where=where)),
        "failures": mmccd_pictures.failures(failures, both[0].modalities, heading),
    }


if __name__ == "__main__":
    run.main(main)
