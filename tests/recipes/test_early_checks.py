"""Errors before data is prepared: settings that conflict, or that the model class rejects."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import gin
import pytest
from support.recipe_runs import test as run_test
from support.recipe_runs import train

from ke_t5 import stops
from ke_t5.errors import UserError
from ke_t5.recipes import task_splits
from ke_t5.recipes import train as train_recipe
from ke_t5.recipes.folders import RunFolder

ADAFACTOR, SGD = (f"get_optimizer.optimizer_cls=@{name}" for name in ("Adafactor", "SGD"))
RELATIVE = "Adafactor.relative_step=True"


def params(*bindings):
    """The bindings as command-line arguments."""
    return [word for binding in bindings for word in ("--gin_param", binding)]


@pytest.fixture
def without_data(monkeypatch):
    """Fails a run that prepares data."""

    def get_dataset(*_, **__):
        pytest.fail("data was prepared")

    monkeypatch.setattr(task_splits, "get_dataset", get_dataset)


OF_OPTIMIZER = (
    (params(SGD, "SGD.nesterov=True", "SGD.momentum=0"), "SGD.nesterov: needs momentum above 0"),
    (params(SGD, "SGD.nesterov=True", "SGD.dampening=0.1"), "SGD.nesterov: needs momentum above"),
    (params("AdamW.fused=True", "AdamW.foreach=True"), "AdamW.fused: cannot be combined with f"),
    (params(ADAFACTOR, "Adafactor.warmup_init=True"), "warmup_init: needs relative_step=True"),
    (params(ADAFACTOR, RELATIVE, "Adafactor.lr=1e-3"), "relative_step: cannot be combined w"),
    (
        params(ADAFACTOR, RELATIVE, "R=0.1", "Adafactor.lr=%R"),
        "relative_step: cannot be combined w",
    ),
    ([*params(ADAFACTOR, RELATIVE), "--lr", "1e-3"], "relative_step: cannot be combined w"),
    ([*params(ADAFACTOR, RELATIVE), "--schedule"], "--schedule: Adafactor.relative_step=True sets"),
    ([*params(ADAFACTOR, RELATIVE), "--warmup", "0.1"], "Adafactor.relative_step=True sets its"),
    (params("get_optimizer.optimizer_cls=@AdamW()"), "write @AdamW without parentheses"),
    (
        [*params(ADAFACTOR), "--parallel", "fsdp"],
        "--parallel fsdp: Adafactor does not support shar",
    ),
    (["--parallel=fsdp", *params("fit.compile=True")], "compile does not support sharded weights"),
    (
        ["--parallel=fsdp", *params("fit.compress_gradients=True")],
        "compress_gradients does not support sharded",
    ),
    (
        ["--parallel=fsdp", *params("fit.padding='none'")],
        "padding does not support sharded",
    ),
)


@pytest.mark.parametrize(("words", "message"), OF_OPTIMIZER)
def test_optimizer_settings_that_exclude_each_other_need_no_model(
    tmp_path, cache_dir, monkeypatch, words, message
):
    monkeypatch.setattr(
        train_recipe, "choose_model", lambda config: pytest.fail("a model was chosen")
    )
    with pytest.raises(UserError, match=message):
        train("--task", "klue_tc", "--sample", *words, output=tmp_path, cache=cache_dir)


OWN = """
import gin, torch

@gin.configurable
class Lion(torch.optim.SGD):
    def __init__(self, params, lr=1e-3, **settings):
        if lr < 0:
            raise ValueError(f"Invalid rate {lr}.")
        super().__init__(params, lr=lr, **settings)

@gin.configurable
def no_optimizer(params, lr=1e-3):
    return params

@gin.configurable
class WithoutRate(torch.optim.Optimizer):
    def __init__(self, params):
        super().__init__(params, {})
"""
OF_OWN = (
    (("Lion", "Lion.lr=-1"), "optimizer Lion: Invalid rate -1; fix its settings"),
    (("Lion", "Lion.momentun=0.9"), "optimizer Lion: .*unexpected keyword argument 'momentun'"),
    (("Lion", "Lion.momentum='a'"), "optimizer Lion: '<' not supported"),
    (("no_optimizer",), "optimizer_cls: @no_optimizer returns a list, not an optimizer; name a"),
    (("WithoutRate",), "optimizer WithoutRate: has no learning rate 'lr'; store it in each"),
)


@pytest.mark.parametrize(("bindings", "message"), OF_OWN)
def test_settings_that_a_users_own_optimizer_refuses_need_no_model(
    tmp_path, cache_dir, monkeypatch, bindings, message
):
    (tmp_path / f"own_{cache_dir.name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        train_recipe, "choose_model", lambda config: pytest.fail("a model was chosen")
    )
    gin.clear_config()
    words = params(f"get_optimizer.optimizer_cls=@{bindings[0]}", *bindings[1:])
    own = ("--module_import", f"own_{cache_dir.name}")
    with pytest.raises(UserError, match=message):
        train("--task", "klue_tc", "--sample", *own, *words, output=tmp_path, cache=cache_dir)


OF_LENGTH = (
    ("klue_tc", "{'inputs': 1}", "max length 1 is below the tokenizer's 2 special tokens; raise"),
    ("klue_nli", "{'inputs': 2}", "max length 2 is below the tokenizer's 3 special tokens; raise"),
    (
        "klue_tc",
        "{'inputs': 2}",
        "max length 2 leaves no room for text beside the tokenizer's 2 spec",
    ),
    ("klue_mrc", "{'inputs': 2}", "max length 2 is below the tokenizer's 3 special tokens; raise"),
)


@pytest.mark.parametrize(("task", "lengths", "message"), OF_LENGTH)
def test_a_length_below_the_special_tokens_needs_no_data(
    tmp_path, cache_dir, without_data, task, lengths, message
):
    bert = {"klue_mrc": "BertForQuestionAnswering"}.get(task, "BertForSequenceClassification")
    words = ("--task", task, "--sample", "--model_name", f"transformers:{bert}")
    bad = params(f"get_dataset.sequence_length={lengths}")
    with pytest.raises(UserError, match=f"get_dataset.sequence_length: {message}"):
        train(*words, *bad, output=tmp_path, cache=cache_dir)


def test_a_length_of_targets_without_room_for_text_needs_no_data(tmp_path, cache_dir, without_data):
    bad = params("get_dataset.sequence_length={'targets': 1}")
    message = "max length 1 leaves no room for text beside the tokenizer's 1 special tokens"
    with pytest.raises(UserError, match=message):
        train("--task", "klue_tc_gen", "--sample", *bad, output=tmp_path, cache=cache_dir)


def test_a_test_knows_such_a_length_before_the_data_too(tmp_path, cache_dir, without_data):
    words = ("--task", "klue_tc", "--sample", "--from_scratch", "--model_name")
    bad = params("get_dataset.sequence_length={'inputs': 1}")
    with pytest.raises(UserError, match="max length 1 is below the tokenizer's 2 special tokens"):
        run_test(
            *words, "transformers:BertForSequenceClassification", *bad,
            output=tmp_path, cache=cache_dir,
        )  # fmt: skip


OF_CLASS = (
    ("klue_tc_gen", "model.config={'dropout_rat': 0.1}", "has no 'dropout_rat'; did you mean"),
    ("klue_tc_gen", "model.config={'dropout_rate': 'a'}", "'dropout_rate' must be like 0.1"),
    ("klue_tc", "EvaluationHelper.model_fn='forwrd'", "has no method 'forwrd'; did you mean"),
    ("klue_tc", "EvaluationHelper.model_fn='generate'", "not a generation task"),
    ("klue_tc_gen", "EvaluationHelper.model_kwargs={'num_bems': 2}", "no argument 'num_bems'; did"),
    ("klue_tc_gen", "EvaluationHelper.model_kwargs={'num_beam_groups': 2}", "only with code from"),
    (
        "klue_tc_gen",
        "EvaluationHelper.model_kwargs={'num_beams': 2, 'num_return_sequences': 3}",
        "num_return_sequences 3 exceeds num_beams 2",
    ),
    (
        "klue_tc_gen",
        "EvaluationHelper.model_kwargs={'max_new_tokens': 3, 'min_new_tokens': 9}",
        "max_new_tokens=3, min_new_tokens=9",
    ),
    ("klue_tc", "EvaluationHelper.model_input_keys=['input_idz']", "did you mean 'input_ids'"),
)


@pytest.mark.parametrize(("task", "binding", "message"), OF_CLASS)
def test_what_a_models_class_refuses_needs_no_data(
    tmp_path, cache_dir, without_data, task, binding, message
):
    words = ("--task", task, "--sample", "--gin_param", binding)
    with pytest.raises(UserError, match=message):
        train(*words, output=tmp_path, cache=cache_dir)


def test_a_test_knows_it_before_the_data_too(tmp_path, cache_dir, without_data):
    words = ("--task", "klue_tc", "--sample", "--from_scratch")
    bad = ("--gin_param", "EvaluationHelper.model_fn='forwrd'")
    with pytest.raises(UserError, match="has no method 'forwrd'"):
        run_test(*words, *bad, output=tmp_path, cache=cache_dir)


def test_every_process_finds_what_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    line = r"--output_dir .*: nothing can be written there \(Not a directory\); choose a folder"
    run = RunFolder(tmp_path / "file" / "model" / "task")
    for check in (run.check_permission, lambda: run.check_writable(keep=False)):
        with pytest.raises(UserError, match=line):
            check()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UserError, match=r"nothing can be written there \(Permission denied\)"):
        RunFolder(tmp_path / "new" / "task").check_permission()


def test_a_stop_while_the_trial_folder_is_removed_leaves_none(tmp_path, monkeypatch):
    """As torchrun stops a process after another one has failed."""
    real = Path.rmdir

    def rmdir(folder):
        real(folder)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    with stops.listening(), pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path / "output" / "model" / "task").check_writable(keep=False)
    assert list(tmp_path.iterdir()) == []
