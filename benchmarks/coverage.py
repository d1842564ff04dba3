"""How often the intervals of `ke_t5.report.intervals` contain the true score.

    python -m benchmarks.coverage [--trials 1000] [--rows 200] [--only NAME] [--out FILE]

Each case generates a population of rows with gold answers and predictions; its score is the true
score. Every trial samples rows from it and computes the interval of their score as `test_ddp.py`
does. Of the 95 % intervals that are shown, 93 to 97 % should contain the true score. The table is
printed, and written to a Markdown file if one is named.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.populations import POPULATIONS, Population
from ke_t5.report.intervals import NUM_DRAWS, SEED, NoInterval, Resampled, draw, interval_of
from ke_t5.task.metrics.statistics import Statistic

POPULATION_SEED, TRIAL_SEED = 1, 2  # combined with the number of the population


@dataclass
class Tally:
    """The results of the trials of one score."""

    true: float
    num_trials: int = 0
    num_held: int = 0
    num_too_low: int = 0  # the whole interval is below the true score
    widths: list[float] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, score: float, statistic: Statistic, drawn: Resampled | None) -> None:
        """Counts one trial."""
        self.num_trials += 1
        try:
            found = interval_of(score, drawn, statistic)
        except NoInterval as reason:
            self.reasons["".join(c for c in str(reason) if not c.isdigit())] += 1
            return
        if not found.low <= score <= found.high:
            raise RuntimeError(f"the score {score} is outside of {found}")
        self.widths.append(found.high - found.low)
        self.num_held += found.low <= self.true <= found.high
        self.num_too_low += found.high < self.true

    @property
    def num_shown(self) -> int:
        """The number of trials with an interval."""
        return len(self.widths)


def statistics_of(population: Population) -> dict[str, Statistic]:
    """Score -> statistic on the whole population, whose value is that of the metric."""
    found: dict[str, Statistic] = {}
    for metric in population.metrics:
        columns = [c for c in (population.gold, population.predicted) if c is not None]
        wants_scores = population.scores is not None
        found |= metric.statistics(*columns, *([population.scores] if wants_scores else []))
    return found


def measure(
    population: Population, *, num_rows: int, num_trials: int, seed: Sequence[int]
) -> dict[str, Tally]:
    """Score -> results of the trials."""
    whole = statistics_of(population)
    size = len(population.gold)
    tallies = {name: Tally(float(one(np.ones((1, size)))[0])) for name, one in whole.items()}
    generator = np.random.default_rng(seed)
    every = np.ones((1, num_rows))
    for _ in range(num_trials):
        rows = generator.integers(size, size=num_rows)
        sample = {name: one.take(rows) for name, one in whole.items()}
        drawn = draw(sample, num_rows, seed=SEED, num_draws=NUM_DRAWS)
        for name, one in sample.items():
            tallies[name].add(float(one(every)[0]), one, drawn.get(name))
    return tallies


def line_of(name: str, score: str, tally: Tally) -> str:
    """A line of the table."""
    shown = 100 * tally.num_shown / tally.num_trials
    cells = [name, f"`{score}`", f"{tally.true:.1f}", f"{shown:.0f}"]
    if shown >= 1:
        held = 100 * tally.num_held / tally.num_shown
        low = 100 * tally.num_too_low / tally.num_shown
        width = float(np.mean(tally.widths))
        cells += [f"**{held:.1f}**", f"{low:.1f}", f"{abs(100 - held - low):.1f}", f"{width:.1f}"]
    else:
        cells += ["not shown", "", "", ""]
    return f"| {' | '.join([*cells, _main_reason(tally)])} |"


def _main_reason(tally: Tally) -> str:
    if not tally.reasons:
        return ""
    reason = tally.reasons.most_common(1)[0][0]
    return "classes with too few rows" if "classes" in reason else "too few errors"


HEAD = (
    "| population | score | true | shown % | contains the true score % | too low % | too high % "
    "| width | reason if not shown |\n|---|---|---|---|---|---|---|---|---|"
)


def table(
    populations: Mapping[str, Callable[[np.random.Generator], Population]],
    *,
    num_rows: int,
    num_trials: int,
    tell: Callable[[str], None],
) -> list[str]:
    """The lines of the table, each printed as soon as it is measured."""
    lines = []
    for name, make in populations.items():
        seed = (TRIAL_SEED, list(POPULATIONS).index(name))
        population = make(np.random.default_rng(POPULATION_SEED))
        rows = population.num_rows or num_rows
        trials = num_trials if rows <= num_rows else max(1, num_trials // 4)
        found = measure(population, num_rows=rows, num_trials=trials, seed=seed)
        title = name if rows == num_rows else f"{name} ({rows:,} rows, {trials:,} trials)"
        for score, tally in found.items():
            lines.append(line_of(title, score, tally))
            tell(lines[-1])
    return lines


def main(words: Sequence[str] | None = None) -> None:
    """Measures, prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--only", default="", help="populations whose name contains this")
    parser.add_argument("--out", type=Path)
    flags = parser.parse_args(words)
    chosen = {name: make for name, make in POPULATIONS.items() if flags.only in name}
    started = time.monotonic()

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tell(HEAD)
    lines = table(chosen, num_rows=flags.rows, num_trials=flags.trials, tell=tell)
    note = (
        f"{flags.rows} rows and {flags.trials:,} trials per line, "
        f"{NUM_DRAWS:,} resamples per trial; "
        f"seeds: population {POPULATION_SEED}, trials {TRIAL_SEED}, resamples {SEED}."
    )
    tell(f"{note} {time.monotonic() - started:.0f} s")
    if flags.out:
        head = flags.out.read_text(encoding="utf-8").split(HEAD)[0] if flags.out.exists() else ""
        flags.out.write_text("\n".join([head + HEAD, *lines, "", note, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
