"""Order of the tests: the longest file first, so that the others run beside it. Toy projects are made once a file.

No test sees which ones ran before it: what a stage sets in PyTorch ends with the file, random numbers start anew.
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: tests of the whole DAG, then all others as they were."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)


@pytest.fixture(scope="module", autouse=True)
def _torch_as_before() -> Iterator[None]:
    """A stage that runs in this process chooses the threads and the algorithms (`engine.device.launch`)."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a project in a new folder by its first argument and takes the further steps in there; gives the folder."""

    def make(project: Callable[[Path], Path], *steps: Callable[[], object]) -> Path:
        folder = project(tmp_path_factory.mktemp("project") / "toy")
        with contextlib.chdir(folder):
            for step in steps:
                step()
        return folder

    return make


@pytest.fixture
def copy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Copies a project folder that tests share, for one test to change, and goes there."""

    def copy(template: Path) -> Path:
        folder = shutil.copytree(template, tmp_path / "toy")
        monkeypatch.chdir(folder)
        return folder

    return copy
