"""Multi-label tasks: metrics, target texts, and both forms of a task."""

from __future__ import annotations

import random

import pytest

from ke_t5.task import text
from ke_t5.task.labels import Labels
from ke_t5.task.metrics import label_sets

MOODS = Labels(("기쁨", "슬픔", "놀람"), keys=("0", "1", "2"))


def random_sets(seed: int, num_rows: int, names: tuple[str, ...]) -> list[list[str]]:
    generator = random.Random(seed)
    return [[name for name in names if generator.random() < 0.4] for _ in range(num_rows)]


# --------------------------------------------------------------------------------------- metrics


def test_scores_of_a_corpus_that_is_computed_by_hand():
    gold = [["a", "b"], ["c"], [], ["a"]]
    predicted = [["a"], ["c", "b"], [], None]
    found = label_sets(3)(gold, predicted)
    # a: 1 of 2 gold, 1 predicted; b: 0 of 1, 1 predicted; c: all.
    assert found == pytest.approx({
        "micro_f1": 100 * 4 / 7, "macro_f1": 100 * (2 / 3 + 0 + 1) / 3,
        "exact_match": 25.0, "hamming_score": 100 * (2 / 3 + 2 / 3 + 1 + 0) / 4,
    })  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed):
    from sklearn.metrics import accuracy_score, f1_score, hamming_loss
    from sklearn.preprocessing import MultiLabelBinarizer

    names = tuple("abcdefg")
    gold, predicted = (random_sets(10 * seed + side, 60, names) for side in (0, 1))
    matrices = [MultiLabelBinarizer(classes=names).fit_transform(one) for one in (gold, predicted)]
    expected = {
        "micro_f1": f1_score(*matrices, average="micro"),
        "macro_f1": f1_score(*matrices, average="macro"),
        "exact_match": accuracy_score(*matrices),
        "hamming_score": 1 - hamming_loss(*matrices),
    }
    found = label_sets(len(names))(gold, predicted)
    assert found == pytest.approx({name: 100 * value for name, value in expected.items()})


# ---------------------------------------------------------------------------------- written form


def test_every_set_of_labels_is_read_back_as_it_was_written():
    for chosen in range(8):
        ids = [i for i in range(3) if chosen >> i & 1]
        assert text.text_to_label_set(MOODS, text.label_set_to_text(MOODS, ids)) == ids


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("a", "b"), "a, b"),
        (("a,b", "c"), "a,b | c"),
        (("a,b", "c|d"), "a,b ; c|d"),
        (("a,b", "c|d;"), "a,b || c|d;"),
        (("a,|", "||;"), "a,| ||| ||;"),
    ],
)
def test_labels_are_joined_by_what_none_of_them_contains(names, expected):
    labels = Labels(names)
    assert text.label_set_to_text(labels, [0, 1]) == expected
    assert text.text_to_label_set(labels, expected) == [0, 1]


def test_a_label_may_be_called_none():
    labels = Labels(("none", "a"))
    assert text.label_set_to_text(labels, []) == "no none"
    assert text.text_to_label_set(labels, "no none") == []
    assert text.text_to_label_set(labels, "none") == [0]


@pytest.mark.parametrize("written", ["기쁨, 분노", "", "기쁨 슬픔", "none, 기쁨"])
def test_what_is_no_set_of_labels_is_unparsable(written):
    assert text.text_to_label_set(MOODS, written) is None
