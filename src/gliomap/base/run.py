"""What every stage shares: parameters with a guard, user errors, scratch folder, progress, provenance. No torch here."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from gliomap.base import params
from gliomap.base.errors import UserError

Item = TypeVar("Item")
PACKAGE = Path(__file__).resolve().parents[1]
LINE_EVERY = 15.0  # seconds between two progress lines where there is no terminal


def log(text: str) -> None:
    """One line to standard output, at once; of several processes of one training only the first speaks."""
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    tqdm.write(text, file=sys.stdout)  # above a bar, if there is one
    sys.stdout.flush()


def main(function: Callable[[list[str]], None]) -> None:
    """Run a stage: a UserError becomes one sentence on standard error and exit code 2; our own bugs keep their traceback."""
    start = time.perf_counter()
    try:
        function(sys.argv[1:])
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
    except BrokenPipeError:
        raise SystemExit(1) from None
    log(f"{Path(sys.argv[0]).stem} {' '.join(sys.argv[1:])}: done in {time.perf_counter() - start:.1f} s")


def parser(description: str | None) -> argparse.ArgumentParser:
    """For the arguments of a stage that works on one slice store, which is told it; the stage adds its own."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--store", required=True, help="which slices: folder name under data/slices/")
    return result


@contextmanager
def stage(sections: Mapping[str, type]) -> Iterator[dict[str, Any]]:
    """The typed parameters `sections` (see params.read), guarded: fails at the end if code or values changed meanwhile.

    DVC hashes dependencies after the command has run (treeverse/dvc#11058): without this guard an edit made while a training
    runs would be recorded as if the training had used it.
    """
    values = params.read(sections)
    before = _inputs(values)
    yield values
    after = _inputs(params.read(sections))
    changed = sorted(name for name in before if after.get(name) != before[name])
    if changed:
        raise UserError(f"changed while this stage ran: {', '.join(changed)}; nothing is recorded, run `dvc repro` again")


def _inputs(values: Mapping[str, Any]) -> dict[str, str]:
    result = {name: repr(value) for name, value in values.items()}
    for path in _loaded():
        result[str(path.relative_to(PACKAGE.parent))] = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    return result


def _loaded() -> list[Path]:
    """The files of this package that are imported now."""
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({Path(f).resolve() for f in files if f and Path(f).resolve().is_relative_to(PACKAGE)})


def code_hash(*, skip: Iterable[str] = ()) -> str:
    """md5 over the imported files of this package, without those whose path starts with one of `skip`."""
    digest = hashlib.md5(usedforsecurity=False)
    for path in _loaded():
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(tuple(skip)):
            digest.update(name.encode() + path.read_bytes())
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Twelve hexadecimal digits that name a JSON-like value (dataclasses allowed)."""
    text = json.dumps(value, sort_keys=True, default=_as_plain)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:12]


def _as_plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)


def home() -> Path:
    """The user's repository, also where DVC runs us in a temporary copy of it (`dvc exp run --temp`, `--queue`)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def work() -> Path:
    """Scratch that DVC never touches: checkpoints, caches, raw data. $GLIOMAP_WORK, else work/ in the user's repository."""
    path = Path(os.environ.get("GLIOMAP_WORK") or home() / "work")
    path.mkdir(parents=True, exist_ok=True)
    return path


def workers() -> int:
    """Processes worth starting: the cores that this process may use, or $GLIOMAP_WORKERS."""
    set_by_user = os.environ.get("GLIOMAP_WORKERS")
    if set_by_user:
        return max(1, int(set_by_user))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress(items: Iterable[Item], *, total: int | None = None, label: str = "", unit: str = "it") -> Iterator[Item]:
    """`items`, with a bar with rate and time left on a terminal, and plain lines elsewhere."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=unit, dynamic_ncols=True)
        return
    start = last = time.perf_counter()
    count = 0
    for count, item in enumerate(items, 1):
        yield item
        now = time.perf_counter()
        if now - last >= LINE_EVERY:
            last = now
            log(_line(label, count, total, unit, now - start))
    log(_line(label, count, total, unit, time.perf_counter() - start))


def _line(label: str, count: int, total: int | None, unit: str, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    left = f", {(total - count) / max(rate, 1e-9):.0f} s left" if total and count < total else ""
    return f"{label}: {count}{f'/{total}' if total else ''} {unit}, {rate:.2f} {unit}/s{left}"


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages, 'absent' where there is none."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
