"""The sample's vocabulary: shipped as data, never trained where the sample is used."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from ke_t5.sample import sample_data_dir, sample_tokenizer_dir
from ke_t5.sample.vocabulary import SPIECE

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("model", ["t5", "roberta", "bert"])
def test_no_tokenizer_is_trained(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def train(*arguments, **options):
        raise AssertionError("sentencepiece 0.2.2 never returns from this")

    for name in ("train", "Train", "_TrainFromMap", "_TrainFromMap2", "_TrainFromMap3"):
        if hasattr(sentencepiece.SentencePieceTrainer, name):
            monkeypatch.setattr(sentencepiece.SentencePieceTrainer, name, train)
    folder = sample_tokenizer_dir(tmp_path, model)
    names = {path.name for path in folder.iterdir()}
    assert names & {"spiece.model", "tokenizer.json"}


def test_the_vocabulary_covers_every_character_of_the_sample(cache_dir: Path):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(SPIECE))
    known = {pieces.id_to_piece(number) for number in range(pieces.get_piece_size())}
    files = list(sample_data_dir(cache_dir).rglob("*train*.*"))
    assert files
    characters = {c for path in files for c in path.read_text(encoding="utf-8-sig")}
    assert not set(pieces.normalize(" ".join(sorted(characters)))) - known - {" "}
