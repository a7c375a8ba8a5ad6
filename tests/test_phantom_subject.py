"""One generated subject: atlas channels, layout, anatomy, tumour, knobs, determinism, and how hard it is to segment."""

import dataclasses

import numpy as np
import pytest

from gliomap.base.errors import UserError
from gliomap.data.phantom import atlas as atlas_module
from gliomap.data.phantom.settings import MODALITIES
from gliomap.data.phantom.subject import make_subject
from gliomap.data.phantom.tumour import draw_tumour, place
from gliomap.data.phantom.warp import STEP, Warp, draw_displacement, draw_person, velocity_basis
from phantom_realism import EVEN, atlas_folder, measure, summary

VENTRICLE = (20, -38, 16)  # MNI mm, in the atrium of the lateral ventricle


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    return atlas_module.cached(atlas_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def atlas(template):
    return atlas_module.load(template)


@pytest.fixture(scope="session")
def sick(atlas):
    return make_subject(atlas, 2020, 2, 2, True, EVEN)


@pytest.fixture(scope="session")
def healthy(atlas):
    return make_subject(atlas, 2020, 2, 2, False, EVEN)


def at(atlas, name, point):
    """Value of a channel at a point in MNI mm."""
    if name in atlas_module.FINE:
        return atlas.fine[atlas_module.FINE.index(name)][tuple(np.rint(np.subtract(point, atlas.origin)).astype(int))]
    return atlas.soft[atlas_module.SOFT.index(name)][tuple(np.rint(np.subtract(point, atlas.origin) / 2).astype(int))]


def test_atlas_has_all_channels_in_their_ranges(atlas):
    assert (len(atlas.fine), len(atlas.soft)) == (len(atlas_module.FINE), len(atlas_module.SOFT))
    depth, distance = atlas.soft[0], atlas.soft[4]
    assert (depth.min(), depth.max()) == pytest.approx((-10, 22), abs=.1)
    assert distance.min() < -3
    assert distance.max() == pytest.approx(40, abs=.2)
    for plane in (*atlas.fine[:2], *(atlas.soft[k] for k in (1, 2, 3, 5, 6, 7))):
        assert plane.min() > -.01
        assert .5 < plane.max() < 1.35
    brain = float((depth > 0).sum() * 8 / 1000)
    assert 1500 < brain < 2200  # ml; the template is larger than the mean brain


@pytest.mark.parametrize(("name", "point", "expected"), [
    ("white", (28, -20, 32), 1.0), ("white", (11, -18, 8), 0.4), ("ventricle", VENTRICLE, 1.0),
    ("ventricle", (50, 0, 30), 0.0), ("deep", (26, 3, 2), 1.0), ("deep", (28, -20, 32), 0.0),
    ("iron", (19, -4, -1), 1.0), ("limbic", (28, -20, 32), 0.3),
])  # fmt: skip
def test_atlas_puts_structures_where_they_belong(atlas, name, point, expected):
    assert at(atlas, name, point) == pytest.approx(expected, abs=.4)
    assert at(atlas, name, (-point[0], *point[1:])) == pytest.approx(at(atlas, name, point), abs=.15)


def test_atlas_depth_and_ventricle_distance_are_in_millimetres(atlas):
    assert at(atlas, "depth", (0, -18, 120)) < -9
    assert at(atlas, "ventricle_distance", VENTRICLE) < 0
    step = at(atlas, "ventricle_distance", (38, 10, 30)) - at(atlas, "ventricle_distance", (34, 10, 30))
    assert 2 < step < 4.5


def test_atlas_without_nilearn_is_a_user_error(monkeypatch):
    monkeypatch.setattr(atlas_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="nilearn: not installed"):
        atlas_module.file_name()


def test_damaged_atlas_is_a_user_error(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="not a readable npz"):
        atlas_module.load(tmp_path / "a.npz")


def test_displacement_is_a_diffeomorphism_of_a_few_millimetres(atlas):
    displacement = draw_displacement(np.random.default_rng(5), velocity_basis(atlas), 3.0)
    gradient = np.stack([np.stack(np.gradient(d, STEP)) for d in displacement])
    jacobian = np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))
    assert jacobian[2:-2, 2:-2, 2:-2].min() > 0
    assert 2 < np.abs(displacement).max() < 25


def test_mass_effect_pushes_outwards_from_the_centre_and_not_at_the_skull(atlas):
    rng = np.random.default_rng(8)
    tumour, person = draw_tumour(rng, EVEN), draw_person(rng, EVEN)
    calm = Warp(atlas, person, draw_displacement(rng, velocity_basis(atlas), 0.0), None)
    mass = dataclasses.replace(place(rng, tumour, calm), centre=np.array([30.0, -20.0, 30.0]), peak=6.0, reach=25.0)
    pushed = Warp(atlas, person, calm.displacement, mass)
    outwards = mass.centre[:, None] + np.array([[0, -5, -20], [0, 0, 0], [0, 0, 0]])
    moved = np.linalg.norm(pushed(outwards) - calm(outwards), axis=0)
    assert moved[0] < .1
    assert moved[2] > moved[1] > .3
    outside = np.array([[0.0], [0.0], [120.0]])
    np.testing.assert_allclose(pushed(outside), calm(outside), atol=1e-3)


def test_volumes_have_brats_layout_at_either_voxel(sick):
    volumes, meta = sick
    assert tuple(volumes) == (*MODALITIES, "seg")
    assert all(volumes[m].dtype == np.int16 and volumes[m].shape == (120, 120, 78) for m in MODALITIES)
    assert volumes["seg"].dtype == np.uint8
    assert set(np.unique(volumes["seg"])) == {0, 1, 2, 4}
    assert meta["ml"]["oedema"] == (volumes["seg"] == 2).sum() * 8 / 1000


def test_modalities_share_one_brain_and_the_tumour_is_inside(sick):
    volumes, meta = sick
    brain = volumes["t1"] > 0
    for modality in MODALITIES[1:]:
        np.testing.assert_array_equal(volumes[modality] > 0, brain)
    assert not (volumes["seg"] > 0)[~brain].any()
    assert 1000 < meta["ml"]["brain"] < 2000
    assert not brain[[0, -1]].any()


def test_drawn_volumes_are_met(sick):
    volumes, meta = sick
    whole = (volumes["seg"] > 0).sum() * 8 / 1000
    core = np.isin(volumes["seg"], (1, 4)).sum() * 8 / 1000
    assert core == pytest.approx(meta["tumour"]["core_ml"], rel=.1)
    assert whole == pytest.approx(meta["tumour"]["whole_ml"], rel=.35)  # the rater's offset


def test_tumour_looks_like_one(sick):
    volumes, _ = sick
    seg = volumes["seg"]
    normal = (volumes["flair"] > 0) & (seg == 0)
    ratio = {m: np.median(volumes[m][seg > 0]) / np.median(volumes[m][normal]) for m in MODALITIES}
    assert ratio["flair"] > 1.2
    assert ratio["t2"] > 1.1
    rim = np.median(volumes["t1ce"][seg == 4]) / np.median(volumes["t1ce"][normal])
    assert rim > 1.2


def test_healthy_subject_is_the_same_protocol_without_tumour(healthy, sick):
    volumes, meta = healthy
    assert not volumes["seg"].any()
    assert meta["tumour"] is None
    assert meta["protocol"] == sick[1]["protocol"]
    assert (volumes["t1"] > 0).any((0, 1)).sum() > 60


def test_subject_depends_on_nothing_but_its_arguments(atlas, sick):
    make_subject(atlas, 7, 9, 2, True, EVEN)
    again, _ = make_subject(atlas, 2020, 2, 2, True, EVEN)
    other, _ = make_subject(atlas, 2021, 2, 2, True, EVEN)
    for name, volume in sick[0].items():
        np.testing.assert_array_equal(again[name], volume)
    assert (other["t1"] != sick[0]["t1"]).any()


@pytest.mark.parametrize(("knob", "value"), [("oedema", 1.6), ("snr", 4.0), ("bias", 3.0), ("wmh", 5.0)])
def test_knobs_change_the_images_and_not_the_person(atlas, sick, knob, value):
    volumes, meta = make_subject(atlas, 2020, 2, 2, True, dataclasses.replace(EVEN, **{knob: value}))
    assert (volumes["flair"] != sick[0]["flair"]).any()
    assert meta["person"]["age"] == sick[1]["person"]["age"]
    assert meta["mass"] is not None
    np.testing.assert_array_equal(volumes["seg"] > 0, sick[0]["seg"] > 0)


def test_oedema_knob_brightens_the_oedema(atlas, sick):
    strong, _ = make_subject(atlas, 2020, 2, 2, True, dataclasses.replace(EVEN, oedema=1.6))
    oedema = sick[0]["seg"] == 2
    assert strong["flair"][oedema].mean() > 1.05 * sick[0]["flair"][oedema].mean()


def test_cyst_knob_turns_cysts_off_and_on():
    none, all_of_them = dataclasses.replace(EVEN, cyst=0.0), dataclasses.replace(EVEN, cyst=3.2)
    for index in range(60):
        assert draw_tumour(np.random.default_rng(index), none).core_water <= .60
        assert draw_tumour(np.random.default_rng(index), all_of_them).core_water >= .70


def test_population_matches_brats_2020():
    tumours = [draw_tumour(np.random.default_rng([1, i]), EVEN) for i in range(2000)]
    assert np.mean([t.high_grade for t in tumours]) == pytest.approx(293 / 369, abs=.03)
    whole = np.array([t.whole_ml for t in tumours])
    assert whole.mean() == pytest.approx(106, rel=.05)
    assert np.median(whole) == pytest.approx(95, rel=.06)
    assert all(t.core_ml < t.whole_ml for t in tumours)


@pytest.mark.slow
def test_phantom_is_as_hard_as_real_cases(template):
    """Published cohorts: best threshold on equalised FLAIR about .59, T2 .36, T1 .21 (60 cases, slice-mean Dice)."""
    dice = {name: values[0] for name, values in summary([measure(template, 2, i) for i in range(1, 13)]).items()}
    assert .50 < dice["flair"] < .70
    assert .28 < dice["t2"] < .42
    assert dice["t1"] < .30
    assert dice["flair"] > dice["t2"] > dice["t1"]
