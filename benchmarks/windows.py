"""The effect of sorting by length on learning: accuracy after 100, 200 and 400 steps.

    python -m benchmarks.windows --hf_data_dir DIR --models DIR --weights DIR --out DIR

Rows are sorted by length in windows of 1 (random order), 8 or 50 batches. Every seed draws weights
and order once, and its three runs see the same rows, so the windows are compared in pairs. Results
are appended to OUT/windows.jsonl; runs that are recorded there are not repeated. OUT/windows.md is
the table.

--models contains `roberta-mini` (2 layers x 128, no weights); --weights is a BERT with weights.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import gin
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.distributed import Ranks
from ke_t5.pipe import (
    EvaluationHelper,
    Examples,
    Folders,
    TaskRegistry,
    evaluate,
    get_batches,
    get_dataset,
)
from ke_t5.train.loop import TrainState, fit
from ke_t5.train.optimizer_config import get_optimizer
from ke_t5.train.settings import autocast, get_fit_settings

WINDOWS = (1, 8, 50)
STEPS = (100, 200, 400)


@dataclass(frozen=True)
class Setting:
    """A model and the task that it is trained on.

    Attributes:
        model: a folder below --models, or None for --weights.
        layers: how many of the folder's layers are kept, from the first on; None keeps all.
        max_length: tokens of a text.
        batch_tokens: padded tokens of a batch, in place of `batch_size` rows.
        precision: as in `FitSettings`.
    """

    name: str
    task: str
    test_split: str
    model: str | None
    learning_rate: float
    layers: int | None = None
    max_length: int = 512
    batch_size: int = 32
    batch_tokens: int | None = None
    precision: str = "fp32"
    test_rows: int = 2000

    def folder(self, flags: argparse.Namespace) -> Path:
        """The model's folder."""
        return flags.weights if self.model is None else flags.models / self.model


SETTINGS = (
    Setting("3i4K, from scratch", "kor_3i4k", "test", "roberta-mini", 1e-3),
    Setting("YNAT, from scratch", "klue_tc", "validation", "roberta-mini", 1e-3),
    Setting(
        "NSMC, real weights", "nsmc", "test", None, 1e-4, layers=2, max_length=24, batch_size=16,
        precision="bf16", test_rows=1000,
    ),
    Setting("3i4K, real weights", "kor_3i4k", "test", None, 1e-4, layers=3, precision="bf16"),
    Setting(
        "3i4K, from scratch, batch_tokens 512", "kor_3i4k", "test", "roberta-mini", 1e-3,
        batch_tokens=512,
    ),
)  # fmt: skip


def examples_of(setting: Setting, flags: argparse.Namespace) -> tuple[Examples, Examples]:
    """The training rows, and a fixed set of test rows."""
    gin.clear_config()
    gin.bind_parameter("get_vocabulary.vocab_name", str(setting.folder(flags)))
    task, folders = TaskRegistry.get(setting.task), Folders(flags.hf_data_dir, flags.out / "cache")
    gin.bind_parameter("get_dataset.sequence_length", {"inputs": setting.max_length})
    train = get_dataset(task, "train", folders=folders)
    test = get_dataset(task, setting.test_split, folders=folders)
    return train, test.some_rows(setting.test_rows)


def new_model(setting: Setting, flags: argparse.Namespace, seed: int) -> PreTrainedModel:
    """The model, initialized with the seed."""
    torch.manual_seed(seed)
    folder = setting.folder(flags)
    sizes = {"num_labels": len(TaskRegistry.get(setting.task).labels or ())}
    if setting.layers:
        sizes["num_hidden_layers"] = setting.layers
    config = AutoConfig.from_pretrained(folder, **sizes)
    if setting.model is None:
        return AutoModelForSequenceClassification.from_pretrained(folder, config=config)
    return AutoModelForSequenceClassification.from_config(config)


def run(setting: Setting, flags: argparse.Namespace, seed: int, window: int) -> dict:
    """Accuracy after each number of steps, and the seconds of the training only."""
    train, test = examples_of(setting, flags)
    model = new_model(setting, flags, seed)
    lengths = train.lengths("input_ids")
    plan = get_batches(
        lengths, batch_size=setting.batch_size, num_parts=1, seed=seed, window=window,
        batch_tokens=setting.batch_tokens,
    )  # fmt: skip
    state = TrainState(
        model, model, get_optimizer(learning_rate=setting.learning_rate)(model), lambda step: 1.0
    )
    ranks = Ranks(0, 1, torch.device("cpu"), torch.get_num_threads())
    settings = get_fit_settings(precision=setting.precision)
    helper = EvaluationHelper(TaskRegistry.get(setting.task))
    accuracy, seconds = [], 0.0
    for num_steps in STEPS:
        started = time.perf_counter()
        updates = fit(
            state, train, plan, ranks=ranks, settings=settings, loss_reduction="rows", seed=seed,
            num_steps=num_steps,
        )  # fmt: skip
        for _ in updates:
            pass
        seconds += time.perf_counter() - started
        found = evaluate(
            helper, model, test, batch_size=64, ranks=ranks,
            autocast=lambda: autocast(settings, ranks.device),
        )  # fmt: skip
        accuracy.append(found.scores["accuracy"])
    last = plan.epoch(0)[STEPS[-2] : STEPS[-1]]
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in last)
    return {
        "setting": setting.name, "seed": seed, "window": window, "accuracy": accuracy,
        "seconds": round(seconds, 2),
        "padding": 1 - sum(int(lengths[batch].sum()) for batch in last) / max(1, padded),
    }  # fmt: skip


def read_results(path: Path) -> list[dict]:
    """The results of earlier runs, one JSON object per line; [] without the file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_result(path: Path, result: dict) -> None:
    """Appends a line to the file and prints it."""
    line = json.dumps(result) + "\n"
    with path.open("a") as file:
        file.write(line)
    sys.stdout.write(line)
    sys.stdout.flush()


# ----------------------------------------------------------------------------------------- tables


def spread(values: list[float]) -> str:
    """Mean ± standard deviation."""
    if len(values) < 2:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def paired_difference(values: list[float]) -> str:
    """The mean paired difference with its 95 % t interval."""
    from scipy import stats

    if len(values) < 2:
        return f"{values[0]:+.1f}"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{statistics.mean(values):+.1f} ± {half:.1f}"


def table(results: list[dict]) -> str:
    """A Markdown table: for each setting and window, mean ± standard deviation of the accuracy
    after each number of steps, the paired difference to random order with its 95 % interval, and
    the padding."""
    steps = [f"{number} steps" for number in STEPS]
    head = ["setting", "window", "seeds", *steps, *(f"{s}, minus random" for s in steps),
            "lowest final", "padding", "median seconds"]  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in dict.fromkeys(result["setting"] for result in results):
        mine = {(r["window"], r["seed"]): r for r in results if r["setting"] == name}
        for window in sorted({result["window"] for result in results}):
            runs = {seed: r for (w, seed), r in mine.items() if w == window and (1, seed) in mine}
            if not runs:
                continue
            scores = np.array([r["accuracy"] for r in runs.values()])
            paired = scores - np.array([mine[1, seed]["accuracy"] for seed in runs])
            cells = [name, str(window), str(len(runs)), *(spread(list(s)) for s in scores.T)]
            cells += ["" if window == 1 else paired_difference(list(d)) for d in paired.T]
            cells += [
                f"{scores[:, -1].min():.1f}",
                f"{100 * statistics.mean(r['padding'] for r in runs.values()):.1f} %",
                f"{statistics.median(r['seconds'] for r in runs.values()):.0f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is not recorded, seed by seed, and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hf_data_dir", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="contains roberta-mini")
    parser.add_argument("--weights", type=Path, help="a BERT folder with weights")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--windows", type=int, nargs="*", default=WINDOWS)
    parser.add_argument("--settings", type=int, nargs="*", default=list(range(len(SETTINGS))))
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    path = flags.out / "windows.jsonl"
    results = read_results(path)
    done = {(r["setting"], r["seed"], r["window"]) for r in results}
    chosen = [SETTINGS[i] for i in flags.settings if SETTINGS[i].model or flags.weights]
    for seed in range(flags.seeds):
        for setting in chosen:
            for window in flags.windows:
                if (setting.name, seed, window) in done:
                    continue
                results.append(run(setting, flags, seed, window))
                add_result(path, results[-1])
                (flags.out / "windows.md").write_text(table(results))
    sys.stdout.write(table(results))


if __name__ == "__main__":
    main()
