"""Scores of mention chains: examples from the literature, and independent implementations."""

import itertools
import random
from fractions import Fraction

import pytest

from ke_t5.task.metrics import coreference


def chains(*words):
    """Chains from words: each letter is a mention."""
    return [[(ord(letter), ord(letter) + 1) for letter in word] for word in words]


def f1(precision, recall):
    total = precision + recall
    return float(200 * precision * recall / total) if total else 0.0


# Luo 2005, figure 2 and table 1: the gold chains and four responses, with MUC, B-cubed, CEAF-e.
LUO = chains("12345", "67", "89ABC")


@pytest.mark.parametrize(
    ("response", "muc", "b_cubed", "ceaf_e"),
    [
        (("12345", "6789ABC"), 0.947, 0.865, 0.733),
        (("1234589ABC", "67"), 0.947, 0.737, 0.667),
        (("123456789ABC",), 0.900, 0.545, 0.294),
        (tuple("123456789ABC"), 0.0, 0.400, 0.178),
    ],
)
def test_the_example_of_luo(response, muc, b_cubed, ceaf_e):
    found = coreference([LUO], [chains(*response)])
    measured = [found[name] / 100 for name in ("muc_f1", "b_cubed_f1", "ceaf_e_f1")]
    assert measured == pytest.approx([muc, b_cubed, ceaf_e], abs=5e-4)
    assert found["conll_f1"] == pytest.approx(sum(measured) / 3 * 100)
    assert found["mention_f1"] == 100.0


def test_the_example_of_the_reference_scorer():
    """The example of Pradhan et al. 2014 with its precision and recall; LEA as in Moosavi and
    Strube 2016, for the same chains."""
    found = coreference([chains("abc", "defg")], [chains("ab", "cd", "fghi")])
    expected = {
        "muc_f1": f1(2 / 5, 2 / 5),
        "b_cubed_f1": f1((2 + 1 / 2 + 1 / 2 + 1) / 8, (4 / 3 + 1 / 3 + 1 / 4 + 1) / 7),
        "ceaf_e_f1": f1(1.3 / 3, 1.3 / 2),  # 2 x 2 / 5 + 2 x 2 / 8
        "lea_f1": f1((2 + 0 + 4 / 6) / 8, (3 / 3 + 4 / 6) / 7),
        "mention_f1": f1(6 / 8, 6 / 7),
    }
    expected["conll_f1"] = sum(expected[f"{name}_f1"] for name in ("muc", "b_cubed", "ceaf_e")) / 3
    assert found == pytest.approx(expected)


def test_counts_are_added_over_documents_before_they_are_divided():
    found = coreference([chains("ab"), chains("abcd")], [chains("ab"), None])
    assert found == pytest.approx(
        {
            "muc_f1": f1(1 / 1, 1 / 4),
            "b_cubed_f1": f1(2 / 2, 2 / 6),
            "ceaf_e_f1": f1(1 / 1, 1 / 2),
            "lea_f1": f1(2 / 2, 2 / 6),
            "mention_f1": f1(2 / 2, 2 / 6),
            "conll_f1": (f1(1, 1 / 4) + f1(1, 1 / 3) + f1(1, 1 / 2)) / 3,
        }
    )


def test_single_mentions_count_except_for_links():
    assert coreference([chains("a", "b")], [chains("a", "b")]) == pytest.approx(
        {
            "muc_f1": 0.0,
            "b_cubed_f1": 100.0,
            "ceaf_e_f1": 100.0,
            "lea_f1": 100.0,
            "mention_f1": 100.0,
            "conll_f1": 200 / 3,
        }
    )
    assert coreference([chains("a", "b")], [chains("ab")])["lea_f1"] == 0.0


# Documents with the results of scorer.pl 8.01 and `lea` of coval, verified by hand.
@pytest.mark.parametrize(
    ("gold", "said", "muc", "b_cubed", "ceaf_e", "lea"),
    [
        (("ab",), ("a", "b"), 0, f1(2 / 2, 1 / 2), f1((2 / 3) / 2, 2 / 3), 0),
        (("a", "b"), ("ab",), 0, f1(1 / 2, 2 / 2), f1(2 / 3, (2 / 3) / 2), 0),
        (("a", "bc"), ("a", "bc"), 100, 100, 100, 100),
        (("a",), ("ad",), 0, f1(1 / 4, 1), f1(2 / 3, 2 / 3), 0),
        (("a", "bc"), ("bc",), 100, f1(1, 2 / 3), f1(1, 1 / 2), f1(1, 2 / 3)),
        (("bc",), ("a", "bc"), 100, f1(2 / 3, 1), f1(1 / 2, 1), f1(2 / 3, 1)),
    ],
)
def test_chains_of_one_mention_as_the_programs_count_them(gold, said, muc, b_cubed, ceaf_e, lea):
    found = coreference([chains(*gold)], [chains(*said)])
    expected = {"muc_f1": muc, "b_cubed_f1": b_cubed, "ceaf_e_f1": ceaf_e, "lea_f1": lea}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["conll_f1"] == pytest.approx((muc + b_cubed + ceaf_e) / 3)


@pytest.mark.parametrize(("gold", "said"), [([], []), ([], ["ab"]), (["ab"], []), (["ab"], ["cd"])])
def test_nothing_in_common_is_0(gold, said):
    found = coreference([chains(*gold)], [chains(*said)])
    assert set(found.values()) == {0.0}


def test_a_repeated_mention_counts_once_and_an_empty_chain_is_none():
    plain = coreference([chains("abc", "d")], [chains("ab", "cd")])
    assert coreference([chains("abca", "d", "")], [[*chains("ab", "cd"), []]]) == plain
    as_lists = [[list(mention) for mention in chain] for chain in chains("ab", "cd")]
    assert coreference([chains("abc", "d")], [as_lists]) == plain


def test_a_mention_of_two_chains_is_refused():
    with pytest.raises(ValueError, match=r"row 1: mention \(98, 99\) is in two chains"):
        coreference([chains("ab"), chains("ab", "bc")], [None, None])


# --------------------------------------------------------- the definitions, for any small document


def joined(pairs, items):
    """The number of connected components."""
    groups = [{item} for item in items]
    for first, second in pairs:
        touched = [group for group in groups if first in group or second in group]
        groups = [group for group in groups if group not in touched] + [set().union(*touched)]
    return len(groups)


def pairs_of(chain):
    """The links of a chain; a single mention is linked to itself."""
    return set(itertools.combinations(sorted(chain), 2)) or {(chain[0], chain[0])}


def muc(side, other):
    links = {pair for chain in other for pair in pairs_of(chain)}
    found = sum(len(c) - joined(pairs_of(c) & links, c) for c in side)
    return found, sum(len(c) - 1 for c in side)


def b_cubed(side, other):
    found = Fraction(0)
    for chain in side:
        for mention in chain:
            same = next((set(c) for c in other if mention in c), set())
            found += Fraction(len(same & set(chain)), len(chain))
    return found, sum(map(len, side))


def ceaf_e(side, other):
    def phi(first, second):
        return Fraction(2 * len(set(first) & set(second)), len(first) + len(second))

    few, many = sorted((side, other), key=len)
    best = max(
        sum((phi(*pair) for pair in zip(few, chosen, strict=True)), Fraction(0))
        for chosen in itertools.permutations(many, len(few))
    )
    return best, len(side)


def lea(side, other):
    links = {pair for chain in other for pair in pairs_of(chain)}
    found = sum(
        (Fraction(len(c) * len(pairs_of(c) & links), len(pairs_of(c))) for c in side), Fraction(0)
    )
    return found, sum(map(len, side))


def score(measure, documents):
    """F1 of (gold, predicted) chains of documents."""
    ratios = []
    for order in (1, -1):
        counts = [measure(*sides[::-order]) for sides in documents]
        found, total = (sum(column) for column in zip(*counts, strict=True))
        ratios.append(found / total if total else 0)
    return f1(*ratios)


def some_chains(pick):
    """Up to five chains with some of ten mentions, in random order."""
    mentions = pick.sample("abcdefghij", pick.randint(0, 10))
    groups = [[] for _ in range(pick.randint(1, 5))]
    for mention in mentions:
        pick.choice(groups).append(mention)
    return [group for group in groups if group]


@pytest.mark.parametrize("seed", range(40))
def test_random_documents_agree_with_the_definitions(seed):
    pick = random.Random(seed)
    documents = [(some_chains(pick), some_chains(pick)) for _ in range(pick.randint(1, 4))]
    found = coreference(
        *([chains(*side) for side in sides] for sides in zip(*documents, strict=True))
    )
    expected = {f"{m.__name__}_f1": score(m, documents) for m in (muc, b_cubed, ceaf_e, lea)}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    parts = [expected[f"{name}_f1"] for name in ("muc", "b_cubed", "ceaf_e")]
    assert found["conll_f1"] == pytest.approx(sum(parts) / 3)
