"""`fit`: the one training loop of all methods, and `train_model`: a whole training as a stage needs it.

A run is a function of (seed, step): batch, noise and dropout of a step follow from these two alone. So a checkpoint needs no
generator state, and a training that was killed at any moment ends in the same weights as one that was not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_json
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import checkpoint, device, weights
from gliomap.engine.batches import Feed, content_hash
from gliomap.engine.contract import Batch, Method, Train
from gliomap.engine.device import Compute

__all__ = ["Batch", "Compute", "Job", "Method", "NonFiniteLoss", "State", "Train", "fit", "lr_factor", "train_model"]

# Code that cannot change what is learned; the slices count by their content.
NEUTRAL = ("base/", "engine/weights.py", "engine/checkpoint.py", "engine/device.py", "data/")
DIGITS = 6  # significant digits in log.csv


class NonFiniteLoss(FloatingPointError):
    """The loss became nan or infinite; the message names the step and the slices of its batch."""


@dataclass(frozen=True)
class Job:
    """One training: its name, and all that its result depends on besides code and slices."""

    key: str  # which of the method's models, "flair-t2": folder name under models/<method>/
    seed: int
    values: Mapping[str, Any]  # the stage's parameters by section; "compute" is left out of the identity
    root: Path = Path(".")  # where models/ and metrics/ are


class State:
    """All that a checkpoint holds: networks, averaged networks, optimisers, step, curves and seconds."""

    def __init__(self, method: Method, train: Train) -> None:
        self.nets = nn.ModuleDict(method.nets)
        self.ema = AveragedModel(self.nets, multi_avg_fn=get_ema_multi_avg_fn(train.ema)) if train.ema > 0 else None
        self.optimisers = method.optimisers(train)
        for group in self._groups():
            group["initial_lr"] = group["lr"]
        self.step = 0  # steps done
        self.log: list[dict[str, float]] = []
        self.losses: dict[str, list[float]] = {}  # by optimiser, one a step, since the last row of the log
        self.fresh: dict[str, list[Tensor]] = {}  # the newest of them, still on the device
        self.turns: dict[str, int] = {}  # by optimiser, losses per step
        self.seconds = 0.0

    def averaged(self) -> nn.ModuleDict:
        """The networks with averaged weights; the raw ones where nothing is averaged."""
        return self.nets if self.ema is None else self.ema.module

    def set_lr(self, factor: float) -> float:
        """Set every learning rate to `factor` times its initial value; the first one is returned."""
        for group in self._groups():
            group["lr"] = group["initial_lr"] * factor
        return self._groups()[0]["lr"]

    def settle(self) -> tuple[int, str, float] | None:
        """Move the newest losses to the CPU. The first non-finite one as (step, optimiser, loss), or None."""
        bad = []
        for name, tensors in self.fresh.items():
            known = self.losses.setdefault(name, [])
            known.extend(torch.stack(tensors).tolist() if tensors else [])
            last = len(known) - 1
            bad += [
                (self.step - 1 - (last - i) // self.turns[name], name, loss)
                for i, loss in enumerate(known) if not math.isfinite(loss)
            ]  # fmt: skip
        self.fresh = {}
        return min(bad, default=None)

    def means(self) -> dict[str, float]:
        """Mean loss by optimiser since the last call, as columns: `loss`, or `loss_<optimiser>` of several."""
        means = {name: math.fsum(losses) / len(losses) for name, losses in self.losses.items()}
        self.losses = {}
        return _columns("loss", means)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values only, so that it loads without unpickling code."""
        return {
            "nets": self.nets.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            **{name: getattr(self, name) for name in ("step", "log", "losses", "seconds")},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.nets.load_state_dict(state["nets"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        self.step, self.log, self.losses, self.seconds = (state[name] for name in ("step", "log", "losses", "seconds"))

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]


def lr_factor(step: int, train: Train) -> float:
    """Learning rate of a step (from 0) as a share of the full one: linear warm-up, constant, linear fall to 0."""
    rise = min(1.0, (step + 1) / train.warmup) if train.warmup else 1.0
    start = train.decay_from * train.steps
    return rise * (1.0 if step < start else (train.steps - step) / (train.steps - start))


def fit(method: Method, feed: Feed, train: Train, job: Job, folder: Path, held_out: Feed | None = None) -> State:
    """Train `method` on the batches of `feed` from the checkpoint in `folder`, if there is one, to the last step.

    Per step, for each pair (optimiser, loss) that the method yields: gradient, mean over processes, clipping, optimiser
    step; then the averaged weights. Every `save_every` steps and at the end the state is saved in `folder`. `held_out`
    gives the slices of val_loss. Returns the last state. Raises NonFiniteLoss, with the last checkpoint left as it is.
    """
    fabric, noise, label = feed.fabric, Noise(job.seed), f"{method.name}/{job.key}"
    for net in method.nets.values():
        net.to(fabric.device).train()
    state = State(method, train)
    saved = checkpoint.load(folder)
    if saved is not None:
        state.load_state_dict(saved)
        _say(fabric, f"{label}: continues from the checkpoint of step {state.step} of {train.steps}")
    clock = time.perf_counter() - state.seconds
    steps = range(state.step, train.steps)
    if fabric.is_global_zero and steps:
        steps = run.progress(steps, total=len(steps), label=label, unit="steps")
    for step in steps:
        torch.manual_seed(_step_seed(job.seed, step, fabric.global_rank))  # dropout
        lr = state.set_lr(lr_factor(step, train))
        _take_step(method, state, feed.batch(step, train.batch), train.clip, noise, fabric)
        state.step = step + 1
        logs = state.step % train.log_every == 0 or state.step == train.steps
        saves = state.step % train.save_every == 0 or state.step == train.steps
        if logs or saves or fabric.device.type == "cpu":  # on a GPU every look at a loss waits for the device
            bad = state.settle()
            if bad is not None:
                raise _non_finite(bad, label, feed, train.batch)
        if logs:
            row = {"step": state.step, "lr": lr, **state.means(), **_validation(method, held_out, train.batch, noise)}
            state.log.append(row)
            shown = (f"{name} {value:.4g}" for name, value in row.items() if name != "step")
            _say(fabric, f"{label}: step {state.step}, {', '.join(shown)}")
        if saves and fabric.is_global_zero:
            state.seconds = time.perf_counter() - clock
            checkpoint.save(folder, state.state_dict())
    return state


def train_model(
    job: Job,
    build: Callable[[], Method],
    slices: Slices,
    rows: np.ndarray,
    train: Train,
    compute: Compute,
    held_out: np.ndarray | None = None,
) -> Path:
    """Train what `build` makes on `rows` of the slices; the folder models/<method>/<key>/ with the results.

    `build` is called once the device is known and torch's generator has the seed: the initial weights are a function of
    it. Written are raw.safetensors, ema.safetensors, model.json, log.csv and metrics/cost/train-<method>-<key>.json.
    `held_out`: rows for val_loss. Raises UserError if another process is at the same training, if there are no rows, or
    if the batch cannot be shared out evenly.
    """
    fabric = device.launch(compute.precision, compute.devices)
    if train.batch % fabric.world_size:
        raise UserError(f"params.yaml: batch is {train.batch}, expected a multiple of the {fabric.world_size} devices")
    torch.manual_seed(job.seed)
    method = build()
    feed = Feed(slices, rows, method.modalities, job.seed, fabric)
    shown = _spread(held_out, train.val_slices)
    held_out_feed = Feed(slices, shown, method.modalities, job.seed, fabric) if len(shown) else None
    identity = _identity(method, job, train, feed, shown) | {"precision": device.resolve(compute.precision)}
    folder = checkpoint.folder(f"{method.name}-{job.key}", identity)
    counts = f"{train.steps} steps of {train.batch} out of {len(rows)} slices"
    _say(fabric, f"{method.name}/{job.key}: {counts} on {device.available()}, {identity['precision']}")
    with ExitStack() as stack:
        _claim(stack, fabric, folder, identity)
        state = fit(method, feed, train, job, folder, held_out_feed)
        out = job.root / "models" / method.name / job.key
        if fabric.is_global_zero:
            _write(out, method, job, state, identity)
        fabric.barrier()
    return out


def _claim(stack: ExitStack, fabric: Fabric, folder: Path, identity: Mapping[str, Any]) -> None:
    """Lock the folder on rank 0 until `stack` closes. UserError in every process if it is taken."""
    problem = ""
    if fabric.is_global_zero:
        try:
            stack.enter_context(checkpoint.locked(folder, identity))
        except UserError as error:
            problem = str(error)
    problem = fabric.broadcast(problem)
    if problem:
        raise UserError(problem)


def _identity(method: Method, job: Job, train: Train, feed: Feed, shown: np.ndarray) -> dict[str, Any]:
    """What makes this training this one: equal identities mean equal results. JSON-like."""
    own = {name: value for name, value in job.values.items() if name != "compute" and value is not train}
    recipe = {name: value for name, value in _as_dict(train).items() if name != "save_every"}
    data = content_hash(feed.slices, np.concatenate([feed.rows, shown]), method.modalities)
    return {
        "method": method.name,
        "key": job.key,
        "seed": job.seed,
        "train": recipe,
        "values": {name: _as_dict(value) for name, value in own.items()},
        "networks": method.arguments,
        "modalities": list(method.modalities),
        "data": data,
        "code": run.code_hash(skip=NEUTRAL),
    }


def _write(out: Path, method: Method, job: Job, state: State, identity: dict[str, Any]) -> None:
    """The stage's outputs, from the finished state."""
    raw = {name: net.state_dict() for name, net in state.nets.items()}
    ema = {name: net.state_dict() for name, net in state.averaged().items()}
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in state.nets.items()}
    versions = run.versions("gliomap", "torch", "lightning-fabric", "numpy")
    weights.save(out, raw, ema, {**identity, "parameters": parameters, "versions": versions})
    rows = [{name: float(f"{value:.{DIGITS}g}") for name, value in row.items()} for row in state.log]
    write_csv(out / "log.csv", pd.DataFrame(rows).astype({"step": int}))
    cost = {"seconds": round(state.seconds, 1), "steps": state.step, "parameters": sum(parameters.values())}
    file = f"train-{method.name}-{job.key}.json"
    write_json(job.root / "metrics" / "cost" / file, {**cost, "device": device.available()})


def _take_step(method: Method, state: State, batch: Batch, clip: float, noise: Noise, fabric: Fabric) -> None:
    """One optimiser step for each loss of the method on this batch, then the averaged weights."""
    state.turns = {}
    for name, loss in _losses(method, batch, noise, fabric):
        optimiser = state.optimisers[name]
        optimiser.zero_grad()
        fabric.backward(loss)
        _average_gradients(optimiser, fabric)
        if clip:
            clip_grad_norm_(_parameters(optimiser), clip)
        optimiser.step()
        state.turns[name] = state.turns.get(name, 0) + 1
        state.fresh.setdefault(name, []).append(fabric.all_reduce(loss.detach().clone(), reduce_op="mean"))
    if state.ema is not None:
        state.ema.update_parameters(state.nets)


def _losses(method: Method, batch: Batch, noise: Noise, fabric: Fabric) -> Iterator[tuple[str, Tensor]]:
    """The method's pairs, computed under autocast; the caller's backward and optimiser step run outside of it.

    Autocast keeps bf16 copies of the weights until it is left: it must be left before the weights change.
    """
    pairs = method.losses(batch, noise)
    while True:
        with fabric.autocast():
            pair = next(pairs, None)
        if pair is None:
            return
        yield pair


@torch.no_grad()
def _validation(method: Method, held_out: Feed | None, size: int, noise: Noise) -> dict[str, float]:
    """Mean losses of the held-out slices, with the same noise every time, as columns `val_loss...`."""
    if held_out is None:
        return {}
    for net in method.nets.values():
        net.eval()
    sums: dict[str, float] = {}
    for start in range(0, len(held_out.rows), size):
        rows = held_out.rows[start : start + size]
        for name, loss in _losses(method, held_out.of(rows, 0), noise, held_out.fabric):
            sums[name] = sums.get(name, 0.0) + loss.item() * len(rows) / len(held_out.rows)
    for net in method.nets.values():
        net.train()
    return _columns("val_loss", sums)


def _columns(prefix: str, by_name: Mapping[str, float]) -> dict[str, float]:
    alone = len(by_name) == 1
    return {prefix if alone else f"{prefix}_{name}": value for name, value in by_name.items()}


def _average_gradients(optimiser: Optimizer, fabric: Fabric) -> None:
    """Mean over processes of the gradients, in one message.

    In place of the DDP wrapper, which cannot follow a loss that calls several networks, or one of them several times.
    """
    if fabric.world_size == 1:
        return
    gradients = [parameter.grad for parameter in _parameters(optimiser) if parameter.grad is not None]
    mean = fabric.all_reduce(torch.cat([gradient.reshape(-1) for gradient in gradients]), reduce_op="mean")
    for gradient, part in zip(gradients, mean.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def _parameters(optimiser: Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _step_seed(seed: int, step: int, rank: int) -> int:
    """A 63-bit seed for torch's own generator, which only dropout uses."""
    digest = hashlib.blake2b(f"{seed},{step},{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _non_finite(bad: tuple[int, str, float], label: str, feed: Feed, size: int) -> NonFiniteLoss:
    step, name, loss = bad
    rows = feed.rows_of(step, size)
    index = feed.slices.index.set_index("row").loc[rows]
    where = ", ".join(f"{row} ({case}, z {z})" for row, case, z in zip(rows, index["case"], index["z"], strict=True))
    return NonFiniteLoss(
        f"{label}: loss of {name!r} is {loss} at step {step + 1}; rows of its batch: {where}. "
        "The last checkpoint is unchanged; look at these slices, lower the learning rate or set `clip`"
    )


def _spread(rows: np.ndarray | None, count: int) -> np.ndarray:
    """At most `count` of the rows, evenly spread."""
    if rows is None or count == 0 or len(rows) == 0:
        return np.empty(0, np.int64)
    return np.asarray(rows)[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def _as_dict(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value


def _say(fabric: Fabric, text: str) -> None:
    if fabric.is_global_zero:
        run.log(text)
