"""`--resume`: which checkpoint its values select, and which checkpoints are kept for it."""

from __future__ import annotations

import shutil

import pytest
from support.checkpoint_toys import find_checkpoint, flip, names, save

from ke_t5.checkpoint.checkpoints import read_progress
from ke_t5.errors import Exit, UserError


def test_resume_words(tmp_path):
    save(tmp_path, 1, is_best=True)
    save(tmp_path, 2)
    save(tmp_path, 3)
    found = {word: find_checkpoint(tmp_path, word).name for word in ("true", "auto", "best")}
    assert found == {"true": "step-00000003", "auto": "step-00000003", "best": "step-00000001"}


def test_resume_by_path(tmp_path, monkeypatch):
    weights = tmp_path / "run" / "weights"
    first, last = save(weights, 1), save(weights, 2)
    assert find_checkpoint(weights, str(first)) == first
    assert find_checkpoint(weights, "step-00000001") == first
    assert find_checkpoint(tmp_path, str(weights)) == last
    assert find_checkpoint(tmp_path, str(tmp_path / "run")) == last
    monkeypatch.chdir(weights)
    assert find_checkpoint(tmp_path, "step-00000001").resolve() == first


def test_auto_with_nothing_is_none(tmp_path):
    assert find_checkpoint(tmp_path / "nowhere", "auto") is None


def test_auto_with_nothing_whole_is_none_and_says_so(tmp_path, caplog):
    flip(save(tmp_path, 1) / "model.safetensors")
    assert find_checkpoint(tmp_path, "auto") is None
    assert "no complete checkpoint in" in caplog.messages[-1]


def test_auto_prefers_the_last_one_saved_over_later_steps(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 9)
    save(tmp_path, 2)
    assert find_checkpoint(tmp_path, "auto").name == "step-00000002"
    shutil.rmtree(tmp_path / "step-00000002")
    assert find_checkpoint(tmp_path, "auto").name == "step-00000001"


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        (
            "true",
            "error: --resume true: no last checkpoint in .*; none available; drop --resume",
        ),
        ("best", "error: --resume best: no best checkpoint in"),
        ("out/x.ckpt", "error: --resume out/x.ckpt: no such checkpoint; none available"),
    ],
)
def test_resume_without_a_checkpoint_is_an_error(tmp_path, resume, message):
    with pytest.raises(UserError, match=message) as caught:
        find_checkpoint(tmp_path, resume)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_resume_from_a_missing_one_lists_what_is_there(tmp_path):
    save(tmp_path, 120, is_best=True)
    save(tmp_path, 240)
    with pytest.raises(UserError, match="available: step-00000120, step-00000240"):
        find_checkpoint(tmp_path, "out/x.ckpt")
    shutil.rmtree(tmp_path / "step-00000120")
    with pytest.raises(
        UserError, match="--resume best: step 120 is missing; available: step-00000240"
    ):
        find_checkpoint(tmp_path, "best")


def test_best_and_last_two_are_kept(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step, is_best=step == 2)
    kept = ["step-00000002", "step-00000005", "step-00000006"]
    assert names(tmp_path) == ["best.json", "last.json", *kept]


def test_later_steps_of_a_run_that_was_taken_back_are_left_alone(tmp_path):
    for step in (10, 20, 11, 12, 13):
        save(tmp_path, step)
    kept = ["step-00000012", "step-00000013", "step-00000020"]
    assert names(tmp_path) == ["last.json", *kept]


def test_damaged_best_pointer_deletes_nothing(tmp_path, caplog):
    save(tmp_path, 1, is_best=True)
    (tmp_path / "best.json").write_text("{")
    save(tmp_path, 2)
    save(tmp_path, 3)
    assert "step-00000001" in names(tmp_path)
    assert "no older checkpoint is deleted" in caplog.text


def test_the_same_step_again_moves_the_pointers_only(tmp_path):
    path = save(tmp_path, 1)
    before = (path / "model.safetensors").stat()
    assert save(tmp_path, 1, is_best=True) == path
    assert (path / "model.safetensors").stat() == before
    assert names(tmp_path) == ["best.json", "last.json", "step-00000001"]


def test_the_same_step_with_other_content_is_replaced(tmp_path):
    save(tmp_path, 1, score=1.0)
    path = save(tmp_path, 1, score=2.0)
    assert read_progress(path)["score"] == 2.0
    assert names(tmp_path) == ["last.json", "step-00000001"]


def test_the_same_step_heals_a_damaged_checkpoint(tmp_path):
    path = save(tmp_path, 1)
    flip(path / "model.safetensors")
    save(tmp_path, 1)
    assert find_checkpoint(tmp_path, "true") == path
