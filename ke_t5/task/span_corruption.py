"""T5's span corruption: spans of a text are replaced by sentinels, and the model predicts them.

As in T5's `span_corruption` (Raffel et al., 2020), 15 % of the tokens are masked, in spans of 3 on
average that are drawn by random segmentation; `<extra_id_0>` stands for the first span. The noise
of a segment is seeded by its tokens, so it is the same in every epoch and on every machine.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ke_t5.errors import Exit, UserError
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import Batch, Example, length_limit, map_over_batches
from ke_t5.pipe.rows import ROW_ID
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults, Task
from ke_t5.task import checks
from ke_t5.task.forms import TEXT_TARGET, register
from ke_t5.task.metrics import token_accuracy
from ke_t5.task.steps import Features, Lengths

DENSITY, SPAN_LENGTH = 0.15, 3.0
NUM_SENTINELS = 100
LENGTHS = "get_dataset.sequence_length"


def lengths_of(num_tokens: int) -> tuple[int, int]:
    """The lengths of input and target, end tokens included, for a text of `num_tokens` tokens."""
    num_noise = round(num_tokens * DENSITY)
    num_spans = round(num_noise / SPAN_LENGTH)
    return num_tokens - num_noise + num_spans + 1, num_noise + num_spans + 1


def segment_length(limit: int) -> int:
    """The largest number of tokens of a text whose input fits into `limit` tokens.

    >>> segment_length(512), lengths_of(568)
    (568, (512, 114))
    """
    length = limit - 1
    while lengths_of(length + 1)[0] <= limit:
        length += 1
    return length


def noise_mask(length: int, generator: np.random.Generator) -> np.ndarray:
    """[length] bool, true for masked tokens (T5's `random_spans_noise_mask`); never the first."""
    num_noise = min(max(round(length * DENSITY), 1), length - 1)
    num_spans = max(round(num_noise / SPAN_LENGTH), 1)
    lengths = [_segments(n, num_spans, generator) for n in (num_noise, length - num_noise)]
    starts = np.cumsum(np.stack(lengths[::-1], axis=1).reshape(-1))[:-1]
    begins = np.zeros(length, dtype=np.int64)
    begins[starts] = 1
    return np.cumsum(begins) % 2 == 1


def _segments(num_items: int, num_segments: int, generator: np.random.Generator) -> np.ndarray:
    """Lengths of `num_segments` segments of 1 or more items, uniform over all segmentations."""
    begins = generator.permutation(np.arange(num_items - 1) < num_segments - 1)
    return np.bincount(np.cumsum(np.concatenate([[0], begins])))


def corrupted(
    ids: Sequence[int], mask: np.ndarray, sentinels: Sequence[int]
) -> tuple[list[int], list[int]]:
    """The tokens with a sentinel in place of each masked span, and each span after its sentinel.

    >>> corrupted([5, 6, 7, 8, 9], np.array([0, 1, 1, 0, 1], dtype=bool), [99, 98])
    ([5, 99, 8, 98], [99, 6, 7, 98, 9])
    """
    inputs: list[int] = []
    targets: list[int] = []
    num_spans, before = 0, False
    for token, is_masked in zip(ids, mask.tolist(), strict=True):
        if is_masked and not before:
            inputs.append(sentinels[num_spans])
            targets.append(sentinels[num_spans])
            num_spans += 1
        (targets if is_masked else inputs).append(token)
        before = is_masked
    return inputs, targets


def sentinels_of(tokenizer: Any, *, inputs: int, targets: int) -> list[int]:
    """The ids of `<extra_id_0>` and those after it.

    Raises:
        UserError: the vocabulary lacks sentinels, or the lengths do not fit the spans.
    """
    names = [f"<extra_id_{i}>" for i in range(NUM_SENTINELS)]
    ids = [tokenizer.convert_tokens_to_ids(name) for name in names]
    if None in ids or tokenizer.unk_token_id in ids or len(set(ids)) < len(ids):
        what = f"{type(tokenizer).__name__} has no tokens <extra_id_0> to <extra_id_99>"
        fix = "use a T5 that has them, such as ke-t5"
        raise UserError(what, "--pre_trained_model", fix, Exit.CHECKPOINT)
    num_tokens = segment_length(inputs)
    num_spans = round(round(num_tokens * DENSITY) / SPAN_LENGTH)
    if num_tokens < 8 or num_spans > NUM_SENTINELS:
        what = f"inputs of {inputs} tokens have {num_spans} spans, expected 1 to {NUM_SENTINELS}"
        raise UserError(what, LENGTHS, "set inputs to another length, such as 512")
    if lengths_of(num_tokens)[1] > targets:
        what = f"targets of {targets} tokens are too short for inputs of {inputs}"
        raise UserError(what, LENGTHS, f"set targets to {lengths_of(num_tokens)[1]} or more")
    return ids


@map_over_batches
def add_corrupted(batch: Batch, *, output_features: Features, sequence_length: Lengths) -> Batch:
    """One example per segment of a row's text: `input_ids` with sentinels, `labels`, the input as
    `text`, and the tokens of all targets of the row as `gold`."""
    tokenizer = output_features["input_ids"].load_tokenizer()
    limits = {
        name: length_limit(sequence_length, name, tokenizer) for name in ("inputs", "targets")
    }
    sentinels, size = sentinels_of(tokenizer, **limits), segment_length(limits["inputs"])
    encoded = tokenizer(batch["text"], add_special_tokens=False, verbose=False)["input_ids"]
    made: Batch = {name: [] for name in (ROW_ID, "input_ids", "labels", "text", "gold")}
    for row, ids in zip(batch[ROW_ID], encoded, strict=True):
        pairs = [_pair(ids[i : i + size], sentinels) for i in range(0, len(ids), size)]
        pairs = [pair for pair in pairs if pair is not None]
        ends = [tokenizer.eos_token_id]
        gold = [token for _, targets in pairs for token in targets + ends]
        for inputs, targets in pairs:
            made[ROW_ID].append(row)
            made["input_ids"].append(inputs + ends)
            made["labels"].append(targets + ends)
            made["text"].append(tokenizer.decode(inputs))
            made["gold"].append(tokenizer.convert_ids_to_tokens(gold))
    return made


def _pair(ids: Sequence[int], sentinels: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Input and target of a segment; None for a single token, which cannot be masked."""
    if len(ids) < 2:
        return None
    seed = zlib.crc32(np.asarray(ids, dtype="<i4").tobytes())
    return corrupted(ids, noise_mask(len(ids), np.random.default_rng(seed)), sentinels)


def gold_tokens(example: Example) -> list[str]:
    """The tokens of all targets of a row."""
    return example["gold"]


def decode_tokens(outputs: list[dict], examples: list[Example]) -> tuple[list[str], None]:
    """The most probable token at each target position; for generated text, its words."""
    tokens = [token for one in outputs for token in one.get("tokens", one["sequences"][0].split())]
    return tokens, None


def span_corruption(name: str, source: DataSource) -> Task:
    """Registers `name`: span corruption of free text, in the column `text`.

    Predictions are teacher-forced; the score is the share of target tokens predicted right.
    """
    return register(
        name,
        source,
        [add_corrupted],
        targets={"labels": TEXT_TARGET},
        keep={"gold": ["string"]},
        form="seq2seq",
        decode=decode_tokens,
        target=gold_tokens,
        metric_fns=(token_accuracy,),
        best=Monitor("token_accuracy"),
        row_checks=(partial(checks.has_texts, columns=("text",)),),
        input_columns=("text",),
        defaults=Defaults(
            epochs=1,
            sequence_length={"inputs": 512, "targets": 114},
            model_fn="forward",
        ),
    )
