"""One unigram vocabulary for the sample, as T5's files and as those of models with separators."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ke_t5.sample import relations
from ke_t5.sample.cache import build_once, sample_root
from ke_t5.sample.releases import release_files

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

_NUM_PIECES = 3000
_NUM_SENTINELS = 100
_PROMPT_WEIGHT = 100
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(_SPECIAL))
MODEL_MAX_LENGTH = 512
# No piece reaches across this mark, which training alone sees: a name and its particle stay two
# pieces, so that most entities and answers end where a piece does.
_DELIMITER = "\u241f"
_PARTICLE = re.compile(
    "(?<=[가-힣0-9A-Z])(?=(은|는|이|가|을|를|과|와|의|에|에서|에게|으로|로|까지|부터|이다|다|"
    "이라는|라는|인|으로는|에는|에서는|이며|였다|이었다)(?![가-힣0-9A-Z]))"
)
# What prompts and labels of the text-to-text forms are made of, beside the corpus.
_TASK_WORDS = """
klue_tc title: klue_nli premise: hypothesis: klue_sts sentence1: sentence2: klue_re text: klue_mrc
question: context: trivia question: klue_dst korquad nikl_cola sentence: kor_3i4k nsmc kornli korsts
khsd qpair question1: question2: summarize_summary: summarize_topic: impossible entailment neutral
contradiction hate offensive none dontcare yes no duplicated not_duplicate acceptable unacceptable
fragment statement question command rhetorical question rhetorical command positive negative
intonation-dependent utterance user: sys: true false 0.0 0.5 1.0 1.8 2.4 3.2 3.6 4.0 4.7 5.0
""".split()


def _strings(value: object) -> Iterator[str]:
    """All strings inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _parted(text: str) -> str:
    """The text with a mark before what may be the particle that an eojeol ends in.

    >>> _parted("서울에서 책을 샀다.").replace(_DELIMITER, "+")
    '서울+에서 책+을 샀+다.'
    """
    return _PARTICLE.sub(_DELIMITER, text)


def training_texts() -> list[str]:
    """Every Korean text and label of the training parts once, in the order of the files."""
    found: dict[str, None] = {}
    for path, content in release_files():
        if not ("train" in path or "NE" in path or path.endswith(("NIKL_SC.json", "list.json"))):
            continue
        if path.endswith(".json"):
            texts: Iterator[str] = _strings(json.loads(content.removeprefix("\ufeff")))
        else:
            texts = (text for line in content.splitlines() for text in line.split("\t"))
        for text in texts:
            if len(text) > 1 and re.search("[가-힣]|^(per|org):", text):
                found[re.sub(r"<([^<>]+):[A-Z]{2}>", r"\1", text)] = None
    # Prompts and labels stand in every example of a text-to-text task.
    prompts = [*_TASK_WORDS, *relations.LABELS] * _PROMPT_WEIGHT
    return [*found, *prompts, " ".join(map(chr, range(33, 127)))]


def _train(folder: Path) -> None:
    """Writes spiece.model, with T5's ids for pad, end and unknown."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=map(_parted, training_texts()),
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
    (folder / "spiece.model").write_bytes(model.getvalue())


def _spiece(cache_dir: Path) -> Path:
    return build_once(sample_root(cache_dir) / "vocabulary", _train) / "spiece.model"


def _pieces(spiece: Path) -> SentencePieceProcessor:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(spiece))


def _write_config(folder: Path, **config: object) -> None:
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def _write_t5(folder: Path, spiece: Path) -> None:
    shutil.copyfile(spiece, folder / "spiece.model")
    _write_config(
        folder,
        tokenizer_class="T5Tokenizer",
        extra_ids=_NUM_SENTINELS,
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
    )


def _write_separated(folder: Path, spiece: Path, *, segments: bool) -> None:
    """A fast tokenizer over the same pieces that writes [CLS] A [SEP] B [SEP]."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    pieces = _pieces(spiece)
    known = range(3, pieces.get_piece_size())  # after pad, end and unknown
    vocabulary = [(piece, 0.0) for piece in _SPECIAL]
    vocabulary += [(pieces.id_to_piece(i), pieces.get_score(i)) for i in known]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=UNK))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = ["input_ids", *(["token_type_ids"] if segments else []), "attention_mask"]
    roles = ("pad", "unk", "cls", "sep", "mask")
    named = {f"{role}_token": piece for role, piece in zip(roles, _SPECIAL, strict=True)}
    _write_config(
        folder,
        tokenizer_class="PreTrainedTokenizerFast",
        model_max_length=MODEL_MAX_LENGTH,
        model_input_names=names,
        clean_up_tokenization_spaces=False,
        bos_token="[CLS]",
        eos_token="[SEP]",
        **named,
    )


def tokenizer_dir(cache_dir: Path, *, is_t5: bool, segments: bool) -> Path:
    """A folder with tokenizer files, built on first use.

    Args:
        is_t5: T5's files (spiece.model, 100 sentinels), else a tokenizer with [CLS] and [SEP].
        segments: the latter tells the two texts of a pair apart by token_type_ids.
    """
    kind = "t5" if is_t5 else "segments" if segments else "separators"
    spiece = _spiece(cache_dir)

    def build(folder: Path) -> None:
        if is_t5:
            _write_t5(folder, spiece)
        else:
            _write_separated(folder, spiece, segments=segments)

    return build_once(sample_root(cache_dir) / "tokenizers" / kind, build)


def vocabulary_size(folder: Path) -> int:
    """The number of ids that the tokenizer in such a folder gives out."""
    if (folder / "spiece.model").exists():
        return _pieces(folder / "spiece.model").get_piece_size() + _NUM_SENTINELS
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size()


def token_ids(folder: Path, text: str) -> list[int]:
    """The ids of a text by the files of such a folder, closing marks included."""
    if (folder / "spiece.model").exists():
        pieces = _pieces(folder / "spiece.model")
        return [*pieces.encode(text), pieces.eos_id()]
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids
