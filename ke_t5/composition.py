"""Decomposed text (NFD, as macOS file tools write it) made into composed text (NFC).

Only what is decomposed is touched: a Hangul syllable in its letters, a letter followed by its
accents. Full NFC would also replace characters that the authors of a corpus chose (CJK
compatibility ideographs, the Angstrom sign).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from ke_t5.errors import Exit, UserError

# Medial and final letters of Hangul, combining accents, the voicing marks of kana.
MARKS = "\u0300-\u036f\u1161-\u1175\u11a8-\u11c2\u3099\u309a"
_MARK = re.compile(f"[{MARKS}]")
_DECOMPOSED = re.compile(
    "[\u1100-\u1112][\u1161-\u1175][\u11a8-\u11c2]?|[가-힣][\u11a8-\u11c2]"
    "|[^\\W\\d_][\u0300-\u036f\u3099\u309a]+"
)
_INVISIBLE = ("Cf", "Cc", "Zs", "Zl", "Zp")

# Column of positions -> the column whose characters they count, in the rows of our readers.
POSITIONS = {
    "subject": "sentence", "object": "sentence", "answers": "context",
    "plausible_answers": "context", "entities": "text", "tags": "text",
}  # fmt: skip
# Plausible answers are kept as the authors have them; a quarter of KLUE's do not fit anyway.
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


def look_alike(one: str, other: str) -> bool:
    """Whether two texts differ in nothing that a reader would see: composition, width, white space,
    invisible characters."""

    def seen(text: str) -> str:
        text = unicodedata.normalize("NFKC", text)
        return "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)

    return seen(one) == seen(other)


def code_points(text: str, *, longest: int = 8) -> str:
    """The characters of a text by number, for people who cannot tell them apart by eye.

    >>> code_points("\u1100\u1161")
    'U+1100 U+1161'
    """
    shown = " ".join(f"U+{ord(character):04X}" for character in text[:longest])
    return shown + (" ..." if len(text) > longest else "")


def compose_row(row: Row, where: str) -> Row:
    """The row with its texts composed and the positions in them moved; the very same row if
    nothing in it is decomposed.

    Raises:
        UserError: a position lies within a character, or it is not known what it counts.
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
        elif _holds_positions(name, value):
            raise _uncountable(where, f"column {name!r} holds positions in it")
    return composed


def _composed(value: Any) -> Any:
    """A value with all texts in it composed; the very same one where nothing changes."""
    if isinstance(value, str):
        composed = compose(value)
        return value if composed == value else composed
    if isinstance(value, (list, tuple)):
        made = [_composed(item) for item in value]
        return value if all(a is b for a, b in zip(made, value, strict=True)) else made
    if isinstance(value, Mapping):
        made = {name: _composed(item) for name, item in value.items()}
        return value if all(made[name] is value[name] for name in made) else made
    return value


def _holds_positions(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_positions(key, item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return any(_holds_positions(name, item) for item in value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and _POSITION.search(name) is not None


def _uncountable(where: str, what: str) -> UserError:
    fix = "compose the file before offsets are counted (NFC, such as `uconv -x any-nfc`)"
    return UserError(f"the text is decomposed (NFD) and {what}", where, fix, Exit.DATA)


class _Places:
    """Where the positions of a decomposed text are in the composed one."""

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
            is_kept = size == len(match.group())  # nothing to compose it to
            steps = range(length + 1, length + 1 + inside) if is_kept else [length] * inside
            self._append(steps, is_border=is_kept)
            length, done = length + size, match.end()
        self._append(range(length, length + len(text) - done + 1), is_border=True)

    def _append(self, places: Any, *, is_border: bool) -> None:
        self._new += places
        self._is_border += [is_border] * len(places)

    def moved(self, value: Any) -> Any:
        """The records (of start and end) or the tags of characters, counted anew."""
        if isinstance(value, Mapping):
            return {n: self._place(v) if n in ("start", "end") else v for n, v in value.items()}
        if all(isinstance(item, str) for item in value):
            return self._tags(value)
        return [self.moved(item) for item in value]

    def _place(self, old: int) -> int:
        if 0 <= old < len(self._new) and (self._is_border[old] or not self._is_strict):
            return self._new[old]
        if not self._is_strict:
            return old
        raise _uncountable(self._where, f"{self._column} has a border within a character ({old})")

    def _tags(self, tags: list[str]) -> list[str]:
        if len(tags) != len(self._new) - 1:
            return tags  # reported by the check of lengths
        kept: list[str] = []
        for tag, is_border in zip(tags, self._is_border, strict=False):
            if is_border:
                kept.append(tag)
            elif tag[2:] != kept[-1][2:] or tag.startswith("B-"):
                what = f"the letters of one character are tagged {kept[-1]} and {tag}"
                raise _uncountable(self._where, what)
        return kept
