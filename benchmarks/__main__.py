"""`python -m benchmarks`: compares our speed with the alternatives that a user has.

    pip install accelerate pytorch-crf
    python -m benchmarks --hf_data_dir DIR --encoder DIR --seq2seq DIR [ROW ...] [--rounds 3]

--hf_data_dir contains 3i4K and KLUE-NLI; --encoder and --seq2seq the configuration and tokenizer of
a RoBERTa and a T5. Each row runs in its own process, the contenders in turn. Results are stored in
benchmarks/results.json, so that rows can be measured separately, and shown in
benchmarks/RESULTS.md. The machine must be otherwise idle.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.rows import ROWS, Row, Runs, Setting, decimals, learned, ratios, spread

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).with_name("RESULTS.md")
LIBRARIES = ("torch", "transformers", "datasets", "tokenizers")
HEAD = """# Speed compared with the alternatives

Written by `python -m benchmarks`, which runs the contenders of a benchmark in turn. Rates and
speedups are the median and the range over the rounds; a speedup is the ratio of our rate to the
alternative's in the same round. Each round has its own seed. Scores are the mean ± standard
deviation over the rounds, after the same number of training rows. On a machine with shared cores,
differences below 10 % are noise.

Further pages: [learning without padding](RESULTS_LEARNING.md), [windows](RESULTS_WINDOWS.md),
[engines](RESULTS_ENGINES.md), [GPU](RESULTS_GPU.md).

"""


def main() -> int:
    """Measures the rows; returns exit code 0 if all of them reach their goals."""
    flags = parse()
    rows = [row for row in ROWS if row.name in flags.rows or not flags.rows]
    setting = Setting(flags.hf_data_dir, flags.encoder, flags.seq2seq, flags.rounds, flags.scale)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    reached = True
    for row in rows:
        started = time.monotonic()
        runs = in_own_process(row, setting)
        record = {"machine": machine(), "scale": flags.scale, "runs": {}}
        record["runs"] = {name: asdict(found) for name, found in runs.items()}
        results[row.name] = record
        known = {row.name: results[row.name] for row in ROWS if row.name in results}
        RESULTS.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", "utf-8")
        PAGE.write_text(page(known), encoding="utf-8")
        sys.stdout.write("\n".join(lines_of(row, runs)) + "\n")
        sys.stdout.write(f"  {time.monotonic() - started:.0f} s in total\n")
        sys.stdout.flush()
        reached &= all(has_reached for *_, has_reached in comparisons(row, runs))
    return 0 if reached else 1


def parse() -> argparse.Namespace:
    """The command line."""
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}")
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--seq2seq", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of a row's examples")
    flags = parser.parse_args()
    for name in flags.rows:
        if name not in names:
            parser.error(f"{name}: no such row; known are {', '.join(names)}")
    return flags


def in_own_process(row: Row, setting: Setting) -> dict[str, Runs]:
    """Measures a row in a new process, without threads, caches or memory of other rows."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(row.run, setting).result()


def machine() -> dict[str, str]:
    """The machine and the library versions of the measurement."""
    found = {"cpu": cpu_name(), "cores": str(len(os.sched_getaffinity(0)))}
    found |= {"date": time.strftime("%Y-%m-%d"), "Python": platform.python_version()}
    return found | {name: version(name) for name in LIBRARIES}


def cpu_name() -> str:
    """The model name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


Comparison = tuple[str, str, str, str, bool]


def comparisons(row: Row, runs: dict[str, Runs]) -> list[Comparison]:
    """For each contender: its name, its rate, the ratio of ours to it, the goal, and whether the
    goal is reached."""
    ours = runs["ours"]
    found: list[Comparison] = []
    for name, goal in row.goals.items():
        if name not in runs:  # measured before this contender was added
            continue
        factors = ratios(ours, runs[name])
        factor = sorted(factors)[len(factors) // 2]
        wanted = "" if goal is None else f"≥ {goal:g}"
        text = f"{spread(factors, decimals(factor))}x"
        found.append((name, rate(runs[name]), text, wanted, goal is None or factor >= goal))
    if row.limit is not None:
        seconds = sorted(ours.seconds)[len(ours.seconds) // 2]
        text = f"{spread(ours.seconds, 3)} s"
        found.append(("", "", text, f"≤ {row.limit:g} s", seconds <= row.limit))
    return found


def rate(runs: Runs) -> str:
    """The rate of a contender, per second."""
    rates = [runs.amount / seconds for seconds in runs.seconds]
    return spread(rates, decimals(min(rates)))


def lines_of(row: Row, runs: dict[str, Runs]) -> list[str]:
    """The lines of a row for the terminal."""
    lines = [f"{row.name}: {row.what}", f"  ours: {rate(runs['ours'])} {row.unit}"]
    if score := learned(runs["ours"]):
        lines[-1] += f", score {score}"
    for name, theirs, factor, wanted, has_reached in comparisons(row, runs):
        score = learned(runs[name]) if name else ""
        verdict = "" if not wanted else f", goal {wanted}: {'yes' if has_reached else 'NO'}"
        comparison = f"{name}: {theirs}; speedup {factor}" if name else f"takes {factor}"
        lines.append(f"  {comparison}{verdict}{f', score {score}' if score else ''}")
    return lines


def page(results: dict[str, dict]) -> str:
    """The Markdown page of all results."""
    head = "| benchmark | ours | alternative | its rate | speedup | goal | reached |"
    head += " score: ours; alternative's |\n|---|---|---|---|---|---|---|---|\n"
    tables: dict[str, list[str]] = {}
    for row in ROWS:
        if row.name not in results:
            continue
        record = results[row.name]
        runs = {name: Runs(**found) for name, found in record["runs"].items()}
        facts = record["machine"] | {"fraction of the rows": f"{record['scale']:g}"}
        note = ", ".join(f"{name} {value}" for name, value in facts.items())
        for number, comparison in enumerate(comparisons(row, runs)):
            name, theirs, factor, wanted, has_reached = comparison
            what = f"`{row.name}`: {row.what}" if not number else ""
            ours = f"{rate(runs['ours'])} {row.unit}" if not number else ""
            scores = "; ".join(
                filter(None, (learned(runs["ours"]), learned(runs.get(name, Runs()))))
            )
            verdict = "" if not wanted else "yes" if has_reached else "**no**"
            cells = (what, ours, name, theirs, factor, wanted, verdict, scores)
            tables.setdefault(note, []).append(f"| {' | '.join(cells)} |")
    parts = [f"{note}\n\n{head}" + "\n".join(lines) + "\n" for note, lines in tables.items()]
    return HEAD + "\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
