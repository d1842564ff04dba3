"""The start of a fine-tuning: its length, warm-up, learning rate, and the bias of a regression
head."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import gin
import numpy as np
import pytest
import torch
from support.recipe_runs import SMALL, train
from transformers import BertConfig, T5Config

import ke_t5.recipes.prepare  # noqa: F401 - registers tasks and all that gin may bind
from ke_t5.checkpoint.settings import check_unchanged
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.config.run_config import ModelConfig, ModelOrigin, ScheduleConfig, resolve_config
from ke_t5.lookup.loader import load_model
from ke_t5.pipe import IGNORED, Folders, get_task
from ke_t5.recipes.folders import RunFolder
from ke_t5.recipes.modelling import default_learning_rate, start_at_mean, with_optimizer
from ke_t5.recipes.summary import planned_steps, warmup_warning
from ke_t5.train.schedules import ScheduleSettings, get_scheduler

SIZES = dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
T5_SIZES = dict(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1)


def encoder(kind="bert"):
    """A tiny model, as after loading."""
    if kind == "t5":
        name = "T5EncoderForSequenceClassificationMean"
        return load_model(name)(load_model(name).config_class(**T5_SIZES))
    model_class = load_model("EncoderForSequenceClassificationMean")
    backbone = BertConfig(**SIZES) if kind == "bert" else T5Config(**T5_SIZES)
    return model_class(model_class.config_class(backbone=backbone.to_dict()))


def warmed(*words, module=None, params=(), steps=400):
    """(name of the schedule, steps until the full rate) of a run with these flags."""
    gin.clear_config()
    flags = parse_train([str(word) for word in words])
    model = ModelConfig("", "", flags.pre_trained_model, flags.from_scratch)
    task = get_task(flags.task)
    gin_config = configure((), params)
    config = resolve_config(
        flags, gin_config, task, model=model, run=RunFolder(Path()), folders=Folders(None, Path())
    )
    module = module or encoder()
    config, _ = with_optimizer(config, module, steps)
    schedule = config.schedule
    factor = get_scheduler(schedule.in_force, steps, schedule.settings)
    return schedule.name, next(step for step in range(steps) if factor(step) == 1)


def test_pre_trained_encoders_get_a_tenth_but_at_most_100_steps():
    assert warmed(steps=400) == ("constant_with_warmup", 39)
    assert warmed(steps=40_000) == ("constant_with_warmup", 99)


def test_others_get_none():
    assert warmed("--from_scratch") == (None, 0)
    assert warmed("--sample") == (None, 0)
    assert warmed(module=encoder("t5")) == (None, 0)
    assert warmed(module=encoder("t5 under a head of ours")) == (None, 0)
    assert warmed("--schedule", "constant") == ("constant", 0)
    relative = ("get_optimizer.optimizer_cls=@Adafactor", "Adafactor.relative_step=True",
                "Adafactor.lr=None")  # fmt: skip
    assert warmed(params=relative) == (None, 0)


def test_the_flag_beats_gin_and_the_default(caplog):
    assert warmed("--warmup", 7) == ("constant_with_warmup", 6)
    assert warmed("--warmup", 0.05) == ("constant_with_warmup", 19)
    assert warmed("--warmup", 0) == (None, 0)
    assert warmed("--warmup", 7, "--from_scratch") == ("constant_with_warmup", 6)
    assert warmed("--warmup", 7, "--schedule", "cosine") == ("cosine", 6)
    assert warmed("--warmup", 7, "--schedule", "constant") == ("constant_with_warmup", 6)
    bound = ["get_scheduler.warmup_steps=20", "get_scheduler.warmup_ratio=0.5"]
    assert warmed(params=bound) == ("constant_with_warmup", 19)
    assert warmed("--warmup", 7, params=bound) == ("constant_with_warmup", 6)
    caplog.clear()
    assert warmed("--warmup", 0.1, "--schedule", params=bound) == ("linear", 39)
    assert "--warmup 0.1 is used, not" in caplog.text


def warning_of(num_steps, warmup_steps, *, schedule="linear", is_resumed=False, all_steps=1000):
    """The warning about the warm-up at the start of a training."""
    settings = ScheduleSettings(0.1, warmup_steps, 0.0)
    config = SimpleNamespace(
        schedule=ScheduleConfig(schedule, settings), origin=ModelOrigin("", is_resumed=is_resumed)
    )
    groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in (5e-5, 1e-5)]
    timetable = SimpleNamespace(num_steps=num_steps, epoch_steps=all_steps)
    state = SimpleNamespace(optimizer=torch.optim.SGD(groups))
    return warmup_warning(config, SimpleNamespace(timetable=timetable, state=state))


IN_WARMUP = "the training ends within the warm-up of 100 steps, and the learning rate reaches"


def test_a_training_that_ends_within_its_warm_up_warns():
    fix = "give --warmup 4 (in gin: get_scheduler.warmup_steps=4)"
    line = f"--max_steps 40: {IN_WARMUP} only 2e-05 of 5e-05; {fix} or a larger --max_steps"
    assert warning_of(40, 100) == warning_of(40, None) == line
    assert f"--max_steps 100: {IN_WARMUP} 5e-05 only in the last step;" in warning_of(100, 100)
    assert warning_of(40, 100, all_steps=40) == f"40 steps: {IN_WARMUP} only 2e-05 of 5e-05; {fix}"
    resumed = f"--max_steps 40: {IN_WARMUP} only 2e-05 of 5e-05; give a larger --max_steps"
    assert warning_of(40, 100, is_resumed=True) == resumed  # a resumed run keeps its warm-up


@pytest.mark.parametrize(
    ("num_steps", "warmup_steps", "others"),
    [
        (101, 100, {}),
        (1, 1, {}),  # the first step has the full rate
        (40, 0, {}),
        (40, 100, {"schedule": None}),
        (40, 100, {"all_steps": 40, "is_resumed": True}),  # nothing can be changed any more
    ],
)
def test_other_trainings_do_not_warn_of_the_warm_up(num_steps, warmup_steps, others):
    assert warning_of(num_steps, warmup_steps, **others) is None


def test_the_warning_comes_before_the_first_step(tmp_path, cache_dir, capfd):
    words = ("--task", "klue_tc", *SMALL, "--epochs", 2, "--max_steps", 2)
    train(*words, "--warmup", 4, output=tmp_path, cache=cache_dir)
    (line,) = [ln for ln in capfd.readouterr().err.splitlines() if "within the warm-up" in ln]
    assert "--max_steps 2: " in line and "reaches only 0.0005 of 0.001" in line


CLASSES = (
    "EncoderForSequenceClassificationMean", "transformers:BertForSequenceClassification",
    "transformers:RobertaForSequenceClassification",
    "transformers:DebertaV2ForSequenceClassification",
)  # fmt: skip


@pytest.mark.parametrize("name", [*CLASSES, "T5EncoderForSequenceClassificationMean"])
def test_a_new_head_for_a_number_starts_at_the_mean(name):
    model_class = load_model(name)
    sizes = T5_SIZES if name.startswith("T5") else SIZES
    if name == CLASSES[0]:
        sizes = {"backbone": BertConfig(**SIZES).to_dict()}
    module = model_class(model_class.config_class(**sizes, num_labels=1))
    column = SimpleNamespace(values=np.array([9.0, 1.0, 3.0, IGNORED]))
    train = SimpleNamespace(columns={"labels": column}, places=np.array([1, 2, 3]))
    task, origin = SimpleNamespace(problem_type="regression"), ModelOrigin("")
    config = SimpleNamespace(task=task, origin=origin)
    biases = {k: v for k, v in module.named_parameters() if k.endswith("bias") and len(v) == 1}
    (bias,) = biases.values()
    for leave, drawn in ((True, frozenset()), (False, frozenset(biases)), (False, None)):
        module.drawn_parameters = drawn
        bias.data.zero_()
        start_at_mean(config, module, train)
        assert bias.item() == (0 if leave else 2)
    bias.data.zero_()
    config.origin = ModelOrigin("", is_resumed=True)
    start_at_mean(config, module, train)
    config.origin, task.problem_type = origin, "single_label_classification"
    start_at_mean(config, module, train)
    assert bias.item() == 0


@pytest.mark.parametrize("kind", ["bert", "t5 under a head of ours", "t5"])
def test_the_default_rate_is_that_of_the_encoder_under_the_head(kind):
    expected = 5e-5 if kind == "bert" else 3e-4
    assert default_learning_rate(encoder(kind), from_scratch=False) == expected


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [("t5", 3e-4), ("umt5", 3e-4), ("longt5", 3e-4), ("t5gemma", 5e-5), ("t5gemma2_encoder", 5e-5)],
)
def test_the_default_rate_of_a_t5_is_not_that_of_t5gemma(model_type, expected):
    module = SimpleNamespace(config=SimpleNamespace(model_type=model_type))
    assert default_learning_rate(module, from_scratch=False) == expected


def test_a_run_of_an_older_version_without_a_schedule_is_compared_as_constant():
    check_unchanged({"--schedule": None}, {"--schedule": "constant"}, where="snapshot")


def test_the_planned_steps_say_which_part_of_the_epochs_they_are():
    for num_steps, all_steps, num_epochs, line in (
        (7, 3200, 4, "7 of the 3,200 steps of 4 epochs"),
        (3200, 3200, 1, "3,200 steps (1 epoch)"),
    ):
        timetable = SimpleNamespace(num_steps=num_steps, epoch_steps=all_steps)
        assert planned_steps(timetable, num_epochs) == line
