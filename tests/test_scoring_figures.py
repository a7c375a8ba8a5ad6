"""Figures: which slices are shown, that they are the right ones and the right way up, and equal bytes for equal input."""

import json

import numpy as np
import pandas as pd
import pytest

from gliomap.base.errors import UserError
from gliomap.base.files import write_csv, write_json, write_npz
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import figures, gallery, overview, pictures
from gliomap.scoring.gallery import Example, Scale
from gliomap.scoring.leaderboard import Entry
from stage_toys import stage_of

SIZE, PER_PATIENT, PATIENTS = 24, 5, 4
MMCCD = Place("toy", "mmccd")


def table(areas: list[int], patients: list[str]) -> pd.DataFrame:
    """Scores with these tumour areas in pixels; 0 = a healthy slice."""
    n = len(areas)
    columns = {"row": range(n), "case": patients, "patient": patients, "z": range(80, 80 + n), "tumour_px": areas}
    frame = pd.DataFrame(columns)
    frame["tumour"] = (frame["tumour_px"] > 0).astype(int)
    return frame.assign(tumour_mm2=frame["tumour_px"] * 9.0, brain_px=100 + np.arange(n), dice=0.5)


def test_the_slices_shown_run_from_the_largest_tumour_to_a_small_one():
    scores = table([*range(1, 21), 0, 0, 0], [f"p{i}" for i in range(23)])
    found = gallery.choose(scores, 4, 1)
    assert scores.loc[found, "tumour_px"].tolist() == [20, 14, 9, 3, 0]  # quantiles 1, 0.7, 0.4, 0.1 of 1..20
    assert scores.loc[found[-1], "brain_px"] == 121  # the middle one of 120, 121, 122


def test_each_slice_is_of_another_patient_as_long_as_there_are_any():
    scores = table([1, 2, 3, 4, 5, 6, 7, 8, 9], ["a", "b", "c"] * 3)
    assert scores.loc[gallery.choose(scores, 3, 0), "patient"].nunique() == 3
    assert len(set(gallery.choose(scores, 5, 0))) == 5


def test_the_choice_looks_at_no_prediction():
    scores = table([5, 9, 2, 7, 0], ["a", "b", "c", "d", "e"])
    assert gallery.choose(scores, 3, 1) == gallery.choose(scores.assign(dice=[1, 0, 1, 0, np.nan]), 3, 1)


@pytest.mark.parametrize(("areas", "expected"), [([3], [0]), ([0], [0]), ([3, 0], [0, 1])])
def test_fewer_slices_than_asked_for_are_all_shown(areas, expected):
    assert gallery.choose(table(areas, ["p"] * len(areas)), 4, 2) == expected


def test_tumour_that_was_lost_on_the_grid_is_not_shown():
    scores = table([4, 0], ["a", "b"]).assign(tumour=1)
    assert gallery.choose(scores, 2, 0) == [0]


def entry(key: str, pair: tuple[str, ...] = ("flair",)) -> Entry:
    return Entry(key, "toy", key.upper(), "none", pair, ())


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder in which stages/figures.py can run: 4 patients of 5 slices, the last two of them the test patients."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    n = PATIENTS * PER_PATIENT
    y, x = np.mgrid[:SIZE, :SIZE]
    brain = np.broadcast_to((y - 12) ** 2 + (x - 12) ** 2 <= 100, (n, SIZE, SIZE))
    radius = np.tile([0, 1, 2, 3, 4], PATIENTS)[:, None, None]
    truth = ((y - 8) ** 2 + (x - 15) ** 2 < radius**2) & brain
    store = tmp_path / "data/slices/toy"
    store.mkdir(parents=True)
    np.save(store / "images.npy", np.where(brain, rng.random(brain.shape), -1)[:, None].astype(np.float16))
    np.save(store / "brain.npy", brain.astype(np.uint8))
    test = np.arange(n // 2, n)
    np.save(store / "masks_test.npy", truth[test].astype(np.uint8))
    patients = [f"P{i // PER_PATIENT}" for i in range(n)]
    split = ["train"] * (n // 2) + ["test"] * (n // 2)
    index = {"row": range(n), "case": patients, "patient": patients, "z": np.tile(range(80, 85), PATIENTS), "split": split}
    write_csv(store / "index.csv", pd.DataFrame(index).assign(brain_px=brain.sum((1, 2))))
    about = {"recipe": "common", "modalities": ["flair"], "pixel_mm": 8.0, "background": -1}
    (store / "recipe.json").write_text(json.dumps(about))
    for key in ("mmccd", "random"):
        shown = test[::2]  # inference may score every second slice only
        maps = (truth[shown] + 0.1 * rng.random((len(shown), SIZE, SIZE))).astype(np.float32) * brain[shown]
        extra = {"reconstruction": maps.astype(np.float16), "mask": (maps > 0.5).astype(np.uint8)} if key == "mmccd" else {}
        place = Place("toy", key)
        arrays = {"rows": shown, "map": maps, "image_score": maps.max((1, 2))}
        write_npz(tmp_path / place.predictions("test"), **arrays, **extra)
        scores = table(truth[shown].sum((1, 2)).tolist(), [patients[i] for i in shown]).assign(row=shown)
        write_csv(tmp_path / place.scores, scores)
        write_csv(tmp_path / place.curve, pd.DataFrame({"method": key, "recall": [0, 1], "precision": [1, 0.1]}))
        level = {"threshold": 0.5, "postprocess": {"erode_mm": 8.0, "median_px": 0, "component_px": 0}}
        write_json(tmp_path / place.threshold, level)
        write_json(tmp_path / place.metrics, metrics())
    (tmp_path / "conf/scale").mkdir(parents=True)
    (tmp_path / "conf/scale/smoke.yaml").write_text("x: 1\n")
    methods = "  mmccd: {system: toy, pair: flair-t2, name: MMCCD}\n  random: {system: toy, pair: flair}\n"
    (tmp_path / "conf/graph.yaml").write_text(f"methods:\n{methods}")
    (tmp_path / "params.yaml").write_text(
        "data: phantom\nscale: smoke\nrecipe: common\nfigures: {tumour_slices: 2, healthy_slices: 1, dpi: 50}\n"
    )
    return tmp_path


def metrics() -> dict:
    found = {"tercile_mm2_lower": 310.0, "tercile_mm2_upper": 1240.0, "n_tumour_slices": 4, "n_patients_tumour": 2}
    for size, dice in (("small", 0.2), ("medium", None), ("large", 0.8)):
        found |= {f"dice_slice_tumour_{size}": dice, f"n_tumour_slices_{size}": 2}
        found |= {f"dice_slice_tumour_{size}{end}": dice for end in ("_lo", "_hi")}
    return found | {"prevalence_pooled_brain": 0.1}


def test_what_is_drawn_is_the_slice_that_was_asked_for(project):
    slices, scores = Slices.open("data/slices/toy"), gallery.read_scores(MMCCD)
    found = gallery.read(MMCCD, scores)
    for position, example in zip(range(5), gallery.examples(found, list(range(5)), slices, "flair"), strict=True):
        row = 10 + 2 * position
        np.testing.assert_array_equal(example.truth, np.load("data/slices/toy/masks_test.npy")[row - 10])
        np.testing.assert_array_equal(example.image, np.load("data/slices/toy/images.npy")[row, 0].astype(np.float32))
        # 8 mm of erosion at 8 mm a pixel is one pixel: a 4-neighbour cross
        inner = example.brain.copy()
        for axis in (0, 1):
            inner &= np.roll(example.brain, 1, axis) & np.roll(example.brain, -1, axis)
        np.testing.assert_array_equal(example.prediction, inner & (example.map > 0.5))
        assert example.truth.sum() == scores["tumour_px"][position]
        assert example.own is not None


def test_predictions_of_other_slices_are_refused(project):
    scores = gallery.read_scores(MMCCD)
    with pytest.raises(UserError, match=r"predictions/toy/test/mmccd\.npz.*evaluate@toy"):
        gallery.read(MMCCD, scores.iloc[1:].reset_index(drop=True))


def example(**changes) -> Example:
    brain = np.zeros((20, 16), bool)
    brain[2:15, 4:12] = True
    image = np.arange(320.0).reshape(20, 16)
    spot = np.zeros_like(brain)
    spot[4:7, 5:8] = True
    plain = {"label": "a", "image": image, "brain": brain, "region": brain, "truth": spot, "map": image, "prediction": spot}
    return Example(**{**plain, "dice": 0.5, **changes})


def drawn(*examples: Example):
    with pictures.style():
        return figures.grid(list(examples), Scale((0, 300), (10.0, 200.0), 50.0), ("M", "FLAIR"), "n = 1")


def test_rows_of_the_array_run_down_the_picture():
    axis = drawn(example()).axes[0]
    shown = axis.images[0].get_array()
    np.testing.assert_array_equal(shown, example().image[0:18, 1:15])  # the brain and three pixels around it
    assert axis.yaxis_inverted()
    assert not axis.xaxis_inverted()


def test_all_slices_of_a_method_share_the_colours_of_the_map():
    figure = drawn(example(), example(map=example().image * 9))
    titles = [axis.get_title() for axis in figure.axes[:4]]
    assert titles == ["FLAIR", "anomaly map", "prediction", "truth"]
    assert {figure.axes[i].images[0].get_clim() for i in (1, 5)} == {(10.0, 200.0)}


def test_columns_follow_what_the_method_gives():
    figure = drawn(example(reconstruction=example().image, own=example().truth))
    titles = [axis.get_title() for axis in figure.axes[:6]]
    assert titles == ["FLAIR", "reconstruction", "anomaly map", "prediction", "own mask", "truth"]


def test_a_slice_without_tumour_and_without_prediction_can_be_drawn():
    empty = np.zeros((20, 16), bool)
    figure = drawn(example(truth=empty, prediction=empty, dice=float("nan")))
    assert [text.get_text() for text in figure.axes[2].texts] == []
    assert [text.get_text() for text in drawn(example()).axes[2].texts] == ["Dice 0.50"]


def test_a_png_has_equal_bytes_for_equal_content_and_no_metadata(tmp_path):
    for name in ("a", "b"):
        with pictures.style():
            pictures.save(drawn(example()), tmp_path / f"{name}.png", 50)
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    assert not [chunk for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME") if chunk in data]


def test_dice_by_method_has_tumour_slices_only():
    scores = table([3, 0, 5], ["a", "b", "c"]).assign(dice=[0.1, 0.2, 0.3])
    found = overview.dice_by_method([entry("m")], {"m": scores})
    assert found.to_dict("list") == {"method": ["M", "M"], "case": ["a", "c"], "z": [80, 82], "dice": [0.1, 0.3]}


def test_dice_by_area_says_what_small_means_and_how_many():
    found = overview.dice_by_area([entry("m")], {"m": metrics()})
    words = ["small: up to 3.1 cm²", "medium: up to 12.4 cm²", "large: above 12.4 cm²"]
    assert found["area"].tolist() == [f"{word}, n = 2" for word in words]
    assert found["dice"].tolist()[::2] == [0.2, 0.8]
    assert np.isnan(found["dice"][1])


@pytest.mark.slow
def test_the_stage_writes_the_same_files_twice(project):
    stage = stage_of("figures")
    stage.main([])
    first = {p.relative_to(project).as_posix(): p.read_bytes() for p in (project / "plots").rglob("*.*")}
    tables = [f"plots/{name}.csv" for name in ("dice_by_area", "dice_by_method", "pr")]
    assert sorted(first) == sorted([*tables, "plots/grids/mmccd.png", "plots/grids/random.png", "plots/overview.png"])
    stage.main([])
    assert first == {p.relative_to(project).as_posix(): p.read_bytes() for p in (project / "plots").rglob("*.*")}
