"""Where the raw data are: the chosen file conf/data/<data>.yaml and the folder that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gliomap.base import run
from gliomap.base.errors import UserError


@dataclass(frozen=True)
class Source:
    """Section "source". kind: how the cases are come by; root: their folder; synapse: entity id for brats2021, or empty."""

    kind: Literal["phantom", "local", "msd", "brats2020", "brats2021"]
    root: str
    synapse: str


def folder(source: Source) -> Path:
    """The absolute root of the raw data, existing or not.

    A relative root is below the user's repository, also in the temporary copy of an experiment; below `work/` it follows
    $GLIOMAP_WORK. UserError if no root is set.
    """
    if not source.root.strip():
        raise UserError(
            f"conf/data/{source.kind}.yaml: root is empty, expected the folder with your cases; "
            f"run `dvc exp run -S data={source.kind} -S conf/data/{source.kind}.yaml:root=/path/to/cases`"
        )
    return absolute(source.root)


def absolute(root: str) -> Path:
    """The folder that a `root` in a YAML file means, see `folder`."""
    path = Path(root).expanduser()
    if path.is_absolute():
        return path
    if path.parts[0] == "work":
        return run.work().joinpath(*path.parts[1:])
    return run.home() / path
