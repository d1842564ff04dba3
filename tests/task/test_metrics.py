"""Scores of labels and numbers, compared with independent implementations."""

import copy
import inspect
import json
import math
import pickle
import random

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import TaskRegistry
from ke_t5.task import metrics
from ke_t5.task.contest import FORMATS
from ke_t5.task.labels import KLUE_RE

RELATION = metrics.micro_f1_without("no_relation")


def binary_f1(gold, predicted, label):
    hits = sum(g == p == label for g, p in zip(gold, predicted, strict=True))
    asked = sum(g == label for g in gold) + sum(p == label for p in predicted)
    return 2 * hits / asked if asked else 0.0


def reference_macro_f1(gold, predicted):
    classes = set(gold) | {p for p in predicted if p is not None}
    return 100 * sum(binary_f1(gold, predicted, c) for c in classes) / len(classes)


def reference_relation_f1(gold, predicted):
    hits = sum(g == p != "no_relation" for g, p in zip(gold, predicted, strict=True))
    asked = sum(g != "no_relation" for g in gold)
    asked += sum(p is not None and p != "no_relation" for p in predicted)
    return 100 * 2 * hits / asked if asked else 0.0


def reference_matthews(gold, predicted):
    """Correlation of the two columns as one-hot vectors (Gorodkin's R_K)."""
    classes = list(dict.fromkeys([*gold, *predicted]))
    x = np.array([[g == c for c in classes] for g in gold], dtype=float)
    y = np.array([[p == c for c in classes] for p in predicted], dtype=float)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = math.sqrt((x * x).sum() * (y * y).sum())
    return 100 * (x * y).sum() / spread if spread else 0.0


def reference_pearson(gold, predicted):
    x, y = np.array(gold), np.array(predicted)
    x, y = x - x.mean(), y - y.mean()
    spread = math.sqrt((x * x).sum() * (y * y).sum())
    return 100 * float((x * y).sum()) / spread if spread else math.nan


def ranks(values):
    """The rank of each value in the sorted list; the mean rank for ties."""
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def reference_auprc(gold, scores):
    areas = []
    for label in range(len(scores[0])):
        positives = sum(g == label for g in gold)
        points = [(0.0, 1.0)]  # (recall, precision), from the highest threshold to the lowest
        for threshold in sorted({row[label] for row in scores}, reverse=True):
            kept = [g for g, row in zip(gold, scores, strict=True) if row[label] >= threshold]
            hits = sum(g == label for g in kept)
            points.append((hits / positives if positives else 1.0, hits / len(kept)))
        steps = zip(points, points[1:], strict=False)
        areas.append(sum((r2 - r1) * (p1 + p2) / 2 for (r1, p1), (r2, p2) in steps))
    return 100 * sum(areas) / len(areas)


def random_columns(rng, alphabet, *, unread=True):
    size = rng.randint(1, 30)
    options = [*alphabet, None] if unread and rng.random() < 0.3 else alphabet
    some = rng.sample(alphabet, rng.randint(1, len(alphabet)))
    return rng.choices(some, k=size), rng.choices(options, k=size)


@pytest.mark.parametrize("seed", range(30))
def test_scores_of_labels_equal_their_definitions(seed):
    rng = random.Random(seed)
    gold, predicted = random_columns(rng, ["no_relation", "per:title", "org:product", "per:origin"])
    hits = sum(g == p for g, p in zip(gold, predicted, strict=True))
    expected = {
        "accuracy": 100 * hits / len(gold),
        "macro_f1": reference_macro_f1(gold, predicted),
        "micro_f1": reference_relation_f1(gold, predicted),
        "matthews_correlation": reference_matthews(gold, predicted),
        "f1": 100 * binary_f1(gold, predicted, "per:title"),
    }
    found = {}
    for metric in (
        metrics.accuracy,
        metrics.macro_f1,
        RELATION,
        metrics.matthews,
        metrics.f1_of("per:title"),
    ):
        found |= metric(gold, predicted)
    assert found == pytest.approx(expected, abs=1e-9)


def test_macro_f1_by_hand():
    # a: 2 hits of 2 gold and 3 predicted: 0.8; b: 0 of 1 and 0; c: 1 of 1 and 1.
    assert metrics.macro_f1(list("aabc"), list("aaac")) == {"macro_f1": pytest.approx(60.0)}


def test_macro_f1_averages_a_class_that_is_only_predicted():
    assert metrics.macro_f1(["a", "a"], ["a", "z"])["macro_f1"] == pytest.approx(100 / 3)


def test_macro_f1_takes_an_unread_output_for_a_miss_and_no_class():
    assert metrics.macro_f1(["a", "a"], ["a", None])["macro_f1"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        (["no_relation"] * 2, ["no_relation"] * 2, 0.0),
        (["no_relation", "per:title"], ["per:title", "no_relation"], 0.0),
        (["no_relation", "per:title"], ["per:title", "per:title"], 200 / 3),
        (["per:title"], ["per:title"], 100.0),
    ],
)
def test_micro_f1_without_no_relation(gold, predicted, score):
    assert RELATION(gold, predicted)["micro_f1"] == pytest.approx(score)


@pytest.mark.parametrize(
    ("gold", "predicted", "score"),
    [
        ("0011", "0011", 100.0),
        ("0011", "1100", -100.0),
        ("0011", "1111", 0.0),
        ("1111", "1111", 0.0),
        ("01", [None, None], 0.0),
    ],
)
def test_matthews_at_its_ends(gold, predicted, score):
    found = metrics.matthews(list(gold), list(predicted))["matthews_correlation"]
    assert found == pytest.approx(score)


@pytest.mark.parametrize("seed", range(20))
def test_correlations_equal_their_definitions(seed):
    rng = random.Random(seed)
    size = rng.randint(2, 25)
    gold = [rng.randint(0, 50) / 10 for _ in range(size)]
    predicted = [rng.gauss(2.5, 2) if seed % 2 else rng.randint(0, 3) for _ in range(size)]
    read = list(predicted)
    if seed % 3 == 0:
        predicted[0], read[0] = None, -1.0
    assert metrics.pearson(gold, predicted)["pearson"] == pytest.approx(
        reference_pearson(gold, read), abs=1e-9, nan_ok=True
    )
    assert metrics.spearman(gold, predicted)["spearman"] == pytest.approx(
        reference_pearson(ranks(gold), ranks(read)), abs=1e-9, nan_ok=True
    )
    alike = 100 * binary_f1([g >= 3 for g in gold], [p >= 3 for p in read], True)
    assert metrics.f1_at_3(gold, predicted) == {"f1": pytest.approx(alike, abs=1e-9)}


@pytest.mark.parametrize(
    ("gold", "predicted"),
    [
        ([1.0, 2.0], [3.0, 3.0]),
        ([1.0, 1.0], [2.0, 3.0]),
        ([1.0], [1.0]),
        ([1.0, 2.0], [1, math.nan]),
    ],
)
def test_correlation_of_what_does_not_vary_is_nan(gold, predicted):
    assert math.isnan(metrics.pearson(gold, predicted)["pearson"])
    assert math.isnan(metrics.spearman(gold, predicted)["spearman"])


def test_f1_at_3_includes_3_and_is_0_where_nothing_is_alike():
    assert metrics.f1_at_3([3.0, 2.9], [3.0, 0.0]) == {"f1": 100.0}
    assert metrics.f1_at_3([1.0, 2.9], [0.0, 2.9]) == {"f1": 0.0}
    assert metrics.f1_at_3([3.0, 1.0], [None, None]) == {"f1": 0.0}


@pytest.mark.parametrize("seed", range(10))
def test_auprc_equals_its_definition(seed):
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 5, size=20).tolist()
    scores = rng.dirichlet(np.ones(6), size=20).round(1 if seed % 2 else 6).tolist()
    found = metrics.auprc(gold, gold, scores=scores)["auprc"]
    assert found == pytest.approx(reference_auprc(gold, scores), abs=1e-9)


def test_auprc_of_a_class_without_examples_is_a_half():
    perfect = np.eye(30)[[0, 29]]
    found = metrics.auprc(["no_relation", "per:title"], [None, None], perfect)
    assert found == {"auprc": pytest.approx(100 * (2 + 28 * 0.5) / 30)}


def test_auprc_of_perfect_probabilities_and_of_nan():
    every = list(KLUE_RE.names)
    assert metrics.auprc(every, every, np.eye(30)) == {"auprc": 100.0}
    assert math.isnan(metrics.auprc([0, 1], [0, 1], [[0.5, math.nan], [0.1, 0.9]])["auprc"])


CASES = {
    "accuracy": ("ab", "ab"),
    "macro_f1": ("ab", "ab"),
    "matthews": ("ab", "ab"),
    "pearson": ((1.0, 2.0), (1.0, 2.0)),
    "pearson_around_0": ((1.0, 2.0), (1.0, 2.0)),
    "spearman": ((1.0, 2.0), (1.0, 2.0)),
    "f1_at_3": ((1.0, 4.0), (1.0, 4.0)),
    "entity_f1": ((["B-PS"], ["O"]), (["B-PS"], ["O"])),
    "entity_f1_micro": ((["B-PS"], ["O"]), (["B-PS"], ["O"])),
    "character_f1": ((["B-PS"], ["O"]), (["B-PS"], ["O"])),
    "token_accuracy": (([1], [None, 2]), ([1], [7, 2])),
    "klue_mrc": ((["가"], []), ("가", "")),
    "korquad": ((["가"], ["나"]), ("가", "나")),
    "klue_dp": (({"heads": [0], "relations": ["VP"]},) * 2,) * 2,
    "attachment": (({"heads": [0], "relations": ["root"]},) * 2,) * 2,
    "word_accuracy": ((["B-NOUN"], ["B-VERB"]), (["B-NOUN"], ["B-VERB"])),
    "coreference": (([[(0, 2), (5, 6)], [(3, 4)]], [[(1, 2), (4, 6)]]),) * 2,
    "korquad2": ((["<p>가</p>"], ["나"]), ("가", "나")),
    "exact_match": (("가 나", "라"), ("가 나", "라")),
    "mean_squared_error": ((1.0, 2.0), (1.0, 2.0)),
    "dialogue_state": ((["a-b-c"], []), (["a-b-c"], [])),
    "rouge": (("가 나 다", "라 마"), ("가 나 다", "라 마")),
    "bleu": (("가 나 다 라", "라 마"), ("가 나 다 라", "라 마")),
}


@pytest.mark.parametrize("name", CASES)
def test_perfect_predictions_score_100(name):
    targets, predictions = CASES[name]
    found = getattr(metrics, name)(targets, predictions)
    best = 0.0 if name == "mean_squared_error" else 100.0  # an error
    assert all(value == pytest.approx(best) for value in found.values()), found


@pytest.mark.parametrize("name", CASES)
def test_unlabelled_rows_are_left_out(name):
    targets, predictions = CASES[name]
    metric = getattr(metrics, name)
    found = metric([None, *targets], [predictions[0], *predictions])
    assert found == metric(targets, predictions)


@pytest.mark.parametrize("name", CASES)
def test_nothing_labelled_is_nan_under_every_name(name):
    targets, predictions = CASES[name]
    metric = getattr(metrics, name)
    nothing = metric([None], [predictions[0]])
    assert nothing.keys() == metric(targets, predictions).keys() - kiwi_names()
    assert all(math.isnan(value) for value in nothing.values())


def kiwi_names():
    return {"rouge1[kiwi]", "rouge2[kiwi]", "rougeL[kiwi]"}


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_rows_does_not_matter(name):
    targets, predictions = CASES[name]
    metric = getattr(metrics, name)
    assert metric(targets[::-1], predictions[::-1]) == pytest.approx(metric(targets, predictions))


@pytest.mark.parametrize("name", CASES)
def test_rows_that_do_not_match_are_refused(name):
    targets, predictions = CASES[name]
    with pytest.raises(ValueError, match=f"{name}: targets and the rest differ: 2, 1 rows"):
        getattr(metrics, name)(targets, predictions[:1])


NUMBERS = {"matthews", "mean_squared_error", "pearson", "pearson_around_0", "spearman"}


@pytest.mark.parametrize("name", sorted({*CASES} - NUMBERS))
def test_outputs_that_could_not_be_read_are_wrong(name):
    targets, _ = CASES[name]
    found = getattr(metrics, name)(targets, [None, None])
    assert all(value < 100 for value in found.values()), found
    if name not in {"character_f1", "klue_dp"}:
        assert set(found.values()) == {0.0}


def test_metrics_are_pickled_and_copied_as_functions_are():
    assert pickle.loads(pickle.dumps(metrics.macro_f1)) is metrics.macro_f1
    assert copy.deepcopy(metrics.auprc) is metrics.auprc


def test_every_metric_is_tested_and_documented():
    of_labels = {"f1_of", "micro_f1_without", "label_sets"}  # these return a metric
    assert {*CASES, *of_labels, "auprc"} == set(metrics.__all__)
    for name in metrics.__all__:
        assert inspect.getdoc(getattr(metrics, name))


def test_only_auprc_asks_for_scores():
    asking = [n for n in CASES if "scores" in inspect.signature(getattr(metrics, n)).parameters]
    assert asking == [] and "scores" in inspect.signature(metrics.auprc).parameters


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_the_libraries_to_the_last_digit(seed):
    rng = random.Random(seed)
    names = ["no_relation", *map(str, range(rng.randint(2, 25)))]
    gold = rng.choices(names, k=300)
    predicted = [g if rng.random() < 0.7 else rng.choice([*names, "none"]) for g in gold]
    seen = list(dict.fromkeys([*gold, *predicted]))
    related = [name for name in seen if name != "no_relation"]
    is_one = [[name == "1" for name in side] for side in (gold, predicted)]
    assert metrics.macro_f1(gold, predicted) | RELATION(gold, predicted) == {
        "macro_f1": f1_score(gold, predicted, labels=seen, average="macro") * 100.0,
        "micro_f1": f1_score(gold, predicted, labels=related, average="micro") * 100.0,
    }
    assert metrics.matthews(gold, predicted) | metrics.f1_of("1")(gold, predicted) == {
        "matthews_correlation": matthews_corrcoef(gold, predicted) * 100.0,
        "f1": f1_score(*is_one) * 100.0,
    }


def test_an_unread_certainty_counts_as_in_the_contests_submission():
    gold, predicted = [-3.0, -1.0, 2.5], [-2.0, None, 3.0]
    (line,) = FORMATS["nikluge_nli"](['{"id": "1"}'], [None], None)
    submitted = [json.loads(line)["output"] if one is None else one for one in predicted]
    metric = TaskRegistry.get("nikluge_nli_gen").metric_fns[0]
    assert metric(gold, predicted) == metrics.pearson(gold, submitted)
    assert metric(gold, predicted) != metrics.pearson(gold, predicted)


def test_mean_squared_error_by_hand():
    assert metrics.mean_squared_error([1.0, -2.0], [3.0, None]) == {"mean_squared_error": 4.0}
