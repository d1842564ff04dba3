"""Heads that are not a tree: found, kept, and reported with file and line."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ke_t5.readers.conllu import conllu_rows
from ke_t5.readers.klue_tsv import dp_rows
from ke_t5.readers.trees import tree_fault

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("heads", "fault"),
    [
        ([], None),
        ([0], None),
        ([2, 3, 0], None),
        ([0, 1, 1, 3], None),
        ([1, 0], (0, "its own head")),
        ([2, 0, 3], (2, "its own head")),
        ([0, 0], (1, "a second root")),
        ([2, 1], (0, "part of a cycle")),
        ([0, 3, 2], (1, "part of a cycle")),
        ([2, 3, 4, 2, 0], (1, "part of a cycle")),
    ],
)
def test_a_fault_of_a_tree(heads, fault):
    assert tree_fault(heads) == fault


def test_there_are_as_many_trees_as_cayley_counted():
    for num_words in range(1, 6):
        every = itertools.product(range(num_words + 1), repeat=num_words)
        # (n + 1) ** (n - 1) trees of n words and a root; n ** (n - 1) if it has one child.
        assert sum(tree_fault(heads) is None for heads in every) == num_words ** (num_words - 1)


def klue_dp(*trees):
    blocks = [
        "".join(
            [f"## g{i}_x\t{' '.join('가' * len(heads))}\n"]
            + [f"{n}\t가\t가\tNNG\t{head}\tNP\n" for n, head in enumerate(heads, 1)]
        )
        for i, heads in enumerate(trees)
    ]
    return "\n".join(blocks) + "\n"


def conllu(*trees):
    def word(n, head):
        return "\t".join([str(n), "가", "가", "NOUN", "_", "_", str(head), "dep", "_", "_"]) + "\n"

    blocks = ["".join(word(n, head) for n, head in enumerate(heads, 1)) for heads in trees]
    return "\n".join(blocks) + "\n"


@pytest.mark.parametrize(
    ("read", "text", "trees", "message"),
    [
        (dp_rows, klue_dp, ([2, 0], [0]), None),
        (dp_rows, klue_dp, ([2, 0], [1, 0]), "a.tsv:6: the word is its own head; the heads"),
        (dp_rows, klue_dp, ([2, 1], [0, 0], [1]),
         "a.tsv:2: the word is part of a cycle (2 more such sentences); the heads are kept"),
        (conllu_rows, conllu, ([2, 0], [0]), None),
        (conllu_rows, conllu, ([2, 0], [1, 0]), "a.tsv:4: the word is its own head; the heads"),
        (conllu_rows, conllu, ([0, 0],), "a.tsv:2: the word is a second root; the heads are kept"),
    ],
)  # fmt: skip
def test_the_first_line_is_reported_and_the_heads_are_kept(
    tmp_path, caplog, read, text, trees, message
):
    (tmp_path / "a.tsv").write_text(text(*trees), encoding="utf-8")
    assert [row["heads"] for row in read(tmp_path / "a.tsv", "dev")] == list(trees)
    found = [record.getMessage() for record in caplog.records]
    assert len(found) == (message is not None)
    assert message is None or message in found[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="the real files are not here")
def test_all_released_sentences_are_trees(caplog):
    files = [(dp_rows, REAL / "klue_benchmark/klue-dp-v1.1/klue-dp-v1.1_dev.tsv")]
    files += [(conllu_rows, file) for file in sorted((REAL / "UD").glob("*.conllu"))]
    num_trees = sum(row["heads"] is not None for read, file in files for row in read(file, "dev"))
    assert num_trees == 2000 + 950 + 989 + 2066 and not caplog.records
