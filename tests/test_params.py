"""The parameter reader: types, ranges, `auto`, and one clear sentence for what it refuses."""

from dataclasses import dataclass
from typing import Literal

import pytest

from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.base.params import number


@dataclass(frozen=True)
class Net:
    width: int = number(min=1)
    mult: tuple[int, ...] = number(min=1, max=8)


@dataclass(frozen=True)
class Toy:
    steps: int = number(min=1)
    lr: float = number(min=0, max=1)
    follow: Literal["paper", "code"]
    scale_of_noise: float | Literal["follow"]
    net: Net


GOOD = """
data: phantom
scale: smoke
seed: 3
toy:
  steps: auto
  lr: 1e-4
  follow: code
  scale_of_noise: follow
  net:
    width: 8
    mult:
      - 1
      - 2
"""


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(GOOD)
    for folder, text in (("scale", "toy: {steps: 7}\n"), ("data", "kind: phantom\nroot: raw\n")):
        (tmp_path / "conf" / folder).mkdir(parents=True)
        (tmp_path / "conf" / folder / f"{'smoke' if folder == 'scale' else 'phantom'}.yaml").write_text(text)
    return tmp_path


def edit(root, old, new):
    text = (root / "params.yaml").read_text()
    assert old in text
    (root / "params.yaml").write_text(text.replace(old, new))


def test_reads_types_and_fills_auto_from_the_scale(root):
    got = params.read({"seed": int, "toy": Toy, "toy.lr": float}, root)
    assert got["seed"] == 3
    assert got["toy"] == Toy(7, 1e-4, "code", "follow", Net(8, (1, 2)))
    assert got["toy.lr"] == 1e-4  # YAML 1.2: a number, although PyYAML would read a text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("steps: auto", "step: auto", "unknown key 'toy.step'; did you mean 'steps'?"),
        ("  lr: 1e-4\n", "", "key 'toy.lr' is missing"),
        ("lr: 1e-4", "lr: fast", "toy.lr is 'fast', expected a number"),
        ("lr: 1e-4", "lr: 2.0", "toy.lr is 2.0, expected 0 to 1"),
        ("steps: auto", "steps: 0", "toy.steps is 0, expected at least 1"),
        ("steps: auto", "steps: 2.5", "expected a whole number"),
        ("steps: auto", "steps: true", "expected a whole number"),
        ("follow: code", "follow: both", "expected one of paper, code"),
        ("scale_of_noise: follow", "scale_of_noise: never", "expected a number or follow"),
        ("width: 8", "width: auto", "has no value for it"),
        ("      - 2", "      - 9", "toy.net.mult is 9, expected 1 to 8"),
        ("seed: 3", "sead: 3", "key 'seed' is missing; did you mean 'sead'?"),
        ("scale: smoke", "scale: papr", "there are: smoke"),
        ("data: phantom\n", "", "key 'data' is missing"),
        ("toy:\n", "toy: [\n", "not valid YAML"),
    ],
)
def test_bad_values_are_refused_by_name(root, old, new, words):
    edit(root, old, new)
    with pytest.raises(UserError) as error:
        params.read({"seed": int, "toy": Toy, "source": dict[str, str]}, root)
    assert words in str(error.value)
    assert ".yaml" in str(error.value)


def test_source_is_the_file_of_the_chosen_data(root):
    assert params.read({"source": dict[str, str]}, root)["source"] == {"kind": "phantom", "root": "raw"}


def test_missing_file_says_what_there_is(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        params.read({"seed": int}, tmp_path)
