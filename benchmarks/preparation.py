"""Our data preparation compared with chains of `datasets` maps over single rows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gin
import numpy as np
import torch
from datasets import Dataset

import ke_t5.task.task  # noqa: F401 - registers the tasks
from benchmarks.rows import Runs, Setting, interleaved
from ke_t5.pipe import Folders, TaskRegistry
from ke_t5.task.utils import get_vocabulary

MAPS, ALONE = "six unbatched maps, padded to 512", "tokenizer alone"
ARROW = "Arrow rows in torch format"
LENGTH, BATCH_SIZE = 512, 32


def raw_rows(setting: Setting) -> Dataset:
    """Texts and labels of 3i4K's training file."""
    (file,) = setting.data.rglob("fci_train_val.txt")
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t", 1) for line in lines[: setting.amount(10_000)] if "\t" in line]
    return Dataset.from_list([{"label": int(label), "text": text} for label, text in rows])


def six_maps(rows: Dataset) -> Dataset:
    """A chain of maps over single rows, as preprocessors are often written: names, prompt, ids,
    end, padding, names."""
    tokenizer = get_vocabulary()

    def tokenize(row: dict) -> dict:
        return {**row, "ids": tokenizer(row["inputs"], add_special_tokens=False)["input_ids"]}

    def end(row: dict) -> dict:
        cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        return {**row, "ids": [cls, *row["ids"][: LENGTH - 2], sep]}

    def pad(row: dict) -> dict:
        missing = LENGTH - len(row["ids"])
        mask = [1] * len(row["ids"]) + [0] * missing
        return {**row, "ids": row["ids"] + [tokenizer.pad_token_id] * missing, "mask": mask}

    steps: tuple[Callable[[dict], dict], ...] = (
        lambda row: {"inputs": row["text"], "targets": row["label"]},
        lambda row: {**row, "inputs": row["inputs"].strip()},
        tokenize,
        end,
        pad,
        lambda row: {
            "input_ids": row["ids"], "attention_mask": row["mask"], "labels": row["targets"]
        },
    )  # fmt: skip
    for step in steps:
        rows = rows.map(step, remove_columns=rows.column_names)
    return rows


class Prepared:
    """A task on 3i4K's training rows, with a cache folder that can be emptied."""

    def __init__(self, setting: Setting) -> None:
        gin.bind_parameter("get_vocabulary.vocab_name", str(setting.encoder))
        self.task = TaskRegistry.get("kor_3i4k")
        self.folder = Path(tempfile.mkdtemp(prefix="ke_t5-benchmark-"))
        self.data = setting.data

    def open(self) -> Any:
        """The training examples, prepared or from the cache."""
        return self.task.get_dataset("train", folders=Folders(self.data, self.folder))

    def forget(self) -> None:
        """Empties the folder."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()


def cold(setting: Setting) -> dict[str, Runs]:
    """Ours reads, checks, tokenizes and writes; the tokenizer alone only tokenizes.

    A tokenizer may keep the words that it has seen, and would read the same texts faster each
    time: it forgets them before each run.
    """
    prepared, rows = Prepared(setting), raw_rows(setting)
    examples, tokenizer = prepared.open(), get_vocabulary()
    number = len(examples)
    texts = tokenizer.batch_decode(
        [examples.example(i)["input_ids"] for i in range(number)], skip_special_tokens=True
    )
    # WordPiece has no such cache.
    forget_words = getattr(tokenizer.backend_tokenizer.model, "_clear_cache", lambda: None)

    def ours(_: int) -> None:
        forget_words()
        prepared.forget()
        prepared.open()

    def maps(_: int) -> None:
        # In memory, so that no map finds its result in a cache.
        six_maps(Dataset.from_dict(cast(dict, rows.to_dict())))

    def alone(_: int) -> None:
        forget_words()
        tokenizer.backend_tokenizer.encode_batch_fast(texts)

    contenders = {"ours": ours, MAPS: maps, ALONE: alone}
    runs = interleaved(contenders, rounds=setting.rounds, warm_ups=1)
    runs["ours"].amount, runs[MAPS].amount, runs[ALONE].amount = number, len(rows), len(texts)
    shutil.rmtree(prepared.folder)
    return runs


def warm(setting: Setting) -> dict[str, Runs]:
    """The time of a second start."""
    prepared = Prepared(setting)
    with tempfile.TemporaryDirectory() as folder:
        raw_rows(setting).to_json(f"{folder}/rows.jsonl", force_ascii=False)
        rows = Dataset.from_json(f"{folder}/rows.jsonl", cache_dir=f"{folder}/cache")
        contenders = {"ours": lambda _: (prepared.open(), None)[1]}
        contenders[MAPS] = lambda _: (six_maps(rows), None)[1]
        runs = interleaved(contenders, rounds=max(5, setting.rounds), warm_ups=1)
    shutil.rmtree(prepared.folder)
    return runs


def batches(setting: Setting) -> dict[str, Runs]:
    """Random batches, padded, as tensors."""
    prepared = Prepared(setting)
    examples, tokenizer = prepared.open(), get_vocabulary()
    number = setting.amount(200)
    chosen = np.random.default_rng(0).integers(len(examples), size=(number, BATCH_SIZE))
    columns = [examples.example(i) for i in range(len(examples))]
    table = Dataset.from_list(
        [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in columns]
    ).with_format("torch")

    def ours(_: int) -> None:
        for rows in chosen:
            for array in examples.batch(rows).values():
                torch.from_numpy(array)

    def arrow(_: int) -> None:
        for rows in chosen:
            tokenizer.pad([table[int(row)] for row in rows], return_tensors="pt")

    contenders = {"ours": ours, ARROW: arrow}
    runs = interleaved(contenders, rounds=setting.rounds, amount=number * BATCH_SIZE, warm_ups=1)
    shutil.rmtree(prepared.folder)
    return runs
