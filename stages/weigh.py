"""Add up residuals of modalities to maps: `python stages/weigh.py tsgm vae --store tsgm --external icts inhouse`."""

import numpy as np

from gliomap.base import run
from gliomap.base.files import write_npz
from gliomap.data.image_score import image_scores
from gliomap.scoring import otsu, residuals, weights
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.residuals import WEIGHTED, Population, Residuals
from gliomap.scoring.weights import Rule

SHOWN = "flair"  # the modality whose restoration is shown, where it is there


def main(argv: list[str]) -> None:
    """predictions/tsgm/{val,test}/<row>.npz and predictions/external/<cohort>/<row>.npz. Reads no mask and no label.

    The map is the weighted sum of the residuals inside the brain, 0 outside; `mask` is the paper's rule on it.
    """
    parser = run.parser(__doc__)
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--external", nargs="*", default=[], help="cohorts under data/external/")
    args = parser.parse_args(argv)
    with run.stage({"weigh.weights": Rule, "otsu": Otsu}) as p:
        where = residuals.populations(args.store, ("val", "test"), args.external)
        for row in run.progress(args.rows, label="weigh", unit="rows"):
            for population in where:
                seen = residuals.find(population, row)
                if seen is None:
                    run.log(f"{row}: no residuals on {population.name}, which lacks its modalities; left out")
                else:
                    write_npz(population.predictions(row), **weighed(row, seen, population, p["weigh.weights"], p["otsu"]))


def weighed(row: str, seen: Residuals, population: Population, weighting: Rule, rule: Otsu) -> dict[str, np.ndarray]:
    """The arrays of a predictions file."""
    slices, brain = population.slices, population.slices.brain_of(seen.rows)
    own = weights.choose(weighting, row, seen.modalities, seen.group == WEIGHTED)
    maps = weights.combine(np.moveaxis(seen.residual, 1, 0), own[None])[0] * brain
    component_px = otsu.pixels(rule.area_mm2(row), slices.pixel_mm)
    shown = seen.modalities.index(SHOWN) if SHOWN in seen.modalities else 0
    restored = seen.restored[:, shown].astype(np.float32)
    if slices.background == -1:
        restored = 2 * restored - 1  # back to the store's range of -1..1, as other methods' reconstructions
    return {
        "rows": seen.rows,
        "map": maps,
        "image_score": image_scores(maps, brain),
        "reconstruction": restored.astype(np.float16),
        "mask": otsu.segment(maps, otsu.maps_thresholds(maps), component_px).astype(np.uint8),
    }


if __name__ == "__main__":
    run.main(main)
