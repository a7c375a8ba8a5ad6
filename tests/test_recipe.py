"""What every recipe promises, on volumes small enough to reckon by hand."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.data import intensity
from gliomap.data.case import CAVITY
from gliomap.data.recipe import levels, prepare
from gliomap.data.recipes import RECIPES
from gliomap.data.scan import Scan
from recipe_toys import ALL, ANOFPDM, COMMON, TSGM, pixels, scan


@pytest.mark.parametrize("name", RECIPES)
def test_shapes_types_and_binary_masks(name):
    recipe = replace(ALL[name], size=32)
    found = prepare(scan(tumour=[(3, 5), (4, 6)]), recipe, "train")
    n = len(found.z)
    assert found.images.shape == (n, 4, 32, 32)
    assert found.images.dtype == np.float16
    assert np.isfinite(found.images).all()
    for array in (found.brain, found.masks):
        assert array.shape == (n, 32, 32)
        assert array.dtype == np.uint8
        assert set(np.unique(array)) == {0, 1}
    assert found.quantiles.shape == (4, 257)
    assert (np.diff(found.quantiles) >= 0).all()
    assert found.tumour.tolist() == [z in (3, 4) for z in found.z]
    assert (np.diff(found.z) > 0).all()


@pytest.mark.parametrize("name", RECIPES)
def test_far_outside_the_head_is_exactly_the_background(name):
    found = prepare(scan(), ALL[name], "train")
    assert (found.images[:, :, 0, 0] == ALL[name].background).all()
    assert not found.brain[:, 0, 0].any()


@pytest.mark.parametrize("name", RECIPES)
def test_scanner_units_do_not_matter(name):
    one = scan(tumour=[(3, 5)])
    times = Scan({k: (v * np.float32(3)) for k, v in one.volumes.items()}, one.labels)
    np.testing.assert_allclose(
        prepare(one, ALL[name], "train").images.astype(float),
        prepare(times, ALL[name], "train").images.astype(float), atol=0.0041,
    )  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_an_empty_modality_is_refused_by_name(name):
    broken = scan()
    broken.volumes["t2"][:] = 0
    with pytest.raises(UserError, match="t2"):
        prepare(broken, ALL[name], "train")


@pytest.mark.parametrize("name", ["common", "tsgm", "mmccd", "ddmd"])
def test_a_scan_without_the_slices_is_refused(name):
    with pytest.raises(UserError, match="10 mm"):
        prepare(scan(), replace(ALL[name], z_last=10), "train")


@pytest.mark.parametrize("name", ["common", "tsgm", "mmccd", "ddmd"])
def test_an_empty_range_of_slices_is_refused(name):
    with pytest.raises(UserError, match="z_first is 9"):
        prepare(scan(), replace(ALL[name], z_first=9), "train")


@pytest.mark.parametrize("name", ["common", "mmccd", "ddmd"])
def test_quantiles_make_the_intensities_of_the_brain_uniform(name):
    """Equalising native voxels with the stored quantiles gives a flat histogram."""
    recipe, one = replace(ALL[name], **({"p_up": 0.995} if name == "common" else {})), scan(shape=(40, 40, 10))
    values = np.sort(one.volumes["t1"][one.brain()])
    toned = recipe.tone("t1", values)(values)
    ranks = np.interp(toned, prepare(one, recipe, "train").quantiles[0], intensity.SHARES)
    share = np.histogram(ranks[(ranks > 0.02) & (ranks < 0.98)], 12, (0.02, 0.98))[0]
    assert share.std() / share.mean() < 0.03


@pytest.mark.parametrize("recipe", [replace(TSGM, follow="code"), ANOFPDM], ids=["tsgm", "anofpdm"])
def test_quantiles_of_slicewise_recipes_are_those_of_the_stored_brain(recipe):
    found = prepare(scan(), recipe, "train")
    inside = pixels(found)[found.brain.astype(bool)]
    np.testing.assert_allclose(found.quantiles[0, [0, 128, 256]], np.quantile(inside, [0, 0.5, 1]), atol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_a_cavity_without_tumour_is_neither_diseased_nor_healthy(name):
    one = scan(tumour=[(4, 3)])
    one.labels[10, 10, 5] = CAVITY
    one.labels[10, 10, 4] = CAVITY
    found = prepare(one, ALL[name], "train")
    assert 5 not in found.z
    assert 4 in found.z
    assert found.dropped == {"resection cavity without tumour": 1}
    assert found.tumour_px[found.z == 4] == 9


@pytest.mark.parametrize("name", RECIPES)
def test_two_millimetre_voxels_give_the_same_planes_as_their_one_millimetre_copy(name):
    coarse = scan(shape=(12, 12, 5), voxel=2)
    doubled = {k: v.repeat(2, 0).repeat(2, 1).repeat(2, 2) for k, v in coarse.volumes.items()}
    fine = Scan(doubled, np.zeros((24, 24, 10), np.uint8))
    np.testing.assert_array_equal(coarse.plane(coarse.volumes["t2"], 5, 20), fine.plane(doubled["t2"], 5, 20))
    ours, theirs = prepare(coarse, ALL[name], "train"), prepare(fine, ALL[name], "train")
    np.testing.assert_array_equal(ours.z, theirs.z)
    np.testing.assert_allclose(ours.images.astype(float), theirs.images.astype(float), atol=0.1)  # few voxels: quantiles
    np.testing.assert_array_equal(ours.brain, theirs.brain)


@pytest.mark.parametrize("name", RECIPES)
def test_the_section_reads_from_params_yaml_as_written_and_refuses_a_stranger(name, tmp_path):
    values = asdict(ALL[name])
    assert params.convert(_listed(values), RECIPES[name], "params.yaml", f"preprocess.{name}") == ALL[name]
    with pytest.raises(UserError, match="siez"):
        params.convert(_listed(values) | {"siez": 3}, RECIPES[name], "params.yaml", f"preprocess.{name}")


def _listed(values: dict) -> dict:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def test_rows_lead_to_posterior_and_columns_to_left():
    one = scan()
    one.volumes["t1"][5, 18, 4] = 20000  # x 5, y 18
    plane = one.plane(one.volumes["t1"], 4, 24)
    assert np.unravel_index(plane.argmax(), plane.shape) == (18, 5)


def test_levels_are_inclusive():
    assert levels(80, 128, 1, 155).tolist() == list(range(80, 129))
    assert len(levels(70, 89, 1, 155)) == 20
    assert levels(80, 128, 8, 155).tolist() == [80, 88, 96, 104, 112, 120, 128]


def test_slices_dropped_to_the_last_are_a_skipped_case():
    found = prepare(scan(), replace(COMMON, min_brain_mm2=257), "train")  # the brain has 16 x 16
    assert found.dropped == {"little brain": 7}
    assert "dropped" in found.skipped
    assert found.images.shape == (0, 4, 12, 12)
    assert len(prepare(scan(), replace(COMMON, min_brain_mm2=256), "train").z) == 7
