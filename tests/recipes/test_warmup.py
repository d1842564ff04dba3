"""How a fine-tuning starts: warm-up, rate, and the bias of a head for numbers."""

from __future__ import annotations

from types import SimpleNamespace

import gin
import numpy as np
import pytest
from transformers import BertConfig, T5Config

from ke_t5.checkpoint.settings import check_unchanged
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.lookup.loader import load_model
from ke_t5.pipe import IGNORED
from ke_t5.recipes.job import Job
from ke_t5.recipes.modelling import default_learning_rate, settle_warmup, start_at_mean
from ke_t5.train.optimizers import get_optimizer
from ke_t5.train.schedules import get_scheduler

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
    job = Job(flags, configure((), params), *[None] * 4, True, *[None] * 3)
    module = module or encoder()
    settle_warmup(job, module, get_optimizer(default_learning_rate=1.0)(module), steps)
    factor = get_scheduler(flags.schedule or "constant", steps)
    return flags.schedule, next(step for step in range(steps) if factor(step) == 1)


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
    job = SimpleNamespace(is_resumed=False, task=SimpleNamespace(problem_type="regression"))
    biases = {k: v for k, v in module.named_parameters() if k.endswith("bias") and len(v) == 1}
    (bias,) = biases.values()
    for leave, drawn in ((True, frozenset()), (False, frozenset(biases)), (False, None)):
        module.drawn_parameters = drawn
        bias.data.zero_()
        start_at_mean(job, module, train)
        assert bias.item() == (0 if leave else 2)
    bias.data.zero_()
    job.is_resumed = True
    start_at_mean(job, module, train)
    job.is_resumed, job.task.problem_type = False, "single_label_classification"
    start_at_mean(job, module, train)
    assert bias.item() == 0


@pytest.mark.parametrize("kind", ["bert", "t5 under a head of ours", "t5"])
def test_the_default_rate_is_that_of_the_encoder_under_the_head(kind):
    expected = 5e-5 if kind == "bert" else 3e-4
    assert default_learning_rate(encoder(kind), from_scratch=False) == expected


def test_a_run_of_an_older_version_without_a_schedule_is_compared_as_constant():
    check_unchanged({"--schedule": None}, {"--schedule": "constant"}, where="snapshot")
