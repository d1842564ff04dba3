"""The page of `python -m benchmarks.gpu`: its parts, their goals, and earlier measurements.

Results are kept in benchmarks/results_gpu.json, so that parts can be measured separately, and shown
in benchmarks/RESULTS_GPU.md. Only measurements on a GPU are added to them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results_gpu.json")
PAGE = Path(__file__).with_name("RESULTS_GPU.md")
TITLES = {
    "graphs": "Steps as CUDA graphs",
    "generation": "Generation of the rows of a validation",
    "syncs": "Host-device synchronization within a step",
    "parity": "First gradients and 20 losses, compared with the CPU in fp32",
    "speed": "Milliseconds per step, eager",
    "memory": "Memory",
    "cli": "Commands",
    "compiled": "Milliseconds per step, compiled",
}
# Tokens of a step up to which our rate must be this many times the Trainer's; the last one holds
# for all larger steps.
SPEEDUPS = {1300: 4.0, 8192: 1.6, 1 << 62: 1.3}
# From this many tokens on, a step must reach a share of the matrix product's rate.
MANY_TOKENS, UTILIZATION = 16_384, 0.4
GENERATION_SPEEDUP = 3.0
THEIRS = ("Trainer", "generate")
ADDED = ("speedup", "goal", "reached")

HEAD = """# Correctness and speed on a GPU

Written by `python -m benchmarks.gpu`. Each section names the machine, the versions and the date of
its measurement. A speedup is the ratio of our rate to that of the alternative, which is called as
its users call it: the Trainer in bf16 with SDPA, a fused optimizer and dynamic padding; `generate`
with batches of 16 rows, in the order of the rows.
"""
EARLIER = """
## Earlier measurements

By hand, on 2026-11-27, on an H100 with torch 2.11 and transformers 5.17, bf16 unless stated.

Steps as CUDA graphs, in a script made of the package's parts (model, guard, clipping, optimizer,
masks), with dropout:

| model | rows x tokens | optimizer | eager, ms | graph, ms | speedup |
|---|---|---|---|---|---|
| RoBERTa-base | 32 x 16 | AdamW | 48.4 | 6.5 | 7.5x |
| RoBERTa-base | 32 x 40 | AdamW | 51.0 | 7.7 | 6.6x |
| RoBERTa-base | 16 x 448 | AdamW | 45.4 | 22.4 | 2.0x |
| T5-base | 32 x 64 to 16 | AdamW | 172.2 | 29.8 | 5.8x |
| T5-base | 32 x 32 to 8 | AdamW | 161.1 | 22.8 | 7.1x |
| T5-base | 32 x 64 to 16 | Adafactor, outside the graph | 160.5 | 40.2 | 4.0x |
| RoBERTa-mini with a CRF | 16 x 64 | AdamW | 24.3 | 2.3 | 10.6x |

Capturing takes 0.05 to 0.3 s per shape. Loss and gradient norm of the first replay are bitwise
equal to those of the eager step, except at 16 x 448, where the norm differs in the seventh digit.

Eight trainings on the sample (topics, topics in fp32, token-level NLI, similarity, relations,
tagging with a CRF, reading comprehension, generation) succeeded, seven of them verifiably with
graphs. Of 32 trainings with real weights in fp32, thirteen at a time, 24 finished (scores in
`docs/en/board.md`), the others ran out of time; two fell back to eager steps, for a reason that has
been fixed since.

Real weights: six commands at once on one GPU (6 layers of multilingual-e5-small, 16 M parameters,
`--batch_size 32`, seed 42), so the rates are lower bounds; validation scores of the last epoch. With
one seed each, no difference between rows is significant.

| task | settings | steps | seconds | score |
|---|---|---|---|---|
| klue_nli | 2 epochs, learning rate 1e-4 | 1,564 | 68 | accuracy 64.6 |
| klue_tc | 1 epoch, learning rate 1e-4 | 1,143 | 46 | macro F1 80.5, accuracy 80.2 |
| klue_tc | 1 epoch, `get_batches.batch_tokens=16384`, learning rate 4e-4 | 47 | 13 | macro F1 79.7, accuracy 79.1 |
| klue_ner, CRF | 2 epochs, learning rate 2e-4 | 314 | 47 | entity F1 72.0, character F1 85.2 |
| kor_3i4k | 2 epochs, learning rate 1e-4 | 3,102 | 108 | accuracy 90.5, macro F1 82.7 |
| klue_mrc | trained on 80 % of validation, 2 epochs | 150 | 17 | 32.2: it answers no question, and the run reports this |
"""  # noqa: E501 - rows of tables

Row = dict[str, Any]


def parts_of(rows: Iterable[Row], endings: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The parts of a run: their machine, how they ended, and their rows.

    Args:
        rows: the recorded lines, one of which describes the machine.
    """
    rows = list(rows)
    machine = {k: v for row in rows if row["part"] == "machine" for k, v in row.items()}
    machine.pop("part", None)
    found = {}
    for name, ending in endings.items():
        mine = [row for row in rows if row["part"] == name]
        mine = [{k: v for k, v in row.items() if k != "part"} for row in mine]
        found[name] = {"machine": machine, "ending": ending, "rows": mine}
    return found


def is_of_a_gpu(part: Mapping[str, Any]) -> bool:
    """Whether a part was measured on a GPU."""
    return part["machine"].get("device") == "cuda"


def add(parts: Mapping[str, dict[str, Any]]) -> list[str]:
    """Adds the parts that were measured on a GPU to the results, and writes the page again; returns
    their names. A part without a row, which failed at its start, replaces nothing."""
    new = {name: one for name, one in parts.items() if is_of_a_gpu(one) and one["rows"]}
    if new:
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        known |= new
        known = {name: known[name] for name in TITLES if name in known}
        text = json.dumps(known, ensure_ascii=False, indent=1)
        RESULTS.write_text(text + "\n", encoding="utf-8")
        PAGE.write_text(page_of(known), encoding="utf-8")
    return list(new)


def page_of(parts: Mapping[str, dict[str, Any]], *, is_of_run: bool = False) -> str:
    """The Markdown page of these parts.

    Args:
        is_of_run: whether it is the page of a single run, without the parts that are missing and
            without earlier measurements.
    """
    sections = [HEAD, *(_section(name, parts[name]) for name in TITLES if name in parts)]
    missing = [f"* {TITLES[name]} (`--parts {name}`)" for name in TITLES if name not in parts]
    if missing and not is_of_run:
        listed = "\n".join(missing)
        sections.append(f"## Not measured since the code has changed\n\n{listed}\n")
    return "\n".join(sections) + ("" if is_of_run else EARLIER)


def _section(name: str, part: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in part["machine"].items() if key != "device")
    lines = [f"## {TITLES[name]}", "", f"{facts}; {part['ending']}.", ""]
    for _, rows in groupby(with_goals(name, part["rows"]), key=_kind):
        lines += [*_table(list(rows)), ""]
    return "\n".join(lines)


def _kind(row: Row) -> bool:
    """Rows of different kinds stand in tables of their own: speed, and equality of results."""
    return "equal_weights" in row


def _table(rows: list[Row]) -> list[str]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    columns = [x for x in columns if x not in ADDED] + [x for x in columns if x in ADDED]
    columns = [x for x in columns if any(row.get(x, "") != "" for row in rows)]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = (str(row.get(column, "")).replace("|", "\\|") for column in columns)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def with_goals(name: str, rows: list[Row]) -> list[Row]:
    """The rows of a part with the columns `ADDED`, empty where there is nothing to add."""
    theirs = {_case(row): row for row in rows if row.get("implementation") in THEIRS}
    found = []
    for row in rows:
        speedup = _speedup(row, theirs.get(_case(row)))
        goal, has_reached = _goal(name, row, speedup)
        more = {"speedup": "" if speedup is None else f"{speedup:.2f}x"}
        verdict = "" if has_reached is None else "yes" if has_reached else "**no**"
        found.append({**row, **more, "goal": goal, "reached": verdict})
    return found


def _case(row: Row) -> tuple[Any, ...]:
    return row.get("case"), row.get("optimizer")


def _speedup(ours: Row, theirs: Row | None) -> float | None:
    """The ratio of our rate to theirs; None without both."""
    if theirs is None or ours is theirs:
        return None
    for column, is_rate in (("ms", False), ("rows/s", True)):
        if _number(ours, column) and _number(theirs, column):
            ratio = _number(ours, column) / _number(theirs, column)
            return ratio if is_rate else 1 / ratio
    return None


def _number(row: Row, column: str) -> float:
    """The number in a column, 0 if there is none."""
    try:
        return float(str(row.get(column, "")).replace(",", "").rstrip("%"))
    except ValueError:
        return 0.0


def _goal(name: str, row: Row, speedup: float | None) -> tuple[str, bool | None]:
    """The goal of a row, and whether it is reached; None without a goal."""
    if "failed" in row:
        return "to run", False
    if name == "syncs":
        return "0 per step", row["per_step"] == 0
    if name == "cli":
        return "exit code 0", row["exit_code"] == 0
    is_ours = row.get("implementation") == "ours"
    if name == "generation" and speedup is not None and is_ours:
        return f"≥ {GENERATION_SPEEDUP:g}x", speedup >= GENERATION_SPEEDUP
    if name == "graphs":
        return _goal_of_graphs(row, speedup)
    tokens, column = _number(row, "tokens"), "of the matrix product's rate"
    if name in ("speed", "compiled") and is_ours and tokens >= MANY_TOKENS:
        return f"≥ {UTILIZATION:.0%} of the rate", _number(row, column) >= 100 * UTILIZATION
    return "", None


def _goal_of_graphs(row: Row, speedup: float | None) -> tuple[str, bool | None]:
    if "equal_weights" in row:
        return "equal", bool(row["equal_weights"])
    if speedup is None or row.get("implementation") != "graphs" or "tokens" not in row:
        return "", None
    goal = next(x for most, x in SPEEDUPS.items() if _number(row, "tokens") <= most)
    return f"≥ {goal:g}x", speedup >= goal
