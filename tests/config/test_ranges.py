"""Values that no run can use are refused while gin is read: neither torch nor data is needed."""

from __future__ import annotations

import re

import pytest

import ke_t5.recipes.prepare  # noqa: F401 - registers everything that gin may bind
from ke_t5.config.gin_config import configure
from ke_t5.config.ranges import Count, DecayRate, Fraction, NonNegative, Range, problem_of
from ke_t5.errors import Exit, UserError

OPTIMIZERS = (
    "AdamW", "Adam", "RAdam", "NAdam", "Adamax", "SGD", "Adagrad", "RMSprop", "Adadelta",
    "Adafactor",
)  # fmt: skip

REFUSED = (
    *((f"{name}.lr=-1.0", "is -1.0; give at least 0") for name in OPTIMIZERS),
    *((f"{name}.weight_decay=-0.1", "is -0.1; give at least 0") for name in OPTIMIZERS),
    *((f"{name}.betas=(0.9, 1.0)", "is 1.0; give at least 0 and less than 1")
      for name in OPTIMIZERS[:5]),
    *((f"{name}.eps=-1e-8", "is -1e-08; give at least 0")
      for name in OPTIMIZERS if name not in ("SGD", "Adafactor")),
    ("AdamW.lr=1e999", "is inf; give at least 0"),
    ("Adafactor.eps=(1e-30, -1.0)", "is -1.0; give at least 0"),
    ("Adafactor.clip_threshold=0.0", "is 0.0; give above 0"),
    ("Adafactor.decay_rate=0.8", "is 0.8; give at most 0"),
    ("Adafactor.beta1=1.0", "is 1.0; give at least 0 and less than 1"),
    ("SGD.momentum=-0.9", "is -0.9; give at least 0"),
    ("SGD.dampening=1e999", "is inf; give a finite number"),
    ("NAdam.momentum_decay=-1.0", "is -1.0; give at least 0"),
    ("Adagrad.lr_decay=-1.0", "is -1.0; give at least 0"),
    ("Adagrad.initial_accumulator_value=-1", "is -1; give at least 0"),
    ("RMSprop.alpha=-0.1", "is -0.1; give at least 0"),
    ("Adadelta.rho=1.1", "is 1.1; give at least 0 and at most 1"),
    ("get_scheduler.warmup_ratio=2.0", "is 2.0; give at least 0 and at most 1"),
    ("get_scheduler.warmup_steps=-1", "is -1; give at least 0"),
    ("get_scheduler.min_ratio=-0.1", "is -0.1; give at least 0 and at most 1"),
    ("get_batches.batch_tokens=-1", "is -1; give at least 1"),
    ("get_batches.window=0", "is 0; give at least 1"),
    ("get_dataset.prefix=('a', 'b', 'c')", "has 3 texts; give one, or two for the texts of a pair"),
    ("get_dataset.num_proc=0", "is 0; give at least 1"),
    ("get_dataset.sequence_length={'inputs': 0}", "is 0 for 'inputs'; give a whole number"),
    ("get_dataset.sequence_length={'targets': 2.5}", "is 2.5 for 'targets'; give a whole number"),
    ("get_dataset.sequence_length={'input': 9}", "has an unknown key 'input'; did you mean 'inp"),
    ("fit.accumulate=0", "is 0; give at least 1"),
    ("fit.clip_norm=0.0", "is 0.0; give above 0"),
    ("fit.clip_norm=1e999", "is inf; give above 0"),
    ("fit.early_stopping=0", "is 0; give at least 1"),
    ("fit.precision='fp16'", "is 'fp16', in which T5 overflows; use 'bf16' or 'fp32'"),
    ("fit.precision='bf61'", "is 'bf61', which is not a precision; did you mean 'bf16'"),
    *((f"EvaluationHelper.model_kwargs={{'{name}': {value}}}",
       f"has a bad '{name}': it is {value}; give {fix}")
      for name, value, fix in (
          ("num_beams", 0, "at least 1"), ("num_return_sequences", -1, "at least 1"),
          ("max_new_tokens", 0, "at least 1"), ("max_length", 0, "at least 1"),
          ("min_new_tokens", -1, "at least 0"), ("min_length", -1, "at least 0"),
          ("pad_token_id", -1, "at least 0"), ("bos_token_id", -1, "at least 0"),
          ("no_repeat_ngram_size", -1, "at least 0"), ("top_k", -1, "at least 0"),
          ("top_p", 1.5, "at least 0 and at most 1"), ("temperature", 0.0, "above 0"),
          ("min_p", -0.5, "at least 0 and at most 1"), ("typical_p", 2.0, "at least 0 and"),
          ("repetition_penalty", 0.0, "above 0"), ("length_penalty", "1e999", "a finite"),
      )),
    ("EvaluationHelper.model_kwargs={'num_beams': 'a'}", "has 'a' for 'num_beams'; give int"),
)  # fmt: skip


@pytest.mark.parametrize(("binding", "message"), REFUSED)
def test_a_value_out_of_range_is_refused_with_its_place(binding, message):
    with pytest.raises(UserError) as caught:
        configure((), [binding])
    assert caught.value.exit_code == Exit.FLAGS
    name = re.escape(binding.partition("=")[0])
    message = re.escape(message).replace("1e999", "inf")
    assert re.search(rf"--gin_param .*: {name} {message}", str(caught.value))


@pytest.mark.parametrize(
    "binding",
    [
        "AdamW.lr=0",
        "AdamW.betas=(0.0, 0.5)",
        "Adafactor.lr=None",
        "Adafactor.beta1=None",
        "get_scheduler.warmup_ratio=1",
        "get_scheduler.warmup_steps=None",
        "get_batches.batch_tokens=None",
        "get_dataset.sequence_length=None",
        "get_dataset.sequence_length={'inputs': 1}",
        "fit.clip_norm=None",
        "EvaluationHelper.model_kwargs={'top_k': 0, 'num_beams': 1, 'temperature': None, 'x': -1}",
        "RATE=1e-4\nAdamW.lr=%RATE",
    ],
)
def test_the_ends_of_a_range_are_accepted(binding):
    assert configure((), binding.split("\n")).bindings


def test_a_macro_is_checked_by_its_value():
    with pytest.raises(UserError, match=r"AdamW.lr=%RATE.*: AdamW.lr is -1; give at least 0"):
        configure((), ["RATE=-1", "AdamW.lr=%RATE"])


@pytest.mark.parametrize(
    ("value", "hint", "problem"),
    [
        (-1.0, NonNegative, ("is -1.0", "give at least 0")),
        (0, Count | None, ("is 0", "give at least 1")),
        (None, Count | None, None),
        ([1, 0], list[Count], ("is 0", "give at least 1")),
        ((0.9, 1), tuple[DecayRate, DecayRate], ("is 1", "give at least 0 and less than 1")),
        ({"a": 2}, dict[str, Fraction], ("is 2", "give at least 0 and at most 1")),
        ("a", Count | str, None),
        ("a", Count, None),  # the type is another check's
    ],
)
def test_problem_of(value, hint, problem):
    assert problem_of(value, hint) == problem


def test_a_range_refuses_what_is_not_a_number():
    with pytest.raises(ValueError, match="is nan; give above 0"):
        Range(above=0)(float("nan"))
