"""Detects the encoding of text files, such as those that office programs write."""

from __future__ import annotations

import codecs
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ke_t5.readers.streams import fault

logger = logging.getLogger(__name__)

# Longer marks first: UTF-32's starts with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
NAMES = {
    "utf-8-sig": "UTF-8 with a byte-order mark", "utf-8": "UTF-8", "cp949": "CP949",
    "utf-16": "UTF-16", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32",
}  # fmt: skip
_COMMON = re.compile("[\t\n\r -~\u1100-\u11ff\u2000-\u206f\u3000-\u318f\uac00-\ud7a3]")
_PIECE = 1 << 20
_HEAD = 1 << 16
# In a damaged UTF-8 file, fewer of the non-ASCII characters than this share are broken; in CP949
# read as UTF-8, most are.
_DAMAGED = 0.2


def encoding_of(path: Path) -> str:
    """Python's name for a text file's encoding; any other than UTF-8 is logged.

    A byte-order mark decides. Without one, the file is UTF-16 if it looks like it, otherwise
    UTF-8 or CP949. The whole file must be in that encoding.

    Raises:
        UserError: it is not; names the first line that is wrong.
    """
    stamp = path.stat()
    encoding = _detected(path, stamp.st_mtime_ns, stamp.st_size)
    if encoding not in ("utf-8", "utf-8-sig"):
        report_once(f"{path}: read as {NAMES[encoding]}")
    return encoding


@functools.cache
def report_once(line: str) -> None:
    """Logs a line once per process, as a file is opened several times."""
    logger.info("%s", line)


@functools.lru_cache(maxsize=64)
def _detected(path: Path, _changed: int, _size: int) -> str:
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    for mark, name in _MARKS:
        if head.startswith(mark):
            return _checked(path, name)
    if b"\0" in head and (wide := _utf16(head)) is not None:
        return _checked(path, wide)
    broken = _first_fault(path, "utf-8")
    if broken is None:
        return "utf-8"
    line, piece = broken
    text = piece.decode("utf-8", errors="replace")
    num_broken, num_wide = text.count("\ufffd"), sum(not c.isascii() for c in text)
    if num_broken > _DAMAGED * num_wide and _first_fault(path, "cp949") is None:
        return "cp949"
    what = "the line has bytes that are neither UTF-8 nor CP949"
    raise fault(f"{path}:{line}", what, "save the file as UTF-8")


def _checked(path: Path, encoding: str) -> str:
    """The encoding; a UserError unless the whole file is in it."""
    broken = _first_fault(path, encoding)
    if broken is None:
        return encoding
    what = f"the line has bytes that are not {NAMES[encoding].partition(' ')[0]}"
    raise fault(f"{path}:{broken[0]}", what, "save the file as UTF-8")


def _utf16(head: bytes) -> str | None:
    """The byte order of UTF-16 without a mark; None if the text does not look like UTF-16."""
    even = head[: len(head) // 2 * 2]
    for name in ("utf-16-le", "utf-16-be"):
        text = even.decode(name, errors="replace")
        # In the wrong byte order, or from another encoding, it is Chinese or not even text.
        if "\n" in text and len(_COMMON.findall(text)) > 0.7 * len(text):
            return name
    return None


def _first_fault(path: Path, encoding: str) -> tuple[int, bytes] | None:
    """The line of the first invalid bytes, and the piece of the file that has them; None if all
    are valid."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    for piece, is_last in _pieces(path):
        try:
            line += decoder.decode(piece, is_last).count("\n")
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, errors="replace")
            return line + before.count("\n"), piece
    return None


def _pieces(path: Path) -> Iterator[tuple[bytes, bool]]:
    """Yields (bytes, whether they are the last) of consecutive pieces of a file."""
    with open(path, "rb") as file:
        piece = file.read(_PIECE)
        while True:
            following = file.read(_PIECE)
            yield piece, not following
            if not following:
                return
            piece = following
