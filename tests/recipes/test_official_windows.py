"""Answers over windows equal those of the official rule, reimplemented here without numpy."""

from __future__ import annotations

import random

import numpy as np
import pytest

from ke_t5.task.qa import answers, passages
from ke_t5.task.qa.layouts import Layout

NUM_BEST, MAX_TOKENS = 5, 6


def official_windows(num_tokens, room, stride):
    """(start, length) of BERT's `run_squad`: until one holds the last token."""
    found, start = [], 0
    while start < num_tokens:
        length = min(num_tokens - start, room)
        found.append((start, length))
        if start + length == num_tokens:
            break
        start += min(length, stride)
    return found


def has_most_context(windows, chosen, position):
    best, best_score = None, None
    for number, (start, length) in enumerate(windows):
        end = start + length - 1
        if position < start or position > end:
            continue
        score = min(position - start, end - position) + 0.01 * length
        if best_score is None or score > best_score:
            best, best_score = number, score
    return best == chosen


def official_answer(text, windows, logits, num_head, may_be_impossible):
    """`compute_predictions_logits` of transformers, which KLUE-baseline calls. Each character is a
    token here, so that the answer is a slice of the text."""
    candidates, null = [], None
    for number, (start, length) in enumerate(windows):
        starts, ends = ([float(x) for x in side[number]] for side in logits)
        zero = starts[0] + ends[0]
        null = zero if null is None or zero < null else null
        of_passage = range(num_head, num_head + length)
        best = [sorted(range(len(side)), key=lambda i, side=side: -side[i])[:NUM_BEST]
                for side in (starts, ends)]  # fmt: skip
        for i in best[0]:
            for j in best[1]:
                if i not in of_passage or j not in of_passage:
                    continue
                if not has_most_context(windows, number, start + i - num_head):
                    continue
                if j < i or j - i + 1 > MAX_TOKENS:
                    continue
                first, last = start + i - num_head, start + j - num_head
                candidates.append((starts[i] + ends[j], text[first : last + 1]))
    if not candidates:
        return ""
    score, answer = max(candidates, key=lambda candidate: candidate[0])
    return "" if may_be_impossible and null - score > 0 else answer


def random_case(pick, monkeypatch):
    """(text, examples of its windows, records of random scores, official windows, tokens before)"""
    num_tokens, num_head = pick.randint(1, 60), pick.randint(1, 6)
    stride = pick.randint(1, 9)
    monkeypatch.setattr(passages, "STRIDE", stride)
    room = pick.randint(2 * stride, 2 * stride + 12)
    text = "".join(chr(0xAC00 + pick.randint(0, 9999)) for _ in range(num_tokens))
    places = [[i, i + 1] for i in range(num_tokens)]
    whole = list(range(num_head + num_tokens + 1))
    passage = whole[num_head:-1]
    layout = Layout(whole[:num_head], passage, whole[-1:], places, is_question_cut=False)
    row = {"_id": 0, "question": "?", "context": text, "answers": [], "is_impossible": False}
    limit = num_head + room + 1
    examples = passages._windows_of(row, {"input_ids": whole}, layout, limit)
    sizes = [len(example["input_ids"]) for example in examples]
    rng = np.random.default_rng(pick.randint(0, 10**9))
    # Integers: many scores are equal, and how ties are broken is part of the rule.
    is_whole = pick.random() < 0.3
    records = [
        {side: rng.integers(0, 9, n).astype(float) if is_whole else rng.normal(0, 3, n)
         for side in ("start", "end")}
        for n in sizes
    ]  # fmt: skip
    return text, examples, records, official_windows(num_tokens, room, stride), num_head


@pytest.mark.parametrize("may_be_impossible", [True, False], ids=["KLUE-MRC", "KorQuAD"])
def test_answers_are_the_official_ones(monkeypatch, may_be_impossible):
    monkeypatch.setattr(answers.best_answers, "__kwdefaults__",
                        {"num_best": NUM_BEST, "max_answer_tokens": MAX_TOKENS})  # fmt: skip
    pick = random.Random(20)
    num_others = num_windows = num_empty = 0
    for _ in range(600):
        text, examples, records, windows, num_head = random_case(pick, monkeypatch)
        assert len(windows) == len(examples)
        found, _ = passages.decode_answer(records, examples, may_be_impossible=may_be_impossible)
        logits = [[record[side] for record in records] for side in ("start", "end")]
        assert found == official_answer(text, windows, logits, num_head, may_be_impossible)
        anywhere = [{**example, "may_start": None} for example in examples]
        other, _ = passages.decode_answer(records, anywhere, may_be_impossible=may_be_impossible)
        num_others += other != found
        num_windows += len(windows)
        num_empty += found == ""
    # The cases have several windows, and would fail without the rule.
    assert num_windows > 1800 and num_others > 60
    assert num_empty > 20 or not may_be_impossible


def test_an_answer_may_start_in_one_window_only():
    windows = [(0, 6), (3, 9), (6, 11)]
    masks = answers.max_context(windows)
    places = [start + i for (start, _), mask in zip(windows, masks, strict=True)
              for i, may in enumerate(mask) if may]  # fmt: skip
    assert sorted(places) == list(range(11))
    assert [mask.tolist() for mask in answers.max_context([(0, 0)])] == [[]]


def test_an_answer_that_ends_outside_of_its_window_is_counted_as_lost(monkeypatch):
    """The whole answer is in another window, in which it may not start."""
    monkeypatch.setattr(passages, "STRIDE", 4)
    text = "가나다라마바사아자차카타파하"
    layout = Layout([0], list(range(1, 15)), [15], [[i, i + 1] for i in range(14)], False)
    reached = {}
    for length in (2, 5):
        row = {"_id": 0, "question": "?", "context": text, "is_impossible": False,
               "answers": [{"text": text[4 : 4 + length], "start": 4}]}  # fmt: skip
        example = passages._windows_of(row, {"input_ids": list(range(16))}, layout, 10)[0]
        reached[length] = not example[f"{passages.LOST}{passages.UNREACHABLE}"]
    assert reached == {2: True, 5: False}
