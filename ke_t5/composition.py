"""Composes decomposed text (NFD, as macOS file tools write it) into NFC.

Only decomposed characters change: Hangul syllables written as letters, and letters followed by
their accents. Full NFC would also replace characters that the authors of a corpus chose (CJK
compatibility ideographs, the Angstrom sign).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from ke_t5.errors import Exit, UserError

# Medial and final Hangul letters, combining accents, kana voicing marks.
MARKS = "\u0300-\u036f\u1161-\u1175\u11a8-\u11c2\u3099\u309a"
_MARK = re.compile(f"[{MARKS}]")
_DECOMPOSED = re.compile(
    "[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?|[가-힣][\u11a8-\u11c2]"
    "|[^\\W\\d_][\u0300-\u036f\u3099\u309a]+"
)
_INVISIBLE = ("Cf", "Cc", "Zs", "Zl", "Zp")

# Column with character positions -> the column they refer to, in the rows of our readers.
POSITIONS = {
    "subject": "sentence", "object": "sentence", "answers": "context",
    "plausible_answers": "context", "entities": "text", "tags": "text",
}  # fmt: skip
# Plausible answers stay as released; a quarter of KLUE's are wrong anyway.
_UNCHECKED = ("plausible_answers",)
_POSITION = re.compile(r"(^|_)(start|begin|end|offset|position)s?(_|$)")

Row = dict[str, Any]


def compose(text: str) -> str:
    """The text with its decomposed characters composed.

    >>> compose("\u1112\u1161\u11ab\u1100\u1173\u11af cafe\u0301")
    '한글 café'
    """
    if not _MARK.search(text):
        return text
    return _DECOMPOSED.sub(lambda match: unicodedata.normalize("NFC", match.group()), text)


def decomposed_places(text: str) -> list[int]:
    """The offset in `text` of each character of the composed text, then the length of `text`.

    >>> decomposed_places("\u1112\u1161\u11ab1")
    [0, 3, 4]
    """
    places: list[int] = []
    done = 0
    for match in _DECOMPOSED.finditer(text):
        size = len(unicodedata.normalize("NFC", match.group()))
        places += [*range(done, match.start() + 1), *range(match.end() - size + 1, match.end())]
        done = match.end()
    return [*places, *range(done, len(text) + 1)]


def look_alike(one: str, other: str) -> bool:
    """Whether two texts differ only in composition, width, white space or invisible characters."""

    def seen(text: str) -> str:
        text = unicodedata.normalize("NFKC", text)
        return "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)

    return seen(one) == seen(other)


def code_points(text: str, *, longest: int = 8) -> str:
    """The code points of a text, to tell look-alike characters apart.

    >>> code_points("\u1100\u1161")
    'U+1100 U+1161'
    """
    shown = " ".join(f"U+{ord(character):04X}" for character in text[:longest])
    return shown + (" ..." if len(text) > longest else "")


def compose_row(row: Row, where: str) -> Row:
    """The row with its texts composed and the positions in them adjusted; the same object if
    nothing in it is decomposed.

    Raises:
        UserError: a position is inside a character, or the text it refers to is unknown.
    """
    composed = {name: _composed(value) for name, value in row.items()}
    if all(composed[name] is row[name] for name in row):
        return row
    for name, value in row.items():
        text = row.get(POSITIONS.get(name, ""))
        if name in POSITIONS and isinstance(text, str):
            if compose(text) != text and value is not None:
                places = _Places(text, where, name, is_strict=name not in _UNCHECKED)
                composed[name] = places.moved(composed[name])
        elif _has_positions(name, value):
            raise _unmapped(where, f"column {name!r} contains positions in it")
    return composed


def is_decomposed(value: Any) -> bool:
    """Whether a value is, or contains, a text that `compose` changes."""
    return _composed(value) is not value


def _composed(value: Any) -> Any:
    """A value with all its texts composed; the same object if nothing changes."""
    if isinstance(value, str):
        composed = compose(value)
        return value if composed == value else composed
    if isinstance(value, (list, tuple)):
        items = [_composed(item) for item in value]
        return value if all(a is b for a, b in zip(items, value, strict=True)) else items
    if isinstance(value, Mapping):
        record = {name: _composed(item) for name, item in value.items()}
        return value if all(record[name] is value[name] for name in record) else record
    return value


def _has_positions(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_positions(key, item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_has_positions(name, item) for item in value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and _POSITION.search(name) is not None


def _unmapped(where: str, what: str) -> UserError:
    fix = "compose the file (NFC, such as `uconv -x any-nfc`), then compute its offsets"
    return UserError(f"the text is decomposed (NFD) and {what}", where, fix, Exit.DATA)


class _Places:
    """Maps positions in a decomposed text to positions in the composed one."""

    def __init__(self, text: str, where: str, column: str, *, is_strict: bool) -> None:
        self._where, self._column, self._is_strict = where, column, is_strict
        self._new, self._is_border, length = [], [], 0
        done = 0
        for match in _DECOMPOSED.finditer(text):
            self._append(range(length, length + match.start() - done), is_border=True)
            length += match.start() - done
            size = len(unicodedata.normalize("NFC", match.group()))
            self._append([length], is_border=True)
            inside = len(match.group()) - 1
            is_kept = size == len(match.group())  # there is no composed form
            steps = range(length + 1, length + 1 + inside) if is_kept else [length] * inside
            self._append(steps, is_border=is_kept)
            length, done = length + size, match.end()
        self._append(range(length, length + len(text) - done + 1), is_border=True)

    def _append(self, places: Any, *, is_border: bool) -> None:
        self._new += places
        self._is_border += [is_border] * len(places)

    def moved(self, value: Any) -> Any:
        """Records (with `start` and `end`) or character tags, adjusted to the composed text."""
        if isinstance(value, Mapping):
            return {n: self._place(v) if n in ("start", "end") else v for n, v in value.items()}
        if not isinstance(value, (list, tuple)):  # the type check reports it
            return value
        if all(isinstance(item, str) for item in value):
            return self._tags(list(value))
        return [self.moved(item) for item in value]

    def _place(self, old: Any) -> Any:
        if not isinstance(old, int):  # likewise
            return old
        if 0 <= old < len(self._new) and (self._is_border[old] or not self._is_strict):
            return self._new[old]
        if not self._is_strict:
            return old
        raise _unmapped(self._where, f"{self._column} has a boundary inside a character ({old})")

    def _tags(self, tags: list[str]) -> list[str]:
        if len(tags) != len(self._new) - 1:
            return tags  # the length check reports it
        kept: list[str] = []
        for tag, is_border in zip(tags, self._is_border, strict=False):
            if is_border:
                kept.append(tag)
            elif tag[2:] != kept[-1][2:] or tag.startswith("B-"):
                what = f"the letters of one character are tagged {kept[-1]} and {tag}"
                raise _unmapped(self._where, what)
        return kept
