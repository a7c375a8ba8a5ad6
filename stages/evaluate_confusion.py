"""Score masks as the DDMD paper does: `python stages/evaluate_confusion.py ddmd_light unet --system ddmd --store ddmd`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_json
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import confusion, inputs, summary
from gliomap.scoring.confusion import Confusion
from gliomap.scoring.masks import UNTOUCHED
from gliomap.scoring.summary import Evaluate


def main(argv: list[str]) -> None:
    """scores/confusion/<row>.csv and metrics/confusion/<row>.json, from the own masks in the rows' test predictions."""
    parser = run.parser(__doc__)
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--system", required=True)
    args = parser.parse_args(argv)
    with run.stage({"data_seed": int, "confusion": Confusion, "evaluate": Evaluate}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        rows = run.progress(args.rows, label="evaluate_confusion", unit="rows")
        found = {row: evaluate(Place(args.system, row), slices, p) for row in rows}
        for row, (table, numbers) in found.items():
            write_csv(Path("scores/confusion") / f"{row}.csv", table)
            write_json(Path("metrics/confusion") / f"{row}.json", numbers)
    for row, (_, numbers) in found.items():
        dice, miou, mpa = (numbers[name] for name in ("dice_slice_tumour", "miou_pooled", "mpa_pooled"))
        n = f"{numbers['n_slices']} slices of {numbers['n_patients']} patients"
        run.log(f"{row}: Dice of tumour slices {dice:.4f}, Miou {miou:.4f}, mean class accuracy {mpa:.4f}, {n}")


def evaluate(place: Place, slices: Slices, p: Mapping[str, Any]) -> tuple[pd.DataFrame, dict[str, float]]:
    """(scores per slice, numbers) of one row. UserError if its predictions have no mask."""
    path = place.predictions("test")
    test = inputs.read(path, slices, "test", UNTOUCHED)
    if test.own is None:
        raise UserError(f"{path}: found no mask, expected the method's own; leave {place.method} out of this stage's rows")
    cells = confusion.count(test)
    numbers = confusion.metrics(test, cells, p["confusion"], p["evaluate"], p["data_seed"])
    return summary.rounded(confusion.table(test, cells)), summary.plain(numbers)


if __name__ == "__main__":
    run.main(main)
