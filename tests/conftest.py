"""Order of the tests: the longest file first, so that the others run beside it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: tests of the whole DAG, then all others as they were."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.fixture
def copy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Copies a project folder that tests share, for one test to change, and goes there."""

    def copy(template: Path) -> Path:
        folder = shutil.copytree(template, tmp_path / "toy")
        monkeypatch.chdir(folder)
        return folder

    return copy
