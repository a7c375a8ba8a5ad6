"""Train MMCCD's f: x -> y on healthy slices: `python stages/train_mmccd.py flair-t2 --store mmccd`."""

from pathlib import Path

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.engine.device import Compute
from gliomap.engine.scorer import parse_pair
from gliomap.engine.train import Job, train_model
from gliomap.methods.mmccd import Diffusion, Follow, MmccdTrain, Training
from gliomap.nets.unet import UNetShape


def main(argv: list[str]) -> None:
    """models/mmccd/<x-y>/ and metrics/cost/train-mmccd-<x-y>.json."""
    parser = run.parser(__doc__)
    parser.add_argument("pair", help="modalities x-y: y is generated from x")
    arguments = parser.parse_args(argv)
    own = {"mmccd.follow": Follow, "mmccd.net": UNetShape, "mmccd.diffusion": Diffusion, "mmccd.train": MmccdTrain}
    with run.stage({"seed": int, "compute": Compute, **own}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        pair = parse_pair(arguments.pair, slices.modalities)
        settings = (p["mmccd.net"], p["mmccd.diffusion"], p["mmccd.train"])
        train_model(
            Job(arguments.pair, p["seed"], p),
            lambda: Training(pair, slices.images.shape[-1], settings, p["mmccd.follow"]),
            slices,
            slices.rows("train", tumour=False),
            p["mmccd.train"],
            p["compute"],
            slices.rows("val", tumour=False),
        )


if __name__ == "__main__":
    run.main(main)
