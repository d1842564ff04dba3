"""`--resume`, parsed once: the requested checkpoint."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class ResumeMode(StrEnum):
    """How the checkpoint is found; the values are what the flag takes."""

    LAST = "true"
    AUTO = "auto"
    BEST = "best"
    PATH = "PATH"


class ResumeRequest(NamedTuple):
    """A checkpoint to resume from, or to test.

    Attributes:
        path: the path of a checkpoint, a folder `weights` or a run, with `ResumeMode.PATH`.
    """

    mode: ResumeMode
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> ResumeRequest:
        """The request for a word or a path.

        >>> ResumeRequest.parse("best").mode, ResumeRequest.parse("output/run").path
        (<ResumeMode.BEST: 'best'>, 'output/run')
        """
        words = (ResumeMode.LAST, ResumeMode.AUTO, ResumeMode.BEST)
        mode = next((mode for mode in words if mode == text), ResumeMode.PATH)
        return cls(mode, text if mode is ResumeMode.PATH else None)

    def __str__(self) -> str:
        """The value of the flag."""
        return self.path or self.mode.value


LAST, AUTO, BEST = map(ResumeRequest, (ResumeMode.LAST, ResumeMode.AUTO, ResumeMode.BEST))
