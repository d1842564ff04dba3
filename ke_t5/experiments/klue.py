"""`ke-t5 klue`: trains a model on KLUE at the published settings, and shows the published scores.

Settings are from KLUE-baseline's run_all.sh (8310cad), scores from the table in KLUE's README
(github.com/KLUE-benchmark/KLUE), which are on the hidden test sets; ours are on the dev sets.
"""

from __future__ import annotations

import csv
import math
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ke_t5.errors import UserError, suggestion
from ke_t5.experiments.seeds import mean_and_deviation
from ke_t5.experiments.trials import Trial, trained
from ke_t5.files import write_atomically, write_json
from ke_t5.recipes import console
from ke_t5.recipes.folders import make_folder
from ke_t5.recipes.prepare import set_up_logging
from ke_t5.report.pages import markdown_table
from ke_t5.report.scores import counted

PUBLISHED = Path(__file__).with_name("klue_published.csv")
LENGTH_OF_RE = "get_dataset.sequence_length={'inputs': 256}"


@dataclass(frozen=True)
class Setting:
    """The published setting of a task.

    Attributes:
        gin_file: the gin file with most of the settings.
        epochs: the number of epochs.
        rows: the rows per step, over all processes.
        scores: the metrics of the published table.
        params: further gin bindings.
    """

    gin_file: str
    epochs: int
    rows: int
    scores: tuple[str, ...]
    params: tuple[str, ...] = ()


BASE = {
    "klue_tc": Setting("klue_roberta_base.gin", 4, 32, ("macro_f1",)),
    "klue_sts": Setting("klue_roberta_base.gin", 4, 32, ("pearson", "f1")),
    "klue_nli": Setting("klue_roberta_base.gin", 5, 32, ("accuracy",)),
    "klue_ner": Setting("klue_roberta_ner.gin", 3, 32, ("entity_f1", "character_f1")),
    "klue_re": Setting("klue_roberta_base.gin", 3, 32, ("micro_f1", "auprc"), (LENGTH_OF_RE,)),
    "klue_dp": Setting("klue_roberta_dp.gin", 10, 32, ("uas", "las")),
    "klue_mrc": Setting("klue_roberta_mrc.gin", 5, 16, ("exact_match", "rouge_w")),
}
# Bindings for large models.
LARGE_RATE = "AdamW.lr=2e-5"
_EARLY, _LATE = "get_scheduler.warmup_ratio=0.1", "get_scheduler.warmup_ratio=0.2"
LARGE = {
    "klue_tc": Setting("klue_roberta_base.gin", 4, 32, ("macro_f1",), (_LATE,)),
    "klue_sts": Setting("klue_roberta_base.gin", 4, 32, ("pearson", "f1"), (LARGE_RATE, _EARLY)),
    "klue_nli": Setting("klue_roberta_base.gin", 5, 32, ("accuracy",), (_LATE,)),
    "klue_ner": Setting(
        "klue_roberta_ner.gin", 3, 8, ("entity_f1", "character_f1"), ("AdamW.lr=1e-5",)
    ),
    "klue_re": Setting(
        "klue_roberta_base.gin", 10, 16, ("micro_f1", "auprc"), (LENGTH_OF_RE, LARGE_RATE, _LATE)
    ),
    "klue_dp": Setting("klue_roberta_dp.gin", 15, 32, ("uas", "las"), (_LATE,)),
    "klue_mrc": Setting("klue_roberta_mrc.gin", 5, 16, ("exact_match", "rouge_w")),
}

# "task/score" -> one value per seed.
Values = dict[str, list[float]]


def settings_for(name: str, *, is_large: bool | None = None) -> Mapping[str, Setting]:
    """Task -> setting for a model of that name, large if `is_large` or if the name says so."""
    return LARGE if ("large" in name.lower() if is_large is None else is_large) else BASE


def words_of(flags: Namespace, task: str, seed: int) -> list[str]:
    """The flags of one training.

    Raises:
        UserError: the rows of a step cannot be divided among the processes.
    """
    setting = settings_for(flags.pre_trained_model)[task]
    if setting.rows % flags.nproc:
        fix = f"choose a divisor of {setting.rows}"
        what = f"{task} has {setting.rows} rows per step, not divisible by the number of processes"
        raise UserError(what, f"--nproc {flags.nproc}", fix)
    words = [f"--task={task}", f"--gin_file={setting.gin_file}"]
    words += ["--sample"] if flags.sample else [f"--pre_trained_model={flags.pre_trained_model}"]
    words += [f"--gin_param={param}" for param in setting.params]
    words += [f"--epochs={setting.epochs}", "--schedule=linear"]
    words += [f"--batch_size={setting.rows // flags.nproc}", f"--seed={seed}"]
    words += [f"--nproc={flags.nproc}"] if flags.nproc > 1 else []
    for name in ("hf_data_dir", "hf_cache_dir", "max_steps", "eval_rows"):
        if getattr(flags, name) is not None:
            words.append(f"--{name}={getattr(flags, name)}")
    return words


def main(flags: Namespace) -> None:
    """Trains the runs that are not finished; prints and writes the table."""
    set_up_logging(debug=flags.debug)
    tasks, output = chosen_tasks(flags.tasks), Path(flags.output_dir)
    seeds = range(flags.seed, flags.seed + flags.seeds)
    trials = {
        (task, seed): Trial(
            f"{task}, seed {seed}", words_of(flags, task, seed), output / f"seed-{seed}" / task
        )
        for seed in seeds
        for task in tasks
    }
    make_folder(output, where=f"--output_dir {output}", probe=True)
    values: Values = {}
    for number, ((task, _), trial) in enumerate(trials.items(), 1):
        record = trial.finished()
        state = "is finished" if record else "starts"
        console.tell(f"{trial.name} ({number} of {len(trials)}) {state}: {trial.folder}")
        scores = _validated(record or trained(trial))
        for score in BASE[task].scores:
            values.setdefault(f"{task}/{score}", []).append(scores[score])
    model = "the sample" if flags.sample else flags.pre_trained_model
    text = table(model, values)
    write_atomically(output / "klue.md", text)
    write_json(output / "klue.json", {"model": model, "seeds": list(seeds), "scores": values})
    console.tell(f"\n{text}\nklue.md and klue.json in {output}")


def _validated(record: Mapping[str, Any]) -> dict[str, float]:
    """The scores of a run's best checkpoint on its validation split; NaN for undefined ones."""
    (scores,) = (scores for split, scores in record["scores"].items() if "__" not in split)
    return {name: math.nan if value is None else value for name, value in scores.items()}


def chosen_tasks(names: Sequence[str] | None) -> list[str]:
    """The tasks of `--tasks`, given with or without `klue_`; by default, all.

    Raises:
        UserError: a task is unknown.
    """
    known = list(BASE)
    tasks = [name if name in known else f"klue_{name}" for name in names or known]
    for task in tasks:
        if task not in known:
            short = [name.removeprefix("klue_") for name in known]
            fix = suggestion(task.removeprefix("klue_"), short)
            raise UserError("is not one of the tasks", f"--tasks {task}", fix)
    return tasks


def published() -> dict[str, dict[str, float]]:
    """Model -> "task/score" -> value."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return {
            row.pop("model"): {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        }


def table(model: str, values: Values) -> str:
    """The scores of a model and the published ones as a Markdown table.

    Args:
        values: "task/score" -> one value per seed.
    """
    names = list(values)
    heads = [name.removeprefix("klue_").replace("/", " ") for name in names]
    rows = [[f"**{model}** (dev)", *(mean_and_deviation(values[name]) for name in names)]]
    for other, scores in published().items():
        rows.append([f"{other} (test, published)", *(f"{scores[name]:.2f}" for name in names)])
    num_seeds = counted(max(map(len, values.values())), "seed")
    spread = "" if num_seeds == "1 seed" else ", mean ± standard deviation"
    note = (
        f"Ours: KLUE's dev sets, the best checkpoint by the task's own score, {num_seeds}"
        f"{spread}. Published: the hidden test sets "
        "(KLUE's README). Dev scores chose the checkpoint, so they are slightly optimistic."
    )
    lines = markdown_table(["model", *heads], rows, numbers=range(1, len(names) + 1))
    return "\n".join([*lines, "", note]) + "\n"
