"""AnoFPDM tuned with pixel labels, the last row of its table: `python stages/tune_labels.py --store anofpdm`."""

from pathlib import Path

from gliomap.base import run
from gliomap.base.files import write_json
from gliomap.data.slices import Slices
from gliomap.scoring import decisions, mixed, mixed_inputs
from gliomap.scoring.mixed import Mixed, Thetas

ROW = "anofpdm_tuned"
SOURCE = decisions.SOURCE[ROW]


def main(argv: list[str]) -> None:
    """Write models/decisions/anofpdm_tuned.json: one end step and one threshold for all slices, by validation masks."""
    args = run.parser(__doc__).parse_args(argv)
    with run.stage({"mixed": Mixed, "tune_labels": Thetas}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        by_labels = decisions.load(Path("models/decisions") / f"{SOURCE}.json", slices.recipe)
        found = mixed_inputs.read(decisions.place(ROW).predictions("val"), slices, "val", decisions.NEEDS["tuned"])
        truth = mixed_inputs.truth(found, slices, "val")
        mixed_inputs.check_size(found, "fixed", truth.shape[1:])
        small = mixed.component_px(p["mixed"], slices.pixel_mm)
        chosen = decisions.tune(found, truth, by_labels["tau"][0], p["tune_labels"].candidates(), small)
        population = {
            "n_slices": len(truth),
            "n_unhealthy_slices": int(truth.any((1, 2)).sum()),
            "n_patients": int(found.index["patient"].nunique()),
        }
        made_by = {"kind": "tuned", "method": ROW, "recipe": slices.recipe}
        write_json(Path("models/decisions") / f"{ROW}.json", made_by | chosen | population)
    if chosen["at_edge"]:
        run.log(f"warning: threshold {chosen['theta']:g} is the first or last tried; see tune_labels in params.yaml")
    words = f"end step {chosen['end']}, threshold {chosen['theta']:g}, mixed validation Dice {chosen['dice_mixed']:.4f}"
    run.log(f"{ROW}: {words} over {population['n_slices']} slices")


if __name__ == "__main__":
    run.main(main)
