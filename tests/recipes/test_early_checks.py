"""What dies before data is prepared: settings that exclude each other or that no class takes."""

from __future__ import annotations

import pytest
from support.recipe_runs import test as run_test
from support.recipe_runs import train

from ke_t5.errors import UserError
from ke_t5.recipes import task_splits
from ke_t5.recipes import train as train_recipe

ADAFACTOR, SGD = (f"get_optimizer.optimizer_cls=@{name}" for name in ("Adafactor", "SGD"))
RELATIVE = "Adafactor.relative_step=True"


def params(*bindings):
    """The bindings as words of a command line."""
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
    (params("AdamW.fused=True", "AdamW.foreach=True"), "AdamW.fused: excludes foreach"),
    (params(ADAFACTOR, "Adafactor.warmup_init=True"), "warmup_init: needs relative_step=True"),
    (params(ADAFACTOR, RELATIVE, "Adafactor.lr=1e-3"), "relative_step: excludes a learning rate"),
    (params(ADAFACTOR, RELATIVE, "R=0.1", "Adafactor.lr=%R"), "relative_step: excludes a learn"),
    ([*params(ADAFACTOR, RELATIVE), "--lr", "1e-3"], "relative_step: excludes a learning rate"),
    ([*params(ADAFACTOR, RELATIVE), "--schedule"], "--schedule: Adafactor.relative_step=True sets"),
    ([*params(ADAFACTOR, RELATIVE), "--warmup", "0.1"], "Adafactor.relative_step=True sets its"),
    (params("get_optimizer.optimizer_cls=@AdamW()"), "write @AdamW, without brackets"),
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
