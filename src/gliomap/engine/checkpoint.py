"""Checkpoints in scratch: one locked folder per training, one file in it, replaced whole.

They live outside DVC's outputs, because DVC deletes the outputs of a stage before it runs it.
"""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import replacing, write_json

LAST = "last.pt"


def folder(key: str, identity: Mapping[str, Any]) -> Path:
    """work/ckpt/<key>/<fingerprint of identity>: a training of other values, slices or code has another folder."""
    return run.work() / "ckpt" / key / run.fingerprint(identity)


@contextmanager
def locked(path: Path, identity: Mapping[str, Any]) -> Iterator[None]:
    """Make the folder and hold it for this process; torn files in it are dropped, with FRESH=1 the checkpoint too.

    The lock ends with the process, also by kill -9; a killed `dvc` may leave its training running: hence the lock.
    Raises UserError if another process holds the folder.
    """
    path.mkdir(parents=True, exist_ok=True)
    with (path / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{path}: another process is training this now; wait for it, or end it and start again"
            raise UserError(message) from None
        for torn in path.glob("*.tmp"):
            torn.unlink()
        if os.environ.get("FRESH", "") not in ("", "0"):
            (path / LAST).unlink(missing_ok=True)
        write_json(path / "identity.json", identity)
        yield


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the folder's checkpoint by `state` (tensors and plain values). A kill leaves the old one or the new one."""
    with replacing(path / LAST) as temporary, temporary.open("wb") as stream:
        torch.save(dict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())


def load(path: Path) -> dict[str, Any] | None:
    """The folder's checkpoint on the CPU, None if there is none. UserError if it cannot be read."""
    if not (path / LAST).is_file():
        return None
    try:
        return torch.load(path / LAST, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path / LAST}: not a whole checkpoint ({reason}); start over with FRESH=1") from error
