"""Our training loop beside Hugging Face's Trainer, as it comes and grouped by length.

    pip install accelerate
    python -m benchmarks.train --hf_data_dir DIR --pre_trained_model DIR [--rows 6400] [--rounds 3]

An encoder classifier of the given shape, fresh weights, on 3i4K: one short epoch at batch 32 each,
in turn (ours, theirs, theirs grouped, ours, ...), so that a machine that drifts slows all alike.
Printed: the median examples per second and the ratio to the Trainer as it comes; and, because
grouping by length can ruin a training whose labels go with length, the accuracy on the test split.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gin
import numpy as np
import torch
from transformers import (
    DataCollatorWithPadding,
    RobertaConfig,
    RobertaForSequenceClassification,
    Trainer,
    TrainingArguments,
)

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.distributed import Ranks
from ke_t5.pipe import EvaluationHelper, Examples, Folders, evaluate, get_batches, get_task
from ke_t5.task.utils import get_vocabulary
from ke_t5.train.loop import TrainState, count_steps, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import FitSettings

BATCH_SIZE, LEARNING_RATE = 32, 5e-4


def new_model(folder: str, width: int, num_layers: int) -> RobertaForSequenceClassification:
    """The same fresh weights every time."""
    torch.manual_seed(0)
    config = RobertaConfig.from_pretrained(
        folder, num_labels=7, hidden_size=width, num_hidden_layers=num_layers,
        intermediate_size=4 * width,
    )  # fmt: skip
    return RobertaForSequenceClassification(config)


def train_ours(model: RobertaForSequenceClassification, train: Examples, *, precision: str) -> None:
    """One epoch of our loop."""
    plan = get_batches(train.lengths("input_ids"), batch_size=BATCH_SIZE, num_parts=1, seed=0)
    optimizer = get_optimizer(learning_rate=LEARNING_RATE)(model)
    ranks = Ranks(0, 1, torch.device("cpu"), torch.get_num_threads())
    settings = FitSettings(precision, 1, 1.0, False, None, False)
    state = TrainState(model, model, optimizer, lambda step: 1.0)
    updates = fit(
        state, train, plan, ranks=ranks, settings=settings, loss_reduction="rows", seed=0,
        num_steps=count_steps(plan, 1),
    )  # fmt: skip
    for _ in updates:
        pass


def train_theirs(
    model: RobertaForSequenceClassification, train: Examples, *, grouped: bool, precision: str
) -> None:
    """One epoch of the Trainer."""
    rows = [train.example(i) for i in range(len(train))]
    table = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=BATCH_SIZE, num_train_epochs=1,
            learning_rate=LEARNING_RATE, lr_scheduler_type="constant", report_to=[], seed=0,
            save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=True,
            bf16=precision == "bf16",
            train_sampling_strategy="group_by_length" if grouped else "random",
        )  # fmt: skip
        collate = DataCollatorWithPadding(get_vocabulary())
        Trainer(model, arguments, train_dataset=table, data_collator=collate).train()


def accuracy(model: RobertaForSequenceClassification, test: Examples) -> float:
    """Per cent of the test rows."""
    helper = EvaluationHelper(get_task("kor_3i4k"))
    ranks = Ranks(0, 1, torch.device("cpu"), torch.get_num_threads())
    return evaluate(helper, model, test, batch_size=64, ranks=ranks).scores["accuracy"]


def main() -> None:
    """Runs the comparison and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--pre_trained_model", required=True, help="a RoBERTa folder")
    parser.add_argument("--rows", type=int, default=6400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    flags = parser.parse_args()
    gin.bind_parameter("get_vocabulary.vocab_name", flags.pre_trained_model)
    with tempfile.TemporaryDirectory() as cache:
        folders = Folders(flags.hf_data_dir, Path(cache))
        task = get_task("kor_3i4k")
        everything = task.get_dataset("train", folders=folders)
        chosen = np.random.default_rng(0).permutation(len(everything))[: flags.rows]
        train, test = everything.take(chosen), task.get_dataset("test", folders=folders)
        precision = flags.precision
        runs: dict[str, Callable] = {
            "ours": lambda model: train_ours(model, train, precision=precision),
            "Trainer": lambda model: train_theirs(model, train, grouped=False, precision=precision),
            "Trainer, group_by_length": lambda model: train_theirs(
                model, train, grouped=True, precision=precision
            ),
        }
        rates: dict[str, list[float]] = {name: [] for name in runs}
        scores = {}
        for _ in range(flags.rounds):
            for name, run in runs.items():
                model = new_model(flags.pre_trained_model, flags.width, flags.layers)
                started = time.perf_counter()
                run(model)
                rates[name].append(len(train) / (time.perf_counter() - started))
                scores[name] = accuracy(model, test)
    base = statistics.median(rates["Trainer"])
    for name, found in rates.items():
        rate = statistics.median(found)
        sys.stdout.write(
            f"{name:26} {rate:7.0f} examples/s  {rate / base:5.2f} x Trainer  "
            f"accuracy {scores[name]:.1f}  ({min(found):.0f} to {max(found):.0f})\n"
        )


if __name__ == "__main__":
    main()
