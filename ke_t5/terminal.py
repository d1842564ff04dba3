"""Text on a terminal: widths, tables and colours, by rich, which handles wide characters, the
terminal's width, NO_COLOR and TERM=dumb. It is imported on first use."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Output to a file or a pipe is not wrapped: a program may read it.
NO_WIDTH = 10_000


def width_of(text: str) -> int:
    """The columns that a text takes on a terminal: two for each Hangul syllable."""
    from rich.cells import cell_len

    return cell_len(text)


def console(stream: Any = None) -> Console:
    """A console that writes to `stream` (default: standard output), without rich's markup."""
    from rich.console import Console

    stream = sys.stdout if stream is None else stream
    width = None if stream.isatty() else NO_WIDTH
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, stream: Any = None) -> str:
    """A table as text, with aligned columns; on a terminal wrapped at its width."""
    from rich.table import Table

    made = Table(*head, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        made.add_row(*row)
    shown = console(stream)
    with shown.capture() as capture:
        shown.print(made)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())


def wrapped_for_terminal(text: str, *, indent: str = "    ") -> str:
    """`text` wrapped at the terminal's width with a hanging indent; words are never broken."""
    width = shutil.get_terminal_size().columns
    lines = [""]
    for word in text.split():
        line = f"{lines[-1]} {word}" if lines[-1].strip() else lines[-1] + word
        if width_of(line) <= width or not lines[-1].strip():
            lines[-1] = line
        else:
            lines.append(indent + word)
    return "\n".join(lines)
