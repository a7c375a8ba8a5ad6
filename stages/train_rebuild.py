"""Train MMCCD's baselines on healthy slices: `python stages/train_rebuild.py dae_t2=dae/t2 --store mmccd`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Method, Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.rebuild_training import Baur, BaurTraining, Corruption, Dae, Ddpm, Plan, plans
from gliomap.nets.dae import DaeShape
from gliomap.nets.unet import UNetShape

BAUR = {"rebuild.baur.net": Baur, "rebuild.baur.train": Train}
DAE = {"rebuild.dae.net": DaeShape, "rebuild.dae.noise": Corruption, "rebuild.dae.train": Train}
DDPM = {"mmccd.net": UNetShape, "mmccd.diffusion": Diffusion, "rebuild.ddpm.train": Train}
SECTIONS: dict[str, dict[str, type]] = {"ae": BAUR, "vae": BAUR, "dae": DAE, "coarse": DAE, "ddpm": DDPM}


def main(argv: list[str]) -> None:
    """models/rebuild/<kind>-<modality>/ and metrics/cost/train-rebuild-<key>.json. Reads labels of train and val, no mask.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("networks", nargs="+", help="<row>=<kind>/<modality>, kind: " + ", ".join(SECTIONS))
    arguments = parser.parse_args(argv)
    found = plans(arguments.networks)
    every = {name: kind for plan in found for name, kind in SECTIONS[plan.kind].items()}
    with run.stage({"seed": int, "compute": Compute, **every}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        for plan in found:
            train(plan, p, slices)


def train(plan: Plan, p: Mapping[str, Any], slices: Slices) -> None:
    """One network, from the sections that it depends on."""
    own = {name: p[name] for name in ("seed", "compute", *SECTIONS[plan.kind])}
    train_model(
        Job(plan.key, p["seed"], own),
        lambda: method(plan, own, slices.images.shape[-1], slices.background),
        slices,
        slices.rows("train", tumour=False),
        next(own[name] for name in own if name.endswith(".train")),
        p["compute"],
        slices.rows("val", tumour=False),
    )


def method(plan: Plan, p: Mapping[str, Any], image_size: int, background: float) -> Method:
    """What is trained by that plan."""
    if plan.kind == "ddpm":
        return Ddpm(plan, p["mmccd.net"], p["mmccd.diffusion"], image_size)
    if plan.kind in ("dae", "coarse"):
        return Dae(plan, p["rebuild.dae.net"], p["rebuild.dae.noise"], image_size, background)
    return BaurTraining(plan, p["rebuild.baur.net"], image_size, background)


if __name__ == "__main__":
    run.main(main)
