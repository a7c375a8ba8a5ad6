"""Choose the DDPMs' noise level on validation slices: `tune_rebuild.py ddpm_flair=ddpm/flair --store mmccd`."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from gliomap.base import run
from gliomap.base.files import write_json
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, chosen, cost, predict
from gliomap.level_tuning import decide, tumour_rows
from gliomap.methods import rebuild
from gliomap.methods.rebuild import Restore
from gliomap.methods.rebuild_training import Plan, plans
from gliomap.scoring import inputs
from gliomap.scoring.inputs import Inputs
from gliomap.scoring.masks import Postprocess
from gliomap.scoring.thresholds import Calibrate

LEVELS = tuple[float, ...]


def main(argv: list[str]) -> None:
    """models/levels/<key>.json and metrics/cost/tune-rebuild-<key>.json. Reads masks and labels of val, no other truth."""
    parser = run.parser(__doc__)
    parser.add_argument("networks", nargs="+", help="<row>=<kind>/<modality>; all but ddpm/<modality> are passed over")
    arguments = parser.parse_args(argv)
    own = {"infer": Infer, "rebuild.restore": Restore, "rebuild.noise_levels": LEVELS}
    with run.stage({"seed": int, **own, "postprocess": Postprocess, "calibrate": Calibrate}) as p:
        slices, infer = Slices.open(Path("data/slices") / arguments.store), p["infer"]
        setting = Setting(slices, Noise(p["seed"]), infer, device.launch(infer.precision, 1))
        rows = tumour_rows(slices, chosen(slices.index, "val", infer.slice_step))
        found = [tune(plan, p, setting, rows) for plan in plans(arguments.networks) if plan.kind == "ddpm"]
    for decision in found:
        run.log(f"{decision['network']}: noise level {decision['noise_level']:g}, Dice {decision['dice_slice_tumour']:.4f}")


def tune(plan: Plan, p: dict[str, Any], setting: Setting, rows: np.ndarray) -> dict[str, Any]:
    """Write and return the decision for one network, from its maps of the validation slices `rows`."""
    own, models, slices, start = p["rebuild.restore"], Path("models"), setting.slices, time.perf_counter()
    denoiser = rebuild.load_ddpm(plan, own, models, slices.images.shape[-1], setting.fabric.device)
    taken: list[np.ndarray] = []

    def scored(level: float) -> Inputs:
        scorer = rebuild.diffused(plan.modality, denoiser, own, level)
        arrays, evaluations, _ = predict(scorer, rows, setting, f"tune {plan.key} {level:g}")
        taken.append(evaluations)
        return inputs.beside(arrays, slices, "val", p["postprocess"])

    found = decide(p["rebuild.noise_levels"], scored, p["calibrate"], p["postprocess"])
    decision = {"network": plan.key, "recipe": slices.recipe, **found}
    write_json(rebuild.level_file(models, plan), decision)
    write_json(f"metrics/cost/tune-rebuild-{plan.key}.json", cost(time.perf_counter() - start, np.sum(taken, axis=0)))
    return decision


if __name__ == "__main__":
    run.main(main)
