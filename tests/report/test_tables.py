"""Confusion matrices and scores per type, compared with values computed by hand."""

import math

import pytest

from ke_t5.pipe import FunctionDataSource, Task
from ke_t5.report import tables
from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_TC
from ke_t5.task.metrics.statistics import macro_f1_of


def task_of(*, form="sequence_classification", labels=None, metric_fns=()):
    source = FunctionDataSource(lambda split: [], ["test"], {"text": "string"})
    return Task("toy", source, (), {}, form=form, labels=labels, metric_fns=metric_fns)


def lines_of(*pairs):
    return [
        {"id": i, "inputs": "", "gold": gold, "prediction": said}
        for i, (gold, said) in enumerate(pairs)
    ]


TREE = {"heads": [2, 0], "relations": ["NP_SBJ", "VP"]}


@pytest.mark.parametrize(
    ("task", "gold", "kind"),
    [
        (task_of(labels=("a", "b")), "a", "labels"),
        (task_of(form="seq2seq", metric_fns=(metrics.accuracy,)), "a", "labels"),
        (task_of(form="seq2seq", metric_fns=(metrics.rouge,)), "a", "answers"),
        (task_of(labels=("similarity",)), 3.5, "numbers"),
        (task_of(form="token_classification", labels=("O",)), ["O"], "tags"),
        (task_of(form="question_answering"), ["a"], "answers"),
        (task_of(form="dependency_parsing", labels=("VP",)), TREE, "trees"),
        (task_of(labels=("a",)), None, "answers"),
    ],
)
def test_the_kind_follows_from_the_gold_answers(task, gold, kind):
    assert tables.kind_of(task, lines_of((None, gold), (gold, gold))) == kind


def test_confusion_counts_gold_by_predicted_in_the_order_of_the_labels():
    lines = lines_of(("b", "a"), ("a", "a"), ("b", "b"), ("b", "a"), ("a", "a"))
    found = tables.confusion(task_of(labels=("a", "z", "b")), lines)
    assert found.names == found.glosses == found.columns == ("a", "b")
    assert found.counts.tolist() == [[2, 0, 0], [2, 1, 0]]


def test_unparsable_answers_have_their_own_column():
    lines = lines_of(("정치", None), ("경제", "정치"))
    found = tables.confusion(task_of(form="seq2seq", metric_fns=(metrics.accuracy,)), lines)
    assert found.names == ("경제", "정치")
    assert found.glosses == ("economy", "politics")
    assert found.columns == ("경제", "정치", "unparsable")
    assert found.counts.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert tables.confusion_text(found).splitlines() == [
        "confusion matrix: rows are gold, columns predicted",
        "          0  1  unparsable",
        "  0 경제  .  1           .",
        "  1 정치  .  .           1",
    ]


def test_labels_of_unknown_tasks_are_sorted():
    lines = lines_of(("z", "y"), ("y", "x"))
    assert tables.confusion(task_of(), lines).names == ("x", "y", "z")
    assert tables.labels_like(["z"]) is None
    assert tables.labels_like(["정치", "세계"]) is KLUE_TC


def test_scores_per_type_of_entity():
    gold = ["B-PS", "I-PS", "O", "B-LC", "O"]
    said = ["B-PS", "I-PS", "O", "B-PS", "O"]
    lines = lines_of((gold, said), (["B-PS"], None), (["I-PS"], ["I-PS"]))
    people, places = tables.scores_per_type(tables.counts_by_type("tags", lines))
    assert (people.name, people.support, people.predicted) == ("PS", 2, 2)
    assert (people.precision, people.recall, people.f1) == (50.0, 50.0, 50.0)
    assert (places.name, places.precision, places.recall, places.f1) == ("LC", 0.0, 0.0, 0.0)


def test_scores_per_type_agree_with_the_metric():
    gold = [["B-PS", "I-PS", "O", "B-LC"], ["B-DT", "O", "O", "B-PS"]]
    said = [["B-PS", "I-PS", "O", "B-DT"], ["B-DT", "I-DT", "O", "B-PS"]]
    lines = lines_of(*zip(gold, said, strict=True))
    types = tables.scores_per_type(tables.counts_by_type("tags", lines))
    mean = math.fsum(kind.f1 for kind in types) / len(types)
    assert mean == pytest.approx(metrics.entity_f1(gold, said)["entity_f1"])


def test_a_relation_is_right_only_with_the_right_head():
    said = {"heads": [0, 0], "relations": ["NP_SBJ", "VP"]}
    counts = tables.counts_by_type("trees", lines_of((TREE, said), (TREE, None)))
    by_name = {kind.name: kind for kind in tables.scores_per_type(counts)}
    assert (by_name["VP"].precision, by_name["VP"].recall) == (100.0, 50.0)
    assert (by_name["NP_SBJ"].f1, by_name["NP_SBJ"].support) == (0.0, 2)


def test_types_are_sorted_by_support_and_rare_ones_are_only_on_the_page():
    rows = [[(f"type{i}", None)] * (i + 1) for i in range(45)]
    types = tables.scores_per_type(macro_f1_of(rows))
    assert [kind.support for kind in types] == list(range(45, 0, -1))
    lines = tables.types_text(types).splitlines()
    assert lines[0].split() == ["type", "precision", "recall", "F1", "support"]
    assert len(lines) == 1 + tables.MAX_TYPES + 1
    assert lines[-1] == "  5 rarer types are in report.html"


def test_without_types_there_are_no_scores():
    assert tables.scores_per_type(macro_f1_of([[], []])) == []


def test_hangul_takes_two_columns_composed_or_decomposed():
    assert tables.width_of("가a") == 3
    assert tables.width_of("é") == 1
    assert tables.aligned(["", "n"], ["가", "abc"], [["1"], ["22"]]) == [
        "        n",
        "  가    1",
        "  abc  22",
    ]
