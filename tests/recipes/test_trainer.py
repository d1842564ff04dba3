"""When a training logs, validates, saves and ends: the trainer, with stand-ins."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
import torch

from ke_t5 import stops
from ke_t5.errors import Stopped
from ke_t5.recipes import trainer as trainer_module
from ke_t5.recipes.trainer import Timetable, Trainer
from ke_t5.train.loop import Update


class Recorder:
    """A stand-in for checkpointer, validator and logs that records the calls."""

    name = "validation"

    def __init__(self, state, scores=()):
        self.state, self.calls = state, []
        self.scores_of = dict(scores)
        self.best = self.closing = None
        self.waited, self.validated_at, self.is_unvalidated = 0, -1, False

    def note(self, what):
        self.calls.append(f"{what} {self.state.step}")

    def validate(self, step):
        self.note("validate")
        score = self.scores_of.get(step, 0.0)
        return {"step": step, "score": score, "scores": {"f1": 1.0}, "loss": 0.25}

    def add(self, validation):
        self.validated_at = validation["step"]
        is_best = self.best is None or validation["score"] > self.best["score"]
        self.best = validation if is_best else self.best
        self.waited = 0 if is_best else self.waited + 1
        return is_best

    def save(self, *, is_best=False, then=None):
        self.note("save best" if is_best else "save")
        if then is not None:
            then()

    def check(self):
        pass

    def sync(self):
        pass

    def wait(self):
        self.note("written")

    def writing(self, step):
        return lambda: self.note("write")

    def folders(self):
        return ["eval/validation"]

    def close(self, *closing):
        if not closing:
            self.note("end of log")
            return False
        validation, self.replaced = closing
        self.closing = {**validation, "is_best": True}
        return True

    def point_at_best(self):
        self.note("point at best")

    def revert_closing(self):
        self.note("revert")
        self.closing = None

    def count(self, *, rows, tokens):
        pass

    def step(self, step, *, epoch, loss, lr, grad_norm):
        assert grad_norm == step + 0.5
        self.note(f"log {loss:g}")

    def scores(self, step, *, split, scores, loss, is_closing=False):
        assert loss == 0.25
        self.note("log closing" if is_closing else "log scores")


@pytest.fixture
def made(tmp_path):
    """A function that makes a trainer and its recorder; eight updates, four per epoch."""

    def make(*, is_main=True, stops_at=None, scores=(), step=0, **timetable):
        state = SimpleNamespace(
            step=step, loss_sum=torch.zeros(()), loss_steps=0,
            guard=SimpleNamespace(check=lambda: None),
        )  # fmt: skip
        ranks = SimpleNamespace(
            is_main=is_main, mean=lambda value: value,
            agree=lambda _stop, save: (state.step == stops_at, save),
        )  # fmt: skip
        recorder = Recorder(state, scores)
        settings = {"epoch_steps": 8, "num_steps": 8, "log_every": 3} | timetable
        trainer = Trainer(
            state, ranks, timetable=Timetable(**settings), checkpointer=recorder,
            validator=recorder, run=tmp_path,
        )  # fmt: skip
        trainer.log = recorder
        return trainer, recorder

    return make


def updates(trainer):
    """Yields updates like `fit`; the loss of an update is its number."""
    state = trainer.state
    while state.step < trainer.timetable.num_steps:
        state.step += 1
        state.loss_sum, state.loss_steps = state.loss_sum + state.step, state.loss_steps + 1
        loss, epoch = torch.tensor(0.0), (state.step - 1) // 4
        norm = torch.tensor(state.step + 0.5)
        yield Update(state.step, epoch, state.step % 4 == 0, loss, 0.1, norm, 2, 6)


def calls(made, **settings):
    trainer, recorder = made(**settings)
    trainer.train(updates(trainer))
    return recorder.calls


def test_it_validates_at_the_end_of_an_epoch_and_saves_with_it(made):
    assert calls(made, scores={4: 1.0, 8: 2.0}) == [
        "log 2 3", "save 4", "validate 4", "log scores 4", "save best 4", "write 4", "log 5 6",
        "log 7.5 8", "save 8", "validate 8", "log scores 8", "save best 8", "write 8",
    ]  # fmt: skip


def test_results_of_a_worse_validation_are_not_written(made):
    found = calls(made, scores={4: 2.0, 8: 1.0})
    assert found.count("save 8") == 2 and "write 4" in found and "write 8" not in found


def test_it_validates_and_saves_in_between_as_well(made):
    found = calls(made, validate_every=3, save_every=2)
    assert [call for call in found if call.startswith("validate")] == [
        "validate 3", "validate 4", "validate 6", "validate 8",
    ]  # fmt: skip
    # A validation saves before and after itself; a checkpoint due then is not saved again.
    saves = [call for call in found if call.startswith("save")]
    assert saves == [
        "save 2", "save 3", "save best 3", *["save 4"] * 2, *["save 6"] * 2, *["save 8"] * 2,
    ]  # fmt: skip


def test_it_may_validate_after_several_epochs_only(made):
    found = calls(made, validate_epochs=2)
    assert [call for call in found if call.startswith("validate")] == ["validate 8"]
    trainer, recorder = made(step=4, validate_epochs=2)
    recorder.is_unvalidated = True  # as if a launch had stopped there
    trainer.catch_up(0, ends_epoch=True)
    assert recorder.calls == []
    trainer, recorder = made(validate_epochs=3)
    trainer.train(updates(trainer))
    trainer.finish()
    assert recorder.closing is not None and recorder.closing["step"] == 8


def test_the_end_that_max_steps_sets_is_not_logged(made):
    assert not [call for call in calls(made, num_steps=5) if call.startswith("log 4.5")]
    assert "log 7.5 8" in calls(made)


def test_it_ends_when_patience_is_over(made):
    trainer, recorder = made(validate_every=1, patience=2, scores={1: 9.0})
    trainer.train(updates(trainer))
    assert trainer.state.step == 3 and not trainer.goes_on()
    trainer.finish()
    assert recorder.closing is None  # step 3 was validated


def test_a_stop_is_answered_with_a_checkpoint(made, tmp_path):
    trainer, recorder = made(stops_at=2)
    with pytest.raises(Stopped, match=f"at step 2, saved in {tmp_path}/weights"):
        trainer.train(updates(trainer))
    assert recorder.calls == ["save 2", "written 2", "end of log 2"]


def test_a_stop_during_a_validation_ends_it_at_once(made, tmp_path):
    trainer, recorder = made()
    recorder.validate = lambda _step: signal.raise_signal(signal.SIGUSR1)
    place = f"at step 4, before its validation, saved in {tmp_path}/weights"
    with pytest.raises(Stopped, match=place), stops.listening():
        trainer.train(updates(trainer))
    assert recorder.calls == ["log 2 3", "save 4", "written 4", "end of log 4"]


def test_a_validation_that_a_launch_did_not_end_is_made_at_first(made):
    for settings, is_unvalidated, expected in (
        ({"step": 4}, True, ["save 4", "validate 4", "log scores 4", "save best 4", "write 4"]),
        ({"step": 4}, False, []),
        ({"step": 3}, True, []),
        ({"step": 3, "validate_every": 3}, True, ["save 3", "validate 3"]),
    ):
        trainer, recorder = made(**settings)
        recorder.is_unvalidated = is_unvalidated
        trainer.catch_up(0, ends_epoch=settings["step"] == 4)
        assert recorder.calls[: len(expected) or None] == expected


def test_it_saves_when_time_has_passed(made, monkeypatch):
    trainer, recorder = made(save_seconds=60.0, epoch_steps=4, num_steps=4)
    monkeypatch.setattr(trainer_module.time, "monotonic", lambda: 25.0 * trainer.state.step)
    trainer._saved_at = 0.0
    trainer.train(updates(trainer))
    saves = [call for call in recorder.calls if "save" in call]
    assert saves == ["save 3", "save 4", "save best 4"]


def test_other_processes_write_no_results(made):
    assert not [call for call in calls(made, is_main=False) if call.startswith("write")]


def test_a_run_that_ends_within_an_epoch_is_validated_once_more(made):
    trainer, recorder = made(num_steps=6, scores={4: 1.0})
    trainer.train(updates(trainer))
    recorder.calls.clear()
    trainer.finish()
    assert recorder.calls == [
        "save 6", "validate 6", "write 6", "save best 6", "log closing 6", "written 6",
        "end of log 6",
    ]  # fmt: skip
    assert recorder.replaced == ["eval/validation"]


def test_a_run_that_ends_with_an_epoch_is_not(made):
    trainer, recorder = made()
    trainer.train(updates(trainer))
    recorder.calls.clear()
    trainer.finish()
    assert recorder.calls == ["written 8", "end of log 8"]


def test_a_closing_validation_stays_unless_the_run_goes_on(made):
    closing = {"step": 6, "score": 1.0, "scores": {"f1": 1.0}, "loss": 0.25, "is_best": True}
    for num_steps, expected in ((6, []), (8, ["revert 6"])):
        trainer, recorder = made(is_main=False, step=6, num_steps=num_steps)
        recorder.closing = closing
        trainer.open_logs(is_resumed=True)
        assert recorder.calls == expected
    trainer, recorder = made(step=6, num_steps=6)
    recorder.closing = closing
    trainer.finish()
    assert recorder.calls == ["point at best 6", "log closing 6", "written 6", "end of log 6"]
