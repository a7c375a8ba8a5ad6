"""Discrepancy maps of all slices from the two ensembles of autoencoders: `python stages/discrepancy.py --store ddmd`."""

import time
from pathlib import Path

from gliomap.base import run
from gliomap.base.files import write_json
from gliomap.data.slices import Slices
from gliomap.engine import device
from gliomap.methods import discrepancy


def main(argv: list[str]) -> None:
    """models/discrepancy/ and metrics/cost/discrepancy.json. Reads no mask and no label."""
    arguments = run.parser(__doc__).parse_args(argv)
    with run.stage({}):
        slices = Slices.open(Path("data/slices") / arguments.store)
        where = device.launch("32-true", 1).device  # the maps are small differences: bf16 would round them away
        start = time.perf_counter()
        modules = discrepancy.load(Path("models/ae"), slices, where)
        discrepancy.write(Path("models/discrepancy"), slices, modules, where)
        seconds = round(time.perf_counter() - start, 1)
        write_json("metrics/cost/discrepancy.json", {"seconds": seconds, "slices": len(slices.index)})


if __name__ == "__main__":
    run.main(main)
