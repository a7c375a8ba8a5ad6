"""Work over processes."""

import os

import pytest

from gliomap.base import pool
from gliomap.base.errors import UserError


def square(x: int) -> int:
    return x * x


def thread_limit(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def fall(x: int) -> int:
    if x == 1:
        raise UserError("case 1: no")
    return x


def die(_: int) -> None:
    os._exit(9)


def test_one_worker_works_here():
    assert list(pool.in_order(square, range(5), 1)) == [0, 1, 4, 9, 16]
    assert next(pool.in_order(lambda x: os.getpid(), [1], 1)) == os.getpid()


@pytest.mark.slow
def test_results_come_in_order_from_single_threaded_processes_with_bounded_lead(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    taken = []

    def items():
        for i in range(30):
            taken.append(i)
            yield i

    results = pool.in_order(square, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 2 * pool.AHEAD
    assert list(results) == [i * i for i in range(1, 30)]
    (process, threads), *_ = pool.in_order(thread_limit, range(2), 2)
    assert process != os.getpid()
    assert threads == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.slow
def test_errors_of_the_function_and_killed_processes_are_told():
    with pytest.raises(UserError, match="case 1: no"):
        list(pool.in_order(fall, range(4), 2))
    with pytest.raises(UserError, match="GLIOMAP_WORKERS"):
        list(pool.in_order(die, range(2), 2))
