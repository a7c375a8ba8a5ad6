"""Tables, figures and configuration as HTML for the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from gliomap.base import params
from gliomap.scoring import report_png
from gliomap.scoring.report_png import data_uri

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
FIRST, LAST = ("leaderboard", "summary"), ("cost",)  # tables with a place of their own
DEEPER = 2  # a table's title is a heading of this many levels more in the page
GROUPS = {"": "Overview", "grids": "One picture a method", "preprocess": "Slices after preprocessing"}
KINDS = {"anofpdm": "AnoFPDM", "ddmd": "DDMD", "mmccd": "MMCCD", "tsgm": "TSGM"}


def html_of(text: str, deeper: int = DEEPER) -> str:
    """Markdown with tables as HTML; HTML in it is shown, not obeyed. Tables get a frame that scrolls by itself."""
    tokens = MARKDOWN.parse(text)
    for token in tokens:
        if token.tag in ("h1", "h2", "h3", "h4"):
            token.tag = f"h{min(int(token.tag[1]) + deeper, 6)}"
    made = MARKDOWN.renderer.render(tokens, MARKDOWN.options, {})
    made = re.sub(r'<a href="(?!#)[^"]*">(.*?)</a>', r"\1", made)  # files of the repository and the web are not in the page
    return made.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")


def table_names(folder: Path) -> list[str]:
    """metrics/tables/<name>.md: the leaderboard first, the papers' tables by name, without the cost."""
    found = sorted(path.stem for path in folder.glob("*.md"))
    first = [name for name in FIRST if name in found]
    return first + [name for name in found if name not in (*FIRST, *LAST)]


def tables(folder: Path, names: Sequence[str]) -> str:
    """Each table with its notes behind its title; the first is open."""
    parts = []
    for i, name in enumerate(names):
        title, _, body = (folder / f"{name}.md").read_text(encoding="utf-8").partition("\n")
        state = " open" if i == 0 else ""
        heading = f"<summary><h3>{escape(title.lstrip('# '))}</h3></summary>"
        parts.append(f'<details id="table-{escape(name)}"{state}>{heading}{html_of(body)}</details>')
    return "\n".join(parts)


@dataclass(frozen=True)
class Picture:
    """A figure below plots/, as work for a process of its own."""

    path: Path
    title: str

    def made(self) -> str:
        """A figure with its picture inside."""
        png, (width, height) = report_png.shrunk(self.path)
        size = f'width="{width}" height="{height}" decoding="async"'
        image = f'<img src="{data_uri(png)}" alt="{escape(self.title)}" {size}>'
        return f"<figure>{image}<figcaption>{escape(self.title)} ({escape(self.path.as_posix())})</figcaption></figure>"


def pictures(folder: Path, names: Mapping[str, str]) -> list[Picture]:
    """Every PNG below `folder`, by place. names: of methods, by key."""
    found = sorted(folder.rglob("*.png"), key=lambda path: (path.parent != folder, path.parent, path.stem))
    return [Picture(path, _title(path.relative_to(folder), names)) for path in found]


def _title(path: Path, names: Mapping[str, str]) -> str:
    words = names.get(path.stem) or path.stem.replace("_", " ")
    return f"{KINDS[path.parts[0]]}: {words}" if path.parts[0] in KINDS else words


def figures(folder: Path, found: Sequence[Picture], made: Sequence[str]) -> str:
    """The figures by folder; the first group is open."""
    groups: dict[str, list[str]] = {}
    for picture, html in zip(found, made, strict=True):
        groups.setdefault(picture.path.relative_to(folder).parent.as_posix().removeprefix("."), []).append(html)
    parts = []
    for i, (place, members) in enumerate(groups.items()):
        title = GROUPS.get(place) or KINDS.get(place, place)
        state = " open" if i == 0 else ""
        summary = f"<summary><h3>{escape(title)}</h3> <span>{len(members)}</span></summary>"
        parts.append(f"<details{state}>{summary}<div class='figures'>{''.join(members)}</div></details>")
    return "\n".join(parts)


def configuration(root: Path) -> str:
    """Every value of this run, `auto` replaced, and the file that it comes from: params.yaml, its scale, its data."""
    values = params.load(root / "params.yaml")
    scale = root / "conf" / "scale" / f"{values['scale']}.yaml"
    source = root / "conf" / "data" / f"{values['data']}.yaml"
    given = _flat(values)
    sized = _flat(params.load(scale))
    lines = [
        (key, sized.get(key, value), scale.relative_to(root)) if value == params.AUTO else (key, value, Path("params.yaml"))
        for key, value in given.items()
    ]
    lines += [(key, value, source.relative_to(root)) for key, value in _flat(params.load(source)).items()]
    cells = "".join(
        f"<tr><td><code>{escape(key)}</code></td><td>{escape(str(value))}</td><td>{escape(where.as_posix())}</td></tr>"
        for key, value, where in lines
    )
    head = "<thead><tr><th>key</th><th>value</th><th>from</th></tr></thead>"
    return f'<div class="wide"><table>{head}<tbody>{cells}</tbody></table></div>'


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else str(key)).items()}
