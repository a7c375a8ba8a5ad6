"""What the paper's sampler makes of its two numbers, and of chance: `python stages/study_tsgm.py --store tsgm`."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_npz
from gliomap.base.params import number
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting
from gliomap.methods.tsgm import SECTIONS, Joint, Sampling, TsgmScorer, scorer
from gliomap.methods.variants import to_unit

RUNS = 3  # restorations by other noise, as in the paper's figure 8
PAIR = "tsgm/single"


@dataclass(frozen=True)
class Study:
    """Section `tsgm.study` of params.yaml: the sweeps of the paper's figure 7."""

    slices: int = number(min=1)  # validation slices, each of another patient; fewer where there are fewer patients
    snr: tuple[float, ...] = number(min=0)  # r of a correction
    steps: int = number(min=1)  # N while r varies
    levels: tuple[int, ...] = number(min=1)  # N, with r of tsgm.sampling


def main(argv: list[str]) -> None:
    """predictions/tsgm/study.npz, of validation slices with much tumour by their label. Reads no mask.

    rows (S,); modalities (4,); images (S, 4, H, W) float16 in [0, 1], as the network sees them; snr (K,), snr_residual
    (K, S, 4, H, W); levels (L,), levels_residual, levels_restored (L, S, 4, H, W); runs_restored (3, S, 4, H, W), by the
    sampler of tsgm.sampling. The sweeps are of the paper's sampler from pure noise, all from the same noise.
    """
    arguments = run.parser(__doc__).parse_args(argv)
    with run.stage({"seed": int, "infer": Infer, **SECTIONS, "tsgm.study": Study}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        trained = scorer(p, Path("models"), slices, setting.fabric.device, PAIR)
        own, study, rows = p["tsgm.sampling"], p["tsgm.study"], picked(slices, p["tsgm.study"].slices)
        paper = replace(own, sampler="pc", spacing="linspace", begin="noise")
        sweep = [replace(paper, snr=snr, steps=study.steps) for snr in study.snr]
        sweep += [replace(paper, steps=steps) for steps in study.levels]
        found = [restored(trained, each, 1, rows, setting) for each in run.progress(sweep, label="study", unit="settings")]
        runs = restored(trained, own, RUNS, rows, setting)
        images = seen(trained.restorer, rows, trained.modalities, setting)
        residual, samples = np.stack([np.abs(images - each[0]) for each in found]), np.stack([each[0] for each in found])
        cut = len(study.snr)
        write_npz(
            "predictions/tsgm/study.npz", rows=rows, modalities=np.array(trained.modalities), images=half(images),
            snr=np.array(study.snr, np.float64), snr_residual=half(residual[:cut]), levels=np.array(study.levels, np.int64),
            levels_residual=half(residual[cut:]), levels_restored=half(samples[cut:]), runs_restored=half(runs),
        )  # fmt: skip


def picked(slices: Slices, count: int) -> np.ndarray:
    """int64 (S,): of each of the `count` patients with the largest tumours the slice with the most, largest first.

    UserError if no validation slice has a tumour.
    """
    labels = slices.labels("val")
    labels = labels[labels["tumour"] == 1].assign(patient=lambda found: slices.index["patient"].to_numpy()[found["row"]])
    if labels.empty:
        path = slices.folder / "labels_val.csv"
        raise UserError(f"{path}: found no slice with tumour, expected some; change splits or preprocess in params.yaml")
    order = labels.sort_values(["tumour_px", "row"], ascending=[False, True])
    return np.array(order.drop_duplicates("patient")["row"][:count], np.int64)


@torch.inference_mode()
def restored(trained: TsgmScorer, own: Sampling, samples: int, rows: np.ndarray, setting: Setting) -> np.ndarray:
    """float32 (samples, S, 4, H, W): restorations with other values of `tsgm.sampling`."""
    restorer: Joint = replace(trained.restorer, own=own)
    background = setting.slices.background
    changed = TsgmScorer(restorer, trained.variant, setting.slices.modalities, background, samples, own.images)
    with setting.fabric.autocast():
        return changed.sampled(setting.batch(rows, trained.modalities), setting.noise)[1].cpu().numpy()


def seen(restorer: Joint, rows: np.ndarray, modalities: tuple[str, ...], setting: Setting) -> np.ndarray:
    """float32 (S, 4, H, W): the slices in the scale that the network works in."""
    unit = to_unit(torch.from_numpy(setting.slices.read(rows, modalities)), setting.slices.background)
    return restorer.seen(unit).numpy()


def half(x: np.ndarray) -> np.ndarray:
    """As it is stored."""
    return x.astype(np.float16)


if __name__ == "__main__":
    run.main(main)
