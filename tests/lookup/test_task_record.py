"""`ke_t5.json`: it is read as it was written, and damage is reported."""

from __future__ import annotations

import json

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.task_record import RECORD, TaskRecord, read_record

TC = TaskRecord(
    "klue_tc",
    "sequence_classification",
    "transformers:RobertaForSequenceClassification",
    {"klue_tc": {"sequence_length": {"inputs": 64}, "generation": {"model_fn": "forward"}}},
    own_data={"kind": "classification", "labels": ["긍정", "부정"]},
    modules=("my_tasks",),
    versions={"torch": "2.13.0"},
)


def test_it_comes_back(tmp_path):
    TC.write(tmp_path)
    assert read_record(tmp_path) == TC
    assert "긍정" in (tmp_path / RECORD).read_text(encoding="utf-8")  # people read it


def test_another_task_has_the_prefix_of_the_first_member():
    members = {"klue_nli": {"prefix": ["query: "]}, "klue_tc": {}}
    record = TaskRecord("both", TC.form, TC.model_class, members)
    assert record.prefix_of("klue_nli") == record.prefix_of("kor_nli") == ("query: ",)
    assert record.prefix_of("klue_tc") == TC.prefix_of("klue_tc") == ()


def test_a_folder_of_an_earlier_version(tmp_path):
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "it is not a record of a task"),
        ("{}", "task is None"),
        ({"form": 5}, "form is 5"),
        ({"members": {"klue_tc": 5}}, "members are not records"),
        ({"members": {"klue_tc": {"prefix": "query: "}}}, "prefix is 'query: '"),
        ({"members": {"klue_tc": {"prefix": [3]}}}, "prefix is \\[3\\]"),
        ({"own_data": "classification"}, "own_data is 'classification'"),
    ],
)
def test_a_damaged_one(tmp_path, content, message):
    TC.write(tmp_path)
    file = tmp_path / RECORD
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text(encoding="utf-8")), **content})
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"{RECORD}: {message}.*; restore it, or remove") as caught:
        read_record(tmp_path)
    assert caught.value.exit_code == Exit.CHECKPOINT
