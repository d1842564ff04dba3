"""Families of tasks with more than a text and a label: entity spans, words, dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ke_t5.pipe.features import IGNORED, Feature
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.preprocessors import (
    LOST,
    OF,
    Batch,
    Example,
    examples_of,
    length_limit,
    map_over_batches,
)
from ke_t5.pipe.sources import DataSource
from ke_t5.pipe.task import Defaults
from ke_t5.task import checks, decoders, spans, steps, text
from ke_t5.task.column_types import has_types
from ke_t5.task.decoders import Examples, RowOutputs
from ke_t5.task.forms import TextTarget, register, register_classes, register_generative
from ke_t5.task.labels import Labels
from ke_t5.task.metrics.metric import Metric

WORDS_CUT = "words cut off"
TREE_COLUMNS = {"words": ["text"], "heads": ["integer"], "relations": ["label"]}

# ------------------------------------------------------------------------------ pairs of entities


@map_over_batches
def add_entity_tokens(
    batch: Batch, *, output_features: steps.Features, sequence_length: steps.Lengths
) -> Batch:
    """Adds `input_ids` of the sentence with both entities marked, its `text`, and
    `entity_token_idx`: [2, 2], the tokens (half-open) of subject and object without their marks.

    An entity that was cut off gets the empty span [0, 0], and is counted.
    """
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    is_named = tokenizer.sep_token is None
    sentences = steps.for_each_row(batch, partial(text.relation, named=is_named))
    texts = [row.text for row in sentences]
    ids, offsets, num_cut = steps.encode_with_offsets(tokenizer, texts, limit)
    token_spans = [
        [spans.token_span(pairs, *entity) for entity in (row.subject, row.object)]
        for row, pairs in zip(sentences, offsets, strict=True)
    ]
    return {
        **batch,
        "input_ids": ids,
        "text": texts,
        "entity_token_idx": [
            [list(span or spans.NOWHERE) for span in both] for both in token_spans
        ],
        f"{LOST}{steps.ENTITIES_CUT}": [sum(span is None for span in both) for both in token_spans],
        f"{OF}{steps.ENTITIES_CUT}": [2] * len(token_spans),
        f"{LOST}{steps.inputs_cut(limit)}": num_cut,
    }


def entity_pairs(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name`: the relation of two entities, whose tokens are inputs of the model."""
    of_row = {"labels": labels, "column": "label"}
    register_classes(
        name,
        source,
        [add_entity_tokens],
        targets={"entity_token_idx": Feature(rank=2)},
        form="entity_pair_classification",
        input_columns=text.RELATION_COLUMNS,
        label_columns=("label",),
        **of_row,
        metric_fns=tuple(metrics),
        best=best,
        row_checks=(
            partial(checks.has_texts, columns=("sentence",)),
            partial(checks.known_labels, **of_row),
        ),
        defaults=defaults,
    )


# ------------------------------------------------------------------------------ dependency trees


@map_over_batches
def add_words(
    batch: Batch,
    *,
    labels: Labels,
    output_features: steps.Features,
    sequence_length: steps.Lengths,
) -> Batch:
    """Adds `input_ids` of the words joined by spaces, `word_token_idx` ([W, 2], first and last
    token of each word), `labels` (the head of each word: 0 the root, j the j-th word) and
    `relation_labels` (ids).

    Words that were cut off are omitted and counted. A word whose head was cut off has neither
    label, because the head cannot be predicted. `gold_heads` and `gold_relations` are complete.
    """
    steps.for_each_row(batch, check_tree)
    tokenizer = steps.fast_tokenizer(output_features)
    limit = length_limit(sequence_length, "inputs", tokenizer)
    texts = [" ".join(words) for words in batch["words"]]
    ids, offsets, num_cut = steps.encode_with_offsets(tokenizer, texts, limit)
    rows = examples_of(batch)
    places = [
        word_tokens(row["words"], pairs, is_cut=bool(cut))
        for row, pairs, cut in zip(rows, offsets, num_cut, strict=True)
    ]
    trees = [_tree_labels(*both, labels=labels) for both in zip(rows, places, strict=True)]
    num_words = [len(words) for words in batch["words"]]
    return {
        **batch,
        "input_ids": ids,
        "word_token_idx": places,
        "labels": [heads for heads, _ in trees],
        "relation_labels": [relations for _, relations in trees],
        "gold_heads": batch["heads"],
        "gold_relations": batch["relations"],
        f"{LOST}{WORDS_CUT}": [n - len(p) for n, p in zip(num_words, places, strict=True)],
        f"{OF}{WORDS_CUT}": num_words,
        f"{LOST}{steps.inputs_cut(limit)}": num_cut,
    }


def check_tree(row: Example) -> None:
    """Raises ValueError unless the heads of a row are words of it or 0, and have relations."""
    heads, num_words = row["heads"], len(row["words"])
    if (heads is None) != (row["relations"] is None):
        raise ValueError("the row has either heads or relations, expected both or neither")
    wrong = [head for head in heads or () if not 0 <= head <= num_words]
    if wrong:
        raise ValueError(f"head {wrong[0]}, expected 0 to {num_words}")


def word_tokens(words: Sequence[str], offsets: spans.Offsets, *, is_cut: bool) -> list[list[int]]:
    """[first, last] token (inclusive) of each word, from the offsets of the words joined by spaces.

    A word that normalisation removed gets the last token of its left neighbour. If the text was
    truncated, incomplete words are omitted.

    >>> word_tokens(["나는", "간다"], [(0, 1), (1, 2), (3, 5), (0, 0)], is_cut=False)
    [[0, 1], [2, 2]]
    """
    real = [(i, *pair) for i, pair in enumerate(offsets) if pair and pair[1] > pair[0]]
    end_of_text = real[-1][2] if real else 0
    places: list[list[int]] = []
    start = 0
    for word in words:
        end = start + len(word)
        if is_cut and end > end_of_text:
            break
        inside = [i for i, first, last in real if first < end and last > start]
        neighbour = places[-1][1] if places else 0
        places.append([inside[0], inside[-1]] if inside else [neighbour, neighbour])
        start = end + 1
    return places


def _tree_labels(row: Example, words: Sequence, *, labels: Labels) -> tuple[list[int], list[int]]:
    """Heads and relation ids of the first `len(words)` words; `IGNORED` for words whose head is not
    among these, and for all words of an unlabelled row."""
    num_words = len(words)
    heads, relations = [IGNORED] * num_words, [IGNORED] * num_words
    if row["heads"] is not None:
        for word, (head, relation) in enumerate(
            zip(row["heads"][:num_words], row["relations"][:num_words], strict=True)
        ):
            if head <= num_words:
                relation_id = labels.id_of(relation)
                heads[word] = head
                relations[word] = IGNORED if relation_id is None else relation_id
    return heads, relations


def decode_tree(
    outputs: RowOutputs, examples: Examples, *, labels: Labels
) -> tuple[dict[str, list], None]:
    """A head and a relation for each word, None for words that were cut off; given only the
    model's columns, for each word with a label."""
    output, example = outputs[0], examples[0]
    tree = zip(output["heads"], (labels.names[i] for i in output["relations"]), strict=True)
    if "words" in example:
        missing = [(None, None)] * (len(example["words"]) - len(output["heads"]))
        return _tree([*tree, *missing]), None
    known = zip(tree, example["labels"], strict=True)
    return _tree([word for word, label in known if label != IGNORED]), None


def gold_tree(example: Example, *, labels: Labels) -> dict[str, list] | None:
    """The gold head and relation of each word; None for an unlabelled row."""
    if "gold_heads" in example:
        heads, relations = example["gold_heads"], example["gold_relations"]
        return None if heads is None else {"heads": heads, "relations": relations}
    pairs = zip(example["labels"], example["relation_labels"], strict=True)
    known = [(head, labels.names[relation]) for head, relation in pairs if head != IGNORED]
    return _tree(known) if known else None


def _tree(words: Sequence[tuple]) -> dict[str, list]:
    return {"heads": [head for head, _ in words], "relations": [name for _, name in words]}


def words_joined(example: Example) -> str:
    """The words of a sentence joined by spaces, for display."""
    return " ".join(example["words"]) if "words" in example else decoders.input_text(example)


def dependencies(
    name: str,
    source: DataSource,
    *,
    labels: Labels,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name`: the head of each word and the relation to it."""
    register(
        name,
        source,
        [partial(add_words, labels=labels)],
        targets={
            "word_token_idx": Feature(rank=2, pad=-1),
            "labels": Feature(pad=IGNORED),
            "relation_labels": Feature(pad=IGNORED, num_values=len(labels)),
        },
        keep={"words": ["string"], "gold_heads": ["int32"], "gold_relations": ["string"]},
        without_kept="words that were cut off, or whose head was, are not scored",
        inputs=words_joined,
        form="dependency_parsing",
        input_columns=("words",),
        label_columns=("heads", "relations"),
        labels=labels.names,
        decode=partial(decode_tree, labels=labels),
        target=partial(gold_tree, labels=labels),
        metric_fns=tuple(metrics),
        best=best,
        row_checks=(
            partial(has_types, columns=TREE_COLUMNS),
            partial(checks.has_equal_lengths, columns=tuple(TREE_COLUMNS)),
            partial(checks.known_labels, labels=labels, column="relations"),
        ),
        defaults=defaults,
    )


# ------------------------------------------------------------------------------- dialogue states

# The longest state of the WoS development set is under 200 tokens of KE-T5.
STATE_LENGTH = 256


def state_of(row: Example) -> list[str] | None:
    """The state of a row with runs of white space collapsed, as in the written form."""
    return None if row["state"] is None else [text.squeeze(entry) for entry in row["state"]]


def state_word(row: Example) -> str | None:
    """The target text of a row; None if it is unlabelled."""
    return None if row["state"] is None else text.state_to_text(row["state"])


def dialogue_states(
    name: str,
    source: DataSource,
    *,
    metrics: Sequence[Metric],
    best: Monitor,
    defaults: Defaults,
) -> None:
    """Registers `name_gen`: the dialogue state after a user's turn, generated as text."""
    states = TextTarget(
        write=state_word,
        gold=state_of,
        gold_type=["string"],
        without_kept="states are compared with their decoded targets, as long as these are",
        read=text.text_to_state,
        generate={"max_new_tokens": STATE_LENGTH, "num_beams": 1},
    )
    register_generative(
        f"{name}_gen",
        source,
        states,
        prefix=name,
        render=steps.dialogue_segments,
        input_columns=("history",),
        label_columns=("state",),
        metric_fns=tuple(metrics),
        best=best,
        defaults=defaults,
    )
