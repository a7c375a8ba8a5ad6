"""Score AnoFPDM's table as its paper does: `python stages/evaluate_mixed.py anofpdm_ddim ddib --store anofpdm`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gliomap.base import run
from gliomap.base.files import write_csv, write_json
from gliomap.data.slices import Slices
from gliomap.scoring import decisions, mixed, mixed_inputs, mixed_metrics, summary
from gliomap.scoring.mixed import Mixed
from gliomap.scoring.mixed_metrics import Truth
from gliomap.scoring.summary import Evaluate


def main(argv: list[str]) -> None:
    """scores/mixed/<row>.csv and metrics/mixed/<row>.json, from each row's test predictions and its decisions."""
    parser = run.parser(__doc__)
    parser.add_argument("rows", nargs="+")
    args = parser.parse_args(argv)
    with run.stage({"data_seed": int, "mixed": Mixed, "evaluate": Evaluate}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        found = {row: evaluate(row, slices, p) for row in run.progress(args.rows, label="evaluate_mixed", unit="rows")}
        for row, (table, numbers) in found.items():
            write_csv(Path("scores/mixed") / f"{row}.csv", table)
            write_json(Path("metrics/mixed") / f"{row}.json", numbers)
    for row, (_, numbers) in found.items():
        dice, floor, empty = (numbers[k] for k in ("dice_mixed", "floor_all_empty_mixed", "specificity_healthy_slices"))
        words = f"mixed Dice {dice:.4f} (nothing found: {floor:.4f}), {empty:.3f} of the healthy slices left empty"
        run.log(f"{row}: {words}, {numbers['n_slices']} slices of {numbers['n_patients']} patients")


def evaluate(row: str, slices: Slices, p: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """(scores per slice, numbers) of one row."""
    settings, path = p["mixed"], decisions.place(row).predictions("test")
    chosen = decisions.load(Path("models/decisions") / f"{row}.json", slices.recipe)
    found = mixed_inputs.read(path, slices, "test", decisions.NEEDS[chosen["kind"]])
    truth = Truth.of(found, slices, "test", settings)
    mixed_inputs.check_size(found, "fixed" if chosen["kind"] == "tuned" else "whole", truth.tumour.shape[1:])
    decided = decisions.decide(found, chosen, mixed.component_px(settings, slices.pixel_mm))
    batch = mixed_metrics.partition(len(found.rows), settings.batch, p["data_seed"])
    table = mixed_metrics.table(found, decided, truth, batch)
    numbers = mixed_metrics.metrics(table, decided, truth, settings, p["evaluate"], p["data_seed"])
    numbers["n_slices_in_split"] = found.split_size
    return summary.rounded(table), summary.plain(numbers)


if __name__ == "__main__":
    run.main(main)
