"""Scores of tags and dependency trees over a whole split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ke_t5.task.labels import KLUE_DP, KLUE_DP_FIRST_RARE, KLUE_NER
from ke_t5.task.metrics.metric import metric
from ke_t5.task.metrics.statistics import (
    ClassCounts,
    Pairs,
    Statistic,
    Sums,
    classes_of,
    f1_of_ratios,
    macro,
    macro_f1_of,
    macro_of_all,
    micro,
    share,
)
from ke_t5.task.spans import entity_spans

Tree = Mapping[str, Sequence[Any]]

# ----------------------------------------------------------------------------------------- tags


def _tag_columns(targets: Sequence, predictions: Sequence) -> tuple[list, list]:
    """Both columns as lists of tag lists; an unparsable prediction (None) is all O."""
    gold = [_as_list(tags) for tags in targets]
    predicted = [
        ["O"] * len(tags) if prediction is None else _as_list(prediction)
        for tags, prediction in zip(gold, predictions, strict=True)
    ]
    for row, (tags, others) in enumerate(zip(gold, predicted, strict=True)):
        if len(tags) != len(others):
            raise ValueError(f"row {row}: got {len(others)} tags, expected {len(tags)}")
    return gold, predicted


def _as_list(tags: Sequence) -> list:
    return tags if isinstance(tags, list) else list(tags)


def entity_pairs(gold: Sequence[str], predicted: Sequence[str] | None) -> Pairs:
    """(gold type, predicted type) of each entity on either side, in strict IOB2; None for the side
    that lacks it."""
    wanted, guessed = ({*entity_spans(tags or ())} for tags in (gold, predicted))
    return [
        (entity[2] if entity in wanted else None, entity[2] if entity in guessed else None)
        for entity in sorted(wanted | guessed)
    ]


def entities_by_type(targets: Sequence, predictions: Sequence) -> ClassCounts:
    """The macro F1 of the entity types, in seqeval's order."""
    rows = [entity_pairs(*tags) for tags in zip(targets, predictions, strict=True)]
    types = sorted(map(str, classes_of(rows)))
    return ClassCounts(rows, partial(macro, f1=f1_of_ratios), types, averages="occurring")


@metric("entity_f1")
def entity_f1(targets: Sequence[Sequence[str]], predictions: Sequence) -> dict[str, ClassCounts]:
    """Mean over entity types of the F1 of exact spans, in strict IOB2.

    Source: KLUE-baseline, klue_ner_entity_macro_f1 (seqeval). It concatenates all sentences with O
    between them, which gives the same number.

    Args:
        targets, predictions: tags per character, one list per sentence; for KLUE-NER without
            spaces (`spans.drop_spaces`).

    Edge cases: an I- that does not continue an entity is ignored; the mean is over the types in
    gold or predictions; without any entity the score is NaN.
    """
    return {"entity_f1": entities_by_type(*_tag_columns(targets, predictions))}


@metric("entity_f1_micro")
def entity_f1_micro(
    targets: Sequence[Sequence[str]], predictions: Sequence
) -> dict[str, ClassCounts]:
    """F1 of exact entities of all types together, in strict IOB2 (seqeval).

    The NIKL entity corpora have no official program. Tags and edge cases as in `entity_f1`.
    """
    score = partial(micro, f1=f1_of_ratios, absent=math.nan)
    counts = entities_by_type(*_tag_columns(targets, predictions))
    return {"entity_f1_micro": replace(counts, score=score, averages="none")}


@metric("character_f1", "character_f1_without_o")
def character_f1(targets: Sequence[Sequence[str]], predictions: Sequence) -> dict[str, ClassCounts]:
    """Mean F1 of KLUE-NER's 13 character tags, and of the 12 without O.

    Source: KLUE-baseline, klue_ner_char_macro_f1. Its docstring and the paper exclude O, but its
    code (and so every published number) includes it: `character_f1` follows the code,
    `character_f1_without_o` the paper. As there, each sentence has two more positions, before and
    after it, which are always O, and a tag in neither gold nor predictions counts as 100.

    Args:
        targets, predictions: as for `entity_f1`, without spaces.

    Raises:
        KeyError: a tag is not one of KLUE-NER.
    """
    columns = _tag_columns(targets, predictions)
    unknown = {tag for side in columns for tags in side for tag in tags} - set(KLUE_NER.names)
    if unknown:
        raise KeyError(*sorted(unknown))
    pairs = {(gold, guess): (gold, guess) for gold in KLUE_NER.names for guess in KLUE_NER.names}
    outside = pairs["O", "O"]  # one object for all equal pairs: there is one per character
    rows = [[outside, *(pairs[pair] for pair in zip(*tags, strict=True)), outside]
            for tags in zip(*columns, strict=True)]  # fmt: skip
    inside = [name for name in KLUE_NER.names if name != "O"]
    return {
        "character_f1": ClassCounts(rows, macro_of_all, KLUE_NER.names, averages="all"),
        "character_f1_without_o": ClassCounts(rows, macro_of_all, inside, averages="all"),
    }


@metric("token_accuracy")
def token_accuracy(targets: Sequence[Sequence], predictions: Sequence) -> dict[str, Sums]:
    """The share of right tags at positions whose gold tag is not None (padding, special tokens);
    NaN if there are none.

    All positions of a prediction of None are wrong. For character tags with the tags of their
    tokens (`tags.CharacterTags`), the tokens are scored.
    """
    rows = []
    for gold, predicted in zip(targets, predictions, strict=True):
        tags, guesses = (getattr(side, "tokens", side) for side in (gold, predicted))
        pairs = zip(tags, [None] * len(tags) if guesses is None else guesses, strict=True)
        hits = [tag == guess for tag, guess in pairs if tag is not None]
        rows.append([sum(hits), len(hits)])
    return {"token_accuracy": Sums(np.array(rows, dtype=np.float64), share)}


@metric("accuracy")
def word_accuracy(targets: Sequence[Sequence[str]], predictions: Sequence) -> dict[str, Sums]:
    """The share of words whose first character has the right type; each word is a span in IOB2.

    Equals UPOS of conll18_ud_eval.py if the words are given.
    """
    rows = []
    for gold, predicted in zip(*_tag_columns(targets, predictions), strict=True):
        words = [(tag[2:], other[2:]) for tag, other in zip(gold, predicted, strict=True)
                 if tag[0] == "B"]  # fmt: skip
        rows.append([sum(kind == other for kind, other in words), len(words)])
    return {"accuracy": Sums(np.array(rows, dtype=np.float64).reshape(-1, 2), share)}


# ---------------------------------------------------------------------------------------- trees

WRONG_HEAD, RARE = "wrong head", "rare"


def tree_words(gold: Tree, predicted: Tree | None) -> list[tuple]:
    """(head, relation, predicted head, predicted relation) of each word; None for missing
    predictions."""
    nothing = [None] * len(gold["heads"])
    tree = predicted or {"heads": nothing, "relations": nothing}
    columns = gold["heads"], gold["relations"], tree["heads"], tree["relations"]
    return list(zip(*columns, strict=True))


@metric("uas", "las", "uas_accuracy", "las_accuracy")
def klue_dp(targets: Sequence[Tree], predictions: Sequence[Tree | None]) -> dict[str, Statistic]:
    """Attachment scores of dependency trees, over all words.

    Source: KLUE-baseline, klue_dp_uas_macro_f1 and klue_dp_las_macro_f1.

    * `uas`: macro F1 with the heads' positions as classes (0 = root), so that the rare position 30
      has the same weight as 1.
    * `las`: macro F1 over relations, with those from index 15 of KLUE_DP merged into one class.
      Words with a wrong head are predicted as an additional class, whose F1 is 0: a single wrong
      head costs 6 points if all 16 classes occur.
    * `uas_accuracy`, `las_accuracy`: the shares of words with the right head, and with the right
      head and (unmerged) relation.

    Args:
        targets, predictions: {"heads": one int per word, "relations": one str per word}. A head of
            None (a word that was cut off), or None for the tree, is wrong.
    """
    common = {None, *KLUE_DP.names[:KLUE_DP_FIRST_RARE]}
    heads, relations, counts = [], [], []
    for trees in zip(targets, predictions, strict=True):
        words = tree_words(*trees)
        right = [head == guess_head for head, _, guess_head, _ in words]
        both = [ok and r == guess for ok, (_, r, _, guess) in zip(right, words, strict=True)]
        merged = [[name if name in common else RARE for name in word[1::2]] for word in words]
        heads.append([word[::2] for word in words])
        relations.append(
            [(g, p if ok else WRONG_HEAD) for (g, p), ok in zip(merged, right, strict=True)]
        )
        counts.append([sum(right), sum(both), len(words)])
    shares = np.array(counts, dtype=np.float64)
    return {
        "uas": macro_f1_of(heads),
        "las": macro_f1_of(relations),
        "uas_accuracy": Sums(shares[:, [0, 2]], share),
        "las_accuracy": Sums(shares[:, [1, 2]], share),
    }


@metric("uas", "las")
def attachment(targets: Sequence[Tree], predictions: Sequence[Tree | None]) -> dict[str, Statistic]:
    """The share of words with the right head, and with the right head and relation.

    Source: conll18_ud_eval.py of the CoNLL 2018 shared task, whose F1 is this share if the words
    are given. It ignores subtypes of relations, which our rows do not have; punctuation counts.
    """
    counts = klue_dp.statistics(targets, predictions)
    return {"uas": counts["uas_accuracy"], "las": counts["las_accuracy"]}


def relations_by_type(targets: Sequence[Tree], predictions: Sequence[Tree | None]) -> ClassCounts:
    """The macro F1 of the unmerged relations; a hit requires the right head."""
    rows = [
        [
            pair
            for head, relation, guess_head, guess in tree_words(*trees)
            for pair in (
                [(relation, guess)] if head == guess_head else [(relation, None), (None, guess)]
            )
        ]
        for trees in zip(targets, predictions, strict=True)
    ]
    return macro_f1_of(rows)
