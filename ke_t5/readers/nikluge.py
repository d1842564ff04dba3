"""NIKL's yearly contest (인공지능의 한국어 능력 평가), whose tasks share a file format.

A file has objects {"id", "input", "output"}, as JSON lines or a list; sentiment in 2022 has
`sentence_form` and `annotation` instead. The files may not be redistributed: these readers follow
the examples in the READMEs of NIKL's baselines and of participants; none was found for `nli`.
`raw` is the object itself, which a submission repeats with its output filled in.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.release import (
    RawSplit,
    Release,
    Row,
    check_texts,
    files_below,
    raw_splits,
    take,
    take_optional,
)
from ke_t5.readers.streams import fault

_FOLDERS = ("nikluge", "NIKL/nikluge")
_PARTS = {"train": "train", "dev": "validation", "test": "test"}
# The names of the files of 2024, which have no year.
_KOREAN = {"cci": "대화맥락추론", "dcs": "일상대화요약"}
_YEAR_OF_KOREAN = "2024"

# input, output (None without a label), their location -> columns
ToColumns = Callable[[Any, Any, str], Row]


def _input(given: Any, kind: type, where: str, name: str = "input") -> Any:
    """The input, which must be of that type."""
    return take({name: given}, name, kind, where)


def _output(output: Any, kind: type, where: str, name: str = "output") -> Any:
    """The output, which must be of that type; None without a label."""
    return None if output is None else take({name: output}, name, kind, where)


def _ea(given: Any, output: Any, where: str) -> Row:
    """Emotions towards a target, or of the whole text; each is "True" or "False"."""
    given = _input(given, dict, where)
    target = take_optional(given, "target", dict, where) or {}
    emotions = _output(output, dict, where)
    for name, value in (emotions or {}).items():
        if str(value) not in ("True", "False"):
            raise fault(where, f"{name!r} is {value!r:.40}, expected True or False", "fix that row")
    return {
        "text": take(given, "form", str, where),
        "target": take_optional(target, "form", str, where) or "",
        "label": None
        if emotions is None
        else [name for name, value in emotions.items() if str(value) == "True"],
    }


def _binary(given: Any, output: Any, where: str) -> Row:
    is_record = isinstance(given, dict)
    text = take(given, "form", str, where) if is_record else _input(given, str, where)
    if str(output) not in ("0", "1", "None"):
        raise fault(where, f"output {output!r:.40}, expected 0 or 1", "fix that row")
    return {"text": text, "label": None if output is None else str(output)}


def _iau(given: Any, output: Any, where: str) -> Row:
    """Whether an inappropriate utterance is well-meant."""
    if output not in ("NEGATIVE", "POSITIVE", None):
        what = f"output {output!r:.40}, expected NEGATIVE or POSITIVE"
        raise fault(where, what, "fix that row")
    return {"text": _input(given, str, where), "label": output}


def _sa(given: Any, output: Any, where: str) -> Row:
    """The distinct pairs of an entity's aspect and a polarity, without their offsets."""
    text, labels = _input(given, str, where, "sentence_form"), None
    if output is not None:
        pairs = [_pair(one, where) for one in _output(output, list, where, "annotation")]
        labels = list(dict.fromkeys(pairs))
    return {"text": text, "label": labels}


def _pair(annotated: Any, where: str) -> str:
    """An entity's aspect and a polarity, the first and last items of a list."""
    if isinstance(annotated, list) and len(annotated) > 1:
        aspect, polarity = annotated[0], annotated[-1]
        if isinstance(aspect, str) and isinstance(polarity, str):
            return f"{aspect}#{polarity}"
    what = f"annotation {annotated!r:.60}, expected a list from an aspect to a polarity"
    raise fault(where, what, "fix that row")


def _nli(given: Any, output: Any, where: str) -> Row:
    """The certainty of a statement, averaged if there are several numbers."""
    given, score = _input(given, dict, where), None
    if output is not None:
        numbers = output if isinstance(output, list) else [output]
        try:
            score = math.fsum(map(float, numbers)) / len(numbers)
        except (TypeError, ValueError, OverflowError, ZeroDivisionError):
            score = math.nan
        if not math.isfinite(score):
            what = f"output {output!r:.40}, expected a number or a list of numbers"
            raise fault(where, what, "fix that row")
    return {**{name: take(given, name, str, where) for name in ("context", "prompt")},
            "score": score}  # fmt: skip


def _sc(given: Any, output: Any, where: str) -> Row:
    """The missing sentence between two others."""
    given = _input(given, dict, where)
    return {**{name: take(given, name, str, where) for name in ("sentence1", "sentence3")},
            "summary": _output(output, str, where)}  # fmt: skip


def table_text(given: Row, where: str) -> str:
    """The titles of a table and its cells, row by row; header cells are in brackets, and cells that
    the text is about (`highlighted_cells`: column, row) in asterisks."""
    about = take_optional(given, "metadata", dict, where) or {}
    chosen = take_optional(about, "highlighted_cells", list, where) or []
    rows: dict[int, list[str]] = {}
    for cell in take(given, "table", list, where):
        row, column = (take_optional(cell, name, int, where) for name in ("row", "col"))
        value = "" if cell.get("value") is None else str(cell["value"]).strip()
        value = f"[{value}]" if cell.get("is_header") else value
        value = f"*{value}*" if [column, row] in chosen else value
        rows.setdefault(row or 0, []).append(value)
    titles = [take_optional(about, name, str, where) for name in ("title", "table_title")]
    lines = [" | ".join(cells) for _, cells in sorted(rows.items())]
    return " / ".join(filter(None, [*titles, *lines]))


def _gtps(given: Any, output: Any, where: str) -> Row:
    """The first of the texts is the target."""
    if isinstance(output, list):
        check_texts(output, "output", where)
        if not output:
            raise fault(where, "no text in 'output'", "fix that row")
        output = output[0]
    table = table_text(_input(given, dict, where), where)
    return {"table": table, "summary": _output(output, str, where)}


def _conversation(given: Row, where: str, ids: list | None = None) -> str:
    """The utterances with their speakers, optionally only those with the given ids."""
    utterances = [
        (take(one, "utterance", str, where), one)
        for one in take(given, "conversation", list, where)
    ]
    return " ".join(
        f"{one.get('speaker')}: {utterance}"
        for utterance, one in utterances
        if ids is None or one.get("utterance_id") in ids
    )


def _cci(given: Any, output: Any, where: str) -> Row:
    """Which of three inferences follows from the referenced utterances."""
    given = _input(given, dict, where)
    return {
        "conversation": _conversation(given, where),
        "reference": _conversation(given, where, take(given, "reference_id", list, where)),
        "category": take(given, "category", str, where),
        **{f"choice{i}": take(given, f"inference_{i}", str, where) for i in (1, 2, 3)},
        "label": _output(output, str, where),
    }


def _dcs(given: Any, output: Any, where: str) -> Row:
    given = _input(given, dict, where)
    keywords = given.get("subject_keyword") or []
    keywords = keywords if isinstance(keywords, list) else [keywords]
    check_texts(keywords, "subject_keyword", where)
    return {
        "conversation": _conversation(given, where),
        "keyword": ", ".join(keywords),
        "summary": _output(output, str, where),
    }


def _rows(path: Path, split: str, *, to_columns: ToColumns) -> Iterator[Row]:
    for where, raw in json_rows(path):
        given = raw.get("sentence_form", raw.get("input"))
        output = raw.get("annotation", raw.get("output"))
        if given is None:
            raise fault(where, "no 'input' and no 'sentence_form'", "fix that row")
        if split == "test" and output in ("", [], {}):
            output = None
        if output is None and split != "test":
            raise fault(where, "no 'output'", "fix that row")
        if not isinstance(given, dict | str):
            raise fault(where, "'input' is neither an object nor a string", "fix that row")
        guid = take(raw, "id", str, where)
        columns = to_columns(given, output, where)
        yield {"guid": guid, "raw": json.dumps(raw, ensure_ascii=False), **columns}


def _find(data_dir: Path, *, task: str, to_columns: ToColumns) -> dict[str, RawSplit]:
    """The splits of the latest year, anywhere below the contest's folder.

    File names have task and year in either order, or are Korean.
    """
    names = (rf"nikluge-{task}-(\d{{4}})", rf"nikluge-(\d{{4}})-{task}", _KOREAN.get(task, "(?!)"))
    name = re.compile(rf"(?:{'|'.join(names)})[-_](train|dev|test)\.jsonl?", re.IGNORECASE)
    for folder in _FOLDERS:
        found: dict[str, dict[str, Path]] = {}
        for path in files_below(data_dir / folder):
            if match := name.fullmatch(unicodedata.normalize("NFC", path.name)):
                *years, part = match.groups()
                year = next(filter(None, years), _YEAR_OF_KOREAN)
                found.setdefault(year, {})[_PARTS[part.lower()]] = path
        if found:
            return raw_splits(found[max(found)], partial(_rows, to_columns=to_columns))
    return {}


def _release(task: str, year: int, to_columns: ToColumns, columns: Mapping[str, object]) -> Release:
    stem = f"nikluge/nikluge-{task}-{year}"
    return Release(
        name=f"nikluge_{task}",
        columns={"guid": "string", "raw": "string", **columns},
        find=partial(_find, task=task, to_columns=to_columns),
        layout=tuple(f"{stem}-{part}.jsonl" for part in _PARTS),
        home="https://kli.korean.go.kr/benchmark (NIKL, after an agreement)",
        licence="NIKL agreement, not to be passed on",
    )


def _texts(*names: str) -> dict[str, object]:
    return dict.fromkeys(names, "string")


EA = _release("ea", 2023, _ea, {**_texts("text", "target"), "label": ["string"]})
AU = _release("au", 2022, _binary, _texts("text", "label"))
IAU = _release("iau", 2023, _iau, _texts("text", "label"))
SA = _release("sa", 2022, _sa, {"text": "string", "label": ["string"]})
NLI = _release("nli", 2022, _nli, {**_texts("context", "prompt"), "score": "float64"})
SC = _release("sc", 2023, _sc, _texts("sentence1", "sentence3", "summary"))
GTPS = _release("gtps", 2023, _gtps, _texts("table", "summary"))
CCI = _release(
    "cci", 2024, _cci,
    _texts("conversation", "reference", "category", "choice1", "choice2", "choice3", "label"),
)  # fmt: skip
DCS = _release("dcs", 2024, _dcs, _texts("conversation", "keyword", "summary"))
