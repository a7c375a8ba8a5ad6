"""Train a plain U-Net x -> y on healthy slices: `python stages/train_translator.py flair-t2 --store mmccd`."""

from pathlib import Path

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.engine.contract import Train
from gliomap.engine.device import Compute
from gliomap.engine.scorer import parse_pair
from gliomap.engine.train import Job, train_model
from gliomap.methods.translator import Translator
from gliomap.nets.unet import UNetShape


def main(argv: list[str]) -> None:
    """models/translator/<x-y>/ and metrics/cost/train-translator-<x-y>.json."""
    parser = run.parser(__doc__)
    parser.add_argument("pair", help="modalities x-y, such as flair-t2")
    arguments = parser.parse_args(argv)
    sections = {"seed": int, "compute": Compute, "mmccd.net": UNetShape, "translator.train": Train}
    with run.stage(sections) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        pair = parse_pair(arguments.pair, slices.modalities)
        train_model(
            Job(arguments.pair, p["seed"], p),
            lambda: Translator(pair, p["mmccd.net"], slices.images.shape[-1]),
            slices,
            slices.rows("train", tumour=False),
            p["translator.train"],
            p["compute"],
            slices.rows("val", tumour=False),
        )


if __name__ == "__main__":
    run.main(main)
