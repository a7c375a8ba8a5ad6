"""AnoFPDM without pixel labels: `python stages/calibrate_labels.py anofpdm_ddpm anofpdm_ddim --store anofpdm`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gliomap.base import run
from gliomap.base.files import write_json
from gliomap.data.slices import Slices
from gliomap.scoring import decisions, mixed_inputs
from gliomap.scoring.decisions import Labels


def main(argv: list[str]) -> None:
    """Write models/decisions/<method>.json from the validation predictions and slice labels. Opens no mask."""
    parser = run.parser(__doc__)
    parser.add_argument("methods", nargs="+", help="rows whose forward process is calibrated")
    args = parser.parse_args(argv)
    with run.stage({"calibrate_labels": Labels, "anofpdm.quantile_high": float, "anofpdm.quantile_low": float}) as p:
        slices = Slices.open(Path("data/slices") / args.store)
        found = {method: calibrate(method, slices, p) for method in args.methods}
        for method, values in found.items():
            write_json(Path("models/decisions") / f"{method}.json", values)
    for method, values in found.items():
        n = f"{values['n_unhealthy_slices']} unhealthy and {values['n_healthy_slices']} healthy validation slices"
        run.log(f"{method}: tau {values['tau'][0]:.5f}, accuracy {values['accuracy'][0]:.3f} over {n}")


def calibrate(method: str, slices: Slices, p: Mapping[str, Any]) -> dict[str, Any]:
    """What decides about a method's maps, and on how many slices it was found."""
    found = mixed_inputs.read(decisions.place(method).predictions("val"), slices, "val", ("w", "cosine", "divergence"))
    ill = mixed_inputs.unhealthy(found, slices, "val")
    chosen = decisions.calibrate(found, ill, p["calibrate_labels"])
    made_by = {"kind": "forward", "method": method, "recipe": slices.recipe}
    levels = {name: p[f"anofpdm.{name}"] for name in ("quantile_high", "quantile_low")}
    population = {
        "n_slices": len(ill),
        "n_unhealthy_slices": int(ill.sum()),
        "n_healthy_slices": int((~ill).sum()),
        "n_patients": int(found.index["patient"].nunique()),
    }
    return made_by | chosen | levels | population


if __name__ == "__main__":
    run.main(main)
