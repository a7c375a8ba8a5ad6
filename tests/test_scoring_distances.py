"""Surface distances: closed forms of discs and points, MONAI, the formulas of the other definitions, empty masks."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from scipy import ndimage

from gliomap.scoring import distances
from scoring_toys import disc


def blobs(count, seed, size=48):
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.standard_normal((count, size, size)), (0, 2, 2)) > 0.1


@pytest.mark.parametrize(("inner", "outer"), [(8, 8), (8, 14), (15, 9)])
def test_concentric_discs_are_the_difference_of_radii_apart(inner, outer):
    a, b = (disc(r, (32, 32), 64)[None] for r in (inner, outer))
    for values in distances.of_slices(a, b, 1.0).values():
        assert values[0] == pytest.approx(abs(inner - outer), abs=0.8)


@pytest.mark.parametrize("pixel_mm", [1.0, 1.875])
def test_two_pixels_are_their_distance_apart_in_the_unit_of_the_name(pixel_mm):
    a, b = np.zeros((2, 1, 9, 9), bool)
    a[0, 1, 1] = b[0, 4, 5] = True
    for name, values in distances.of_slices(a, b, pixel_mm).items():
        assert values[0] == pytest.approx(5 * (pixel_mm if name.endswith("_mm") else 1))


def test_definitions_differ_where_they_should():
    """Truth: 1 pixel. Prediction: that pixel and 3 others, 3, 4 and 12 away; none touch, all are border."""
    a, b = np.zeros((2, 1, 1, 30), bool)
    b[0, 0, 10] = True
    a[0, 0, [10, 13, 14, 22]] = True
    there, back = np.array([0, 3, 4, 12]), np.array([0])
    found = {k: v[0] for k, v in distances.of_slices(a, b, 2.0).items()}
    assert found["hd95_max_directed_mm"] == pytest.approx(2 * np.percentile(there, 95))
    assert found["hd95_pooled_mm"] == pytest.approx(2 * np.percentile(np.r_[there, back], 95))
    assert found["assd_mean_of_directed_px"] == pytest.approx((19 / 4 + 0) / 2)
    assert found["assd_mean_of_directed_mm"] == pytest.approx(19 / 4)
    assert found["assd_pooled_mm"] == pytest.approx(2 * 19 / 5)


def test_monai_gives_the_same():
    a, b = blobs(12, 0), blobs(12, 1)
    p, t = (torch.tensor(m[:, None]).float() for m in (a, b))
    found = distances.of_slices(a, b, 1.5)
    hd95 = compute_hausdorff_distance(p, t, include_background=True, percentile=95, spacing=1.5)
    np.testing.assert_allclose(found["hd95_max_directed_mm"], hd95[:, 0], rtol=1e-5)
    pooled = compute_average_surface_distance(p, t, include_background=True, symmetric=True, spacing=1.5)
    np.testing.assert_allclose(found["assd_pooled_mm"], pooled[:, 0], rtol=1e-5)
    one_way = [compute_average_surface_distance(*pair, include_background=True) for pair in ((p, t), (t, p))]
    np.testing.assert_allclose(found["assd_mean_of_directed_px"], (one_way[0] + one_way[1])[:, 0] / 2, rtol=1e-5)


def test_masks_at_the_edge_of_the_image_have_a_border_there():
    full, corner = np.ones((1, 20, 20), bool), np.zeros((1, 20, 20), bool)
    corner[0, :5, :5] = True
    assert distances.of_slices(full, full, 1.0)["hd95_pooled_mm"][0] == 0
    directed = distances.directed(corner[0], full[0])[0]
    assert sorted(set(directed.tolist())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 1), (1, 0)])
def test_an_empty_mask_has_no_distances(a, b):
    one, other = (np.full((1, 8, 8), bool(v)) for v in (a, b))
    assert all(np.isnan(v[0]) for v in distances.of_slices(one, other, 1.0).values())


def test_no_slices_give_no_distances():
    assert all(v.shape == (0,) for v in distances.of_slices(np.zeros((0, 8, 8)), np.zeros((0, 8, 8)), 1.0).values())
