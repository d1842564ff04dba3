"""A folder to start a character model from: `python -m ke_t5.models.characters DIR`.

It contains the configuration of a HashedNgramForSequenceClassification and a tokenizer whose tokens
are single characters. What it writes depends on nothing but the arguments.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

from ke_t5.errors import Exit, UserError, exit_code_of
from ke_t5.models.ngrams import HashedNgramConfig

# The settings that both scratch_*.gin were tuned with; time is proportional to num_readers.
SETTINGS = {"num_buckets": 131072, "num_readers": 4, "word_dropout": 0.2}
SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "sep_token": "[SEP]"}


def characters() -> list[str]:
    """The characters of Korean text: ASCII, and all of code page 949 (every Hangul syllable; the
    jamo, symbols, hanja and kana of KS X 1001)."""
    ascii_only = [chr(code) for code in range(0x20, 0x7F)]
    others = (chr(code) for code in range(0xA0, 0x10000))
    return ascii_only + [one for one in others if one.encode("cp949", "ignore")]


def write_folder(folder: Path, **settings: Any) -> None:
    """Writes config.json and a tokenizer of single characters that wraps a text in [SEP].

    Args:
        settings: fields of HashedNgramConfig; they override SETTINGS.

    Raises:
        UserError: one of the files exists with other content, such as that of another model.
    """
    tokens = [*SPECIAL_TOKENS.values(), *characters()]
    ids = {token: i for i, token in enumerate(tokens)}
    sep = SPECIAL_TOKENS["sep_token"]
    tokenizer = Tokenizer(WordLevel(ids, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = TemplateProcessing(
        single=f"{sep} $A {sep}", pair=f"{sep} $A {sep} $B {sep}", special_tokens=[(sep, ids[sep])]
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    about_ids = {"vocab_size": len(ids), "space_token_id": ids[" "], "pad_token_id": 0}
    config = HashedNgramConfig(**{**about_ids, **SETTINGS, **settings})
    about_tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 512,
        **SPECIAL_TOKENS,
    }
    # With the library's version, the same folder would differ between versions.
    about_model = {k: v for k, v in config.to_diff_dict().items() if k != "transformers_version"}
    files = {folder / "tokenizer.json": tokenizer.to_str(pretty=False)}
    for name, content in (("config.json", about_model), ("tokenizer_config.json", about_tokenizer)):
        files[folder / name] = json.dumps(content, indent=2, sort_keys=True) + "\n"
    for file, text in files.items():
        if file.exists() and file.read_bytes() != text.encode():
            what = "it exists with other content"
            raise UserError(what, str(file), "name a new folder", Exit.CHECKPOINT)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        file.write_text(text, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Writes the folder named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    return exit_code_of(write_folder, folder)


if __name__ == "__main__":
    sys.exit(main())
