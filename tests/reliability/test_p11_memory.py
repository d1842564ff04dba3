"""P11: memory does not grow with the data: 2 GB of JSONL, and 200,000 rows evaluated, take less
than 1.5 GiB over what a process has at the start."""

from __future__ import annotations

import os
from functools import partial

import pytest
from support import memory

pytestmark = pytest.mark.promise("P11")

LIMIT = 1536  # MB
ROWS = 200_000


def extrapolated(sizes, growths, target):
    """The growth at the target, on the line through two measured ones; it never falls."""
    slope = max(0.0, (growths[1] - growths[0]) / (sizes[1] - sizes[0]))
    return growths[1] + slope * (target - sizes[1])


def judge(notes, what, sizes, growths, *, target, unit):
    found = extrapolated(sizes, growths, target)
    pairs = zip(sizes, growths, strict=True)
    measured = ", ".join(f"{growth:.0f} MB at {size:,} {unit}" for size, growth in pairs)
    notes.append(
        f"{what}: measured {measured}; extrapolated on that line, {found:.0f} MB at {target:,}"
    )
    assert found <= LIMIT, notes[-1]


@pytest.mark.full
@pytest.mark.parametrize("sizes", [(12, 24), (16, 48)], ids=["small", "large"])
def test_a_corpus_of_2_gb(sizes, tmp_path, notes):
    growths = []
    for size in sizes:
        file = tmp_path / f"{size}.jsonl"
        memory.write_corpus(file, size * memory.MB)
        growths.append(memory.growth(partial(memory.train_on, file, tmp_path / f"cache-{size}")))
    judge(notes, "a corpus", sizes, growths, target=2048, unit="MB of JSONL")


if "KE_T5_2_GB" in os.environ:  # takes an hour of a core, and 10 GB of disk

    @pytest.mark.full
    def test_a_corpus_of_2_gb_to_the_last_row(tmp_path, notes):
        """Measured directly instead of extrapolated."""
        file = tmp_path / "corpus.jsonl"
        num_rows = memory.write_corpus(file, 2048 * memory.MB)
        found = memory.growth(partial(memory.train_on, file, tmp_path / "cache"))
        notes.append(f"a corpus of 2,048 MB of JSONL ({num_rows:,} rows): measured {found:.0f} MB")
        assert found <= LIMIT, notes[-1]

    @pytest.mark.full
    def test_a_generative_evaluation_to_the_last_row(tmp_path, notes):
        file = tmp_path / "corpus.jsonl"
        num_rows = memory.write_corpus(file, 51 * memory.MB)
        found = memory.growth(partial(memory.evaluate_generation, file, tmp_path / "cache"))
        notes.append(f"a generative evaluation of {num_rows:,} rows: measured {found:.0f} MB")
        assert num_rows >= ROWS and found <= LIMIT, notes[-1]


@pytest.mark.full
def test_a_generative_evaluation_with_64000_pieces(tmp_path, notes):
    numbers, growths = [], []
    for size in (300_000, 1_200_000):
        file = tmp_path / f"{size}.jsonl"
        numbers.append(memory.write_corpus(file, size))
        work = partial(memory.evaluate_generation, file, tmp_path / f"cache-{size}")
        growths.append(memory.growth(work))
    judge(notes, "a generative evaluation", numbers, growths, target=ROWS, unit="rows")


@pytest.mark.full
@pytest.mark.parametrize("name", ["klue_ner", "korquad"])
def test_an_evaluation_of(name, tmp_path, notes):
    """Without a model: the logits are random."""
    file, cache = tmp_path / "rows.jsonl", tmp_path / "cache"
    memory.write_rows(name, file, 1500)
    memory.growth(partial(memory.score_random_outputs, name, file, cache))  # prepares
    copies, growths = (6, 24), []
    for number in copies:
        work = partial(memory.score_random_outputs, name, file, cache, number)
        growths.append(memory.growth(work))
    numbers = [1500 * number for number in copies]
    judge(notes, f"an evaluation of {name}", numbers, growths, target=ROWS, unit="rows")
