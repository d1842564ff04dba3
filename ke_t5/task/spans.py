"""Entities, tags, tokens and windows: conversion between character spans and tokens.

Spans are half-open and count characters of the text that was tokenized. `offsets` are those of
fast tokenizers: one (start, end) per token; (0, 0) or None for a token without characters of this
text (special tokens, the other segment of a pair). A token may begin with the space before it, and
two tokens may share a character (pieces of a normalised character, a separate sentencepiece space
before an unknown word). Decomposed Hangul (NFD) works too, as long as text, spans and offsets refer
to the same string: compose all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Offsets = Sequence[Sequence[int] | None]
Span = tuple[int, int]
NOWHERE = (0, 0)

# ------------------------------------------------------------------------------ entities and tags


def tags_from_entities(length: int, entities: Iterable[Mapping[str, Any]]) -> list[str]:
    """One IOB2 tag for each of `length` characters.

    >>> tags_from_entities(4, [{"start": 1, "end": 3, "label": "PS"}])
    ['O', 'B-PS', 'I-PS', 'O']

    Raises:
        ValueError: an entity is empty, outside the text, or overlaps another.
    """
    tags = ["O"] * length
    for entity in entities:
        start, end, label = entity["start"], entity["end"], entity["label"]
        if not 0 <= start < end <= length:
            raise ValueError(f"entity {start}..{end} ({label}): empty or outside 0..{length}")
        if any(tag != "O" for tag in tags[start:end]):
            raise ValueError(f"entity {start}..{end} ({label}): overlaps another entity")
        tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
    return tags


def entity_spans(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """(start, end, type) of each entity, in strict IOB2: an I- that does not follow a B- or I- of
    its type belongs to no entity, as in the official KLUE score."""
    spans: list[tuple[int, int, str]] = []
    start, label = -1, ""
    for i, tag in enumerate(tags):
        if start >= 0 and not (tag[0] == "I" and tag[2:] == label):
            spans.append((start, i, label))
            start = -1
        if tag[0] == "B":
            start, label = i, tag[2:]
    if start >= 0:
        spans.append((start, len(tags), label))
    return spans


def drop_spaces(text: str, tags: Sequence[str]) -> list[str]:
    """The tags of all characters except spaces (U+0020), on which KLUE-NER is officially scored.

    An entity that begins on a space loses its B- and is therefore dropped (strict IOB2), as in the
    official program (2 of 14,257 entities of the dev set).
    """
    return [tag for character, tag in zip(text, tags, strict=True) if character != " "]


# ------------------------------------------------------------------------------- tags and tokens


def token_tags(char_tags: Sequence[str], offsets: Offsets, text: str) -> list[str | None]:
    """One tag per token, that of its first visible character; None for a token without characters.

    A token of spaces only gets the tag of the first one. A token that begins on the same character
    as the token before it continues the entity: I-, not a second B-.

    >>> token_tags(["B-PS", "I-PS", "O"], [(0, 2), (2, 3), (0, 0)], "길동은")
    ['B-PS', 'O', None]
    """
    tags: list[str | None] = []
    before = -1
    for start, end in (offset or NOWHERE for offset in offsets):
        if end <= start:
            tags.append(None)
            continue
        first = _first_visible(text, start, end)
        tag = char_tags[first]
        tags.append(f"I{tag[1:]}" if first == before and tag[0] == "B" else tag)
        before = first
    return tags


def character_tags(token_tags: Sequence[str | None], offsets: Offsets, text: str) -> list[str]:
    """One tag per character of the text, from one tag per token, as in the official baseline:
    the first visible character of a token gets its tag, the others continue it with I-.

    A character shared by two tokens gets the tag of the first one. Spaces at the ends of a token,
    and characters outside all tokens (spaces, characters removed by normalisation or truncation),
    are I- between a B- or I- and an I- of the same type, and O otherwise. So entities never end in
    a space and are never merged, and entities that were cut off count as missed. The official
    score drops spaces (`drop_spaces`) and does not depend on this.

    >>> character_tags(["B-LC", "I-LC", "O"], [(0, 2), (3, 4), (4, 5)], "서울 시는")
    ['B-LC', 'I-LC', 'I-LC', 'I-LC', 'O']
    """
    tags: list[str | None] = [None] * len(text)
    for tag, offset in zip(token_tags, offsets, strict=True):
        start, end = offset or NOWHERE
        if tag is None or end <= start:
            continue
        first = _first_visible(text, start, end)
        while end > first + 1 and text[end - 1].isspace():
            end -= 1
        inner = "O" if tag == "O" else f"I{tag[1:]}"
        if tags[first] is None:
            tags[first] = tag
        for i in range(first + 1, end):
            if tags[i] is None:
                tags[i] = inner
    return _fill_gaps(tags)


def _first_visible(text: str, start: int, end: int) -> int:
    """The first character of start..end that is not white space; `start` if there is none."""
    for i in range(start, end):
        if not text[i].isspace():
            return i
    return start


def _fill_gaps(tags: list[str | None]) -> list[str]:
    next_tags: list[str | None] = []  # the first tag at or after each position
    for tag in reversed(tags):
        next_tags.append(tag or (next_tags[-1] if next_tags else None))
    filled: list[str] = []
    for tag, next_tag in zip(tags, reversed(next_tags), strict=True):
        if tag is None:
            left = filled[-1] if filled else "O"
            inside = f"I{left[1:]}"
            tag = inside if left != "O" and next_tag == inside else "O"
        filled.append(tag)
    return filled


def unreachable_entities(text: str, char_tags: Sequence[str], offsets: Offsets) -> int:
    """The number of gold entities that no token tags can represent: they share a token with a
    neighbour (mostly a particle) or were cut off. Spaces are ignored, as in the official score."""
    gold = entity_spans(drop_spaces(text, char_tags))
    if not gold:
        return 0
    decoded = character_tags(token_tags(char_tags, offsets, text), offsets, text)
    reachable = set(entity_spans(drop_spaces(text, decoded)))
    return sum(entity not in reachable for entity in gold)


# ------------------------------------------------------------------------- tokens of characters


def character_tokens(text: str, offsets: Offsets, *, is_cut: bool = False) -> list[int]:
    """The token of each character, for models that tag characters, whose entities may begin and end
    inside a token. If the text was truncated, only up to the end of its last token.

    White space, and characters removed by normalisation, get the token of their left neighbour;
    before the first visible character they get its token, or token 0 if none is visible. A
    character in several tokens gets the last one: a separate sentencepiece space also covers the
    first character of the unknown word after it.

    >>> character_tokens("서울 시는", [(0, 2), (2, 4), (4, 5), (0, 0)])
    [0, 0, 0, 1, 2]
    """
    claimed: list[int | None] = [None] * len(text)
    for token, offset in enumerate(offsets):
        start, end = offset or NOWHERE
        claimed[start:end] = [token] * (end - start)
    if is_cut:
        del claimed[max((offset[1] for offset in offsets if offset), default=0) :]
    visible = [
        None if character.isspace() else token
        for character, token in zip(text, claimed, strict=False)
    ]
    current = next((token for token in visible if token is not None), 0)
    tokens = []
    for token in visible:
        current = current if token is None else token
        tokens.append(current)
    return tokens


# ------------------------------------------------------------------------------- spans and tokens


def token_span(offsets: Offsets, start: int, end: int) -> Span | None:
    """The tokens (half-open) of the characters start..end; None if some of these are before the
    first or after the last token (truncated, or in another window).

    >>> token_span([None, (0, 2), (2, 3), (4, 6), None], 2, 5)
    (2, 4)
    """
    real = [(i, *offset) for i, offset in enumerate(offsets) if offset and offset[1] > offset[0]]
    if not real or start < real[0][1] or end > real[-1][2]:
        return None
    inside = [i for i, first, last in real if first < end and last > start]
    return (inside[0], inside[-1] + 1) if inside else None


def character_span(text: str, offsets: Offsets, first: int, last: int) -> Span:
    """The characters (half-open) of the tokens first..last (half-open), without surrounding
    spaces. A span can be predicted if this returns it for its `token_span`."""
    ranges = [offset for offset in offsets[first:last] if offset is not None]
    start, end = ranges[0][0], max(offset[1] for offset in ranges)
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end


def windows(length: int, *, size: int, stride: int) -> list[Span]:
    """Windows (half-open) of at most `size` tokens that start every `stride` tokens and cover
    `length` tokens; one empty window if there are none.

    >>> windows(10, size=6, stride=3)
    [(0, 6), (3, 9), (6, 10)]

    Raises:
        ValueError: the stride is not positive, or larger than a window.
    """
    if not 0 < stride <= size:
        raise ValueError(f"stride {stride}: expected 1 to the window's size of {size} tokens")
    spans = [(0, min(size, length))]
    while spans[-1][1] < length:
        start = spans[-1][0] + stride
        spans.append((start, min(start + size, length)))
    return spans
