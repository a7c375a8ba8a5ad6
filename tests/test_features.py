"""The maps as input channels: which, in what order and scale, for which slices; what does not fit is refused."""

import numpy as np
import pytest

from discrepancy_toys import ToyStore
from gliomap.base.errors import UserError
from gliomap.base.files import write_json
from gliomap.data import features
from gliomap.data.features import Features, channels

SIZE, N = 8, 16
SCALE = {"inter": 0.05, "intra": 0.02, "residual": 0.4, "untrained": 0.0}
STORE = ToyStore.make({}, size=SIZE)


@pytest.fixture
def folder(tmp_path):
    """models/discrepancy with random maps."""
    rng = np.random.default_rng(0)
    for name in SCALE:
        np.save(tmp_path / f"{name}.npy", rng.uniform(0, 0.1, (N, SIZE, SIZE)).astype(np.float16))
    meta = {"recipe": "common", "size": SIZE, "n": N, "members": 3, "scale": SCALE}
    write_json(tmp_path / "discrepancy.json", meta)
    return tmp_path


def stored(folder, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy").astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("inter", ["inter"]), ("intra", ["intra"]), ("both", ["inter", "intra"]), ("untrained", ["untrained"]),
     ("residual", ["residual"])],
)  # fmt: skip
def test_raw_features_are_the_stored_maps_in_the_order_of_rows(folder, kind, names):
    rows = np.array([7, 0, 15, 7])
    found = Features.open(folder, STORE, kind, "raw", 0).of(rows)
    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([stored(folder, name)[rows] for name in names], 1))
    assert found.shape[1] == channels(kind)


def test_no_features_open_no_file_and_have_no_channels(tmp_path):
    found = Features.open(tmp_path / "nowhere", STORE, "none", "raw", 0)
    assert found.of([1, 2]).shape == (2, 0, SIZE, SIZE)
    assert channels("none") == 0


def test_scaling_by_the_data_set_divides_by_the_maps_own_scale_and_cuts_at_one(folder):
    found = Features.open(folder, STORE, "both", "dataset", 0).of(range(N))
    for i, name in enumerate(("inter", "intra")):
        assert np.allclose(found[:, i], np.minimum(stored(folder, name) / SCALE[name], 1))
        assert found[:, i].max() == 1
    assert np.isfinite(Features.open(folder, STORE, "untrained", "dataset", 0).of(range(N))).all()  # its scale is 0


def test_scaling_by_the_image_spans_0_to_1_in_every_image(folder):
    maps = stored(folder, "inter")
    maps[3] = 0.25
    np.save(folder / "inter.npy", maps.astype(np.float16))
    found = Features.open(folder, STORE, "inter", "image", 0).of(range(N))[:, 0]
    others = np.arange(N) != 3
    assert (found[others].min((1, 2)) == 0).all()
    assert np.allclose(found[others].max((1, 2)), 1)
    assert not found[3].any()  # flat
    order = maps[1].ravel().argsort()
    assert (np.diff(found[1].ravel()[order]) >= 0).all()


def test_shuffled_gives_every_slice_another_one_of_its_split(folder):
    found = Features.open(folder, STORE, "shuffled", "raw", 0)
    split = STORE.index["split"].to_numpy()
    assert (found.source != np.arange(N)).all()
    assert (split[found.source] == split).all()
    assert sorted(found.source) == list(range(N))
    assert np.array_equal(found.of(range(N))[:, 0], stored(folder, "inter")[found.source])
    assert np.array_equal(found.source, Features.open(folder, STORE, "shuffled", "raw", 0).source)
    assert not np.array_equal(found.source, Features.open(folder, STORE, "shuffled", "raw", 1).source)


def test_a_split_of_one_slice_cannot_be_shuffled(folder):
    with pytest.raises(UserError, match="split test has one slice, expected two or more"):
        Features.open(folder, ToyStore.make({}, splits=(10, 5, 1)), "shuffled", "raw", 0)


@pytest.mark.parametrize(("name", "value"), [("recipe", "tsgm"), ("size", 16), ("n", 99), ("n", None)])
def test_maps_of_other_slices_are_refused(folder, name, value):
    meta = {"recipe": "common", "size": SIZE, "n": N, "members": 3, "scale": SCALE, name: value}
    write_json(folder / "discrepancy.json", meta)
    with pytest.raises(UserError, match=f"{name} is {value}, expected .* as the slices have it"):
        Features.open(folder, STORE, "inter", "raw", 0)


def test_damaged_or_missing_files_are_one_sentence(folder):
    np.save(folder / "inter.npy", np.zeros((N, SIZE, 4), np.float16))
    with pytest.raises(UserError, match=r"inter\.npy: its shape is \(16, 8, 4\)"):
        Features.open(folder, STORE, "inter", "raw", 0)
    (folder / "inter.npy").write_bytes(b"\x93NUMPY nothing")
    with pytest.raises(UserError, match=r"inter\.npy: not a readable npy file"):
        Features.open(folder, STORE, "both", "raw", 0)
    (folder / "intra.npy").unlink()
    with pytest.raises(UserError, match=r"intra\.npy: no such file"):
        Features.open(folder, STORE, "intra", "raw", 0)
    (folder / "discrepancy.json").unlink()
    with pytest.raises(UserError, match=r"discrepancy\.json: no such file"):
        Features.open(folder, STORE, "residual", "raw", 0)


def test_every_kind_is_known():
    assert set(features.MAPS) == set(features.get_args(features.Kind))
    with pytest.raises(ValueError, match="unknown"):
        Features.open("folder", STORE, "inter", "log", 0)
