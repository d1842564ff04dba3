"""Damaged files in a run's folder are reported in one line that names them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.recipes.folders import RunFolder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ("[]", "it is not a record of a run; fix or remove it"),
        ('{"model_name": 5}', "model_name is 5; fix or remove it"),
        ('{"launches": [5]}', "launches are not a list of records"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_record_of_another_shape(tmp_path, content, message):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(UserError, match=f"run.json: .*{message}") as caught:
        RunFolder(tmp_path).read_run()
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_a_record_of_an_older_version(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"task": "klue_tc"}))
    assert RunFolder(tmp_path).read_run() == {"task": "klue_tc"}


@pytest.mark.parametrize(
    "array", [np.array([{}], dtype=object), np.zeros((2, 2), np.uint64), np.zeros((2, 3))]
)
def test_hashes_of_another_kind(tmp_path, array):
    file = RunFolder(tmp_path).trained_rows("klue_tc")
    file.parent.mkdir()
    np.save(file, array, allow_pickle=True)
    with pytest.raises(UserError, match="klue_tc.npy: not hashes of rows .*; remove it; then"):
        RunFolder(tmp_path).read_trained_rows("klue_tc")


def test_damaged_hashes(tmp_path):
    file = RunFolder(tmp_path).trained_rows("klue_tc")
    file.parent.mkdir()
    np.save(file, np.zeros((4, 3), np.uint64))
    whole = file.read_bytes()
    np.savez(file.with_suffix(".npz"), np.zeros((4, 3), np.uint64))
    damaged = [
        whole[:-5],
        whole.replace(b"{", b"(", 1),
        whole.replace(b"(4, 3), }" + b" " * 14, b"(" + b"9" * 15 + b", 3), }"),
        file.with_suffix(".npz").read_bytes(),
    ]
    for content in damaged:
        assert content != whole
        file.write_bytes(content)
        with pytest.raises(UserError, match="klue_tc.npy: not hashes of rows"):
            RunFolder(tmp_path).read_trained_rows("klue_tc")


def test_hashes_are_read_as_they_were_kept(tmp_path):
    hashes = np.arange(6, dtype=np.uint64).reshape(2, 3)
    run = RunFolder(tmp_path)
    for _ in range(2):
        run.keep_trained_rows("klue_tc", hashes)
    assert np.array_equal(run.read_trained_rows("klue_tc"), hashes)
