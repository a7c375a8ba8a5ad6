"""MMCCD's maps by number of stripes and of steps: `python stages/study_mmccd.py flair-t2 --store mmccd`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_npz
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, chosen
from gliomap.methods.mmccd import SECTIONS, Mmccd, MmccdScorer, followed, scorer
from gliomap.methods.stripe_study import Tradeoff, by_stride, check_strides, members
from gliomap.methods.stripes import every_stripe

PATH = Path("predictions/mmccd/study.npz")


def main(argv: list[str]) -> None:
    """predictions/mmccd/study.npz, of validation slices with tumour by their label. Reads no mask.

    rows (S,); stride, steps (K,), each pair of the two once, steps slowest; evaluations (K, S) int64; map (K, S, H, W)
    float16. All settings start from the same noise; the other switches are those of section mmccd.
    """
    parser = run.parser(__doc__)
    parser.add_argument("pair", help="modalities x-y, such as flair-t2")
    arguments = parser.parse_args(argv)
    with run.stage({"seed": int, "infer": Infer, **SECTIONS, "tradeoff": Tradeoff}) as p:
        slices, own, study = Slices.open(Path("data/slices") / arguments.store), p["mmccd"], p["tradeoff"]
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        if not study.steps:
            raise UserError("params.yaml: tradeoff.steps is empty, expected numbers of DDIM steps such as 1, 2, 4; mend it")
        rows, found = picked(slices, p["infer"].slice_step, study.slices), []
        for steps in run.progress(study.steps, label="study", unit="numbers of steps"):
            changed = replace(own, mask_stride=1, ddim_steps=steps, spacing=study.spacing)
            trained = scorer({"mmccd": changed}, Path("models"), slices, setting.fabric.device, arguments.pair)
            found.append(maps(trained, changed, study, rows, setting))
        write_npz(
            PATH,
            rows=rows,
            stride=np.tile(np.array(study.strides, np.int64), len(study.steps)),
            steps=np.repeat(np.array(study.steps, np.int64), len(study.strides)),
            map=np.concatenate([made for made, _ in found]).astype(np.float16),
            evaluations=np.concatenate([calls for _, calls in found]),
        )


def picked(slices: Slices, step: int, count: int) -> np.ndarray:
    """int64 (S,): `count` validation slices with tumour out of those that inference scores, evenly spread over them.

    UserError if there is none.
    """
    rows = np.intersect1d(chosen(slices.index, "val", step), slices.rows("val", tumour=True))
    if not len(rows):
        path = slices.folder / "labels_val.csv"
        expected = "expected some; use more patients or a smaller infer.slice_step"
        raise UserError(f"{path}: none of the slices that inference scores has a tumour, {expected}")
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


@torch.inference_mode()
def maps(
    trained: MmccdScorer, own: Mmccd, study: Tradeoff, rows: np.ndarray, setting: Setting
) -> tuple[np.ndarray, np.ndarray]:
    """(maps float32 (K, S, H, W), network evaluations int64 (K, S)) of the rows at each of the strides."""
    check_strides(study.strides, trained.stripes.width)
    edge = followed(own.mask_edge, "mask_edge", own.follow)
    trained.stripes = every_stripe(trained.stripes.size, trained.stripes.width, min(study.strides), edge)
    parts = members(trained.stripes, study.strides, edge)
    size, found = setting.infer.batch, []
    with setting.fabric.autocast():
        for i in range(0, len(rows), size):
            found.append(by_stride(trained, setting.batch(rows[i : i + size], trained.modalities), setting.noise, parts))
    return tuple(torch.cat(values, 1).cpu().numpy() for values in zip(*found, strict=True))


if __name__ == "__main__":
    run.main(main)
