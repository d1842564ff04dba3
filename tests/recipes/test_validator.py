"""The validator, with stand-ins for the model and the splits."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
from support.toys import mix_of_two

from ke_t5.pipe import Evaluated, get_task
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.task_splits import Evaluation, TaskSplit
from ke_t5.recipes.validator import Validator

TASK = get_task("klue_tc")
LINE = {"id": 0, "inputs": "글", "gold": "경제", "prediction": "사회"}
EXAMPLES = SimpleNamespace(lost=dict)


def validator(path, task=TASK, *, scores=None, members=(TASK,)):
    """A validator whose evaluations always give these scores."""
    parts = [
        TaskSplit(member, "dev[:9]", EXAMPLES, "dev[:9]" if member is task else member.name)
        for member in members
    ]
    evaluated = Evaluated({} if scores is None else scores, 1, 1, 0, [LINE], [])
    evaluation = Evaluation([(part, evaluated) for part in parts], evaluated.scores)
    return Validator(
        task, parts, [None] * len(parts), evaluate=lambda: evaluation, run=RunFolder(path), facts={}
    )


def test_the_score_to_compare_by_is_the_tasks_own(tmp_path):
    scores = {"accuracy": 60.0, TASK.best.metric: 50.0}
    found = validator(tmp_path, scores=scores).validate(7)
    assert found == {"step": 7, "score": 50.0, "scores": scores}


def test_there_is_none_without_labelled_rows_or_without_a_metric(tmp_path):
    assert validator(tmp_path).validate(7)["score"] is None
    task = dataclasses.replace(TASK, best=None)
    without = validator(tmp_path, task, scores={"accuracy": 60.0}, members=(task,))
    assert without.validate(7)["score"] is None


def test_it_writes_the_last_evaluation_under_the_checkpoints_name(tmp_path):
    scores = {TASK.best.metric: 60.0}
    one = validator(tmp_path, scores=scores)
    with pytest.raises(ValueError, match="nothing has been evaluated"):
        one.write(7)
    one.validate(7)
    one.write(7)
    (folder,) = one.folders()
    content = json.loads((folder / "scores.json").read_text())
    assert folder == tmp_path / "eval" / "dev_9_"
    assert (content["weights"], content["scores"]) == ("step-00000007", scores)
    assert "mixture" not in content and "trained_on" not in content
    (line,) = (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == LINE


def test_what_is_written_later_is_the_evaluation_of_its_step(tmp_path):
    scores = {TASK.best.metric: 60.0}
    one = validator(tmp_path, scores=scores)
    one.validate(7)
    write = one.writing(7)
    one.last = None  # the next validation, while a thread still writes the checkpoint
    write()
    content = json.loads((one.folders()[0] / "scores.json").read_text())
    assert (content["weights"], content["scores"]) == ("step-00000007", scores)


def test_a_mixture_has_a_folder_for_itself_and_for_each_member(tmp_path):
    mixture = mix_of_two()
    one = validator(tmp_path, mixture, scores={"mean": 60.0}, members=mixture.members)
    one.validate(7)
    one.write(7)
    assert [folder.name for folder in one.folders()] == ["klue_tc_gen", "klue_nli_gen", "dev_9_"]
    contents = [json.loads((path / "scores.json").read_text()) for path in one.folders()]
    assert [content.get("mixture") for content in contents] == ["mix", "mix", None]
    assert contents[2]["tasks"] == ["klue_tc_gen", "klue_nli_gen"] and contents[2]["rows"] == 2


def test_a_report_is_made_once_of_what_is_on_the_disk(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        "ke_t5.recipes.validator.results.report_validation",
        lambda folder, helper, part, *, facts: made.append((folder, part.split, facts)),
    )
    validator(tmp_path).report()
    assert made == [(tmp_path / "eval" / "dev_9_", "dev[:9]", {})]
