"""Scores of tags and trees, compared with independent implementations."""

import math
import random

import pytest
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from ke_t5.task.labels import KLUE_DP, KLUE_NER
from ke_t5.task.metrics import (
    attachment,
    character_f1,
    entity_f1,
    entity_f1_micro,
    klue_dp,
    token_accuracy,
    word_accuracy,
)


def f1(hits, num_gold, num_predicted):
    return 2 * hits / (num_gold + num_predicted) if num_gold + num_predicted else None


def strict_entities(sentences):
    """{(sentence, begin, end, type)}: a B- and the I- of its type directly after it."""
    found = set()
    for number, tags in enumerate(sentences):
        for begin, tag in enumerate(tags):
            if tag.startswith("B-"):
                end = begin + 1
                while end < len(tags) and tags[end] == "I-" + tag[2:]:
                    end += 1
                found.add((number, begin, end, tag[2:]))
    return found


def reference_entity_f1(gold, predicted):
    ours, theirs = strict_entities(gold), strict_entities(predicted)
    kinds = {entity[3] for entity in ours | theirs}
    if not kinds:
        return math.nan, math.nan
    scores = []
    for kind in kinds:
        a, b = ({e for e in side if e[3] == kind} for side in (ours, theirs))
        scores.append(f1(len(a & b), len(a), len(b)))
    return (
        100 * sum(scores) / len(scores),
        100 * f1(len(ours & theirs), len(ours), len(theirs)),
    )


def reference_character_f1(gold, predicted, tags):
    # All sentences concatenated, with a position O before and after each.
    a = [tag for sentence in gold for tag in ["O", *sentence, "O"]]
    b = [tag for sentence in predicted for tag in ["O", *sentence, "O"]]
    scores = []
    for tag in tags:
        hits = sum(x == y == tag for x, y in zip(a, b, strict=True))
        score = f1(hits, a.count(tag), b.count(tag))
        scores.append(1.0 if score is None else score)
    return 100 * sum(scores) / len(scores)


def random_sentences(rng, tags):
    sizes = [rng.randint(0, 8) for _ in range(rng.randint(1, 6))]
    gold = [rng.choices(tags, k=size) for size in sizes]
    predicted = [
        [tag if rng.random() < 0.7 else rng.choice(tags) for tag in sentence] for sentence in gold
    ]
    return gold, predicted


@pytest.mark.parametrize("seed", range(40))
def test_scores_of_tags_equal_their_definitions(seed):
    rng = random.Random(seed)
    tags = rng.sample(KLUE_NER.names, rng.randint(1, 13))
    gold, predicted = random_sentences(rng, tags)
    macro, micro = reference_entity_f1(gold, predicted)
    near = {"abs": 1e-9, "nan_ok": True}
    assert entity_f1(gold, predicted)["entity_f1"] == pytest.approx(macro, **near)
    assert entity_f1_micro(gold, predicted)["entity_f1_micro"] == pytest.approx(micro, **near)
    found = character_f1(gold, predicted)
    inside = [tag for tag in KLUE_NER.names if tag != "O"]
    expected = reference_character_f1(gold, predicted, KLUE_NER.names)
    assert found["character_f1"] == pytest.approx(expected, abs=1e-9)
    expected = reference_character_f1(gold, predicted, inside)
    assert found["character_f1_without_o"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_scores_of_entities_equal_seqeval_to_the_last_digit(seed):
    rng = random.Random(seed)
    gold, predicted = zip(*(random_sentences(rng, KLUE_NER.names) for _ in range(20)), strict=True)
    columns = [[tags for part in side for tags in part] for side in (gold, predicted)]
    options = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    for metric, average in ((entity_f1, "macro"), (entity_f1_micro, "micro")):
        (score,) = metric(*columns).values()
        assert score == f1_score(*columns, average=average, **options) * 100.0


def test_entity_f1_in_one_sequence_with_o_between_is_the_same():
    gold, predicted = random_sentences(random.Random(7), KLUE_NER.names)
    one = [[t for s in side for t in ["O", *s, "O"]] for side in (gold, predicted)]
    assert entity_f1([one[0]], [one[1]]) == pytest.approx(entity_f1(gold, predicted), abs=1e-9)


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ("B-PS I-PS O", "B-PS I-PS O", 100.0),
        ("B-PS I-PS O", "B-PS O O", 0.0),
        ("B-PS I-PS O", "I-PS I-PS O", 0.0),  # no entity was predicted
        ("I-PS I-PS O", "B-PS I-PS O", 0.0),  # no entity is in the gold
        ("B-PS O B-LC", "B-PS O B-PS", 100 / 3),  # PS: 2/3, LC: 0
    ],
)
def test_entity_f1_by_hand(gold, predicted, score):
    found = entity_f1([gold.split()], [predicted.split()])
    assert found == {"entity_f1": pytest.approx(score)}


@pytest.mark.parametrize("tags", ["O O", "I-PS I-PS"])
def test_entity_f1_without_any_entity_is_nan(tags):
    assert math.isnan(entity_f1([tags.split()], [tags.split()])["entity_f1"])


def test_character_f1_of_nothing_but_o_is_not_0():
    gold = [["B-PS", "I-PS", "O", "O"]]
    found = character_f1(gold, [["O"] * 4])
    # O: 4 of its 6 positions right, of 4 gold ones; PS: 0; the ten other tags do not occur: 100.
    assert found["character_f1"] == pytest.approx(100 * (2 * 4 / (4 + 6) + 10) / 13)
    assert found["character_f1_without_o"] == pytest.approx(100 * 10 / 12)


@pytest.mark.parametrize("metric", [entity_f1, character_f1])
def test_tags_of_another_length_are_refused(metric):
    with pytest.raises(ValueError, match="row 1: got 1 tags, expected 2"):
        metric([["O"], ["B-PS", "O"]], [["O"], ["B-PS"]])


def test_token_accuracy_leaves_padding_out():
    gold = [["O", "B-PS", None], [None]]
    assert token_accuracy(gold, [["O", "O", "O"], ["O"]]) == {"token_accuracy": 50.0}
    assert math.isnan(token_accuracy([[None]], [["O"]])["token_accuracy"])


def reference_trees(gold, predicted):
    """The four scores from flat (head, relation) pairs of words."""

    def macro(pairs):
        classes = {c for pair in pairs for c in pair if c is not None}
        scores = [
            f1(
                sum(a == b == c for a, b in pairs),
                sum(a == c for a, _ in pairs),
                sum(b == c for _, b in pairs),
            )
            for c in classes
        ]
        return 100 * sum(scores) / len(scores)

    def merged(name):
        return min(KLUE_DP.names.index(name), 15)

    words = list(zip(gold, predicted, strict=True))
    las = [(merged(g[1]), merged(p[1]) if g[0] == p[0] else -2) for g, p in words]
    return {
        "uas": macro([(g[0], p[0]) for g, p in words]),
        "las": macro(las),
        "uas_accuracy": 100 * sum(g[0] == p[0] for g, p in words) / len(words),
        "las_accuracy": 100 * sum(g == p for g, p in words) / len(words),
    }


def trees(words, sizes):
    words = iter(words)
    made = []
    for size in sizes:
        heads, relations = zip(*(next(words) for _ in range(size)), strict=True)
        made.append({"heads": list(heads), "relations": list(relations)})
    return made


@pytest.mark.parametrize("seed", range(20))
def test_klue_dp_equals_its_definition(seed):
    rng = random.Random(seed)
    sizes = [rng.randint(1, 9) for _ in range(rng.randint(1, 8))]
    names = rng.sample(KLUE_DP.names, rng.randint(1, 38))
    gold = [(rng.randint(0, 9), rng.choice(names)) for _ in range(sum(sizes))]
    keep = rng.random()
    predicted = [
        (h if rng.random() < keep else rng.randint(0, 9), r if rng.random() < keep else names[0])
        for h, r in gold
    ]
    found = klue_dp(trees(gold, sizes), trees(predicted, sizes))
    assert found == pytest.approx(reference_trees(gold, predicted), abs=1e-9)


def test_klue_dp_by_hand():
    gold = {"heads": [2, 3, 0], "relations": ["NP", "VP_CMP", "X_MOD"]}
    found = klue_dp([gold], [{"heads": [2, 0, 0], "relations": ["NP", "VP_CMP", "L"]}])
    assert found == pytest.approx(
        {
            "uas": 100 * (1 + 0 + 2 / 3) / 3,  # heads 2, 3 and 0
            "las": 100 * (1 + 2 / 3 + 0) / 3,  # NP, the rare ones, the wrong head
            "uas_accuracy": 200 / 3,
            "las_accuracy": 100 / 3,
        }
    )


def test_klue_dp_of_words_that_were_cut_off():
    gold = {"heads": [2, 0], "relations": ["NP", "VP"]}
    found = klue_dp([gold], [{"heads": [2, None], "relations": ["NP", None]}])
    assert found == {
        "uas": 50.0,
        "las": pytest.approx(100 / 3),
        "uas_accuracy": 50.0,
        "las_accuracy": 50.0,
    }
    assert set(klue_dp([gold], [None]).values()) == {0.0}


def test_attachment_of_conll_2018_counts_words():
    gold = [{"heads": [2, 0, 2], "relations": ["nsubj", "root", "punct"]}] * 2
    wrong = {"heads": [2, 0, 1], "relations": ["obj", "root", "punct"]}
    found = attachment(gold, [wrong, None])
    assert found == {"uas": pytest.approx(100 * 2 / 6), "las": pytest.approx(100 / 6)}


def test_a_words_part_of_speech_is_that_of_its_first_character():
    gold = ["B-NOUN I-NOUN B-VERB B-PUNCT".split()] * 2
    guess = "I-NOUN B-VERB B-VERB O".split()
    assert word_accuracy(gold, [guess, None]) == {"accuracy": pytest.approx(100 * 2 / 6)}
