"""The matrix of faults: the promise that a test belongs to, and the number of its cases.

Each test module begins with `pytestmark = pytest.mark.promise("P3")`. `python -m tests.reliability`
runs all of them, including the cases marked `full`.
"""

from __future__ import annotations

import time

import pytest
from reliability.matrix import Tally


@pytest.fixture(autouse=True)
def promise(request, record_property):
    """Records the promise that the test belongs to; skips the test if no time is left."""
    record_property("promise", request.node.get_closest_marker("promise").args[0])
    until = request.config.getoption("--until")
    if until and time.time() > until:
        record_property("skipped", True)
        pytest.skip("no time left")


@pytest.fixture(scope="session")
def is_full(request):
    """Whether the whole matrix is running."""
    return request.config.getoption("--full")


@pytest.fixture
def tally(record_property):
    """Counts the cases of a test, and fails if one of them failed."""
    found = Tally()
    yield found
    record_property("cases", found.count)
    record_property("failures", found.failures)
    assert not found.failures, "\n".join(found.failures)


@pytest.fixture
def notes(record_property):
    """A list for measurements, which RELIABILITY.md shows as lines."""
    found = []
    yield found
    record_property("notes", found)
