"""A tiny T5 trained for two seconds, and the task of Korean syllables that it learns."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from ke_t5.pipe import IGNORED, Defaults, Examples, Feature, Task, map_over_dataset
from support.helpers import WORDS, folders, task_on, toy_tokenizer

END = 3  # [SEP] of the toy tokenizer


def sentences(num_rows: int, *, seed: int = 0, longest: int = 9) -> list[dict[str, Any]]:
    """Rows of one to `longest` words; the label is their first half, every fifth has none."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(num_rows):
        words = generator.choice(WORDS, size=generator.integers(1, longest + 1)).tolist()
        label = " ".join(words[: -(-len(words) // 2)])
        rows.append({"text": " ".join(words), "label": None if number % 5 == 4 else label})
    return rows


@map_over_dataset
def to_ids(row: dict) -> dict:
    """Inputs and target, each with an end token."""
    tokenizer = toy_tokenizer()
    ids = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
    known = row["label"] is not None
    target = tokenizer(row["label"], add_special_tokens=False)["input_ids"] if known else []
    return {**row, "input_ids": [*ids, END], "labels": [*target, END] if known else [IGNORED]}


def exact(targets: list, predictions: list) -> dict[str, float]:
    """The share of equal answers x 100."""
    pairs = zip(targets, predictions, strict=True)
    return {"exact": 100.0 * sum(t == p for t, p in pairs) / len(targets)}


def written_task(rows: list[dict], **settings: Any) -> Task:
    """A generative task; a text without a word is unparsable."""
    return task_on(
        rows,
        [to_ids],
        columns={"text": "string", "label": "string"},
        output_features={
            "input_ids": Feature(toy_tokenizer, pad=None),
            "labels": Feature(toy_tokenizer, pad=IGNORED),
        },
        **{
            "form": "seq2seq",
            "keep": {"text": "string", "label": "string"},
            "decode": lambda records, examples: (records[0]["sequences"][0] or None, None),
            "target": lambda example: example["label"],
            "inputs": lambda example: example["text"],
            "metric_fns": (exact,),
            "defaults": Defaults(sequence_length={"inputs": 32, "targets": 7}),
            **settings,
        },
    )


def written_examples(path: Path, num_rows: int = 23, **settings: Any) -> tuple[Task, Examples]:
    """The task and its examples."""
    task = written_task(sentences(num_rows), **settings)
    return task, task.get_dataset("train", folders=folders(path))


@functools.cache
def tiny_t5() -> Any:
    """A T5 in float64 whose answers end, differ, and are sometimes right."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same weights on every machine, busy or not
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=len(WORDS) + 4, d_model=24, d_kv=8, d_ff=48, num_layers=1, num_heads=3,
        relative_attention_num_buckets=8, pad_token_id=0, eos_token_id=END,
        decoder_start_token_id=0, dropout_rate=0.1, tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    rows = [row for row in sentences(2000, seed=1) if row["label"]]
    made = [to_ids.example_function(row) for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(STEPS):
        batch = made[step * 32 % 1500 :][:32]
        columns = [_padded([row[name] for row in batch], pad) for name, pad in COLUMNS]
        loss = model(input_ids=columns[0], attention_mask=columns[0] != 0, labels=columns[1]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    return model.double().eval()


STEPS = 120
COLUMNS = (("input_ids", 0), ("labels", IGNORED))


def _padded(rows: list[list[int]], pad: int) -> Any:
    import torch

    tensors = [torch.tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=pad)
