"""Toy slices and methods for the tests of the training loop; as a script it trains one, or a series in forked children.

python train_toys.py '{"root": ..., "kill_step": 3, "devices": 2, ...}' ...   each argument is one training, in order
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from gliomap.base.errors import UserError
from gliomap.engine import checkpoint
from gliomap.engine.contract import Batch, Train, adamw
from gliomap.engine.device import Compute
from gliomap.engine.train import Job, NonFiniteLoss, train_model

TRAIN = Train(
    steps=12,
    batch=4,
    lr=1e-2,
    weight_decay=0.01,
    warmup=3,
    decay_from=0.5,
    clip=1.0,
    ema=0.9,
    log_every=5,
    save_every=4,
    val_slices=3,
)
COMPUTE = Compute(precision="32-true", devices=1)


class ToySlices:
    """`count` random slices of `size` pixels, as gliomap.data.slices.Slices gives them."""

    def __init__(self, count: int = 10, size: int = 8) -> None:
        self.images = np.random.default_rng(5).normal(size=(count, 2, size, size)).astype(np.float16)
        self.index = pd.DataFrame(
            {"row": range(count), "case": [f"case{i // 4}" for i in range(count)], "z": range(70, 70 + count)}
        )

    def read(self, rows: np.ndarray, modalities: tuple[str, ...]) -> np.ndarray:
        channels = [("t2", "flair").index(name) for name in modalities]
        return self.images[np.asarray(rows)][:, channels].astype(np.float32)

    def brain_of(self, rows: np.ndarray) -> np.ndarray:
        return self.images[np.asarray(rows), 0] > -1


class ToyMethod:
    """A denoiser with group norm and dropout: everything in which a resumed training could differ."""

    name = "toy"

    def __init__(
        self, dropout: float = 0.2, modalities: tuple[str, ...] = ("flair",), poison: tuple[int, float] | None = None
    ):
        width = 8
        self.modalities, self.arguments, self.poison = modalities, {"net": {"dropout": dropout, "width": width}}, poison
        head = nn.Conv2d(len(modalities), width, 3, padding=1)
        tail = nn.Conv2d(width, 1, 3, padding=1)
        self.nets = {"net": nn.Sequential(head, nn.GroupNorm(2, width), nn.SiLU(), nn.Dropout(dropout), tail)}
        self.steps_seen: list[int] = []

    def optimisers(self, train: Train) -> dict[str, torch.optim.Optimizer]:
        return {"net": adamw(self.nets["net"].parameters(), train)}

    def losses(self, batch: Batch, noise) -> Iterator[tuple[str, Tensor]]:
        self.steps_seen.append(batch.step)
        eps = noise.normal("eps", batch.rows, batch.step, tuple(batch.images.shape[1:]))
        loss = (self.nets["net"](batch.images + eps.to(batch.images.device)).float() - batch.images[:, :1]).square().mean()
        if self.poison and batch.step == self.poison[0]:
            loss = loss * self.poison[1]
        yield "net", loss


def tree(folder: Path) -> dict[str, bytes]:
    """All files under a folder, by relative name."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _die_at(step: int) -> type[ToyMethod]:
    class Dying(ToyMethod):
        def losses(self, batch: Batch, noise) -> Iterator[tuple[str, Tensor]]:
            if batch.step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            yield from super().losses(batch, noise)

    return Dying


def _die_in_save(number: int) -> None:
    """The `number`-th checkpoint of this process is half written when the process is killed."""
    left, whole = [number], torch.save

    def torn(state: dict, stream) -> None:
        left[0] -= 1
        if left[0]:
            return whole(state, stream)
        stream.write(b"half a file")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.torch.save = torn


def train_one(spec: dict) -> None:
    """One training as the JSON-like `spec` says; keys of Train and Compute overrule TRAIN and COMPUTE."""
    root = Path(spec["root"])
    os.environ["GLIOMAP_WORK"] = str(root / "work")
    os.environ["FRESH"] = spec.get("fresh", "")
    pick = lambda base: {name: spec.get(name, getattr(base, name)) for name in base.__dataclass_fields__}  # noqa: E731
    train, compute = Train(**pick(TRAIN)), Compute(**pick(COMPUTE))
    kind = _die_at(spec["kill_step"]) if "kill_step" in spec else ToyMethod
    if "kill_save" in spec:
        _die_in_save(spec["kill_save"])
    job = Job("a", spec.get("seed", 1), {"train": train, "compute": compute}, root)
    train_model(job, lambda: kind(spec.get("dropout", 0.2)), ToySlices(), np.arange(7), train, compute, np.arange(7, 10))


def _in_child(spec: dict) -> int:
    """Exit code of a forked child that trains; minus the signal if one killed it."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            train_one(spec)
        except UserError as error:
            sys.stderr.write(f"{error}\n")
            code = 2
        except NonFiniteLoss as error:
            sys.stderr.write(f"{error}\n")
            code = 3
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    specs = [json.loads(argument) for argument in sys.argv[1:]]
    if len(specs) == 1:
        train_one(specs[0])
    else:
        sys.stderr.write(f"codes {[_in_child(spec) for spec in specs]}\n")
