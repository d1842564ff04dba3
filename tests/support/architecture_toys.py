"""Tiny folders in the layouts in which the hub has the models that Korean tasks start from.

Each function writes the files that the repository on the hub holds beside its weights; sizes and
vocabularies are tiny, everything else is as published.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from support.tokenizer_toys import (
    byte_level,
    gemma_pieces,
    sentencepiece_model,
    unigrams,
    with_marks,
    word_pieces,
)

SIZES = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 64,
}  # fmt: skip
T5_SIZES = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2,
            "vocab_size": 700, "pad_token_id": 0, "eos_token_id": 1,
            "decoder_start_token_id": 0}  # fmt: skip
LLAMA_SIZES = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 700}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def layout(
    folder: Path,
    config: Mapping[str, Any],
    *,
    about: Mapping[str, Any] | None = None,
    backend: Any = None,
    vocab: list[str] | None = None,
    spm: tuple[str, tuple] | None = None,
) -> None:
    """config.json, tokenizer_config.json (if any), and the tokenizer's files."""
    folder.mkdir()
    write_json(folder / "config.json", config)
    if about is not None:
        write_json(folder / "tokenizer_config.json", about)
    if backend is not None:
        backend.save(str(folder / "tokenizer.json"))
    if vocab is not None:
        (folder / "vocab.txt").write_text("\n".join(vocab), encoding="utf-8")
    if spm is not None:
        (folder / spm[0]).write_bytes(sentencepiece_model(spm[1]))


def word_piece_layout(model_type: str, about: Mapping[str, Any] | None = None, **config: Any):
    """A vocab.txt, as in Korean BERT models."""
    pieces = word_pieces()
    whole = {"model_type": model_type, **SIZES, "vocab_size": len(pieces), "pad_token_id": 0}
    about = {"do_lower_case": False, "tokenize_chinese_chars": True, "strip_accents": False,
             "model_max_length": 512, "tokenizer_class": "BertTokenizer",
             **(about or {})}  # fmt: skip
    about = {key: value for key, value in about.items() if value is not None}
    return lambda folder: layout(folder, {**whole, **config}, about=about, vocab=pieces)


def spm_layout(file: str, special: tuple[str, ...], about: Mapping[str, Any], **config: Any):
    """A SentencePiece model without a tokenizer.json."""
    pieces = unigrams(special)
    whole = {"vocab_size": len(pieces) + 110, **config}
    return lambda folder: layout(folder, whole, about=about, spm=(file, pieces))


def byte_layout(
    special: tuple[str, ...],
    about: Mapping[str, Any] | None,
    *,
    marks: tuple[str, str] | None = None,
    **config: Any,
):
    """A tokenizer.json with byte-level BPE."""
    backend = byte_level(special)
    backend = with_marks(backend, *marks) if marks else backend
    whole = {"vocab_size": 700, **config}
    return lambda folder: layout(folder, whole, about=about, backend=backend)


XLM = {"model_type": "xlm-roberta", **SIZES, "pad_token_id": 1, "bos_token_id": 0,
       "eos_token_id": 2, "type_vocab_size": 1}  # fmt: skip
XLM_ABOUT = {"tokenizer_class": "XLMRobertaTokenizer", "model_max_length": 512}
XLM_PIECES = ("<unk>", "<s>", "</s>")
T5_PIECES = ("<pad>", "</s>", "<unk>")
T5_ABOUT = {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>",
            "unk_token": "<unk>", "extra_ids": 100}  # fmt: skip
T5 = {"is_encoder_decoder": True, **T5_SIZES}

ARCHITECTURES: dict[str, Callable[[Path], None]] = {
    "klue/bert": word_piece_layout("bert"),
    "klue/roberta": word_piece_layout("roberta", pad_token_id=1, type_vocab_size=1,
        max_position_embeddings=66),  # fmt: skip
    "KoELECTRA": word_piece_layout("electra", {"model_max_length": None}, embedding_size=16),
    "KcELECTRA": word_piece_layout("electra", {"model_max_length": None, "do_basic_tokenize": True},
        embedding_size=16),  # fmt: skip
    "KR-ELECTRA": word_piece_layout("electra", {"never_split": None}, embedding_size=16),
    "lassl/bert": byte_layout(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
         "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        marks=("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"), model_type="bert", **SIZES),
    "kf-deberta": word_piece_layout("deberta-v2", relative_attention=True, position_buckets=16,
        pos_att_type=["p2c", "c2p"], position_biased_input=False, type_vocab_size=0),
    "mDeBERTa-v3": spm_layout("spm.model", ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
        {"do_lower_case": False, "vocab_type": "spm"}, model_type="deberta-v2", **SIZES,
        relative_attention=True, position_buckets=16, pos_att_type=["p2c", "c2p"],
        position_biased_input=False, type_vocab_size=0, pad_token_id=0),
    "XLM-R": spm_layout("sentencepiece.bpe.model", XLM_PIECES, XLM_ABOUT, **XLM),
    "E5": spm_layout("sentencepiece.bpe.model", XLM_PIECES, XLM_ABOUT, **XLM,
        architectures=["XLMRobertaModel"]),
    "ModernBERT": byte_layout(("<|padding|>", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"),
        {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
         "cls_token": "[CLS]", "sep_token": "[SEP]", "model_max_length": 8192,
         "model_input_names": ["input_ids", "attention_mask"]},
        marks=("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]"), model_type="modernbert", **SIZES,
        pad_token_id=5, cls_token_id=2, sep_token_id=3, global_attn_every_n_layers=1),
    "KoBERT": spm_layout("spiece.model", ("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"),
        {"tokenizer_class": "XLNetTokenizer", "unk_token": "[UNK]", "pad_token": "[PAD]",
         "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"},
        model_type="bert", **SIZES, pad_token_id=1),
    "BigBird": word_piece_layout("big_bird", {"tokenizer_class": "BertTokenizer"},
        attention_type="block_sparse", block_size=4, num_random_blocks=1),
    "KoBART": byte_layout(("<s>", "</s>", "<unk>", "<pad>", "<mask>"),
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
         "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"},
        model_type="bart", is_encoder_decoder=True, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, max_position_embeddings=64, pad_token_id=3, bos_token_id=1,
        eos_token_id=1, decoder_start_token_id=1, forced_eos_token_id=1),
    "ke-t5": spm_layout("spiece.model", T5_PIECES, T5_ABOUT, model_type="t5", **T5),
    "mT5": spm_layout("spiece.model", T5_PIECES, {**T5_ABOUT, "extra_ids": 0}, model_type="mt5",
        **T5),  # fmt: skip
    "umT5": spm_layout("spiece.model", T5_PIECES, {**T5_ABOUT, "extra_ids": 0}, model_type="umt5",
        **T5),  # fmt: skip
    "pko-t5": byte_layout(("<pad>", "</s>", "<unk>"), {**T5_ABOUT,
        "tokenizer_class": "T5TokenizerFast"}, model_type="t5",
        marks=("$A </s>", "$A </s> $B </s>"), **T5),
    "ByT5": lambda folder: layout(folder, {"model_type": "t5", **T5, "vocab_size": 384},
        about={"tokenizer_class": "ByT5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>",
               "unk_token": "<unk>", "extra_ids": 125}),
    "LongT5": spm_layout("spiece.model", T5_PIECES, T5_ABOUT, model_type="longt5", **T5,
        local_radius=4, global_block_size=4),  # fmt: skip
    "KoGPT2": byte_layout(("<s>", "</s>", "<usr>", "<pad>", "<sys>", "<unk>", "<mask>"), None,
        model_type="gpt2", n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=1,
        eos_token_id=1, pad_token_id=3),
    "Qwen3": byte_layout(("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "bos_token": None,
         "pad_token": "<|endoftext|>", "unk_token": None, "model_max_length": 131072},
        model_type="qwen3", **LLAMA_SIZES),
    "Llama-3": byte_layout(("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
        {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
         "eos_token": "<|eot_id|>", "model_max_length": 131072},
        marks=("<|begin_of_text|> $A", "<|begin_of_text|> $A <|begin_of_text|>:1 $B:1"),
        model_type="llama", **LLAMA_SIZES, eos_token_id=[1, 2], bos_token_id=0),
    "EXAONE-4": byte_layout(("[PAD]", "[BOS]", "[EOS]", "[UNK]", "[|endofturn|]"),
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "[BOS]", "eos_token": "[|endofturn|]",
         "pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 1 << 60},
        model_type="exaone4", **LLAMA_SIZES, sliding_window=None, layer_types=["full_attention"],
        pad_token_id=0, bos_token_id=1, eos_token_id=4),
    "Gemma-3": lambda folder: layout(folder, {"model_type": "gemma3_text", **LLAMA_SIZES,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "sliding_window": 16,
        "query_pre_attn_scalar": 8}, backend=gemma_pieces(),
        about={"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False,
               "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>",
               "unk_token": "<unk>", "model_max_length": 10**30}),
}  # fmt: skip
