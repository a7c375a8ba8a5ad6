"""Train CycleGANs between healthy slices and slices with tumour: `train_cyclegan.py single flair --store tsgm`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from gliomap.base import run
from gliomap.data.slices import Slices
from gliomap.engine.contract import Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.cyclegan import Design, Losses, Sampling, Training
from gliomap.methods.variants import Variant
from gliomap.nets.resnet_gan import GeneratorShape, JudgeShape

DESIGN: dict[str, Any] = {
    "cyclegan.net": GeneratorShape,
    "cyclegan.judge": JudgeShape,
    "cyclegan.losses": Losses,
    "cyclegan.sampling": Sampling,
}
STEPS = "cyclegan.ablation_steps"


def main(argv: list[str]) -> None:
    """models/cyclegan/<variant>/ and metrics/cost/train-cyclegan-<variant>.json. Reads slice labels, no masks.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("variants", nargs="+", choices=get_args(Variant))
    arguments = parser.parse_args(argv)
    with run.stage({"seed": int, "compute": Compute, **DESIGN, "cyclegan.train": Train, STEPS: int}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        for variant in arguments.variants:
            train(variant, p, slices)


def train(variant: Variant, p: dict[str, Any], slices: Slices) -> None:
    """One CycleGAN; all but `single` see a quarter of the images in an epoch and have a number of steps of their own."""
    own = p["cyclegan.train"] if variant == "single" else replace(p["cyclegan.train"], steps=p[STEPS])
    design = Design(*(p[name] for name in DESIGN))
    train_model(
        Job(variant, p["seed"], {name: p[name] for name in ("seed", "compute", *DESIGN)} | {"cyclegan.train": own}),
        lambda: Training(design, variant, slices),
        slices,
        slices.rows("train", tumour=True),
        own,
        p["compute"],
        slices.rows("val", tumour=True),
    )


if __name__ == "__main__":
    run.main(main)
