"""KLUE: raw releases v1.1 and v1, and the same rows from the hub.

Peculiarities of a task's files are described at its reader. The splits are train, validation (dev
in file names) and, if there is a file without labels, test. Texts are not changed: NER is
NFKC-normalized in v1.1, but not in v1 and on the hub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.klue_tsv import dp_hub_rows, dp_rows, ner_hub_rows, ner_rows
from ke_t5.readers.korquad import READING_COLUMNS, reading_row, reading_rows
from ke_t5.readers.release import (
    Hub,
    RawSplit,
    Release,
    Row,
    check_texts,
    first_found,
    raw_splits,
    records,
    take,
    take_label,
    take_optional,
    text_at,
)
from ke_t5.readers.streams import fault

_ROOTS = ("klue_benchmark", ".", "KLUE/klue_benchmark")
_VERSIONS = ("v1.1", "v1")
_PARTS = {"train": "train", "validation": "dev", "test": "test"}

# raw row, its location, whether its split has labels -> rows
ToRows = Callable[[Row, str, bool], Iterator[Row]]


def _find(
    data_dir: Path, *, stem: str, suffix: str, rows: Callable[[Path, str], Iterator[Row]]
) -> dict[str, RawSplit]:
    folders = [f"{root}/{stem}-{version}" for root in _ROOTS for version in _VERSIONS] + ["."]
    for version in _VERSIONS:
        names = {split: f"{stem}-{version}_{part}.{suffix}" for split, part in _PARTS.items()}
        files = first_found(data_dir, folders, names)
        if files:
            return raw_splits(files, rows)
    return {}


def _read(path: Path, split: str, *, to_rows: ToRows) -> Iterator[Row]:
    for where, raw in json_rows(path):
        yield from to_rows(raw, where, split != "test")


def _hub_rows(row: Row, *, config: str, to_rows: ToRows) -> Iterator[Row]:
    yield from to_rows(row, f"klue/klue {config}, row {row.get('guid')}", True)


def _release(
    task: str,
    columns: Mapping[str, object],
    *,
    config: str,
    to_rows: ToRows | None = None,
    rows: Callable[[Path, str], Iterator[Row]] | None = None,
    hub_rows: Callable[[Row], Iterator[Row]] | None = None,
    suffix: str = "json",
    group: str | None = None,
) -> Release:
    """A task's release; `to_rows` suffices if raw rows and the hub's have the same structure."""
    if to_rows is not None:
        rows = rows or partial(_read, to_rows=to_rows)
        hub_rows = hub_rows or partial(_hub_rows, config=config, to_rows=to_rows)
    assert rows is not None and hub_rows is not None
    stem = config if config in ("ynat", "wos") else f"klue-{config}"
    place = f"klue_benchmark/{stem}-v1.1/{stem}-v1.1"
    return Release(
        name=task,
        columns=columns,
        find=partial(_find, stem=stem, suffix=suffix, rows=rows),
        layout=(f"{place}_train.{suffix}", f"{place}_dev.{suffix}"),
        home="https://github.com/KLUE-benchmark/KLUE",
        licence="CC BY-SA 4.0",
        hub=Hub(
            path="klue/klue",
            config=config,
            splits={"train": "train", "validation": "validation"},
            to_rows=hub_rows,
        ),
        group=group,
    )


def _ynat(raw: Row, where: str, is_labelled: bool) -> Iterator[Row]:
    yield {
        "guid": take(raw, "guid", str, where),
        "title": take(raw, "title", str, where),
        "label": take_label(raw, "label", str, where, is_labelled),
    }


def _sts(raw: Row, where: str, is_labelled: bool) -> Iterator[Row]:
    """Yields the row; `label` is `real-label` (the mean vote, 0 to 5) rounded to one decimal, and
    the binary label is whether that is at least 3."""
    labels = take_label(raw, "labels", dict, where, is_labelled)
    if labels is None:
        labels, is_labelled = {}, False
    yield {
        "guid": take(raw, "guid", str, where),
        "source": take_optional(raw, "source", str, where),
        "sentence1": take(raw, "sentence1", str, where),
        "sentence2": take(raw, "sentence2", str, where),
        "label": _score(labels, "label", where, is_labelled),
        "real_label": _score(labels, "real-label", where, is_labelled),
        "binary_label": _binary_label(labels, where, is_labelled),
    }


def _score(labels: Row, name: str, where: str, is_labelled: bool) -> float | None:
    score = take_label(labels, name, float, where, is_labelled)
    if score is not None and not 0.0 <= score <= 5.0:
        raise fault(where, f"{name} {score}, expected a number from 0 to 5", "fix that row")
    return score


def _binary_label(labels: Row, where: str, is_labelled: bool) -> str | None:
    """The binary label as "0" or "1": the files have numbers, the hub has names."""
    value = labels.get("binary-label")
    if isinstance(value, str) and value in ("negative", "positive"):
        return str(int(value == "positive"))
    number = take_label(labels, "binary-label", int, where, is_labelled)
    if number not in (0, 1, None):
        raise fault(where, f"binary-label {number}, expected 0 or 1", "fix that row")
    return None if number is None else str(number)


def _nli(raw: Row, where: str, is_labelled: bool) -> Iterator[Row]:
    """Yields the row; the source is `source` in the development file and `genre` in the training
    file, and the label is `label` on the hub."""
    source = "genre" if "genre" in raw else "source"
    label = "label" if "label" in raw and "gold_label" not in raw else "gold_label"
    yield {
        "guid": take(raw, "guid", str, where),
        "source": take_optional(raw, source, str, where),
        "premise": take(raw, "premise", str, where),
        "hypothesis": take(raw, "hypothesis", str, where),
        "label": take_label(raw, label, str, where, is_labelled),
    }


def _re(raw: Row, where: str, is_labelled: bool) -> Iterator[Row]:
    """Yields the row with half-open spans: KLUE's `end_idx` is inclusive."""
    sentence = take(raw, "sentence", str, where)
    yield {
        "guid": take(raw, "guid", str, where),
        "source": take_optional(raw, "source", str, where),
        "sentence": sentence,
        "subject": _entity(raw, "subject_entity", sentence, where),
        "object": _entity(raw, "object_entity", sentence, where),
        "label": take_label(raw, "label", str, where, is_labelled),
    }


def _entity(raw: Row, name: str, sentence: str, where: str) -> Row:
    entity, where = take(raw, name, dict, where), f"{where}, {name}"
    word = take(entity, "word", str, where)
    start = take(entity, "start_idx", int, where)
    end = take(entity, "end_idx", int, where) + 1
    text_at(sentence, start, end, word, where)
    return {"word": word, "start": start, "end": end, "type": take(entity, "type", str, where)}


def _wos(raw: Row, where: str, is_labelled: bool) -> Iterator[Row]:
    """Yields a row per user turn, numbered from 0 in `turn`; `state` is cumulative."""
    guid = take(raw, "guid", str, where)
    history, num_user_turns = [], 0
    for turn in take(raw, "dialogue", list, where):
        role = take(turn, "role", str, where)
        if role not in ("user", "sys"):
            raise fault(where, f"role {role!r}, expected 'user' or 'sys'", "fix that row")
        history.append({"role": role, "text": take(turn, "text", str, where)})
        if role == "sys":
            continue
        state = take_label(turn, "state", list, where, is_labelled)
        check_texts(state or [], "state", where)
        for item in state or ():
            if item.count("-") < 2:
                what = f"state {item!r}, expected 'domain-slot-value'"
                raise fault(where, what, "fix that row")
        yield {"guid": guid, "turn": num_user_turns, "history": list(history), "state": state}
        num_user_turns += 1


def _mrc_hub_rows(row: Row) -> Iterator[Row]:
    """Yields the row; `reading_row` separates the plausible answers, which the hub merges with
    the answers."""
    flat = {**row, "answers": records(row.get("answers"))}
    yield reading_row(flat, f"klue/klue mrc, question {row.get('guid')}", True)


_ENTITY = {"word": "string", "start": "int32", "end": "int32", "type": "string"}

YNAT = _release(
    "klue_ynat",
    {"guid": "string", "title": "string", "label": "string"},
    config="ynat",
    to_rows=_ynat,
)
STS = _release(
    "klue_sts",
    {
        **dict.fromkeys(("guid", "source", "sentence1", "sentence2"), "string"),
        "label": "float64",
        "real_label": "float64",
        "binary_label": "string",
    },
    config="sts",
    to_rows=_sts,
)
# A premise occurs in about three consecutive rows.
NLI = _release(
    "klue_nli",
    dict.fromkeys(("guid", "source", "premise", "hypothesis", "label"), "string"),
    config="nli",
    to_rows=_nli,
    group="premise",
)
NER = _release(
    "klue_ner",
    {"guid": "string", "source": "string", "text": "string", "tags": ["string"]},
    config="ner",
    suffix="tsv",
    rows=ner_rows,
    hub_rows=ner_hub_rows,
)
# A sentence may occur with several pairs of entities.
RE = _release(
    "klue_re",
    {
        **dict.fromkeys(("guid", "source", "sentence"), "string"),
        "subject": _ENTITY,
        "object": _ENTITY,
        "label": "string",
    },
    config="re",
    to_rows=_re,
    group="sentence",
)
DP = _release(
    "klue_dp",
    {
        **dict.fromkeys(("guid", "source", "sentence"), "string"),
        **dict.fromkeys(("words", "lemmas", "pos"), ["string"]),
        "heads": ["int32"],
        "relations": ["string"],
    },
    config="dp",
    suffix="tsv",
    rows=dp_rows,
    hub_rows=dp_hub_rows,
)
MRC = _release(
    "klue_mrc",
    READING_COLUMNS,
    config="mrc",
    rows=partial(reading_rows, id_key="guid"),
    hub_rows=_mrc_hub_rows,
    group="context",
)
WOS = _release(
    "klue_wos",
    {
        "guid": "string",
        "turn": "int32",
        "history": [{"role": "string", "text": "string"}],
        "state": ["string"],
    },
    config="wos",
    to_rows=_wos,
    group="guid",
)
