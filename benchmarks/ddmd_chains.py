"""DDMD's Dice against network evaluations: python benchmarks/ddmd_chains.py mini light --slice-step 12

Samples the trained models/ddmd/<variant> (run `dvc repro` first) with each number of chains and steps and each
sampler, and scores their own masks in the conventions of the paper. Writes benchmarks/ddmd_chains.json.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

from gliomap.base import files, run
from gliomap.engine import device

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = [  # sampler, steps, chains
    ("ddim", 1, 1), ("ddim", 2, 1), ("ddim", 4, 1), ("ddim", 4, 5), ("ddim", 10, 1), ("ddim", 10, 5), ("ddim", 20, 1),
    ("ddim", 50, 5), ("dpm_solver_2m", 10, 5), ("heun", 10, 5), ("ancestral", 10, 5), ("ancestral", 50, 5),
    ("ancestral", 250, 1),
]  # fmt: skip
NUMBERS = (
    "dice_slice_tumour", "dice_slice_tumour_lo", "dice_slice_tumour_hi", "dice_pooled", "miou_pooled",
    "n_slices", "n_patients",
)  # fmt: skip


def prepare(folder: Path, setting: tuple[str, int, int], slice_step: int) -> None:
    """A folder in which stages run with this setting on the data and networks of ROOT."""
    sampler, steps, chains = setting
    for name in ("data", "conf"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models").mkdir()
    for name in ("ddmd", "discrepancy"):
        (folder / "models" / name).symlink_to(ROOT / "models" / name)
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text())
    values["ddmd"] |= {"sampler": sampler, "steps": steps, "chains": chains}
    values["infer"]["slice_step"] = slice_step
    with (folder / "params.yaml").open("w") as stream:
        yaml.dump(values, stream)


def measure(variant: str, setting: tuple[str, int, int], slice_step: int, recipe: str) -> dict:
    """Cost and scores of one variant at one setting."""
    key = f"ddmd_{variant}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, setting, slice_step)
        commands = (
            ["infer", "ddmd", f"{key}={variant}", "--module", "ddmd"], ["evaluate_confusion", key, "--system", "ddmd"]
        )  # fmt: skip
        for script, *words in commands:
            command = [sys.executable, str(ROOT / "stages" / f"{script}.py"), *words, "--recipe", recipe]
            subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
        cost = files.read_json(folder / "metrics" / "cost" / f"infer-{key}.json")
        scores = files.read_json(folder / "metrics" / "confusion" / f"{key}.json")
    named = dict(zip(("sampler", "steps", "chains"), setting, strict=True))
    return {"variant": variant, **named, **cost, **{name: scores.get(name) for name in NUMBERS}}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+", help="folders under models/ddmd/")
    parser.add_argument("--slice-step", type=int, required=True, help="every n-th slice of a case is scored")
    parser.add_argument("--recipe", default="common")
    arguments = parser.parse_args()
    step, recipe = arguments.slice_step, arguments.recipe
    runs = [measure(variant, setting, step, recipe) for variant in arguments.variants for setting in SETTINGS]
    words = f"{' '.join(arguments.variants)} --slice-step {step} --recipe {recipe}"
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    models = {name: files.read_json(ROOT / f"models/ddmd/{name}/model.json") for name in arguments.variants}
    found = {
        "command": f"python benchmarks/ddmd_chains.py {words}",
        "revision": revision,
        "machine": {"cores": run.workers(), "device": device.available(), "versions": run.versions("torch", "numpy")},
        "target": {name: model["networks"]["target"] for name, model in models.items()},
        "data": "phantom at scale=laptop, as params.yaml has them at that revision",
        "runs": runs,
    }
    files.write_json(ROOT / "benchmarks" / "ddmd_chains.json", found)


if __name__ == "__main__":
    main()
