"""Each of the five recipes against its paper or code, on volumes small enough to reckon by hand."""

from dataclasses import replace

import numpy as np
import pytest

from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.data.recipe import binary, prepare
from gliomap.data.recipes import Norm
from gliomap.data.resample import area
from recipe_toys import ANOFPDM, COMMON, DDMD, MMCCD, PERCENTILES, TSGM, pixels, scan

# common


def test_common_sends_zero_to_minus_one_and_the_quantile_to_one_and_cuts_there():
    one = scan()
    values = np.sort(one.volumes["t1"][one.brain()])
    tone = replace(COMMON, p_up=0.995).tone("t1", values)
    top = np.quantile(values, 0.995)
    np.testing.assert_allclose(tone(np.array([0, top / 2, top, 2 * top])), [-1, 0, 1, 1], atol=1e-6)


def test_common_pixel_is_the_mean_of_four_and_outside_the_brain_minus_one():
    one = scan()
    found = prepare(one, COMMON, "train")
    plane = one.volumes["t1"][:, :, 2].T.astype(float)
    expected = plane.reshape(12, 2, 12, 2).mean((1, 3)) / plane_top(one) * 2 - 1
    np.testing.assert_allclose(pixels(found)[0], expected, atol=1e-3)
    assert (pixels(found)[~found.brain.astype(bool)] == -1).all()
    assert found.z.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert COMMON.pixel_mm == 2


def plane_top(one):
    return one.volumes["t1"].max()


def test_common_keeps_pixels_that_are_half_brain_or_half_tumour():
    one = scan()
    for name in MODALITIES:
        one.volumes[name][3, 4:-4, 2] = 500  # one more column of brain: half of the pixels x 2, 3
    one.labels[4:7, 4:7, 2] = 1  # pixel (2, 2) is all tumour, (2, 3) and (3, 2) half, (3, 3) a quarter
    found = prepare(one, COMMON, "train")
    assert found.brain[0].sum() == 8 * 9
    assert found.masks[0][2:4, 2:4].tolist() == [[1, 1], [1, 0]]
    assert found.tumour_px[0] == 9


def test_common_label_is_native_so_a_vanished_tumour_still_makes_a_tumour_slice():
    found = prepare(scan(tumour=[(3, 1)]), COMMON, "train")
    assert found.tumour.tolist() == [False, True, False, False, False, False, False]
    assert not found.masks.any()


# mmccd


def test_mmccd_affine_sends_zero_to_minus_three_and_the_quantile_to_three_without_cutting():
    values = np.arange(0, 1001)
    tone = MMCCD.tone("flair", values)
    top = np.quantile(values[1:], 0.90)
    np.testing.assert_allclose(tone(np.array([0, top, 2 * top])), [-3, 3, 9], atol=1e-6)


def test_mmccd_affine_does_not_know_the_lower_percentile():
    values = np.arange(0, 1001)
    other = replace(MMCCD, norm=replace(MMCCD.norm, p_lo=0.4))
    assert other.tone("t1", values) == MMCCD.tone("t1", values)


@pytest.mark.parametrize(
    ("p_up", "follow", "share"),
    [(0.98, "code", 0.98), ("follow", "code", 0.90), ("follow", "paper", 0.98)],
)
def test_mmccd_percentiles_are_set_or_followed(p_up, follow, share):
    norm = Norm("code_affine", replace(PERCENTILES, t1=p_up), 0.02)
    tone = replace(MMCCD, follow=follow, norm=norm).tone("t1", np.arange(0, 1001))
    assert tone.unit == pytest.approx(np.quantile(np.arange(1, 1001), share))


def test_mmccd_zscore_has_mean_0_and_sd_1_inside_the_window():
    values = np.sort(np.random.default_rng(1).gamma(4, 100, 5000))
    recipe = replace(MMCCD, follow="paper")
    low, high = np.quantile(values, [0.02, 0.90])
    inside = recipe.tone("flair", values)(values)[(values >= low) & (values <= high)]
    assert inside.mean() == pytest.approx(0, abs=1e-6)
    assert inside.std() == pytest.approx(1, abs=1e-6)
    assert recipe.background is None
    assert replace(recipe, norm=replace(recipe.norm, mode="code_affine")).background == -3


def test_mmccd_trains_on_the_range_and_tests_on_the_largest_tumour():
    one = scan(tumour=[(1, 9), (4, 3), (6, 5), (7, 5)])  # plane 1 is below the range, 6 and 7 are equals
    assert prepare(one, MMCCD, "train").z.tolist() == [2, 3, 4, 5, 6, 7, 8]
    for split in ("val", "test"):
        assert prepare(one, MMCCD, split).z.tolist() == [6]
    assert prepare(one, replace(MMCCD, z_step=4), "train").z.tolist() == [2, 6]
    assert prepare(one, replace(MMCCD, z_step=4), "test").z.tolist() == [6]  # whatever the step


def test_mmccd_skips_a_test_patient_without_tumour_in_the_range():
    found = prepare(scan(tumour=[(1, 9)]), MMCCD, "test")
    assert len(found.z) == 0
    assert "no tumour" in found.skipped


def test_mmccd_brain_is_that_of_t2_and_every_touched_pixel():
    one = scan()
    one.volumes["t2"][:5] = 0
    found = prepare(one, MMCCD, "train")  # 240 mm to 120 px: the 24 x 24 voxels become 12 x 12 pixels in the centre
    assert found.brain[0].any(0).nonzero()[0][[0, -1]].tolist() == [54 + 2, 54 + 9]
    assert found.brain[0].sum() == 8 * 8


@pytest.mark.parametrize(
    ("radius", "growth", "dice"), [(5, 1.67, 0.81), (10, 1.24, 0.88), (20, 1.13, 0.95), (35, 1.06, 0.98)]
)
def test_mmccd_label_dilation_table(radius, growth, dice):
    """Section 1.5 of its spec: area growth of a disk by "> 0" at 240 -> 128, and Dice against ">= 0.5"."""
    y, x = np.mgrid[:240, :240]
    grown, overlap = [], []
    for dx in np.linspace(0, 1.5, 4):
        for dy in np.linspace(0, 1.5, 4):
            disk = (x - 120 - dx) ** 2 + (y - 120 - dy) ** 2 <= radius**2
            touched, half = binary(disk, area(240, 128), "any"), binary(disk, area(240, 128), "half")
            grown.append(touched.sum() * 1.875**2 / disk.sum())
            overlap.append(2 * (touched & half).sum() / (touched.sum() + half.sum()))
    assert np.mean(grown) == pytest.approx(growth, rel=0.06)
    assert np.mean(overlap) == pytest.approx(dice, abs=0.03)


@pytest.mark.parametrize(("rule", "expected"), [("any", [1, 1, 1]), ("half", [1, 1, 0]), ("more", [1, 0, 0])])
def test_label_rules_at_the_boundary(rule, expected):
    plane = np.zeros((6, 6), bool)
    plane[:2, :2] = True  # whole
    plane[:2, 2] = True  # half
    plane[0, 4] = True  # a quarter
    assert binary(plane, area(6, 3), rule)[0].astype(int).tolist() == expected


def test_nearest_takes_the_pixel_at_the_centre():
    plane = np.eye(6, dtype=bool)
    np.testing.assert_array_equal(binary(plane, area(6, 2), "nearest"), np.eye(2, dtype=bool))


# tsgm and ddmd


def test_tsgm_is_8_bit_cut_down_between_the_percentiles():
    values = np.arange(0, 1002)
    tone = TSGM.tone("t1", values)
    low, high = np.quantile(values[1:], [0.01, 0.99])
    v = np.array([0, low, low + (high - low) * 0.5, high - 1e-3, high, 2000])
    np.testing.assert_allclose(tone(v) * 255, [0, 0, 127, 254, 255, 255], atol=1e-4)


def test_tsgm_pads_to_256_and_keeps_the_label():
    found = prepare(scan(tumour=[(3, 3)]), TSGM, "train")
    assert TSGM.pixel_mm == 1
    assert found.images.shape[2:] == (256, 256)
    assert found.masks[1].sum() == 9
    assert found.masks[1, 120, 120] == 1  # (256 - 24) / 2 + 4


def test_tsgm_loader_scales_each_image_of_a_slice_only_in_the_code():
    one = scan()
    one.volumes["t1"][:, :, 5] //= 4  # a dim slice
    paper, code = prepare(one, TSGM, "train"), prepare(one, replace(TSGM, follow="code"), "train")
    assert pixels(paper)[3].max() < 0.3
    assert pixels(code)[3].max() == 1
    np.testing.assert_allclose(pixels(code)[3], pixels(paper)[3] / pixels(paper)[3].max(), atol=2e-3)
    assert prepare(one, replace(TSGM, loader="slice_minmax"), "train").images.tobytes() == code.images.tobytes()
    assert pixels(code, "t2").max() == 1


def test_tsgm_drops_slices_where_a_modality_stays_below_15_of_255():
    one = scan()
    one.volumes["flair"][:, :, 6] = np.minimum(one.volumes["flair"][:, :, 6], 40)  # about 8 of 255
    found = prepare(one, TSGM, "train")
    assert found.z.tolist() == [2, 3, 4, 5, 7, 8]
    assert found.dropped == {"dim": 1}
    assert 6 in prepare(one, replace(TSGM, min_level=0), "train").z


def test_ddmd_is_the_window_unquantised_in_either_range():
    values = np.arange(0, 1002)
    low, high = np.quantile(values[1:], [0.01, 0.99])
    v = np.array([0, low, (low + high) / 2, high, 2000])
    np.testing.assert_allclose(DDMD.tone("t1", values)(v), [0, 0, 0.5, 1, 1], atol=1e-6)
    symmetric = replace(DDMD, range="symmetric")
    np.testing.assert_allclose(symmetric.tone("t1", values)(v), [-1, -1, 0, 1, 1], atol=1e-6)
    assert (DDMD.background, symmetric.background) == (0, -1)


def test_ddmd_128_tier_is_the_mean_of_2_by_2_and_keeps_the_full_resolution_label():
    one = scan(tumour=[(3, 1), (4, 2)])
    full, half = prepare(one, DDMD, "train"), prepare(one, replace(DDMD, size=128), "train")
    means = pixels(full).reshape(7, 128, 2, 128, 2).mean((2, 4))
    np.testing.assert_allclose(pixels(half), means, atol=1e-3)
    assert half.tumour.tolist() == full.tumour.tolist() == [False, True, True, False, False, False, False]
    assert half.masks.any((1, 2)).tolist() == [False, False, True, False, False, False, False]


def test_a_flat_brain_cannot_be_windowed():
    with pytest.raises(UserError, match="one intensity 5"):
        prepare(scan(low=5, high=5), DDMD, "train")


# anofpdm


def test_anofpdm_keeps_everything_between_the_first_and_last_slice_with_content():
    one = scan()
    for name in MODALITIES:
        one.volumes[name][:, :, 4] = 0
    assert prepare(one, ANOFPDM, "train").z.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (prepare(one, ANOFPDM, "train").images[3] == -1).all()  # an empty slice


def test_anofpdm_content_is_a_sum_of_more_than_a_half():
    one = scan()
    for k, name in enumerate(MODALITIES):
        one.volumes[name][:, :, [1, 8]] = 0
        if k == 0:
            one.volumes[name][12, 12, 1] = 20000  # far more than 4 x 0.5 quantiles
            one.volumes[name][12, 12, 8] = 300  # about 0.3 / 4
    assert prepare(one, ANOFPDM, "train").z.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_anofpdm_code_spans_minus_one_to_one_in_every_slice_and_modality():
    found = pixels(prepare(scan(), ANOFPDM, "train"), "flair")
    np.testing.assert_allclose(found.min((1, 2)), -1, atol=1e-6)
    np.testing.assert_allclose(found.max((1, 2)), 1, atol=1e-3)


def test_anofpdm_paper_cuts_at_the_percentile_of_the_slice():
    one = scan()
    one.volumes["t1"][12, 12, 5] = 30000  # one bright voxel rescales a slice in the code only
    code, paper = (prepare(one, replace(ANOFPDM, follow=f, size=240), "train") for f in ("code", "paper"))
    at = list(code.z).index(5)
    assert np.median(pixels(code)[at][code.brain[at] > 0]) < -0.9
    assert np.median(pixels(paper)[at][paper.brain[at] > 0]) > -0.3
    assert pixels(paper)[at].max() == 1


def test_anofpdm_label_is_that_of_the_mask_on_the_grid_where_more_than_half_counts():
    found = prepare(scan(tumour=[(3, 1), (4, 2), (5, 4)]), ANOFPDM, "train")
    at = dict(zip(found.z.tolist(), zip(found.tumour.tolist(), found.tumour_px.tolist(), strict=True), strict=True))
    assert at[3] == (False, 1)  # vanishes: a healthy slice
    assert at[4] == (True, 4)
    assert at[5] == (True, 16)
