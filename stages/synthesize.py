"""Paint synthetic tumours into the healthy slices: `python stages/synthesize.py single flair t2 multi --store tsgm`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import numpy as np
from lightning_fabric import Fabric

from gliomap.base import files, run
from gliomap.base.errors import UserError
from gliomap.data.pairs import PairTable
from gliomap.data.slices import Slices
from gliomap.data.store import NpyWriter
from gliomap.engine import device
from gliomap.engine.device import Compute
from gliomap.engine.weights import Which
from gliomap.methods.cyclegan import Painter
from gliomap.methods.variants import Variant
from gliomap.scoring import pictures
from gliomap.scoring.pairs_picture import Shown, Sums, picture

SECTIONS: dict[str, Any] = {"compute": Compute, "cyclegan.weights": Which, "cyclegan.slices": int}
SHOWN = 3  # training slices of each variant in the picture
DPI = 110
HEADING = "Synthetic tumours: training slices without tumour, and with the one that CycleGAN painted"


def main(argv: list[str]) -> None:
    """models/pairs/<variant>/ and plots/tsgm/pairs.png. Reads slice labels, no masks."""
    parser = run.parser(__doc__)
    parser.add_argument("variants", nargs="+", choices=get_args(Variant))
    arguments = parser.parse_args(argv)
    with run.stage(SECTIONS) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        fabric = device.launch(p["compute"].precision, 1)
        rows = np.sort(np.concatenate([slices.rows(split, tumour=False) for split in ("train", "val")]))
        if len(rows) == 0:
            raise UserError(f"{slices.folder}: found no healthy slice to train on, expected some; see preprocess")
        shown = []
        for variant in arguments.variants:
            painter = Painter.load(Path("models/cyclegan") / variant, p["cyclegan.weights"], slices, fabric.device)
            folder = Path("models/pairs") / variant
            write(folder, painter, rows, p["cyclegan.slices"], fabric)
            shown.append(examples(variant, PairTable.open(folder, slices), slices))
        with pictures.style():
            pictures.save(picture(shown, HEADING), Path("plots/tsgm/pairs.png"), DPI)


def write(folder: Path, painter: Painter, rows: np.ndarray, size: int, fabric: Fabric) -> None:
    """The files of one variant; `size` slices at a time. pairs.json holds the checks of spec 2.5."""
    slices, modalities = painter.slices, painter.modalities
    shape = (len(modalities), *slices.images.shape[2:])
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    sums = []
    with ExitStack() as stack:
        paths = [stack.enter_context(files.replacing(folder / f"{name}.npy")) for name in ("healthy", "synthetic", "rows")]
        writers = [stack.enter_context(NpyWriter(path, shape, np.uint8)) for path in paths[:2]]
        for part in run.progress(parts, label=f"synthesize {painter.variant}", unit="batches"):
            with fabric.autocast():
                pair = painter.paint(part)
            for writer, images in zip(writers, pair, strict=True):
                writer.append(images)
            sums.append(Sums.of(*pair, slices.brain_of(part)))
        with NpyWriter(paths[2], (), np.int64) as writer:
            writer.append(rows)
    total = sum(sums[1:], sums[0])
    checks = {"n": len(rows), "sanity": total.means(modalities)}
    files.write_json(folder / "pairs.json", {"variant": painter.variant, "modalities": modalities, **checks})


def examples(variant: str, pairs: PairTable, slices: Slices) -> Shown:
    """Training slices for the picture, evenly spread."""
    rows = pairs.rows[np.isin(pairs.rows, slices.rows("train", tumour=False))]
    rows = rows[np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int)]
    index = slices.index.loc[rows]
    labels = tuple(f"{case}, z {z:g}" for case, z in zip(index["case"], index["z"], strict=True))
    return Shown(variant, pairs.modalities, *pairs.of_rows(rows), labels)


if __name__ == "__main__":
    run.main(main)
