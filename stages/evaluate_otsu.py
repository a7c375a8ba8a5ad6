"""Score maps as the TSGM paper does: `python stages/evaluate_otsu.py tsgm vae --store tsgm --external icts inhouse`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gliomap.base import run
from gliomap.base.files import write_csv, write_json
from gliomap.base.place import Place
from gliomap.scoring import inputs, otsu, otsu_metrics, residuals, summary, thresholds, weight_oracle
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.masks import UNTOUCHED, Postprocess
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.residuals import SYSTEM, Population
from gliomap.scoring.summary import Evaluate
from gliomap.scoring.weights import Search

SECTIONS = {
    "data_seed": int, "otsu": Otsu, "tsgm.search": Search, "postprocess": Postprocess, "evaluate": Evaluate
}  # fmt: skip


def main(argv: list[str]) -> None:
    """scores/otsu/<population>/<row>.csv and metrics/otsu/<population>/<row>.json: test slices and external cohorts."""
    parser = run.parser(__doc__)
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--external", nargs="*", default=[], help="cohorts under data/external/")
    args = parser.parse_args(argv)
    with run.stage(SECTIONS) as p:
        where = residuals.populations(args.store, ("test",), args.external)
        cells = [(population, row) for row in args.rows for population in where if there(population, row)]
        found = [evaluate(*cell, p) for cell in run.progress(cells, label="evaluate_otsu", unit="rows")]
        for (population, row), (table, numbers) in zip(cells, found, strict=True):
            write_csv(Path("scores/otsu") / population.name / f"{row}.csv", table)
            write_json(Path("metrics/otsu") / population.name / f"{row}.json", numbers)
    for (population, row), (_, numbers) in zip(cells, found, strict=True):
        dice, alarms = numbers["dice_mean"], numbers["alarm_rate_healthy"]
        n = f"{numbers['n_tumour_slices']} tumour slices of {numbers['n_patients_tumour']} patients"
        run.log(f"{row} on {population.name}: Dice {dice:.4f}, alarms on healthy slices {alarms:.4f}, {n}")


def there(population: Population, row: str) -> bool:
    """Whether there is something to score. An external cohort may lack a row's modalities."""
    if population.external and not population.predictions(row).is_file():
        run.log(f"{row}: no predictions on {population.name}; left out")
        return False
    return True


def evaluate(population: Population, row: str, p: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, float]]:
    """(scores per slice, numbers) of one row."""
    rule = p["otsu"]
    test = inputs.read(population.predictions(row), population.slices, population.split, UNTOUCHED)
    component_px = otsu.pixels(rule.area_mm2(row), test.pixel_mm)
    best = weight_oracle.dice(population, row, test, p["tsgm.search"].step, component_px)
    table = otsu_metrics.table(test, levels(population, row, test, p), component_px, best)
    numbers = otsu_metrics.metrics(table, test, rule.area_mm2(row), p["evaluate"], p["data_seed"])
    return summary.rounded(table), summary.plain(numbers)


def levels(population: Population, row: str, test: Inputs, p: Mapping[str, Any]) -> np.ndarray:
    """(n,): the threshold of each slice; `validation`: what calibrate@tsgm found on the main cohort, for all populations."""
    if p["otsu"].threshold == "otsu":
        return otsu.maps_thresholds(test.maps)
    chosen = thresholds.load(Place(SYSTEM, row).threshold, row, population.recipe, p["postprocess"])
    return np.full(len(test.maps), chosen["threshold"])


if __name__ == "__main__":
    run.main(main)
