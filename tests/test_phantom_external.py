"""The external populations of the phantom: thick slices by hand, a tumour on the dura, who is who."""

import numpy as np
import pytest

from gliomap.data.phantom import atlas as atlas_module
from gliomap.data.phantom.cohort import Job
from gliomap.data.phantom.meningioma import LIMITS_ML, draw_meningioma
from gliomap.data.phantom.populations import POPULATIONS
from gliomap.data.phantom.scanner import thick_labels, thick_profile
from gliomap.data.phantom.settings import MODALITIES, affine
from gliomap.data.phantom.sites import draw_thick, draw_thin_t1ce
from gliomap.data.phantom.subject import make_subject
from phantom_realism import EVEN, atlas_folder


@pytest.fixture(scope="session")
def atlas(tmp_path_factory):
    return atlas_module.load(atlas_module.cached(atlas_folder(tmp_path_factory)))


@pytest.fixture(scope="session")
def meningioma(atlas):
    return make_subject(atlas, 0, 1, 2, True, EVEN, "meningioma")


@pytest.fixture(scope="session")
def thick(atlas):
    return make_subject(atlas, 0, 1, 1, True, EVEN, "thick")


def test_affine_of_thick_voxels_covers_the_box_from_its_bottom():
    corner = np.array([-.5, -.5, -.5, 1])
    np.testing.assert_allclose(affine(1, 4) @ corner, affine(1) @ corner)
    np.testing.assert_allclose(affine(1, 4) @ [0, 0, 1, 1] - affine(1, 4) @ [0, 0, 0, 1], [0, 0, 4, 0])
    np.testing.assert_array_equal(affine(1, 0), affine(1))


def test_slices_of_their_own_distance_average_exactly_their_planes():
    profile = thick_profile(np.arange(8.0), 8, 2, 4.0)
    np.testing.assert_allclose(profile, [[.25] * 4 + [0] * 4, [0] * 4 + [.25] * 4])


def test_thicker_slices_overlap_their_neighbours_and_all_weights_sum_to_one():
    profile = thick_profile(np.arange(8.0), 9, 3, 5.0)  # every 3 mm, the last one beyond the planes
    np.testing.assert_allclose(profile.sum(1), 1)
    np.testing.assert_allclose(profile[1], [0, 0, .2, .2, .2, .2, .2, 0][:2] + [.2] * 5 + [0], atol=1e-6)
    assert thick_profile(np.arange(3.0), 9, 3, 2.0)[2].tolist() == [0, 0, 1]


def test_thick_labels_want_half_a_voxel_and_take_the_most_frequent():
    column = np.array([1, 0, 0, 0, 1, 2, 2, 0, 4, 4, 0, 0, 4], np.uint8)
    found = thick_labels(column[None, None], 4)[0, 0]
    assert found.tolist() == [0, 2, 4, 0]  # the last slice has one plane of four
    assert not thick_labels(np.zeros((2, 2, 5), np.uint8), 4).any()


def test_populations_have_names_and_people_of_their_own():
    prefixes, streams = zip(*((p.prefix, p.stream) for p in POPULATIONS.values()), strict=True)
    assert len(set(prefixes)) == len(set(streams)) == len(POPULATIONS)
    first = {np.random.default_rng([0, 1, *stream]).random() for stream in streams}
    assert len(first) == len(POPULATIONS)
    job = Job(0, 7, 1, True, EVEN, "meningioma")
    assert (job.name, job.files) == ("Meningioma_007", ("t1ce", "seg"))


def test_meningiomas_are_of_the_size_that_they_should_be_and_enhance_wholly():
    drawn = [draw_meningioma(np.random.default_rng(i), EVEN) for i in range(400)]
    volumes = np.array([t.whole_ml for t in drawn])
    assert LIMITS_ML[0] <= volumes.min() < volumes.max() <= LIMITS_ML[1]
    assert np.median(volumes) == pytest.approx(17, rel=.15)
    assert all(t.core_ml == t.whole_ml and t.enhancing and not t.bleeding for t in drawn)
    assert np.mean([t.oedema_water > 0 for t in drawn]) == pytest.approx(.4, abs=.08)


def test_sites_scan_as_they_say():
    thin, thick = draw_thin_t1ce(np.random.default_rng(3), EVEN), draw_thick(np.random.default_rng(3), EVEN)
    assert (thin.field, tuple(thin.series), thick.field, tuple(thick.series)) == (1.5, ("t1ce",), 3.0, MODALITIES)
    assert 1.0 <= thin.series["t1ce"].thickness <= 1.2
    assert all(4.0 <= s.thickness <= 5.5 and s.axis == 2 for s in thick.series.values())


def test_a_meningioma_sits_on_the_dura_and_enhances_evenly(meningioma):
    volumes, meta = meningioma
    assert tuple(volumes) == ("t1ce", "seg")
    tumour, brain = volumes["seg"] == 4, volumes["t1ce"] > 0
    assert set(np.unique(volumes["seg"])) == {0, 4}
    assert tumour.sum() * 8 / 1000 == pytest.approx(meta["tumour"]["core_ml"], rel=.1)
    assert not (tumour & ~brain).any()
    neighbours = [np.roll(~brain, step, axis) for step in (1, -1) for axis in range(3)]
    assert (tumour & np.logical_or.reduce(neighbours)).sum() > .05 * tumour.sum()  # a broad base
    values = volumes["t1ce"][tumour]
    assert np.median(values) > 1.4 * np.median(volumes["t1ce"][brain & ~tumour])
    assert values.std() < .25 * values.mean()


def test_a_meningioma_does_not_cross_the_midline(meningioma):
    volumes, meta = meningioma
    x = meta["mass"]["centre"][0]
    own = 118.3 / 2 - np.sign(x) * np.arange(1, 40)  # columns of its side, from the midline outwards
    whole = (volumes["seg"] > 0).sum()
    side = (volumes["seg"][np.rint(own).astype(int)] > 0).sum()
    assert side > .97 * whole


def test_thick_cases_have_four_modalities_on_slices_of_4_mm(thick):
    volumes, meta = thick
    assert tuple(volumes) == (*MODALITIES, "seg")
    assert {v.shape for v in volumes.values()} == {(240, 240, 39)}
    assert volumes["flair"].dtype == np.int16
    brain = volumes["t1"] > 0
    assert all(((volumes[m] > 0) == brain).all() for m in MODALITIES)
    assert brain.sum() * 4 / 1000 == pytest.approx(meta["ml"]["brain"], rel=.02)
    tumour = meta["ml"]["necrosis"] + meta["ml"]["oedema"] + meta["ml"]["enhancing"]
    assert (volumes["seg"] > 0).sum() * 4 / 1000 == pytest.approx(tumour, rel=.05)
