"""What a stride over the noise levels costs AnoFPDM: python benchmarks/anofpdm_stride.py 1 5 20 60 --slice-step 12

Runs inference, calibration from labels and evaluation of this repository's trained model (after `dvc repro`) in a temporary
folder, once for each stride and style. Writes benchmarks/anofpdm_stride.json.
"""

import argparse

from trial import trial, write

NUMBERS = (
    "n_slices", "dice_mixed", "floor_all_empty_mixed", "specificity_healthy_slices", "dice_unhealthy_bypassed",
    "auprc_foreground_pooled_mixed", "accuracy_image", "balanced_accuracy_image", "auroc_image",
)  # fmt: skip


def measure(style: str, stride: int, slice_step: int, recipe: str) -> dict:
    """Cost and scores of one style at one stride."""
    key, common = f"anofpdm_{style}", ("--store", recipe)
    cost, scores = trial(
        ["cfg"],
        {"anofpdm": {"stride": stride, "more_w": [], "study": 0}, "infer": {"slice_step": slice_step}},
        [
            ["infer", "anofpdm", f"{key}={style}", "--module", "anofpdm", *common],
            ["calibrate_labels", key, *common],
            ["evaluate_mixed", key, *common],
        ],
        [f"cost/infer-{key}.json", f"mixed/{key}.json"],
    )
    return {"style": style, "stride": stride, **cost, **{name: scores.get(name) for name in NUMBERS}}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("strides", type=int, nargs="+")
    parser.add_argument("--slice-step", type=int, required=True, help="every n-th slice of a case is scored")
    parser.add_argument("--store", default="anofpdm")
    arguments = parser.parse_args()
    runs = [
        measure(style, stride, arguments.slice_step, arguments.store)
        for style in ("ddpm", "ddim")
        for stride in sorted(arguments.strides, reverse=True)
    ]
    words = f"{' '.join(map(str, arguments.strides))} --slice-step {arguments.slice_step} --store {arguments.store}"
    write("anofpdm_stride", words, runs=runs)


if __name__ == "__main__":
    main()
