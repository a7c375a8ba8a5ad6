"""Where a cohort comes from, by name: generated (phantom), a folder of yours (local), or public archives."""

from __future__ import annotations

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.data.case import NAMINGS, Case, find_cases
from gliomap.data.cohort import Cohort
from gliomap.data.fetch import fetch
from gliomap.data.location import Source, folder
from gliomap.data.phantom.cohort import generate_below
from gliomap.data.phantom.settings import SHAPE, PhantomSettings


def obtain(source: Source, limit: int, phantom: PhantomSettings, seed: int) -> list[Case]:
    """The first `limit` cases (0 = all) of the source by id, generated or fetched if need be; paths relative to its root.

    A folder of the user's is only read. Raises UserError if there are none.
    """
    root = folder(source)
    if source.kind == "phantom":
        cases = find_cases(root, generate_below(root, phantom, seed))
    else:
        if source.kind != "local":
            fetch(source.kind, root, source.synapse)
        cases = find_cases(root)
    if not cases:
        raise UserError(
            f"{root}: no cases found, expected files named {NAMINGS} at most four folders down; "
            f"set `root` in conf/data/{source.kind}.yaml to the folder that holds them"
        )
    run.log(f"{source.kind}: {len(cases)} cases in {root}" + (f", taking the first {limit}" if limit else ""))
    return cases[: limit or None]


def geometry(source: Source, cohort: Cohort, phantom: PhantomSettings) -> tuple[tuple[int, ...], float]:
    """(voxels, voxel edge in mm) that every volume must have. UserError if cohort.shape is not three numbers."""
    if source.kind == "phantom":
        return tuple(-(-n // phantom.voxel) for n in SHAPE), float(phantom.voxel)
    if len(cohort.shape) != 3:
        found = f"cohort.shape has {len(cohort.shape)} numbers"
        raise UserError(f"params.yaml: {found}, expected 3 (voxels in x, y, z), for BraTS 240, 240, 155; mend it there")
    return cohort.shape, 1.0
