"""Released weights: same bytes, same tensors, and one sentence for each way in which they can be wrong."""

import json

import pytest
import torch
from torch import nn

from gliomap.base.errors import UserError
from gliomap.engine import weights


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))


def saved(folder, model=None):
    model = model or net()
    states = {"g": model.state_dict(), "f": nn.Linear(2, 2).state_dict()}
    averaged = {name: {key: 2 * value for key, value in state.items()} for name, state in states.items()}
    weights.save(folder, states, averaged, {"method": "toy", "networks": {"width": 4}})
    return states, averaged


@pytest.mark.parametrize(("which", "index"), [("raw", 0), ("ema", 1)])
def test_round_trip(tmp_path, which, index):
    expected = saved(tmp_path)[index]
    meta, found = weights.load(tmp_path, which, "toy")
    assert meta["networks"] == {"width": 4}
    assert meta["elements"]["f"] == 6
    assert set(found) == set(expected)
    for name in expected:
        assert set(found[name]) == set(expected[name])
        assert all(torch.equal(found[name][key], expected[name][key]) for key in expected[name])


def test_put_fills_the_network(tmp_path):
    states, _ = saved(tmp_path)
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
    weights.put(other, weights.load(tmp_path, "raw")[1]["g"], tmp_path)
    assert all(torch.equal(other.state_dict()[key], value) for key, value in states["g"].items())


def test_bytes_are_a_function_of_the_weights(tmp_path):
    torch.manual_seed(1)
    linear = nn.Linear(2, 2).state_dict()
    model = net()
    backwards = dict(reversed(model.state_dict().items()))
    weights.save(tmp_path / "a", {"g": model.state_dict(), "f": linear}, {"g": backwards}, {"method": "toy", "b": 1})
    model.to(memory_format=torch.channels_last)  # same numbers in another order in memory
    state = model.state_dict()
    weights.save(tmp_path / "b", {"f": linear, "g": state}, {"g": state}, {"b": 1, "method": "toy"})
    for name in ("raw.safetensors", "ema.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_tied_tensors_are_saved(tmp_path):
    shared = torch.ones(3)
    weights.save(tmp_path, {"g": {"a": shared, "b": shared}}, {"g": {"a": shared}}, {"method": "toy"})
    assert torch.equal(weights.load(tmp_path, "raw")[1]["g"]["b"], shared)


@pytest.mark.parametrize("name", ["raw.safetensors", "model.json"])
def test_missing_file(tmp_path, name):
    saved(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: no such file"):
        weights.load(tmp_path, "raw")


@pytest.mark.parametrize("keep", [0, 5, 200, -8])
def test_truncated_file(tmp_path, keep):
    saved(tmp_path)
    path = tmp_path / "ema.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"ema.safetensors: not a whole safetensors file"):
        weights.load(tmp_path, "ema")


def test_wrong_method(tmp_path):
    saved(tmp_path)
    with pytest.raises(UserError, match="weights of 'toy', expected 'mmccd'"):
        weights.load(tmp_path, "raw", "mmccd")


def test_weights_and_model_json_of_two_trainings(tmp_path):
    saved(tmp_path)
    meta = json.loads((tmp_path / "model.json").read_text())
    meta["elements"]["g"] += 1
    (tmp_path / "model.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match="elements per network"):
        weights.load(tmp_path, "raw")


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3)), r"0.weight is \(4, 1, 3, 3\), expected \(4, 2, 3, 3\)"),
        (lambda: nn.Sequential(nn.Conv2d(1, 4, 3)), r"1.bias is \(4,\), expected absent"),
    ],
)
def test_shapes_that_do_not_fit(other, text):
    with pytest.raises(UserError, match=text):
        weights.put(other(), net().state_dict(), "models/toy/raw.safetensors")
