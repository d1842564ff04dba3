"""Scores of tags and dependency trees over a whole split (see `label_metrics` for the form)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ke_t5.task.labels import KLUE_DP, KLUE_DP_FIRST_RARE, KLUE_NER
from ke_t5.task.metrics.classification import Scores, f1_score_of, mean_f1, over_labelled_rows

# ----------------------------------------------------------------------------------------- tags


def _tag_columns(targets: Sequence, predictions: Sequence) -> tuple[list, list]:
    """Both columns as lists of tag lists; an unread prediction is all O."""
    gold = [list(tags) for tags in targets]
    predicted = [
        ["O"] * len(tags) if prediction is None else list(prediction)
        for tags, prediction in zip(gold, predictions, strict=True)
    ]
    for row, (tags, others) in enumerate(zip(gold, predicted, strict=True)):
        if len(tags) != len(others):
            raise ValueError(f"row {row}: got {len(others)} tags, expected {len(tags)}")
    return gold, predicted


def _entity_f1(targets: Sequence, predictions: Sequence, *, average: str) -> float:
    from seqeval.metrics import f1_score
    from seqeval.scheme import IOB2

    gold, predicted = _tag_columns(targets, predictions)
    if not any(tag[0] == "B" for tags in (*gold, *predicted) for tag in tags):
        return math.nan
    options = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    return float(f1_score(gold, predicted, average=average, **options) * 100.0)


@over_labelled_rows("entity_f1")
def entity_f1(targets: Sequence[Sequence[str]], predictions: Sequence) -> Scores:
    """Mean over entity types of the F1 of exact spans, in strict IOB2.

    Source: KLUE-baseline, klue_ner_entity_macro_f1 (seqeval). It puts all sentences in one
    sequence with O between them, which gives the same number.

    Args:
        targets, predictions: tags per character, one list per sentence; for KLUE-NER without the
            spaces (`spans.drop_spaces`).

    Edge cases: an I- that continues nothing is no entity; the types averaged are those found in
    gold or predictions; no entity on either side gives NaN.
    """
    return {"entity_f1": _entity_f1(targets, predictions, average="macro")}


@over_labelled_rows("entity_f1_micro")
def entity_f1_micro(targets: Sequence[Sequence[str]], predictions: Sequence) -> Scores:
    """F1 of exact entities of all types together, in strict IOB2 (seqeval). No official program
    uses it; the NIKL entity corpora come with none. Tags and edge cases as in `entity_f1`."""
    return {"entity_f1_micro": _entity_f1(targets, predictions, average="micro")}


@over_labelled_rows("character_f1", "character_f1_without_o")
def character_f1(targets: Sequence[Sequence[str]], predictions: Sequence) -> Scores:
    """Mean F1 of KLUE-NER's 13 character tags, and of the 12 without O.

    Source: KLUE-baseline, klue_ner_char_macro_f1. Its docstring and the paper leave O out, its code
    (and so every published number) does not: `character_f1` is the code's, the other is the honest
    one. As there, each sentence brings two positions more, before and after it, which are O on
    both sides here, and a tag in neither gold nor predictions counts as 100.

    Args:
        targets, predictions: as for `entity_f1`, spaces dropped.
    """
    ids = {tag: i for i, tag in enumerate(KLUE_NER.names)}
    outside = ids["O"]
    gold, predicted = (
        [i for tags in column for i in (outside, *(ids[tag] for tag in tags), outside)]
        for column in _tag_columns(targets, predictions)
    )
    inside = [i for i in ids.values() if i != outside]
    options = {"average": "macro", "zero_division": 1}
    return {
        "character_f1": f1_score_of(gold, predicted, labels=list(ids.values()), **options),
        "character_f1_without_o": f1_score_of(gold, predicted, labels=inside, **options),
    }


@over_labelled_rows("token_accuracy")
def token_accuracy(targets: Sequence[Sequence], predictions: Sequence) -> Scores:
    """The share of right tags over the positions whose gold tag is not None (padding, special
    tokens); NaN where there is none. A prediction may be None: all its positions are wrong."""
    hits = total = 0
    for gold, predicted in zip(targets, predictions, strict=True):
        guesses = [None] * len(gold) if predicted is None else predicted
        pairs = [(t, p) for t, p in zip(gold, guesses, strict=True) if t is not None]
        hits, total = hits + sum(t == p for t, p in pairs), total + len(pairs)
    return {"token_accuracy": 100.0 * hits / total if total else math.nan}


# ---------------------------------------------------------------------------------------- trees

WRONG_HEAD, RARE = "wrong head", "rare"


@over_labelled_rows("uas", "las", "uas_accuracy", "las_accuracy")
def klue_dp(targets: Sequence[Mapping], predictions: Sequence[Mapping | None]) -> Scores:
    """Attachment scores of dependency trees, over all words.

    Source: KLUE-baseline, klue_dp_uas_macro_f1 and klue_dp_las_macro_f1.

    * `uas`: macro F1 where the classes are the heads' positions (0 = root), so that the rare far
      position 30 weighs as much as 1.
    * `las`: macro F1 over relations, where those from index 15 of KLUE_DP on are one class in gold
      and predictions, and a word with a wrong head gets a predicted class of its own, which counts
      with F1 0: a single wrong head takes 6 points where all 16 classes occur.
    * `uas_accuracy`, `las_accuracy`: the plain shares of words with the right head, and with the
      right head and relation, nothing merged.

    Args:
        targets, predictions: {"heads": one int per word, "relations": one str per word}. A head of
            None (a word that was cut off), or None for the tree, is wrong.
    """
    heads, relations = [], []
    for gold, predicted in zip(targets, predictions, strict=True):
        nothing = [None] * len(gold["heads"])
        tree = predicted or {"heads": nothing, "relations": nothing}
        heads += zip(gold["heads"], tree["heads"], strict=True)
        relations += zip(gold["relations"], tree["relations"], strict=True)
    if not heads:
        return dict.fromkeys(("uas", "las", "uas_accuracy", "las_accuracy"), math.nan)
    common = set(KLUE_DP.names[:KLUE_DP_FIRST_RARE])
    right = [gold == predicted for gold, predicted in heads]
    classes = [
        [name if name is None or name in common else RARE for name in pair] for pair in relations
    ]
    labelled = [p if ok else WRONG_HEAD for (_, p), ok in zip(classes, right, strict=True)]
    both = [ok and t == p for ok, (t, p) in zip(right, relations, strict=True)]
    return {
        "uas": mean_f1(*zip(*heads, strict=True)),
        "las": mean_f1([t for t, _ in classes], labelled),
        "uas_accuracy": 100.0 * sum(right) / len(right),
        "las_accuracy": 100.0 * sum(both) / len(both),
    }
