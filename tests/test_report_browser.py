"""The page in a browser, offline: it draws, keys and controls work, columns sort. Skipped where there is no Chromium."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest

import report_toys as toys
from stage_toys import stage_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next((path for name in BROWSERS if (path := shutil.which(name))), None)
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-extensions", "--no-first-run", "--dump-dom",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000", "--window-size=1200,900",
)  # fmt: skip
WATCH = """<script>
window.bad = [];
for (const kind of ["error", "unhandledrejection", "securitypolicyviolation"]) {
  addEventListener(kind, (event) => window.bad.push(kind + ": " + (event.message || event.reason || event.blockedURI)));
}
</script>"""
PROBE = """<pre id="probe"></pre><script>
(async () => {
  const shown = () => document.documentElement.dataset.shown || "";
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const until = async (ready) => { for (let i = 0; i < 200 && !ready(); i++) await pause(20); };
  const after = async (act) => { const was = shown(); act(); await until(() => shown() !== was); return shown(); };
  const press = (key) => after(() => byId("frame").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true })));
  const pixels = (canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
  const lit = () => [...document.querySelectorAll("#rows canvas")].map((one) => new Set(pixels(one)).size);
  const column = (table, i) => [...table.tBodies[0].rows].map((line) => line.cells[i].textContent);
  const choose = (select, value) => after(() => { select.value = value; select.dispatchEvent(new Event("change")); });
  const out = {};
  await until(shown);
  out.start = shown();
  out.colours = lit();
  out.keys = [];
  for (const key of ["ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowDown"]) out.keys.push(await press(key));
  out.absent = document.querySelectorAll("#rows .absent").length;
  out.beside = await choose(other, "toy");
  out.rows = document.querySelectorAll("#rows .panels").length;
  out.said = byId("said").textContent;
  byId("frame").dispatchEvent(new KeyboardEvent("keydown", { key: "m", bubbles: true }));
  await pause(200);
  out.modality = modality.value;
  const point = document.querySelector('a[data-method="toy"]');
  await after(() => point.dispatchEvent(new MouseEvent("click", { bubbles: true })));
  out.clicked = method.value;
  const table = document.querySelector("#tables table"), head = table.tHead.rows[0].cells;
  out.sorted = [];
  for (const i of [1, 1, 0]) {
    head[i].querySelector("button").click();
    out.sorted.push([head[i].getAttribute("aria-sort"), column(table, i)]);
  }
  const paper = () => getComputedStyle(document.body).backgroundColor, was = paper();
  byId("theme").click();
  out.theme = [was, paper()];
  out.broken = [...document.images].filter((one) => !one.naturalWidth).length;
  out.wide = document.documentElement.scrollWidth - innerWidth;
  out.bad = window.bad;
  document.getElementById("probe").textContent = JSON.stringify(out);
})();
</script></body>"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(FOUND is None, reason="no Chromium on this machine")]


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the probe found on the toy's page."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        toys.project(folder / "toy", patch)
        stage_of("report").main([])
        page = (folder / "toy/report/index.html").read_text()
    probed = folder / "probed.html"
    probed.write_text(page.replace("<head>", "<head>" + WATCH, 1).replace("</body>", PROBE))
    command = [FOUND, *OPTIONS, f"--user-data-dir={folder / 'profile'}", probed.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    return json.loads(unescape(re.search(r'<pre id="probe">(.*?)</pre>', dumped, re.DOTALL)[1]))


def test_nothing_fails_and_nothing_is_asked_of_the_network(seen):
    assert seen["bad"] == []
    assert seen["broken"] == 0


def test_the_viewer_draws_input_reconstruction_map_and_masks(seen):
    assert seen["start"] == "method=toy&slice=1"
    assert len(seen["colours"]) == 5  # and the method's own mask
    assert seen["colours"][1] > 20  # reconstruction
    assert seen["colours"][2] > 40  # map
    assert min(seen["colours"][3:]) >= 2  # the toy's images are black, its masks are not


def test_arrow_keys_change_slice_and_method_and_go_round(seen):
    assert seen["keys"] == ["method=toy&slice=2", "method=toy&slice=1", "method=toy&slice=5", "method=plain&slice=5"]
    assert seen["absent"] == 1  # it restores nothing, and the page says so


def test_two_methods_stand_below_each_other(seen):
    assert seen["beside"] == "method=plain&slice=5&beside=toy"
    assert seen["rows"] == 2
    assert seen["said"].startswith("Plain, slice 5: ")


def test_the_key_m_changes_the_modality_of_the_input(seen):
    assert seen["modality"] == "flair"  # after t2, which is the first method's own


def test_a_point_of_the_scatter_chooses_its_method(seen):
    assert seen["clicked"] == "toy"


def test_columns_sort_both_ways_and_what_is_no_number_stays_last(seen):
    assert seen["sorted"] == [
        ["descending", ["1,200.5 [0, 9]", "0.70", "0.20", "not run", "-"]],
        ["ascending", ["0.20", "0.70", "1,200.5 [0, 9]", "not run", "-"]],
        ["descending", ["T1", "D", "C", "B", "A"]],
    ]  # fmt: skip


def test_the_page_turns_dark_and_does_not_scroll_sideways(seen):
    light, dark = seen["theme"]
    assert light != dark
    assert seen["wide"] <= 0
