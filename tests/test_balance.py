"""The balanced population: how many slices of each kind, and what the draw depends on."""

from itertools import pairwise

import numpy as np
import pytest

from discrepancy_toys import ToyStore
from gliomap.data.balance import balanced, shuffled

MANY = (40, 4, 2)  # rows of train, val, test
TUMOUR = {row: 1 for row in range(40) if row % 4}  # of train: 10 healthy, 30 with tumour


def kinds(store: ToyStore, rows: np.ndarray) -> tuple[int, int]:
    tumour = store.tumour[rows].to_numpy()
    return int((tumour == 0).sum()), int(tumour.sum())


def test_all_healthy_slices_and_as_many_with_tumour():
    store = ToyStore.make(TUMOUR, splits=MANY)
    rows = balanced(store, "train", 0)
    assert rows.dtype == np.int64
    assert all(a < b for a, b in pairwise(rows))
    assert kinds(store, rows) == (10, 10)
    assert set(store.rows("train", tumour=False)) <= set(rows) <= set(store.rows("train"))


def test_all_tumour_slices_where_they_are_fewer():
    store = ToyStore.make({3: 1, 8: 1})
    assert balanced(store, "train", 0).tolist() == list(range(10))
    assert len(balanced(ToyStore.make(dict.fromkeys(range(10), 1)), "train", 0)) == 0


def test_the_draw_is_a_function_of_seed_and_rows():
    store = ToyStore.make(TUMOUR, splits=MANY)
    first = balanced(store, "train", 0)
    assert np.array_equal(first, balanced(ToyStore.make(TUMOUR, splits=(40, 9, 1)), "train", 0))
    assert not np.array_equal(first, balanced(store, "train", 1))
    one_more = balanced(
        ToyStore.make({row: 1 for row in TUMOUR if row != 1}, splits=MANY), "train", 0
    )  # row 1 is healthy now
    assert set(first) <= set(one_more)
    assert len(one_more) == 22


def test_the_draw_is_uniform():
    """Of 30 tumour slices 10 are drawn; over 90 seeds each 30 times, sd 4.5."""
    store = ToyStore.make(TUMOUR, splits=MANY)
    drawn = np.zeros(40)
    for seed in range(90):
        drawn[balanced(store, "train", seed)] += 1
    assert set(drawn[::4]) == {90}
    assert drawn[list(TUMOUR)].mean() == pytest.approx(30)
    assert 12 < drawn[list(TUMOUR)].min() < drawn[list(TUMOUR)].max() < 48


def test_an_order_does_not_change_when_rows_are_left_out():
    rows = np.arange(20)
    order = shuffled(rows, 4, "a").tolist()
    assert sorted(order) == rows.tolist()
    assert order != rows.tolist()
    assert shuffled(rows[::2], 4, "a").tolist() == [row for row in order if row % 2 == 0]
    assert order != shuffled(rows, 4, "b").tolist()
