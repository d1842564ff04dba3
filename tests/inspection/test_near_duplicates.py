"""MinHash, compared with an exhaustive comparison of all pairs."""

import random
import time

import pytest

from ke_t5.inspection import near_duplicates
from ke_t5.inspection.near_duplicates import NEAR, jaccard, near_pairs

SYLLABLES = [chr(code) for code in range(ord("가"), ord("가") + 2000)]


def sentence(pick, length):
    return "".join(pick.choice(SYLLABLES) for _ in range(length))


def edited(pick, text, count):
    letters = list(text)
    for place in pick.sample(range(len(letters)), count):
        letters[place] = pick.choice(SYLLABLES)
    return "".join(letters)


def test_it_finds_what_the_comparison_of_all_pairs_finds():
    pick = random.Random(1)
    texts = [sentence(pick, pick.randint(3, 80)) for _ in range(250)]
    texts += [edited(pick, text, pick.randint(1, 3)) for text in texts if len(text) > 10]
    texts = list(dict.fromkeys(texts))
    wanted = {
        (i, j)
        for i in range(len(texts))
        for j in range(i + 1, len(texts))
        if jaccard(texts[i], texts[j]) >= NEAR
    }
    found = near_pairs(texts)
    assert found.is_complete and len(wanted) > 100
    pairs = {(pair.first, pair.second) for pair in found.pairs}
    assert pairs <= wanted and len(pairs) >= 0.97 * len(wanted)
    for pair in found.pairs[:20]:
        assert pair.likeness == jaccard(texts[pair.first], texts[pair.second])
    assert [pair.likeness for pair in found.pairs] == sorted(
        (pair.likeness for pair in found.pairs), reverse=True
    )


def test_case_space_and_punctuation_aside():
    found = near_pairs(["The 영화는 정말 좋았다!", "the영화는... 정말좋았다", "전혀 다른 문장이다"])
    assert found.pairs == [(0, 1, 1.0)]


@pytest.mark.parametrize("texts", [[], ["가"], ["", "가", "나다"], ["!?", ".."]])
def test_texts_without_trigrams_are_near_to_nothing(texts):
    assert near_pairs(texts) == ([], True)


def test_a_crowd_of_near_texts_costs_little_and_is_found():
    pick = random.Random(2)
    text = sentence(pick, 60)
    crowd = list(dict.fromkeys(edited(pick, text, 2) for _ in range(5000)))
    started = time.process_time()
    found = near_pairs(crowd)
    assert time.process_time() - started < 10
    in_a_pair = {place for pair in found.pairs for place in pair[:2]}
    assert len(in_a_pair) > 0.97 * len(crowd)
    assert len(found.pairs) <= near_duplicates.MAX_PAIRS


def test_only_the_beginning_of_a_long_text_counts():
    pick = random.Random(3)
    text = sentence(pick, 300)
    found = near_pairs([text + sentence(pick, 5000), text + sentence(pick, 5000)])
    assert [pair.likeness for pair in found.pairs] == [1.0]
