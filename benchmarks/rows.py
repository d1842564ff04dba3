"""The rows of the table: measurements, contenders and goals."""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast


@dataclass(frozen=True)
class Setting:
    """The inputs of a measurement.

    Attributes:
        data: the folder of the releases, as for `--hf_data_dir`.
        encoder, seq2seq: folders with a configuration and a tokenizer; weights are not read.
        rounds: the number of rounds; each has its own seed.
        scale: the fraction of a row's usual number of examples.
    """

    data: Path
    encoder: Path
    seq2seq: Path
    rounds: int = 3
    scale: float = 1.0

    def amount(self, number: int) -> int:
        """The number of examples at this scale."""
        return max(1, round(number * self.scale))


@dataclass
class Runs:
    """The results of one contender.

    Attributes:
        seconds: the seconds of each round.
        learned: the score of each round after the same number of rows; empty without training.
        amount: the work per round, such as the number of rows; the numerator of the rate.
    """

    seconds: list[float] = field(default_factory=list)
    learned: list[float] = field(default_factory=list)
    amount: float = 1.0


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: the description in the table.
        measure: module and function of this package, from a Setting to contender -> Runs; the key
            of ours is "ours".
        goals: contender -> the required ratio of our rate to its rate; None: no goal.
        unit: the unit of the rate.
        limit: the maximum number of seconds for ours, instead of a contender.
    """

    name: str
    what: str
    measure: str
    goals: Mapping[str, float | None]
    unit: str = "rows/s"
    limit: float | None = None

    def run(self, setting: Setting) -> dict[str, Runs]:
        """Measures the row in this process."""
        module, _, function = self.measure.partition(":")
        return getattr(importlib.import_module(f"benchmarks.{module}"), function)(setting)


def interleaved(
    contenders: Mapping[str, Callable[[int], Any]],
    *,
    rounds: int,
    amount: float = 1.0,
    warm_ups: int = 0,
) -> dict[str, Runs]:
    """Runs the contenders in turn, so that a drifting machine affects all of them alike.

    Args:
        contenders: name -> a function of the round's number that does the work. It returns the
            score, None, or a function that computes the score after the clock has stopped.
        rounds: the number of rounds.
        amount: the work per round.
        warm_ups: the number of rounds that are not counted.
    """
    runs = {name: Runs(amount=amount) for name in contenders}
    for number in range(-warm_ups, rounds):
        names = list(contenders)
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = time.perf_counter()
            learned = contenders[name](max(number, 0))
            seconds = time.perf_counter() - started
            if number < 0:
                continue
            runs[name].seconds.append(seconds)
            score = cast(Any, learned)() if callable(learned) else learned
            if score is not None:
                runs[name].learned.append(score)
    return runs


def ratios(ours: Runs, theirs: Runs) -> list[float]:
    """The ratio of our rate to theirs in each round."""
    return [
        (ours.amount / mine) / (theirs.amount / other)
        for mine, other in zip(ours.seconds, theirs.seconds, strict=True)
    ]


def spread(values: list[float], digits: int) -> str:
    """The median and the range of the values."""
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def learned(runs: Runs) -> str:
    """Mean and standard deviation of the scores; "" if there are none."""
    if not runs.learned:
        return ""
    if len(runs.learned) == 1:
        return f"{runs.learned[0]:.1f}"
    return f"{statistics.mean(runs.learned):.1f} ± {statistics.stdev(runs.learned):.1f}"


def decimals(value: float) -> int:
    """The number of decimals for three significant figures."""
    return max(0, min(4, 2 - math.floor(math.log10(value)))) if value > 0 else 0


TRAINER, GROUPED = "Trainer", "Trainer, group_by_length"
TRAINER_FP32 = "Trainer, fp32 (its default)"
GENERATE, BY_DEFAULT = "generate", "generate, early_stopping=False (its default)"
COMPARED, INT8 = "ours, already compared with generate", "ours, 'ctranslate2-int8'"
ALL_ROWS = "ours, fit.embedding_rows='all'"
ROWS = (
    Row(
        "train-encoder",
        "Training RoBERTa 4 x 256 on 3i4K, one pass, batch 32, fp32; score: test accuracy",
        "training:encoder",
        {
            TRAINER: 1.9,
            GROUPED: 1.0,
            "bare loop, same batches": 0.95,
            "ours, padded, random order": None,
            "ours, fit.padding='rows'": None,
        },
    ),
    Row(
        "train-encoder-bf16",
        "The same in bf16",
        "training:encoder_bf16",
        {TRAINER: 1.6, GROUPED: None, "ours, fit.padding='rows'": None},
    ),
    Row(
        "train-padded-to-512",
        "The same in fp32, compared with padding to 512 tokens, as earlier tools did",
        "training:padded_to_512",
        {"Trainer, padded to 512": 115.0},
    ),
    Row(
        "train-token-budget",
        "The same in bf16, batches of 1,024 tokens, learning rate x 2, compared with 32 rows",
        "training:token_budget",
        {TRAINER_FP32: 5.0, TRAINER: None},
    ),
    Row(
        "train-multilingual",
        "Training XLM-R 12 x 384 with 250,002 pieces on 3i4K, batch 32, fp32; score: accuracy",
        "multilingual:training",
        {TRAINER: 1.9, ALL_ROWS: None},
    ),
    Row(
        "train-multilingual-bf16",
        "The same in bf16",
        "multilingual:training_bf16",
        {TRAINER: 1.6, ALL_ROWS: None},
    ),
    Row(
        "train-seq2seq",
        "Training T5 4+4 x 256, KLUE-NLI premise to hypothesis, batch 16, fp32; score: loss",
        "training:seq2seq",
        {"Seq2SeqTrainer": 1.5},
    ),
    Row(
        "train-seq2seq-bf16",
        "The same in bf16",
        "training:seq2seq_bf16",
        {"Seq2SeqTrainer": 2.2},
    ),
    Row(
        "generate-greedy",
        "Generating up to 30 tokens for each premise of KLUE-NLI, T5 4+4 x 256; score: % of "
        "answers equal to generate's",
        "generation:greedy",
        {GENERATE: 1.1},
    ),
    Row(
        "generate-beams",
        "The same with 4 beams, early_stopping=True",
        "generation:beams",
        {GENERATE: 1.1, BY_DEFAULT: None},
    ),
    Row(
        "generate-ctranslate2",
        "The same with 4 beams and CTranslate2, including the conversion",
        "generation:ctranslate2",
        {BY_DEFAULT: 7.0, GENERATE: None, COMPARED: None, INT8: None},
    ),
    Row(
        "prepare",
        "Preparing 3i4K from its files",
        "preparation:cold",
        {"six unbatched maps, padded to 512": 17.0, "tokenizer alone": 0.8},
    ),
    Row(
        "prepare-warm",
        "Opening 3i4K from the cache",
        "preparation:warm",
        {"six unbatched maps, padded to 512": None},
        "times/s",
        0.010,
    ),
    Row(
        "batches",
        "Reading and padding batches of 32 rows",
        "preparation:batches",
        {"Arrow rows in torch format": 50.0},
    ),
    Row(
        "crf-31",
        "CRF, loss and gradient, 31 tags, 32 rows of 64 to 128 steps",
        "crf:loss_31",
        {"pytorch-crf": 5.0},
    ),
    Row(
        "crf-301",
        "The same, 301 tags",
        "crf:loss_301",
        {"pytorch-crf": 30.0},
    ),
    Row("crf-decode-31", "CRF, decoding, 31 tags", "crf:decode_31", {"pytorch-crf": 1.7}),
    Row("crf-decode-301", "CRF, decoding, 301 tags", "crf:decode_301", {"pytorch-crf": 8.0}),
    Row(
        "entity-f1",
        "Entity F1 of 5,000 sentences of 57 characters each; the values are equal",
        "metrics:entity_f1",
        {"seqeval": 1.0},
    ),
    Row(
        "rouge",
        "Syllable ROUGE-1, 2 and L of 2,000 summaries; the values are equal",
        "metrics:rouge",
        {"rouge-score": 1.0},
    ),
    Row(
        "two-processes",
        "train_ddp.py with two processes, global batches of 128 rows, 32 per forward pass",
        "processes:two_processes",
        {"one process, one thread": 1.5, "one process, all threads": None},
    ),
    Row(
        "checkpoint",
        "Time for which a checkpoint after the first blocks training: 110 M parameters, AdamW",
        "checkpoints:blocked",
        {"torch.save, fsync": None},
        "times/s",
        0.5,
    ),
    Row(
        "checkpoint-load",
        "Loading the checkpoint, including the hash check",
        "checkpoints:load",
        {"torch.load": None},
        "times/s",
        0.3,
    ),
    Row("help", "train_ddp.py --help", "startup:help_text", {}, "starts/s", 0.15),
    Row(
        "first-step",
        "train_ddp.py until the end of the first step, warm cache, small model",
        "startup:first_step",
        {"a script with the Trainer": None},
        "starts/s",
        6.0,
    ),
)
