"""Search TSGM's modality weights on validation masks: `python stages/weight_search.py tsgm cyclegan --store tsgm`."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_json
from gliomap.scoring import otsu, residuals, summary, weights
from gliomap.scoring.otsu import Otsu
from gliomap.scoring.residuals import WEIGHTED, Population
from gliomap.scoring.weights import Best, Search, Seen


def main(argv: list[str]) -> None:
    """models/weights/<row>.json and .csv, from validation residuals and validation masks and nothing else."""
    parser = run.parser(__doc__)
    parser.add_argument("rows", nargs="+")
    args = parser.parse_args(argv)
    with run.stage({"tsgm.search": Search, "otsu": Otsu}) as p:
        val = residuals.populations(args.store, ("val",), ())[0]
        rows = run.progress(args.rows, label="weight_search", unit="rows")
        found = {row: search(row, val, p["tsgm.search"], p["otsu"]) for row in rows}
        for row, (table, values) in found.items():
            write_csv(weights.FOLDER / f"{row}.csv", table)
            write_json(weights.FOLDER / f"{row}.json", values)
    for row, (_, values) in found.items():
        words = ", ".join(f"{name} {value:.3f}" for name, value in values["searched"].items())
        missed = values["n_without_hit"]
        run.log(f"{row}: {words}; {values['n_slices']} slices of {values['n_patients']} patients, {missed} without a hit")
        if missed == values["n_slices"]:
            run.log(f"warning: no weights find a tumour on any slice of {row}; equal weights are used")


def search(row: str, val: Population, settings: Search, rule: Otsu) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(optima by slice, mean and populations) of one row."""
    path = val.residuals(WEIGHTED, row)
    seen = residuals.read(path, val, WEIGHTED)
    if len(seen.modalities) < 2:
        raise UserError(f"{path}: found one modality, expected two or more to weight; leave {row} out of this stage's rows")
    slices = val.slices
    truth = slices.masks("val")[np.searchsorted(slices.mask_rows("val"), seen.rows)].astype(bool)
    scored = np.flatnonzero(np.isin(seen.rows, slices.rows("val", tumour=True)) & truth.any((1, 2)))
    if not len(scored):
        raise UserError(f"{path}: found no slice with tumour, expected one or more; use more patients or infer.slice_step 1")
    index = slices.index.set_index("row", drop=False)
    chosen = scored[weights.spread(index["patient"].loc[seen.rows[scored]].to_numpy(), settings.slices)]
    brain = slices.brain_of(seen.rows[chosen])
    combinations = weights.grid(settings.step, len(seen.modalities))
    largest = otsu.pixels(rule.area_mm2(row), slices.pixel_mm)
    jobs = (Seen(seen.residual[i], b, truth[i]) for i, b in zip(chosen, brain))
    best = [weights.search(job, combinations, largest) for job in jobs]
    return report(index.loc[seen.rows[chosen]], seen.modalities, best)


def report(index: pd.DataFrame, modalities: Iterable[str], best: list[Best]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(table, values) as they are written. The table holds the slices whose tumour some weights find."""
    modalities = list(modalities)
    optima = pd.DataFrame([b.weights for b in best], columns=modalities)
    names = index[["row", "patient"]].reset_index(drop=True)
    table = pd.concat([names, optima, pd.Series([b.dice for b in best], name="dice")], axis=1)
    table = table[table["dice"] > 0]
    values = {"modalities": modalities, "n_slices": len(best), "n_patients": int(index["patient"].nunique())}
    searched = summary.significant(weights.mean(best, len(modalities))).tolist()
    values |= {"n_without_hit": len(best) - len(table), "searched": dict(zip(modalities, searched))}
    return summary.rounded(table), values


if __name__ == "__main__":
    run.main(main)
