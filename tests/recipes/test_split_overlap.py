"""There is a warning if rows that were trained on are scored."""

from __future__ import annotations

import dataclasses
import unicodedata

import gin
import numpy as np
import pytest
from support.helpers import folders, task_on
from support.recipe_runs import test, train
from support.releases import put

from ke_t5.pipe import IGNORED, map_over_dataset, tokenize
from ke_t5.recipes import row_hashes as hashing
from ke_t5.recipes.row_hashes import (
    Overlap,
    overlap,
    row_hashes,
    stored_overlap,
    stored_row_hashes,
)
from ke_t5.sample import sample_model_dir

WORDS = ("--task", "klue_tc", "--sample", "--batch_size", "16")
CUT = ("--train_split", "validation[:32]", "--valid_split", "validation[16:48]")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache_dir):
    output = tmp_path_factory.mktemp("whole")
    train(*WORDS, *CUT, "--max_steps", 1, output=output, cache=cache_dir)
    return output


def test_a_training_tells_of_rows_that_it_validates_on_too(tmp_path, cache_dir, capfd):
    train(*WORDS, *CUT, "--max_steps", 1, output=tmp_path, cache=cache_dir)
    told = capfd.readouterr()
    line = (
        "16 rows of validation[16:48] overlap with the training data (validation[:32]); "
        "scores are optimistic"
    )
    assert line in told.err
    (command,) = [line for line in told.out.splitlines() if "test_ddp.py" in line]
    assert "--test_split 'validation[16:48]'" in command


@pytest.mark.parametrize(
    ("split", "line"),
    [
        ((), "32 rows of validation overlap with the training data"),
        (
            ("--test_split", "validation[31:40]"),
            "1 row of validation[31:40] overlaps with the training data",
        ),
        (("--test_split", "validation[32:]"), None),
        (("--test_split", "train[:8]"), None),
    ],
)
def test_a_test_tells_of_rows_that_were_trained_on(whole, cache_dir, capfd, split, line):
    test(*WORDS, *split, "--resume", "true", output=whole, cache=cache_dir)
    told = capfd.readouterr().err
    assert line in told if line else "overlap with the training" not in told


# ------------------------------------------------------------------------ the same texts elsewhere


def part(texts, path, name="toy"):
    """A task's rows of (text, label)."""
    rows = [{"inputs": "가", "text": text, "label": label} for text, label in texts]
    columns = {"inputs": "string", "text": "string", "label": "int32"}
    task = task_on(
        rows, [tokenize, add_labels], columns=columns, keep={"text": "string"},
        inputs=lambda example: example["text"],
    )  # fmt: skip
    return task, task.get_dataset("train", folders=folders(path))


@map_over_dataset
def add_labels(example):
    label = example["label"]
    return {**example, "labels": IGNORED if label is None else label}


def test_same_texts_are_counted_verbatim_folded_and_with_another_label(tmp_path):
    trained = row_hashes(
        *part([("하나", 0), ("둘  둘", 1), ("둘 둘", 2), ("셋", 1), ("넷", None)], tmp_path)
    )
    scored = part(
        [("하나", 0), ("하나", 1), ("둘 둘 ", 1), (" 셋", 0), ("넷", 1), ("셋", None), ("다섯", 0)],
        tmp_path,
    )
    # Verbatim: the first, second, fifth and sixth; with another label: the second and fourth.
    assert overlap(row_hashes(*scored), trained) == Overlap(7, 6, 4, 1, 2)
    assert overlap(row_hashes(*scored), trained[:0]) == Overlap(7, 0, 0, 0, 0)


def test_hashes_and_overlaps_of_whole_splits_are_worked_out_once(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    parts = [part([("하나", 0), ("둘", 1), ("둘", 1)], tmp_path), part([("둘", 0)], tmp_path)]
    first, second = (stored_row_hashes(*one, cache) for one in parts)
    assert first.rows.tolist() == row_hashes(*parts[0]).tolist() and len(first.unique) == 2
    expected = overlap(second.rows, first.rows)
    assert stored_overlap(second, first, cache) == expected == Overlap(1, 1, 1, 0, 1)
    task, examples = parts[0]
    for other in (
        dataclasses.replace(task, inputs=lambda example: example["text"] + "."),
        dataclasses.replace(task, keep={}, inputs=None),
    ):
        hashes = stored_row_hashes(other, examples, cache)
        assert hashes.rows.tolist() == row_hashes(other, examples).tolist()
        assert hashes.key not in ("", first.key)
    some = examples.take(np.arange(2))
    assert stored_row_hashes(task, some, cache).rows.tolist() == first.rows[:2].tolist()
    monkeypatch.setattr(hashing, "row_hashes", None)
    monkeypatch.setattr(hashing, "overlap", None)
    again = [stored_row_hashes(*one, cache) for one in parts]
    assert again[0].rows.tolist() == first.rows.tolist()
    assert stored_overlap(again[1], again[0], cache) == expected


def test_decomposed_texts_are_the_same_and_tasks_without_text_compare_tokens(tmp_path):
    nfd = unicodedata.normalize("NFD", "한글")
    one = row_hashes(*part([("한글", 0)], tmp_path))
    assert overlap(row_hashes(*part([(nfd, 0)], tmp_path)), one).num_folded == 1
    task, examples = part([("이 글", 0), ("저 글", 1)], tmp_path)
    bare = row_hashes(dataclasses.replace(task, keep={}, inputs=None), examples)
    assert overlap(bare[1:], bare[:1]) == Overlap(1, 1, 1, 0, 1)  # both have the tokens of "가"


def test_windows_of_one_row_are_one_row(cache_dir, capfd):
    from ke_t5.pipe import Folders, get_task
    from ke_t5.sample import sample_data_dir

    where = Folders(sample_data_dir(cache_dir), cache_dir)
    gin.bind_parameter(
        "ke_t5.task.utils.get_vocabulary.vocab_name", str(sample_model_dir(cache_dir, "roberta"))
    )
    task = get_task("klue_mrc")
    examples = task.get_dataset("validation", folders=where, sequence_length={"inputs": 96})
    hashes = row_hashes(task, examples)
    assert len(hashes) == len(set(examples.ids.tolist())) < len(examples)
    assert overlap(hashes, hashes) == Overlap(*[len(hashes)] * 4, 0)


NSMC_ROWS = [(f"영화 {word}", i % 2) for i, word in enumerate("가나다라마바사아자차")]


def nsmc(folder, test_rows):
    for name, rows in (("train", NSMC_ROWS), ("test", test_rows)):
        lines = ["id\tdocument\tlabel", *(f"{i}\t{t}\t{n}" for i, (t, n) in enumerate(rows))]
        put(folder, f"NSMC/ratings_{name}.txt", "\n".join(lines) + "\n")
    return ("--task", "nsmc", "--sample", "--batch_size", "4")


def test_training_and_test_tell_of_the_same_texts_in_two_files(
    tmp_path, cache_dir, capfd, monkeypatch
):
    words = nsmc(tmp_path, [*NSMC_ROWS[:3], ("영화  라", 0), ("다른 글", 1)])
    monkeypatch.setattr("ke_t5.sample.sample_data_dir", lambda cache: tmp_path)
    splits = ("--train_split", "train", "--valid_split", "test[3:]")
    output = tmp_path / "out"
    train(*words, *splits, "--max_steps", 1, output=output, cache=cache_dir)
    line = "%d of %d rows of %s the same text as a training row (%d verbatim, %d "
    assert line % (1, 2, "test[3:] has", 0, 0) in capfd.readouterr().err
    # The data of the training is no longer needed.
    nsmc(tmp_path, [*NSMC_ROWS[:3], ("영화  라", 0), ("다른 글", 1)])
    put(tmp_path, "NSMC/ratings_train.txt", "id\tdocument\tlabel\n1\t무엇\t0\n")
    test(*words, "--test_split", "test", "--resume", "true", output=output, cache=cache_dir)
    assert line % (4, 5, "test have", 3, 3) in capfd.readouterr().err
