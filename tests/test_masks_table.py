"""Masks by row of the store, and the digest that identifies them."""

import numpy as np
import pytest

from ddmd_toys import write_tumours
from gliomap.base.errors import UserError
from gliomap.data.masks import CHUNK, MaskTable, content_digest
from gliomap.data.slices import Slices


@pytest.fixture
def store(tmp_path):
    """(slices, the masks of all rows). There are no masks of the test split."""
    masks = write_tumours(tmp_path / "common")
    return Slices.open(tmp_path / "common"), masks


def test_masks_come_in_the_order_asked_for_across_splits(store):
    slices, masks = store
    rows = [27, 3, 0, 28, 3]  # of val and train, one of them twice
    found = MaskTable.of(slices).of_rows(rows)
    assert found.dtype == np.uint8
    assert np.array_equal(found, masks[rows])
    assert found.any(axis=(1, 2)).tolist() == [True, True, True, False, True]


def test_no_mask_of_another_split_is_given(store):
    slices, _ = store
    with pytest.raises(UserError, match="found slice 30 of another split, expected slices of train, val"):
        MaskTable.of(slices).of_rows([0, 30])
    with pytest.raises(UserError, match="found slice 24 of another split, expected slices of train;"):
        MaskTable.of(slices, ("train",)).of_rows([24])


def test_only_the_files_of_its_splits_are_opened(store):
    slices, _ = store
    (slices.folder / "masks_val.npy").unlink()
    MaskTable.of(slices, ("train",))
    with pytest.raises(UserError, match=r"masks_val\.npy: no such file"):
        MaskTable.of(slices)


def test_digest_follows_values_shape_and_type_and_not_the_chunks():
    array = np.arange(3 * CHUNK + 7, dtype=np.uint8).reshape(-1, 1)
    digest = content_digest(array)
    changed = array.copy()
    changed[-1] += 1
    others = [changed, array.reshape(1, -1), array.astype(np.uint16), array[:-1]]
    assert len({digest, *map(content_digest, others)}) == 5
    assert content_digest(array.copy()) == digest
    assert content_digest(array, changed) != content_digest(changed, array)


def test_digest_of_a_table_changes_with_one_pixel(store):
    slices, _ = store
    before = MaskTable.of(slices).digest()
    path = slices.folder / "masks_train.npy"
    masks = np.load(path)
    masks[2, 0, 0] ^= 1
    np.save(path, masks)
    assert MaskTable.of(Slices.open(slices.folder)).digest() != before
