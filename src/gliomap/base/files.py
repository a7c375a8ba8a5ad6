"""Files appear whole or not at all: everything is written under a temporary name and renamed."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gliomap.base.errors import UserError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name at the end, or vanishes if the block fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity become null, because JSON has neither."""
    write_text(path, json.dumps(_plain(value), indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """The parsed file. UserError if it is missing or not JSON."""
    return json.loads(_read_text(path))


def write_csv(path: str | Path, frame: pd.DataFrame) -> None:
    """Write a table without its index, with the same line ends on every system."""
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | Path, **options: Any) -> pd.DataFrame:
    """The table in the file. UserError if it is missing."""
    _require(path)
    return pd.read_csv(path, **options)


def write_npz(path: str | Path, **arrays: np.ndarray) -> None:
    """Write compressed arrays; equal arrays give equal bytes (no time stamp, sorted names)."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of the file. UserError if it is missing or damaged."""
    _require(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{path}: not a readable npz file ({error}); run the stage that writes it again") from error


def mapped(path: str | Path, again: str) -> np.ndarray:
    """The npy file, memory-mapped. UserError if it is missing or damaged; `again` tells what writes it."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; {again}, or `dvc checkout` to restore it")
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: not a readable npy file ({error}); {again}") from error


def md5(path: str | Path) -> str:
    """md5 of the file's bytes, as DVC uses it."""
    digest = hashlib.md5(usedforsecurity=False)
    with Path(path).open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _require(path: str | Path) -> None:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; run the stage that writes it (`dvc repro`), or `dvc checkout` to restore it")


def _read_text(path: str | Path) -> str:
    _require(path)
    text = Path(path).read_text(encoding="utf-8")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON ({error}); run the stage that writes it again") from error
    return text


def _plain(value: Any) -> Any:
    """Numpy scalars and containers as plain JSON values; non-finite numbers as None."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
