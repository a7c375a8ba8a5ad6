"""One chain of every variant, on its way from noise to a mask: `python stages/study_chains.py --store ddmd`."""

from pathlib import Path

import numpy as np
import torch

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_npz
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting
from gliomap.methods.ddmd import SECTIONS, Chains, DdmdScorer, scorer
from gliomap.methods.ddmd_training import MODALITIES, conditions, decoded

VARIANTS = ("cimd", "mini", "full", "light")  # keys under models/ddmd, in the order of the paper's figure 5
SHOWN = 10  # states after the first; fewer where the sampler makes fewer steps


def main(argv: list[str]) -> None:
    """predictions/ddmd/study.npz, of the validation slice with the largest tumour by its label. Reads no mask.

    row (1,); images (4, H, W) float16, T1, T1ce, T2, FLAIR; names (V,), the variants; completed (S + 1,) int64, noise
    levels of T that are passed; x (V, S + 1, H, W) float16, the state x_t there (no estimate of the mask), in units of a
    mask of 0..1. All variants start from the same noise.
    """
    arguments = run.parser(__doc__).parse_args(argv)
    with run.stage({"seed": int, "infer": Infer, **SECTIONS}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        row, found = largest(slices), []
        for name in run.progress(VARIANTS, label="study", unit="variants"):
            found.append(states(scorer(p, Path("models"), slices, setting.fabric.device, name), row, setting))
        write_npz(
            "predictions/ddmd/study.npz",
            row=row,
            images=slices.read(row, MODALITIES)[0].astype(np.float16),
            names=np.array(VARIANTS),
            completed=found[0][0],
            x=np.stack([x for _, x in found]),
        )


def largest(slices: Slices) -> np.ndarray:
    """int64 (1,): the row; the first of several. UserError if there are no validation slices."""
    labels = slices.labels("val")
    if labels.empty:
        raise UserError(f"{slices.folder / 'labels_val.csv'}: found no slice, expected one or more; run preprocess")
    return labels["row"].to_numpy(np.int64)[[labels["tumour_px"].to_numpy().argmax()]]


@torch.inference_mode()
def states(variant: DdmdScorer, row: np.ndarray, setting: Setting) -> tuple[np.ndarray, np.ndarray]:
    """(levels passed int64 (S + 1,), x float16 (S + 1, H, W)) of the variant's first chain, evenly spread over its steps."""
    batch = setting.batch(row, variant.modalities)
    chain = Chains(conditions(batch, variant.features), batch.rows, torch.zeros(1, dtype=torch.int64), setting.noise)
    shown = set(np.linspace(0, variant.own.steps, SHOWN + 1).round().astype(int).tolist())
    with setting.fabric.autocast():
        walk = enumerate(chain.walk(variant.denoiser, variant.own))
        kept = [(int(t), decoded(x, variant.mask_range)[0, 0].half().cpu()) for i, (t, x) in walk if i in shown]
    last = variant.denoiser.schedule.T - 1
    return np.array([last - t for t, _ in kept], np.int64), torch.stack([x for _, x in kept]).numpy()


if __name__ == "__main__":
    run.main(main)
