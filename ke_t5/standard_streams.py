"""Standard output and error that may go away: a closed pipe or terminal does not end a training."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, cast

# The reader of the pipe has gone, the terminal was closed, or the stream was closed from outside.
GONE = (errno.EPIPE, errno.EIO, errno.EBADF)


class LastingStream:
    """A text stream that discards what nobody can read any more.

    Attributes:
        is_gone: whether that has happened.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.is_gone = False

    def write(self, text: str) -> int:
        """The number of characters."""
        try:
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
    """Lets stdout and stderr discard what nobody reads; opens those that are closed."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            # Otherwise the next file that is opened would get what is meant for the stream.
            sink = os.open(os.devnull, os.O_WRONLY)
            if sink != number:
                os.dup2(sink, number)
                os.close(sink)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
        if not isinstance(getattr(sys, name), LastingStream):
            setattr(sys, name, cast("Any", LastingStream(getattr(sys, name))))
