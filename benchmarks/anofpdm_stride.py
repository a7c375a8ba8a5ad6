"""What a stride over the noise levels costs AnoFPDM: python benchmarks/anofpdm_stride.py 1 5 20 60 --slice-step 12

Runs inference, calibration from labels and evaluation of this repository's trained model (after `dvc repro`) in a temporary
folder, once for each stride and style. Writes benchmarks/anofpdm_stride.json.
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
NUMBERS = (
    "n_slices", "dice_mixed", "floor_all_empty_mixed", "specificity_healthy_slices", "dice_unhealthy_bypassed",
    "auprc_foreground_pooled_mixed", "accuracy_image", "balanced_accuracy_image", "auroc_image",
)  # fmt: skip


def prepare(folder: Path, stride: int, slice_step: int) -> None:
    """A folder in which stages run with that stride, on this repository's slices and models."""
    for name in ("conf", "data"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "models").mkdir()
    (folder / "models" / "cfg").symlink_to(ROOT / "models" / "cfg")
    yaml = YAML()
    values = yaml.load((ROOT / "params.yaml").read_text())
    values["anofpdm"] |= {"stride": stride, "more_w": [], "study": 0}
    values["infer"]["slice_step"] = slice_step
    with (folder / "params.yaml").open("w") as stream:
        yaml.dump(values, stream)


def measure(style: str, stride: int, slice_step: int, recipe: str) -> dict:
    """Cost and scores of one style at one stride."""
    key = f"anofpdm_{style}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, stride, slice_step)
        commands = (
            ["infer", "anofpdm", f"{key}={style}", "--module", "anofpdm"], ["calibrate_labels", key], ["evaluate_mixed", key]
        )  # fmt: skip
        for script, *words in commands:
            command = [sys.executable, str(ROOT / "stages" / f"{script}.py"), *words, "--recipe", recipe]
            subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
        cost = files.read_json(folder / "metrics" / "cost" / f"infer-{key}.json")
        scores = files.read_json(folder / "metrics" / "mixed" / f"{key}.json")
    return {"style": style, "stride": stride, **cost, **{name: scores.get(name) for name in NUMBERS}}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strides", type=int, nargs="+")
    parser.add_argument("--slice-step", type=int, required=True, help="every n-th slice of a case is scored")
    parser.add_argument("--recipe", default="common")
    arguments = parser.parse_args()
    runs = [
        measure(style, stride, arguments.slice_step, arguments.recipe)
        for style in ("ddpm", "ddim")
        for stride in sorted(arguments.strides, reverse=True)
    ]
    words = f"{' '.join(map(str, arguments.strides))} --slice-step {arguments.slice_step} --recipe {arguments.recipe}"
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files.write_json(ROOT / "benchmarks" / "anofpdm_stride.json", {
        "command": f"python benchmarks/anofpdm_stride.py {words}",
        "machine": {"cores": run.workers(), "device": device.available(), "versions": run.versions("torch", "numpy")},
        "revision": revision.stdout.strip(),
        "data": "phantom at scale=laptop, as params.yaml has them at that revision",
        "runs": runs,
    })  # fmt: skip


if __name__ == "__main__":
    main()
