"""AnoFPDM without pixel labels: `python stages/calibrate_labels.py anofpdm_ddim --recipe anofpdm`."""

import argparse
from pathlib import Path

from gliomap import run
from gliomap.data.slices import Slices
from gliomap.files import write_json
from gliomap.scoring import decisions, mixed_inputs
from gliomap.scoring.decisions import Labels


def main(argv: list[str]) -> None:
    """Write models/decisions/<method>.json from the validation predictions and slice labels. Opens no mask."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", help="row whose forward process is calibrated")
    parser.add_argument("--recipe", required=True)
    args = parser.parse_args(argv)
    with run.stage({"calibrate_labels": Labels, "anofpdm.quantile_high": float, "anofpdm.quantile_low": float}) as p:
        slices = Slices.open(Path("data/slices") / args.recipe)
        path = Path("predictions") / args.method / "val.npz"
        found = mixed_inputs.read(path, slices, "val", ("w", "cosine", "divergence"))
        ill = mixed_inputs.unhealthy(found, slices, "val")
        chosen = decisions.calibrate(found, ill, p["calibrate_labels"])
        made_by = {"kind": "forward", "method": args.method, "recipe": args.recipe}
        levels = {name: p[f"anofpdm.{name}"] for name in ("quantile_high", "quantile_low")}
        population = {
            "n_slices": len(ill),
            "n_unhealthy_slices": int(ill.sum()),
            "n_healthy_slices": int((~ill).sum()),
            "n_patients": int(found.index["patient"].nunique()),
        }
        write_json(Path("models/decisions") / f"{args.method}.json", made_by | chosen | levels | population)
    n = f"{population['n_unhealthy_slices']} unhealthy and {population['n_healthy_slices']} healthy validation slices"
    run.log(f"{args.method}: tau {chosen['tau'][0]:.5f}, accuracy {chosen['accuracy'][0]:.3f} over {n}")


if __name__ == "__main__":
    run.main(main)
