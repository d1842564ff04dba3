"""Entities, tags, tokens and windows: literal examples, and round trips on random input."""

import random
import re
from pathlib import Path

import pytest

from ke_t5.task.spans import (
    character_span,
    character_tags,
    drop_spaces,
    entity_spans,
    tags_from_entities,
    token_span,
    token_tags,
    unreachable_entities,
    windows,
)


def words_of(text):
    """A tokenizer that splits at white space, with a special token at both ends."""
    return [(0, 0), *((m.start(), m.end()) for m in re.finditer(r"\S+", text)), None]


def test_tags_from_entities():
    entities = [{"start": 0, "end": 2, "label": "PS"}, {"start": 2, "end": 3, "label": "LC"}]
    assert tags_from_entities(4, entities) == ["B-PS", "I-PS", "B-LC", "O"]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(0, 0)], "empty or outside"),
        ([(2, 9)], "empty or outside 0..4"),
        ([(0, 2), (1, 3)], "overlaps another entity"),
    ],
)
def test_tags_from_entities_refuses(spans, message):
    entities = [{"start": s, "end": e, "label": "PS"} for s, e in spans]
    with pytest.raises(ValueError, match=message):
        tags_from_entities(4, entities)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", []),
        ("I-PS I-PS", []),
        ("B-PS I-PS", [(0, 2, "PS")]),
        ("B-PS B-PS", [(0, 1, "PS"), (1, 2, "PS")]),
        ("B-PS I-LC I-PS", [(0, 1, "PS")]),
        ("O B-PS_NAME I-PS_NAME O", [(1, 3, "PS_NAME")]),
        ("B-PS O I-PS", [(0, 1, "PS")]),
    ],
)
def test_entities_by_strict_iob2(tags, spans):
    assert entity_spans(tags.split()) == spans


def test_entity_spans_equal_seqeval_on_random_tags():
    from seqeval.scheme import IOB2, Entities

    rng = random.Random(0)
    alphabet = ["O", "B-PS", "I-PS", "B-LC", "I-LC"]
    for _ in range(500):
        tags = rng.choices(alphabet, k=rng.randint(1, 12))
        theirs = [(e.start, e.end, e.tag) for e in Entities([tags], IOB2).entities[0]]
        assert entity_spans(tags) == theirs


def test_entities_and_tags_both_ways():
    rng = random.Random(1)
    for _ in range(200):
        cuts = sorted(rng.sample(range(20), 2 * rng.randint(0, 5)))
        spans = [
            (start, end, rng.choice(["PS", "LC"]))
            for start, end in zip(cuts[::2], cuts[1::2], strict=True)
        ]
        entities = [dict(zip(("start", "end", "label"), span, strict=True)) for span in spans]
        assert entity_spans(tags_from_entities(20, entities)) == spans


def test_drop_spaces_drops_u0020_only():
    assert drop_spaces("가 나\xa0", ["a", "b", "c", "d"]) == ["a", "c", "d"]


def test_token_tags_take_the_first_visible_character():
    text = "  홍길동은  집"
    tags = ["O", "O", "B-PS", "I-PS", "I-PS", "O", "O", "O", "O"]
    offsets = [(0, 0), (0, 4), (4, 6), (6, 9), None]
    assert token_tags(tags, offsets, text) == [None, "B-PS", "I-PS", "O", None]


def test_token_tags_of_tokens_that_share_a_character():
    # A separate space piece that shares its character with an unknown word; pieces of "㎞".
    assert token_tags(["B-PS", "I-PS"], [(0, 1), (0, 2)], "찝찝") == ["B-PS", "I-PS"]
    assert token_tags(["B-QT", "O"], [(0, 1), (0, 1), (1, 2)], "㎞는") == ["B-QT", "I-QT", "O"]


def test_token_of_spaces_has_a_tag_too():
    assert token_tags(["B-PS", "I-PS", "I-PS"], [(0, 1), (1, 2), (2, 3)], "가 나") == [
        "B-PS",
        "I-PS",
        "I-PS",
    ]


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("홍길동은", [("B-PS", (0, 3)), ("O", (3, 4))], "B-PS I-PS I-PS O"),
        ("홍길동은", [("B-PS", (0, 4))], "B-PS I-PS I-PS I-PS"),
        # A space is inside an entity only if the entity continues after it.
        ("가 나", [("B-PS", (0, 1)), ("I-PS", (2, 3))], "B-PS I-PS I-PS"),
        ("가 나", [("B-PS", (0, 1)), ("B-PS", (2, 3))], "B-PS O B-PS"),
        ("가 나", [("B-PS", (0, 1)), ("I-LC", (2, 3))], "B-PS O I-LC"),
        ("가 나", [("B-PS", (0, 1)), ("O", (1, 3))], "B-PS O O"),
        ("가 나", [("B-PS", (0, 2)), ("O", (2, 3))], "B-PS O O"),
        ("가 나", [("O", (0, 1)), ("I-PS", (2, 3))], "O O I-PS"),
        # A character removed by normalisation, inside and at the end.
        ("가\u200b나", [("B-PS", (0, 1)), ("I-PS", (2, 3))], "B-PS I-PS I-PS"),
        ("가나\u200b", [("B-PS", (0, 2))], "B-PS I-PS O"),
        # Cut off: O.
        ("가나다", [("B-PS", (0, 1))], "B-PS O O"),
        ("", [(None, (0, 0))], ""),
        # A character in two tokens gets the tag of the first.
        ("찝찝이", [("B-PS", (0, 1)), ("I-PS", (0, 2)), ("O", (2, 3))], "B-PS I-PS O"),
        ("㎞", [("B-QT", (0, 1)), ("O", (0, 1))], "B-QT"),
    ],
)
def test_character_tags(text, tokens, expected):
    tags, offsets = zip(*tokens, strict=True)
    assert character_tags(tags, offsets, text) == expected.split()


def test_tags_of_character_tokens_come_back_whole():
    rng = random.Random(2)
    for _ in range(300):
        text = "".join(rng.choices("가나다 ", k=rng.randint(1, 15)))
        cuts = sorted(rng.sample(range(len(text) + 1), min(4, len(text) + 1) // 2 * 2))
        entities = [
            {"start": s, "end": e, "label": rng.choice(["PS", "LC"])}
            for s, e in zip(cuts[::2], cuts[1::2], strict=True)
            if s < e
        ]
        tags = tags_from_entities(len(text), entities)
        offsets = [(i, i + 1) for i, character in enumerate(text) if character != " "]
        decoded = character_tags(token_tags(tags, offsets, text), offsets, text)
        assert drop_spaces(text, decoded) == drop_spaces(text, tags)
        assert unreachable_entities(text, tags, offsets) == 0


def test_unreachable_entities():
    text = "홍길동은 서울 시에 산다"
    tags = tags_from_entities(
        len(text),
        [{"start": 0, "end": 3, "label": "PS"}, {"start": 5, "end": 9, "label": "LC"}],
    )
    assert unreachable_entities(text, tags, words_of(text)) == 2
    whole = [(0, 3), (3, 4), (5, 7), (8, 9), (9, 10), (11, 13)]
    assert unreachable_entities(text, tags, whole) == 0
    assert unreachable_entities(text, tags, whole[:3]) == 1  # cut off in the second entity
    assert unreachable_entities(text, ["O"] * len(text), words_of(text)) == 0


@pytest.mark.parametrize(
    ("start", "end", "tokens"),
    [
        (0, 2, (1, 2)),
        (2, 3, (2, 3)),
        (1, 5, (1, 4)),
        (4, 6, (3, 4)),
        (3, 4, None),  # between two tokens
        (5, 7, None),  # beyond the last token: cut off
    ],
)
def test_token_span(start, end, tokens):
    assert token_span([None, (0, 2), (2, 3), (4, 6), (0, 0)], start, end) == tokens


def test_token_span_before_the_window_or_without_tokens():
    assert token_span([None, (5, 7)], 0, 2) is None
    assert token_span([None, (0, 0)], 0, 2) is None


def test_character_span_leaves_out_spaces():
    assert character_span("가 나 다", [(0, 1), (1, 4), (4, 5)], 1, 2) == (2, 3)
    assert character_span("가나다", [(0, 2), (2, 3)], 0, 2) == (0, 3)


@pytest.mark.parametrize(
    ("length", "size", "stride", "spans"),
    [
        (0, 4, 2, [(0, 0)]),
        (4, 4, 2, [(0, 4)]),
        (5, 4, 2, [(0, 4), (2, 5)]),
        (10, 6, 3, [(0, 6), (3, 9), (6, 10)]),
        (6, 2, 2, [(0, 2), (2, 4), (4, 6)]),
    ],
)
def test_windows(length, size, stride, spans):
    assert windows(length, size=size, stride=stride) == spans


@pytest.mark.parametrize(("size", "stride"), [(0, 0), (4, 0), (4, 5), (-1, -1)])
def test_windows_refuse_a_stride_that_would_lose_tokens(size, stride):
    with pytest.raises(ValueError, match=f"stride {stride}: expected 1 to"):
        windows(10, size=size, stride=stride)


def test_windows_hold_every_token():
    for length in range(1, 40):
        for size in range(1, 9):
            for stride in range(1, size + 1):
                spans = windows(length, size=size, stride=stride)
                assert {i for s, e in spans for i in range(s, e)} == set(range(length))
                assert all(0 < e - s <= size for s, e in spans) and spans[-1][1] == length


SHARED = Path(__file__).parents[3] / "shared"
NER_DEV = SHARED / "data/klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_dev.tsv"


def read_ner(path):
    """(text, tags) of each sentence of the KLUE-NER file if it exists, otherwise of two others."""
    if not path.exists():
        text = "홍길동은 서울에 산다"
        people = [{"start": 0, "end": 3, "label": "PS"}, {"start": 5, "end": 7, "label": "LC"}]
        return [(text, tags_from_entities(len(text), people))] * 2
    rows = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.split("\t") for line in block.split("\n") if line and line[:3] != "## "]
        if lines:
            rows.append(("".join(c for c, _ in lines), [tag for _, tag in lines]))
    return rows


def test_perfect_word_tokens_reach_what_their_boundaries_allow():
    rows = read_ner(NER_DEV)
    total = sum(len(entity_spans(drop_spaces(text, tags))) for text, tags in rows)
    lost = sum(unreachable_entities(text, tags, words_of(text)) for text, tags in rows)
    assert total == (14255 if NER_DEV.exists() else 4)  # 2 of 14,257 begin on a space
    assert 0 < lost <= total
