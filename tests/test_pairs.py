"""Synthetic pairs: read by row, refused where they are not of these slices; and their plain numbers."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.pairs import PairTable
from gliomap.scoring import pictures
from gliomap.scoring.pairs_picture import LEFT, PANEL, Shown, Sums, picture

ROWS = np.array([2, 5, 6])


def slices(count: int = 8, size: int = 4) -> SimpleNamespace:
    return SimpleNamespace(images=np.zeros((count, 4, size, size), np.float16), index=range(count))


@pytest.fixture
def folder(tmp_path):
    healthy = np.repeat(ROWS.astype(np.uint8), 16).reshape(3, 1, 4, 4)
    for name, array in (("rows", ROWS), ("healthy", healthy), ("synthetic", healthy + 100)):
        np.save(tmp_path / f"{name}.npy", array)
    files.write_json(tmp_path / "pairs.json", {"modalities": ["flair"]})
    return tmp_path


def test_pairs_come_in_the_order_asked_for(folder):
    pairs = PairTable.open(folder, slices())
    healthy, synthetic = pairs.of_rows([6, 2, 6])
    assert pairs.modalities == ("flair",)
    assert pairs.rows.tolist() == [2, 5, 6]
    assert healthy[:, 0, 0, 0].tolist() == [6, 2, 6]
    assert synthetic[:, 0, 3, 3].tolist() == [106, 102, 106]


@pytest.mark.parametrize("row", [0, 4, 7])
def test_a_slice_without_pair_is_one_sentence(folder, row):
    with pytest.raises(UserError, match=f"slice {row} has no synthetic tumour"):
        PairTable.open(folder, slices()).of_rows([2, row])


@pytest.mark.parametrize(
    ("other", "message"), [(slices(count=6), "has rows 2 to 6, expected rows of 6"), (slices(size=8), r"\(3, 1, 8, 8\)")]
)
def test_pairs_of_other_slices_are_refused(folder, other, message):
    with pytest.raises(UserError, match=message):
        PairTable.open(folder, other)


def test_half_a_set_of_pairs_is_refused(folder):
    np.save(folder / "synthetic.npy", np.zeros((2, 1, 4, 4), np.uint8))
    with pytest.raises(UserError, match=r"synthetic\.npy: is uint8 of shape"):
        PairTable.open(folder, slices())
    (folder / "healthy.npy").unlink()
    with pytest.raises(UserError, match=r"healthy\.npy: no such file"):
        PairTable.open(folder, slices())


def test_the_hash_follows_the_images(folder):
    before = PairTable.open(folder, slices()).digest()
    assert PairTable.open(folder, slices()).digest() == before
    images = np.load(folder / "synthetic.npy")
    images[1, 0, 2, 2] += 1
    np.save(folder / "synthetic.npy", images)
    assert PairTable.open(folder, slices()).digest() != before


def test_the_numbers_of_a_pair_are_those_of_a_hand_count():
    """2 x 2 pixels, three of them brain: after scaling by 200 the change is 0.5 in one brain pixel, 0.1 in another."""
    healthy = np.array([[0, 200], [100, 20]], np.uint8)[None, None]
    synthetic = np.array([[0, 200], [200, 40]], np.uint8)[None, None]
    brain = np.array([[False, True], [True, True]])[None]
    one = Sums.of(healthy, synthetic, brain)
    expected = {"mean_difference": 0.2, "share_visible": round(1 / 3, 5), "l2": round(0.26**0.5, 5)}
    assert one.means(["t2"]) == {"t2": pytest.approx(expected)}
    same = Sums.of(healthy, healthy, brain)
    assert (one + same).means(["t2"])["t2"] == pytest.approx({name: value / 2 for name, value in expected.items()}, abs=1e-5)


def test_without_brain_there_are_no_means():
    images = np.zeros((1, 1, 2, 2), np.uint8)
    assert Sums.of(images, images, np.zeros((1, 2, 2), bool)).means(["t2"])["t2"]["mean_difference"] is None


@pytest.mark.parametrize("case", ["Phantom_036", "BraTS20_Training_001", "a_hospital_of_its_own_with_long_names_0001"])
@pytest.mark.parametrize("modalities", [("flair",), ("t1", "t1ce", "t2", "flair")])
def test_no_label_leaves_the_picture_or_lies_on_a_slice(case, modalities):
    images = np.zeros((2, len(modalities), 8, 8), np.uint8)
    shown = Shown("single", modalities, images, images, (f"{case}, z 128", f"{case}, z 5"))
    with pictures.style():
        figure = picture([shown], "Pairs")
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw_without_rendering()
        for axis in (axis for axis in figure.axes if axis.get_ylabel()):
            box = axis.yaxis.label.get_window_extent(renderer)
            assert 0 <= box.x0 < box.x1 <= axis.get_window_extent(renderer).x0
    room = figure.get_size_inches()[0] - 3 * PANEL * len(modalities)
    assert room == pytest.approx(LEFT) if case == "Phantom_036" else room > LEFT
