"""The promises, and the results of a run of the matrix."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

PROMISES = {
    "P1": "A training killed at any point resumes to the same bytes",
    "P2": "At every instant of a run, a complete checkpoint is on disk",
    "P3": "A damaged checkpoint or export is detected before a weight is used",
    "P4": "A stop signal saves and ends the run within 10 s",
    "P5": "If one process dies or stalls, all end within 30 s and the cause is the last line",
    "P6": "A run continues on another number of processes in the same order",
    "P7": "Predictions and scores do not depend on the number of processes",
    "P8": "A bad input is answered with one short line, early, and leaves nothing behind",
    "P9": "Prepared data is built once, never stale, never corrupt",
    "P10": "A hostile file runs nothing and writes nothing outside the output folder",
    "P11": "Memory does not grow with the data",
    "P12": "A value that is not finite stops the run before it reaches the weights on disk",
}


Result = dict[str, Any]  # of a promise: cases, not_run, seconds, failures, notes, date, with


class Tally:
    """The cases of one test, counted separately: if one fails, the others still run."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Counts its block as a case, which fails with an AssertionError."""
        self.count += 1
        try:
            yield
        except AssertionError as error:
            self.failures.append(" ".join(f"{name}: {error}".split()))


class Matrix:
    """A pytest plugin that counts the cases and failures of each promise."""

    def __init__(self, promises: Sequence[str]) -> None:
        self._results = {
            promise: {"cases": 0, "not_run": 0, "seconds": 0.0, "failures": [], "notes": []}
            for promise in promises
        }
        self._collected: set[str] = set()
        self._ended: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Called when the tests are collected; with several workers, each of them collects."""
        self._collected.update(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: Sequence[str]) -> None:
        """Called when a worker has collected the tests."""
        self._collected.update(ids)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for the setup, call and teardown of each test, including those of workers."""
        properties = dict(report.user_properties)
        result = self._results.get(properties.get("promise", ""))
        if result is None:
            return
        result["seconds"] += report.duration
        failures = properties.get("failures", [])
        if report.failed and not (report.when == "teardown" and failures):
            name = report.nodeid.rpartition("::")[2]
            crash = getattr(report.longrepr, "reprcrash", None)
            text = " ".join((crash.message if crash else str(report.longrepr)).split())
            result["failures"].append(f"{name}: {text:.300}")
        if report.when == "teardown":
            self._ended.add(report.nodeid)
            if properties.get("skipped"):
                result["not_run"] += 1
                return
            result["cases"] += properties.get("cases", 1)
            result["failures"] += failures
            result["notes"] += properties.get("notes", [])

    def results(self, versions: Mapping[str, str]) -> dict[str, Result]:
        """The results of each promise, with the date and the versions."""
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        named = ", ".join(f"{name} {number}" for name, number in versions.items())
        cut_off = Counter(map(promise_of, self._collected - self._ended))
        return {
            promise: {
                **result,
                "not_run": result["not_run"] + cut_off[promise],
                "seconds": round(result["seconds"]),
                "date": date,
                "with": named,
            }
            for promise, result in self._results.items()
        }


def promise_of(test: str) -> str:
    """The promise of a test, from the name of its module.

    >>> promise_of("tests/reliability/test_p01_kills.py::test_killed_at_a_point")
    'P1'
    """
    module = re.search(r"test_p(\d+)_", test)
    return f"P{int(module[1])}" if module else ""


def is_kept(result: Result) -> bool:
    """Whether a promise has cases, all of them ran, and none failed."""
    return bool(result["cases"]) and not result["failures"] and not result["not_run"]


def page(results: Mapping[str, Result]) -> str:
    """The content of RELIABILITY.md."""
    lines = [
        "# Reliability", "",
        "`python -m tests.reliability` injected these faults into real runs. A promise that was",
        "not run to its end, or of which a case fails, is not proven.", "",
        "| promise | | cases | passed | tests not run | seconds of tests | date |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for promise, title in PROMISES.items():
        if promise not in results:
            lines.append(f"| {promise} | {title} | not run | | | | |")
            continue
        result = results[promise]
        passed = max(0, result["cases"] - len(result["failures"]))
        numbers = (result[name] for name in ("not_run", "seconds", "date"))
        row = (promise, title, result["cases"], passed, *numbers)
        lines.append(f"| {' | '.join(map(str, row))} |")
    for title, name in (("Measured", "notes"), ("Failing", "failures")):
        texts = [f"* {promise}: {text}" for promise in results for text in results[promise][name]]
        lines += ["", f"## {title}", "", *(texts or ["Nothing."])]
    versions = {result["with"] for result in results.values()}
    lines += ["", "## Versions", "", *(f"* {names}" for names in sorted(versions))]
    return "\n".join(lines) + "\n"
