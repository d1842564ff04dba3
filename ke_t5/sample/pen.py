"""The hand that writes the sample: repeatable random choices, words kept for held-out parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from ke_t5.sample.korean import fill

T = TypeVar("T")
# One word in seven of a list is met in the held-out parts only.
_HELD_OUT_SHARE = 7


class Pen:
    """Random choices for one part of one release.

    Args:
        seed: names the release and the part, so that no part depends on another's length.
        unseen: the share of choices made from words that a training part never shows (0 there).
    """

    def __init__(self, seed: str, *, unseen: float = 0.0) -> None:
        self.random = random.Random(seed)
        self.unseen = unseen

    def pick(self, words: Sequence[T]) -> T:
        """One of the words: of those kept back with probability `unseen`, else of the others."""
        border = len(words) - len(words) // _HELD_OUT_SHARE
        if border < len(words) and self.chance(self.unseen):
            return words[self.random.randrange(border, len(words))]
        return words[self.random.randrange(border)]

    def two(self, words: Sequence[T]) -> tuple[T, T]:
        """Two different ones of the words."""
        first = second = self.pick(words)
        while second == first:
            second = self.pick(words)
        return first, second

    def any_of(self, things: Sequence[T]) -> T:
        """One of all the things, none kept back."""
        return self.random.choice(things)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def between(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return self.random.randint(low, high)

    def write(self, templates: Sequence[str], **values: str) -> str:
        """One of the templates, filled."""
        return fill(self.pick(templates), **values)

    def noisy(self, label: T, labels: Sequence[T], share: float) -> T:
        """The label, or in `share` of all cases a wrong one, as people's labels are."""
        if not self.chance(share):
            return label
        return self.any_of([other for other in labels if other != label])

    def shuffled(self, things: Sequence[T]) -> list[T]:
        return self.random.sample(things, len(things))


def balanced(pen: Pen, labels: Sequence[T], num_rows: int) -> list[T]:
    """`num_rows` labels in random order, each as often as any other but for one."""
    return pen.shuffled([labels[row % len(labels)] for row in range(num_rows)])
