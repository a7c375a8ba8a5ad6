"""Score a system's methods on the test patients: `python stages/evaluate.py mmccd mmccd cyclic_unet --store mmccd`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gliomap.base import run
from gliomap.base.files import write_csv, write_json
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import inputs, per_slice, summary, thresholds
from gliomap.scoring.masks import Postprocess, segment
from gliomap.scoring.summary import Evaluate


def main(argv: list[str]) -> None:
    """scores/<system>/<method>.csv, scores/<system>/pr/<method>.csv and metrics/<system>/<method>.json of each method."""
    parser = run.parser(__doc__)
    parser.add_argument("system")
    parser.add_argument("methods", nargs="+")
    args = parser.parse_args(argv)
    places = [Place(args.system, method) for method in args.methods]
    with run.stage({"data_seed": int, "postprocess": Postprocess, "evaluate": Evaluate}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        found = {place: evaluate(place, slices, p) for place in run.progress(places, label="evaluate", unit="methods")}
        for place, (table, curve, numbers) in found.items():
            write_csv(place.scores, table)
            write_csv(place.curve, curve)
            write_json(place.metrics, numbers)
    for place, (_, _, numbers) in found.items():
        dice, best, area = (numbers[k] for k in ("dice_slice_tumour", "dice_slice_tumour_oracle", "auprc_pooled_brain"))
        n = f"{numbers['n_tumour_slices']} tumour slices of {numbers['n_patients_tumour']} patients"
        run.log(f"{place.method}: Dice {dice:.4f} (oracle threshold {best:.4f}), in-brain AUPRC {area:.4f}, {n}")


def evaluate(place: Place, slices: Slices, p: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """(scores per slice, curve of precision and recall, numbers) of one method, from its test maps and its threshold."""
    post = p["postprocess"]
    chosen = thresholds.load(place.threshold, place.method, slices.recipe, post)
    test = inputs.read(place.predictions("test"), slices, "test", post)
    oracle = thresholds.find(test, chosen["rule"], chosen["candidates"], post.component_px, also=chosen["threshold"])
    levels = {"": chosen["threshold"], "_oracle": oracle.threshold}
    masks = {suffix: segment(test.maps, test.region, h, post.component_px) for suffix, h in levels.items()}
    if test.own is not None:
        masks["_own"] = test.own
    table = per_slice.table(test, masks)
    numbers, (recall, precision) = summary.metrics(table, test, tuple(masks), p["evaluate"], p["data_seed"])
    numbers |= {"threshold_validation": levels[""], "threshold_oracle": levels["_oracle"]}
    curve = pd.DataFrame({"method": place.method, "recall": recall, "precision": precision})
    return summary.rounded(table), summary.rounded(curve), summary.plain(numbers)


if __name__ == "__main__":
    run.main(main)
