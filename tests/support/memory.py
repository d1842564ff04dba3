"""The memory use of a function in its own process, and workloads to measure."""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from support.processes import process_context

MB = 1 << 20
WORDS = "가 나 다 라 마 바 사 아 자 차 카 타 파 하".split()
NUM_PIECES = 64_000


def growth(function: Callable[[], object]) -> float:
    """By how many MB the private memory of a process grows at most while the function runs in it,
    over what it has when ke_t5 is imported. Pages of mapped files are not private: the system
    takes them back when it needs memory."""
    context = process_context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_measured, args=(theirs, function))
    process.start()
    theirs.close()
    baseline = ours.recv()
    peak = baseline
    while process.is_alive():
        peak = max(peak, private(process.pid))
        time.sleep(0.002)
    process.join()
    assert process.exitcode == 0
    return (peak - baseline) / MB


def private(pid: int | str) -> int:
    """The private resident bytes of a process; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")]
    return sizes[0] if sizes else 0


def _measured(connection: Any, function: Callable[[], object]) -> None:
    import datasets

    import ke_t5.recipes.test
    import ke_t5.recipes.train  # noqa: F401

    datasets.disable_progress_bars()
    gc.collect()
    connection.send(private("self"))
    function()


# ------------------------------------------------------------------------------------------ data


def write_corpus(file: Path, size: int) -> int:
    """Writes a JSONL file of about `size` bytes; returns the number of rows."""
    generator, written, rows = random.Random(0), 0, 0
    texts = [" ".join(generator.choices(WORDS, k=60)) for _ in range(500)]
    with file.open("w", encoding="utf-8") as stream:
        while written < size:
            row = {"text": texts[rows % 500], "label": rows % 3}
            line = json.dumps(row, ensure_ascii=False) + "\n"
            written += len(line.encode())
            stream.write(line)
            rows += 1
    return rows


@cache
def tokenizer() -> Any:
    """A tokenizer of 64,000 words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *WORDS, *(f"w{i}" for i in range(NUM_PIECES))][:NUM_PIECES]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", eos_token="[SEP]", model_max_length=512,
    )  # fmt: skip


def _take_label(batch):
    return {**batch, "labels": batch["label"]}


def _write_label(batch):
    return {**batch, "labels": [[4 + label, 3] for label in batch["label"]]}


def _exact(targets, predictions):
    return {"exact": 100 * float(np.mean([t == p for t, p in zip(targets, predictions)]))}  # noqa: B905


def _task(file: Path, *, writes: bool) -> Any:
    from ke_t5.pipe import IGNORED, Feature, HFDataSource, Task, map_over_batches, tokenize

    labels = Feature(tokenizer, pad=IGNORED) if writes else Feature(rank=0, num_values=3)
    steps = [partial(tokenize, source="text", limit="inputs"),
             map_over_batches(_write_label if writes else _take_label)]  # fmt: skip
    return Task(
        "own", HFDataSource("json", data_files={"train": str(file)}), steps,
        {"input_ids": Feature(tokenizer, pad=None), "labels": labels},
        form="seq2seq" if writes else "sequence_classification",
        keep={"text": "string", "label": "int64"}, metric_fns=(_exact,),
        decode=lambda outputs, examples: (outputs[0]["sequences"][0], None),
        target=lambda example: WORDS[example["label"]], inputs=lambda example: example["text"],
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ work


def train_on(file: Path, cache: Path) -> None:
    """What training does with its data: prepares, checks and hashes it, and reads an epoch."""
    from ke_t5.pipe import Folders, get_batches
    from ke_t5.pipe.splits import HELD_IN, HELD_OUT, num_common
    from ke_t5.recipes.row_hashes import overlap, row_hashes
    from ke_t5.recipes.token_health import check_tokens

    task, folders = _task(file, writes=False), Folders(None, cache)
    train, valid = (task.get_dataset(split, folders=folders) for split in (HELD_IN, HELD_OUT))
    num_common("train", "train[:50%]", task.source, folders, task.rows)
    train = train.labelled()
    train.content_hash()
    check_tokens(task, "train", train)
    overlap(row_hashes(task, valid), row_hashes(task, train))
    plan = get_batches(train.lengths("input_ids"), batch_size=32, num_parts=1, seed=0)
    for positions in plan.epoch(0):
        train.batch(positions)


def evaluate_generation(file: Path, cache: Path) -> None:
    """An evaluation in which a T5 with 64,000 pieces generates four tokens per row."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    from ke_t5.distributed import session
    from ke_t5.pipe import EvaluationHelper, Folders, evaluate

    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_heads": 2, "num_layers": 1}
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(vocab_size=NUM_PIECES, decoder_start_token_id=0, pad_token_id=0, eos_token_id=3,
                 **sizes)
    )  # fmt: skip
    task = _task(file, writes=True)
    examples = task.get_dataset("train", folders=Folders(None, cache))
    helper = EvaluationHelper(task, model_kwargs={"max_new_tokens": 4})
    with session(notes_stops=False) as ranks:
        evaluated = evaluate(helper, model, examples, batch_size=64, ranks=ranks)
    _finish(task, evaluated, cache)


def _finish(task: Any, evaluated: Any, folder: Path) -> None:
    from ke_t5.recipes.predictions import write_predictions
    from ke_t5.report.intervals import bootstrap

    write_predictions(folder / "predictions.jsonl", task, evaluated, first={})
    bootstrap(task, evaluated, num_draws=40)


def write_rows(name: str, file: Path, num_rows: int) -> None:
    """Writes rows of `klue_ner` or `korquad` as JSONL."""
    with file.open("w", encoding="utf-8") as stream:
        for row in _ROWS[name](num_rows):
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def score_random_outputs(name: str, file: Path, cache: Path, copies: int = 1) -> None:
    """All of an evaluation of `klue_ner` or `korquad` but the model, whose logits are random.

    Args:
        copies: how often the rows of the file are evaluated, each time as rows of their own.
    """
    import dataclasses

    import torch

    from ke_t5.pipe import EvaluationHelper, Folders, HFDataSource, get_task
    from ke_t5.pipe.evaluation_batches import evaluation_batches
    from ke_t5.pipe.model_outputs import REDUCERS
    from ke_t5.pipe.scoring import score

    task = get_task(name)
    features = {
        column: dataclasses.replace(one, tokenizer=tokenizer if one.tokenizer else None)
        for column, one in task.output_features.items()
    }
    source = HFDataSource("json", data_files={"train": str(file)})
    task = dataclasses.replace(task, output_features=features, source=source)
    examples = repeated(task.get_dataset("train", folders=Folders(None, cache)), copies)
    outputs = []
    for positions in evaluation_batches(examples.lengths("input_ids"), 64):
        batch = examples.batch(positions)
        logits = torch.randn(*batch["input_ids"].shape, len(task.labels or "12"))
        found = SimpleNamespace(
            logits=logits, start_logits=logits[..., 0], end_logits=logits[..., 1]
        )
        reduced = REDUCERS[task.form](found, batch)
        outputs += zip(positions.tolist(), reduced, strict=True)
    evaluated = score(EvaluationHelper(task), examples, outputs)
    del outputs
    _finish(task, evaluated, cache)


def repeated(examples: Any, copies: int) -> Any:
    """The examples repeated several times, with new ids each time."""
    from ke_t5.pipe.examples import Examples

    num_rows = int(examples.ids.max()) + 1
    offsets = range(0, copies * num_rows, num_rows)
    parts = (examples.dataset, examples.features)
    return Examples.concatenate([Examples(*parts, id_offset=offset) for offset in offsets])


def _sentences(num_rows: int) -> Any:
    generator = random.Random(0)
    for number in range(num_rows):
        text = " ".join(word * 3 for word in generator.choices(WORDS, k=12))
        tags = ["O"] * len(text)
        tags[:7] = ["B-PS", "I-PS", "I-PS", "O", "B-LC", "I-LC", "I-LC"]
        yield {"guid": str(number), "text": text, "tags": tags}


def _questions(num_rows: int) -> Any:
    generator = random.Random(0)
    for number in range(num_rows):
        context = " ".join(generator.choices(WORDS, k=400))
        answers = [{"text": context[100:103], "start": 100}]
        yield {"guid": str(number), "title": "가", "question": "가 나 다 라", "context": context,
               "answers": answers, "is_impossible": False}  # fmt: skip


_ROWS = {"klue_ner": _sentences, "korquad": _questions}
