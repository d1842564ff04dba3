"""The promises, and what a run of the matrix found of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

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


class Tally:
    """Cases of one test that are counted one by one: the others go on if one of them fails."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[str] = []

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """Counts what its block does as a case, which fails with an AssertionError."""
        self.count += 1
        try:
            yield
        except AssertionError as error:
            self.failures.append(" ".join(f"{name}: {error}".split()))


class Matrix:
    """A pytest plugin: how many cases of each promise there were, and which failed."""

    def __init__(self, promises: Sequence[str]) -> None:
        self._promises = promises
        self._cases: dict[str, int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)
        self._failures: dict[str, list[str]] = defaultdict(list)
        self._notes: dict[str, list[str]] = defaultdict(list)

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called for the setup, call and teardown of each test, also of those of other workers."""
        properties = dict(report.user_properties)
        promise = properties.get("promise")
        if promise is None:
            return
        self._seconds[promise] += report.duration
        failures = properties.get("failures", [])
        name = report.nodeid.rpartition("::")[2]
        if report.failed and not (report.when == "teardown" and failures):
            crash = getattr(report.longrepr, "reprcrash", None)
            text = " ".join((crash.message if crash else str(report.longrepr)).split())
            self._failures[promise].append(f"{name}: {text:.300}")
        if report.when == "teardown" and not properties.get("skipped"):
            self._cases[promise] += properties.get("cases", 1)
            self._failures[promise] += failures
            self._notes[promise] += properties.get("notes", [])

    @property
    def is_kept(self) -> bool:
        """Whether each promise had cases, and none failed."""
        return all(self._cases[name] and not self._failures[name] for name in self._promises)

    def page(self, versions: dict[str, str]) -> str:
        """RELIABILITY.md."""
        date = f"{datetime.now(UTC):%Y-%m-%d}"
        lines = [
            "# Reliability", "",
            "`python -m tests.reliability` injected these faults into real runs.", "",
            f"{date}; " + ", ".join(f"{name} {number}" for name, number in versions.items()), "",
            "| promise | | cases | passed | seconds |", "|---|---|---|---|---|",
        ]  # fmt: skip
        for promise in self._promises:
            cases = self._cases[promise]
            passed = max(0, cases - len(self._failures[promise]))
            row = (promise, PROMISES[promise], cases, passed, f"{self._seconds[promise]:.0f}")
            lines.append(f"| {' | '.join(map(str, row))} |")
        for title, found in (("Measured", self._notes), ("Failing", self._failures)):
            texts = [f"* {name}: {text}" for name in self._promises for text in found[name]]
            lines += ["", f"## {title}", "", *(texts or ["Nothing."])]
        return "\n".join(lines) + "\n"
