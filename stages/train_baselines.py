"""Train the networks of the restoring baselines: `python stages/train_baselines.py gauss guided --store anofpdm`."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.diffusion.schedule import Diffusion
from gliomap.diffusion.simplex import Simplex
from gliomap.engine.contract import Method, Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.cfg import MODALITIES, label_hash, slice_labels
from gliomap.methods.restoration_training import Guided, Label, NoisyClassifier, Unconditional
from gliomap.nets.unet import UNetShape

DENOISER = {"ddpm.net": UNetShape, "ddpm.diffusion": Diffusion}
SECTIONS: dict[str, dict[str, Any]] = {
    "gauss": {**DENOISER, "ddpm.train": Train},
    "simplex": {**DENOISER, "simplex.noise": Simplex, "simplex.train": Train},
    "guided": {**DENOISER, "guided.label": Label, "guided.train": Train},
    "classifier": {"ddpm.diffusion": Diffusion, "classifier.net": UNetShape, "classifier.train": Train},
}
ALONE = "flair"  # `guided` and `classifier` also for that modality alone, in the same sizes (TSGM spec 7)
SECTIONS |= {f"{name}_{ALONE}": SECTIONS[name] for name in ("guided", "classifier")}


def method(name: str, p: dict[str, Any], image_size: int, labels: torch.Tensor) -> Method:
    """What is trained under that name."""
    kind, _, alone = name.partition("_")
    modalities = (alone,) if alone else MODALITIES
    if kind == "classifier":
        return NoisyClassifier(p["classifier.net"], p["ddpm.diffusion"], image_size, labels, modalities)
    common = (p["ddpm.net"], p["ddpm.diffusion"], image_size)
    if kind == "guided":
        return Guided(*common, labels, p["guided.label"], modalities)
    return Unconditional(*common, p.get("simplex.noise"))


def main(argv: list[str]) -> None:
    """models/ddpm/{gauss,simplex}/, models/{guided,classifier}/{all,flair}/, and metrics/cost/train-*.json. Reads no masks.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("names", nargs="+", choices=SECTIONS)
    parser.add_argument("--root", default=".", type=Path, help="folder in which models/ and metrics/ are written")
    arguments = parser.parse_args(argv)
    every = {key: kind for name in arguments.names for key, kind in SECTIONS[name].items()}
    with run.stage({"seed": int, "compute": Compute, **every}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        labels = slice_labels(slices, ("train", "val"))
        for name in arguments.names:
            train(name, {key: p[key] for key in ("seed", "compute", *SECTIONS[name])}, slices, labels, arguments.root)


def train(name: str, p: dict[str, Any], slices: Slices, labels: np.ndarray, root: Path) -> None:
    """One network, from the sections that it depends on."""
    healthy = name in ("gauss", "simplex")
    key = name if healthy else name.partition("_")[2] or "all"
    known = {} if healthy else {"labels": label_hash(labels)}
    rows, held_out = (slices.rows(split, tumour=False if healthy else None) for split in ("train", "val"))
    train_model(
        Job(key, p["seed"], p | known, root),
        lambda: method(name, p, slices.images.shape[-1], torch.from_numpy(labels)),
        slices,
        rows,
        next(p[section] for section in p if section.endswith(".train")),
        p["compute"],
        held_out,
    )


if __name__ == "__main__":
    run.main(main)
