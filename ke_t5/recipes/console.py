"""The recipes' output on the terminal: tables, warnings about the data, suggested commands."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ke_t5.distributed import launched_rank
from ke_t5.errors import counted, counted_of
from ke_t5.pipe import Examples, Mixture, Task
from ke_t5.programs import TEST, TRAIN, command, one_command, shell_line
from ke_t5.readers.streams import listed
from ke_t5.train.loggers import ProgressBar, is_quiet

logger = logging.getLogger(__name__)

# Total variation distance between the label shares of two splits above which a user is warned: it
# is this large if rows are ordered by class and split by position.
SUSPICIOUS_SHIFT = 0.25


def tell(text: str) -> None:
    """Writes a line to stdout, once per launch."""
    if launched_rank() == 0:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def tell_more(text: str) -> None:
    """Writes a line other than scores to stdout, once per launch and unless `--quiet` is given."""
    if not is_quiet():
        tell(text)


def report_examples(task: Task, split: str, examples: Examples) -> None:
    """Logs the number and lengths of a split's examples, and what preprocessing has lost."""
    total, longest = examples.length_facts("input_ids")
    logger.info(
        "%s %s: %s, %.0f tokens on average, %d at most",
        task.name, split, counted(len(examples), "example"), total / len(examples), longest,
    )  # fmt: skip
    if task.prefixes:
        ids = np.asarray(examples.example(0)["input_ids"])
        ids = ids if ids.ndim == 1 else ids[ids[:, 0] >= 0, 0]  # of the first choice
        text = task.output_features["input_ids"].load_tokenizer().decode(ids.tolist())
        logger.info("%s %s: the first input is %r", task.name, split, f"{text:.120}")
    for what, (count, total) in examples.lost().items():
        of = f" of {total} ({100 * count / total:.1f} %)" if total else ""
        logger.warning("%s %s: %d%s %s", task.name, split, count, of, what)


def report_mixture(mixture: Mixture, examples_per_epoch: Sequence[tuple[int, int]]) -> None:
    """Logs each member's share of an epoch, from (training examples, examples per epoch)."""
    shares = [
        f"{task.name} {quota} (of {size})"
        for task, (size, quota) in zip(mixture.members, examples_per_epoch, strict=True)
    ]
    total = sum(quota for _, quota in examples_per_epoch)
    examples = counted(total, "example")
    logger.info("%s: an epoch of %s: %s", mixture.name, examples, ", ".join(shares))


def warn_of_labels(train: Examples, valid: Examples, labels: tuple[str, ...]) -> None:
    """Logs a warning if the training rows lack labels, or if the label shares of the two splits
    differ wildly."""
    trained = _label_shares(train, len(labels))
    validated = _label_shares(valid, len(labels))
    if trained is not None and not trained.all():
        missing = [label for label, share in zip(labels, trained, strict=False) if not share]
        logger.warning(
            "%s not occur in the training rows: %s; are the rows ordered by class?",
            counted_of(len(missing), len(labels), "label", ("does", "do")), listed(missing),
        )  # fmt: skip
    if trained is None or validated is None:
        return
    shift = np.abs(trained - validated).sum() / 2
    if shift > SUSPICIOUS_SHIFT:
        worst = int(np.argmax(np.abs(trained - validated)))
        logger.warning(
            "the label shares of the training and validation splits differ wildly (%.0f %% of the "
            "rows would have to change): %s is %.1f %% of one and %.1f %% of the other; are the "
            "rows ordered by class?",
            100 * shift, labels[worst], 100 * trained[worst], 100 * validated[worst],
        )  # fmt: skip


def _label_shares(examples: Examples, num_labels: int) -> np.ndarray | None:
    column = examples.columns.get("labels")
    if column is None or column.offsets is not None or column.dtype.kind == "f":
        return None
    found = examples.value_counts("labels")
    counts = np.concatenate([found, np.zeros(max(0, num_labels - len(found)), dtype=np.int64)])
    return counts / counts.sum() if counts.sum() >= 100 else None


# The flags with which both scripts find the same run and predict alike.
OF_BOTH = (
    "task", "model_name", "pre_trained_model", "output_dir", "hf_data_dir", "hf_cache_dir",
    "batch_size", "gin_file", "gin_param", "module_import", "sample",
)  # fmt: skip

# The flags of the user's own data, which a run keeps.
OWN_DATA = (
    "train_file", "valid_file", "test_file", "text_column", "text_pair_column", "label_column",
    "choice_columns",
)  # fmt: skip


def next_commands(
    flags: Mapping[str, Any],
    *,
    valid_splits: Sequence[str],
    launcher: str,
    best: str = "best",
    last: str = "true",
    stopped_at: int | None = None,
    predict: Sequence[str] = (),
    real_model: str | None = None,
    reads_release: bool = True,
) -> str:
    """The commands that a user may want next: test, predict, export, train on real data.

    Args:
        flags: flag -> value, with "given" as the flag parser returns it.
        valid_splits: the validation split of each task.
        launcher: such as "torchrun --nproc_per_node=2" for several processes, otherwise "".
        best, last: the `--resume` values for the best checkpoint and the last one.
        stopped_at: the step at which `--max_steps` ended the run; the export must not train on.
        predict: the flags of `ke-t5 predict` for the export; empty without one.
        real_model: the model to suggest for real data after a run on the sample.
        reads_release: whether the rows come from a raw release, and not from the user's own files.
    """
    train_program, test_program = command(TRAIN, launcher), command(TEST, launcher)
    test, best, last = _words(flags, OF_BOTH), shell_line([best]), shell_line([last])
    valid_split, *others = dict.fromkeys(valid_splits)
    trains_elsewhere = not (flags["train_split"] or "train").startswith("train")
    if trains_elsewhere and not others:
        # The test's default split might be the one that was trained on.
        test += f" --test_split {shell_line([valid_split])}"
    lines = ["next:", f"  test    {test_program} {test} --resume {best}"]
    if predict:
        lines.append(f"  predict {one_command('predict')} {shell_line(predict)}")
    if not flags["hf_path"]:
        same = [name for name in flags["given"] if name not in ("resume", "max_steps", "hf_path")]
        words = _words(flags, ["task", *same])
        if stopped_at is not None:
            words += f" --max_steps {stopped_at}"
        export = f"{words} --resume {last} --hf_path default"
        lines.append(f"  export  {train_program} {export}")
    if flags["sample"] and real_model is not None:
        same = [
            "task",
            "model_name",
            *OWN_DATA,
            "gin_file",
            "gin_param",
            "module_import",
            "lora",
            "parallel",
        ]
        words = _words(flags, same)
        line = f"  real    {train_program} {words} --pre_trained_model {real_model}"
        hint = "   # for a raw release: --hf_data_dir DIR" if reads_release else ""
        lines.append(line + hint)
    return "\n".join(lines)


def _words(flags: Mapping[str, Any], names: Iterable[str]) -> str:
    """The named flags as a command line: the task, and those that were given."""
    words: list[str] = []
    for name in dict.fromkeys(names):
        value = flags[name]
        if name in flags["given"] or name == "task":
            for one in value if isinstance(value, list) else [value]:
                words += [f"--{name}"] if one is True else [f"--{name}", str(one)]
    return shell_line(words)


def watch_batches(batches: range) -> Iterator[int]:
    """The batches of a test, with a progress bar on a terminal and occasional lines elsewhere."""
    with ProgressBar(len(batches), name="test") as bar:
        for batch in batches:
            yield batch
            bar.update()


def watch_validation(batches: range) -> Iterator[int]:
    """The batches of a validation, with a progress bar on a terminal after a second."""
    with ProgressBar(len(batches), name="validation", is_passing=True) as bar:
        for batch in batches:
            yield batch
            bar.update()
