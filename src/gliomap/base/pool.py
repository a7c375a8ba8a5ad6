"""Work over processes, results in order, with bounded memory."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import TypeVar

from gliomap.base.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NOTHING: Mapping[str, str] = {}
AHEAD = 2  # items per process that may be under way or wait for their turn


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, environment: Mapping[str, str] = NOTHING
) -> Iterator[Result]:
    """function(item) for each item, in the order of `items`, by fresh processes; one worker works in this process.

    The processes have one BLAS thread each, and `environment` besides. At most 2 x `workers` results exist at a time.
    Function and items must be picklable. Raises what the function raises, and UserError if a process was ended from outside.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Result]] = deque()
    with _set(ONE_THREAD | dict(environment)), _processes(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                f"one of {workers} processes was ended from outside, most likely for want of memory; run again with a "
                "smaller GLIOMAP_WORKERS"
            ) from error


@contextmanager
def _processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes (safe where threads or CUDA run already); what waits is dropped if the block fails."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_follow_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _set(environment: Mapping[str, str]) -> Iterator[None]:
    """Processes started in this block inherit `environment`."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _follow_parent() -> None:
    """Leave interrupts to the parent process, and end with it however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
