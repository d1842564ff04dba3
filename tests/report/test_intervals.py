"""Confidence intervals: statistics, methods, missing intervals, and the file of predictions."""

import dataclasses
import json
import math
import random
import re
import time

import numpy as np
import pytest
from scipy import stats

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import Evaluated, FunctionDataSource, Task, TaskRegistry
from ke_t5.pipe.scoring import compute_scores
from ke_t5.recipes.predictions import from_lines, lines_of
from ke_t5.report import intervals, resamples
from ke_t5.report.intervals import bootstrap
from ke_t5.task import metrics, tags
from ke_t5.task.labels import KLUE_DP, KLUE_NER, KLUE_RE
from ke_t5.task.metrics.metric import Metric
from ke_t5.task.metrics.statistics import Mean

NUM_ROWS = 40


def some_tags(pick, length):
    """Random tags, some of them invalid in IOB2."""
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


def some_chains(pick, length):
    """The mentions (0, 1), (1, 2), ... of a document, in random chains."""
    chains = [[] for _ in range(3)]
    for start in range(length):
        pick.choice(chains).append((start, start + 1))
    return chains


def damaged(pick, gold, other):
    """A prediction: usually the gold answer, sometimes another value or None."""
    return pick.choices([gold, other, None], weights=[6, 3, 1])[0]


def rows_for(metric, seed=5):
    """(targets, predictions, scores or None) of the types that the metric expects."""
    pick = random.Random(seed)
    texts = ["서울 시청", "부산", "서울특별시 시청 앞", "날씨가 좋다", "좋다"]
    gold, said, scores = [], [], None
    for _ in range(NUM_ROWS):
        length = pick.randint(1, 9)
        makers = {
            metrics.klue_dp: lambda n=length: some_tree(pick, n),
            metrics.attachment: lambda n=length: some_tree(pick, n),
            metrics.coreference: lambda n=length: some_chains(pick, n),
            metrics.korquad2: lambda: pick.sample(texts, pick.randint(1, 2)),
            metrics.klue_mrc: lambda: pick.sample(texts, pick.randint(0, 2)),
            metrics.korquad: lambda: pick.sample(texts, pick.randint(1, 2)),
            metrics.dialogue_state: lambda: pick.sample(texts, pick.randint(0, 3)),
            metrics.rouge: lambda: pick.choice(texts),
            **dict.fromkeys((metrics.entity_f1, metrics.entity_f1_micro, metrics.character_f1,
                             metrics.word_accuracy),
                            lambda n=length: some_tags(pick, n)),
            metrics.token_accuracy: lambda n=length: [pick.choice(["가", None]) for _ in range(n)],
            **dict.fromkeys((metrics.pearson, metrics.pearson_around_0, metrics.spearman,
                             metrics.f1_at_3, metrics.mean_squared_error),
                            lambda: pick.randint(0, 10) / 2),
            metrics.bleu: lambda: " ".join(pick.choices(texts, k=4)),
        }  # fmt: skip
        make = makers.get(metric, lambda: pick.choice(["가", "나", "다"]))
        gold.append(make())
        is_answer = metric in (metrics.klue_mrc, metrics.korquad, metrics.korquad2)
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


METRICS = [
    *(one for one in map(metrics.__dict__.get, metrics.__all__) if isinstance(one, Metric)),
    metrics.f1_of("가"),
    metrics.micro_f1_without("가"),
]


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_statistics_equal_the_metric_on_each_resample(metric):
    gold, said, scores = rows_for(metric)
    columns = [gold, said] if scores is None else [gold, said, scores]
    statistics = metric.statistics(*columns)
    assert set(statistics) == set(metric(*columns))
    for sample in resamples.samples(NUM_ROWS, seed=1, num_draws=5):
        wanted = metric(*([column[i] for i in sample] for column in columns))
        counts = np.bincount(sample, minlength=NUM_ROWS)[None, :].astype(float)
        every = np.ones((1, NUM_ROWS))
        for name, statistic in statistics.items():
            assert statistic(counts)[0] == pytest.approx(wanted[name], abs=1e-9)
            assert statistic.take(sample)(every)[0] == pytest.approx(wanted[name], abs=1e-9)


def test_every_metric_of_every_task_has_a_statistic():
    for name in TaskRegistry.names():
        for metric in TaskRegistry.get(name).metric_fns:
            assert isinstance(metric, Metric), (name, metric.__name__)


def test_a_statistic_that_does_not_give_the_score_is_not_used():
    class Wrong(Metric):
        __call__ = staticmethod(metrics.accuracy)

    wrong = Wrong(lambda gold, said: {"accuracy": Mean(np.zeros(len(gold)))}, ("accuracy",))
    task = task_of(wrong)
    gold, said, _ = rows_for(metrics.accuracy)
    found = bootstrap(task, evaluated_on(task, gold, said))
    assert found.intervals["accuracy"].num_draws == intervals.NUM_SLOW_DRAWS
    assert not found.row_values


def test_a_plain_function_is_called_on_each_resample():
    def own(targets, predictions):
        return {"own": 100 * sum(map(str.__eq__, targets, predictions)) / len(targets)}

    gold, said = ["a", "b"] * 20, ["a", "b"] * 15 + ["b", "a"] * 5
    interval = bootstrap(task_of(own), evaluated_on(task_of(own), gold, said)).intervals["own"]
    assert (interval.num_draws, interval.method) == (intervals.NUM_SLOW_DRAWS, "BCa")
    assert interval.low < 75.0 < interval.high


def test_a_class_without_gold_rows_counts_half_in_the_auprc():
    gold, _, scores = rows_for(metrics.auprc)
    (statistic,) = metrics.auprc.statistics(gold, gold, scores).values()
    official = metrics.auprc(gold, gold, scores)["auprc"]
    assert statistic(np.ones((1, NUM_ROWS)))[0] == pytest.approx(official)


def test_probabilities_without_ties_need_no_thresholds():
    pick = random.Random(2)
    gold = [pick.choice(KLUE_RE.names) for _ in range(NUM_ROWS)]
    scores = [[pick.random() for _ in KLUE_RE.names] for _ in gold]
    (statistic,) = metrics.auprc.statistics(gold, gold, scores).values()
    assert statistic.ends is None
    official = metrics.auprc(gold, gold, scores)["auprc"]
    assert statistic(np.ones((1, NUM_ROWS)))[0] == pytest.approx(official)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_an_interval_contains_its_score_and_is_deterministic(metric, monkeypatch):
    monkeypatch.setattr(intervals, "MIN_ROWS", 0)
    monkeypatch.setattr(intervals, "MIN_PULLS", 0)
    task = task_of(metric)
    gold, said, scores = rows_for(metric)
    evaluated = evaluated_on(task, gold, said, scores)
    first, second = bootstrap(task, evaluated), bootstrap(task, evaluated)
    assert first.intervals == second.intervals
    assert {*first.intervals, *first.reasons} == set(evaluated.scores)
    for name, interval in first.intervals.items():
        assert interval.low <= evaluated.scores[name] <= interval.high
        assert interval.num_draws == (intervals.NUM_DRAWS if interval.method == "BCa" else 0)


def test_the_number_of_resamples_does_not_depend_on_the_clock(monkeypatch):
    clock = iter(range(10**9))
    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, lambda: 1000.0 * next(clock))
    task = task_of(metrics.macro_f1)
    gold, said, _ = rows_for(metrics.macro_f1)
    interval = bootstrap(task, evaluated_on(task, gold, said)).intervals["macro_f1"]
    assert interval.num_draws == intervals.NUM_DRAWS


def test_the_interval_of_an_accuracy_is_wilsons():
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    task = task_of(metrics.accuracy)
    evaluated = evaluated_on(task, ["a"] * 263, ["a"] * 81 + ["b"] * 182)
    interval = bootstrap(task, evaluated).intervals["accuracy"]
    assert [interval.low, interval.high] == pytest.approx([25.53, 36.62], abs=0.005)
    assert (interval.num_draws, interval.method) == (0, "Wilson")


def test_the_interval_of_a_perfect_accuracy_ends_below_100():
    task = task_of(metrics.accuracy)
    interval = bootstrap(task, evaluated_on(task, ["a"] * 200, ["a"] * 200)).intervals["accuracy"]
    assert interval.low == pytest.approx(98.115, abs=0.001) and interval.high == 100.0


def test_the_bca_interval_agrees_with_scipy():
    values = np.random.default_rng(4).exponential(10, size=60) ** 1.5
    statistic = Mean(values / 100)
    drawn = intervals.draw({"mean": statistic}, 60, seed=0, num_draws=6000)["mean"]
    ours = intervals.interval_of(float(values.mean()), drawn, statistic)
    options = {"n_resamples": 6000, "rng": 1, "batch": 500}
    wanted, percentile = (
        stats.bootstrap((values,), np.mean, method=method, **options).confidence_interval
        for method in ("BCa", "percentile")
    )
    assert [ours.low, ours.high] == pytest.approx(list(wanted), abs=1.5)
    assert percentile.high < wanted.high - 3  # otherwise, the test could not tell the methods apart


def test_the_interval_of_a_rank_correlation_is_close_to_the_textbook():
    """Bonett and Wright 2000: the standard error of Fisher's z is sqrt((1 + r²/2) / (n - 3))."""
    pick = np.random.default_rng(5)
    gold = pick.normal(size=300)
    said = gold + pick.normal(size=300)
    task = task_of(metrics.spearman)
    evaluated = evaluated_on(task, gold.tolist(), said.tolist())
    interval = bootstrap(task, evaluated).intervals["spearman"]
    rank = evaluated.scores["spearman"] / 100
    half = 1.96 * math.sqrt((1 + rank**2 / 2) / 297)
    wanted = [100 * math.tanh(math.atanh(rank) + side * half) for side in (-1, 1)]
    assert [interval.low, interval.high] == pytest.approx(wanted, abs=1.5)
    assert (interval.method, interval.num_draws) == ("jackknife", 0)


def test_teacher_forced_scores_keep_their_name():
    task = task_of(metrics.accuracy)
    evaluated = evaluated_on(task, ["a", "b"] * 9, ["a", "a"] * 9, prefix="teacher_forced_")
    assert set(bootstrap(task, evaluated).intervals) == {"teacher_forced_accuracy"}


# ------------------------------------------------------------------------ scores without interval


@pytest.mark.parametrize(
    ("metric", "gold", "said", "reason"),
    [
        (metrics.macro_f1, ["a", "b"] * 50 + ["c"] * 3, ["a", "a"] * 50 + ["c"] * 3,
         "a mean over classes of which c (3 rows) have fewer than 5 rows"),
        (metrics.macro_f1, ["a", "b"] * 50, ["a", "a"] * 49 + ["c", "d"],
         "a mean over classes of which c (1 row) and 1 more have fewer than 5 rows"),
        (metrics.macro_f1, ["a", "b"] * 50, ["a", "b"] * 50,
         "no rows raise or lower it, at least 5 are needed"),
        (metrics.macro_f1, ["a", "b"] * 50, ["b", "a"] * 50,
         "no rows raise or lower it, at least 5 are needed"),
        (metrics.f1_of("a"), ["a", "b"] * 50, ["b", "b"] * 50,
         "no rows raise or lower it, at least 3 are needed"),
        (metrics.f1_of("a"), ["a", "b"] * 50, ["a", "b"] * 49 + ["b", "a"],
         "only 2 rows lower it, at least 3 are needed"),
        (metrics.pearson, [0.0] * 7 + [5.0], [0.0] * 7 + [4.0],
         r"it is undefined for \d+ of 1000 resamples"),
        (metrics.pearson, [0.0] * 9, [1.0] * 9, "the score is undefined"),
        (metrics.pearson, [0.0], [1.0], "the score is undefined"),
    ],
)  # fmt: skip
def test_scores_without_a_reliable_interval_have_a_reason_instead(metric, gold, said, reason):
    task = task_of(metric)
    found = bootstrap(task, evaluated_on(task, gold, said))
    assert not found.intervals
    (reported,) = found.reasons.values()
    assert re.fullmatch(
        reason.replace("(3 rows)", r"\(3 rows\)").replace("(1 row)", r"\(1 row\)"), reported
    )


def test_perfect_probabilities_of_rare_classes_have_no_interval():
    """Classes missing from a resample count half: it would be 100.0 [76.7, 86.7]."""
    gold = [i % 30 for i in range(60)]
    scores = np.eye(30)[gold].tolist()
    task = task_of(metrics.auprc)
    found = bootstrap(task, evaluated_on(task, gold, gold, scores))
    assert not found.intervals
    assert found.reasons["auprc"].startswith("a mean over classes of which ")


def test_missing_probabilities_are_reported():
    gold, said, scores = rows_for(metrics.auprc)
    task = task_of(metrics.auprc)
    evaluated = dataclasses.replace(evaluated_on(task, gold, said, scores), row_scores=[])
    assert bootstrap(task, evaluated).reasons == {
        "auprc": "the predictions do not reproduce this score"
    }


def test_rare_head_positions_leave_uas_without_an_interval_but_not_its_accuracy():
    pick = random.Random(1)
    gold = [some_tree(pick, pick.randint(3, 12)) for _ in range(100)]
    gold[0]["heads"][0] = 27
    said = [tree if pick.random() < 0.8 else some_tree(pick, len(tree["heads"])) for tree in gold]
    task = task_of(metrics.klue_dp)
    found = bootstrap(task, evaluated_on(task, gold, said))
    assert "of which 27 (1 row) have" in found.reasons["uas"]
    assert {"uas_accuracy", "las_accuracy"} <= set(found.intervals)


def test_without_rows_there_is_no_interval():
    task = task_of(metrics.accuracy)
    assert not bootstrap(task, Evaluated({}, 3, 0, 0, [])).intervals


def test_tags_that_klue_does_not_have_are_counted():
    gold, said = [["B-ZZ", "I-ZZ", "O"]] * 18, [["B-ZZ", "I-ZZ", "O"]] * 12 + [["O", "O", "O"]] * 6
    task = task_of(metrics.entity_f1)
    assert "B-ZZ" not in KLUE_NER.names
    interval = bootstrap(task, evaluated_on(task, gold, said)).intervals["entity_f1"]
    assert interval.low < 80.0 < interval.high


# --------------------------------------------------------------------------------- prediction files


def test_token_scores_survive_the_predictions_file():
    gold = tags.CharacterTags(["B-PS", "I-PS", "O"])
    said = tags.CharacterTags(["B-PS", "I-PS", "B-LC"])
    gold.tokens, said.tokens = ["B-PS", "O"], ["B-PS", "B-LC"]
    task = task_of(metrics.token_accuracy)
    evaluated = evaluated_on(task, [gold] * 9, [said] * 9)
    assert evaluated.scores == {"token_accuracy": 50.0}
    lines, _ = through_json(task, evaluated)
    again = evaluated_on(task, *([line[side] for line in lines] for side in ("gold", "prediction")))
    assert again.scores == evaluated.scores


def test_predictions_that_do_not_give_the_score_have_no_interval():
    """Files of older runs contain characters although the score counts tokens."""
    task = task_of(metrics.token_accuracy)
    evaluated = evaluated_on(task, [["O", "B-PS"]] * 30, [["O", "O"], ["O", "B-PS"]] * 15)
    older = dataclasses.replace(evaluated, scores={"token_accuracy": 65.75})
    reasons = bootstrap(task, older).reasons
    assert reasons == {"token_accuracy": "the predictions do not reproduce this score"}


def test_nan_and_missing_answers_differ_in_the_predictions_file():
    task = task_of(metrics.pearson)
    said = [math.nan, None, math.inf, -math.inf, 1.5]
    evaluated = evaluated_on(task, [0.0] * 5, said)
    evaluated.predictions[4]["score"] = math.nan
    text = [json.dumps(line, allow_nan=False) for line in lines_of(task, evaluated)]
    assert '"prediction": "NaN"' in text[0] and '"prediction": null' in text[1]
    lines, _ = through_json(task, evaluated)
    assert str([line["prediction"] for line in lines]) == str(said)
    assert math.isnan(lines[4]["score"])


def test_a_label_named_nan_stays_a_label():
    task = task_of(metrics.accuracy)
    lines, _ = through_json(task, evaluated_on(task, ["NaN", "a"], ["NaN", None]))
    assert [line["prediction"] for line in lines] == ["NaN", None]


def test_probabilities_are_written_if_a_score_needs_them():
    gold, said, scores = rows_for(metrics.auprc)
    scores[0][0] = math.nan
    task = task_of(metrics.auprc)
    evaluated = evaluated_on(task, gold, said, scores)
    _, again = through_json(task, evaluated)
    assert str(again) == str(scores)
    others = task_of(metrics.accuracy)
    assert through_json(others, evaluated_on(others, gold, said, scores))[1] == []


def through_json(task, evaluated):
    return from_lines(
        json.loads(json.dumps(line, allow_nan=False)) for line in lines_of(task, evaluated)
    )
