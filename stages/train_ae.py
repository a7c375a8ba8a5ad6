"""Train an ensemble of autoencoders: `python stages/train_ae.py mixture --store ddmd`."""

from pathlib import Path
from typing import get_args

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.engine.contract import Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.ensemble import MODALITIES, Ensemble, EnsembleConfig, Population, rows_of, train_of
from gliomap.nets.autoencoder import AutoencoderShape, configure


def main(argv: list[str]) -> None:
    """models/ae/<population>/ and metrics/cost/train-ae-<population>.json. Reads labels of train and val, and no masks."""
    parser = run.parser(__doc__)
    parser.add_argument("population", choices=get_args(Population))
    arguments = parser.parse_args(argv)
    population = arguments.population
    with run.stage({
        "seed": int,
        "compute": Compute,
        "autoencoder.net": AutoencoderShape,
        "autoencoder.members": int,
        "autoencoder.equal_steps": bool,
        "autoencoder.train": Train,
    }) as p:  # fmt: skip
        seed, members = p["seed"], p["autoencoder.members"]
        slices = Slices.open(Path("data/slices") / arguments.store)
        rows, held_out = (rows_of(population, slices, split, seed) for split in ("train", "val"))
        share = len(rows) / max(1, len(rows_of("mixture", slices, "train", seed)))
        train = train_of(p["autoencoder.train"], members, share, p["autoencoder.equal_steps"])
        net = configure(p["autoencoder.net"], len(MODALITIES), slices.images.shape[-1])
        train_model(
            Job(population, seed, p | {"autoencoder.train": train}),
            lambda: Ensemble(EnsembleConfig(net, members, population, seed)),
            slices,
            rows,
            train,
            p["compute"],
            held_out,
        )


if __name__ == "__main__":
    run.main(main)
