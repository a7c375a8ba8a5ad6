"""Thresholds of a system's methods: `python stages/calibrate.py mmccd mmccd cyclic_unet --store mmccd`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gliomap.base import run
from gliomap.base.files import write_json
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import inputs, thresholds
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate


def main(argv: list[str]) -> None:
    """models/thresholds/<system>/<method>.json, from validation maps and validation masks and nothing else."""
    parser = run.parser(__doc__)
    parser.add_argument("system")
    parser.add_argument("methods", nargs="+")
    args = parser.parse_args(argv)
    places = [Place(args.system, method) for method in args.methods]
    with run.stage({"postprocess": Postprocess, "calibrate": Calibrate}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        found = {place: calibrate(place, slices, p["postprocess"], p["calibrate"]) for place in places}
        for place, values in found.items():
            write_json(place.threshold, values)
    for place, values in found.items():
        words = f"threshold {values['threshold']:.6g}, validation Dice {values['dice_slice_tumour']:.4f}"
        run.log(f"{place.method}: {words} over {values['n_tumour_slices']} tumour slices")


def calibrate(place: Place, slices: Slices, post: Postprocess, rule: Calibrate) -> dict[str, Any]:
    """The threshold of one method, how it was found and on how many slices."""
    val = inputs.read(place.predictions("val"), slices, "val", post)
    found = thresholds.find(val, rule.rule, rule.candidates, post.component_px)
    made_by = {"method": place.method, "recipe": slices.recipe, **asdict(rule), "postprocess": asdict(post)}
    population = {
        "n_slices": len(val.tumour),
        "n_tumour_slices": int(val.scored.sum()),
        "n_patients": int(val.index["patient"].nunique()),
    }
    result = {"threshold": found.threshold, "dice_slice_tumour": round(found.dice, 6), "at_edge": found.at_edge}
    return made_by | population | result


if __name__ == "__main__":
    run.main(main)
