"""Scores of answers, dialogue states and summaries over a whole split."""

from __future__ import annotations

import collections
import difflib
import functools
import re
import string
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser

import numpy as np

from ke_t5.task.metrics.metric import metric
from ke_t5.task.metrics.statistics import Mean, Statistic, Sums, f1_of_counts

# ----------------------------------------------------------------------------------- KLUE-MRC

# The official normaliser is meant to remove quotes and brackets, but because of a misplaced bracket
# its pattern only matches one of them before a fixed sequence of others. Scores depend on this.
_KLUE_MRC_MEANT_AS_SYMBOLS = re.compile(r"""['"《》<>〈〉]\(\)\‘\’""")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _normalize_klue_mrc(answer: str) -> str:
    answer = _KLUE_MRC_MEANT_AS_SYMBOLS.sub(" ", answer.lower())
    return " ".join(answer.translate(_PUNCTUATION).split())


def _common_run_f1(prediction: str, reference: str) -> float:
    """F1 of the longest common substring (0..1).

    As in the official program, difflib's junk heuristic is enabled: in references of 200 or more
    characters, frequent characters are ignored.
    """
    if not reference:
        return float(not prediction)
    matcher = difflib.SequenceMatcher(None, prediction, reference)
    size = matcher.find_longest_match(0, len(prediction), 0, len(reference)).size
    precision = size / len(prediction) if prediction else 0.0
    recall = size / len(reference)
    if precision + recall == 0.0:
        return 0.0
    return 2 * (precision * recall) / (precision + recall)


@metric("exact_match", "rouge_w")
def klue_mrc(
    targets: Sequence[Sequence[str]], predictions: Sequence[str | None]
) -> dict[str, Mean]:
    """Exact match and the "ROUGE-W" of KLUE-MRC: best over the references, mean over questions.

    Source: KLUE-baseline, klue_mrc_em and klue_mrc_rouge_w. Its ROUGE-W is not a weighted
    longest common subsequence but the F1 of the longest common substring, spaces included.

    Args:
        targets: the references of each question; empty for a question without an answer, whose
            only right answer is "".
        predictions: the answers; "" means no answer, None is always wrong.

    Edge cases: case and ASCII punctuation are ignored, quotes such as 《》‘’ are not.
    """
    exact, rouge_w = [], []
    for references, prediction in zip(targets, predictions, strict=True):
        if prediction is None:
            exact.append(0.0)
            rouge_w.append(0.0)
            continue
        answer = _normalize_klue_mrc(prediction)
        wanted = [_normalize_klue_mrc(reference) for reference in references] or [""]
        exact.append(float(answer in wanted))
        rouge_w.append(max(_common_run_f1(answer, reference) for reference in wanted))
    return {"exact_match": Mean(exact), "rouge_w": Mean(rouge_w)}


# ------------------------------------------------------------------------------------ KorQuAD

_KORQUAD_SYMBOLS = str.maketrans(dict.fromkeys("'\"《》<>〈〉()‘’", " "))


def _normalize_korquad(answer: str) -> str:
    answer = answer.translate(_KORQUAD_SYMBOLS).lower()
    return " ".join(answer.translate(_PUNCTUATION).split())


def _character_f1(prediction: str, reference: str) -> float:
    """F1 of the characters of two normalised answers, without spaces (0..1)."""
    ours = collections.Counter(prediction.replace(" ", ""))
    theirs = collections.Counter(reference.replace(" ", ""))
    num_same = sum((ours & theirs).values())
    if num_same == 0:
        return 0.0
    precision, recall = num_same / sum(ours.values()), num_same / sum(theirs.values())
    return (2 * precision * recall) / (precision + recall)


@metric("exact_match", "f1")
def korquad(targets: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> dict[str, Mean]:
    """Exact match and character F1 of KorQuAD 1.0: best over the references, mean over questions.

    Source: korquad.github.io, evaluate-v1.0.py.

    Edge cases: None (no output) scores 0, like a missing id in the official program; if both
    answers are empty after normalisation, exact match is 1 and F1 is 0.
    """
    exact, f1 = [], []
    for references, prediction in zip(targets, predictions, strict=True):
        answer = None if prediction is None else _normalize_korquad(prediction)
        wanted = [_normalize_korquad(reference) for reference in references]
        exact.append(float(answer in wanted))
        overlaps = [] if answer is None else [_character_f1(answer, text) for text in wanted]
        f1.append(max(overlaps, default=0.0))
    return {"exact_match": Mean(exact), "f1": Mean(f1)}


# Elements whose content is not text of the page.
_UNSEEN = ("script", "style", "template")


class _Text(HTMLParser):
    """Collects the text of HTML, like BeautifulSoup's `get_text`."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._hidden += tag in _UNSEEN

    def handle_endtag(self, tag: str) -> None:
        self._hidden = max(0, self._hidden - (tag in _UNSEEN))

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.pieces.append(data)


def text_of_html(html: str) -> str:
    """The text of HTML without its tags.

    >>> text_of_html("<p>가 <b>나</b> &lt; 1 < 2</p>")
    '가 나 < 1 < 2'
    """
    parser = _Text()
    parser.feed(html)
    parser.close()
    return "".join(parser.pieces)


def _normalize_korquad2(answer: str) -> str:
    return _normalize_korquad(text_of_html(answer)).replace(" ", "")


@metric("exact_match", "f1")
def korquad2(
    targets: Sequence[Sequence[str]], predictions: Sequence[str | None]
) -> Mapping[str, Statistic]:
    """Exact match and character F1 of KorQuAD 2.1: `korquad` without HTML tags and spaces.

    Source: the description of korquad.github.io's evaluate-2.0.py.
    """
    clean = [[_normalize_korquad2(text) for text in references] for references in targets]
    answers = [None if text is None else _normalize_korquad2(text) for text in predictions]
    return korquad.statistics(clean, answers)


@metric("exact_match")
def exact_match(targets: Sequence[str], predictions: Sequence[str | None]) -> dict[str, Mean]:
    """The share of texts that equal the target, after NFC and collapsing white space."""
    pairs = zip(targets, predictions, strict=True)
    return {
        "exact_match": Mean(
            [float(text is not None and _eojeols(text) == _eojeols(gold)) for gold, text in pairs]
        )
    }


# ---------------------------------------------------------------------------- dialogue states


def _turn_f1(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """F1 of the slots of a turn, duplicates included (0..1)."""
    if not gold:
        return float(not predicted)
    hits = sum(slot in predicted for slot in gold)
    false_alarms = sum(slot not in gold for slot in predicted)
    precision = hits / (hits + false_alarms) if hits + false_alarms else 0.0
    recall = hits / len(gold)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@metric("joint_goal_accuracy", "slot_f1", "slot_micro_f1")
def dialogue_state(
    targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str] | None]
) -> dict[str, Statistic]:
    """Scores of dialogue states, one list of "domain-slot-value" per user turn.

    * `joint_goal_accuracy`: the share of turns with the right set of slots; empty states match.
    * `slot_f1`: the mean F1 of the turns, which the official program calls micro F1; a turn without
      gold slots scores 1 for an empty prediction and 0 otherwise.
    * `slot_micro_f1`: F1 of hits, false alarms and misses summed over all turns; 0 without slots.

    Source: KLUE-baseline, wos_jga, wos_slot_micro_f1 and compute_prf_for_wos. Values are compared
    verbatim. None is always wrong, even for an empty gold state.
    """
    joint, per_turn, counts = [], [], []
    for gold, predicted in zip(targets, predictions, strict=True):
        wanted, slots = set(gold), set(predicted or ())
        joint.append(predicted is not None and slots == wanted)
        per_turn.append(0.0 if predicted is None else _turn_f1(gold, predicted))
        counts.append([len(slots & wanted), len(wanted), len(slots)])
    return {
        "joint_goal_accuracy": Mean(joint),
        "slot_f1": Mean(per_turn),
        "slot_micro_f1": Sums(np.array(counts, dtype=np.float64), _micro_f1),
    }


def _micro_f1(sums: np.ndarray) -> np.ndarray:
    """F1 x 100 from (hits, gold, predicted); 0 if there are no slots."""
    return f1_of_counts(*np.moveaxis(sums, -1, 0), absent=0.0) * 100.0


# ----------------------------------------------------------------------------------- summaries


def _syllables(text: str) -> list[str]:
    """The characters without white space, composed (NFC): Hangul syllables, letters, digits."""
    return [character for character in unicodedata.normalize("NFC", text) if character.strip()]


def _eojeols(text: str) -> list[str]:
    """The words between white space, composed (NFC)."""
    return unicodedata.normalize("NFC", text).split()


@functools.cache  # loading the model often takes longer than scoring
def _kiwi_morphemes() -> Callable[[str], list[str]] | None:
    """kiwipiepy's analyser; None if it is not installed."""
    try:
        from kiwipiepy import Kiwi  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    kiwi = Kiwi()
    return lambda text: [token.form for token in kiwi.tokenize(text)]


class _Pretokenized:
    """A tokenizer for rouge_score whose input is tokenized already."""

    @staticmethod
    def tokenize(units: list[str]) -> list[str]:
        """The units, unchanged."""
        return units


_ROUGE = ("rouge1", "rouge2", "rougeL")


def longest_common_subsequence(one: Sequence[str], other: Sequence[str]) -> int:
    """The length of the longest common subsequence (Hyyrö, Bit-parallel LCS-length computation
    revisited, 2004).

    rouge_score fills a table of all pairs of units: 64 ms for two summaries of 500 syllables. Here
    each row of that table is the bits of an integer, computed by one addition: 0.25 ms.
    """
    places: dict[str, int] = {}
    for number, unit in enumerate(one):
        places[unit] = places.get(unit, 0) | 1 << number
    # Bit i is zero if the length increases at unit i.
    every = bits = (1 << len(one)) - 1
    for unit in other:
        matches = bits & places.get(unit, 0)
        bits = (bits + matches | bits - matches) & every
    return len(one) - bits.bit_count()


def _rouge_l(target: list[str], prediction: list[str]) -> float:
    from rouge_score.scoring import fmeasure

    if not target or not prediction:
        return 0.0
    common = longest_common_subsequence(target, prediction)
    return fmeasure(common / len(prediction), common / len(target))


@metric(*(f"{kind}[{unit}]" for unit in ("syllable", "eojeol") for kind in _ROUGE))
def rouge(targets: Sequence[str], predictions: Sequence[str | None]) -> dict[str, Mean]:
    """ROUGE-1, -2 and -L (F1, mean over summaries), with the tokenizer in the name of the score.

    `[syllable]` counts characters except white space, `[eojeol]` words between white space, and
    `[kiwi]` morphemes if kiwipiepy is installed. rouge_score's own tokenizer keeps only Latin
    letters and digits, so that equal Korean texts score 0: scores made with it (those published for
    KE-T5) are not comparable. There is no official program for the NIKL summaries.

    Edge cases: the score is a plain mean, not a bootstrap median, and therefore reproducible;
    ROUGE-L treats the summary as one sentence; an empty or missing text scores 0; a text of one
    unit has no bigrams, so that ROUGE-2 is 0 even for equal texts.
    """
    from rouge_score.rouge_scorer import RougeScorer

    units = {"syllable": _syllables, "eojeol": _eojeols, "kiwi": _kiwi_morphemes()}
    means = {}
    for unit, tokenize in units.items():
        if tokenize is None:
            continue
        scorer = RougeScorer(list(_ROUGE[:2]), tokenizer=_Pretokenized)
        values: dict[str, list[float]] = {kind: [] for kind in _ROUGE}
        for target, prediction in zip(targets, predictions, strict=True):
            units_of_both = tokenize(target), tokenize(prediction or "")
            for kind, score in scorer.score(*units_of_both).items():
                values[kind].append(score.fmeasure)
            values[_ROUGE[2]].append(_rouge_l(*units_of_both))
        means |= {f"{kind}[{unit}]": Mean(found) for kind, found in values.items()}
    return means


@metric("bleu[intl]")
def bleu(targets: Sequence[str], predictions: Sequence[str | None]) -> dict[str, Sums]:
    """BLEU of the whole split by sacrebleu with its `intl` tokenizer (words and punctuation marks).

    The settings are those of T5 and KE-T5 (exponential smoothing, case-sensitive). Edge case: a
    split without any 4-gram scores 0.
    """
    from sacrebleu.metrics.bleu import BLEU

    # force: no warning on standard error about tokenized texts.
    scorer = BLEU(tokenize="intl", force=True)
    rows = []
    for target, prediction in zip(targets, predictions, strict=True):
        one = scorer.corpus_score([prediction or ""], [[target]])
        rows.append([one.sys_len, one.ref_len, *one.counts, *one.totals])
    return {"bleu[intl]": Sums(np.array(rows, dtype=np.float64), _bleu)}


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU from (predicted words, reference words, matching n-grams, predicted n-grams)."""
    from sacrebleu.metrics.bleu import BLEU

    scores = []
    for row in np.rint(sums).astype(int).reshape(-1, sums.shape[-1]).tolist():
        (size, reference_size), half = row[:2], len(row) // 2
        hits, totals = row[2 : half + 1], row[half + 1 :]
        one = BLEU.compute_bleu(hits, totals, size, reference_size, smooth_method="exp")
        scores.append(one.score)
    return np.array(scores).reshape(sums.shape[:-1])
