"""Parsed sentences (KLUE DP, Universal Dependencies)."""

from __future__ import annotations

import re
from typing import NamedTuple

from ke_t5.sample.sampler import TextSampler


class Word(NamedTuple):
    """An eojeol in the format of the release; heads count from 1, 0 is the root."""

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
    """Sentences as lists of words; the last word is the root."""
    return [parse_tree(sampler.word("row")) for _ in range(num_rows)]


# Role of a KLUE relation, or its phrase if it has no role -> relation of UD.
_UD = {
    "SBJ": "nsubj", "OBJ": "obj", "AJT": "obl", "CMP": "ccomp", "CNJ": "conj",
    "NP": "nmod:poss", "VP": "advcl", "VNP": "advcl", "AP": "advmod", "DP": "det",
    "IP": "discourse",
}  # fmt: skip
# First tag of a word -> part of speech.
_POS = {
    "NNG": "NOUN", "NNP": "PROPN", "NNB": "NOUN", "NP": "PRON", "NR": "NUM", "SN": "NUM",
    "VV": "VERB", "VA": "ADJ", "VX": "AUX", "MAG": "ADV", "IC": "INTJ",
    "MMA": "DET", "MMD": "DET", "MMN": "DET",
}  # fmt: skip


def conllu(sampler: TextSampler, split: str, num_rows: int) -> str:
    """Sentences in CoNLL-U, with full stops as separate words; some end in a multiword token,
    followed by an empty node."""
    blocks = []
    for number, words in enumerate(klue_dp(sampler, num_rows), 1):
        text = " ".join(word.form for word in words)
        lines = [f"# sent_id = {split}-s{number}", f"# text = {text}"]
        has_stop = words[-1].form.endswith(".")
        for index, word in enumerate(words, 1):
            is_cut = has_stop and index == len(words)
            if is_cut and number % 40 == 7:
                lines.append(f"{index}-{index + 1}\t{word.form}" + "\t_" * 8)
            phrase, _, role = word.relation.partition("_")
            kind = "acl" if role == "MOD" else _UD.get(role) or _UD.get(phrase, "dep")
            form = word.form[:-1] if is_cut else word.form
            pos = _POS.get(word.tags.partition("+")[0], "X")
            pos = "VERB" if "XSV" in word.tags else pos
            lines.append(
                f"{index}\t{form}\t{word.lemma.replace(' ', '+')}\t{pos}\t"
                f"{word.tags}\t_\t{word.head}\t{kind if word.head else 'root'}\t_\t"
                + ("SpaceAfter=No" if is_cut else "_")
            )
        if has_stop:
            end = len(words)
            lines.append(f"{end + 1}\t.\t.\tPUNCT\tSF\t_\t{end}\tpunct\t_\t_")
            if number % 40 == 7:
                lines.append(f"{end + 1}.1" + "\t_" * 9)
        blocks.append("".join(f"{line}\n" for line in lines))
    return "".join(f"{block}\n" for block in blocks)
