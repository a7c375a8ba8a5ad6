"""Score validation and test slices: `python stages/infer.py mmccd mmccd --module mmccd --pair flair-t2 --recipe common`."""

import argparse
import importlib
import time
from pathlib import Path

import numpy as np

from gliomap import device, run
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.errors import UserError
from gliomap.files import write_json, write_npz
from gliomap.inference import Infer, Setting, chosen, cost, predict
from gliomap.place import Place


def main(argv: list[str]) -> None:
    """predictions/<system>/{val,test}/<method>.npz and metrics/cost/infer-<method>.json. Reads no mask and no label."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", help="key under `systems` in conf/graph.yaml")
    parser.add_argument("method", help="key under `methods` there")
    parser.add_argument("--module", required=True, help="file name under src/gliomap/methods/, without .py")
    parser.add_argument("--pair", default="", help="modalities that the method works on")
    parser.add_argument("--recipe", required=True, help="which slices: folder name under data/slices/")
    arguments = parser.parse_args(argv)
    place = Place(arguments.system, arguments.method)
    method = importlib.import_module(f"gliomap.methods.{arguments.module}")
    with run.stage({"seed": int, "infer": Infer, **method.SECTIONS}) as p:
        infer = p["infer"]
        slices = Slices.open(Path("data/slices") / arguments.recipe)
        setting = Setting(slices, Noise(p["seed"]), infer, device.launch(infer.precision, 1))
        scorer = method.scorer(p, Path("models"), slices, setting.fabric.device, arguments.pair)
        evaluations, start = [], time.perf_counter()
        for split in ("val", "test"):
            rows = chosen(slices.index, split, infer.slice_step)
            if len(rows) == 0:
                raise UserError(
                    f"data/slices/{arguments.recipe}/index.csv: no slices in split {split!r}, expected some; run preprocess"
                )
            arrays, taken = predict(scorer, rows, setting, f"infer {arguments.method} {split}")
            write_npz(place.predictions(split), **arrays)
            evaluations.append(taken)
        seconds = time.perf_counter() - start
        write_json(f"metrics/cost/infer-{arguments.method}.json", cost(seconds, np.concatenate(evaluations)))


if __name__ == "__main__":
    run.main(main)
