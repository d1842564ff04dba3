"""`ke-t5 train --seeds N`: repeats a training with several seeds, and reports mean and spread."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.config.gin_config import import_modules
from ke_t5.errors import counted
from ke_t5.experiments.trials import Trial, check_words, own_words, trained, words_without
from ke_t5.files import write_atomically, write_json
from ke_t5.recipes import console
from ke_t5.recipes.folders import make_folder, safe_name
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.report import figures
from ke_t5.report.html import number
from ke_t5.report.pages import Section, markdown_of, page_of, text_of

LEVEL = 95  # percent


@dataclass(frozen=True)
class Spread:
    """A score over several seeds.

    Attributes:
        deviation: the sample standard deviation (n - 1); None for a single seed.
        low, high: the confidence interval of the mean by Student's t distribution with n - 1
            degrees of freedom; None for a single seed.
    """

    values: Sequence[float]
    mean: float
    deviation: float | None = None
    low: float | None = None
    high: float | None = None


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, deviation and interval of a score; the mean is NaN if a value is."""
    mean = fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Spread(values, mean)
    from scipy.stats import t

    deviation = stdev(values)
    quantile = float(t.ppf(0.5 + LEVEL / 200, len(values) - 1))
    half = quantile * deviation / math.sqrt(len(values))
    return Spread(values, mean, deviation, mean - half, mean + half)


def mean_and_deviation(values: Sequence[float]) -> str:
    """A score over several seeds for display; "–" if one of the values is NaN.

    >>> mean_and_deviation([80.0, 82.0]), mean_and_deviation([80.0, math.nan])
    ('81.00 ± 1.41', '–')
    """
    spread = spread_of(values)
    deviation = "" if spread.deviation is None else f" ± {spread.deviation:.2f}"
    return f"{number(spread.mean)}{deviation}"


def main(flags: Namespace, words: Sequence[str] | None = None) -> None:
    """Trains with each seed that is not finished, and writes the report.

    Args:
        flags: the flags of the training; `seeds` is the number of seeds.
        words: the command line; default: that of this process.
    """
    set_up_logging(debug=flags.debug)
    check_words(flags)
    import_modules(flags.module_import)
    given = words_without(own_words() if words is None else words)
    folder = Path(flags.output_dir, f"seeds-{safe_name(flags.task)}")
    make_folder(folder, where=f"--output_dir {flags.output_dir}", probe=True)

    def trial_of(seed: int) -> Trial:
        return Trial(f"seed {seed}", [*given, f"--seed={seed}"], folder / f"seed-{seed}")

    for earlier in sorted(folder.glob("seed-*")):
        digits = earlier.name.removeprefix("seed-")
        if digits.isdecimal():  # raises if it had other flags: its report would be overwritten
            trial_of(int(digits)).finished()
    trials = {seed: trial_of(seed) for seed in range(flags.seed, flags.seed + flags.seeds)}
    records: dict[int, dict[str, Any]] = {}
    for place, (seed, trial) in enumerate(trials.items(), start=1):
        record = trial.finished()
        state = "is finished" if record else "starts"
        console.tell(f"seed {seed} ({place} of {len(trials)}) {state}: {trial.folder}")
        records[seed] = record or trained(trial)
    write_report(folder, flags.task, records)


def write_report(folder: Path, task: str, records: Mapping[int, Mapping[str, Any]]) -> None:
    """Writes report.md, report.html and report.json over all seeds, and prints the table."""
    spreads = spreads_of(records)
    title = f"{task} over {counted(len(records), 'seed')}"
    seeds = ", ".join(map(str, records))
    summary = f"seeds {seeds}; the best checkpoint of each run, on its validation split"
    sections = _sections(records, spreads)
    write_atomically(folder / "report.md", markdown_of(title, summary, sections))
    drawn = _with_picture(sections, spreads)
    write_atomically(folder / "report.html", page_of(title, summary, drawn))
    content = {
        "task": task,
        "seeds": {str(seed): dict(record) for seed, record in records.items()},
        "level": LEVEL,
        "interval": "Student's t",
        "scores": {
            split: {name: _as_json(one) for name, one in scores.items()}
            for split, scores in spreads.items()
        },
    }
    write_json(folder / "report.json", content, is_durable=True)
    console.tell(f"{title}\n{text_of(sections)}")
    console.tell(f"report.md, report.html and report.json in {folder}")


def spreads_of(records: Mapping[int, Mapping[str, Any]]) -> dict[str, dict[str, Spread]]:
    """Split -> score -> spread, for the scores that all runs have."""
    all_scores = [record["scores"] for record in records.values()]
    found: dict[str, dict[str, Spread]] = {}
    for split in all_scores[0]:
        of_split = [scores.get(split, {}) for scores in all_scores]
        names = [name for name in of_split[0] if all(name in scores for scores in of_split)]
        found[split] = {
            name: spread_of([math.nan if (x := one[name]) is None else x for one in of_split])
            for name in names
        }
    return found


def _as_json(spread: Spread) -> dict[str, Any]:
    values = dataclasses.asdict(spread)
    return json.loads(json.dumps(values), parse_constant=lambda _: None)


def _sections(
    records: Mapping[int, Mapping[str, Any]], spreads: Mapping[str, Mapping[str, Spread]]
) -> list[Section]:
    sections = []
    for split, scores in spreads.items():
        rows = [
            [
                name,
                number(one.mean),
                number(one.deviation),
                f"{number(one.low)} to {number(one.high)}" if one.low is not None else "–",
                *map(number, one.values),
            ]
            for name, one in scores.items()
        ]
        seeds = [f"seed {seed}" for seed in records]
        head = ["score (x 100)", "mean", "deviation", f"{LEVEL} % interval", *seeds]
        note = (
            f"{LEVEL} % intervals of the mean by Student's t distribution with "
            f"{counted(len(records) - 1, 'degree')} of freedom; deviations of the sample (n - 1)"
        )
        numbers = range(1, len(head))
        sections.append(Section(split, head, rows, numbers, [note] if len(records) > 1 else []))
    rows = [
        [str(seed), f"{record['seconds']:,.0f}", str(record["run"])]
        for seed, record in records.items()
    ]
    sections.append(Section("Runs", ["seed", "seconds", "folder"], rows, (0, 1)))
    return sections


def _with_picture(
    sections: Sequence[Section], spreads: Mapping[str, Mapping[str, Spread]]
) -> list[Section]:
    """The sections, with a figure of the intervals in those of scores."""
    drawn = list(sections)
    for i, (split, scores) in enumerate(spreads.items()):
        shown = {name: one for name, one in scores.items() if one.low is not None}
        if not shown or not figures.can_draw():
            continue
        columns = [
            [getattr(one, name) for one in shown.values()] for name in ("mean", "low", "high")
        ]
        title = f"{split}: means with {LEVEL} % intervals"
        png = figures.intervals_png(list(shown), columns[0], columns[1], columns[2], title=title)
        drawn[i] = dataclasses.replace(drawn[i], pictures=[(title, png)])
    return drawn
