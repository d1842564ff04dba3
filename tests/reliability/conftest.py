"""The matrix of faults: which promise a test is of, and how many cases it has.

Each test module begins with `pytestmark = pytest.mark.promise("P3")`. `python -m tests.reliability`
runs all of them, the cases that are marked `full` too.
"""

from __future__ import annotations

import time

import pytest
from reliability.matrix import Tally


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
