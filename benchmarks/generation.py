"""Evaluation by generation beside `generate` as a user calls it: padded batches in file order.

A small T5 is trained for a moment on the embedded sample, so that its answers differ and end. Both
read the same token ids and end with texts; ours decodes and scores them too. What is "learned" is
the share of answers that are equal to theirs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM

import ke_t5.task.task  # noqa: F401 - registers the tasks
from benchmarks.rows import Runs, Setting, interleaved
from benchmarks.training import fit_ours, one_process
from ke_t5.pipe import EvaluationHelper, Folders, TaskRegistry, evaluate
from ke_t5.sample import sample_data_dir, sample_model_dir
from ke_t5.task.utils import get_vocabulary

TASK, BATCH_SIZE, NUM_ROWS, MOST_TOKENS = "sae4k_gen", 16, 192, 30
GENERATE, BY_DEFAULT = "generate", "generate, early_stopping=False"
COMPARED, INT8 = "ours, compared with generate before", "ours, 'ctranslate2-int8'"


class Answers:
    """What a trained T5 answers to questions, by ours and by transformers."""

    def __init__(self, setting: Setting, folder: Path) -> None:
        model_folder = sample_model_dir(folder, "t5", width=256, num_layers=4)
        gin.bind_parameter("get_vocabulary.vocab_name", str(model_folder))
        self.task = TaskRegistry.get(TASK)
        folders = Folders(sample_data_dir(folder), folder)
        torch.manual_seed(0)
        config = AutoConfig.from_pretrained(model_folder)
        self.model: Any = AutoModelForSeq2SeqLM.from_config(config)
        train = self.task.get_dataset("train[:80%]", folders=folders)
        for seed in range(3):
            fit_ours(self.model, train, seed=seed, batch_size=BATCH_SIZE, learning_rate=1e-3)
        self.model.eval()
        found = self.task.get_dataset("train[80%:]", folders=folders)
        self.examples = found.some_rows(setting.amount(NUM_ROWS))
        rows = self.examples.examples(range(len(self.examples)))
        self.ids = [row["input_ids"] for row in rows]
        self.tokenizer = get_vocabulary()

    def helper(self, arguments: dict, **options: Any) -> EvaluationHelper:
        """What evaluates; with CTranslate2 its first evaluation compares answers."""
        return EvaluationHelper(self.task, model_kwargs=arguments, **options)

    def ours(self, helper: EvaluationHelper) -> list[str]:
        """By the evaluation of the recipes, in the order of the rows."""
        found = evaluate(
            helper, self.model, self.examples, batch_size=BATCH_SIZE, ranks=one_process()
        )
        return [line["prediction"] for line in found.predictions]

    def theirs(self, arguments: dict) -> list[str]:
        """As a user of transformers gets them."""
        answers: list[str] = []
        for start in range(0, len(self.ids), BATCH_SIZE):
            batch = self.tokenizer.pad(
                {"input_ids": self.ids[start : start + BATCH_SIZE]}, return_tensors="pt"
            )
            with torch.inference_mode():
                found = self.model.generate(**batch, **arguments)
            answers += self.tokenizer.batch_decode(found, skip_special_tokens=True)
        return answers


def compare(setting: Setting, num_beams: int, **options: Any) -> dict[str, Runs]:
    """Both in turn, once for warming up."""
    arguments = {"max_new_tokens": MOST_TOKENS, "num_beams": num_beams}
    if num_beams > 1:
        arguments["early_stopping"] = True  # the one rule that CTranslate2 has too
    with tempfile.TemporaryDirectory() as folder:
        answers = Answers(setting, Path(folder))
        wanted = [text.strip() for text in answers.theirs(arguments)]

        def contender(run: Callable[[], list[str]]) -> Callable[[int], Any]:
            def once(_: int) -> Callable[[], float]:
                found = run()
                pairs = zip(found, wanted, strict=True)
                equal = sum(one.strip() == other for one, other in pairs)
                return lambda: 100.0 * equal / len(wanted)

            return once

        contenders = {
            "ours": contender(lambda: answers.ours(answers.helper(arguments, **options))),
            GENERATE: contender(lambda: answers.theirs(arguments)),
        }
        if num_beams > 1:  # its default looks on for better answers
            longer = {**arguments, "early_stopping": False}
            contenders[BY_DEFAULT] = contender(lambda: answers.theirs(longer))
        if options:
            kept = answers.helper(arguments, **options)
            contenders[COMPARED] = contender(lambda: answers.ours(kept))
            contenders[INT8] = contender(
                lambda: answers.ours(answers.helper(arguments, engine="ctranslate2-int8"))
            )
        return interleaved(contenders, rounds=setting.rounds, amount=len(wanted), warm_ups=1)


def greedy(setting: Setting) -> dict[str, Runs]:
    """The most probable token each time."""
    return compare(setting, 1)


def beams(setting: Setting) -> dict[str, Runs]:
    """Four beams."""
    return compare(setting, 4)


def ctranslate2(setting: Setting) -> dict[str, Runs]:
    """Four beams by `EvaluationHelper.engine='ctranslate2'`, conversion and comparison included.

    A training compares at its first evaluation only: the others are as a further contender.
    """
    return compare(setting, 4, engine="ctranslate2")
