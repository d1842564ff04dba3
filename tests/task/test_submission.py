"""Submission files of benchmarks."""

import json
from types import SimpleNamespace

import pytest

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import get_task
from ke_t5.recipes.submissions import submission_form
from ke_t5.task.submission import format_of, write_submission


@pytest.mark.parametrize(
    ("form", "predictions", "text"),
    [
        ("klue_tc", ["정치", "스포츠", None], "0\n6\n-1\n"),
        ("klue_nli", ["entailment", "contradiction", "neutral"], "0\n1\n2\n"),
        ("kobest_hellaswag", ["1", "4", None], "0\n3\n-1\n"),
        ("kobest_copa", ["2", "1", None], "2\n1\n-1\n"),
        ("kobest_wic", ["True", "False", None], "1\n0\n-1\n"),
        ("kmhas", [["출신차별", "해당사항없음"], [], None], "0,8\n\n-1\n"),
        ("klue_sts", [3.5, 0, None], "3.5\n0.0\n-1.0\n"),
        ("klue_ner", [["B-PS", "I-PS", "O"], ["B-TI"], None], "12,0,1,12,12\n12,8,12\n12,12\n"),
        (
            "klue_dp",
            [
                {"heads": [2, 0], "relations": ["NP_SBJ", "VP"]},
                {"heads": [0], "relations": ["X"]},
                {"heads": [None], "relations": [None]},
            ],
            "2 3\n0 2\n0 23\n-1 -1\n",
        ),
    ],
)
def test_forms_of_lines(tmp_path, form, predictions, text):
    path = write_submission(form, tmp_path / "output.csv", ["a", "b", "c"], predictions)
    assert path.read_text(encoding="utf-8") == text


def test_relations_come_with_their_probabilities(tmp_path):
    path = write_submission(
        "klue_re", tmp_path / "out", ["a"], ["per:title"], scores=[[0.25] + [0.0] * 28 + [0.75]]
    )
    assert path.read_text() == f"29\t0.25 {'0.0 ' * 28}0.75\n"
    with pytest.raises(UserError, match="needs the probability of every relation"):
        write_submission("klue_re", tmp_path / "out", ["a"], ["per:title"])


@pytest.mark.parametrize("form", ["korquad", "klue_mrc"])
def test_answers_are_one_object(tmp_path, form):
    path = write_submission(form, tmp_path / "out.json", ["q1", "q2"], ["세종", None])
    assert "세종" in path.read_text(encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8")) == {"q1": "세종", "q2": ""}


def test_states_are_a_list_of_turns(tmp_path):
    path = write_submission("klue_dst", tmp_path / "o", ["g1", "g1"], [["식당-종류-일식"], None])
    turns = json.loads(path.read_text(encoding="utf-8"))
    assert turns == [{"guid": "g1", "pred": ["식당-종류-일식"]}, {"guid": "g1", "pred": []}]


def test_unknown_forms_and_columns_that_do_not_match_are_refused(tmp_path):
    with pytest.raises(UserError, match="--submission 'klue_nil': unknown format; did you mean"):
        write_submission("klue_nil", tmp_path / "o", [], [])
    with pytest.raises(ValueError, match="klue_nli: columns of 2, 1 rows"):
        write_submission("klue_nli", tmp_path / "o", ["a", "b"], ["neutral"])


def test_a_task_that_gives_no_probabilities_is_refused_before_it_is_tested():
    assert [format_of(task) for task in ("klue_re", "klue_re_tk_idx")] == ["klue_re"] * 2
    with pytest.raises(UserError, match="needs the probability of every relation"):
        format_of("klue_re_gen")


@pytest.mark.parametrize(
    ("task", "form"),
    [("klue_ner", None), ("klue_dp", None), ("korquad", None), ("klue_nli_gen", "klue_nli")],
)
def test_predictions_of_tokens_are_no_submission(tmp_path, task, form):
    data = SimpleNamespace(asked_splits={"test": None}, model_columns_only=True)
    submission = str(tmp_path / "out")
    config = SimpleNamespace(submission=submission, data=data, task=get_task(task))
    if form is not None:
        assert submission_form(config) == form
        return
    with pytest.raises(UserError, match=f"predictions of {task} are per token; drop --pass_only"):
        submission_form(config)


def test_a_file_that_cannot_be_written_is_found_before_the_test():
    data = SimpleNamespace(asked_splits={"test": None}, model_columns_only=False)
    config = SimpleNamespace(submission="/proc/out", data=data, task=get_task("klue_tc"))
    with pytest.raises(UserError, match="--submission /proc/out: nothing can be written there"):
        submission_form(config)


@pytest.mark.parametrize("form", ["korquad", "klue_mrc"])
def test_an_id_that_comes_twice_is_refused(tmp_path, form):
    what = "error: --submission: 2 rows have the id 'q1'; give each row its own id"
    with pytest.raises(UserError, match=f"^{what}") as told:
        write_submission(form, tmp_path / "out.json", ["q0", "q1", "q1"], ["가", "나", "다"])
    assert told.value.exit_code == Exit.DATA and not (tmp_path / "out.json").exists()
