"""Score a row of AnoFPDM's table as its paper does: `python stages/evaluate_mixed.py anofpdm_ddim --recipe anofpdm`."""

import argparse
from pathlib import Path

from gliomap import run
from gliomap.data.slices import Slices
from gliomap.files import write_csv, write_json
from gliomap.scoring import decisions, mixed, mixed_inputs, mixed_metrics, summary
from gliomap.scoring.mixed import Mixed
from gliomap.scoring.mixed_metrics import Truth
from gliomap.scoring.summary import Evaluate


def main(argv: list[str]) -> None:
    """scores/mixed/<row>.csv and metrics/mixed/<row>.json, from the row's test predictions and its decisions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row")
    parser.add_argument("--recipe", required=True)
    args = parser.parse_args(argv)
    with run.stage({"seed": int, "mixed": Mixed, "evaluate": Evaluate}) as p:
        settings = p["mixed"]
        chosen = decisions.load(Path("models/decisions") / f"{args.row}.json", args.recipe)
        slices = Slices.open(Path("data/slices") / args.recipe)
        path = Path("predictions") / decisions.SOURCE.get(args.row, args.row) / "test.npz"
        found = mixed_inputs.read(path, slices, "test", decisions.NEEDS[chosen["kind"]])
        truth = Truth.of(found, slices, "test", settings)
        mixed_inputs.check_size(found, "fixed" if chosen["kind"] == "tuned" else "whole", truth.tumour.shape[1:])
        decided = decisions.decide(found, chosen, mixed.component_px(settings, slices.pixel_mm))
        batch = mixed_metrics.partition(len(found.rows), settings.batch, p["seed"])
        table = mixed_metrics.table(found, decided, truth, batch)
        numbers = mixed_metrics.metrics(table, decided, truth, settings, p["evaluate"], p["seed"])
        numbers["n_slices_in_split"] = found.split_size
        write_csv(Path("scores/mixed") / f"{args.row}.csv", summary.rounded(table))
        write_json(Path("metrics/mixed") / f"{args.row}.json", summary.plain(numbers))
    dice, floor, empty = (numbers[k] for k in ("dice_mixed", "floor_all_empty_mixed", "specificity_healthy_slices"))
    words = f"mixed Dice {dice:.4f} (nothing found: {floor:.4f}), {empty:.3f} of the healthy slices left empty"
    run.log(f"{args.row}: {words}, {numbers['n_slices']} slices of {numbers['n_patients']} patients")


if __name__ == "__main__":
    run.main(main)
