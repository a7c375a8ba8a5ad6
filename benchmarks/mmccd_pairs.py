"""All 24 cells of MMCCD's Table 2: python benchmarks/mmccd_pairs.py --clone /path/to/a/clone

Switches all pairs on (tools/pairs.py) in a clone of this tree, best one in which `make repro` has run, and runs there what
their evaluation needs. Writes benchmarks/mmccd_pairs.json here; the clone stays as it is then.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from trial import ROOT, write

from gliomap.base.files import read_json
from gliomap.scoring import modality_table
from gliomap.scoring.modality_table import Cell, PairsPaper

DIGITS = 4
DICE = "dice_slice_tumour"
OURS = (DICE, f"{DICE}_lo", f"{DICE}_hi", f"{DICE}_oracle", "auprc_pooled_brain")
COUNTS = ("n_tumour_slices", "n_slices", "n_patients")


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clone", type=Path, required=True, help="folder of the clone")
    clone = parser.parse_args().clone.resolve()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": "src"}
    start = time.perf_counter()
    for command in (["python", "tools/pairs.py", "all"], ["dvc", "repro", "evaluate@mmccd"]):
        subprocess.run(command, cwd=clone, env=environment, check=True)
    seconds = round(time.perf_counter() - start)
    paper = PairsPaper.read(ROOT / "conf/papers/mmccd_table2.yaml")
    metrics = {path.stem: read_json(path) for path in (clone / "metrics/mmccd").glob("*.json")}
    cells = [record(cell) for cell in modality_table.cells(paper, metrics)]
    write("mmccd_pairs", "--clone FOLDER", convention=modality_table.CONVENTION, seconds=seconds, cells=cells)


def record(cell: Cell) -> dict[str, Any]:
    """A cell, with the paper's Dice and ours in units of 1."""
    numbers = {name: None if cell.ours[name] is None else round(cell.ours[name], DIGITS) for name in OURS}
    counts = {name: int(cell.ours[name]) for name in COUNTS}
    return {"input": cell.x, "translated": cell.y, "method": cell.key, "paper_dice": cell.printed, **numbers, **counts}


if __name__ == "__main__":
    main()
