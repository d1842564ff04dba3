"""Our evaluation by generation beside `generate` as a user calls it: padded batches in file order.

    python -m benchmarks.generate [--task klue_mrc_gen] [--rows 96] [--beams 4] [--repetitions 3]
    python -m benchmarks.generate --model FOLDER     # a trained sequence-to-sequence model

Without --model a small T5 is trained for a minute on the embedded sample, so that its answers end.
Runs are interleaved (ours, theirs, ours, ...) so that a busy machine slows both; the fastest run of
each and their ratio are printed, and how many answers are equal. Both read the same token ids and
end with texts; ours decodes and scores them too. How many threads ours takes is the package's rule
(`ke_t5.distributed.EVALUATION_THREADS`); the same number is given to theirs in a third column.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import torch

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.distributed import EVALUATION_THREADS, Ranks
from ke_t5.pipe import EvaluationHelper, Examples, Folders, Task, evaluate, get_task
from ke_t5.pipe.prediction import model_inputs
from ke_t5.sample import sample_data_dir, sample_model_dir

BATCH_SIZE = 16
CPU = torch.device("cpu")


def load_model(folder: Path, *, is_trained: bool) -> Any:
    """The T5 of a folder, with fresh weights where it has none."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    torch.manual_seed(0)
    if is_trained:
        return AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    return AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(folder)).eval()


def train(model: Any, examples: Examples, *, num_steps: int) -> None:
    """Teaches the model to end its answers."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(num_steps):
        rows = torch.randint(len(examples), (BATCH_SIZE,), generator=generator)
        model(**model_inputs(model, examples.batch(rows.numpy()), CPU)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def our_answers(model: Any, task: Task, examples: Examples, arguments: dict) -> list[str]:
    """The answers, by the evaluation of the recipes."""
    helper = EvaluationHelper(task, model_kwargs=arguments)
    ranks = Ranks(0, 1, CPU, torch.get_num_threads())
    answers: dict[int, str] = {}
    predict = helper.predict

    def watched(model: Any, batch: dict) -> list[dict]:
        records = predict(model, batch)
        answers.update({len(answers) + i: r["sequences"][0] for i, r in enumerate(records)})
        return records

    helper.predict = watched
    evaluate(helper, model, examples, batch_size=BATCH_SIZE, ranks=ranks)
    order = (-examples.lengths("input_ids")).argsort(kind="stable")
    return [answers[place] for place in order.argsort()]


def their_answers(model: Any, tokenizer: Any, ids: list[list[int]], arguments: dict) -> list[str]:
    """The answers, as a user of transformers gets them."""
    answers: list[str] = []
    for start in range(0, len(ids), BATCH_SIZE):
        batch = tokenizer.pad(
            {"input_ids": ids[start : start + BATCH_SIZE]}, padding=True, return_tensors="pt"
        )
        with torch.inference_mode():
            found = model.generate(**batch, **arguments)
        answers += tokenizer.batch_decode(found, skip_special_tokens=True)
    return answers


def on_threads(number: int, run: Callable[[], list[str]]) -> list[str]:
    """What `run` returns on this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return run()
    finally:
        torch.set_num_threads(before)


def interleaved(runs: dict[str, Callable[[], list[str]]], times: int) -> dict[str, float]:
    """Seconds of the fastest run of each, after one run each that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repetition in range(times + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            if repetition:
                seconds[name].append(time.perf_counter() - started)
    return {name: min(found) for name, found in seconds.items()}


def compare(model: Any, task: Task, examples: Examples, arguments: dict, options: Any) -> None:
    """Answers of both ways compared, then timed."""
    tokenizer = task.output_features["input_ids"].tokenizer()
    ids = [example["input_ids"] for example in examples.examples(range(len(examples)))]
    theirs = f"theirs, {options.threads} threads"
    same = f"theirs, {EVALUATION_THREADS} threads"

    def generate() -> list[str]:
        return their_answers(model, tokenizer, ids, arguments)

    runs: dict[str, Callable[[], list[str]]] = {
        "ours": lambda: our_answers(model, task, examples, arguments),
        theirs: generate,
        same: lambda: on_threads(EVALUATION_THREADS, generate),
    }
    answers = {name: runs[name]() for name in ("ours", theirs)}
    equal = sum(a == b for a, b in zip(*answers.values(), strict=True))
    lengths = sorted(len(tokenizer(answer)["input_ids"]) for answer in answers[theirs])
    tell(
        f"{arguments}: {equal} of {len(ids)} answers equal, {lengths[0]} to {lengths[-1]} tokens "
        f"(half of them up to {lengths[len(lengths) // 2]})"
    )
    seconds = interleaved(runs, options.repetitions)
    for name, taken in seconds.items():
        rate = len(ids) / taken
        tell(f"  {name:20} {taken:7.2f} s {rate:7.1f} rows/s {taken / seconds['ours']:6.2f} x ours")


def tell(text: str) -> None:
    """Writes a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Times greedy and beam search."""
    parser = argparse.ArgumentParser(description="Times evaluation by generation.")
    parser.add_argument("--model", type=Path, help="folder of a trained model (default: made here)")
    parser.add_argument("--task", default="klue_mrc_gen")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--max_new_tokens", type=int, default=30)
    parser.add_argument("--width", type=int, default=256, help="of the model that is made here")
    parser.add_argument("--steps", type=int, default=150, help="of its training")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/ke_t5").expanduser())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.model or sample_model_dir(
        options.cache, "t5", width=options.width, num_layers=4
    )
    gin.bind_parameter("ke_t5.task.utils.get_vocabulary.vocab_name", str(folder))
    task = get_task(options.task)
    folders = Folders(sample_data_dir(options.cache), options.cache)
    model = load_model(folder, is_trained=options.model is not None)
    if options.model is None:
        train(model, task.get_dataset("train", folders=folders), num_steps=options.steps)
    examples = task.get_dataset("validation", folders=folders).some_rows(options.rows)
    common = {"max_new_tokens": options.max_new_tokens}
    for arguments in (
        {**common, "num_beams": 1},
        {**common, "num_beams": options.beams, "early_stopping": False},
        {**common, "num_beams": options.beams, "early_stopping": True},
    ):
        compare(model, task, examples, arguments, options)


if __name__ == "__main__":
    main()
