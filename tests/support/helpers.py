"""A word tokenizer, folders, and a small task for tests."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ke_t5.pipe import Feature, Folders, FunctionDataSource, Task

WORDS = "가 나 다 라 마 바 사 아 자 차 카 타 파 하".split()


@functools.cache
def toy_tokenizer() -> Any:
    """A tokenizer with one id per word: 0 [PAD], 1 [UNK], 2 [CLS], 3 [SEP], then `WORDS`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def folders(path: Path) -> Folders:
    """No raw releases, and a cache below `path`."""
    return Folders(None, path / "cache")


def task_on(rows: Iterable[dict], steps: Iterable[Callable], **settings: Any) -> Task:
    """A task over these rows (text, label) that gives `input_ids` and `labels`."""
    features = {
        "input_ids": Feature(toy_tokenizer, pad=None),
        "labels": Feature(rank=0, num_values=3),
    }
    columns = settings.pop("columns", {"text": "string", "label": "int32"})
    rows = list(rows)
    source = FunctionDataSource(
        lambda split: rows, settings.pop("splits", ["train"]), columns,
        group=settings.pop("group", None),
    )  # fmt: skip
    defaults = {
        "output_features": features,
        "form": "sequence_classification",
        "decode": lambda records, examples: (records[0]["label"], None),
        "target": lambda example: example["labels"],
        "inputs": lambda example: "",
    }
    return Task("toy", source, tuple(steps), **{**defaults, **settings})
