"""Every step of the forward process for a few validation slices: `python stages/study_forward.py ddim --store anofpdm`."""

from pathlib import Path

import numpy as np
import torch

from gliomap.base import run
from gliomap.base.files import write_npz
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, chosen
from gliomap.methods.anofpdm import SECTIONS, Anofpdm, AnofpdmScorer, scorer
from gliomap.methods.forward import Forward


def main(argv: list[str]) -> None:
    """predictions/anofpdm/study_<style>.npz, from slices with tumour by their label first. Reads no mask.

    rows (s,), steps (K,); stack_h, stack_ref (s, K, H, W) float16, errors of each step, mean over the modalities; x_h,
    x_ref (s, K, H, W) float16, its predictions of FLAIR; end (s, 2), the end steps of FLAIR and T2 as levels.
    """
    parser = run.parser(__doc__)
    parser.add_argument("style", choices=("ddpm", "ddim"))
    arguments = parser.parse_args(argv)
    with run.stage({"seed": int, "infer": Infer, **SECTIONS}) as p:
        own: Anofpdm = p["anofpdm"]
        slices = Slices.open(Path("data/slices") / arguments.store)
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        forward_process = scorer(p, Path("models"), slices, setting.fabric.device, arguments.style)
        rows = picked(slices, p["infer"].slice_step, own.study)
        size = max(1, p["infer"].batch // 4)  # whole stacks are kept
        parts = [rows[i : i + size] for i in range(0, len(rows), size)]
        found = [study(forward_process, part, setting) for part in run.progress(parts, label="study", unit="batches")]
        arrays = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
        write_npz(
            f"predictions/anofpdm/study_{arguments.style}.npz", rows=rows, steps=forward_process.levels.numpy(), **arrays
        )


def picked(slices: Slices, step: int, count: int) -> np.ndarray:
    """int64: `count` validation slices out of those that inference scores, evenly spread, with tumour before without."""
    rows = chosen(slices.index, "val", step)
    ill = np.isin(rows, slices.rows("val", tumour=True))
    ordered = []
    for part in (rows[ill], rows[~ill]):
        left = count - sum(map(len, ordered))
        places = np.unique(np.linspace(0, len(part) - 1, min(left, len(part))).round().astype(int)) if left > 0 else []
        ordered.append(part[np.asarray(places, np.int64)])
    return np.concatenate(ordered)


@torch.inference_mode()
def study(forward_process: AnofpdmScorer, rows: np.ndarray, setting: Setting) -> dict[str, np.ndarray]:
    """All steps of the rows; the arrays of `main`."""
    batch = setting.batch(rows, forward_process.modalities)
    forward, steps = Forward(batch.images, forward_process.rules), []
    with setting.fabric.autocast():
        for c, n in forward_process.walk(batch, setting.noise):
            x_h, x_ref = forward.predictions(c, n)
            s_h, s_ref = forward.add(c, n)
            steps.append((s_h[:, 0].mean(1), s_ref[:, 0].mean(1), x_h[:, 0, 0], x_ref[:, 0, 0]))
    stacks = (torch.stack(values, 1).half().cpu().numpy() for values in zip(*steps, strict=True))
    found = dict(zip(("stack_h", "stack_ref", "x_h", "x_ref"), stacks, strict=True))
    return found | {"end": forward_process.levels[forward.end[:, 0].cpu()].numpy()}


if __name__ == "__main__":
    run.main(main)
