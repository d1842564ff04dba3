"""The counts of the matrix: an interrupted run must not look like a complete one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from reliability.matrix import Matrix, is_kept

pytestmark = pytest.mark.promise("")
NAMES = [f"tests/reliability/test_p03_corruption.py::test_{name}" for name in "abc"]


def ended(matrix: Matrix, name: str, **properties) -> None:
    facts = {"promise": "P3", **properties}
    for when in ("setup", "call", "teardown"):
        report = SimpleNamespace(
            nodeid=name, when=when, duration=1.0, failed=False, user_properties=list(facts.items())
        )
        matrix.pytest_runtest_logreport(report)


@pytest.mark.parametrize("workers", [False, True])
def test_tests_that_did_not_end_count_as_not_run(workers):
    matrix = Matrix(["P3"])
    if workers:
        matrix.pytest_xdist_node_collection_finished(None, NAMES)
    else:
        items = [SimpleNamespace(nodeid=name) for name in NAMES]
        matrix.pytest_collection_finish(SimpleNamespace(items=items))
    ended(matrix, NAMES[0], cases=5)
    ended(matrix, NAMES[1], skipped=True)
    found = matrix.results({})["P3"]
    assert (found["cases"], found["not_run"]) == (5, 2) and not is_kept(found)
    ended(matrix, NAMES[2], cases=1)
    assert matrix.results({})["P3"]["not_run"] == 1
