"""Checks that the tokenizer covers the text: a model cannot learn from unknown tokens."""

from __future__ import annotations

import functools
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ke_t5.composition import compose
from ke_t5.errors import Exit, UserError, counted, counted_of
from ke_t5.pipe import Examples, Task
from ke_t5.task.text import squeeze

logger = logging.getLogger(__name__)

NUM_SAMPLED, SAMPLED_CHARACTERS = 256, 1000
# Shares of unknown tokens, or of lost Hangul, above which there is a warning or an error.
WARN_ABOVE, REFUSE_ABOVE = 0.05, 0.5
# For lost Hangul, if the tokenizer is known to be misconfigured: it may still know single letters.
MISFIT_ABOVE = 0.25
# If distinct token sequences are at most this share of the distinct texts, all texts look alike.
FEW_DISTINCT, ENOUGH_TEXTS = 0.05, 10
_HANGUL = re.compile("[가-힣]")
# In no word vocabulary: a hieroglyph, a cuneiform sign, a private-use character.
_NEVER_KNOWN = ("\U00013080", "\U00012031", "\U0010fffd")
_PROBE = "한국어"
# Tokens that are only a space, and tokens that are only in byte-level vocabularies.
_SPACES = frozenset(("▁", "Ġ"))
_BYTES = ("<0xEC>", "Ġ")


@dataclass(frozen=True)
class Sample:
    """The result of encoding and decoding a sample of texts.

    Attributes:
        num_whole: texts that decode to themselves, ignoring white space, case and width.
        num_distinct, num_sequences: number of distinct texts, and of their token sequences.
        lost_hangul: share of the Hangul syllables that are lost in decoding.
        example: the text that loses most, and its decoded tokens.
    """

    num_texts: int
    num_whole: int
    num_distinct: int
    num_sequences: int
    lost_hangul: float
    example: tuple[str, str]

    @property
    def is_all_alike(self) -> bool:
        """Whether (nearly) all distinct texts look the same to the model."""
        few = max(1, FEW_DISTINCT * self.num_distinct)
        return self.num_distinct >= ENOUGH_TEXTS and self.num_sequences <= few


def check_tokens(task: Task, split: str, examples: Examples) -> None:
    """Logs in one line how well a split survives tokenization; warns above `WARN_ABOVE`.

    Raises:
        UserError: more than half of the tokens are unknown, or nearly all texts become the same.
    """
    facts = []
    for name, feature in examples.features.items():
        if feature.tokenizer is None or name not in examples.columns:
            continue
        tokenizer = feature.tokenizer()
        unknown = share_of_unknown(tokenizer, examples.value_counts(name))
        kind = "" if name == "input_ids" else "target "
        facts.append(f"{100 * unknown:.1f} % unknown {kind}tokens")
        texts = sampled_texts(task, examples, is_target=name != "input_ids")
        sample = sample_of(tokenizer, texts) if texts else None
        if sample and name == "input_ids":
            facts.append(_in_words(sample))
        _judge(tokenizer, unknown, sample, whose=f"{task.name} {split}", kind=kind)
    if facts:
        logger.info("%s %s: %s", task.name, split, "; ".join(facts))


def _in_words(sample: Sample) -> str:
    whole = counted_of(sample.num_whole, sample.num_texts, "text", ("comes", "come"))
    texts = counted(sample.num_distinct, "distinct text")
    sequences = counted(sample.num_sequences, "token sequence")
    return f"{whole} back from the tokens; {texts}, {sequences}"


def _judge(tokenizer: Any, unknown: float, sample: Sample | None, *, whose: str, kind: str) -> None:
    lost = sample.lost_hangul if sample else 0.0
    is_alike = sample is not None and sample.is_all_alike
    if max(unknown, lost) <= WARN_ABOVE and not is_alike:
        return
    what = f"{100 * unknown:.0f} % of the {kind}tokens of {whose} are unknown"
    if sample and sample.num_texts:
        what += f", {100 * lost:.0f} % of the Hangul is lost"
        what += f" ({sample.example[0]!r} becomes {sample.example[1]!r})"
    if sample and is_alike:
        what = f"{sample.num_distinct} texts become {sample.num_sequences} token sequences: {what}"
    why, fix, is_certain = cause(tokenizer)
    where = f"tokenizer {tokenizer.name_or_path!r}"
    # Half of the tokens may be field names and spaces, which any tokenizer knows.
    too_much = MISFIT_ABOVE if is_certain else REFUSE_ABOVE
    is_hopeless = unknown > REFUSE_ABOVE or (unknown > WARN_ABOVE and lost > too_much)
    if is_hopeless or is_alike:
        raise UserError(f"{what}; {why}", where, fix, Exit.DATA)
    logger.warning("%s: %s; %s; %s", where, what, why, fix)


# ------------------------------------------------------------------------------------- measuring


def unknown_ids(tokenizer: Any) -> list[int]:
    """The ids that a tokenizer uses for unknown text; none for a byte-level tokenizer."""
    ids = set() if tokenizer.unk_token_id is None else {tokenizer.unk_token_id}
    # A tokenizer does not always use the id that it declares.
    for character in _NEVER_KNOWN:
        written = tokenizer(character, add_special_tokens=False, verbose=False)["input_ids"]
        ids |= set(written) & set(tokenizer.all_special_ids)
    return sorted(ids)


def unknown_share(tokenizer: Any, parts: Iterable[np.ndarray]) -> float:
    """The share of unknown tokens, not counting special tokens and spaces.

    Args:
        parts: arrays of ids.
    """
    counts = np.zeros(0, dtype=np.int64)
    for ids in parts:
        more = np.bincount(ids[ids >= 0], minlength=len(counts))  # not `IGNORED`
        more[: len(counts)] += counts
        counts = more
    return share_of_unknown(tokenizer, counts)


def share_of_unknown(tokenizer: Any, counts: np.ndarray) -> float:
    """The same from the count of each id."""
    unknown = unknown_ids(tokenizer)
    spaces = tokenizer.get_vocab().keys() & _SPACES
    special = {*tokenizer.all_special_ids, *tokenizer.convert_tokens_to_ids(list(spaces))}
    special = sorted(special - set(unknown))
    num_tokens = int(counts.sum()) - _sum_of(counts, special)
    return _sum_of(counts, unknown) / num_tokens if num_tokens else 0.0


def _sum_of(counts: np.ndarray, ids: Sequence[int]) -> int:
    return int(counts[[one for one in ids if one < len(counts)]].sum())


def sampled_texts(task: Task, examples: Examples, *, is_target: bool) -> list[str]:
    """Texts of examples spread evenly over the split; [] if the task keeps none."""
    column_names = set(examples.dataset.column_names)
    if is_target or task.inputs is None or not set(task.keep) <= column_names or not task.keep:
        return []
    positions = np.linspace(
        0, len(examples), min(NUM_SAMPLED, len(examples)), endpoint=False, dtype=np.int64
    )
    texts = [task.inputs(example) for example in examples.examples(positions)]
    return [text[:SAMPLED_CHARACTERS] for text in texts if text and text.strip()]


def sample_of(tokenizer: Any, texts: Sequence[str]) -> Sample:
    """What the tokenizer makes of these texts."""
    ids = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    decoded = [compose(tokenizer.decode(row)) for row in ids]
    before = [len(_HANGUL.findall(text)) for text in texts]
    after = [len(_HANGUL.findall(text)) for text in decoded]
    losses = [max(0, b - a) for b, a in zip(before, after, strict=True)]
    worst = int(np.argmax(losses)) if texts else 0
    return Sample(
        num_texts=len(texts),
        num_whole=sum(_folded(a) == _folded(b) for a, b in zip(texts, decoded, strict=True)),
        num_distinct=len(set(texts)),
        num_sequences=len({tuple(row) for row in ids}),
        lost_hangul=sum(losses) / max(1, sum(before)),
        example=(_cut(texts[worst]), _cut(tokenizer.decode(ids[worst]))) if texts else ("", ""),
    )


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _cut(text: str, longest: int = 32) -> str:
    text = squeeze(text)
    return text if len(text) <= longest else f"{text[:longest]}..."


# ---------------------------------------------------------------------------------------- causes


class Cause(NamedTuple):
    """Why a tokenizer does not cover the text, the fix, and whether the cause is certain."""

    why: str
    fix: str
    is_certain: bool = False


def cause(tokenizer: Any) -> Cause:
    """The most likely reason why a tokenizer does not cover the text."""
    file = Path(tokenizer.name_or_path) / "tokenizer_config.json"
    if not file.parent.is_dir():
        file = Path(file.name)
    class_name = type(tokenizer).__name__
    num_hangul, has_capitals = _vocabulary(tokenizer)
    if num_hangul == 0 and not any(token in tokenizer.get_vocab() for token in _BYTES):
        return Cause(
            f"it does not cover Korean (none of its {len(tokenizer)} tokens contains Hangul)",
            "use a Korean or multilingual model, or the tokenizer that belongs to the model",
        )
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normalizer is None or compose(normalizer.normalize_str(_PROBE)) == normalizer.normalize_str(
        _PROBE
    ):
        return Cause(
            f"{class_name} may be the wrong class for this vocabulary ({num_hangul} of its "
            f"{len(tokenizer)} tokens contain Hangul)",
            f'check "tokenizer_class" in {file}, or use a model whose tokenizer covers the text',
        )
    if type(normalizer).__name__ == "BertNormalizer":
        entry = '"do_lower_case": false' if has_capitals else '"strip_accents": false'
        return Cause(
            "do_lower_case strips accents and so decomposes Hangul, which is composed in the "
            "vocabulary",
            f"write {{{entry}}} into {file}",
            is_certain=True,
        )
    return Cause(
        f"{class_name} decomposes Hangul (NFKD), which is composed in the vocabulary: wrong "
        "tokenizer class",
        f'name the class that the model was trained with as "tokenizer_class" in {file}, or put '
        "its tokenizer.json there",
        is_certain=True,
    )


@functools.cache
def _vocabulary(tokenizer: Any) -> tuple[int, bool]:
    """How many tokens contain composed Hangul, and whether any contains a capital letter."""
    tokens = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    num_hangul = sum(_HANGUL.search(token) is not None for token in tokens)
    return num_hangul, any(re.search("[A-Z]", token) for token in tokens)
