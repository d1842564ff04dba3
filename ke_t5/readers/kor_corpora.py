"""3i4K, NSMC, KorNLI, KorSTS, Korean hate speech (KHSD), question pairs (QPair) and sae4K.

All are tab-separated tables; except in QPair, quotes are part of the text. The hub's
`wicho/kor_3i4k`, `kakaobrain/kor_nli`, `dkoterwa/kor-sts`, `inmoonlight/kor_hate` and
`songys/kor_qpair` are known from other projects and untested here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

from ke_t5.errors import UserError
from ke_t5.files import Stamp, stamp_of
from ke_t5.readers.release import (
    Hub,
    RawSplit,
    Release,
    Row,
    first_found,
    folders_under,
    raw_splits,
)
from ke_t5.readers.streams import OWN_FILE, fault, listed, tab_lines, table

_INTENTIONS = tuple("0123456")
_BINARY = ("0", "1")
_NLI_LABELS = ("entailment", "neutral", "contradiction")
# Columns of KHSD -> their values.
_HATE = {
    "hate": ("hate", "offensive", "none"),
    "bias": ("none", "gender", "others"),
    "contain_gender_bias": ("False", "True"),
}


def one_of(value: str, names: Sequence[str], column: str, where: str) -> str:
    """The value; a UserError unless it is one of the names."""
    if value not in names:
        what = f"{column} {value!r}, expected one of {', '.join(names)}"
        raise fault(where, what, f"fix that line, or {OWN_FILE}")
    return value


def hub_rows(row: Row, **columns: str) -> Iterator[Row]:
    """Yields the hub's row with our column names (ours=theirs); class numbers become strings, and
    -1 becomes None."""
    missing = [theirs for theirs in columns.values() if theirs not in row]
    if missing:
        raise fault("a row of the hub", f"no {listed(missing)}, only {listed(row)}", OWN_FILE)
    ours = {name: row[theirs] for name, theirs in columns.items()}
    if isinstance(ours.get("label"), int):
        ours["label"] = str(ours["label"]) if ours["label"] >= 0 else None
    yield ours


# 3i4K: no header. The training file has the authors' training part followed by their validation
# part (49,622 and 5,512 lines), each sorted by class.


def _intention_rows(path: Path, first_line: int = 1, end_line: int | None = None) -> Iterator[Row]:
    """Yields the rows of lines `first_line` (inclusive) to `end_line` (exclusive)."""
    file = str(path)
    for number, (label, text) in tab_lines(path, 2):
        if end_line is not None and number >= end_line:
            return
        label = one_of(label, _INTENTIONS, "label", f"{file}:{number}")
        if number >= first_line:
            yield {"text": text, "label": label}


@lru_cache(maxsize=16)
def _second_run(path: Path, _stamp: Stamp) -> int | None:
    """The line at which the sorted classes start over; None unless that happens exactly once.

    Cached until the file changes.
    """
    restarts, last = [], ""
    for number, (label, _) in tab_lines(path, 2):
        if label < last:
            restarts.append(number)
        last = label
    return restarts[0] if len(restarts) == 1 else None


def _find_3i4k(data_dir: Path) -> dict[str, RawSplit]:
    """The authors' splits; a training file without the boundary is train as a whole."""
    names = [f"{root}/{part}train_val_test" for root in ("3i4k", "3i4K") for part in ("", "data/")]
    folders = (*names, "data/train_val_test", "train_val_test", "3i4k", "3i4K", ".")
    paths = first_found(data_dir, folders, {"train": "fci_train_val.txt", "test": "fci_test.txt"})
    splits = {}
    if "train" in paths:
        path = paths["train"]
        try:
            border = _second_run(path, stamp_of(path))
        except UserError:
            border = None  # raised again when the rows are read
        splits["train"] = RawSplit((path,), partial(_intention_rows, path, end_line=border))
        if border:
            rows = partial(_intention_rows, path, first_line=border)
            splits["validation"] = RawSplit((path,), rows)
    if "test" in paths:
        splits["test"] = RawSplit((paths["test"],), partial(_intention_rows, paths["test"]))
    return splits


KOR_3I4K = Release(
    name="kor_3i4k",
    columns={"text": "string", "label": "string"},
    find=_find_3i4k,
    layout=("3i4k/train_val_test/fci_train_val.txt", "3i4k/train_val_test/fci_test.txt"),
    home="https://github.com/warnikchow/3i4k",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="wicho/kor_3i4k",
        config=None,
        splits={"train": "train[:49622]", "validation": "train[49622:]", "test": "test"},
        to_rows=partial(hub_rows, text="text", label="label"),
        class_names=False,
    ),
)


def found_splits(
    data_dir: Path,
    *,
    folders: Sequence[str],
    names: Mapping[str, str],
    rows: Callable[[Path, str], Iterator[Row]],
    is_direct: bool = True,
) -> dict[str, RawSplit]:
    """The splits whose files (`names`) are in the first of `folders` that has any."""
    places = folders_under(data_dir, folders, is_direct=is_direct)
    return raw_splits(first_found(data_dir, places, names), rows)


def _nsmc_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields the rows, including a few with an empty document."""
    file = str(path)
    for line, raw in table(path, ("id", "document", "label")):
        label = one_of(raw["label"], _BINARY, "label", f"{file}:{line}")
        yield {"id": raw["id"], "text": raw["document"], "label": label}


NSMC = Release(
    name="nsmc",
    columns={"id": "string", "text": "string", "label": "string"},
    find=partial(
        found_splits,
        folders=("NSMC", "nsmc"),
        names={"train": "ratings_train.txt", "test": "ratings_test.txt"},
        rows=_nsmc_rows,
    ),
    layout=("NSMC/ratings_train.txt", "NSMC/ratings_test.txt"),
    home="https://github.com/e9t/nsmc",
    licence="CC0 1.0",
    hub=Hub(
        path="e9t/nsmc",
        config=None,
        splits={"train": "train", "test": "test"},
        to_rows=partial(hub_rows, id="id", text="document", label="label"),
        class_names=False,
    ),
)


def _kornli_rows(paths: Sequence[Path]) -> Iterator[Row]:
    for path in paths:
        file = str(path)
        for line, raw in table(path, ("sentence1", "sentence2", "gold_label")):
            label = one_of(raw["gold_label"], _NLI_LABELS, "gold_label", f"{file}:{line}")
            yield {"premise": raw["sentence1"], "hypothesis": raw["sentence2"], "label": label}


def _find_kornli(data_dir: Path) -> dict[str, RawSplit]:
    """The splits; train is MultiNLI followed by SNLI, as far as they are present."""
    names = {
        "multinli": "multinli.train.ko.tsv",
        "snli": "snli_1.0_train.ko.tsv",
        "validation": "xnli.dev.ko.tsv",
        "test": "xnli.test.ko.tsv",
    }
    folders = ("KorNLI", "KorNLUDatasets/KorNLI", "kor-nlu-datasets/KorNLI", "kornli", ".")
    by_split = first_found(data_dir, folders, names)
    train = tuple(by_split.pop(name) for name in ("multinli", "snli") if name in by_split)
    files = {"train": train} if train else {}
    files |= {split: (path,) for split, path in by_split.items()}
    return {split: RawSplit(paths, partial(_kornli_rows, paths)) for split, paths in files.items()}


# A premise occurs in several rows.
KORNLI = Release(
    name="kornli",
    columns=dict.fromkeys(("premise", "hypothesis", "label"), "string"),
    find=_find_kornli,
    layout=(
        "KorNLI/multinli.train.ko.tsv",
        "KorNLI/snli_1.0_train.ko.tsv",
        "KorNLI/xnli.dev.ko.tsv",
        "KorNLI/xnli.test.ko.tsv",
    ),
    home="https://github.com/kakaobrain/kor-nlu-datasets",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="kakaobrain/kor_nli",
        config="xnli",
        splits={"train": "train", "validation": "validation", "test": "test"},
        to_rows=partial(hub_rows, premise="premise", hypothesis="hypothesis", label="label"),
        configs={"train": ("multi_nli", "snli")},
    ),
    group="premise",
)


_KORSTS_LINES = {"train": 5750, "validation": 1501, "test": 1380}


def _korsts_rows(path: Path, split: str) -> Iterator[Row]:
    columns = ("genre", "score", "sentence1", "sentence2")
    for line, raw in table(path, columns, released=_KORSTS_LINES[split]):
        try:
            score = float(raw["score"])
        except ValueError:
            score = -1.0
        if not 0.0 <= score <= 5.0:
            what = f"score {raw['score']!r}, expected a number from 0 to 5"
            raise fault(f"{path}:{line}", what, "fix that line")
        yield {
            "genre": raw["genre"],
            "sentence1": raw["sentence1"],
            "sentence2": raw["sentence2"],
            "score": score,
        }


# The older copy on the hub, `kor_nlu`, merges rows at quotes and is in no namespace; this one
# lacks about 100 of the 8,628 rows.
KORSTS = Release(
    name="korsts",
    columns={**dict.fromkeys(("genre", "sentence1", "sentence2"), "string"), "score": "float64"},
    find=partial(
        found_splits,
        folders=("KorSTS", "KorNLUDatasets/KorSTS", "kor-nlu-datasets/KorSTS", "korsts"),
        names={"train": "sts-train.tsv", "validation": "sts-dev.tsv", "test": "sts-test.tsv"},
        rows=_korsts_rows,
    ),
    layout=("KorSTS/sts-train.tsv", "KorSTS/sts-dev.tsv", "KorSTS/sts-test.tsv"),
    home="https://github.com/kakaobrain/kor-nlu-datasets",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="dkoterwa/kor-sts",
        config=None,
        splits={"train": "train", "validation": "valid", "test": "test"},
        to_rows=partial(
            hub_rows, genre="genre", sentence1="sentence1", sentence2="sentence2", score="score"
        ),
    ),
)


def _khsd_rows(path: Path, split: str) -> Iterator[Row]:
    for line, raw in table(path, ("comments", *_HATE)):
        values = [one_of(raw[name], _HATE[name], name, f"{path}:{line}") for name in _HATE]
        yield {
            "text": raw["comments"],
            **dict(zip(("label", "bias", "gender"), values, strict=True)),
        }


KHSD = Release(
    name="khsd",
    columns=dict.fromkeys(("text", "label", "bias", "gender"), "string"),
    find=partial(
        found_splits,
        folders=("korean-hate-speech/labeled", "khsd/labeled", "labeled", "khsd"),
        names={"train": "train.tsv", "validation": "dev.tsv"},
        rows=_khsd_rows,
        is_direct=False,
    ),
    layout=("korean-hate-speech/labeled/train.tsv", "korean-hate-speech/labeled/dev.tsv"),
    home="https://github.com/kocohub/korean-hate-speech",
    licence="CC BY-SA 4.0",
    hub=Hub(
        path="inmoonlight/kor_hate",
        config=None,
        splits={"train": "train", "validation": "test"},
        to_rows=partial(
            hub_rows, text="comments", label="hate", bias="bias", gender="contain_gender_bias"
        ),
    ),
)


def _qpair_rows(path: Path, split: str) -> Iterator[Row]:
    """Yields the rows; label 0 is the same meaning and 1 a different one, despite the column's
    name."""
    for line, raw in table(path, ("question1", "question2", "is_duplicate"), quoted=True):
        label = one_of(raw["is_duplicate"], _BINARY, "is_duplicate", f"{path}:{line}")
        yield {"question1": raw["question1"], "question2": raw["question2"], "label": label}


QPAIR = Release(
    name="qpair",
    columns=dict.fromkeys(("question1", "question2", "label"), "string"),
    find=partial(
        found_splits,
        folders=("Question_pair", "qpair", "QPair"),
        names={"train": "train.txt", "validation": "validation.txt", "test": "test.txt"},
        rows=_qpair_rows,
        is_direct=False,
    ),
    layout=("qpair/train.txt", "qpair/validation.txt", "qpair/test.txt"),
    home="https://github.com/songys/Question_pair",
    licence="MIT",
    hub=Hub(
        path="songys/kor_qpair",
        config=None,
        splits={"train": "train", "validation": "validation", "test": "test"},
        to_rows=partial(
            hub_rows, question1="question1", question2="question2", label="is_duplicate"
        ),
        class_names=False,
    ),
)


# sae4K: no header. Several utterances, such as ten paraphrases of a request, share a phrase. The
# types are three of questions, then three of commands.
_SAE4K_TYPES = tuple("012345")


def _sae4k_rows(path: Path, split: str) -> Iterator[Row]:
    for number, (utterance, phrase, kind) in tab_lines(path, 3):
        one_of(kind, _SAE4K_TYPES, "type", f"{path}:{number}")
        yield {"utterance": utterance, "phrase": phrase, "type": kind}


SAE4K = Release(
    name="sae4k",
    columns=dict.fromkeys(("utterance", "phrase", "type"), "string"),
    find=partial(
        found_splits,
        folders=("sae4k", "sae4k/data"),
        names={"train": "sae4k_v1.txt"},
        rows=_sae4k_rows,
    ),
    layout=("sae4k/sae4k_v1.txt",),
    home="https://github.com/warnikchow/sae4k",
    licence="CC BY-SA 4.0",
    group="phrase",
)
