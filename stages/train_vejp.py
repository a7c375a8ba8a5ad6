"""Train VE-JP and its control: `python stages/train_vejp.py single flair t2 multi regression --store tsgm`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np

from gliomap.base import run
from gliomap.data.pairs import PairTable
from gliomap.data.slices import Slices
from gliomap.engine.contract import Method, Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods import regression, vejp
from gliomap.methods.variants import Variant
from gliomap.methods.vejp import Design, Follow, Levels, Loader, Scaling
from gliomap.nets.ncsnpp import NcsnShape
from gliomap.nets.unet import UNetShape

PAIRS = Path("models/pairs")
IMAGES = {"vejp.follow": Follow, "vejp.loader": Loader}
MODEL = {**IMAGES, "vejp.net": NcsnShape, "vejp.levels": Levels, "vejp.scaling": Scaling, "vejp.train": Train}
CONTROL = {**IMAGES, "regression.net": UNetShape, "regression.train": Train}
SECTIONS = {"seed": int, "compute": Compute, "vejp.ablation_steps": int, **MODEL, **CONTROL}


def main(argv: list[str]) -> None:
    """models/vejp/<variant>/, models/regression/single/ and metrics/cost/train-*.json. Reads no masks.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("names", nargs="+", choices=[*get_args(Variant), "regression"])
    arguments = parser.parse_args(argv)
    with run.stage(SECTIONS) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        for name in arguments.names:
            train(name, p, slices)


def train(name: str, p: Mapping[str, Any], slices: Slices) -> None:
    """One network. Its checkpoint belongs to the values and pairs that it depends on, not to the other networks'."""
    control = name == "regression"
    variant = "single" if control else name
    table = PairTable.open(PAIRS / variant, slices)
    own = {key: p[key] for key in ("seed", "compute", *(CONTROL if control else MODEL))}
    budget = own.pop("regression.train" if control else "vejp.train")
    if variant != "single":
        budget = dataclasses.replace(budget, steps=p["vejp.ablation_steps"])
    loader, size = vejp.resolve(p["vejp.loader"], p["vejp.follow"]), slices.images.shape[-1]

    def build() -> Method:
        if control:
            return regression.Training(p["regression.net"], loader, size, table, variant)
        design = Design(p["vejp.net"], p["vejp.levels"], p["vejp.scaling"], loader)
        return vejp.Training(design, size, table, variant)

    train_model(
        Job(variant, p["seed"], own | {"pairs": table.digest()}),
        build,
        slices,
        np.intersect1d(table.rows, slices.rows("train")),
        budget,
        p["compute"],
        np.intersect1d(table.rows, slices.rows("val")),
    )


if __name__ == "__main__":
    run.main(main)
