"""Time and memory of `make repro` in a fresh clone: python benchmarks/pipeline.py --into /path/to/an/empty/folder

Clones the committed tree, runs `make repro` (with a virtual environment of its own) and then `dvc repro` once more.
Writes benchmarks/pipeline.json here; the clone stays where it is. Linux only (sums the processes' proportional set size).
"""

import argparse
import contextlib
import os
import re
import subprocess
import time
from pathlib import Path

import psutil

from gliomap.base import files, run
from gliomap.engine import device

ROOT = Path(__file__).resolve().parents[1]
EVERY = 0.5  # seconds between two looks at the memory


def memory(process: psutil.Process) -> int:
    """Bytes of the process and its children; memory that several share is counted once."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total


def watched(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, int, str]:
    """(seconds, peak bytes, output) of a command that must succeed."""
    start, peak = time.perf_counter(), 0
    with (folder.parent / "output.txt").open("w+") as output:
        process = psutil.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                peak = max(peak, memory(process))
            time.sleep(EVERY)
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{text[-3000:]}")
    return seconds, peak, text


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True, help="folder for the clone; absent or empty")
    folder = parser.parse_args().into.resolve() / "gliomap"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    (folder / "dvc.lock").unlink(missing_ok=True)  # else results in git would count as up to date
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GLIOMAP_WORK")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    own = str(ROOT / ".venv" / "bin")
    environment["PATH"] = os.pathsep.join(p for p in environment["PATH"].split(os.pathsep) if p != own)
    seconds, peak, text = watched(["make", "repro"], folder, environment)
    with_venv = environment | {"PATH": f"{folder}/.venv/bin:{environment['PATH']}"}
    again, _, _ = watched([f"{folder}/.venv/bin/dvc", "repro"], folder, with_venv)
    stages = {name.strip(): float(s) for name, s in re.findall(r"(?m)^(\S[^\n:]*): done in ([\d.]+) s$", text)}
    command = ["git", "describe", "--always", "--dirty"]
    revision = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    files.write_json(ROOT / "benchmarks" / "pipeline.json", {
        "command": "make repro, in a fresh clone",
        "machine": {"cores": run.workers(), "device": device.available(), "versions": run.versions("torch", "numpy", "dvc")},
        "revision": revision.stdout.strip(),
        "scale": "laptop",
        "seconds": round(seconds, 1),
        "seconds_inside_the_stages": round(sum(stages.values()), 1),
        "seconds_of_a_second_repro": round(again, 1),
        "peak_gib": round(peak / 2**30, 2),
        "stages": stages,
    })  # fmt: skip


if __name__ == "__main__":
    main()
