"""Facts about a split before training: rows, labels, lengths, losses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ke_t5.forms import FORMS
from ke_t5.pipe import Examples, Task
from ke_t5.recipes.row_hashes import row_hashes, row_texts
from ke_t5.recipes.task_splits import TaskSplit
from ke_t5.recipes.token_health import unknown_share
from ke_t5.report.error_analysis import entities_of
from ke_t5.report.upper_bounds import upper_bounds

PERCENTILES = (50, 90, 95, 99, 100)
MAX_LABELS = 60  # with more distinct golds, they are free text
MAX_MEASURED = 2000  # truncated texts whose full length is measured
NUM_BINS = 40
NUM_SHOWN = 3  # decoded examples
MAX_BOUNDED = 30_000  # examples: scoring perfect predictions for more takes too long


@dataclass(frozen=True)
class Lengths:
    """The lengths of a column in tokens.

    Attributes:
        limit: the maximum length, from the task, gin or the model.
        num_cut: number of rows that are truncated to it.
        is_whole: whether the percentiles are of full texts, not of truncated ones.
        counts, edges: a histogram.
    """

    column: str
    limit: int | None
    num_cut: int
    mean: float
    percentiles: Mapping[int, int]
    is_whole: bool
    counts: Sequence[int]
    edges: Sequence[float]


@dataclass(frozen=True)
class SplitFacts:
    """Facts about a split.

    Attributes:
        num_examples: more than `num_rows` if long passages are split into windows.
        labels: name -> number of rows (or entities of the type, or words with the relation); {}
            for free text.
        label_kind: "label", "entity type", "relation", "number", "answer", ...
        numbers: (minimum, mean, maximum) of gold numbers.
        lost: description of a loss in preparation -> (count, total).
        unknown: column -> share of unknown tokens.
        best: the scores of perfect predictions that are below 100.
        examples: decoded examples, each as name -> text.
    """

    name: str
    num_rows: int
    num_examples: int
    num_labelled: int
    num_empty: int
    label_kind: str
    labels: Mapping[str, int]
    numbers: tuple[float, float, float] | None
    lengths: Sequence[Lengths]
    lost: Mapping[str, tuple[int, int]]
    unknown: Mapping[str, float]
    best: Mapping[str, float]
    examples: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class SplitTexts:
    """The texts of a split's rows, in order, for the search for duplicates.

    Attributes:
        hashes: [N, 3], see `recipes.row_hashes`.
        positions: the position of each row's first example.
    """

    part: TaskSplit
    texts: list[str]
    hashes: np.ndarray
    positions: np.ndarray


def texts_of(part: TaskSplit) -> SplitTexts:
    """The texts of a split's rows, without field names."""
    _, first = np.unique(part.examples.ids, return_index=True)
    rows = part.examples.take(np.sort(first))
    texts = without_field_names(list(row_texts(part.task, rows)))
    return SplitTexts(part, texts, row_hashes(part.task, part.examples), np.sort(first))


def without_field_names(texts: list[str]) -> list[str]:
    """The texts without words such as "sentence1:" that all of them contain, which would make short
    texts look similar."""
    if not texts:
        return texts
    sample = texts[:: max(1, len(texts) // 200)]
    names = {word for word in texts[0].split() if word.endswith(":") and len(word) > 1}
    names = sorted(name for name in names if all(name in text for text in sample))
    for name in names:
        texts = [text.replace(name, " ", 1) for text in texts]
    return [" ".join(text.split()) for text in texts] if names else texts


def facts_of(
    part: TaskSplit, own: SplitTexts, lengths: Mapping[str, int], *, bounds: bool
) -> SplitFacts:
    """The facts about a split.

    Args:
        lengths: the maximum lengths, {"inputs": tokens, "targets": tokens}.
        bounds: whether to score perfect predictions.
    """
    task, examples = part.task, part.examples
    rows = examples.take(own.positions)
    kind, labels, numbers = _balance(task, rows)
    unknown, measured = {}, []
    for column, feature in examples.features.items():
        if feature.tokenizer is None or column not in examples.columns:
            continue
        parts = examples.columns[column].parts(examples.places)
        unknown[column] = unknown_share(feature.tokenizer(), parts)
        limit = lengths.get("inputs" if column == "input_ids" else "targets")
        measured.append(_lengths(task, examples, column, limit))
    has_bounds = bounds and len(examples) <= MAX_BOUNDED
    return SplitFacts(
        name=part.name,
        num_rows=len(own.texts),
        num_examples=len(examples),
        num_labelled=_num_labelled(examples),
        num_empty=sum(not text.strip() for text in own.texts),
        label_kind=kind,
        labels=labels,
        numbers=numbers,
        lengths=measured,
        lost=examples.lost(),
        unknown=unknown,
        best=upper_bounds(task, examples) if has_bounds else {},
        examples=_decoded(task, examples),
    )


def _num_labelled(examples: Examples) -> int:
    name = "labels" if "labels" in examples.columns else "start_positions"
    return len(np.unique(examples.ids[examples.counted(name) > 0]))


# --------------------------------------------------------------------------------------- labels


def _balance(
    task: Task, rows: Examples
) -> tuple[str, dict[str, int], tuple[float, float, float] | None]:
    """(kind of the golds, name -> count, (minimum, mean, maximum) of gold numbers)."""
    if "gold" not in rows.dataset.column_names or not rows.has_kept:
        relations = rows.columns.get("relation_labels")
        if relations is None or task.labels is None:
            return "", {}, None
        counts = np.zeros(len(task.labels), dtype=np.int64)
        for ids in relations.parts(rows.places):
            counts += np.bincount(ids[ids >= 0], minlength=len(counts))
        return "relation", _named(dict(zip(task.labels, counts.tolist(), strict=True))), None
    golds = rows.dataset.data.column("gold").take(rows.places).combine_chunks()
    import pyarrow as pa

    if pa.types.is_floating(golds.type) or pa.types.is_integer(golds.type):
        values = golds.drop_null().to_numpy(zero_copy_only=False).astype(float)
        values = values[np.isfinite(values)]
        if not len(values):
            return "number", {}, None
        numbers = float(values.min()), float(values.mean()), float(values.max())
        return "number", {}, numbers
    if pa.types.is_list(golds.type) or pa.types.is_large_list(golds.type):
        return _list_balance(task, golds)
    if not pa.types.is_string(golds.type):
        return "", {}, None
    counts = _counts(golds)
    return ("label", counts, None) if _are_labels(task, counts) else ("text", {}, None)


def _are_labels(task: Task, counts: Mapping[str, int]) -> bool:
    """Whether these golds are labels rather than free text."""
    is_few = len(counts) <= min(MAX_LABELS, sum(counts.values()) / 2)
    return task.labels is not None or is_few


def _list_balance(task: Task, golds: Any) -> tuple[str, dict[str, int], None]:
    import pyarrow as pa

    if pa.types.is_list(golds.type.value_type):  # chains of mentions
        sizes = golds.flatten().value_lengths()
        return "mentions of a chain", _counts(sizes), None
    if FORMS[task.form].predicts_tags:
        counts = _counts(golds.flatten())
        return "entity type", {n[2:]: c for n, c in counts.items() if n.startswith("B-")}, None
    if FORMS[task.form].reads_passages:
        sizes = np.asarray(golds.value_lengths().fill_null(0))
        return "answer", {"answer": int((sizes > 0).sum()), "none": int((sizes == 0).sum())}, None
    counts = _counts(golds.flatten())
    return ("label", counts, None) if _are_labels(task, counts) else ("text", {}, None)


def _counts(values: Any) -> dict[str, int]:
    """Value -> its number of occurrences, most frequent first."""
    found = values.drop_null().value_counts()
    pairs = zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)
    return _named({str(name): count for name, count in pairs})


def _named(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in Counter(counts).most_common() if count}


# -------------------------------------------------------------------------------------- lengths


def _lengths(task: Task, examples: Examples, column: str, limit: int | None) -> Lengths:
    lengths = examples.lengths(column)
    num_cut = 0
    is_whole = True
    of_column = "inputs" if column == "input_ids" else "targets"
    for what, (count, _) in examples.lost().items():
        if what.startswith(of_column) and " cut at " in what:
            num_cut = count
            limit = int(what.split()[-2])  # the model's, if it is shorter than the task's
    if num_cut:
        whole = _whole_lengths(task, examples, column, lengths)
        is_whole = whole is not None
        lengths = lengths if whole is None else whole
    counts, edges = np.histogram(lengths, bins=min(NUM_BINS, max(1, int(np.ptp(lengths)))))
    ranks = np.percentile(lengths, PERCENTILES, method="inverted_cdf").astype(int).tolist()
    return Lengths(
        column=of_column,
        limit=limit,
        num_cut=num_cut,
        mean=float(lengths.mean()),
        percentiles=dict(zip(PERCENTILES, ranks, strict=True)),
        is_whole=is_whole,
        counts=counts.tolist(),
        edges=edges.tolist(),
    )


def _whole_lengths(
    task: Task, examples: Examples, column: str, lengths: np.ndarray
) -> np.ndarray | None:
    """The lengths with truncated texts at their full length, extrapolated from `MAX_MEASURED` of
    them if there are more; None if the task keeps no text."""
    kept = set(task.keep) <= set(examples.dataset.column_names) and task.keep
    if column != "input_ids" or task.inputs is None or not kept:
        return None
    longest = int(lengths.max())
    cut = np.flatnonzero(lengths >= longest)
    some = cut[np.linspace(0, len(cut), min(len(cut), MAX_MEASURED), endpoint=False, dtype=int)]
    texts = [task.inputs(example) for example in examples.examples(some)]
    tokenizer = examples.features[column].load_tokenizer()
    ids = tokenizer(texts, verbose=False)["input_ids"]
    whole = lengths.copy()
    whole[cut] = np.resize([max(longest, len(one)) for one in ids], len(cut))
    return whole


# ------------------------------------------------------------------------------------- examples


def _decoded(task: Task, examples: Examples) -> list[dict[str, str]]:
    """Some examples, evenly spread over the split: text, tokens, decoded tokens and gold."""
    count = min(NUM_SHOWN, len(examples))
    positions = np.linspace(0, len(examples), count, endpoint=False, dtype=np.int64)
    shown = []
    for example in examples.examples(positions):
        facts = {"row": str(example["_id"])}
        if task.inputs is not None and set(task.keep) <= example.keys():
            facts["text"] = task.inputs(example)
        for name, feature in examples.features.items():
            if feature.tokenizer is None or name not in example:
                continue
            # Choices have an extra dimension: their tokens are shown one choice after the other.
            ids = np.asarray(example[name]).T.ravel()
            ids = ids[ids >= 0].tolist()
            tokenizer = feature.tokenizer()
            facts["tokens" if name == "input_ids" else "target tokens"] = " ".join(
                map(str, tokenizer.convert_ids_to_tokens(ids))
            )
            facts["decoded" if name == "input_ids" else "decoded target"] = tokenizer.decode(ids)
        facts["gold"] = gold_text(task, example)
        shown.append(facts)
    return shown


def gold_text(task: Task, example: Mapping[str, Any]) -> str:
    """The gold of an example as text; "" if the task keeps none."""
    if task.target is None or not set(task.keep) <= example.keys():
        return ""
    gold = task.target(dict(example))
    if gold is not None and FORMS[task.form].predicts_tags and task.inputs is not None:
        text = task.inputs(dict(example))
        spans = entities_of(text, gold)
        if spans is not None:
            return ", ".join(f"{text[start:end]} {kind}" for start, end, kind in spans) or "–"
    return "–" if gold is None else _as_text(gold)


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_as_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:.2f}"
    is_list = isinstance(value, Iterable) and not isinstance(value, str)
    return " ".join(map(str, value)) if is_list else str(value)
