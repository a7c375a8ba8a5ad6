"""Order of the tests: the longest file first, so that the others run beside it."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: tests of the whole DAG, then all others as they were."""
    items.sort(key=lambda item: item.get_closest_marker("pipeline") is None)
