"""Peak memory and time of preprocessing against the number of cases: python benchmarks/preprocess_memory.py 4 8 16

Three generated cases of BraTS's size stand in for N by hard links under N names, so that every case is read from a NIfTI
file and processed. Each N and recipe runs in a process of its own. Writes benchmarks/preprocess_memory.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from gliomap.base import files, run
from gliomap.data import case, store
from gliomap.data.recipes import Anofpdm, Common, Tsgm

COHORT = 1251  # cases of BraTS 2021
SPLITS = ("train", "val", "test")
SHAPE = (240, 240, 155)
MIB = 1024**2
RECIPES = {  # at scale=paper: the default, the largest slices, the most slices
    "common": Common(size=128, crop=192, z_first=80, z_last=128, z_step=1, p_up=0.995, min_brain_mm2=2000),
    "tsgm": Tsgm(256, 80, 128, 1, p_lo=0.01, p_up=0.99, follow="code", loader="follow", min_level=15),
    "anofpdm": Anofpdm("code", size=128, z_step=1, p_up=0.99, norm="follow", min_sum=0.5),
}


def generate(root: Path, count: int) -> None:
    """`count` cases, three of them different."""
    for i in range(min(3, count)):
        rng = np.random.default_rng(i)
        axes = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
        brain = (axes[0] / 0.55) ** 2 + (axes[1] / 0.7) ** 2 + (axes[2] / 0.85) ** 2 < 1
        seg = ((axes[0] - 0.2) ** 2 + axes[1] ** 2 + (axes[2] - 0.3) ** 2 < 0.06) & brain
        for name in case.MODALITIES:
            smooth = ndimage.gaussian_filter(rng.normal(size=tuple(n // 5 for n in SHAPE)), 1)
            image = 500 + 200 * ndimage.zoom(smooth, 5, order=1) + rng.normal(0, 20, SHAPE) + 300 * seg
            write(root, i, name, np.where(brain, np.clip(image, 1, None), 0).astype(np.int16))
        write(root, i, "seg", seg.astype(np.uint8) * 2)
    for i in range(3, count):
        for name in (*case.MODALITIES, "seg"):
            target = path_of(root, i, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path_of(root, i % 3, name), target)


def path_of(root: Path, i: int, name: str) -> Path:
    return root / f"Case_{i:04d}" / f"Case_{i:04d}_{name}.nii.gz"


def write(root: Path, i: int, name: str, volume: np.ndarray) -> None:
    path = path_of(root, i, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(volume, np.diag([-1, -1, 1, 1])), path)


def measure(root: Path, name: str, workers: int) -> dict:
    """Run in a fresh process: preprocess all cases below `root` at paper scale."""
    jobs = [store.Job(c, SPLITS[min(i, 2)]) for i, c in enumerate(case.find_cases(root))]
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        store.write(Path(out) / name, name, RECIPES[name], jobs, workers)
        written = sum(p.stat().st_size for p in (Path(out) / name).iterdir())
    seconds = time.perf_counter() - start
    own, child = own_peak_mib(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest child
    return {
        "recipe": name, "cases": len(jobs), "workers": workers, "seconds_per_case": round(seconds / len(jobs), 2),
        "peak_parent_mib": round(own), "peak_child_mib": round(child), "peak_bound_mib": round(own + workers * child),
        "written_mib_per_case": round(written / MIB / len(jobs), 1),
        "projected_gib_for_1251_cases": round(written / 1024**3 / len(jobs) * COHORT, 1),
    }  # fmt: skip


def own_peak_mib() -> float:
    """Peak resident memory of this process. ru_maxrss would also count the process that started it (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Measure every recipe at every N."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="+", type=int, help="cohort sizes N")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "RECIPE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print("RESULT", json.dumps(measure(Path(arguments.one[0]), arguments.one[1], arguments.workers)))
        return
    rows = []
    for count in arguments.cases:
        with tempfile.TemporaryDirectory() as folder:
            generate(Path(folder), count)
            rows += [in_own_process(folder, name, count, arguments.workers) for name in RECIPES]
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    revision = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip()
    machine = {"cores": os.cpu_count(), "processor": platform.machine(), "versions": run.versions("numpy", "nibabel")}
    command = f"python benchmarks/preprocess_memory.py {' '.join(map(str, arguments.cases))} --workers {arguments.workers}"
    report = {"command": command, "machine": machine, "revision": revision, "runs": rows}
    files.write_json(Path(__file__).with_suffix(".json"), report)


def in_own_process(folder: str, name: str, count: int, workers: int) -> dict:
    """`measure` in a fresh process, so that peaks do not mix."""
    words = [sys.executable, __file__, str(count), "--workers", str(workers), "--one", folder, name]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    print(line, flush=True)
    return json.loads(line.removeprefix("RESULT "))


if __name__ == "__main__":
    main()
