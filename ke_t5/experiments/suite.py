"""`ke-t5 train --task kobest`: trains and tests on each task of a benchmark, and averages.

The tasks have different forms, so each has its own model and run folder. The best checkpoint of
each run is tested, and its score is the one that the benchmark publishes.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ke_t5.config.flags import FLAGS
from ke_t5.config.gin_config import import_modules
from ke_t5.errors import Exit, UserError
from ke_t5.experiments.trials import (
    Trial,
    check_words,
    environment,
    failure,
    own_words,
    trained,
    words_without,
)
from ke_t5.files import write_atomically, write_json
from ke_t5.pipe import get_task
from ke_t5.pipe.cache import Folders, default_data_dir
from ke_t5.programs import MODULE, SUITES, TEST
from ke_t5.recipes import console
from ke_t5.recipes.folders import make_folder
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.report.html import number
from ke_t5.report.pages import markdown_table

TEST_PROGRAM = (sys.executable, "-m", MODULE, "test")
SPLIT, SCORE = "test", "macro_f1"  # as in KoBEST's paper
# Flags of a test that are set here, or that a suite does not need.
_NOT_OF_TESTS = ("task", "resume", "output_dir", "seeds", "hf_path", "submission", "test_split")


def main(flags: Namespace, words: Sequence[str] | None = None) -> None:
    """Trains and tests what is not finished; prints and writes the table.

    Args:
        flags: the flags of the training; `task` is the suite.
        words: the command line; default: that of this process.
    """
    set_up_logging(debug=flags.debug)
    check_words(flags)
    if flags.seeds is not None:
        fix = f"give --seed and another --output_dir each time, or --task {SUITES[flags.task][0]}"
        raise UserError("a suite supports one seed only", f"--task {flags.task} --seeds", fix)
    import_modules(flags.module_import)
    given = words_without(own_words() if words is None else words, ("output_dir", "resume", "task"))
    folder = Path(flags.output_dir, flags.task)
    make_folder(folder, where=f"--output_dir {flags.output_dir}", probe=True)
    tasks, scores = SUITES[flags.task], {}
    check_test_splits(flags, tasks)
    for place, task in enumerate(tasks, 1):
        trial = Trial(task, [f"--task={task}", *given], folder / task)
        record = trial.finished()
        state = "is finished" if record else "starts"
        console.tell(f"{task} ({place} of {len(tasks)}) {state}: {trial.folder}")
        scores[task] = tested(trial, record or trained(trial))
    text = table(scores)
    write_atomically(folder / f"{flags.task}.md", text)
    write_json(folder / f"{flags.task}.json", {"split": SPLIT, "score": SCORE, "scores": scores})
    console.tell(f"\n{text}\n{flags.task}.md and {flags.task}.json in {folder}")


def check_test_splits(flags: Namespace, tasks: Sequence[str]) -> None:
    """Raises UserError if a task's data has no test split, before anything is trained."""
    if flags.sample:
        return
    data = Path(flags.hf_data_dir) if flags.hf_data_dir else default_data_dir()
    folders = Folders(data, Path(flags.hf_cache_dir))
    members = [member for task in tasks for member in get_task(task).members]
    lacking = [one.name for one in members if SPLIT not in one.source.splits(folders)]
    if lacking:
        what = f"no {SPLIT} split of {', '.join(lacking)}"
        fix = f"add its files, or train one task at a time, such as --task {lacking[0]}"
        raise UserError(what, f"--hf_data_dir {data}", fix, Exit.DATA)


def tested(trial: Trial, record: Mapping[str, Any]) -> float:
    """The score of a run's best checkpoint on the test split; tests it if that was not done yet.

    Args:
        record: the record of the training.

    Raises:
        UserError: the test failed; it has the test's exit code.
    """
    file = trial.folder / record["run"] / "eval" / SPLIT / "scores.json"
    if not file.exists():
        shared = {flag.name for flag in FLAGS if TEST in flag.scripts}.difference(_NOT_OF_TESTS)
        others = {flag.name for flag in FLAGS}.difference(shared)
        words = words_without(trial.words, tuple(others))
        words += [f"--task={trial.name}", f"--output_dir={trial.folder}", f"--test_split={SPLIT}"]
        done = subprocess.run([*TEST_PROGRAM, *words], env=environment(), check=False)
        if done.returncode:
            raise failure("test", trial.name, done.returncode)
    value = json.loads(file.read_text(encoding="utf-8"))["scores"][SCORE]
    return math.nan if value is None else value


def table(scores: Mapping[str, float]) -> str:
    """The scores and their mean as a Markdown table."""
    rows = [[task, number(value)] for task, value in scores.items()]
    rows.append(["**mean**", f"**{number(fmean(scores.values()))}**"])
    lines = markdown_table(["task", SCORE], rows, numbers=(1,))
    note = f"Scores on the {SPLIT} splits, of the best checkpoint on the validation split."
    return "\n".join([*lines, "", note]) + "\n"
