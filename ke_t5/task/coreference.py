"""Coreference: splits documents into windows of whole sentences, and decodes chains of mentions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import (
    LOST,
    OF,
    Batch,
    Example,
    check_room,
    examples_of,
    length_limit,
    map_over_batches,
)
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults
from ke_t5.task import checks, spans, steps
from ke_t5.task.column_types import has_types
from ke_t5.task.decoders import Examples, RowOutputs
from ke_t5.task.forms import register
from ke_t5.task.metrics.metric import Metric
from ke_t5.task.utils import get_vocabulary

Chains = list[list[list[int]]]  # each a list of mentions [start, end), in characters

CHAIN_COLUMNS = {"chains": [[{"start": "integer", "end": "integer"}]]}
ROW_CHECKS = (
    partial(checks.has_texts, columns=("text",), may_be_blank=False),
    partial(has_types, columns=CHAIN_COLUMNS),
)
UNREACHABLE = "mentions are not a run of whole tokens of one sentence and window"
ALONE = "mentions are alone in their chain, which is never predicted"


def chains_of(row: Example) -> Chains | None:
    """The chains of a row, ordered by their first mentions; None if it is unlabelled.

    Raises:
        ValueError: a mention is outside the text, or in two chains.
    """
    if row["chains"] is None:
        return None
    text, known = row["text"], set()
    chains = []
    for chain in row["chains"]:
        places = {(mention["start"], mention["end"]) for mention in chain}
        for start, end in places:
            if not 0 <= start < end <= len(text):
                raise ValueError(f"mention {start}..{end}: empty or outside 0..{len(text)}")
            if (start, end) in known:
                raise ValueError(f"the mention {text[start:end]!r:.40} is in two chains")
        known |= places
        chains.append([list(place) for place in sorted(places)])
    return sorted(filter(None, chains))


# ------------------------------------------------------------------------------------- windows


@dataclass
class Document:
    """The concatenated windows of a document.

    Attributes:
        ids: token ids.
        offsets: [start, end) in characters of each token; [0, 0] for special tokens.
        sentences: the index of each token's sentence; -1 for special tokens.
        lengths: the number of tokens of each window.
    """

    ids: list[int] = field(default_factory=list)
    offsets: list[list[int]] = field(default_factory=list)
    sentences: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def add(
        self, ids: list[int], offsets: list[list[int]] | None = None, *, sentence: int = -1
    ) -> None:
        """Appends the tokens of a sentence, or special tokens."""
        self.ids += ids
        self.offsets += [[0, 0]] * len(ids) if offsets is None else offsets
        self.sentences += [sentence] * len(ids)

    @cached_property
    def _places(self) -> tuple[list[int], list[int], list[int]]:
        """Index, first character and end of each token that is part of the text."""
        places = [(i, *pair) for i, pair in enumerate(self.offsets) if pair[1] > pair[0]]
        indices, starts, ends = ([place[i] for place in places] for i in range(3))
        return indices, starts, ends

    def place_of(self, start: int, end: int) -> tuple[int, int] | None:
        """First and last token of a mention; None if it has no token, or spans several sentences
        or windows."""
        indices, starts, ends = self._places
        first, last = bisect_right(ends, start), bisect_left(starts, end) - 1
        if first > last:
            return None
        first, last = indices[first], indices[last]
        return (first, last) if self.sentences[first] == self.sentences[last] else None


def documents(tokenizer: Any, texts: Sequence[str], limit: int) -> list[Document]:
    """Tokenizes documents into windows of at most `limit` tokens.

    Each line of a text is a sentence. Windows hold whole sentences; a sentence that is longer than
    a window is split.
    """
    check_room(tokenizer, limit, pair=False, num_text=1)
    head, tail = special_tokens(tokenizer)
    room = limit - len(head) - len(tail)
    places = [list(lines_of(text)) for text in texts]
    lines = [text[start:end] for text, own in zip(texts, places, strict=True) for start, end in own]
    encoded = tokenizer(
        lines or [""], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    found = iter(zip(encoded["input_ids"], encoded["offset_mapping"], strict=True))
    result = []
    for own in places:
        parts = []
        for begin, _ in own:
            ids, offsets = next(found)
            moved = [[begin + start, begin + end] for start, end in offsets]
            cuts = range(0, len(ids), room)
            parts += [(ids[i : i + room], moved[i : i + room]) for i in cuts]
        result.append(_document(parts, head, tail, room))
    return result


def lines_of(text: str) -> Iterator[spans.Span]:
    """Yields the span of each line that is not blank."""
    start = 0
    for line in text.split("\n"):
        if line.strip():
            yield start, start + len(line)
        start += len(line) + 1


def special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that a tokenizer adds before and after a text."""
    inner = tokenizer("가", add_special_tokens=False, verbose=False)["input_ids"]
    whole = tokenizer("가", verbose=False)["input_ids"]
    start = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    return whole[:start], whole[start + len(inner) :]


def _document(
    parts: Sequence[tuple[list[int], list[list[int]]]],
    head: list[int],
    tail: list[int],
    room: int,
) -> Document:
    """A document from its sentences (or parts of sentences) of at most `room` tokens each."""
    windows: list[list[int]] = [[]]
    left = room
    for number, (ids, _) in enumerate(parts):
        if len(ids) > left:
            windows.append([])
            left = room
        windows[-1].append(number)
        left -= len(ids)
    document = Document()
    for numbers in windows:
        start = len(document.ids)
        document.add(head)
        for number in numbers:
            document.add(*parts[number], sentence=number)
        document.add(tail)
        document.lengths.append(len(document.ids) - start)
    return document


@map_over_batches
def add_document(
    batch: Batch, *, output_features: steps.Features, sequence_length: steps.Lengths
) -> Batch:
    """Adds `input_ids` and `sentence_ids` of the windows, `window_lengths`, `offsets` in the text,
    `labels` (first token, last token and chain of each gold mention) and `gold`.

    A mention that begins or ends inside a token is labelled with all tokens it overlaps, and has
    no label if these belong to two sentences or windows.
    """
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    golds = steps.for_each_row(batch, chains_of)
    found = documents(tokenizer, batch["text"], limit)
    columns: dict[str, list] = {}
    for row, gold, document in zip(examples_of(batch), golds, found, strict=True):
        labels, counts = _labels(row["text"], gold, document)
        example = {
            "input_ids": document.ids,
            "sentence_ids": document.sentences,
            "window_lengths": document.lengths,
            "offsets": document.offsets,
            "labels": labels,
            "gold": gold,
            **counts,
        }
        for name, value in example.items():
            columns.setdefault(name, []).append(value)
    return {**batch, **columns}


def _labels(
    text: str, gold: Chains | None, document: Document
) -> tuple[list[list[int]], dict[str, int]]:
    """[first, last, chain] of each gold mention, and counts of those that cannot be predicted."""
    places: dict[tuple[int, int], int] = {}
    num_exact = 0
    for number, chain in enumerate(gold or []):
        for start, end in chain:
            place = document.place_of(start, end)
            if place is None:
                continue
            first, last = place
            found = spans.character_span(text, document.offsets, first, last + 1)
            num_exact += found == (start, end) and place not in places
            places.setdefault(place, number)
    num_mentions = sum(map(len, gold or []))
    counts = {
        f"{LOST}{UNREACHABLE}": num_mentions - num_exact,
        f"{OF}{UNREACHABLE}": num_mentions,
        f"{LOST}{ALONE}": sum(len(chain) == 1 for chain in gold or []),
        f"{OF}{ALONE}": num_mentions,
    }
    if gold is None:
        return [[IGNORED] * 3], counts
    # Documents without mentions are labelled with their last token, a special token.
    last = len(document.ids) - 1
    return [[*place, chain] for place, chain in places.items()] or [[last, last, 0]], counts


# ------------------------------------------------------------------------------------- answers


def decode_chains(outputs: RowOutputs, examples: Examples) -> tuple[Chains, None]:
    """The chains in characters of the text; in tokens, given only the model's columns."""
    example, chains = examples[0], outputs[0]["chains"]
    if "offsets" not in example:
        return in_order([[first, last + 1] for first, last in chain] for chain in chains), None
    known: set[spans.Span] = set()
    places = []
    for chain in chains:
        mentions = []
        for first, last in chain:
            place = spans.character_span(example["text"], example["offsets"], first, last + 1)
            if place[0] < place[1] and place not in known:
                known.add(place)
                mentions.append(list(place))
        places.append(mentions)
    return in_order(places), None


def in_order(chains: Any) -> Chains:
    """The chains of two or more mentions, sorted by position."""
    return sorted(sorted(chain) for chain in chains if len(chain) > 1)


def labelled_chains(labels: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """The chains of token spans [first, last] from gold mentions [first, last, chain]."""
    chains: dict[int, list[list[int]]] = {}
    for first, last, chain in labels:
        chains.setdefault(chain, []).append([first, last])
    return [chain for chain in chains.values() if len(chain) > 1]


def gold_chains(example: Example) -> Chains | None:
    """The gold chains; in tokens, given only the model's columns."""
    if "gold" in example:
        return example["gold"]
    if example["labels"][0][0] == IGNORED:
        return None
    chains = labelled_chains(example["labels"])
    return in_order([[first, last + 1] for first, last in chain] for chain in chains)


def coreference(
    name: str,
    source: DataSource,
    *,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name`: which mentions of a document refer to the same thing."""
    register(
        name,
        source,
        [add_document],
        targets={
            "input_ids": Feature(get_vocabulary, pad=None, in_windows=True),
            "sentence_ids": Feature(pad=-1, in_windows=True),
            "window_lengths": Feature(),
            "labels": Feature(rank=2, pad=IGNORED),
        },
        keep={"gold": [[["int32"]]], "offsets": [["int32"]]},
        without_kept="chains are compared as tokens, without the mentions that these cannot say",
        form="coreference_resolution",
        input_columns=("text",),
        label_columns=("chains",),
        decode=decode_chains,
        target=gold_chains,
        metric_fns=tuple(metrics),
        best=best,
        row_checks=ROW_CHECKS,
        defaults=defaults,
    )
