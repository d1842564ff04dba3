"""Bootstrap intervals: the shortcuts are the metrics, and the draws are told honestly."""

import itertools
import math
import random

import numpy as np
import pytest

from ke_t5.pipe import Evaluated, FunctionDataSource, Task
from ke_t5.pipe.evaluation import compute_scores
from ke_t5.recipes import intervals
from ke_t5.recipes.intervals import bootstrap
from ke_t5.recipes.shortcuts import SHORTCUTS
from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_DP, KLUE_NER, KLUE_RE

NUM_ROWS = 40


def some_tags(pick, length):
    """Tags of which some are impossible in IOB2."""
    tags = []
    while len(tags) < length:
        kind = pick.choice(["PS", "LC"])
        entity = [f"B-{kind}", *[f"I-{kind}"] * pick.randint(0, 2)]
        tags += pick.choice([entity, ["O"], ["O"], [f"I-{kind}"]])
    return tags[:length]


def some_tree(pick, length):
    return {
        "heads": [pick.randint(0, 4) for _ in range(length)],
        "relations": [pick.choice(KLUE_DP.names[:20]) for _ in range(length)],
    }


def damaged(pick, gold, other):
    """A prediction: mostly the gold, now and then something else or nothing."""
    return pick.choices([gold, other, None], weights=[6, 3, 1])[0]


def rows_for(metric, seed=5):
    """(targets, predictions, scores or None) that suit a metric."""
    pick = random.Random(seed)
    texts = ["서울 시청", "부산", "서울특별시 시청 앞", "날씨가 좋다", "좋다"]
    gold, said, scores = [], [], None
    for _ in range(NUM_ROWS):
        length = pick.randint(1, 9)
        makers = {
            metrics.klue_dp: lambda n=length: some_tree(pick, n),
            metrics.klue_mrc: lambda: pick.sample(texts, pick.randint(0, 2)),
            metrics.korquad: lambda: pick.sample(texts, pick.randint(1, 2)),
            metrics.dialogue_state: lambda: pick.sample(texts, pick.randint(0, 3)),
            metrics.rouge: lambda: pick.choice(texts),
            **dict.fromkeys((metrics.entity_f1, metrics.entity_f1_micro, metrics.character_f1),
                            lambda n=length: some_tags(pick, n)),
        }  # fmt: skip
        make = makers.get(metric, lambda: pick.choice(["가", "나", "다"]))
        gold.append(make())
        is_answer = metric in (metrics.klue_mrc, metrics.korquad)
        same = (gold[-1] or [""])[0] if is_answer else gold[-1]
        said.append(damaged(pick, same, pick.choice(texts) if is_answer else make()))
    if metric is metrics.auprc:
        gold = [pick.choice(KLUE_RE.names[:6]) for _ in gold]
        scores = [[pick.randint(0, 9) / 10 for _ in KLUE_RE.names] for _ in gold]
    return gold, said, scores


def task_of(*metric_fns):
    source = FunctionDataSource(lambda split: [], ["test"], {"text": "string"})
    return Task("toy", source, (), {}, form="sequence_classification", metric_fns=metric_fns)


def evaluated_on(task, gold, said, scores=None, prefix=""):
    lines = [
        {"id": i, "inputs": "", "gold": g, "prediction": p}
        for i, (g, p) in enumerate(zip(gold, said, strict=True))
    ]
    scores = scores or [None] * len(gold)
    values = compute_scores(task, gold, said, scores, prefix=prefix)
    return Evaluated(values, len(gold), len(gold), sum(p is None for p in said), lines, scores)


@pytest.mark.parametrize("metric", SHORTCUTS, ids=lambda metric: metric.__name__)
def test_shortcut_gives_what_the_metric_gives_on_each_draw(metric):
    gold, said, scores = rows_for(metric)
    columns = [gold, said] if scores is None else [gold, said, scores]
    shortcuts = SHORTCUTS[metric](metric, *columns)
    for sample in intervals._samples(NUM_ROWS, seed=1, num_draws=5):
        wanted = metric(*([column[i] for i in sample] for column in columns))
        counts = np.bincount(sample, minlength=NUM_ROWS)[None, :].astype(float)
        for name, shortcut in shortcuts.items():
            if name != "slot_micro_f1":  # no mean over rows: the next test
                assert shortcut(counts)[0] == pytest.approx(wanted[name], abs=1e-9)


def test_score_whose_shortcut_is_wrong_is_drawn_by_its_metric():
    gold, said, _ = rows_for(metrics.dialogue_state)
    task = task_of(metrics.dialogue_state)
    found = bootstrap(task, evaluated_on(task, gold, said), num_draws=120)
    drawn = [
        metrics.dialogue_state([gold[i] for i in s], [said[i] for i in s])["slot_micro_f1"]
        for s in intervals._samples(NUM_ROWS, seed=0, num_draws=120)
    ]
    interval = found.intervals["slot_micro_f1"]
    assert [interval.low, interval.high] == pytest.approx(np.percentile(drawn, [2.5, 97.5]))
    assert set(found.row_values) == {"joint_goal_accuracy", "slot_f1"}


def test_class_without_gold_has_half_an_area():
    gold, _, scores = rows_for(metrics.auprc)
    (shortcut,) = SHORTCUTS[metrics.auprc](metrics.auprc, gold, gold, scores).values()
    official = metrics.auprc(gold, gold, scores)["auprc"]
    assert shortcut(np.ones((1, NUM_ROWS)))[0] == pytest.approx(official)


def test_probabilities_without_ties_need_no_thresholds():
    pick = random.Random(2)
    gold = [pick.choice(KLUE_RE.names) for _ in range(NUM_ROWS)]
    scores = [[pick.random() for _ in KLUE_RE.names] for _ in gold]
    (shortcut,) = SHORTCUTS[metrics.auprc](metrics.auprc, gold, gold, scores).values()
    assert shortcut.ends is None
    official = metrics.auprc(gold, gold, scores)["auprc"]
    assert shortcut(np.ones((1, NUM_ROWS)))[0] == pytest.approx(official)


def test_intervals_hold_the_score_and_are_the_same_each_time():
    task = task_of(metrics.accuracy, metrics.macro_f1)
    gold, said, _ = rows_for(metrics.accuracy)
    evaluated = evaluated_on(task, gold, said)
    first, second = bootstrap(task, evaluated), bootstrap(task, evaluated)
    assert first.intervals == second.intervals
    assert set(first.intervals) == {"accuracy", "macro_f1"}
    for name, interval in first.intervals.items():
        assert interval.low < evaluated.scores[name] < interval.high
        assert (interval.num_draws, interval.num_undefined) == (1000, 0)


def test_interval_of_an_accuracy_is_near_the_textbooks():
    hits = [True] * 300 + [False] * 100
    task = task_of(metrics.accuracy)
    evaluated = evaluated_on(task, ["a"] * 400, ["a" if hit else "b" for hit in hits])
    interval = bootstrap(task, evaluated).intervals["accuracy"]
    half = 196 * math.sqrt(0.75 * 0.25 / 400)
    assert [interval.low, interval.high] == pytest.approx([75 - half, 75 + half], abs=0.6)


def test_teacher_forced_scores_keep_their_name():
    task = task_of(metrics.accuracy)
    evaluated = evaluated_on(task, ["a", "b"] * 9, ["a", "a"] * 9, prefix="teacher_forced_")
    assert set(bootstrap(task, evaluated).intervals) == {"teacher_forced_accuracy"}


def test_draws_without_a_number_are_left_out_and_counted():
    task = task_of(metrics.pearson)
    gold, said = [0.0] * 7 + [5.0], [0.0] * 7 + [4.0]
    interval = bootstrap(task, evaluated_on(task, gold, said)).intervals["pearson"]
    assert interval.num_undefined == pytest.approx(1000 * (7 / 8) ** 8, abs=60)
    assert (interval.low, interval.high) == pytest.approx((100.0, 100.0))


def test_slow_metric_is_drawn_less_often_but_often_enough(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(intervals.time, "monotonic", lambda: next(clock))
    task = task_of(metrics.f1_of("a"))
    evaluated = evaluated_on(task, ["a", "b"] * 20, ["a", "a"] * 20)
    patient = bootstrap(task, evaluated, seconds=150).intervals["f1"]
    assert patient.num_draws == intervals.FEWEST_DRAWS
    impatient = bootstrap(task, evaluated, seconds=40).intervals["f1"]
    assert impatient.num_draws == 121
    assert not bootstrap(task, evaluated, seconds=20).intervals


def test_slow_shortcut_ends_early_too(monkeypatch):
    clock = itertools.count(step=100)
    monkeypatch.setattr(intervals.time, "monotonic", lambda: next(clock))
    task = task_of(metrics.accuracy)
    evaluated = evaluated_on(task, ["a", "b"] * 20, ["a", "a"] * 20)
    assert bootstrap(task, evaluated, seconds=1000).intervals["accuracy"].num_draws == 200


def test_one_row_or_none_has_no_interval():
    task = task_of(metrics.accuracy)
    assert not bootstrap(task, evaluated_on(task, ["a"], ["a"])).intervals
    assert not bootstrap(task, Evaluated({}, 3, 0, 0, [])).intervals


def test_tags_of_other_lists_than_klues_are_counted():
    gold, said = [["B-ZZ", "I-ZZ", "O"]] * 9, [["B-ZZ", "I-ZZ", "O"]] * 6 + [["O", "O", "O"]] * 3
    task = task_of(metrics.entity_f1)
    assert "B-ZZ" not in KLUE_NER.names
    interval = bootstrap(task, evaluated_on(task, gold, said)).intervals["entity_f1"]
    assert interval.low < 80.0 < interval.high
