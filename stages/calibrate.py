"""Find a method's threshold on the validation patients: `python stages/calibrate.py <method> --recipe common`."""

import argparse
from dataclasses import asdict
from pathlib import Path

from gliomap import run
from gliomap.data.slices import Slices
from gliomap.files import write_json
from gliomap.scoring import inputs, thresholds
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate


def main(argv: list[str]) -> None:
    """Write models/thresholds/<method>.json from the method's validation maps and the validation masks, and nothing else."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("--recipe", required=True)
    args = parser.parse_args(argv)
    with run.stage({"postprocess": Postprocess, "calibrate": Calibrate}) as p:
        post, rule = p["postprocess"], p["calibrate"]
        slices = Slices.open(Path("data/slices") / args.recipe)
        val = inputs.read(Path("predictions") / args.method / "val.npz", slices, "val", post)
        found = thresholds.find(val, rule.rule, rule.candidates, post.component_px)
        made_by = {"method": args.method, "recipe": args.recipe, **asdict(rule), "postprocess": asdict(post)}
        population = {
            "n_slices": len(val.tumour),
            "n_tumour_slices": int(val.scored.sum()),
            "n_patients": int(val.index["patient"].nunique()),
        }
        result = {"threshold": found.threshold, "dice_slice_tumour": round(found.dice, 6), "at_edge": found.at_edge}
        write_json(Path("models/thresholds") / f"{args.method}.json", made_by | population | result)
    n = population["n_tumour_slices"]
    run.log(f"{args.method}: threshold {found.threshold:.6g}, validation Dice {found.dice:.4f} over {n} tumour slices")


if __name__ == "__main__":
    run.main(main)
