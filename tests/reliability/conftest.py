"""The matrix of faults: which promise a test is of, and how many cases it has.

Each test module begins with `pytestmark = pytest.mark.promise("P3")`. The ordinary tests run all
cases that are not marked `full`; `python -m tests.reliability` runs them all.
"""

from __future__ import annotations

import time

import pytest
from reliability.matrix import Tally


def pytest_collection_modifyitems(config, items):
    """Deselects what was not asked for."""
    only = (config.getoption("--promises") or "").split(",")
    kept, dropped = [], []
    for item in items:
        mark = item.get_closest_marker("promise")
        is_wanted = only == [""] or mark is None or mark.args[0] in only
        if item.get_closest_marker("full") and not config.getoption("--full"):
            is_wanted = False
        (kept if is_wanted else dropped).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept


@pytest.fixture(autouse=True)
def promise(request, record_property):
    """Tells the matrix which promise the test is of, and whether there is time left for it."""
    record_property("promise", request.node.get_closest_marker("promise").args[0])
    until = request.config.getoption("--until")
    if until and time.time() > until:
        record_property("skipped", True)
        pytest.skip("no time left")


@pytest.fixture(scope="session")
def is_full(request):
    """Whether the whole matrix was asked for."""
    return request.config.getoption("--full")


@pytest.fixture
def tally(record_property):
    """Counts the cases of a test one by one, and fails if one of them did."""
    found = Tally()
    yield found
    record_property("cases", found.count)
    record_property("failures", found.failures)
    assert not found.failures, "\n".join(found.failures)


@pytest.fixture
def notes(record_property):
    """A list for lines of what was measured, which RELIABILITY.md shows."""
    found = []
    yield found
    record_property("notes", found)
