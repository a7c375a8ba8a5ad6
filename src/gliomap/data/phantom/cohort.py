"""The phantom cohort: generated brain-tumour MRI, written in parallel, resumable, the same bytes every time."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

from gliomap.base import files, run
from gliomap.base.errors import UserError
from gliomap.base.pool import in_order
from gliomap.data.phantom import atlas
from gliomap.data.phantom.populations import POPULATIONS
from gliomap.data.phantom.settings import Knobs, PhantomSettings, affine
from gliomap.data.phantom.subject import make_subject
from gliomap.data.phantom.writer import case_name, is_whole, write_case

VERSION = "1.0"
CARD = "dataset.json"
GIB = str(1 << 30)
# of the workers: freed volumes stay with the process (glibc; 7 % of the time)
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": GIB, "MALLOC_TRIM_THRESHOLD_": GIB}
NOTICE = (
    "Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill "
    "University. Permission to use, copy, modify, and distribute this software and its documentation for any purpose and "
    "without fee is hereby granted, provided that the above copyright notice appear in all copies. The authors and McGill "
    "University make no representations about the suitability of this software for any purpose. It is provided \"as is\" "
    "without express or implied warranty. The authors are not responsible for any data loss, equipment damage, property "
    "loss, or injury to subjects or patients resulting from the use or misuse of this software package."
)


@dataclass(frozen=True)
class Job:
    """All that one case depends on, but the code."""

    seed: int
    index: int
    voxel: int
    tumour: bool
    knobs: Knobs
    population: str = "glioma"

    @property
    def name(self) -> str:
        """Of the case."""
        return case_name(self.index, POPULATIONS[self.population].prefix)

    @property
    def files(self) -> tuple[str, ...]:
        """What the case consists of."""
        return (*POPULATIONS[self.population].modalities, "seg")

    def identity(self) -> str:
        """Names the bytes of this case: arguments, code and template."""
        return run.fingerprint({"job": asdict(self), "code": _code(), "template": atlas.file_name()})


def generate(
    root: Path, settings: PhantomSettings, seed: int, workers: int, population: str = "glioma"
) -> list[str]:
    """Write the cohort to `root` and return the case names in order (`Phantom_001`, ...); see populations.py.

    Same seed and settings give the same bytes for any subset and any number of `workers` (processes). Whole cases are kept:
    a killed run goes on, a larger cohort reuses the smaller one. `root` must be absent, empty or an earlier cohort of this
    function; cases that no longer belong to it are removed. Raises UserError.
    """
    if settings.healthy > settings.subjects:
        raise UserError(
            f"params.yaml: phantom.healthy is {settings.healthy}, expected at most phantom.subjects ({settings.subjects})"
        )
    _require_own(root)
    diseased = settings.subjects - settings.healthy
    numbers = range(1, settings.subjects + 1)
    jobs = [Job(seed, i, settings.voxel, i <= diseased, settings.knobs, population) for i in numbers]
    names = [job.name for job in jobs]
    files.write_json(root / CARD, _card(settings, seed, names) | {"population": population})
    _remove_strangers(root, POPULATIONS[population].prefix, names)
    missing = [job for job in jobs if not is_whole(root / job.name, job.identity(), job.files)]
    if missing:
        _write_all(root, missing, min(workers, len(missing)))
    return names


def generate_below(root: Path, settings: PhantomSettings, seed: int, population: str = "glioma") -> str:
    """The subfolder of `root` with the cohort of these settings, made if need be by as many processes as are worth it.

    Each cohort has its own, so that experiments can run side by side. UserError as `generate`.
    """
    name = run.fingerprint({"settings": asdict(settings), "seed": seed})
    with _alone(root / f"{name}.lock"):
        generate(root / name, settings, seed, run.workers(), population)
    return name


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process is in this block with the same path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _card(settings: PhantomSettings, seed: int, names: list[str]) -> dict:
    return {
        "name": "gliomap phantom", "generated": True, "generator_version": VERSION, "seed": seed,
        "settings": asdict(settings), "cases": names, "template": "ICBM 2009a Nonlinear Symmetric, as bundled with nilearn",
        "statement": "Generated images of nobody: neither patients nor a reproduction of any published data set.",
        "notice": NOTICE,
    }  # fmt: skip


def _require_own(root: Path) -> None:
    """UserError unless `root` is absent, empty, or was written by `generate`."""
    if not root.is_dir() or not any(root.iterdir()):
        return
    card = root / CARD
    if not card.is_file() or files.read_json(card).get("generated") is not True:
        raise UserError(
            f"{root}: found files but no {CARD} of a generated cohort; name an empty folder (nothing was written)"
        )


def _remove_strangers(root: Path, prefix: str, names: list[str]) -> None:
    """Remove the generator's own cases that are not in `names` (from an earlier, larger cohort)."""
    for folder in root.glob(f"{prefix}_*"):
        if folder.is_dir() and folder.name not in names:
            shutil.rmtree(folder)


@lru_cache(maxsize=1)
def _code() -> str:
    """md5 of this package's modules."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_all(root: Path, jobs: list[Job], workers: int) -> None:
    make = partial(_make, root, atlas.cached(run.work() / "cache"))
    for _ in run.progress(in_order(make, jobs, workers, ENVIRONMENT), total=len(jobs), label="phantom", unit="case"):
        pass


@lru_cache(maxsize=1)
def _atlas(path: Path) -> atlas.Atlas:
    return atlas.load(path)


def _make(root: Path, template: Path, job: Job) -> None:
    """Generate and write one case (in a worker process)."""
    population = POPULATIONS[job.population]
    volumes, drawn = make_subject(
        _atlas(template), job.seed, job.index, job.voxel, job.tumour, job.knobs, job.population
    )
    record = {"identity": job.identity(), "generated": True, "generator_version": VERSION, "seed": job.seed, **drawn}
    write_case(root / job.name, volumes, affine(job.voxel, population.slices), record)
