"""Label lists: their orders, which fix the ids, and invalid arguments."""

import itertools
import pickle

import pytest

from ke_t5.task import labels
from ke_t5.task.labels import Labels, iob2


def test_labels_fill_keys_and_words_from_names():
    made = Labels(("a", "b"))
    assert (made.keys, made.words, made.glosses, len(made)) == (("a", "b"), ("a", "b"), None, 2)


def test_id_of_goes_by_key_and_knows_unlabelled_rows():
    made = Labels(("negative", "positive"), keys=("0", "1"))
    assert [made.id_of("0"), made.id_of("1"), made.id_of(None)] == [0, 1, None]
    with pytest.raises(KeyError):
        made.id_of("positive")


@pytest.mark.parametrize(
    ("keys", "value", "found"),
    [
        (("0", "1"), 1.0, 1),
        (("0", "1"), True, 1),
        (("False", "True"), True, 1),
        (("0.5", "1.0"), 0.5, 0),
        (("0.5", "1.0"), 1.0, 1),
        ((0, 1), "1", 1),
    ],
)
def test_id_of_a_value_of_another_type_goes_by_its_spelling(keys, value, found):
    assert Labels(("a", "b"), keys=keys).id_of(value) == found


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2, 0.5])
def test_id_of_no_label_is_refused(value):
    with pytest.raises(KeyError):
        Labels(("a", "b", "c", "d"), keys=("0", "1", "nan", "inf")).id_of(value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"names": ("a", "a")}, "names: repeated value"),
        ({"names": ("a", "b"), "keys": ("0",)}, "keys: got 1, expected 2"),
        ({"names": ("a", "b"), "words": ("x", "x")}, "words: repeated value"),
        ({"names": ("a",), "glosses": ("x", "y")}, "glosses: got 2, expected 1"),
    ],
)
def test_labels_refuse_columns_that_do_not_fit(columns, message):
    with pytest.raises(ValueError, match=message):
        Labels(**columns)


def test_labels_can_travel_between_processes():
    assert pickle.loads(pickle.dumps(labels.KLUE_TC)).id_of("정치") == 6


def test_iob2_puts_o_first_or_last():
    assert iob2(["PS"]) == ("O", "B-PS", "I-PS")
    assert iob2(["PS"], outside_first=False) == ("B-PS", "I-PS", "O")


def test_hub_orders():
    assert labels.KLUE_TC.names == tuple(sorted(labels.KLUE_TC.names))
    assert labels.KLUE_NLI.names == ("entailment", "neutral", "contradiction")
    assert labels.KORNLI == labels.KLUE_NLI
    assert labels.KLUE_NER.names == (
        *("B-DT", "I-DT", "B-LC", "I-LC", "B-OG", "I-OG", "B-PS", "I-PS"),
        *("B-QT", "I-QT", "B-TI", "I-TI", "O"),
    )
    assert (len(labels.KLUE_RE), labels.KLUE_RE.names[0]) == (30, "no_relation")
    assert labels.KLUE_RE.names[-1] == "per:title"


def test_dependency_relations_follow_the_official_baseline():
    assert len(labels.KLUE_DP) == 38
    assert labels.KLUE_DP.names[labels.KLUE_DP_FIRST_RARE] == "VP_CMP"


def test_file_labels_of_3i4k_are_digits():
    assert labels.KOR_3I4K.id_of("6") == 6
    assert labels.KOR_3I4K.names[5] == "rhetorical command"


def test_nikl_2020_types_come_in_the_documented_groups():
    types = labels.NIKL_NER2020_TYPES
    groups = [
        (name, len(list(group)))
        for name, group in itertools.groupby(types, key=lambda kind: kind.split("_")[0])
    ]
    assert groups == [
        *(("PS", 3), ("FD", 6), ("TR", 6), ("AF", 6), ("AFA", 5), ("AFW", 2), ("OGG", 15)),
        *(("LCP", 5), ("LCG", 6), ("LC", 2), ("CV", 21), ("DT", 9), ("TI", 5), ("QT", 18)),
        *(("EV", 5), ("AM", 9), ("PT", 7), ("MT", 4), ("TM", 5), ("TMM", 2), ("TMI", 7)),
        *(("TMIG", 1), ("TM", 1)),
    ]
    assert (types[0], types[-1]) == ("PS_NAME", "TM_SPORTS")
    assert len(set(types)) == 150 and len(labels.NIKL_NER2020) == 301
    assert {kind[:2] for kind in types} == set(labels.NIKL_NER_TYPES)
