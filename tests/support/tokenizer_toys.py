"""Tiny tokenizers in the layouts found on the hub, built in this process."""

from __future__ import annotations

import functools
import json
import struct
from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from support.toys import ROWS

TEXTS = (
    json.dumps(ROWS, ensure_ascii=False),
    "대한민국의 수도는 서울이다. 오늘 경제 뉴스 제목, 금리 인상 전망",
    "영화가 정말 재미있었다 별로였다 배우 연기 좋다 나쁘다 아주 그냥",
    "question: context: title: sentence: premise: hypothesis: klue_tc klue_mrc 0123456789",
)


@functools.cache
def byte_level(special: tuple[str, ...]) -> Tokenizer:
    """Byte-level BPE without a post-processor, like GPT-2's."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    return backend


def characters() -> list[str]:
    """Every character of the texts, and the letters, without spaces."""
    found = dict.fromkeys("".join(TEXTS) + "abcdefghijklmnopqrstuvwxyz#[]()<>/'")
    return [character for character in found if not character.isspace()]


@functools.cache
def word_pieces(special: tuple[str, ...] = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")) -> list:
    """The lines of a vocab.txt: special tokens, characters, and characters within words."""
    return [*special, *characters(), *(f"##{character}" for character in characters())]


@functools.cache
def unigrams(special: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    """Pieces with scores, as in a SentencePiece model."""
    pieces = [(token, 0.0) for token in special]
    return (*pieces, ("▁", -2.0), *((character, -3.0) for character in characters()))


def with_marks(backend: Tokenizer, single: str, pair: str) -> Tokenizer:
    """A copy that adds these special tokens."""
    copy = Tokenizer.from_str(backend.to_str())
    names = {word.split(":")[0] for word in f"{single} {pair}".split() if "$" not in word}
    copy.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(n, copy.token_to_id(n)) for n in names]
    )
    return copy


def fast(backend: Tokenizer, **settings: Any) -> Any:
    """A transformers tokenizer around it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(backend.to_str()),
        clean_up_tokenization_spaces=False,
        **settings,
    )


# Normalization by a trie without a branch: no text is changed. A model without rules could not be
# read by transformers before 5.20.
NO_RULES = struct.pack("<257I", 1024, 1 << 10, *[0] * 255) + b"\0"


def sentencepiece_model(pieces: tuple[tuple[str, float], ...]) -> bytes:
    """A SentencePiece model file (unigrams); a piece with score 0 is a mark."""
    whole = b""
    for piece, score in pieces:
        is_unknown = piece.strip("<>[]").lower() == "unk"
        kind = 2 if is_unknown else 3 if score == 0 else 1
        body = _text(1, piece) + b"\x15" + struct.pack("<f", score) + _number(3, kind)
        whole += b"\x0a" + _varint(len(body)) + body
    names = [piece.strip("<>[]").lower() for piece, _ in pieces]
    spec = _number(3, 1) + _number(40, names.index("unk"))
    for field, mark in ((41, "s"), (42, "/s"), (43, "pad")):
        spec += _number(field, names.index(mark) if mark in names else -1)
    normalizer = _text(1, "none") + b"\x12" + _varint(len(NO_RULES)) + NO_RULES
    for field, body in ((2, spec), (3, normalizer)):
        whole += _varint(field << 3 | 2) + _varint(len(body)) + body
    return whole


def _varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, text: str) -> bytes:
    body = text.encode()
    return _varint(field << 3 | 2) + _varint(len(body)) + body


@functools.cache
def gemma_pieces() -> Tokenizer:
    """BPE over characters with byte fallback, spaces written as "▁"; <bos> first."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    vocabulary = {token: i for i, token in enumerate([*marks, "▁", *characters()])}
    backend = Tokenizer(
        models.BPE(vocabulary, [], byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return with_marks(backend, "<bos> $A", "<bos> $A <bos>:1 $B:1")
