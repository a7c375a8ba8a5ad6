"""MMCCD's figures: numbers of the trade-off by hand, which slices and methods are shown, and the stage on toys."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import mmccd_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.scoring import mmccd_figures, mmccd_pictures, tradeoff
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.masks import Postprocess

POST = Postprocess(erode_mm=6.0, median_px=0, component_px=0)
OUTPUTS = [f"plots/mmccd/{name}" for name in ("tradeoff.csv", "tradeoff.png", "methods.png", "failures.png")]


@pytest.fixture(scope="module")
def template(made_once):
    return made_once(toys.project, toys.evaluate, lambda: toys.stage("figures_mmccd"))


@pytest.fixture
def project(template, copy_of):
    """The project after the figures."""
    return copy_of(template)


def entry(key: str, *modalities: str, system: str = "mmccd") -> Entry:
    return Entry(key, system, key, "slice labels", modalities, ())


# -- stripes and steps


def test_the_rank_correlation_is_scipys_and_a_constant_has_none():
    a, b = np.array([3.0, 1.0, 1.0, 7.0, 5.0]), np.array([2.0, 9.0, 4.0, 4.0, 8.0])
    assert tradeoff.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert tradeoff.spearman(a, 5 * a - 2) == pytest.approx(1)
    assert tradeoff.spearman(a, -a) == pytest.approx(-1)
    assert np.isnan(tradeoff.spearman(a, np.ones(5)))


def study(**changes) -> tradeoff.Study:
    """Two slices of two pixels of tumour in four of brain: the right map, its opposite, and one that is right on one."""
    truth = np.zeros((2, 4, 4), bool)
    truth[:, 1, 1:3] = True
    brain = np.zeros_like(truth)
    brain[:, 1:3, 1:3] = True
    right = truth + 0.1 * np.arange(16).reshape(4, 4) * brain
    made = np.stack([right, -right * brain, np.stack([right[0], 0.5 * brain[1] + 0.01 * right[1]])]).astype(np.float32)
    values = {
        "rows": np.array([5, 9]), "stride": np.array([4, 2, 2]), "steps": np.array([1, 1, 3]), "maps": made,
        "evaluations": np.array([[6, 8], [10, 14], [20, 28]]), "truth": truth, "brain": brain, "region": brain,
        "patients": np.array(["p", "q"]),
    }  # fmt: skip
    return tradeoff.Study(**values | changes)


def test_numbers_of_the_settings_by_hand():
    found = study()
    table = tradeoff.frame(found, found.maps[0], 100, 0)
    assert table["method"].tolist() == ["MMCCD, stride 2", "MMCCD, stride 2", "MMCCD, stride 4", "Cyclic U-Net"]
    assert table["evaluations"].tolist() == [12, 24, 7, 2]
    assert table["steps"].tolist()[:3] == [1, 3, 1]
    assert table["steps"].isna().tolist() == [False, False, False, True]
    best = table.set_index(["method", "evaluations"])
    assert best.loc[("MMCCD, stride 4", 7), ["dice", "auprc"]].tolist() == [1, 1]
    assert best.loc[("Cyclic U-Net", 2), ["dice", "auprc"]].tolist() == [1, 1]
    # the opposite: a slice's tumour pixels come last of four, and the very last is never above a threshold
    assert best.loc[("MMCCD, stride 2", 12), "dice"] == pytest.approx(2 * 1 / (2 + 3))
    assert best.loc[("MMCCD, stride 2", 12), "auprc"] == pytest.approx(2 / 6 / 2 + 4 / 8 / 2)
    assert best.loc[("MMCCD, stride 2", 24), "spearman"] == pytest.approx(1)
    assert best.loc[("MMCCD, stride 2", 12), "spearman"] == pytest.approx(-1)
    assert (table["n_slices"] == 2).all()
    assert (table["n_patients"] == 2).all()


def test_the_dearest_setting_is_the_one_with_the_most_evaluations():
    assert study().describe(study().reference) == "stride 2, 3 steps"


def test_a_median_filter_and_the_erosion_reach_the_study(project):
    slices = Slices.open("data/slices/common")
    plain, smooth = (tradeoff.read(slices, Postprocess(0.0, size, 0)) for size in (0, 3))
    assert not np.array_equal(plain.maps, smooth.maps)
    assert np.array_equal(plain.region, plain.brain)
    assert tradeoff.read(slices, POST).region.sum() < plain.region.sum()
    assert plain.truth.any((1, 2)).all()
    assert plain.patients.tolist() == ["p3", "p3", "p4", "p4"]


BROKEN_STUDY = {
    "no maps": ({"drop": ("map",)}, "map is missing or has another shape"),
    "three axes": ({"map": np.zeros((4, 4, 32), np.float16)}, "map is missing or has another shape"),
    "another size": ({"map": np.zeros((4, 4, 16, 16), np.float16)}, "found map has another shape, expected a study of val"),
    "fewer strides": ({"stride": np.array([2, 4])}, "found stride has another shape"),
    "a test slice": ({"rows": np.array([13, 15, 17, 30])}, "found row 30 is another's"),
    "healthy slices": ({"rows": np.array([12, 14, 16, 18])}, "none of its slices has a tumour pixel"),
}


@pytest.mark.parametrize("case", BROKEN_STUDY)
def test_a_study_that_does_not_fit_is_refused(project, case):
    change, words = BROKEN_STUDY[case]
    toys.change(toys.STUDY, **change)
    with pytest.raises(UserError, match=words) as error:
        tradeoff.read(Slices.open("data/slices/common"), POST)
    assert "\n" not in str(error.value)


def test_the_cycle_needs_the_studys_slices(project):
    found = tradeoff.read(Slices.open("data/slices/common"), POST)
    path = Path("predictions/mmccd/val/cyclic_unet.npz")
    old = files.read_npz(path)
    assert np.array_equal(tradeoff.cycle(found, POST), old["map"][[1, 3, 5, 7]])
    toys.change(path, **{name: values[2:] for name, values in old.items()})
    with pytest.raises(UserError, match=r"cyclic_unet.npz: found no row 13, expected the slices of"):
        tradeoff.cycle(found, POST)


# -- which methods, which slices


def test_figure_3_has_the_papers_order_and_what_there_is():
    rows = [entry("mmccd", "flair", "t2"), entry("ddpm_flair", "flair"), entry("vae1", "flair"), entry("vae", system="tsgm")]
    assert [e.key for e in mmccd_figures.methods(rows)] == ["vae1", "ddpm_flair", "mmccd"]
    with pytest.raises(UserError, match=r"found none of ae, vae1, .*, expected one or more"):
        mmccd_figures.methods(rows[-1:])


@pytest.mark.parametrize(("pairs", "chosen"), [
    ([("flair", "t2")], ("flair", "t2")),
    ([("flair", "t2"), ("t2", "flair")], ("t2", "flair")),
    ([("t2", "t1"), ("t2", "flair"), ("flair", "t2")], ("t2", "t1")),
    ([("t1", "t2"), ("flair", "t2")], ("flair", "t2")),
])  # fmt: skip
def test_figure_4_is_of_the_pair_most_like_the_papers(pairs, chosen):
    rows = [entry(f"{method}_{x}_{y}", x, y) for method in ("cyclic_unet", "mmccd") for x, y in pairs]
    found = mmccd_figures.pair([*rows, entry("vae1", "t2", "t1")])
    assert [e.modalities for e in found] == [chosen] * 2
    assert [e.key.split("_")[0] for e in found] == ["cyclic", "mmccd"]


def test_a_pair_that_only_one_of_the_two_has_is_none():
    with pytest.raises(UserError, match="found no pair that both"):
        mmccd_figures.pair([entry("cyclic_unet", "flair", "t2"), entry("mmccd", "t2", "t1")])


def test_failures_are_the_lowest_dice_of_large_tumours_one_a_patient():
    table = pd.DataFrame({
        "row": range(8), "patient": list("aabbccdd"), "tumour": [1] * 7 + [0], "tumour_px": [9, 8, 7, 6, 5, 1, 4, 0],
        "dice": [0.5, 0.2, 0.3, 0.3, 0.9, 0.0, 0.1, 0.0],
    })  # fmt: skip
    assert mmccd_figures.worst(table) == [1, 2]  # the median area is 6: rows 0 to 3; row 5 is worse, but small
    assert mmccd_figures.worst(table, 1) == [1]
    assert mmccd_figures.worst(table[7:]) == []


# -- the stage


def test_the_stage_writes_the_table_and_three_pictures(project):
    table = pd.read_csv(OUTPUTS[0])
    assert table["evaluations"].tolist() == [20, 30, 10, 15, 2]
    dearest = table.set_index("evaluations").loc[30]
    assert dearest[["dice", "auprc", "spearman"]].round(6).tolist() == [pytest.approx(dearest["dice"]), 1, 1]
    assert dearest["dice"] == table["dice"].max() > table["dice"].min()
    for path in OUTPUTS[1:]:
        assert Path(path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_runs_give_the_same_bytes_and_each_input_shows_where_it_should(project):
    first = [files.md5(path) for path in OUTPUTS]
    toys.stage("figures_mmccd")
    assert first == [files.md5(path) for path in OUTPUTS]
    toys.write(project, "test", "vae1", np.arange(24, 36), 0.2, False)
    toys.stage("figures_mmccd")
    assert [a == b for a, b in zip(first, map(files.md5, OUTPUTS))] == [True, True, False, True]
    toys.change(Path("predictions/mmccd/test/cyclic_unet_t2_flair.npz"), translation=np.zeros((12, 32, 32), np.float16))
    toys.stage("figures_mmccd")
    assert [a == b for a, b in zip(first, map(files.md5, OUTPUTS))] == [True, True, False, False]


def test_the_failures_show_the_translation_and_the_target(project):
    slices = Slices.open("data/slices/common")
    both = (entry("cyclic_unet_t2_flair", "t2", "flair"), entry("mmccd_t2_flair", "t2", "flair"))
    found = mmccd_figures.failures(both, slices)
    scores = pd.read_csv("scores/mmccd/cyclic_unet_t2_flair.csv").set_index("row")
    rows = mmccd_figures.worst(scores.reset_index())
    assert len(found) == len(rows) == scores.loc[rows, "patient"].nunique() >= 2
    stored = files.read_npz("predictions/mmccd/test/cyclic_unet_t2_flair.npz")["translation"]
    for each, row in zip(found, rows):
        assert np.array_equal(each.translation, stored[row - 24])
        assert np.array_equal(each.target, slices.read([row], ("flair",))[0, 0])
        assert np.array_equal(each.cycle.image, slices.read([row], ("t2",))[0, 0])
        assert each.cycle.dice == scores.loc[row, "dice"]
        assert np.array_equal(each.masked.truth, each.cycle.truth)


def test_methods_of_figure_3_show_the_same_slices(project):
    slices = Slices.open("data/slices/common")
    rows = [entry("vae1", "flair"), entry("mmccd", "flair", "t2")]
    found = mmccd_figures.examples(rows, slices)
    assert list(found) == ["vae1", "mmccd"]
    assert len(found["vae1"]) == mmccd_figures.EXAMPLES
    for a, b in zip(*found.values()):
        assert np.array_equal(a.image, b.image)
        assert not np.array_equal(a.map, b.map)


def test_a_method_without_a_reconstruction_says_so(project):
    path = Path("predictions/mmccd/test/vae1.npz")
    toys.change(path, drop=("reconstruction",))
    shown = mmccd_figures.examples([entry("vae1", "flair")], Slices.open("data/slices/common"))
    figure = mmccd_pictures.methods(shown, {"vae1": "VAE"}, "heading")
    assert [text.get_text() for text in figure.axes[0].texts].count("none") == mmccd_figures.EXAMPLES


def test_a_method_that_lacks_a_slice_is_named(project):
    path = Path("scores/mmccd/vae1.csv")
    files.write_csv(path, pd.read_csv(path)[:3])
    with pytest.raises(UserError, match=r"vae1.csv: found no row \d+, expected the slices of the other methods"):
        toys.stage("figures_mmccd")


def test_predictions_without_a_translation_are_named(project):
    toys.change(Path("predictions/mmccd/test/cyclic_unet_t2_flair.npz"), drop=("translation",))
    with pytest.raises(
        UserError, match="found no translation, expected that of t2 to flair; run `dvc repro -f infer@cyclic"
    ):
        toys.stage("figures_mmccd")


@pytest.mark.parametrize("path", [toys.STUDY, "predictions/mmccd/val/cyclic_unet.npz", "models/thresholds/mmccd/vae1.json"])
def test_a_missing_file_is_named(project, path):
    Path(path).unlink()
    with pytest.raises(UserError, match=f"{Path(path).name}: no such file"):
        toys.stage("figures_mmccd")
