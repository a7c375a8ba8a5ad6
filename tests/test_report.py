"""The page that stages/report.py writes: whole, self-contained, equal for equal input; what it shows is what was found."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import report_toys as toys
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.base.place import Place
from gliomap.data.slices import Slices
from gliomap.scoring import gallery, report_png
from gliomap.scoring.report_answer import BEGIN, END
from stage_toys import stage_of

PAGE = Path("report/index.html")
WITHOUT_END = {"meta", "img", "br", "hr", "input", "link"}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        return toys.project(tmp_path_factory.mktemp("report") / "toy", patch)


@pytest.fixture(scope="module")
def finished(template, tmp_path_factory):
    """The repository after the stage."""
    folder = shutil.copytree(template, tmp_path_factory.mktemp("finished") / "toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        stage_of("report").main([])
    return folder


@pytest.fixture(scope="module")
def page(finished):
    return (finished / PAGE).read_text()


@pytest.fixture(scope="module")
def viewer(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def image(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)))


def tiles(uri: str) -> np.ndarray:
    found = np.asarray(image(uri))
    return found.reshape(-1, found.shape[1], found.shape[1])


class Elements(HTMLParser):
    """Start tags with their attributes, and whether every element is closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.found, self.open, self.bad = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in WITHOUT_END and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.bad.append(tag)


def test_the_page_is_well_formed_and_its_links_have_targets(page):
    elements = Elements(page)
    assert not elements.bad
    assert not elements.open
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in elements.found if tag == "a"]
    assert len(links) > 5
    assert {link.removeprefix("#") for link in links} <= set(ids)
    labelled = [attributes["aria-labelledby"] for _, attributes in elements.found if "aria-labelledby" in attributes]
    assert set(labelled) <= set(ids)


def test_the_page_asks_nobody_for_anything(page):
    for tag, attributes in Elements(page).found:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert attributes.get("src", "data:").startswith("data:"), tag
        assert "srcset" not in attributes
    policy = re.search(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(", page)


def test_every_picture_decodes_and_has_words(page, viewer):
    images = [attributes for tag, attributes in Elements(page).found if tag == "img"]
    assert len(images) == 2
    for attributes in images:
        assert attributes["alt"]
        found = image(attributes["src"])
        found.load()
        assert found.size == (int(attributes["width"]), int(attributes["height"]))
    strips = [s for part in (*viewer["recipes"].values(), *viewer["methods"]) for s in part["strips"].values()]
    assert len(strips) == 4 + 4 + 2  # inputs; map, reconstruction, mask and own mask; map and mask
    for strip in strips:
        assert tiles(strip).shape == (5, 32, 32)


def test_what_the_viewer_shows_is_what_was_predicted(finished, viewer, monkeypatch):
    monkeypatch.chdir(finished)
    method = next(m for m in viewer["methods"] if m["key"] == "toy")
    place, slices = Place("toy", "toy"), Slices.open("data/slices/common")
    scores = gallery.read_scores(place)
    found = gallery.read(place, scores)
    labels = [gallery.describe(scores, i).replace("\n", ", ") for i in range(len(scores))]
    at = [labels.index(label) for label in viewer["recipes"]["common"]["slices"]]
    assert at == sorted(at)
    for name, mask in (("mask", "prediction"), ("own", "own")):
        shown = gallery.examples(found, at, slices, "t2")
        expected = [e.truth + 2 * getattr(e, mask).astype(int) for e in shown]
        np.testing.assert_array_equal(tiles(method["strips"][name]), expected)
    low, high, threshold = method["scale"]
    assert threshold == pytest.approx(found.threshold, rel=5e-3)
    brain = slices.brain_of(found.predictions["rows"][at])
    heat = report_png.levels(found.predictions["map"][at], low, high).astype(int)
    assert np.abs(tiles(method["strips"]["map"]) - heat)[brain].max() <= 1  # limits are rounded in the page
    assert not tiles(method["strips"]["map"])[~brain].any()
    assert method["dice"] == [None if np.isnan(d) else round(d, 3) for d in scores["dice"].to_numpy(float)[at]]


def test_the_viewer_opens_with_the_best_method_that_saw_labels_only(viewer):
    assert viewer["first"] == "toy"
    assert [(m["key"], m["modality"], m["supervision"]) for m in viewer["methods"]] == [
        ("toy", "t2", "slice labels"), ("plain", "flair", "none"),
    ]  # fmt: skip


def test_names_and_tables_are_text_and_nothing_else(page):
    assert "Toy <net>" not in page.partition('<script type="application/json"')[0]
    assert "Toy &lt;net&gt;" in page
    assert page.count("<h3>All methods</h3>") == 2  # leaderboard and mmccd_table1 of the toy
    assert "report.tumour_slices</code></td><td>3</td><td>conf/scale/smoke.yaml" in page


def test_the_same_input_gives_the_same_page(template, finished, copy_of):
    copy_of(template)
    stage_of("report").main([])
    assert files.md5(PAGE) == files.md5(finished / PAGE)


def test_the_readme_gets_the_results_and_keeps_its_words(finished):
    text = (finished / "README.md").read_text()
    assert text.startswith(f"# Head\n\n{BEGIN}\nData: **phantom**")
    assert text.endswith(f"{END}\n\ntail\n")
    assert "| slice labels | Toy <net> | 0." in text
    assert "\nold\n" not in text


def test_slices_that_one_method_did_not_score_are_shown_of_none(template, copy_of):
    copy_of(template)
    place = Place("toy", "plain")
    scores, found = gallery.read_scores(place), files.read_npz(place.predictions("test"))
    files.write_csv(place.scores, scores.iloc[1::3])
    files.write_npz(place.predictions("test"), **{name: values[1::3] for name, values in found.items()})
    stage_of("report").main([])
    data = json.loads(re.search(r'id="data">(.*?)</script>', PAGE.read_text(), re.DOTALL)[1])
    assert {len(method["dice"]) for method in data["methods"]} == {len(data["recipes"]["common"]["slices"])}
    assert 0 < len(data["recipes"]["common"]["slices"]) <= 4


def test_a_readme_without_markers_is_refused_and_no_page_is_written(template, copy_of):
    copy_of(template)
    files.write_text("README.md", "# Head\n")
    with pytest.raises(UserError, match=r"README\.md.*results:begin"):
        stage_of("report").main([])
    assert not PAGE.exists()
