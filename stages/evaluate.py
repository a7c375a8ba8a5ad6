"""Score a method on the test patients: `python stages/evaluate.py <method> --recipe common`."""

import argparse
from pathlib import Path

import pandas as pd

from gliomap import run
from gliomap.data.slices import Slices
from gliomap.files import write_csv, write_json
from gliomap.scoring import inputs, per_slice, summary, thresholds
from gliomap.scoring.masks import Postprocess, segment
from gliomap.scoring.summary import Evaluate


def main(argv: list[str]) -> None:
    """scores/<method>.csv, scores/pr/<method>.csv and metrics/<method>.json, from the method's test maps and threshold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method")
    parser.add_argument("--recipe", required=True)
    args = parser.parse_args(argv)
    method = args.method
    with run.stage({"seed": int, "postprocess": Postprocess, "evaluate": Evaluate}) as p:
        post = p["postprocess"]
        chosen = thresholds.load(Path("models/thresholds") / f"{method}.json", method, args.recipe, post)
        slices = Slices.open(Path("data/slices") / args.recipe)
        test = inputs.read(Path("predictions") / method / "test.npz", slices, "test", post)
        oracle = thresholds.find(test, chosen["rule"], chosen["candidates"], post.component_px, also=chosen["threshold"])
        levels = {"": chosen["threshold"], "_oracle": oracle.threshold}
        masks = {suffix: segment(test.maps, test.region, h, post.component_px) for suffix, h in levels.items()}
        if test.own is not None:
            masks["_own"] = test.own
        table = per_slice.table(test, masks)
        numbers, (recall, precision) = summary.metrics(table, test, tuple(masks), p["evaluate"], p["seed"])
        numbers |= {"threshold_validation": levels[""], "threshold_oracle": levels["_oracle"]}
        write_csv(Path("scores") / f"{method}.csv", summary.rounded(table))
        curve = pd.DataFrame({"method": method, "recall": recall, "precision": precision})
        write_csv(Path("scores/pr") / f"{method}.csv", summary.rounded(curve))
        write_json(Path("metrics") / f"{method}.json", summary.plain(numbers))
    dice, best, area = (numbers[k] for k in ("dice_slice_tumour", "dice_slice_tumour_oracle", "auprc_pooled_brain"))
    n = f"{numbers['n_tumour_slices']} tumour slices of {numbers['n_patients']} patients"
    run.log(f"{method}: Dice {dice:.4f} (oracle threshold {best:.4f}), in-brain AUPRC {area:.4f}, {n}")


if __name__ == "__main__":
    run.main(main)
