"""The yearly contest of NIKL (인공지능의 한국어 능력 평가): one form for all of its tasks.

A file has objects {"id", "input", "output"}, as JSON lines or as one list; sentiment in 2022 has
`sentence_form` and `annotation` instead. The files may not be passed on: these readers follow the
rows that the READMEs of NIKL's baselines and of participants show; none was found for `nli`.
`raw` is the object itself, which a submission repeats with its output filled in.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ke_t5.readers.json_rows import json_rows
from ke_t5.readers.release import RawSplit, Release, Row, files_below, raw_splits, take
from ke_t5.readers.streams import fault

_FOLDERS = ("nikluge", "NIKL/nikluge")
_PARTS = {"train": "train", "dev": "validation", "test": "test"}
# How the files of 2024 are called, which have no year.
_KOREAN = {"cci": "대화맥락추론", "dcs": "일상대화요약"}
_YEAR_OF_KOREAN = "2024"

# input, output (None without a label), their place -> columns
ToColumns = Callable[[Any, Any, str], Row]


def _as(value: Any, kind: type, where: str) -> Any:
    """The input or output, which must be of that type."""
    return take({"the input or output": value}, "the input or output", kind, where)


def _ea(given: Any, output: Any, where: str) -> Row:
    """An emotion of a target, or of the text as a whole; emotions are "True" or "False"."""
    target = given.get("target") or {}
    names = None
    if output is not None:
        names = [name for name, value in _as(output, dict, where).items() if str(value) == "True"]
    return {
        "text": take(given, "form", str, where),
        "target": target.get("form") or "",
        "label": names,
    }


def _binary(given: Any, output: Any, where: str) -> Row:
    text = take(given, "form", str, where) if isinstance(given, dict) else _as(given, str, where)
    if str(output) not in ("0", "1", "None"):
        raise fault(where, f"output {output!r:.40}, expected 0 or 1", "fix that row")
    return {"text": text, "label": None if output is None else str(output)}


def _iau(given: Any, output: Any, where: str) -> Row:
    """An improper utterance, which may be meant well."""
    if output not in ("NEGATIVE", "POSITIVE", None):
        what = f"output {output!r:.40}, expected NEGATIVE or POSITIVE"
        raise fault(where, what, "fix that row")
    return {"text": _as(given, str, where), "label": output}


def _sa(given: Any, output: Any, where: str) -> Row:
    """Pairs of an entity's aspect and a polarity, each once; their places are left out."""
    labels = None
    if output is not None:
        labels = list(dict.fromkeys(f"{one[0]}#{one[-1]}" for one in _as(output, list, where)))
    return {"text": _as(given, str, where), "label": labels}


def _nli(given: Any, output: Any, where: str) -> Row:
    """How certain a statement is: the mean, if there are several numbers."""
    numbers = output if isinstance(output, list) else [output]
    score = None if output is None else sum(float(n) for n in numbers) / max(1, len(numbers))
    return {**{name: take(given, name, str, where) for name in ("context", "prompt")},
            "score": score}  # fmt: skip


def _sc(given: Any, output: Any, where: str) -> Row:
    """The sentence between two others."""
    return {**{name: take(given, name, str, where) for name in ("sentence1", "sentence3")},
            "summary": output}  # fmt: skip


def table_text(given: Row, where: str) -> str:
    """The titles of a table and its cells, row by row; a header's cell is in brackets, and the
    cells that the text is to be about (`highlighted_cells`: column, row) are between asterisks."""
    about = given.get("metadata") or {}
    chosen = {tuple(place) for place in about.get("highlighted_cells") or ()}
    rows: dict[int, list[str]] = {}
    for cell in take(given, "table", list, where):
        value = str(cell.get("value", "")).strip()
        value = f"[{value}]" if cell.get("is_header") else value
        is_chosen = (cell.get("col"), cell.get("row")) in chosen
        rows.setdefault(cell.get("row") or 0, []).append(f"*{value}*" if is_chosen else value)
    lines = [" | ".join(cells) for _, cells in sorted(rows.items())]
    return " / ".join(filter(None, [about.get("title"), about.get("table_title"), *lines]))


def _gtps(given: Any, output: Any, where: str) -> Row:
    """The first of the texts is the target."""
    texts = output if isinstance(output, list) else [output]
    return {"table": table_text(given, where), "summary": texts[0] if texts else None}


def _conversation(given: Row, where: str, ids: Any = None) -> str:
    """The utterances with their speakers, or those of the ids."""
    return " ".join(
        f"{one.get('speaker')}: {take(one, 'utterance', str, where)}"
        for one in take(given, "conversation", list, where)
        if ids is None or one.get("utterance_id") in ids
    )


def _cci(given: Any, output: Any, where: str) -> Row:
    """Which of three inferences follows from the utterances referred to."""
    return {
        "conversation": _conversation(given, where),
        "reference": _conversation(given, where, take(given, "reference_id", list, where)),
        "category": take(given, "category", str, where),
        **{f"choice{i}": take(given, f"inference_{i}", str, where) for i in (1, 2, 3)},
        "label": output,
    }


def _dcs(given: Any, output: Any, where: str) -> Row:
    keywords = given.get("subject_keyword") or ""
    return {
        "conversation": _conversation(given, where),
        "keyword": ", ".join(keywords) if isinstance(keywords, list) else keywords,
        "summary": output,
    }


def _rows(path: Path, split: str, *, to_columns: ToColumns) -> Iterator[Row]:
    for line, raw in json_rows(path):
        where = f"{path}:{line}"
        given = raw.get("sentence_form", raw.get("input"))
        output = raw.get("annotation", raw.get("output"))
        if given is None:
            raise fault(where, "no 'input' and no 'sentence_form'", "fix that row")
        if split == "test" and output in ("", [], {}):
            output = None
        if output is None and split != "test":
            raise fault(where, "no 'output'", "fix that row")
        if not isinstance(given, dict | str):
            raise fault(where, "'input' is neither an object nor a text", "fix that row")
        guid = take(raw, "id", str, where)
        columns = to_columns(given, output, where)
        yield {"guid": guid, "raw": json.dumps(raw, ensure_ascii=False), **columns}


def _find(data_dir: Path, *, task: str, to_columns: ToColumns) -> dict[str, RawSplit]:
    """The parts of the latest year, wherever they are below the contest's folder. Names have task
    and year in either order, or are Korean."""
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
