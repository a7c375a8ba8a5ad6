"""Train a variant of the mask diffusion: `python stages/train_ddmd.py light --features inter --store ddmd`."""

from pathlib import Path
from typing import get_args

import numpy as np

from gliomap.base import run
from gliomap.data.balance import balanced
from gliomap.data.features import SCALING, Features, Kind
from gliomap.data.masks import MaskTable, content_digest
from gliomap.data.slices import Slices
from gliomap.diffusion.denoiser import Target
from gliomap.diffusion.schedule import Diffusion
from gliomap.engine.contract import Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.ddmd_training import Cimd, Design, Known, MaskRange, Training, Variance
from gliomap.nets.unet import UNetShape

DISCREPANCY = Path("models/discrepancy")
DESIGN = {
    "ddmd.net": UNetShape,
    "ddmd.diffusion": Diffusion,
    "ddmd.mask_range": MaskRange,
    "ddmd.variance": Variance,
    "ddmd.target": Target,
    "ddmd.train": Train,
}


def main(argv: list[str]) -> None:
    """models/ddmd/<key>/ and metrics/cost/train-ddmd-<key>.json. Learns from the pixel masks of the training slices."""
    parser = run.parser(__doc__)
    parser.add_argument("key", help="name of the variant: folder under models/ddmd/")
    parser.add_argument("--features", choices=get_args(Kind), default="none", help="maps of models/discrepancy")
    parser.add_argument("--cimd", action="store_true", help="with what CIMD adds")
    arguments = parser.parse_args(argv)
    scaling = {} if arguments.features == "none" else {"discrepancy.feature_scale": SCALING}
    more = scaling | ({"cimd": Cimd} if arguments.cimd else {})
    with run.stage({"seed": int, "compute": Compute, **DESIGN, **more}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        scale = p.get("discrepancy.feature_scale", "raw")
        features = Features.open(DISCREPANCY, slices, arguments.features, scale, p["seed"])
        known = Known(MaskTable.of(slices), features)
        contents = {"masks": known.masks.digest(), "features": content_digest(*features.maps, np.array(features.scale))}
        own = Design(*(p[name] for name in DESIGN))
        train_model(
            Job(arguments.key, p["seed"], p | contents),
            lambda: Training(own, slices.images.shape[-1], known, p.get("cimd")),
            slices,
            balanced(slices, "train", p["seed"]),
            own.train,
            p["compute"],
            slices.rows("val"),
        )


if __name__ == "__main__":
    run.main(main)
