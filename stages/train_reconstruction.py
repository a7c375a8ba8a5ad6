"""Train methods that rebuild healthy slices: `python stages/train_reconstruction.py vae fanogan --store tsgm`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gliomap.base import run
from gliomap.base.files import md5
from gliomap.data.slices import Slices
from gliomap.engine.contract import Method, Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.reconstruction import WHICH, Adversary, Gan, Inversion, Vae, fed, load_gan
from gliomap.nets.baur import BaurShape

GAN = Path("models/fanogan/gan")
SECTIONS: dict[str, dict[str, type]] = {
    "vae": {"vae.net": BaurShape, "vae.train": Train},
    "fanogan": {"fanogan.net": BaurShape, "fanogan.losses": Adversary, "fanogan.train": Train, "fanogan.encoder": Train},
}


def main(argv: list[str]) -> None:
    """models/vae/all/, models/fanogan/{gan,encoder}/ and metrics/cost/train-*.json. Reads labels of train and val, no mask.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("names", nargs="+", choices=SECTIONS)
    arguments = parser.parse_args(argv)
    every = {key: kind for name in arguments.names for key, kind in SECTIONS[name].items()}
    with run.stage({"seed": int, "compute": Compute, **every}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        size, background = slices.images.shape[-1], slices.background
        if "vae" in arguments.names:
            train("all", p, {"vae.net"}, p["vae.train"], slices, lambda: Vae(p["vae.net"], size, background))
        if "fanogan" in arguments.names:
            train_fanogan(p, slices)


def train_fanogan(p: Mapping[str, Any], slices: Slices) -> None:
    """Generator and critic, then the encoder that inverts the generator."""
    size, background, own = slices.images.shape[-1], slices.background, p["fanogan.losses"]
    gan = fed(p["fanogan.train"], own)
    known = {"fanogan.net", "fanogan.losses"}
    train("gan", p, known, gan, slices, lambda: Gan(p["fanogan.net"], own, size, background))

    def inversion() -> Method:
        config, nets = load_gan(GAN, size, torch.device("cpu"))
        return Inversion(config, own, nets, background)

    weights = {"gan": md5(GAN / f"{WHICH}.safetensors")}
    train("encoder", {**p, **weights}, {*known, *weights}, p["fanogan.encoder"], slices, inversion)


def train(key: str, p: Mapping[str, Any], known: set[str], own: Train, slices: Slices, build: Callable[[], Method]) -> None:
    """One training on the healthy slices. known: what of `p`, besides seed and `own`, its result depends on."""
    values = {name: p[name] for name in ("seed", "compute", *sorted(known))}
    rows, held_out = (slices.rows(split, tumour=False) for split in ("train", "val"))
    train_model(Job(key, p["seed"], values), build, slices, rows, own, p["compute"], held_out)


if __name__ == "__main__":
    run.main(main)
