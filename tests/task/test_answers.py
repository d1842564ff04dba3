"""Answers from start and end scores over windows."""

import numpy as np
import pytest

from ke_t5.task.qa.answers import Answer, Window, best_answer, best_answers, null_score

CONTEXT = "서울은 한국의 수도이다"
OFFSETS = [None, (0, 2), (2, 3), (4, 6), (6, 7), (8, 10), (10, 12), None]


def window(start, end, *, high=5.0, null=0.0, offsets=OFFSETS):
    starts, ends = np.zeros(len(offsets)), np.zeros(len(offsets))
    starts[start] = ends[end] = high
    starts[0] = ends[0] = null
    return Window(starts, ends, offsets)


def test_best_answer_is_a_slice_of_the_passage():
    assert best_answer(CONTEXT, [window(3, 4)]) == "한국의"
    assert best_answers(CONTEXT, [window(3, 4)])[0] == Answer("한국의", 4, 7, 10.0)


def test_best_answer_over_windows_wins():
    late = [None, *OFFSETS[3:]]
    assert best_answer(CONTEXT, [window(1, 1), window(3, 4, high=6.0, offsets=late)]) == "수도이다"


@pytest.mark.parametrize(("start", "end"), [(4, 3), (0, 3), (3, 7)])
def test_pairs_out_of_order_or_outside_the_passage_do_not_count(start, end):
    assert best_answers(CONTEXT, [window(start, end)])[0].score == 5.0


def test_answers_are_at_most_so_many_tokens_long():
    assert best_answer(CONTEXT, [window(1, 6)]) == CONTEXT
    shorter = best_answers(CONTEXT, [window(1, 6)], max_answer_tokens=5)
    assert shorter[0].score == 5.0


def test_best_answers_come_in_order_each_text_once():
    answers = best_answers(CONTEXT, [window(3, 4), window(3, 4, high=2.0)], num_best=4)
    assert len(answers) == 4 == len({answer.text for answer in answers})
    assert [a.score for a in answers] == sorted((a.score for a in answers), reverse=True)


def test_no_answer_must_beat_the_best_one_by_the_threshold():
    unsure = [window(3, 4, null=5.5), window(3, 4, null=6.0)]
    assert null_score(unsure) == 11.0
    assert best_answer(CONTEXT, unsure) == "한국의"
    assert best_answer(CONTEXT, unsure, null_position=0) == ""
    assert best_answer(CONTEXT, unsure, null_position=0, null_threshold=1.0) == "한국의"


def test_a_passage_without_tokens_has_no_answer():
    assert best_answer("", [Window([1.0], [1.0], [None])]) == ""


def test_best_answer_equals_a_search_over_all_pairs():
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts, ends = rng.normal(size=8), rng.normal(size=8)
        scores = {(i, j): starts[i] + ends[j] for i in range(1, 7) for j in range(i, min(i + 3, 7))}
        i, j = max(scores, key=scores.get)
        text = CONTEXT[OFFSETS[i][0] : OFFSETS[j][1]]
        found = best_answer(CONTEXT, [Window(starts, ends, OFFSETS)], max_answer_tokens=3)
        assert found == text
