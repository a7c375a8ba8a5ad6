"""Writes a slice store: cases through a recipe in parallel processes, appended in the order of the manifest.

Memory does not grow with the cohort: what exists at a time are the volumes of one case a process, and two prepared
cases a process on their way to the files.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gliomap.base import files, pool, run
from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES, Case
from gliomap.data.intensity import SHARES
from gliomap.data.recipe import Prepared, Recipe, prepare
from gliomap.data.scan import Scan, read_scan
from gliomap.data.slices import SPLITS

SHOWN = 10  # failed cases in an error message
ORIENTATION = {"rows": "posterior", "columns": "left"}  # where they lead


@dataclass(frozen=True)
class Job:
    """One case and its split."""

    case: Case
    split: str


@dataclass(frozen=True)
class Content:
    """What a store holds. modalities: channels; splits: those that need a slice; read: opens a case of those modalities."""

    modalities: tuple[str, ...] = MODALITIES
    splits: tuple[str, ...] = SPLITS
    read: Callable[[Case], Scan] = read_scan


class NpyWriter:
    """Appends arrays of one shape and dtype to an npy file; its header is right once it is closed."""

    def __init__(self, path: Path, shape: Sequence[int], dtype: Any) -> None:
        self.shape, self.dtype, self.count = tuple(shape), np.dtype(dtype), 0
        self.file = path.open("wb")
        self._header()
        self.start = self.file.tell()

    def _header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False}
        np.lib.format.write_array_header_1_0(self.file, header | {"shape": (self.count, *self.shape)})

    def append(self, entries: NDArray) -> None:
        """Add entries (n, *shape)."""
        if entries.shape[1:] != self.shape or entries.dtype != self.dtype:
            raise ValueError(f"entries {entries.shape} {entries.dtype}, expected (n, {self.shape}) {self.dtype}")
        self.file.write(np.ascontiguousarray(entries).data)
        self.count += len(entries)

    def close(self) -> None:
        """Complete the file."""
        self.file.seek(0)
        self._header()
        if self.file.tell() != self.start:  # numpy leaves room for 21 digits
            raise RuntimeError("the npy header has grown over the data")
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Writer:
    """The files of a store, being written to `folder`."""

    def __init__(self, folder: Path, size: int, content: Content, stack: ExitStack) -> None:
        plane, count = (size, size), len(content.modalities)
        shapes = {"images": ((count, *plane), np.float16), "brain": (plane, np.uint8)}
        shapes |= {f"masks_{split}": (plane, np.uint8) for split in SPLITS}
        shapes["quantiles"] = ((count, len(SHARES)), np.float32)
        self.arrays = {
            name: stack.enter_context(NpyWriter(folder / f"{name}.npy", shape, dtype))
            for name, (shape, dtype) in shapes.items()
        }
        self.folder, self.content = folder, content
        self.rows: list[pd.DataFrame] = []
        self.skipped: list[dict[str, str]] = []
        self.dropped: Counter[str] = Counter()

    def add(self, job: Job, prepared: Prepared) -> None:
        """Append a case."""
        self.dropped.update(prepared.dropped)
        if prepared.skipped:
            self.skipped.append({"case": job.case.id, "split": job.split, "reason": prepared.skipped})
            return
        self.arrays["images"].append(prepared.images)
        self.arrays["brain"].append(prepared.brain)
        self.arrays["quantiles"].append(prepared.quantiles[None])
        self.arrays[f"masks_{job.split}"].append(prepared.masks)
        columns = {"case": job.case.id, "patient": job.case.patient, "z": prepared.z, "split": job.split}
        columns |= {"brain_px": prepared.brain.sum((1, 2)), "mask_px": prepared.masks.sum((1, 2))}
        columns |= {"tumour_px": prepared.tumour_px, "tumour": prepared.tumour.astype(int)}
        self.rows.append(pd.DataFrame(columns))

    def finish(self) -> pd.DataFrame:
        """Write the tables and return all columns of all rows. UserError if a split has no slice."""
        counts = Counter({split: sum(len(r) for r in self.rows if r["split"].iloc[0] == split) for split in SPLITS})
        empty = [split for split in self.content.splits if not counts[split]]
        if empty:
            why = "; ".join(f"{s['case']}: {s['reason']}" for s in self.skipped[:SHOWN])
            expected = "expected at least one in each; use more cases, other splits, or a wider range of slices"
            raise UserError(f"preprocess: no slices are left for {' and '.join(empty)} ({why}), {expected}")
        table = pd.concat(self.rows, ignore_index=True)
        table.insert(0, "row", np.arange(len(table)))
        files.write_csv(self.folder / "index.csv", table[["row", "case", "patient", "z", "split", "brain_px"]])
        for split in SPLITS:
            labels = table.loc[table["split"] == split, ["row", "tumour_px", "tumour"]]
            files.write_csv(self.folder / f"labels_{split}.csv", labels)
        return table


def write(
    folder: Path, name: str, recipe: Recipe, jobs: Sequence[Job], workers: int, content: Content = Content()
) -> dict[str, Any]:
    """Write the store of a recipe to `folder`; returns what recipe.json says.

    Bytes depend on the cases, their order and the recipe, not on `workers`. Files get their names when all are whole,
    or none does. UserError: cases that cannot be used (all are counted), or a split without slices.
    """
    with _replacing_files(folder) as temporary:
        with ExitStack() as stack:
            writer = Writer(temporary, recipe.size, content, stack)
            _fill(writer, name, recipe, jobs, workers)
        report = _report(name, recipe, writer.finish(), writer)
        files.write_json(temporary / "recipe.json", report)
    return report


def _fill(writer: Writer, name: str, recipe: Recipe, jobs: Sequence[Job], workers: int) -> None:
    results = pool.in_order(partial(_prepared, recipe, writer.content.read), jobs, min(workers, len(jobs)))
    shown = run.progress(results, total=len(jobs), label=f"preprocess {name}", unit="case")
    failed = []
    for job, result in zip(jobs, shown, strict=True):
        if isinstance(result, UserError):
            failed.append(f"{job.case.id}: {result}")
        elif not failed:
            writer.add(job, result)
    if failed:
        listed = "".join(f"\n  {line}" for line in failed[:SHOWN])
        more = f"\n  ... and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        found = f"{len(failed)} of {len(jobs)} cases cannot be used"
        raise UserError(f"preprocess {name}: {found}, nothing is written:{listed}{more}")


def _prepared(recipe: Recipe, read: Callable[[Case], Scan], job: Job) -> Prepared | UserError:
    """One case (in a worker process)."""
    try:
        return prepare(read(job.case), recipe, job.split)
    except UserError as error:
        return error


def _report(name: str, recipe: Recipe, table: pd.DataFrame, writer: Writer) -> dict[str, Any]:
    """No path, no time: the same cohort gives the same bytes anywhere."""
    return {
        "recipe": name,
        "size": recipe.size,
        "modalities": writer.content.modalities,
        "pixel_mm": recipe.pixel_mm,
        "background": recipe.background,
        "orientation": ORIENTATION,
        "parameters": asdict(recipe),
        "counts": {split: dict(_counts(table[table["split"] == split])) for split in SPLITS},
        "dropped": dict(writer.dropped),
        "skipped": writer.skipped,
    }


def _counts(rows: pd.DataFrame) -> Iterable[tuple[str, int]]:
    yield "patients", rows["patient"].nunique()
    yield "cases", rows["case"].nunique()
    yield "slices", len(rows)
    yield "tumour_slices", int(rows["tumour"].sum())
    yield "tumour_slices_with_empty_mask", int(((rows["tumour_px"] > 0) & (rows["mask_px"] == 0)).sum())


@contextmanager
def _replacing_files(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` whose files move there at the end, or vanish if the block fails."""
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed run has left
    temporary.mkdir(parents=True)
    try:
        yield temporary
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def share(source: Path, target: Path) -> None:
    """The store `source` under a second name: hard links, or copies where the file system has none."""
    with _replacing_files(target) as temporary:
        for path in sorted(source.iterdir()):
            try:
                os.link(path, temporary / path.name)
            except OSError:
                shutil.copy2(path, temporary / path.name)


def jobs_of(cases: Sequence[Case], splits: Mapping[str, str]) -> list[Job]:
    """The cases with the split that `splits` (case id -> split) gives each."""
    return [Job(case, splits[case.id]) for case in cases]
