"""The encoding of a text file that somebody's office program has written."""

from __future__ import annotations

import codecs
import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from ke_t5.readers.streams import fault

logger = logging.getLogger(__name__)

# The longer marks first: UTF-32's begins with UTF-16's.
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
# Of the characters outside ASCII that a damaged UTF-8 file has, fewer are broken than this share;
# in CP949 read as UTF-8 most are.
_DAMAGED = 0.2


def encoding_of(path: Path) -> str:
    """The encoding of a text file, as Python calls it; any but plain UTF-8 is reported.

    It is the one that the byte-order mark says, else UTF-8 or CP949, in which the whole file must
    be.

    Raises:
        UserError: neither, with the first line that is not.
    """
    stamp = path.stat()
    encoding = _detected(path, stamp.st_mtime_ns, stamp.st_size)
    if encoding not in ("utf-8", "utf-8-sig"):
        report_once(f"{path}: read as {NAMES[encoding]}")
    return encoding


@functools.cache
def report_once(line: str) -> None:
    """Logs a line, once per process: a file is opened several times."""
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
    """The encoding, if the whole file is in it."""
    broken = _first_fault(path, encoding)
    if broken is None:
        return encoding
    what = f"the line has bytes that are not {NAMES[encoding].partition(' ')[0]}"
    raise fault(f"{path}:{broken[0]}", what, "save the file as UTF-8")


def _utf16(head: bytes) -> str | None:
    """The UTF-16 that a file without a mark begins with; None if it makes no sense as such."""
    even = head[: len(head) // 2 * 2]
    for name in ("utf-16-le", "utf-16-be"):
        text = even.decode(name, errors="replace")
        # Read in the wrong order, or from another encoding, it is Chinese or no text at all.
        if "\n" in text and len(_COMMON.findall(text)) > 0.7 * len(text):
            return name
    return None


def _first_fault(path: Path, encoding: str) -> tuple[int, bytes] | None:
    """The line of the first bytes that are not in the encoding, and a piece around them; None for
    none."""
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
    """The bytes of a file in pieces, and whether a piece is the last."""
    with open(path, "rb") as file:
        piece = file.read(_PIECE)
        while True:
            following = file.read(_PIECE)
            yield piece, not following
            if not following:
                return
            piece = following
