"""DDMD's Dice against network evaluations: python benchmarks/ddmd_chains.py mini light --slice-step 12

Samples the trained models/ddmd/<variant> (run `dvc repro` first) with each number of chains and steps and each
sampler, and scores their own masks in the conventions of the paper. Writes benchmarks/ddmd_chains.json.
"""

import argparse

from trial import ROOT, trial, write

from gliomap.base import files

SETTINGS = [  # sampler, steps, chains
    ("ddim", 1, 1), ("ddim", 2, 1), ("ddim", 4, 1), ("ddim", 4, 5), ("ddim", 10, 1), ("ddim", 10, 5), ("ddim", 20, 1),
    ("ddim", 50, 5), ("dpm_solver_2m", 10, 5), ("heun", 10, 5), ("ancestral", 10, 5), ("ancestral", 50, 5),
    ("ancestral", 250, 1),
]  # fmt: skip
NUMBERS = (
    "dice_slice_tumour", "dice_slice_tumour_lo", "dice_slice_tumour_hi", "dice_pooled", "miou_pooled",
    "n_slices", "n_patients",
)  # fmt: skip


def measure(variant: str, setting: tuple[str, int, int], slice_step: int, recipe: str) -> dict:
    """Cost and scores of one variant at one setting."""
    key, common = f"ddmd_{variant}", ("--store", recipe)
    named = dict(zip(("sampler", "steps", "chains"), setting, strict=True))
    cost, scores = trial(
        ["ddmd", "discrepancy"],
        {"ddmd": named, "infer": {"slice_step": slice_step}},
        [
            ["infer", "ddmd", f"{key}={variant}", "--module", "ddmd", *common],
            ["evaluate_confusion", key, "--system", "ddmd", *common],
        ],
        [f"cost/infer-{key}.json", f"confusion/{key}.json"],
    )
    return {"variant": variant, **named, **cost, **{name: scores.get(name) for name in NUMBERS}}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+", help="folders under models/ddmd/")
    parser.add_argument("--slice-step", type=int, required=True, help="every n-th slice of a case is scored")
    parser.add_argument("--store", default="anofpdm")
    arguments = parser.parse_args()
    step, recipe = arguments.slice_step, arguments.store
    runs = [measure(variant, setting, step, recipe) for variant in arguments.variants for setting in SETTINGS]
    words = f"{' '.join(arguments.variants)} --slice-step {step} --store {recipe}"
    models = {name: files.read_json(ROOT / f"models/ddmd/{name}/model.json") for name in arguments.variants}
    write("ddmd_chains", words, target={name: model["networks"]["target"] for name, model in models.items()}, runs=runs)


if __name__ == "__main__":
    main()
