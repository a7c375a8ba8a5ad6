"""The method cards in docs/methods: one for each system, every row of the graph on one, and counts as in the results."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gliomap.base.files import read_json

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ("Rows", "Supervision", "Inputs", "Data", "Idea.", "Cost", "Fails when", "Metrics", "Limits", "Intended use")
DEFAULT = {"data": "phantom", "scale": "laptop", "recipe": "common", "protocol": "common"}
CARDS = sorted(path.stem for path in (ROOT / "docs" / "methods").glob("*.md"))
COUNTS = re.compile(r"(?:over|`(\w+)`) (\d+)\s(?:test\s)?patients,\s(\d+)\sslices,\s(\d+)\s+with\s+tumour")


def load(name: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


def card(name: str) -> str:
    return (ROOT / "docs" / "methods" / f"{name}.md").read_text()


def results(system: str, population: str) -> list[Path]:
    """The committed numbers of a system's rows; of TSGM's on an external cohort."""
    if population:
        return sorted((ROOT / "metrics" / "otsu" / population).glob("*.json"))
    return sorted(path for path in (ROOT / "metrics").rglob(f"{system}/*.json") if "repeats" not in path.parts)


def test_every_system_has_a_card():
    assert set(load("conf/graph.yaml")["systems"]) <= set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_a_card_has_every_field_once(name):
    assert {field: card(name).count(f"**{field}**") for field in FIELDS} == dict.fromkeys(FIELDS, 1)


def test_every_row_of_the_graph_is_on_the_card_of_its_system():
    graph = load("conf/graph.yaml")
    for key, row in {**graph["methods"], **graph["together"]}.items():
        listed = re.search(r"\*\*Rows\*\*:(.*?)\n\n", card(row["system"]), re.DOTALL)[1]
        assert any(fnmatch(key, pattern) for pattern in re.findall(r"`([\w*]+)`", listed)), f"{key}: {row['system']}.md"


@pytest.mark.parametrize("name", CARDS)
def test_the_counts_on_a_card_are_those_of_the_results(name):
    params = load("params.yaml")
    if any(params.get(key, value) != value for key, value in DEFAULT.items()):
        pytest.skip("the cards are those of the default run")
    found = COUNTS.findall(card(name))
    assert found[0][0] == ""
    for population, *counts in found:
        for path in results(name, population):
            numbers = read_json(path)
            kept = [numbers[key] for key in ("n_patients", "n_slices", "n_tumour_slices")]
            assert kept == [int(count) for count in counts], path
