"""Parsed sentences (KLUE DP)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ke_t5.sample.sampler import TextSampler


class Word(NamedTuple):
    """One eojeol as a line of the release has it; head counts from 1, 0 is the root."""

    form: str
    lemma: str
    tags: str
    head: int
    relation: str


def parse_tree(text: str) -> list[Word]:
    """The words of a sentence of data/trees.txt.

    >>> [(word.form, word.head) for word in parse_tree("((A:a=a/X) B:b=b/X) (C:c=c/X) D:d=d/X")]
    [('a', 2), ('b', 4), ('c', 4), ('d', 0)]
    """
    words: list[Word] = []
    without_head: list[list[int]] = [[]]  # indices of words, for each open bracket
    for token in re.findall(r"[()]|[^\s()]+", text):
        if token == "(":
            without_head.append([])
        elif token == ")":
            heads = without_head.pop()
            without_head[-1] += heads
        else:
            relation, word = token.split(":", 1)
            form, morphemes = word.split("=")
            lemmas, tags = zip(*(m.rsplit("/", 1) for m in morphemes.split("+")), strict=True)
            words.append(Word(form, " ".join(lemmas), "+".join(tags), 0, relation))
            for index in without_head[-1]:
                words[index] = words[index]._replace(head=len(words))
            without_head[-1] = [len(words) - 1]
    return words


def klue_dp(sampler: TextSampler, num_rows: int) -> list[list[Word]]:
    """Sentences as lists of words, from the left; the last word is the root."""
    return [parse_tree(sampler.word("row")) for _ in range(num_rows)]
