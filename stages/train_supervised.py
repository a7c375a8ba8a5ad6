"""Train segmentation networks: `train_supervised.py unet=unet/none/paper unet_x=unet/inter/fair --store ddmd`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.data.balance import balanced
from gliomap.data.features import SCALING, Features, Kind
from gliomap.data.masks import MaskTable, content_digest
from gliomap.data.slices import Slices
from gliomap.engine.contract import Train
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, train_model
from gliomap.methods.supervised import NETS, SHAPES, Training

SCALE = "discrepancy.feature_scale"
BUDGETS = ("paper", "fair")  # sections supervised.<budget>
SECTIONS: dict[str, Any] = {
    "seed": int, "compute": Compute, SCALE: SCALING,
    **{f"supervised.{net}": shape for net, shape in SHAPES.items()},
    **{f"supervised.{budget}": Train for budget in BUDGETS},
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """One network: its folder under models/supervised/, what it is, which maps it sees, how long it trains."""

    key: str
    net: str
    features: str
    budget: str

    @classmethod
    def of(cls, word: str) -> "Plan":
        """`<key>=<net>/<features>/<budget>`. UserError on anything else."""
        key, _, rest = word.partition("=")
        parts = rest.split("/")
        known = (tuple(NETS), get_args(Kind), BUDGETS)
        if not key or len(parts) != 3 or any(part not in names for part, names in zip(parts, known, strict=True)):
            expected = "/".join("|".join(names) for names in known)
            raise UserError(f"segmenters in conf/graph.yaml: found {word!r}, expected <key>={expected}; mend it")
        return cls(key, *parts)


class Material(NamedTuple):
    """What all networks learn from: slices, masks with their hash, rows of the balanced training slices."""

    slices: Slices
    masks: MaskTable
    digest: str
    rows: np.ndarray


def main(argv: list[str]) -> None:
    """models/supervised/<key>/ and metrics/cost/train-supervised-<key>.json. Reads masks of training and validation.

    One after the other; what was trained before and has not changed ends at once, at its last checkpoint.
    """
    parser = run.parser(__doc__)
    parser.add_argument("networks", nargs="+", help="<key>=<net>/<features>/<budget>")
    arguments = parser.parse_args(argv)
    with run.stage(SECTIONS) as p:
        plans = [Plan.of(word) for word in arguments.networks]
        slices = Slices.open(Path("data/slices") / arguments.store)
        masks = MaskTable.of(slices)
        material = Material(slices, masks, masks.digest(), balanced(slices, "train", p["seed"]))
        for plan in plans:
            train(plan, p, material)


def train(plan: Plan, p: Mapping[str, Any], material: Material) -> None:
    """One network. Its checkpoint belongs to the values, masks and maps that it depends on, not to the other networks'."""
    used = ["seed", "compute", f"supervised.{plan.net}", f"supervised.{plan.budget}"]
    own = {name: p[name] for name in used + ([] if plan.features == "none" else [SCALE])}
    slices = material.slices
    features = Features.open(Path("models/discrepancy"), slices, plan.features, own.get(SCALE, "raw"), p["seed"])
    maps = content_digest(*features.maps, features.source, np.array(features.scale))
    train_model(
        Job(plan.key, p["seed"], own | {"masks": material.digest, "maps": maps}),
        lambda: Training(plan.net, p[f"supervised.{plan.net}"], material.masks, features),
        slices,
        material.rows,
        p[f"supervised.{plan.budget}"],
        p["compute"],
        slices.rows("val"),
    )


if __name__ == "__main__":
    run.main(main)
