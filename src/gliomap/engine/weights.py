"""Released weights: raw.safetensors, ema.safetensors, model.json. Equal weights, equal bytes; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.base.files import read_json, replacing, write_json

Which = Literal["raw", "ema"]
States = Mapping[str, Mapping[str, Tensor]]  # network name -> state_dict
SEPARATOR = ":"  # between the network's name and the tensor's


def save(folder: str | Path, raw: States, ema: States, meta: Mapping[str, Any]) -> None:
    """Write both sets of weights and model.json = `meta` plus the number of parameters and buffers' elements per network.

    meta must hold "method" (its name) and should hold all that it takes to build the networks again. JSON-like, without
    times and absolute paths, so that the bytes are a function of the training.
    """
    folder = Path(folder)
    for which, states in (("raw", raw), ("ema", ema)):
        named = ((f"{net}{SEPARATOR}{key}", tensor) for net, state in states.items() for key, tensor in state.items())
        tensors = {name: _plain(tensor) for name, tensor in named}
        with replacing(folder / f"{which}.safetensors") as temporary:
            temporary.write_bytes(to_bytes(tensors))
    elements = {net: sum(tensor.numel() for tensor in state.values()) for net, state in raw.items()}
    write_json(folder / "model.json", {**meta, "elements": elements})


def load(folder: str | Path, which: Which, method: str | None = None) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """(model.json, network name -> state_dict on the CPU). UserError if a file is missing, damaged or of another method."""
    folder = Path(folder)
    meta = read_json(folder / "model.json")
    if method is not None and meta.get("method") != method:
        found = meta.get("method")
        raise UserError(f"{folder / 'model.json'}: weights of {found!r}, expected {method!r}; train that method first")
    path = folder / f"{which}.safetensors"
    if not path.is_file():
        raise UserError(f"{path}: no such file; train it (`dvc repro`), or restore it by `dvc checkout`")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file ({error}); `dvc checkout` it, or train again") from error
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        net, _, key = name.partition(SEPARATOR)
        states.setdefault(net, {})[key] = tensor
    _check(path, meta.get("elements"), states)
    return meta, states


def check_size(folder: Path, trained: int, found: int) -> None:
    """UserError unless the slices have the size, in pixels, that the model in `folder` was trained on."""
    if trained != found:
        sizes = f"trained on slices of {trained} px, found slices of {found} px"
        raise UserError(f"{folder / 'model.json'}: {sizes}; train again (`dvc repro`) or prepare the slices at that size")


def put(net: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> nn.Module:
    """`net` with the weights `state`. UserError, naming `source` and the first difference, if they do not fit."""
    own = net.state_dict()
    for key in sorted(own.keys() | state.keys()):
        found, expected = _shape(state.get(key)), _shape(own.get(key))
        if found != expected:
            raise UserError(f"{source}: {key} is {found}, expected {expected}: weights of another network; train again")
    net.load_state_dict(dict(state))
    return net


def _check(path: Path, expected: Mapping[str, int] | None, states: States) -> None:
    """UserError unless the file holds the networks that model.json names, with as many elements."""
    found = {net: sum(tensor.numel() for tensor in state.values()) for net, state in states.items()}
    if found != expected:
        raise UserError(f"{path}: elements per network are {found}, model.json says {expected}; train again")


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{tuple(tensor.shape)}"


def _plain(tensor: Tensor) -> Tensor:
    """On the CPU, contiguous and not shared: safetensors refuses channels-last and tied tensors."""
    return tensor.detach().cpu().contiguous().clone()
