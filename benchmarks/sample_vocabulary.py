"""python -m benchmarks.sample_vocabulary [FILE]: retrains the vocabulary of the sample.

Only needed if the texts of the sample have changed a lot. The vocabulary of the package was
trained with sentencepiece 0.2.3; version 0.2.2 never finishes.
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from ke_t5.sample import relations
from ke_t5.sample.releases import release_files
from ke_t5.sample.vocabulary import SPIECE

_NUM_PIECES = 3000
_PROMPT_WEIGHT = 100
# No piece crosses this mark, which only training sees: a name and its particle remain two pieces,
# so that most entities and answers end at the end of a piece.
_DELIMITER = "\u241f"
_PARTICLE = re.compile(
    "(?<=[가-힣0-9A-Z])(?=(은|는|이|가|을|를|과|와|의|에|에서|에게|으로|로|까지|부터|이다|다|"
    "이라는|라는|인|으로는|에는|에서는|이며|였다|이었다)(?![가-힣0-9A-Z]))"
)
# Words of the prompts and labels of text-to-text tasks that the corpus does not contain.
_TASK_WORDS = """
klue_tc title: klue_nli premise: hypothesis: klue_sts sentence1: sentence2: klue_re text: klue_mrc
question: context: trivia question: klue_dst korquad nikl_cola sentence: kor_3i4k nsmc kornli korsts
khsd qpair question1: question2: summarize_summary: summarize_topic: impossible entailment neutral
contradiction hate offensive none dontcare yes no duplicated not_duplicate acceptable unacceptable
fragment statement question command rhetorical question rhetorical command positive negative
intonation-dependent utterance user: sys: true false 0.0 0.5 1.0 1.8 2.4 3.2 3.6 4.0 4.7 5.0
""".split()


def _strings(value: object) -> Iterator[str]:
    """Yields all strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _delimited(text: str) -> str:
    """The text with a mark before what may be the particle at the end of an eojeol.

    >>> _delimited("서울에서 책을 샀다.").replace(_DELIMITER, "+")
    '서울+에서 책+을 샀+다.'
    """
    return _PARTICLE.sub(_DELIMITER, text)


def training_texts() -> list[str]:
    """Every Korean text and label of the training splits once, in the order of the files."""
    unique: dict[str, None] = {}
    for path, content in release_files():
        if not ("train" in path or "NE" in path or path.endswith(("NIKL_SC.json", "list.json"))):
            continue
        if path.endswith(".json"):
            texts: Iterator[str] = _strings(json.loads(content.removeprefix("\ufeff")))
        else:
            texts = (text for line in content.splitlines() for text in line.split("\t"))
        for text in texts:
            if len(text) > 1 and re.search("[가-힣]|^(per|org):", text):
                unique[re.sub(r"<([^<>]+):[A-Z]{2}>", r"\1", text)] = None
    # Prompts and labels are part of every example of a text-to-text task.
    prompts = [*_TASK_WORDS, *relations.labels()] * _PROMPT_WEIGHT
    return [*unique, *prompts, " ".join(map(chr, range(33, 127)))]


def train(path: Path) -> None:
    """Writes a sentencepiece model with T5's ids for pad, end and unknown."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=map(_delimited, training_texts()),
        pretokenization_delimiter=_DELIMITER,
        model_writer=model,
        vocab_size=_NUM_PIECES,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=SPIECE, help="default: %(default)s")
    train(parser.parse_args().out)
