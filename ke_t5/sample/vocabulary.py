"""The sample's unigram vocabulary, in the formats of T5 and of models with separators."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.sample.cache import build_once, sample_root
from ke_t5.sample.grammar import load_json, render

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CONFIGS = load_json("tokenizers")
MODEL_MAX_LENGTH = _CONFIGS["separators"]["model_max_length"]
# Trained in advance by benchmarks/sample_vocabulary.py: in some releases of sentencepiece training
# never ends, and cannot be stopped by SIGTERM.
SPIECE = Path(__file__).with_name("spiece.model")


def _pieces(spiece: Path) -> SentencePieceProcessor:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(spiece))


def _write_separated(folder: Path) -> None:
    """Writes a fast tokenizer with the same pieces, which encodes [CLS] A [SEP] B [SEP]."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    pieces, ids = _pieces(SPIECE), {piece: number for number, piece in enumerate(_SPECIAL)}
    ordinary = range(3, pieces.get_piece_size())  # after padding, end and unknown
    vocabulary = [(piece, 0.0) for piece in _SPECIAL]
    vocabulary += [(pieces.id_to_piece(i), pieces.get_score(i)) for i in ordinary]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=ids["[UNK]"]))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(piece, ids[piece]) for piece in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def tokenizer_dir(cache_dir: Path, *, is_t5: bool, segments: bool) -> Path:
    """A folder with tokenizer files, built on first use.

    Args:
        is_t5: T5's files (spiece.model, 100 sentinels) instead of a tokenizer with [CLS] and [SEP].
        segments: whether the latter returns token_type_ids.
    """
    kind = "t5" if is_t5 else "segments" if segments else "separators"

    def build(folder: Path) -> None:
        if is_t5:
            shutil.copyfile(SPIECE, folder / "spiece.model")
        else:
            _write_separated(folder)
        columns = ["input_ids", *["token_type_ids"] * segments, "attention_mask"]
        config = render(_CONFIGS["T5" if is_t5 else "separators"], columns=columns)
        text = json.dumps(config, ensure_ascii=False, indent=2)
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")

    return build_once(sample_root(cache_dir) / "tokenizers" / kind, build)


def vocabulary_size(folder: Path) -> int:
    """The vocabulary size of the tokenizer in such a folder."""
    if (folder / "spiece.model").exists():
        return _pieces(folder / "spiece.model").get_piece_size() + _CONFIGS["T5"]["extra_ids"]
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()


def token_ids(folder: Path, text: str) -> list[int]:
    """The ids of a text, including special tokens, by the tokenizer in such a folder."""
    if (folder / "spiece.model").exists():
        pieces = _pieces(folder / "spiece.model")
        return [*pieces.encode(text), pieces.eos_id()]
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
