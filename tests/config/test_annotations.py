"""Values from gin, checked against annotations and defaults."""

from pathlib import Path

import pytest
from support.gin_toys import ToyAdam, Twin, configured, fault, toy_dataset

from ke_t5.config.annotations import fits, hint_of

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    "text, line",
    [
        ("ToyAdam.lr='fast'", "'ToyAdam.lr' must be a number, not 'fast' (str); check the quotes"),
        ("ToyAdam.lr=True", "'ToyAdam.lr' must be a number, not True (bool); give one"),
        ("RATE='x'\nToyAdam.lr=%RATE", "'ToyAdam.lr' must be a number, not 'x' (str)"),
        ("ToyAdam.betas=0.9", "'ToyAdam.betas' must be (several, values), not 0.9 (float)"),
        ("ToyAdam.amsgrad=1", "'ToyAdam.amsgrad' must be bool, not 1 (int)"),
        ("toy_dataset.split=3", "'toy_dataset.split' must be str, not 3 (int)"),
        ("toy_dataset.rows=1.5", "'toy_dataset.rows' must be int, not 1.5 (float)"),
        ("toy_dataset.rows=None", "'toy_dataset.rows' must be int, not None (NoneType)"),
        (
            "toy_dataset.length='abc'",
            "'toy_dataset.length' must be dict[str, int] or None, not 'abc'",
        ),
        ("toy_dataset.length={'a': 'b'}", "'toy_dataset.length' must be dict[str, int] or None"),
        ("toy_dataset.mode='quick'", "'toy_dataset.mode' must be Literal['fast', 'slow'], not"),
        ("toy_dataset.rows=@ToyAdam", "'toy_dataset.rows' must be int, not @ToyAdam; give one"),
        (
            "toy_optimizer.cls='ToyAdam'",
            "'toy_optimizer.cls' must be a reference such as @AdamW, not 'ToyAdam' (str); "
            "write @ToyAdam",
        ),
        ("toys.one.Twin.size='a'", "'toys.one.Twin.size' must be int, not 'a' (str)"),
    ],
)
def test_wrong_type(text, line):
    told = fault(text)
    assert told.partition("a.gin:")[2].partition(": ")[2].startswith(line)


def test_what_cannot_be_checked_is_accepted():
    configured(
        "toy_dataset.strange={}\nToyAdam.fused='any'\ntoys.one.Twin.other='x'\n"
        "toy_dataset.rows=@toys.two.Twin()\ntoy_dataset.length=None"
    )


@pytest.mark.parametrize(
    "value, hint, fitting",
    [
        (1, float, True),
        (True, float, False),
        (1.0, int, False),
        ([1, 2], tuple[int, int], True),
        ((1, 2, 3), tuple[int, int], False),
        ((1, 2, 3), tuple[int, ...], True),
        (("a",), list[int], False),
        ("ab", list[str], False),
        ({"a": [1]}, dict[str, list[int]], True),
        ({"a": ["b"]}, dict[str, list[int]], False),
        (None, int | None, True),
        ("a", int | str, True),
        ("a", Path, True),
        ("a", object, True),
    ],
)
def test_fits(value, hint, fitting):
    assert fits(value, hint) is fitting


def test_hint_of_default_and_of_class():
    assert hint_of(ToyAdam.__wrapped__, "lr") is float
    assert hint_of(ToyAdam.__wrapped__, "amsgrad") is bool
    assert hint_of(Twin, "size") is int
    assert hint_of(Twin, "anything") is object
    assert hint_of(toy_dataset.__wrapped__, "length") == dict[str, int] | None
