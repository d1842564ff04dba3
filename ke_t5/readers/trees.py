"""Dependency trees: heads that are not a tree are kept as released, and reported with their line.

Neither the official scores of KLUE-DP nor those of CoNLL 2018 assume a tree, but in all files that
were seen each sentence is one: with a single root, and without cycles.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ke_t5.errors import counted

logger = logging.getLogger(__name__)


def tree_fault(heads: Sequence[int]) -> tuple[int, str] | None:
    """(index of a word, what is wrong with its head); None for a tree.

    >>> tree_fault([2, 0]), tree_fault([1, 0]), tree_fault([0, 0]), tree_fault([2, 1])
    (None, (0, 'its own head'), (1, 'a second root'), (0, 'part of a cycle'))

    Args:
        heads: the number of each word's head from 1; 0 for the root.
    """
    for word, head in enumerate(heads):
        if head == word + 1:
            return word, "its own head"
        if head == 0 and 0 in heads[:word]:
            return word, "a second root"
    is_in_tree = [False] * (len(heads) + 1)
    is_in_tree[0] = True
    for word in range(len(heads)):
        path, number = [], word + 1
        while not is_in_tree[number] and number not in path:
            path.append(number)
            number = heads[number - 1]
        if not is_in_tree[number]:
            return number - 1, "part of a cycle"
        for number in path:
            is_in_tree[number] = True
    return None


class TreeFaults:
    """Counts the sentences of a file that are not trees, for one line in the log."""

    def __init__(self, path: Path) -> None:
        self._path, self._count, self._first = path, 0, ""

    def check(self, heads: Sequence[int], lines: Sequence[int]) -> None:
        """Counts a sentence, given the head and the line of each word."""
        if fault := tree_fault(heads):
            word, what = fault
            self._count += 1
            self._first = self._first or f"{self._path}:{lines[word]}: the word is {what}"

    def report(self) -> None:
        """Logs the first sentence that is not a tree, and the number of others."""
        if self._count:
            more = counted(self._count - 1, "more such sentence")
            more = f" ({more})" if self._count > 1 else ""
            logger.warning("%s%s; the heads are kept", self._first, more)
