"""MMCCD's study of stripes and steps: every stride is what inference makes of it; the stage on a toy store."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.diffusion.noise import Noise
from gliomap.engine import weights
from gliomap.methods import stripe_study
from gliomap.methods.mmccd import Training
from gliomap.methods.stripes import every_stripe
from gliomap.methods.translator import Translator
from stage_toys import ROOT, SHAPE, main, stage_of, write_store
from stage_toys import SIZE as STORED
from test_mmccd import DIFFUSION, SIZE, TRAIN, batch_of, disk, random_net, scorer_of
from test_mmccd import SHAPE as NET

STUDY = "predictions/mmccd/study.npz"


def test_members_by_hand():
    finest = every_stripe(10, 4, 2, "valid")
    assert finest.start.tolist() == [0, 2, 4, 6] * 2
    parts = stripe_study.members(finest, (2, 4, 6), "valid")
    assert parts.int().tolist() == [[1] * 8, [1, 0, 1, 1] * 2, [1, 0, 0, 1] * 2]  # 4: the last one is flush with the border
    assert stripe_study.members(every_stripe(10, 4, 2, "code"), (4,), "code").int().tolist() == [[1, 0, 1, 0, 1] * 2]


@pytest.mark.parametrize("edge", ["valid", "code"])
def test_each_stride_is_what_inference_makes_of_it(edge):
    x, brain, f, g = torch.randn(3, 1, SIZE, SIZE), disk(), random_net(2, True), random_net(1, False)
    changes = {"ddim_steps": 2, "mask_edge": edge}
    finest = scorer_of(f, g, mask_stride=1, pairs=7, **changes)
    strides = (1, 2, 4)
    parts = stripe_study.members(finest.stripes, strides, edge)
    maps, evaluations = stripe_study.by_stride(finest, batch_of(x, brain), Noise(0), parts)
    for stride, found, calls in zip(strides, maps, evaluations):
        alone = scorer_of(f, g, mask_stride=stride, **changes).score(batch_of(x, brain), Noise(0))
        assert torch.allclose(found, alone.map, rtol=1e-3, atol=1e-5)
        assert torch.equal(calls, alone.evaluations)
    assert not torch.allclose(maps[0], maps[2], atol=1e-3)


@pytest.mark.parametrize(("strides", "words"), [
    ((2, 3), "tradeoff.strides are 2, 3, expected multiples of the smallest"),
    ((), "tradeoff.strides are none"),
    ((2, 6), "has 6, expected at most the stripe's width 4"),
])  # fmt: skip
def test_strides_that_do_not_fit_are_one_sentence(strides, words):
    with pytest.raises(UserError, match=words) as error:
        stripe_study.check_strides(strides, 4)
    assert "\n" not in str(error.value)
    stripe_study.check_strides((2, 4), 4)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project folder at scale=smoke with networks that were never trained."""
    folder = tmp_path_factory.mktemp("project") / "toy"
    shutil.copytree(ROOT / "conf", folder / "conf")
    text = (ROOT / "params.yaml").read_text()
    for old, new in (("scale: laptop", "scale: smoke"), ("slice_step: auto", "slice_step: 1")):
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text)
    write_store(folder / "data" / "slices" / "common", np.random.default_rng(0).uniform(-1, 1, SHAPE))
    made = (Training(("flair", "t2"), STORED, (NET, DIFFUSION, TRAIN), "code"), Translator(("t2", "flair"), NET, STORED))
    for method, place in zip(made, ("mmccd/flair-t2", "translator/t2-flair")):
        for net in method.nets.values():
            for parameter in net.parameters():
                torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
        states = {name: net.state_dict() for name, net in method.nets.items()}
        weights.save(folder / "models" / place, states, states, {"method": method.name, "networks": method.arguments})
    return folder


def test_the_stage_writes_every_setting_the_same_twice_without_a_mask(template, copy_of):
    folder = copy_of(template)
    assert not list(folder.glob("data/slices/common/masks_*"))
    main("study_mmccd", "flair-t2")
    found, first = files.read_npz(STUDY), files.md5(STUDY)
    slices, labels = len(found["rows"]), files.read_csv("data/slices/common/labels_val.csv").set_index("row")["tumour"]
    assert slices >= 1
    assert labels[found["rows"]].all()
    assert list(zip(found["stride"].tolist(), found["steps"].tolist())) == [(2, 1), (4, 1), (2, 2), (4, 2)]
    assert found["map"].shape == (4, slices, STORED, STORED)
    brain = np.load("data/slices/common/brain.npy")[found["rows"]] > 0
    assert np.abs(found["map"][:, ~brain]).max() == 0
    assert found["map"][:, brain].std() > 0
    # a stripe of one step takes f and g, of two steps f twice
    assert found["evaluations"].sum(1).tolist() == (found["evaluations"].sum(1)[[0, 1, 0, 1]] * [1, 1, 1.5, 1.5]).tolist()
    main("study_mmccd", "flair-t2")
    assert files.md5(STUDY) == first


@pytest.mark.parametrize(("name", "value", "words"), [
    ("strides", "[99]", r"tradeoff.strides has 99, expected at most the stripe's width"),
    ("steps", "[]", r"tradeoff.steps is empty, expected numbers of DDIM steps"),
])  # fmt: skip
def test_settings_that_cannot_be_name_their_own_parameter(template, copy_of, name, value, words):
    path = copy_of(template) / "params.yaml"
    head, own, rest = path.read_text().partition("\ntradeoff:")
    path.write_text(head + own + rest.replace(f"  {name}: auto ", f"  {name}: {value} ", 1))
    with pytest.raises(UserError, match=words):
        main("study_mmccd", "flair-t2")


def test_slices_of_the_study_have_a_tumour_and_are_spread(tmp_path):
    stage = stage_of("study_mmccd")
    index = pd.DataFrame({"row": range(20), "case": "c", "z": range(20), "split": "val"})
    slices = SimpleNamespace(index=index, rows=lambda split, tumour: np.arange(5, 12), folder=tmp_path)
    assert stage.picked(slices, 1, 3).tolist() == [5, 8, 11]
    assert stage.picked(slices, 1, 99).tolist() == list(range(5, 12))
    assert stage.picked(slices, 2, 99).tolist() == [5, 7, 9, 11]
    slices.rows = lambda split, tumour: np.arange(0)
    with pytest.raises(UserError, match=r"labels_val.csv: none of the slices that inference scores has a tumour"):
        stage.picked(slices, 1, 3)
