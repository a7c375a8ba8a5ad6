"""For the benchmarks beside: stages with other parameters on the slices and networks here, in a temporary folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from gliomap.base import files, run
from gliomap.engine import device

ROOT = Path(__file__).resolve().parents[1]


def trial(
    models: Sequence[str],
    changes: Mapping[str, Mapping[str, Any]],
    commands: Sequence[Sequence[str]],
    results: Sequence[str],
) -> list[dict[str, Any]]:
    """The JSON files `results` (below metrics/) that the stages write.

    models: folders below models/ that they need. changes: values by section of params.yaml. commands: a stage's name and
    its arguments, in order.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("conf", "data"):
            (folder / part).symlink_to(ROOT / part)
        (folder / "models").mkdir()
        for model in models:
            (folder / "models" / model).symlink_to(ROOT / "models" / model)
        yaml = YAML()
        values = yaml.load((ROOT / "params.yaml").read_text())
        for section, own in changes.items():
            values[section] |= own
        with (folder / "params.yaml").open("w") as stream:
            yaml.dump(values, stream)
        for script, *words in commands:
            command = [sys.executable, str(ROOT / "stages" / f"{script}.py"), *words]
            subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT / "src")}, check=True)
        return [files.read_json(folder / "metrics" / result) for result in results]


def write(name: str, words: str, **found: Any) -> None:
    """benchmarks/<name>.json: `found` beside the command `words`, the machine and the revision."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files.write_json(ROOT / "benchmarks" / f"{name}.json", {
        "command": f"python benchmarks/{name}.py {words}",
        "machine": {"cores": run.workers(), "device": device.available(), "versions": run.versions("torch", "numpy")},
        "revision": revision.stdout.strip(),
        "data": "phantom at scale=laptop, as params.yaml has them at that revision",
        **found,
    })  # fmt: skip
