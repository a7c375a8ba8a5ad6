"""The figures of the AnoFPDM paper from its predictions: `python stages/figures_anofpdm.py --store anofpdm`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gliomap.base import run
from gliomap.base.files import read_csv, write_csv
from gliomap.data.slices import Slices
from gliomap.scoring import (
    bootstrap,
    decisions,
    forward_figures,
    forward_gallery,
    forward_pictures,
    gallery,
    mixed,
    mixed_inputs,
    mixed_table,
    pictures,
    summary,
)
from gliomap.scoring.decisions import NEEDS
from gliomap.scoring.forward_gallery import STACKS
from gliomap.scoring.gallery import Figures
from gliomap.scoring.mixed import Mixed
from gliomap.scoring.mixed_metrics import Truth
from gliomap.scoring.summary import Evaluate

METHOD = "anofpdm_ddim"
PLOTS = Path("plots/anofpdm")
STUDY = Path("predictions/anofpdm/study_ddim.npz")
SECTIONS = {"data": str, "scale": str, "data_seed": int, "mixed": Mixed, "evaluate": Evaluate, "figures": Figures}


def main(argv: list[str]) -> None:
    """plots/anofpdm/{steps,guidance,errors_healthy,errors_unhealthy,divergence}.csv and {curves,strip,masks}.png."""
    args = run.parser(__doc__).parse_args(argv)
    with run.stage(SECTIONS) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        where = f"data {p['data']}, recipe {slices.recipe}, scale {p['scale']}"
        chosen = decisions.load(Path("models/decisions") / f"{METHOD}.json", slices.recipe)
        study = mixed_inputs.read(STUDY, slices, "val", ("steps", "end", *STACKS), study=True)
        truth = Truth.of(study, slices, "val", p["mixed"])
        small = mixed.component_px(p["mixed"], slices.pixel_mm)
        tables = validation(slices, chosen) | {
            "guidance": guidance(slices, chosen, p, small),
            "steps": forward_figures.steps(study, truth, mixed.median_px(p["mixed"], slices.pixel_mm)),
        }
        for name, table in tables.items():
            write_csv(PLOTS / f"{name}.csv", summary.rounded(table))
        with pictures.style():
            arrays, name = forward_gallery.largest(study, truth.tumour, slices)
            drawn = {
                "curves": forward_pictures.curves(tables, f"AnoFPDM, DDIM forward: {where}"),
                "strip": forward_pictures.strip(arrays, study["steps"], f"AnoFPDM, DDIM forward: {name}; {where}"),
                "masks": masks(slices, small, p["figures"], where),
            }
            for name, figure in drawn.items():
                pictures.save(figure, PLOTS / f"{name}.png", p["figures"].dpi)
    run.log(f"figures of AnoFPDM: {len(tables)} tables, 3 pictures in {PLOTS}")


def validation(slices: Slices, chosen: dict) -> dict[str, pd.DataFrame]:
    """Figures 5a, 5b and 5c: by slice labels, no mask."""
    names = ("steps", "curve_h", "curve_ref", "w", "divergence")
    found = mixed_inputs.read(decisions.place(METHOD).predictions("val"), slices, "val", names)
    ill = mixed_inputs.unhealthy(found, slices, "val")
    area = slices.labels("val").set_index("row")["tumour_px"].loc[found.rows].to_numpy()
    return {
        "errors_healthy": forward_figures.error_curves(found, ~ill),
        "errors_unhealthy": forward_figures.error_curves(found, ill),
        "divergence": forward_figures.divergence(found, chosen, area, ill),
    }


def guidance(slices: Slices, chosen: dict, p: dict, component_px: int) -> pd.DataFrame:
    """Figure 3b, on the test slices."""
    found = mixed_inputs.read(decisions.place(METHOD).predictions("test"), slices, "test", NEEDS["forward"])
    resamples = bootstrap.draw(found.index["patient"].to_numpy(), p["evaluate"].replicates, p["data_seed"])
    truth = Truth.of(found, slices, "test", p["mixed"])
    return forward_figures.guidance(found, chosen, truth, component_px, (resamples, p["evaluate"].confidence))


def masks(slices: Slices, component_px: int, settings: Figures, where: str) -> Figure:
    """Figure 4: the same test slices for every row of the table, chosen by tumour area alone."""
    scores = read_csv(Path("scores/mixed") / f"{METHOD}.csv", dtype={"case": str, "patient": str})
    at = gallery.choose(scores, settings.tumour_slices, settings.healthy_slices)
    keys = mixed_table.keys(Path("conf/graph.yaml"))
    found = forward_gallery.decided(keys, np.sort(scores["row"].to_numpy()[at]), slices, component_px)
    names = {row.method: row.name for row in mixed_table.MixedPaper.read(Path("conf/papers/anofpdm.yaml")).rows}
    short = {key: names.get(key, key).replace(" (", "\n(") for key in keys}
    shown = forward_gallery.examples(scores, at, slices, found)
    return forward_pictures.masks(shown, short, f"Maps and masks on test slices: {where}")


if __name__ == "__main__":
    run.main(main)
