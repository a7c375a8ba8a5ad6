"""Score validation and test slices: `python stages/infer.py mmccd mmccd=flair-t2 --module mmccd --store mmccd`."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_json, write_npz
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Predicted, Setting, chosen, cost, predict, warm_up
from gliomap.engine.scorer import Scorer


def main(argv: list[str]) -> None:
    """predictions/<system>/{val,test}/<method>.npz and metrics/cost/infer-<method>.json. Reads no mask and no label."""
    parser = run.parser(__doc__)
    parser.add_argument("system", help="key under `systems` in conf/graph.yaml")
    parser.add_argument("methods", nargs="+", help="<method>=<pair>: its key, and what it works on, such as mmccd=flair-t2")
    parser.add_argument("--module", required=True, help="file name under src/gliomap/methods/, without .py")
    arguments = parser.parse_args(argv)
    module = importlib.import_module(f"gliomap.methods.{arguments.module}")
    with run.stage({"seed": int, "infer": Infer, **module.SECTIONS}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        for word in arguments.methods:
            method, _, pair = word.partition("=")
            scorer = module.scorer(p, Path("models"), slices, setting.fabric.device, pair)
            found = []
            for split, predicted in scored(scorer, setting, f"infer {method}"):
                write_npz(Place(arguments.system, method).predictions(split), **predicted.arrays)
                found.append(predicted)
            evaluations = np.concatenate([one.evaluations for one in found])
            write_json(f"metrics/cost/infer-{method}.json", cost(sum(one.seconds for one in found), evaluations))


def scored(scorer: Scorer, setting: Setting, label: str) -> Iterator[tuple[str, Predicted]]:
    """Of each split. UserError if it has no slices."""
    slices = setting.slices
    rows = {split: chosen(slices.index, split, setting.infer.slice_step) for split in ("val", "test")}
    for split, found in rows.items():
        if len(found) == 0:
            raise UserError(f"{slices.folder / 'index.csv'}: no slices in split {split!r}, expected some; run preprocess")
    warm_up(scorer, rows["val"][0], setting)
    for split, found in rows.items():
        yield split, predict(scorer, found, setting, f"{label} {split}")


if __name__ == "__main__":
    run.main(main)
