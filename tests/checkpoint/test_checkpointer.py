"""What the checkpointer saves, restores and keeps as the best; a toy model, no recipe."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.checkpoint_toys import assert_same_bits, make, reseal, train

from ke_t5.checkpoint.checkpointer import Checkpointer
from ke_t5.checkpoint.checkpoints import REQUIRED, find_checkpoint
from ke_t5.checkpoint.serialization import keep_state
from ke_t5.checkpoint.settings import EARLIER_BATCHES
from ke_t5.config.resume import BEST, LAST, ResumeRequest
from ke_t5.errors import Exit, UserError

ALONE = SimpleNamespace(
    is_main=True, device=torch.device("cpu"), mean=lambda value: value,
    broadcast=lambda value: value, barrier=lambda: None, gather=lambda value: [value],
    rank=0, size=1, has_one_disk=True,
)  # fmt: skip


def checkpointer(run, *, step=0, seed=0, improves=lambda score, best: best is None or score > best):
    """A checkpointer of a toy, in a run with an empty evaluation of `dev`."""
    (run / "eval" / "dev").mkdir(parents=True, exist_ok=True)
    model, optimizer = make(seed)
    state = SimpleNamespace(
        module=model, optimizer=optimizer, step=step, rows=2 * step, loss_steps=1,
        loss_sum=torch.tensor(0.25, dtype=torch.float64),
        guard=SimpleNamespace(check_state=lambda *_: None),
    )  # fmt: skip
    return Checkpointer(run, state, ALONE, epoch_steps=8, improves=improves)


def validation(step, score):
    return {"step": step, "score": score, "scores": {"f1": score}}


def pointed(run, pointer):
    return json.loads((run / "weights" / f"{pointer}.json").read_text())["step"]


def test_a_model_that_cannot_be_saved_is_refused_at_the_start(tmp_path):
    state = checkpointer(tmp_path).state
    state.module.register_buffer("filter", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(
        UserError, match="filter is torch.complex128, which safetensors cannot store"
    ):
        Checkpointer(tmp_path, state, ALONE, epoch_steps=8, improves=None)


def test_what_is_saved_is_restored(tmp_path):
    saved = checkpointer(tmp_path, step=4)
    saved.settings = {"--seed": 42}
    assert saved.add(validation(4, 50.0))
    saved.save(is_best=True)
    saved.wait()
    other = checkpointer(tmp_path, seed=1)
    progress = other.load(find_checkpoint(tmp_path / "weights", BEST))
    assert progress["fixed"] == {"--seed": 42} and progress["epoch_steps"] == 8
    assert (other.best, other.waited, other.closing) == (validation(4, 50.0), 0, None)
    assert (other.validated_at, other.saved_at) == (4, 4)
    one, two = other.state, saved.state
    assert [one.step, one.rows, one.loss_sum.item(), one.loss_steps] == [4, 8, 0.25, 1]
    assert_same_bits(one.module.state_dict(), two.module.state_dict())
    assert_same_bits(one.optimizer.state_dict(), two.optimizer.state_dict())


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *((name, None, name) for name in REQUIRED),
        ("step", -1, "step is -1"),
        ("best", {"step": 4, "score": 1.0, "scores": {"f1": "x"}}, "score is 'x'"),
        ("fixed", {EARLIER_BATCHES: [[2, "x"]]}, "rows is 'x'"),
        ("fixed", {EARLIER_BATCHES: "xy"}, "ValueError"),
    ],
)
def test_sealed_progress_of_another_kind_is_one_line(tmp_path, name, value, reason):
    saved = checkpointer(tmp_path, step=4)
    saved.save()
    saved.wait()
    checkpoint = find_checkpoint(tmp_path / "weights", LAST)
    path = checkpoint / "progress.json"
    progress = json.loads(path.read_text())
    del progress[name]
    if value is not None:
        progress[name] = value
    path.write_text(json.dumps(progress))
    reseal(checkpoint)
    with pytest.raises(UserError, match=rf"not what this program writes .*{reason}") as caught:
        checkpointer(tmp_path).load(checkpoint)
    assert caught.value.exit_code == Exit.CHECKPOINT


def test_each_process_has_its_own_share_of_the_loss_again(tmp_path):
    """A mean that both read back sums to another last bit."""
    shares, saved = [38.1, 0.2 + 0.1], checkpointer(tmp_path, step=4)
    saved.ranks = SimpleNamespace(**{**vars(ALONE), "gather": lambda _: shares})
    saved.save()
    saved.wait()
    found = []
    for rank, size in ((0, 2), (1, 2), (0, 1), (2, 4)):
        other = checkpointer(tmp_path)
        other.ranks = SimpleNamespace(**{**vars(ALONE), "rank": rank, "size": size})
        other.load(find_checkpoint(tmp_path / "weights", LAST))
        found.append(other.state.loss_sum.item())
    assert found == [*shares, 0.25, 0.25]


def test_the_first_of_two_equal_scores_is_the_best(tmp_path):
    one = checkpointer(tmp_path)
    assert [one.add(validation(step, score)) for step, score in ((1, 5), (2, 5), (3, 4))] == [
        True, False, False,
    ]  # fmt: skip
    assert (one.best["step"], one.waited, one.validated_at) == (1, 2, 3)
    assert one.add(validation(4, 6)) and one.waited == 0


@pytest.mark.parametrize(("score", "improves"), [(None, None), (None, max), (1.0, None)])
def test_without_a_score_to_compare_by_the_latest_is_the_best(tmp_path, score, improves):
    one = checkpointer(tmp_path, improves=improves)
    assert [one.add(validation(step, score)) for step in (1, 2)] == [True, True]
    assert one.best["step"] == 2


def test_a_step_is_saved_once_unless_it_is_the_best(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "ke_t5.checkpoint.checkpointer.save_checkpoint",
        lambda weights, *, progress, is_best, **_: saved.append((progress["step"], is_best)),
    )
    one = checkpointer(tmp_path, step=3)
    one.save()
    one.save()
    one.save(is_best=True)
    assert saved == [(3, False), (3, True)]


def test_only_rank_zero_writes_and_nothing_that_is_not_finite(tmp_path):
    one = checkpointer(tmp_path, step=3)
    one.ranks = SimpleNamespace(**vars(ALONE) | {"is_main": False})
    one.save()
    assert one.saved_at == 3 and not (tmp_path / "weights").exists()

    def fail(*_):
        raise FloatingPointError

    one = checkpointer(tmp_path, step=3)
    one.state.guard.check_state = fail
    with pytest.raises(FloatingPointError):
        one.save()
    assert not (tmp_path / "weights").exists()


def test_results_follow_their_checkpoint(tmp_path):
    found = []
    one = checkpointer(tmp_path, step=3)
    one.save(
        is_best=one.add(validation(3, 5)), then=lambda: found.append(pointed(tmp_path, "best"))
    )
    one.save(then=lambda: found.append("nothing new"))
    one.wait()
    assert found == [3, "nothing new"]
    one.ranks = SimpleNamespace(**vars(ALONE) | {"is_main": False})
    one.save(then=lambda: found.append("of another rank"))
    one.wait()
    assert len(found) == 2


def test_another_rank_waits_until_the_checkpoint_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ke_t5.checkpoint.checkpointer.PATIENCE_SECONDS", 0)
    main, other = checkpointer(tmp_path, step=3), checkpointer(tmp_path, step=3)
    other.ranks = SimpleNamespace(**vars(ALONE) | {"is_main": False})
    other.wait()  # it has saved nothing
    other.save()
    threading.Timer(0.1, main.save).start()
    other.wait()  # as long as it takes
    assert pointed(tmp_path, "last") == 3
    main.settle()


def test_a_rank_that_cannot_see_the_checkpoint_waits_for_some_time_only(tmp_path, monkeypatch):
    monkeypatch.setattr("ke_t5.checkpoint.checkpointer.PATIENCE_SECONDS", 0.01)
    other = checkpointer(tmp_path, step=3)
    other.ranks = SimpleNamespace(**vars(ALONE) | {"is_main": False, "has_one_disk": False})
    other.save()
    other.wait()
    assert not (tmp_path / "weights").exists()


def test_hashes_are_checked_by_the_one_rank_that_looks_for_the_checkpoint(tmp_path, monkeypatch):
    one = checkpointer(tmp_path, step=4)
    one.save()
    one.wait()
    path = find_checkpoint(tmp_path / "weights", LAST)
    monkeypatch.setattr("ke_t5.checkpoint.finding.find_fault", None)
    assert one.load(path)["step"] == 4


def test_the_optimizers_state_leaves_the_file_before_the_training(tmp_path):
    one = checkpointer(tmp_path, step=4)
    one.save()
    one.wait()
    other = checkpointer(tmp_path, seed=1)
    path = find_checkpoint(tmp_path / "weights", LAST)
    file = path / "optimizer.safetensors"
    content = file.read_bytes()
    other.load(path)
    assert str(file) in Path("/proc/self/maps").read_text()
    keep_state(other.state.optimizer)
    assert str(file) not in Path("/proc/self/maps").read_text()
    train(other.state.module, other.state.optimizer)
    train(one.state.module, one.state.optimizer)
    assert_same_bits(other.state.optimizer.state_dict(), one.state.optimizer.state_dict())
    assert file.read_bytes() == content


def closed(run):
    """A run whose scheduled best is step 4 and whose closing validation, of step 6, is better."""
    one = checkpointer(run, step=4)
    scores = run / "eval" / "dev" / "scores.json"
    scores.write_text("4")
    one.save(is_best=one.add(validation(4, 50.0)))
    one.state.step = 6
    is_best = one.close(validation(6, 60.0), [run / "eval" / "dev"])
    scores.write_text("6")
    one.save(is_best=is_best)
    one.wait()
    return one


def test_a_closing_validation_can_be_the_best_and_is_reverted(tmp_path):
    one = closed(tmp_path)
    assert one.best["step"] == 4 and one.best_of_all()["step"] == 6
    assert pointed(tmp_path, "best") == pointed(tmp_path, "last") == 6
    leftover = tmp_path / "scheduled.tmp-999999999"  # left by a killed process
    leftover.mkdir()
    one.revert_closing()
    assert one.best_of_all()["step"] == pointed(tmp_path, "best") == 4
    assert (tmp_path / "eval" / "dev" / "scores.json").read_text() == "4"
    assert not leftover.exists()


def test_a_restored_run_knows_its_closing_validation(tmp_path):
    closed(tmp_path)
    one = checkpointer(tmp_path)
    one.load(find_checkpoint(tmp_path / "weights", LAST))
    assert one.closing == {**validation(6, 60.0), "is_best": True} and one.best["step"] == 4
    one.load(find_checkpoint(tmp_path / "weights", ResumeRequest.parse("step-00000004")))
    assert (one.state.step, one.best["step"]) == (4, 4)


def test_the_pointer_of_a_killed_launch_is_written_later(tmp_path):
    one = closed(tmp_path)
    (tmp_path / "weights" / "best.json").unlink()
    one.point_at_best()
    assert pointed(tmp_path, "best") == 6
