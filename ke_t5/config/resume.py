"""`--resume`, parsed once: which checkpoint of which run is asked for."""

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
    """A checkpoint to go on from, or to test.

    Attributes:
        path: with `ResumeMode.PATH`: of a checkpoint, of a folder `weights` or of a run's folder.
    """

    mode: ResumeMode
    path: str | None = None

    @classmethod
    def parse(cls, text: str) -> ResumeRequest:
        """The request that a word or a path means.

        >>> ResumeRequest.parse("best").mode, ResumeRequest.parse("output/run").path
        (<ResumeMode.BEST: 'best'>, 'output/run')
        """
        words = (ResumeMode.LAST, ResumeMode.AUTO, ResumeMode.BEST)
        mode = next((mode for mode in words if mode == text), ResumeMode.PATH)
        return cls(mode, text if mode is ResumeMode.PATH else None)

    def __str__(self) -> str:
        """As the flag takes it."""
        return self.path or self.mode.value


LAST, AUTO, BEST = map(ResumeRequest, (ResumeMode.LAST, ResumeMode.AUTO, ResumeMode.BEST))
