"""Train a network as a method's own file says: `train.py flair --module mirror --slices healthy --store mmccd`."""

import importlib
from pathlib import Path

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model

TUMOUR = {"healthy": False, "all": None}  # as Slices.rows wants it


def main(argv: list[str]) -> None:
    """models/<module>/<pair>/ and metrics/cost/train-<module>-<pair>.json. Reads slice labels, no masks."""
    parser = run.parser(__doc__)
    parser.add_argument("pair", help="what it works on, such as flair; the name of its folder")
    parser.add_argument("--module", required=True, help="file name under src/gliomap/methods/, without .py")
    parser.add_argument("--slices", required=True, choices=TUMOUR, help="which slices it learns from")
    arguments = parser.parse_args(argv)
    name, pair = arguments.module, arguments.pair
    module = importlib.import_module(f"gliomap.methods.{name}")
    if getattr(module.Training, "name", None) != name:
        raise UserError(f"src/gliomap/methods/{name}.py: Training.name is not {name!r}, the name of its file; mend it")
    with run.stage({"seed": int, "compute": Compute, f"{name}.train": module.TRAIN}) as p:
        slices, own = Slices.open(Path("data/slices") / arguments.store), p[f"{name}.train"]
        rows, held_out = (slices.rows(split, tumour=TUMOUR[arguments.slices]) for split in ("train", "val"))
        job = Job(pair, p["seed"], p)
        train_model(job, lambda: module.Training(own, slices, pair), slices, rows, own, p["compute"], held_out)


if __name__ == "__main__":
    run.main(main)
