"""Differences of two models on the same rows, against scipy and against simulated models."""

import math

import numpy as np
import pytest
from scipy import stats

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.experiments import paired
from ke_t5.pipe import Evaluated, TaskRegistry
from ke_t5.pipe.scoring import compute_scores
from ke_t5.report import intervals


def evaluated(task, gold, predicted):
    lines = [
        {"id": i, "inputs": str(i), "gold": g, "prediction": p}
        for i, (g, p) in enumerate(zip(gold, predicted, strict=True))
    ]
    scores = compute_scores(task, list(gold), list(predicted), [])
    return Evaluated(scores, len(lines), len(lines), 0, lines)


def difference(task_name, gold, first, second, **options):
    task = TaskRegistry.get(task_name)
    pair = tuple(evaluated(task, gold, side) for side in (first, second))
    return paired.differences((task, task), pair, **options)


def predictions(pick, gold, names, share):
    """Predictions, of which about the fraction `share` is right."""
    return [g if pick.random() < share else names[pick.integers(len(names))] for g in gold]


def test_interval_and_p_value_of_an_accuracy_agree_with_scipys_bca():
    pick = np.random.default_rng(3)
    names = TaskRegistry.get("nsmc").labels
    gold = [names[i] for i in pick.integers(2, size=400)]
    first, second = (predictions(pick, gold, names, share) for share in (0.6, 0.72))
    found = difference("nsmc", gold, first, second, num_draws=20_000)["accuracy"]
    right = [
        np.array([g == p for g, p in zip(gold, side, strict=True)]) for side in (first, second)
    ]
    change = 100.0 * (right[1].astype(float) - right[0])
    assert found.value == pytest.approx(change.mean())

    def ends(level):
        expected = stats.bootstrap(
            (change,), np.mean, method="BCa", confidence_level=level, n_resamples=20_000,
            rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        return expected.low, expected.high

    assert (found.low, found.high) == pytest.approx(ends(0.95), abs=0.25)
    # At confidence level 1 - p, one end of the interval is 0.
    assert min(map(abs, ends(1 - found.p))) < 0.35
    assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_the_interval_of_a_macro_f1_agrees_with_scipys_paired_bca():
    pick = np.random.default_rng(4)
    task = TaskRegistry.get("klue_tc")
    names = task.labels
    gold = [names[i] for i in pick.integers(len(names), size=150)]
    first, second = (predictions(pick, gold, names, share) for share in (0.5, 0.6))
    found = difference("klue_tc", gold, first, second, num_draws=4000)["macro_f1"]
    columns = [np.array([names.index(x) for x in side]) for side in (gold, first, second)]

    def f1(gold, predicted):
        hits = [2 * ((gold == c) & (predicted == c)).sum() for c in range(len(names))]
        sizes = [(gold == c).sum() + (predicted == c).sum() for c in range(len(names))]
        return 100 * np.mean([h / s for h, s in zip(hits, sizes, strict=True) if s])

    expected = stats.bootstrap(
        columns, lambda gold, a, b: f1(gold, b) - f1(gold, a), method="BCa", paired=True,
        vectorized=False, n_resamples=1500, rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    assert found.value == pytest.approx(f1(columns[0], columns[2]) - f1(columns[0], columns[1]))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1.2)


def test_intervals_contain_the_true_difference_and_p_values_are_uniform():
    pick = np.random.default_rng(5)
    task = TaskRegistry.get("nsmc")
    names, num_rows, num_trials = task.labels, 250, 160
    covered, small = 0, 0
    for _ in range(num_trials):
        gold = [names[i] for i in pick.integers(2, size=num_rows)]
        # Both are right with probability 0.8, and in half of the rows they are right together.
        hard, common = pick.random(num_rows), pick.random(num_rows) < 0.5
        own = [np.where(common, hard, pick.random(num_rows)) < 0.8 for _ in range(2)]
        sides = [
            [g if ok else names[1 - names.index(g)] for g, ok in zip(gold, right, strict=True)]
            for right in own
        ]
        found = difference("nsmc", gold, *sides, num_draws=300)["accuracy"]
        covered += found.low <= 0 <= found.high
        small += found.p < 0.1
    assert 0.90 <= covered / num_trials <= 0.99
    assert 0.05 <= small / num_trials <= 0.16


def test_a_rank_correlation_has_a_jackknife_interval():
    pick = np.random.default_rng(6)
    gold = pick.random(200) * 5
    first, second = (list(gold + pick.normal(size=200) * noise) for noise in (2.0, 0.7))
    found = difference("korsts", list(gold), first, second, num_draws=1000)
    ranked, pearson = found["spearman"], found["pearson"]
    expected = [100 * stats.spearmanr(gold, side)[0] for side in (first, second)]
    assert (ranked.first, ranked.second) == pytest.approx(expected)
    assert ranked.method == "jackknife" and pearson.method == "BCa"
    assert ranked.low < ranked.value < ranked.high and ranked.p < 0.05
    # The values are nearly linear in their ranks, so both intervals are about as wide.
    assert ranked.high - ranked.low == pytest.approx(pearson.high - pearson.low, rel=0.35)


def test_reasons_for_a_missing_interval():
    names = TaskRegistry.get("nsmc").labels
    gold = [names[i % 2] for i in range(40)]
    same = difference("nsmc", gold, gold, gold)["accuracy"]
    assert (same.value, same.p) == (0.0, None) and "score alike" in same.reason
    flipped = [names[1], *gold[1:]]
    almost = difference("nsmc", gold, gold, flipped)["accuracy"]
    assert almost.low is None and almost.reason == "only 1 row lowers it, at least 3 are needed"
    alone = difference("nsmc", gold[:1], gold[:1], flipped[:1])["accuracy"]
    assert alone.reason == "the score is undefined without some of the rows"
    topics = TaskRegistry.get("klue_tc").labels
    rare = [topics[0]] * 30 + [topics[1]] * 2
    other = [*rare[:20], *[topics[1]] * 12]
    assert "fewer than 5 rows" in difference("klue_tc", rare, rare, other)["macro_f1"].reason
    hidden = difference("nsmc", [None] * 3, gold[:3], gold[:3])["accuracy"]
    assert hidden.reason == "the score cannot be computed from the predictions"


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 1), (12, 30), (40, 41)])
def test_mcnemar_is_the_exact_binomial_test(only_a, only_b):
    total = only_a + only_b
    tail = sum(math.comb(total, k) for k in range(min(only_a, only_b) + 1)) / 2**total
    assert paired.mcnemar(only_a, only_b) == pytest.approx(min(1.0, 2 * tail))


def test_both_models_are_resampled_with_the_same_rows():
    names = TaskRegistry.get("nsmc").labels
    pick = np.random.default_rng(8)
    gold = [names[i] for i in pick.integers(2, size=100)]
    said = predictions(pick, gold, names, 0.7)
    task = TaskRegistry.get("nsmc")
    one, other = (
        intervals.resample(task, evaluated(task, gold, said), seed=1, num_draws=50, has_all=True)
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.scores["accuracy"].draws, other.scores["accuracy"].draws)
