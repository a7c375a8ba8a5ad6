"""MMCCD's stripes: the spec's counts and coverage, and that the vectorised pieces agree with slices of arrays."""

import pytest
import torch

from gliomap.methods.stripes import every_stripe


@pytest.mark.parametrize(
    ("stride", "edge", "count"), [(2, "valid", 114), (2, "code", 128), (4, "valid", 58), (8, "valid", 30), (16, "valid", 16)]
)
def test_counts_of_the_spec(stride, edge, count):
    assert len(every_stripe(128, 16, stride, edge)) == count


@pytest.mark.parametrize(("edge", "share"), [("valid", 0.61), ("code", 0.79)])
def test_coverage_of_the_spec(edge, share):
    coverage = every_stripe(128, 16, 2, edge).mask.sum(0)
    assert (coverage.min(), coverage.max()) == (2, 16)
    assert (coverage == 16).float().mean() == pytest.approx(share, abs=0.005)


def test_a_stride_that_does_not_fit_gets_a_last_stripe_at_the_border():
    stripes = every_stripe(48, 6, 4, "valid")
    assert stripes.start[: len(stripes) // 2].tolist() == [*range(0, 41, 4), 42]
    assert stripes.mask.sum(0).min() >= 2


@pytest.mark.parametrize("edge", ["valid", "code"])
def test_masks_and_spread_equal_array_slices(edge):
    stripes = every_stripe(12, 4, 3, edge)
    values = torch.randn(len(stripes), 4, 12)
    mask, spread = stripes.mask, stripes.spread(values)
    for i, (axis, start) in enumerate(zip(stripes.axis.tolist(), stripes.start.tolist(), strict=True)):
        expected, width = torch.zeros(12, 12), min(4, 12 - start)
        expected[start : start + width] = values[i, :width]
        covered = torch.zeros(12, 12, dtype=torch.bool)
        covered[start : start + width] = True
        if axis == 1:
            expected, covered = expected.T, covered.T
        assert torch.equal(mask[i, 0], covered)
        assert torch.equal(spread[i, 0] * covered, expected)


def test_a_stripe_meets_a_region_where_it_covers_one_of_its_pixels():
    torch.manual_seed(0)
    stripes = every_stripe(16, 4, 2, "code")
    regions = torch.rand(5, 16, 16) > 0.97
    regions[4] = False
    assert torch.equal(stripes.meet(regions), (stripes.mask[:, 0] & regions[:, None]).flatten(2).any(2))


def test_identities_do_not_depend_on_the_stride():
    fine, coarse = every_stripe(32, 8, 1, "code"), every_stripe(32, 8, 4, "valid")
    assert len(set(fine.identity.tolist())) == 64
    at = {i: (a, s) for i, a, s in zip(fine.identity.tolist(), fine.axis.tolist(), fine.start.tolist(), strict=True)}
    for i, a, s in zip(coarse.identity.tolist(), coarse.axis.tolist(), coarse.start.tolist(), strict=True):
        assert at[i] == (a, s)
