"""Predictions in the file formats of the benchmarks.

KorQuAD (checked with its evaluate-v1.0.py): one JSON object, question id -> answer.

KLUE: its leaderboard took a model with an `inference.py` that wrote `output.csv` for the hidden
test set, and has been closed since 2024 (github.com/KLUE-benchmark/KLUE, issues 37 and 46). The
formats below are those of published copies of the KLUE team's inference programs, in the order of
the test set. The server that read them is not public, so they are not checked against it.

| format | each line, or the file |
|---|---|
| klue_nli | the class id: 0 entailment, 1 contradiction, 2 neutral |
| klue_sts | the score |
| klue_re | the class id, a tab, the 30 probabilities separated by spaces |
| klue_ner | comma-separated tag ids of a sentence: [CLS], each character except spaces, [SEP] |
| klue_dp | per word: the head (0 = root), a space, the relation's id |
| klue_mrc | one JSON object, guid -> answer, "" for no answer |
| klue_dst | a JSON list of {"guid", "pred": ["domain-slot-value", ...]}, one per user turn |
| nikluge_... | the objects of the test file, one per line, with their output (`contest.py`) |
| klue_tc | the class id. No copy of this program was found; the format follows klue_nli |
| kobest_*, kmhas, kote | the labels as in the column of the release, separated by commas |

Ids are positions in the label lists of the official baseline, which differ from those of the hub.
An unparsable prediction (None) is written as a value that is always wrong: -1, or an empty answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.task import contest
from ke_t5.task.labels import (
    KLUE_DP,
    KLUE_RE,
    KMHAS,
    KOBEST_SENTIMENT,
    KOBEST_TRUTH,
    KOTE,
    Labels,
    iob2,
)

# KLUE-baseline 8a03c94: data/ynat.py, klue_nli.py, klue_ner.py.
TC_ORDER = ("정치", "경제", "사회", "생활문화", "세계", "IT과학", "스포츠")
NLI_ORDER = ("entailment", "contradiction", "neutral")
NER_ORDER = iob2(("PS", "LC", "OG", "DT", "TI", "QT"), outside_first=False)
UNREAD = -1

Lines = list[str]


def _class_ids(order: Sequence[str]) -> Callable[..., Lines]:
    ids: dict[str | None, int] = {None: UNREAD, **{name: i for i, name in enumerate(order)}}
    return lambda guids, predictions, scores: [str(ids[label]) for label in predictions]


def _numbers(guids: Sequence[str], predictions: Sequence, scores: None) -> Lines:
    return [str(float(UNREAD if value is None else value)) for value in predictions]


def _relations(guids: Sequence[str], predictions: Sequence, scores: Sequence | None) -> Lines:
    if scores is None:
        raise _without_probabilities()
    ids = _class_ids(KLUE_RE.names)(guids, predictions, None)
    return [
        f"{i}\t{' '.join(str(float(p)) for p in row)}" for i, row in zip(ids, scores, strict=True)
    ]


def _without_probabilities() -> UserError:
    return UserError(
        "a klue_re submission needs the probability of every relation, which this model lacks",
        "--submission",
        "use an encoder task (klue_re)",
    )


def _tags(guids: Sequence[str], predictions: Sequence, scores: None) -> Lines:
    ids = {tag: str(i) for i, tag in enumerate(NER_ORDER)}
    return [
        ",".join([ids["O"], *(ids[tag] for tag in tags or ()), ids["O"]]) for tags in predictions
    ]


def _trees(guids: Sequence[str], predictions: Sequence, scores: None) -> Lines:
    ids: dict[str | None, int] = {None: UNREAD, **{name: i for i, name in enumerate(KLUE_DP.names)}}
    return [
        f"{UNREAD if head is None else head} {ids[relation]}"
        for tree in predictions
        for head, relation in zip(tree["heads"], tree["relations"], strict=True)
    ]


def _answers(guids: Sequence[str], predictions: Sequence, scores: None) -> Lines:
    answers = {guid: text or "" for guid, text in zip(guids, predictions, strict=True)}
    if len(answers) < len(guids):
        guid, count = Counter(guids).most_common(1)[0]
        raise UserError(
            f"{count} rows have the id {guid!r:.60}",
            "--submission",
            "give each row its own id: the file has one answer per id",
            Exit.DATA,
        )
    return [json.dumps(answers, ensure_ascii=False, indent=4)]


def _labels_of_release(labels: Labels) -> Callable[..., Lines]:
    """Lines as in the label column of the release, to be joined with its file line by line; there
    is no leaderboard that accepts them."""
    keys = {None: str(UNREAD), **dict(zip(labels.names, labels.keys or labels.names, strict=True))}

    def lines(guids: Sequence[str], predictions: Sequence, scores: object) -> Lines:
        return [
            ",".join(keys[name] for name in one) if isinstance(one, list | tuple) else keys[one]
            for one in predictions
        ]

    return lines


def _states(guids: Sequence[str], predictions: Sequence, scores: None) -> Lines:
    turns = [
        {"guid": guid, "pred": list(state or ())}
        for guid, state in zip(guids, predictions, strict=True)
    ]
    return [json.dumps(turns, ensure_ascii=False, indent=4)]


FORMATS: Mapping[str, Callable[..., Lines]] = {
    "klue_tc": _class_ids(TC_ORDER),
    "klue_nli": _class_ids(NLI_ORDER),
    "klue_sts": _numbers,
    "klue_re": _relations,
    "klue_ner": _tags,
    "klue_dp": _trees,
    "klue_mrc": _answers,
    "klue_dst": _states,
    "korquad": _answers,
    "korquad2": _answers,
    "kobest_boolq": _labels_of_release(KOBEST_TRUTH),
    "kobest_wic": _labels_of_release(KOBEST_TRUTH),
    "kobest_sentineg": _labels_of_release(KOBEST_SENTIMENT),
    "kobest_copa": _labels_of_release(Labels(("1", "2"))),
    "kobest_hellaswag": _labels_of_release(Labels(tuple("1234"), keys=tuple("0123"))),
    "kmhas": _labels_of_release(KMHAS),
    "kote": _labels_of_release(KOTE),
    **contest.FORMATS,
}


def format_of(task: str) -> str:
    """The submission format of a task: the longest format name that its name starts with.

    >>> format_of("klue_re_tk_idx"), format_of("korquad_gen_context_free")
    ('klue_re', 'korquad')

    Raises:
        UserError: the task has no submission format, or its model no probabilities.
    """
    names = [name for name in FORMATS if task == name or task.startswith(f"{name}_")]
    if not names or task == "klue_sts_binary":
        families = dict.fromkeys(name.partition("_")[0] for name in FORMATS)
        fix = f"drop it; formats exist for tasks of {', '.join(families)}"
        raise UserError(f"{task} has no submission format", "--submission", fix)
    name = max(names, key=len)
    if name == "klue_re" and task.endswith("_gen"):
        raise _without_probabilities()
    return name


def write_submission(
    name: str,
    path: str | Path,
    ids: Sequence[str],
    predictions: Sequence[Any],
    *,
    scores: Sequence[Sequence[float]] | None = None,
) -> Path:
    """Writes the predictions, in the order of the split, and returns the file.

    Args:
        name: name of the format, one of `FORMATS`.
        ids: the rows' guids (KorQuAD: question ids; nikluge: the raw objects).
        predictions: names of labels; numbers; for klue_ner one tag per character except spaces
            (`spans.drop_spaces`); for klue_dp {"heads", "relations"}; answers; states.
        scores: probabilities, [rows, 30], for klue_re.

    Raises:
        UserError: the format is unknown, or scores are missing for klue_re.
        ValueError: the columns differ in length.
    """
    if name not in FORMATS:
        raise UserError("unknown format", f"--submission {name!r}", suggestion(name, FORMATS))
    columns = [ids, predictions] if scores is None else [ids, predictions, scores]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"{name}: columns of {', '.join(str(len(c)) for c in columns)} rows")
    lines = FORMATS[name](ids, predictions, scores)
    path = Path(path)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
