"""TSGM's input configurations: which modalities, which scale, and one image a (slice, modality) pair."""

import numpy as np
import pytest
import torch

from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.methods import variants

ALL = ("t1", "t1ce", "t2", "flair")


@pytest.mark.parametrize(
    ("variant", "available", "expected"),
    [
        ("single", ALL, ALL),
        ("single", ("flair", "t1ce"), ("t1ce", "flair")),
        ("flair", ("t1ce",), ("flair",)),
        ("t2", ALL, ("t2",)),
        ("multi", ("t1ce",), ALL),
    ],
)
def test_single_takes_what_there_is_and_the_others_need_theirs(variant, available, expected):
    assert variants.modalities_of(variant, available) == expected
    assert variants.channels(variant) == (4 if variant == "multi" else 1)


def test_to_unit_maps_the_recipes_ranges_to_0_1():
    x = torch.tensor([-1.0, 0.0, 1.0])
    assert torch.equal(variants.to_unit(x, -1.0), torch.tensor([0.0, 0.5, 1.0]))
    assert variants.to_unit(x, 0.0) is x


@pytest.mark.parametrize("background", [-3.0, float("nan")])
def test_a_recipe_without_a_fixed_range_is_refused(background):
    with pytest.raises(UserError, match=r"background is .*expected -1"):
        variants.to_unit(torch.zeros(1), background)


def test_minmax_takes_each_image_of_each_channel_by_itself():
    ramp = torch.tensor([0.0, 1.0, 2.0, 4.0]).reshape(1, 1, 2, 2)
    x = torch.cat([torch.cat([ramp, 5 - 2 * ramp], 1), torch.full((1, 2, 2, 2), 0.7)])
    out = variants.minmax(x)
    torch.testing.assert_close(out[0, 0].flatten(), torch.tensor([0.0, 0.25, 0.5, 1.0]))
    torch.testing.assert_close(out[0, 1].flatten(), torch.tensor([1.0, 0.75, 0.5, 0.0]))
    assert (out[1] == 0).all()


def test_split_puts_the_modalities_of_a_slice_side_by_side_and_join_undoes_it():
    x = torch.arange(2 * 4 * 9.0).reshape(2, 4, 3, 3)
    flat = variants.split(x, "single")
    assert flat.shape == (8, 1, 3, 3)
    assert torch.equal(flat[5, 0], x[1, 1])
    assert torch.equal(variants.join(flat, 2), x)
    assert variants.split(x, "multi") is x
    assert torch.equal(variants.join(x, 2), x)


def test_drawn_picks_one_modality_a_slice_all_about_as_often_whatever_the_batch():
    rows = torch.arange(400)
    x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(400, 4, 2, 2)
    out = variants.drawn(x, Noise(0), rows, 7, "name")
    assert out.shape == (400, 1, 2, 2)
    assert (np.bincount(out[:, 0, 0, 0].int().numpy(), minlength=4) > 70).all()
    assert torch.equal(variants.drawn(x[30:33], Noise(0), rows[30:33], 7, "name"), out[30:33])
