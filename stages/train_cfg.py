"""Train the classifier-free denoiser on all slices with their labels: `python stages/train_cfg.py --store anofpdm`."""

from pathlib import Path

import torch

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.cfg import Cfg, Training, label_hash, slice_labels


def main(argv: list[str]) -> None:
    """models/cfg/all/ and metrics/cost/train-cfg-all.json. Reads slice labels, no masks."""
    parser = run.parser(__doc__)
    parser.add_argument("--root", default=".", type=Path, help="folder in which models/ and metrics/ are written")
    arguments = parser.parse_args(argv)
    with run.stage({"seed": int, "compute": Compute, "cfg": Cfg}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        own, labels = p["cfg"], slice_labels(slices, ("train", "val"))
        train_model(
            Job("all", p["seed"], p | {"labels": label_hash(labels)}, arguments.root),
            lambda: Training(own, slices.images.shape[-1], torch.from_numpy(labels)),
            slices,
            slices.rows("train"),
            own.train,
            p["compute"],
            slices.rows("val"),
        )


if __name__ == "__main__":
    run.main(main)
