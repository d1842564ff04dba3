"""One frozen configuration from flags, gin and defaults, in this order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gin
import pytest

import ke_t5.recipes.prepare  # noqa: F401 - registers tasks and all that gin may bind
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.config.precedence import first_set
from ke_t5.config.run_config import ModelConfig, resolve_config, with_default_warmup
from ke_t5.errors import UserError
from ke_t5.pipe import Folders, get_task
from ke_t5.pipe.mixture import MixtureRegistry
from ke_t5.recipes.folders import RunFolder


@pytest.fixture(autouse=True)
def clear_gin():
    gin.clear_config()
    yield
    gin.clear_config()


def config_of(*words, params=()):
    """The configuration for these flags and bindings."""
    gin.clear_config()
    flags = parse_train([str(word) for word in words])
    model = ModelConfig("", "", flags.pre_trained_model, flags.from_scratch)
    return resolve_config(
        flags,
        configure((), params),
        get_task(flags.task),
        model=model,
        run=RunFolder(Path()),
        folders=Folders(None, Path()),
    )


def test_the_first_value_that_is_set_counts():
    assert first_set(0, 2, default=3) == 0
    assert first_set(None, 2, default=3) == 2
    assert first_set(None, None, default=None) is None
    assert first_set(None, default=lambda: 3) == 3
    assert first_set(1, default=lambda: pytest.fail("computed in vain")) == 1


@pytest.mark.parametrize(
    ("words", "params", "rate", "model_rate"),
    [
        ((), (), None, 3e-4),
        ((), ["AdamW.lr=1e-2"], 1e-2, 1e-2),
        (("--lr", "1e-3"), ["AdamW.lr=1e-2"], 1e-3, 1e-3),
        ((), ["get_optimizer.optimizer_cls=@SGD"], None, None),
    ],
)
def test_the_learning_rate(words, params, rate, model_rate):
    optimizer = config_of(*words, params=params).optimizer
    assert optimizer.learning_rate == rate
    assert optimizer.with_default_rate(3e-4).learning_rate == model_rate


def test_the_optimizer_has_the_settings_of_gin_and_its_own():
    bindings = ["get_optimizer.optimizer_cls=@SGD", "MOMENTUM=0.5", "SGD.momentum=%MOMENTUM"]
    optimizer = config_of(params=bindings).optimizer
    assert optimizer.name == "SGD" and optimizer.is_own
    assert (optimizer.settings["momentum"], optimizer.settings["nesterov"]) == (0.5, False)


@pytest.mark.parametrize(
    ("words", "params", "settings"),
    [
        ((), (), (0.1, None, 0.0)),
        ((), ["get_scheduler.warmup_steps=20"], (0.1, 20, 0.0)),
        (("--warmup", 7), ["get_scheduler.warmup_steps=20"], (0.1, 7, 0.0)),
        (("--warmup", 0), ["get_scheduler.warmup_steps=20"], (0.1, 0, 0.0)),
        (("--warmup", 0.2), ["get_scheduler.warmup_steps=20"], (0.2, None, 0.0)),
    ],
)
def test_the_warm_up(words, params, settings):
    assert config_of(*words, params=params).schedule.settings == settings


@pytest.mark.parametrize("rate", ["7e-5", "1e-2"])
def test_a_rate_that_beats_gin_is_reported_once(caplog, rate):
    config = config_of("--lr", rate, params=["AdamW.lr=1e-2"])
    told = f"--lr {rate} is used, not --gin_param 'AdamW.lr=1e-2': AdamW.lr = 0.01"
    assert caplog.messages == ([told] if rate == "7e-5" else [])
    assert config.gin.value("AdamW.lr") == float(rate) and config.gin.unread() == []


def test_a_flag_that_beats_gin_is_reported(caplog):
    config_of("--warmup", "7", params=["get_scheduler.warmup_steps=20"])
    (line,) = caplog.messages
    assert line.startswith("--warmup 7 is used, not --gin_param 'get_scheduler.warmup_steps=20'")


@pytest.mark.parametrize(
    ("words", "params", "place"),
    [
        (("--warmup", "7"), ["get_scheduler.warmup_ratio=0.2"], "--warmup 7"),
        (("--warmup", "0"), ["get_scheduler.warmup_ratio=0.2"], "--warmup 0"),
        (
            (),
            ["get_scheduler.warmup_ratio=0.2", "get_scheduler.warmup_steps=9"],
            "get_scheduler.warmup_steps",
        ),
    ],
)
def test_steps_that_beat_a_share_in_gin_are_reported(caplog, words, params, place):
    config_of(*words, params=params)
    assert caplog.messages == [
        f"{place} is used, not --gin_param 'get_scheduler.warmup_ratio=0.2': "
        "get_scheduler.warmup_ratio = 0.2"
    ]


def test_a_macro_is_compared_by_its_value(caplog):
    for rate, told in (("1e-4", []), ("1e-3", ["AdamW.lr = 0.0001"])):
        config_of("--lr", rate, params=["AdamW.lr=%RATE", "RATE=1e-4"])
        assert [line.rpartition(": ")[2] for line in caplog.messages] == told


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ((), False),
        (("--schedule", "constant"), False),
        (("--schedule", "constant_with_warmup"), True),
        (("--schedule", "constant_with_warmup", "--warmup", 0), False),
        (("--schedule", "linear", "--warmup", 0), True),
        (("--warmup", 7), True),
    ],
)
def test_whether_the_rate_changes(words, changes):
    assert config_of(*words).schedule.changes_rate is changes


def test_the_default_warm_up_is_for_those_who_asked_for_nothing():
    assert with_default_warmup(config_of(), 400).schedule.settings.warmup_steps == 40
    config = config_of("--schedule", "linear")
    assert with_default_warmup(config, 400) is config


def test_predictions_are_made_as_gin_says_else_the_task():
    name = "klue_tc_gen"
    own = config_of("--task", name).generation[name]
    assert own.model_fn == "generate" and own.model_kwargs["max_new_tokens"] > 0
    bound = ["EvaluationHelper.model_kwargs={'num_beams': 2}"]
    changed = config_of("--task", name, params=bound).generation[name]
    assert changed.model_kwargs == {
        "num_beams": 2,
        "max_new_tokens": own.model_kwargs["max_new_tokens"],
    }


def test_each_member_of_a_mixture_is_predicted_in_its_own_way():
    config = config_of("--task", MixtureRegistry.names()[0])
    assert len(config.generation) > 1
    assert list(config.generation) == [task.name for task in config.task.members]


def test_nothing_in_it_can_be_changed():
    config = config_of(params=["AdamW.lr=1e-2"])
    for part in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, part.name, None)
    for mapping in (config.gin.bindings, config.optimizer.settings, config.flags, config.given):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["a"] = 1
    changed = config.gin.with_binding("AdamW.lr", 1e-3, "--learning_rate 1e-3")
    assert config.gin.value("AdamW.lr") == 1e-2 and changed.value("AdamW.lr") == 1e-3


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("AdamW.lr=1e400", "AdamW.lr is inf; give at least 0"),
        ("AdamW.lrr=1", "'AdamW' has no parameter 'lrr' to set; did you mean 'lr'"),
        ("AdamW.betas=(0.9,)", "must be"),
    ],
)
def test_a_value_that_needs_no_data_fails_as_gin_is_read(binding, message):
    with pytest.raises(UserError, match=message):
        config_of(params=[binding])
