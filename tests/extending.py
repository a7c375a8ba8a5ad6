"""docs/extending.md as a user follows it: its files and lines, written into a copy of what the pipeline is made of."""

import re
import shutil
from pathlib import Path

import numpy as np

import scoring_toys
from gliomap.base.files import write_text
from stage_toys import ROOT

PARTS = ("src", "stages", "conf")
PLACE = re.compile(r"^(`[^`\n]+\.(?:py|yaml)`[^\n]*)\n+```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[list[str], str, str]]:
    """(files, place, text) of every block that says where it belongs: `under <key>`, `line <key>`, or "" for the end."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    return [(re.findall(r"`([^`]+\.(?:py|yaml))`", at), _key(at), body) for at, body in PLACE.findall(text)]


def _key(at: str) -> str:
    found = re.search(r"(line|under) `(\w+):`", at)
    return f"{found[1]} {found[2]}" if found else ""


def project(folder: Path) -> Path:
    """A toy slice store with tumours, the package, its stages and its lists at scale=smoke, and the doc's additions."""
    scoring_toys.project(folder)
    index, maps, _, _ = scoring_toys.cohort(9, 4, seed=3)
    store = folder / "data" / "slices" / "common"
    np.save(store / "images.npy", np.repeat(maps[:, None], 4, axis=1).astype(np.float16))
    ramp = np.linspace(0, maps.max(), 257, dtype=np.float32)
    (store.parent / "trivial").symlink_to(store.name)  # where systems have slices of their own
    np.save(store / "quantiles.npy", ramp + np.zeros((index["case"].nunique(), 4, 1), np.float32))
    for part in PARTS:
        shutil.copytree(
            ROOT / part, folder / part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "dvc.yaml", folder)
    write_text(folder / "params.yaml", (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke"))
    for files, place, body in blocks():
        for name in files:
            add(folder / name, place, body)
    return folder


def add(path: Path, place: str, body: str) -> None:
    """Lines below a key, a longer line in place of one, or lines at the end; a file that is not there is made."""
    text = path.read_text() if path.exists() else ""
    how, _, key = place.partition(" ")
    if how == "under":
        before, after = re.split(rf"(?m)^{key}:.*\n", text, maxsplit=1)
        own = re.search(rf"(?m)^{key}:.*\n", text)[0].replace(" {}", "", 1)
        text = before + own + body + after
    elif how == "line":
        old = re.search(rf"(?m)^  {key}: .*(?=\n)", text)[0]
        assert body.startswith(old + " "), f"docs/extending.md shows another line {key} than {path.name} has"
        text = text.replace(f"{old}\n", body, 1)
    else:
        text += body
    write_text(path, text)
