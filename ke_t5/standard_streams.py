"""Standard streams that survive a closed pipe or terminal, which must not end a training."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from typing import Any, cast

# The reader of the pipe has gone, the terminal was closed, or the stream was closed from outside.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


# After so long without output, users wonder whether the program is alive.
PATIENCE_SECONDS = 3.0
CLEARED = "\r\x1b[K"  # clears the line and returns to its start


class _Shown:
    """When something was last written, and whether the ticker's text is on the line."""

    written = time.monotonic()
    is_ticking = False


class LastingStream:
    """A text stream that discards its output once nobody can read it any more.

    Attributes:
        is_gone: whether output is discarded.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_gone = False

    def write(self, text: str) -> int:
        """Writes a text; returns the number of characters."""
        try:
            _Shown.written = time.monotonic()
            if _Shown.is_ticking:
                _Shown.is_ticking = False
                cast(Any, sys.stderr)._stream.write(CLEARED)
                cast(Any, sys.stderr)._stream.flush()
            return self._stream.write(text)
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._discard(error)

    def _discard(self, error: OSError) -> None:
        if error.errno not in GONE:
            raise error
        self.is_gone = True
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, self._stream.fileno())
        os.close(sink)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def keep_standard_streams() -> None:
    """Makes stdout and stderr `LastingStream`s; opens those that are closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            # Otherwise the next file to be opened would receive the stream's output.
            sink = os.open(os.devnull, os.O_WRONLY)
            if sink != number:
                os.dup2(sink, number)
                os.close(sink)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        if not isinstance(getattr(sys, name), LastingStream):
            setattr(sys, name, cast("Any", LastingStream(getattr(sys, name))))


def tick() -> None:
    """Starts to show on the terminal how long nothing was printed, on a line that the next output
    replaces. Does nothing if standard error is not a terminal."""
    stream = sys.stderr
    if not isinstance(stream, LastingStream) or not stream.isatty():
        return
    if os.environ.get("TERM", "dumb") == "dumb":
        return
    _Shown.written = time.monotonic()
    threading.Thread(target=_tick, args=(stream,), name="ticker", daemon=True).start()


def _tick(stream: Any) -> None:
    while True:
        time.sleep(0.5)
        silence = time.monotonic() - _Shown.written
        if silence < PATIENCE_SECONDS or _has_bar():
            continue
        try:
            stream._stream.write(f"{CLEARED}... {silence:.0f} s")
            stream._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            return
        _Shown.is_ticking = True


def _has_bar() -> bool:
    """Whether a progress bar is on the line."""
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    return any(not bar.disable for bar in list(bars))
