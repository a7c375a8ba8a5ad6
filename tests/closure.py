"""Which of our own files does a script import, transitively? DVC does not follow imports, so dvc.yaml must list them.

`python tests/closure.py stages/infer.py [src/gliomap/methods/mmccd.py ...]` prints the list for a stage's `deps`.
"""

import ast
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def closure(*scripts: Path, root: Path = ROOT) -> set[str]:
    """Paths relative to `root` of `scripts` and of every module below src/ they import, transitively; no empty files."""
    seen: set[Path] = set()
    todo = [root / script for script in scripts]
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in _imported(path.read_text(encoding="utf-8")):
            base = (root / "src").joinpath(*name.split("."))
            todo += [p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()]
    return {p.relative_to(root).as_posix() for p in seen if p.stat().st_size}


@cache
def _imported(text: str) -> tuple[str, ...]:
    names: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(names)


if __name__ == "__main__":
    sys.stdout.write("\n".join(sorted(closure(*map(Path, sys.argv[1:])))) + "\n")
