"""`ke-t5 sweep`: trains with many settings, in a grid or chosen by optuna."""

from __future__ import annotations

import itertools
import math
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure, import_modules
from ke_t5.errors import Exit, UserError
from ke_t5.experiments.axes import Axis, distribution_of, read_axes
from ke_t5.experiments.sweep_results import Result, Sweep, write_table
from ke_t5.experiments.trials import (
    RECORD,
    Trial,
    best_of,
    check_words,
    failure,
    run_trial,
    words_without,
)
from ke_t5.files import write_json
from ke_t5.own_data import register_kinds
from ke_t5.pipe import get_task
from ke_t5.pipe.scoring import best_score
from ke_t5.recipes import console
from ke_t5.recipes.folders import make_folder, safe_name
from ke_t5.recipes.prepare import set_up_logging

COMPLETE, PRUNED, DIVERGED = "complete", "pruned", "diverged"
STUDY = "study.db"


def main(flags: Namespace) -> None:
    """Runs or continues the sweep; writes its table and its best settings.

    Args:
        flags: `axes`, `trials` (None for a grid), `training` and its `words`.
    """
    training = flags.training
    set_up_logging(debug=training.debug)
    axes = read_axes(flags.axes)
    is_grid = flags.trials is None
    for axis in axes:
        if is_grid and axis.kind:
            fix = "add --trials N, or give a list"
            raise UserError("a range needs --trials", f"{axis.name}={axis.kind}(...)", fix)
    if training.seeds is not None:
        fix = "drop it; afterwards, train with the best settings and --seeds"
        raise UserError("a sweep trains once per setting", f"--seeds {training.seeds}", fix)
    check_words(training)
    import_modules(training.module_import)
    words = words_without(flags.words, ("output_dir", "resume"))
    check_settings(training, words, axes)
    register_kinds()
    task = get_task(training.task)
    if task.best is None:
        fix = "name a task that has one"
        raise UserError("has no metric to compare trials by", f"--task {task.name}", fix)
    folder = Path(training.output_dir, f"sweep-{safe_name(training.task)}")
    make_folder(folder, where=f"--output_dir {training.output_dir}", probe=True)
    sweep = Sweep(task, axes, words, folder, training.seed, is_grid)
    with alone(folder):
        results = run_grid(sweep) if is_grid else run_study(sweep, flags.trials)
    write_table(sweep, results)


def check_settings(training: Namespace, words: Sequence[str], axes: Sequence[Axis]) -> None:
    """Raises UserError for a value that gin or a flag does not accept, before any trial starts."""
    import gin

    import ke_t5.recipes.prepare  # noqa: F401 - registers everything that gin may bind

    for axis in axes:
        for value in axis.ends():
            if axis.is_flag:
                parse_train([*words, axis.word(value)], launches=True)
                continue
            gin.clear_config()
            try:
                configure(training.gin_file, [*training.gin_param, f"{axis.name}={value}"])
            finally:
                gin.clear_config()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """A context that locks a folder against other sweeps.

    Raises:
        UserError: another sweep has locked it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(str(folder / ".sweep.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        fix = "wait for it, or choose another --output_dir"
        what = "another sweep is running there"
        raise UserError(what, str(folder), fix, Exit.MACHINE) from error
    try:
        yield
    finally:
        lock.release()


# ----------------------------------------------------------------------------------- the trials


def run_grid(sweep: Sweep) -> list[Result]:
    """Runs all combinations; returns their results."""
    combinations = list(itertools.product(*(axis.values for axis in sweep.axes)))
    results = []
    for number, values in enumerate(combinations, start=1):
        trial = sweep.trial(values)
        results.append(run_one(sweep, trial, values, title=f"{number} of {len(combinations)}"))
    return results


def run_one(
    sweep: Sweep,
    trial: Trial,
    values: Sequence[str],
    *,
    title: str,
    should_end: Callable[[Mapping[str, Any]], bool] = lambda line: False,
) -> Result:
    """Runs a trial unless it is finished; returns its result.

    Raises:
        UserError: the trial failed for a reason other than a diverging loss.
    """
    record = trial.finished()
    state = "is finished" if record else "starts"
    console.tell(f"trial {title} {state}: {trial.name}")
    if record is None:
        record = _run(trial, should_end)
    score = record.get("score")
    if record.get("state", COMPLETE) == COMPLETE:
        score = best_of(sweep.task, record)
    run = trial.folder / record.get("run", "")
    number = math.nan if score is None else score
    return Result(tuple(values), number, record.get("state", COMPLETE), record["seconds"], run)


def _run(trial: Trial, should_end: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any]:
    is_pruned = False

    def noted(line: Mapping[str, Any]) -> bool:
        nonlocal is_pruned
        is_pruned = should_end(line) or is_pruned
        return is_pruned

    started = time.monotonic()
    code, record = run_trial(trial, should_end=noted)
    if record is not None:
        return record
    if code == Exit.DIVERGED or (code == Exit.STOPPED and is_pruned):
        state = PRUNED if is_pruned else DIVERGED
        seconds = round(time.monotonic() - started, 1)
        record = {"words": list(trial.words), "scores": {}, "seconds": seconds, "state": state}
        write_json(trial.folder / RECORD, record, is_durable=True)
        return record
    raise failure("training", f"trial {trial.name}", code)


# ---------------------------------------------------------------------------------------- optuna


def run_study(sweep: Sweep, num_trials: int) -> list[Result]:
    """Runs `num_trials` trials with settings chosen by optuna; returns their results.

    Unpromising trials are stopped by optuna's median pruner.

    Raises:
        UserError: optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        fix = 'pip install "ke_t5[sweep]", or drop --trials for a grid'
        raise UserError("optuna is not installed", "--trials", fix, Exit.MACHINE) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=sweep.task.name,
        storage=f"sqlite:///{(sweep.folder / STUDY).resolve()}",
        direction="maximize" if sweep.is_maximized else "minimize",
        pruner=optuna.pruners.MedianPruner(),
        load_if_exists=True,
    )
    check_study(study, sweep)
    requeue(study)
    # A new seed at each start: with the same one, the first settings would be chosen again.
    study.sampler = optuna.samplers.TPESampler(seed=sweep.seed + len(study.trials))
    results = {}
    for told in study.trials:
        if "values" in told.user_attrs:
            values = told.user_attrs["values"]
            results[told.number] = run_one(
                sweep, sweep.trial(values), values, title=f"{len(results) + 1} of {num_trials}"
            )
    while len(results) < num_trials:
        asked = study.ask()
        values = [chosen(asked, axis) for axis in sweep.axes]
        title = f"{len(results) + 1} of {num_trials}"
        results[asked.number] = _told(study, asked, sweep, values, title)
    return list(results.values())


def check_study(study: Any, sweep: Sweep) -> None:
    """Raises UserError if the study has trials of other settings; a range may have other ends."""
    from optuna.distributions import check_distribution_compatibility

    axes = {axis.name: axis for axis in sweep.axes}
    for trial in study.trials:
        earlier = trial.distributions
        try:
            # One killed while its settings were chosen has only some of them.
            names = axes.keys() if "values" in trial.user_attrs else earlier.keys() & axes.keys()
            if earlier.keys() != names:
                raise ValueError
            for name, distribution in earlier.items():
                check_distribution_compatibility(distribution, distribution_of(axes[name]))
        except ValueError:
            what = f"its trials have other settings: {', '.join(earlier)}"
            fix = "give the same settings, or another --output_dir"
            raise UserError(what, str(sweep.folder / STUDY), fix, Exit.CHECKPOINT) from None


def requeue(study: Any) -> None:
    """Queues the trials again that were running when the process was killed."""
    trials = study.trials
    waiting = [trial.system_attrs.get("fixed_params") for trial in trials if _is(trial, "WAITING")]
    for trial in trials:
        if not _is(trial, "RUNNING"):
            continue
        if trial.params and trial.params not in waiting:
            study.enqueue_trial(trial.params)
        study.tell(trial.number, state=_state("FAIL"))


def _is(trial: Any, state: str) -> bool:
    return trial.state == _state(state)


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def chosen(asked: Any, axis: Axis) -> str:
    """The value of an axis that optuna chooses for a trial."""
    if axis.values:
        return asked.suggest_categorical(axis.name, list(axis.values))
    if axis.kind == "int":
        return axis.text(asked.suggest_int(axis.name, int(axis.low), int(axis.high)))
    is_log = axis.kind == "log"
    return axis.text(asked.suggest_float(axis.name, axis.low, axis.high, log=is_log))


def _told(study: Any, asked: Any, sweep: Sweep, values: Sequence[str], title: str) -> Result:
    """Runs a trial and reports its result to optuna."""
    seen: set[int] = set()

    def should_end(line: Mapping[str, Any]) -> bool:
        scores = {name: math.nan if x is None else x for name, x in line["scores"].items()}
        value = best_score(sweep.task, scores)
        if line["step"] in seen or not math.isfinite(value):
            return False
        seen.add(line["step"])
        asked.report(value, line["step"])
        return not line.get("closing") and asked.should_prune()

    result = run_one(sweep, sweep.trial(values), values, title=title, should_end=should_end)
    # Before `tell`: from here on the trial counts, even if the process is killed.
    asked.set_user_attr("values", list(values))
    if result.state == COMPLETE and math.isfinite(result.score):
        study.tell(asked, result.score)
    else:
        study.tell(asked, state=_state("PRUNED" if result.state == PRUNED else "FAIL"))
    return result
