"""Typed parameters: params.yaml plus conf/scale/<scale>.yaml and conf/data/<data>.yaml, read into frozen dataclasses.

The dataclass of a section lives beside the code that uses it, so that one method's parameters never invalidate another's
stages. Here is only the reader: it fills `auto` from the scale, and refuses by name what it does not know.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from gliomap.base.errors import UserError

AUTO = "auto"


def number(*, min: float | None = None, max: float | None = None) -> Any:  # noqa: A002 - the words a reader expects
    """A dataclass field with a closed range and no default."""
    return dataclasses.field(metadata={"min": min, "max": max})


def read(sections: Mapping[str, type], root: str | Path = ".") -> dict[str, Any]:
    """The named sections of params.yaml under `root`, each as its type.

    `sections` maps a dotted key ("seed", "mmccd.train") to int, float, str, bool, a Literal, a tuple or a frozen dataclass
    whose fields are exactly the keys. The key "source" stands for the whole file conf/data/<data>.yaml, and a key that
    ends in .yaml ("conf/external/icts.yaml") for that whole file, as in dvc.yaml.
    Raises UserError naming file, key, found and expected.
    """
    root = Path(root)
    values = load(root / "params.yaml")
    scale_file = _choice(root, values, "scale")
    scale = load(scale_file)
    return {name: _section(name, kind, values, scale, root, scale_file) for name, kind in sections.items()}


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML 1.2 file (as DVC reads it: `1e-4` is a number). UserError if it cannot be had."""
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise UserError(f"{path}: no such file; there are: {names}")
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend that line") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: found {type(value).__name__}, expected a mapping of keys to values")
    return value


def _choice(root: Path, values: dict[str, Any], key: str) -> Path:
    if key not in values:
        raise UserError(f"{root / 'params.yaml'}: key {key!r} is missing; add it (see README.md)")
    return root / "conf" / key / f"{values[key]}.yaml"


def _section(name: str, kind: type, values: dict, scale: dict, root: Path, scale_file: Path) -> Any:
    if name == "source":
        path = _choice(root, values, "data")
        return convert(load(path), kind, str(path), "")
    if name.endswith(".yaml"):
        return convert(load(root / name), kind, name, "")
    path = str(root / "params.yaml")
    found, default = values, scale
    for depth, part in enumerate(name.split(".")):
        where = ".".join(name.split(".")[: depth + 1])
        if not isinstance(found, dict) or part not in found:
            raise UserError(f"{path}: key {where!r} is missing{_nearest(part, found)}")
        found = found[part]
        default = default.get(part) if isinstance(default, dict) else None
    return convert(fill(found, default, str(scale_file)), kind, path, name)


@dataclasses.dataclass(frozen=True)
class Unfilled:
    """An `auto` for which the scale file has no value; refused when its key turns out to be a known one."""

    scale_file: str


def fill(value: Any, default: Any, scale_file: str) -> Any:
    """`value` with every `auto` replaced by the scale file's value at the same key."""
    if isinstance(value, dict):
        inner = default if isinstance(default, dict) else {}
        return {k: fill(v, inner.get(k), scale_file) for k, v in value.items()}
    if value != AUTO:
        return value
    return Unfilled(scale_file) if default is None or isinstance(default, dict) else default


def convert(value: Any, kind: Any, path: str, name: str) -> Any:
    """`value` as `kind`, checked. UserError if it does not fit."""
    if isinstance(value, Unfilled):
        raise UserError(f"{path}: {name} is `auto`, but {value.scale_file} has no value for it; write one in either file")
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, kind, path, name)
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise _wrong(path, name, value, "one of " + ", ".join(map(str, get_args(kind))))
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(value, kind, path, name)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(path, name, value, "a list")
        return tuple(convert(item, get_args(kind)[0], path, f"{name}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise _wrong(path, name, value, "a mapping")
        return {k: convert(v, get_args(kind)[1], path, f"{name}.{k}") for k, v in value.items()}
    return _scalar(value, kind, path, name)


def _dataclass(value: Any, kind: type, path: str, name: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(path, name, value, "a mapping of keys to values")
    hints, fields = typing.get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise UserError(f"{path}: unknown key {_join(name, key)!r}{_nearest(key, fields)}")
    result = {}
    for key, field in fields.items():
        if key not in value:
            raise UserError(f"{path}: key {_join(name, key)!r} is missing{_nearest(key, value)}")
        result[key] = convert(value[key], hints[key], path, _join(name, key))
        _check_range(result[key], field.metadata, path, _join(name, key))
    return kind(**result)


def _union(value: Any, kind: Any, path: str, name: str) -> Any:
    for option in get_args(kind):
        try:
            return convert(value, option, path, name)
        except UserError:
            continue
    raise _wrong(path, name, value, " or ".join(_word(option) for option in get_args(kind)))


def _scalar(value: Any, kind: type, path: str, name: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and value is None:
        return ""
    if type(value) is not kind:
        raise _wrong(path, name, value, _word(kind))
    return value


def _check_range(value: Any, limits: Mapping[str, Any], path: str, name: str) -> None:
    low, high = limits.get("min"), limits.get("max")
    for item in value if isinstance(value, tuple) else (value,):
        if not isinstance(item, int | float) or isinstance(item, bool):
            continue
        if (low is not None and item < low) or (high is not None and item > high):
            bounds = f"at least {low}" if high is None else f"at most {high}" if low is None else f"{low} to {high}"
            raise _wrong(path, name, item, bounds)


def _wrong(path: str, name: str, value: Any, expected: str) -> UserError:
    return UserError(f"{path}: {name} is {value!r}, expected {expected}; change it there or by `dvc exp run -S {name}=...`")


def _word(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(kind, ", ".join(map(str, get_args(kind))) or str(kind))


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(str(word), [str(k) for k in known], 1) if isinstance(known, Mapping) else []
    return f"; did you mean {near[0]!r}?" if near else "; see params.yaml in the repository for all keys"
