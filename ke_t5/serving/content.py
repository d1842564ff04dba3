"""Predictions as JSON: labels with probabilities, entities and answers with character offsets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ke_t5.composition import decomposed_places
from ke_t5.forms import FORMS
from ke_t5.pipe.task import Task
from ke_t5.serving.rows import choices_of
from ke_t5.task import decoders, spans, text, written_chains

Content = dict[str, Any]
# Decimals of probabilities and numbers; further ones differ between machines.
DECIMALS = 6
# Kinds of prediction that contain character offsets.
WITH_PLACES = ("entities", "answer", "chains")

# The function that parses a generated text -> the kind of prediction that it returns.
_READERS: dict[Callable, str] = {
    decoders.read_label: "label",
    decoders.read_label_set: "labels",
    text.text_to_number: "value",
    text.text_to_answer: "answer",
    text.text_to_state: "state",
    written_chains.read_marks: "chains",
}


def kind_of(task: Task) -> str:
    """The kind of a task's predictions: "label", "labels", "choice", "value", "entities",
    "answer", "tree", "chains", "state" or "text"."""
    form = FORMS[task.form]
    if form.predicts_tags:
        return "entities"
    if task.problem_type == "regression":
        return "value"
    if not form.generates:
        return form.answers
    read = getattr(task.decode, "keywords", {}).get("read")
    while isinstance(read, functools.partial):
        read = read.func
    kind = _READERS.get(read, "text") if read is not None else "text"
    return "choice" if kind == "label" and choices_of(task) else kind


def content_of(
    task: Task, row: Mapping[str, Any], line: Mapping[str, Any], scores: Any = None
) -> Content:
    """The content of a prediction, by the kind of the task:

        label     {"label", "score", "probabilities": {label: probability}}
        labels    {"labels": [label], "probabilities": {label: probability}}
        choice    {"choice": number from 1, "text", "score", "probabilities": [probability]}
        value     {"value": number}
        entities  {"entities": [{"text", "label", "start", "end"}]}, half-open character offsets
        answer    {"answer", "start", "end"}, offsets in the passage; "" and null: no answer
        tree      {"words": [{"word", "head", "relation"}]}, head 0 is the root
        chains    {"chains": [[{"text", "start", "end"}]]}, a list of mentions for each chain
        state     {"state": ["domain-slot-value"]}
        text      {"text"}

    Generative models have no probabilities; their content adds the generated "text" if it differs
    from the prediction, which is null if the text cannot be parsed.

    Args:
        row: the task's columns as the model has read them.
        line: the row's line of `predictions.jsonl`.
        scores: the scores that the decoder returned with the prediction.
    """
    kind, prediction = kind_of(task), line["prediction"]
    content = _MAKERS[kind](task, row, prediction, scores)
    for written in line.get("sequences", [])[:1]:
        content.setdefault("text", written)
    if FORMS[task.form].generates and "score" in line:
        content["score"] = round(line["score"], DECIMALS)
    return content


def as_given(content: Content, text: str) -> Content:
    """The content with offsets into the text as given, which was composed (NFC) for the model."""
    places = decomposed_places(text)

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, dict) or value.get("start") is None:
            return value
        start, end = places[value["start"]], places[value["end"]]
        name = "answer" if "answer" in value else "text"
        return {**value, name: text[start:end], "start": start, "end": end}

    return moved({name: moved(value) for name, value in content.items()})


def _label(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    if task.labels is None or not _is_list(scores) or len(scores) != len(task.labels):
        return {"label": prediction}
    named = _named(task.labels, scores)
    return {"label": prediction, "score": named.get(prediction), "probabilities": named}


def _labels(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    if task.labels is None or not _is_list(scores):
        return {"labels": prediction}
    return {"labels": prediction, "probabilities": _named(task.labels, scores)}


def _choice(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    content: Content = {"choice": None if prediction is None else int(prediction)}
    if _is_list(scores) and prediction is not None:
        chosen = content["choice"] - 1
        rounded = [round(score, DECIMALS) for score in scores]
        content["text"] = row.get(task.input_columns[chosen - len(scores)])
        content |= {"score": rounded[chosen], "probabilities": rounded}
    return content


def _value(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    return {"value": None if prediction is None else round(prediction, DECIMALS)}


def _entities(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    # Predictions have a tag per visible character (see `spans.drop_spaces`).
    places = [i for i, character in enumerate(row["text"]) if character != " "]
    entities = []
    for first, end, label in spans.entity_spans(prediction):
        start, stop = places[first], places[end - 1] + 1
        found = {"text": row["text"][start:stop], "label": label, "start": start, "end": stop}
        entities.append(found)
    return {"entities": entities}


def _answer(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    if FORMS[task.form].generates:
        return {"answer": prediction}
    start, end = getattr(prediction, "span", None) or (None, None)
    return {"answer": str(prediction), "start": start, "end": end}


def _tree(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    words = zip(row["words"], prediction["heads"], prediction["relations"], strict=True)
    return {"words": [{"word": w, "head": head, "relation": name} for w, head, name in words]}


def _chains(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    if prediction is None:
        return {"chains": None}
    return {
        "chains": [
            [{"text": row["text"][start:end], "start": start, "end": end} for start, end in chain]
            for chain in prediction
        ]
    }


def _state(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    return {"state": prediction}


def _text(task: Task, row: Mapping[str, Any], prediction: Any, scores: Any) -> Content:
    return {"text": prediction}


_MAKERS = {
    "label": _label, "labels": _labels, "choice": _choice, "value": _value, "entities": _entities,
    "answer": _answer, "tree": _tree, "chains": _chains, "state": _state, "text": _text,
}  # fmt: skip


def _is_list(scores: Any) -> bool:
    return isinstance(scores, (list, tuple))


def _named(labels: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    return {name: round(score, DECIMALS) for name, score in zip(labels, scores, strict=True)}
