"""The columns of a file for text and label, as given or guessed from the header."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ke_t5.errors import Exit, UserError, suggestion
from ke_t5.readers.streams import listed

# Role -> usual column names, in order of preference.
USUAL = {
    "text": """text sentence document content comment comments review title sentence1 premise
        question question1 article body input source utterance 텍스트 문장 문장1 본문 내용 글 리뷰
        댓글 제목 전제 질문 질문1 기사 원문 발화 입력 tokens words token word 토큰""".split(),
    "text_pair": """text_pair sentence2 hypothesis question2 text2 title2 문장2 가설 질문2 글2
        텍스트2""".split(),
    "label": """label labels gold_label category class sentiment emotion intent hate score rating
        target 라벨 레이블 감정 감성 분류 범주 의도 정답 점수 평점 유사도 tags tag ner_tags entities
        태그 개체 summary 요약 answer""".split(),
}
# Column names of choices: an optional word, and a number.
_CHOICE = re.compile(
    r"(?:choice|alternative|ending|option|answer|선택지|보기|선지)?[ _]?(\d\d?)", re.IGNORECASE
)
_WORDS = {"text": "text", "text_pair": "second text", "label": "label", "choice": "choice"}
TARGETS = "target summary answer output label 요약 정답 출력 답 번역 결과".split()


def flag_of(role: str) -> str:
    """The flag for the column of a role."""
    return "--choice_columns" if role == "choice" else f"--{role}_column"


def chosen_columns(
    path: Path, names: Sequence[str], roles: Sequence[str], given: Mapping[str, str], *, kind: str
) -> dict[str, str]:
    """Role -> column: the given one, otherwise one with a usual name, otherwise the only one left.

    Raises:
        UserError: a given column does not exist, or the column of a role is ambiguous.
    """
    for role in roles:
        if role in given:
            require_column(path, names, given[role], role)
    columns = {role: given[role] for role in roles if role in given}
    for role in roles:
        if role in columns:
            continue
        usual = TARGETS if kind == "text2text" and role == "label" else USUAL[role]
        folded = {name.casefold(): name for name in names if name not in columns.values()}
        found = next((folded[name] for name in usual if name in folded), None)
        if found is not None:
            columns[role] = found
    missing = [role for role in roles if role not in columns]
    left = [name for name in names if name not in columns.values()]
    if len(missing) == len(left) == 1:
        columns[missing[0]] = left[0]
    elif missing:
        what = f"which column is the {_WORDS[missing[0]]}? it has {listed(names)}"
        raise UserError(what, f"{path}:1", f"add {flag_of(missing[0])} NAME", Exit.DATA)
    require_distinct(path, columns)
    return {role: columns[role] for role in roles}


def require_distinct(path: Path, columns: Mapping[str, str], choices: Sequence[str] = ()) -> None:
    """Raises UserError for a column with two roles: a model might read its own label."""
    roles = dict.fromkeys(choices, "choice")
    for role, name in columns.items():
        other = roles.setdefault(name, role)
        if other != role:
            what = f"column {name!r:.60} cannot be both {_WORDS[other]} and {_WORDS[role]}"
            fix = f"name another column with {flag_of(other)} or {flag_of(role)}"
            raise UserError(what, f"{path}:1", fix, Exit.DATA)


def chosen_choices(path: Path, names: Sequence[str], given: str | None) -> tuple[str, ...]:
    """The columns of the choices: the given ones (comma-separated), otherwise the numbered ones."""
    if given:
        found = [name.strip() for name in given.split(",")]
        for name in found:
            require_column(path, names, name, "choice")
    else:
        found = numbered_choices(names)
    twice = next((name for name in found if found.count(name) > 1), None)
    if twice is not None:
        where = f"{flag_of('choice')} {given!r:.60}"
        raise UserError(f"names {twice!r:.60} twice", where, "name each choice once")
    if len(found) < 2:
        what = f"which columns are the choices? it has {listed(names)}"
        raise UserError(what, f"{path}:1", "add --choice_columns NAME,NAME", Exit.DATA)
    return tuple(found)


def numbered_choices(names: Iterable[str]) -> list[str]:
    """The columns with usual names of choices, in the order of their numbers."""
    matches = filter(None, map(_CHOICE.fullmatch, names))
    return [match[0] for match in sorted(matches, key=lambda match: int(match[1]))]


def require_column(path: Path, names: Sequence[str], name: str, role: str) -> None:
    """Raises UserError unless the file has the column."""
    if name not in names:
        what = f"no column {name!r:.60} ({flag_of(role)})"
        raise UserError(what, f"{path}:1", suggestion(name, names), Exit.DATA)
