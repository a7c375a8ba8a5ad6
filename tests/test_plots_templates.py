"""What `dvc plots` needs from us: templates that it can fill, and a page that needs no network."""

import json
import re
from configparser import ConfigParser
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".dvc" / "plots"
TEMPLATES = sorted(FOLDER.glob("*.json"))
BUILT_IN = {"linear", "simple", "scatter", "smooth", "confusion", "confusion_normalized", "bar_horizontal"}


def load(name: str) -> dict:
    return YAML(typ="safe", pure=True).load((ROOT / name).read_text())


@pytest.fixture(scope="module")
def page():
    return (FOLDER / "offline.html").read_text()


def test_there_are_the_templates_that_the_pipeline_names():
    pipeline = load("dvc.yaml")
    stages = [stage.get("do", stage) for stage in pipeline["stages"].values()]
    plots = [plot for stage in stages for plot in stage.get("plots", [])] + pipeline.get("plots", [])
    options = [value for plot in plots if isinstance(plot, dict) for value in plot.values()]
    named = {value["template"] for value in options if "template" in value}
    assert {"box", "grouped_bar", "by_method"} <= named
    assert named <= BUILT_IN | {path.stem for path in TEMPLATES}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_dvc_fills_every_anchor_and_two_revisions_stay_apart(path):
    from dvc_render.vega import VegaRenderer

    template = json.loads(path.read_text())
    rows = [
        {"rev": rev, "method": method, "x": x, "y": x / 10, "filename": "f"}
        for rev in ("HEAD", "workspace") for method in ("MMCCD", "random") for x in (1, 2, 3)
    ]  # fmt: skip
    options = {"template": path.stem, "x": "x", "y": "y", "title": "A title", "x_label": "", "y_label": "Dice"}
    drawn = {"anchors_y_definitions": [{"filename": "f", "field": "y"}], "template_dir": str(FOLDER)}
    filled = json.dumps(VegaRenderer(rows, "f", **options, **drawn).get_filled_template())
    assert "<DVC_METRIC" not in filled
    assert {"A title", "Dice"} <= set(re.findall(r'"([^"]*)"', filled))
    fields = [c["field"] if isinstance(c, dict) and "field" in c else c for c in template["encoding"].values()]
    assert {"rev", "<DVC_METRIC_COLOR>"} & {f for f in fields if isinstance(f, str)}, "`dvc plots diff` would overplot"


def test_dvc_is_told_to_use_the_page():
    config = ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert ROOT / ".dvc" / config["plots"]["html_template"] == FOLDER / "offline.html"


def test_the_page_takes_nothing_from_the_network(page):
    assert not re.search(r"<(script|link|iframe)\b[^>]*\b(src|href)\s*=", page)
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page)
    assert "cdn" not in page.lower()
    assert len(page.encode()) < 1_000_000


def test_the_page_holds_the_libraries_and_their_licences(page):
    for name, version in (("vega", "5.33.1"), ("vega-lite", "5.23.0"), ("vega-embed", "6.29.0")):
        assert f"/* {name} {version}, BSD-3-Clause */" in page
        assert f"{name} {version} (BSD-3-Clause)" in (FOLDER / "LICENSE-vega.txt").read_text()


def test_dvc_puts_plots_into_the_page_and_nowhere_else(page):
    from dvc_render.html import HTML

    remote = "<script src='https://cdn.example.org/vega.js'></script>"
    whole = HTML(page).with_scripts(remote).with_element("<b>PLOT</b>").embed()
    assert whole.count("<b>PLOT</b>") == 1
    assert "cdn.example.org" not in whole, "the page must not have DVC's {scripts} placeholder: those come from the network"
    assert whole.index("</head>") < whole.index("<b>PLOT</b>")


def test_the_page_is_what_its_script_builds_from(page):
    shell, _, rest = (FOLDER / "page.html").read_text().partition("LIBRARIES")
    assert page.startswith(shell)
    assert page.endswith(rest)


def test_every_method_reaches_tables_and_figures():
    stages = load("dvc.yaml")["stages"]
    wanted = {f"metrics/{system}" for system in load("conf/graph.yaml")["systems"]}
    for name in ("tables", "figures"):
        assert wanted <= set(stages[name]["deps"]), f"deps of {name} lack a method of conf/graph.yaml"
