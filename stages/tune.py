"""Choose a baseline's setting and threshold on the validation slices: `python stages/tune.py ddim --store anofpdm`."""

import time
from pathlib import Path

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_json
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, chosen, cost
from gliomap.methods import restoration
from gliomap.methods.restoration import Restoration
from gliomap.scoring.mixed import Mixed, Thetas
from gliomap.tuning import Grid, Tuning


def main(argv: list[str]) -> None:
    """models/decisions/<key>.json and metrics/cost/tune-<key>.json. Reads masks_val.npy, and no other truth."""
    parser = run.parser(__doc__)
    parser.add_argument("key", choices=restoration.WAYS)
    arguments = parser.parse_args(argv)
    key, grid = arguments.key, f"tune.{arguments.key}"
    own = {"infer": Infer, "restoration": Restoration, "mixed": Mixed, "tune.theta": Thetas, grid: Grid}
    with run.stage({"seed": int, **own}) as p:
        points, infer = list(p[grid].points(key)), p["infer"]
        slices = Slices.open(Path("data/slices") / arguments.store)
        setting = Setting(slices, Noise(p["seed"]), infer, device.launch(infer.precision, 1))
        rows = chosen(slices.index, "val", infer.slice_step)
        if len(rows) == 0:
            raise UserError(f"{slices.folder / 'index.csv'}: no slices in split 'val', expected some; run preprocess")
        size, start = slices.images.shape[-1], time.perf_counter()
        nets = restoration.load(key, p["restoration"], Path("models"), size, setting.fabric.device)
        tuning = Tuning(key, nets, p["restoration"], p["mixed"], setting)
        decision, evaluations = tuning.decide(points, rows, p["tune.theta"].candidates())
        write_json(f"models/decisions/{key}.json", {"method": key, "recipe": slices.recipe, **decision})
        write_json(f"metrics/cost/tune-{key}.json", cost(time.perf_counter() - start, evaluations))
    if decision["at_edge"]:
        run.log(f"warning: threshold {decision['theta']:g} is the first or last tried; see tune.theta in params.yaml")
    chosen_at = ", ".join(f"{name} {value:g}" for name, value in decision["setting"].items())
    reached = f"theta {decision['theta']:g}, mixed Dice {decision['dice_mixed']:.4f} over {len(rows)} slices"
    run.log(f"{key}: {chosen_at}, {reached}")


if __name__ == "__main__":
    run.main(main)
