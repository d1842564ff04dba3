"""Known faults of the releases in a folder: `python -m ke_t5.task.task --check`.

Readers keep faulty rows as they are; they are reported here, never repaired.

| release | fault | source |
|---|---|---|
| klue_ner | ill-formed rows; entities that begin on a space | KLUE, pull request 39 |
| klue_dp | words that differ from the sentence: `#NAME?`, altered numbers | KLUE, issue 36 |
| klue_mrc | plausible answers that are not at their offset | |
| nsmc | reviews without a text | |
| any | messages and errors of its reader | |
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ke_t5.errors import UserError, counted
from ke_t5.readers.release import RawSplit, Release, Row

_MOST_SHOWN = 5
_ILL_FORMED = tuple(f"klue-ner-v1_train_{n}" for n in ("02617", "15243", "16531", "20647"))


def _ner(row: Row) -> Iterator[str]:
    if (row["guid"] or "").startswith(_ILL_FORMED):
        yield "an ill-formed sentence (KLUE, pull request 39)"
    characters = zip(row["text"], row["tags"] or (), strict=False)
    if any(character == " " and tag.startswith("B-") for character, tag in characters):
        yield "an entity that begins on a space"


def _dp(row: Row) -> Iterator[str]:
    if "#NAME?" in row["words"]:
        yield "a word replaced by a spreadsheet's #NAME? (KLUE, issue 36)"
    elif "".join(row["words"]) != "".join(row["sentence"].split()):
        yield "a word that is not in the sentence (KLUE, issue 36)"


def _mrc(row: Row) -> Iterator[str]:
    context, answers = row["context"], row["plausible_answers"]
    if any(not context.startswith(answer["text"], answer["start"]) for answer in answers):
        yield "a plausible answer that is not at its offset"


def _empty(row: Row) -> Iterator[str]:
    if not row["text"].strip():
        yield "no text"


CHECKS: Mapping[str, Callable[[Row], Iterator[str]]] = {
    "klue_ner": _ner, "klue_dp": _dp, "klue_mrc": _mrc, "nsmc": _empty,
}  # fmt: skip


class _Messages(logging.Handler):
    """Collects the messages of readers."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def faults_of(release: Release, data_dir: Path) -> Iterator[str]:
    """Yields a line for each fault in the files of a release below the folder, with its rows."""
    for name, split in release.find(data_dir).items():
        for line in _faults_of_split(release, split):
            yield f"{release.name} {name}: {line}"


def _faults_of_split(release: Release, split: RawSplit) -> Iterator[str]:
    check = CHECKS.get(release.name)
    found: dict[str, list[str]] = {}
    logger, messages = logging.getLogger("ke_t5.readers"), _Messages()
    level = logger.level
    logger.addHandler(messages)
    logger.setLevel(logging.INFO)
    try:
        for number, row in enumerate(split.rows()):
            for fault in check(row) if check else ():
                found.setdefault(fault, []).append(str(row.get("guid") or f"row {number}"))
    except UserError as error:
        messages.lines.append(str(error).removeprefix("error: "))
    finally:
        logger.removeHandler(messages)
        logger.setLevel(level)
    for fault, rows in found.items():
        more = f" and {len(rows) - _MOST_SHOWN} more" if len(rows) > _MOST_SHOWN else ""
        yield f"{counted(len(rows), 'row')} with {fault}: {', '.join(rows[:_MOST_SHOWN])}{more}"
    yield from messages.lines
