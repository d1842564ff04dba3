"""The key of a step covers all code that it reaches, and nothing that has no effect."""

from __future__ import annotations

import datetime
import functools
import importlib
import operator
import re
import sys
import threading

import gin
import numpy as np
import pytest
from support.helpers import folders, task_on
from support.import_graph import arrows

from ke_t5.pipe import code, map_over_dataset
from ke_t5.pipe.cache import AFTERWARDS, code_of, describe, make_key, runs_afterwards
from ke_t5.pipe.code import hash_code, is_users_own, reached_code, read_source

ROWS = [{"text": "가", "label": 0}]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A user's folder on the path: `write(name, text)` writes a file, `load(name)` imports it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    class Project:
        def write(self, name, text):
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

        def load(self, name):
            importlib.invalidate_caches()
            return importlib.import_module(name)

    yield Project()
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


STEP = "def step(example):\n    return clean(example)\n"
CLEAN = "def clean(example):\n    return example\n"
EDITED = "def clean(example):\n    return {**example, 'x': 1}\n"
LAYOUTS = {
    "a helper": ({"steps.py": "from helper import clean\n" + STEP}, "helper.py"),
    "two levels deep": (
        {"steps.py": "from one import clean\n" + STEP, "one.py": "import two\nclean = two.clean\n"},
        "two.py",
    ),
    "a relative import": (
        {"own/__init__.py": "", "own/steps.py": "from .helper import clean\n" + STEP},
        "own/helper.py",
    ),
    "a relative import of a module": (
        {"own/__init__.py": "", "own/steps.py": "from . import helper\nclean = helper.clean\n"
         + STEP},
        "own/helper.py",
    ),
    "from the package above": (
        {"own/__init__.py": "", "own/sub/__init__.py": "",
         "own/sub/steps.py": "from ..helper import clean\n" + STEP},
        "own/helper.py",
    ),
    "the package's own file": (
        {"own/steps.py": "from own import clean\n" + STEP},
        "own/__init__.py",
    ),
    "a file of the package around": ({"own/steps.py": "clean = dict\n" + STEP}, "own/__init__.py"),
    "a folder without __init__": (
        {"bare/steps.py": "from bare.helper import clean\n" + STEP}, "bare/helper.py",
    ),
    "inside the function": (
        {"steps.py": "def step(e):\n    from helper import clean\n    return clean(e)\n"},
        "helper.py",
    ),
    "by its name as a text": (
        {"steps.py": "import importlib\ndef step(example):\n"
         "    return importlib.import_module('helper').clean(example)\n"},
        "helper.py",
    ),
    "all names": ({"steps.py": "from helper import *\n" + STEP}, "helper.py"),
    "a circle": (
        {"steps.py": "from helper import clean\n" + STEP, "helper.py": "import steps, far\n"
         + CLEAN},
        "far.py",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_key_knows_the_code_of_every_module_that_a_step_reaches(project, layout):
    files, helper = LAYOUTS[layout]
    project.write(helper, CLEAN)
    for name, text in files.items():
        project.write(name, text)
    (step,) = (name for name in files if name.endswith("steps.py"))
    module = project.load(step.removesuffix(".py").replace("/", "."))
    before = make_key([module.step])
    commented = CLEAN.replace("return", "# why\n\n    return")
    project.write(helper, f'"""What it does."""\n{commented}')
    assert make_key([module.step]) == before
    project.write(helper, EDITED)
    assert make_key([module.step]) != before


def test_an_imported_constant_is_a_part_of_the_key(project):
    project.write("names.py", "NAMES = ('부정', '긍정')\n")
    project.write("steps.py", "from names import NAMES\ndef step(e):\n    return NAMES.index(e)\n")
    step = map_over_dataset(project.load("steps").step)
    before = make_key([step])
    project.write("names.py", "NAMES = ('긍정', '부정')\n")
    assert make_key([step]) != before


def test_docstrings_that_are_read_are_code(tmp_path):
    file = tmp_path / "usage.py"
    keys = set()
    for text in ("one", "two"):
        file.write_text(f'"""{text}"""\nprint(__doc__)\n')
        keys.add(hash_code([file]))
    assert len(keys) == 2


def test_the_hash_of_our_code_is_kept_until_a_byte_changes(tmp_path, monkeypatch):
    file = tmp_path / "ours.py"
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    monkeypatch.setattr(code, "__file__", str(tmp_path / "code.py"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    parsed = []
    monkeypatch.setattr(code, "read_source", lambda path: parsed.append(path) or read_source(path))

    def hash_of(text):
        """(the hash of the file, whether it was parsed)"""
        parsed.clear()
        file.write_text(text)
        return hash_code([file]), bool(parsed)

    first, _ = hash_of("x = 1\n")
    assert list(tmp_path.iterdir()) == [file]
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert hash_of("x = 1\n") == (first, True)
    assert hash_of("x = 1\n") == (first, False)
    assert hash_of("x = 1  # one\n") == (first, True)
    other, is_parsed = hash_of("x = 2\n")
    assert other != first and is_parsed
    (kept,) = (tmp_path / "__pycache__").iterdir()
    for damaged in ("", "a b", kept.read_text()[:-1], kept.read_text() * 2):
        kept.write_text(damaged)
        assert hash_of("x = 2\n") == (other, True)
    assert hash_of("x = 2\n") == (other, False)


def test_what_is_installed_is_not_followed():
    assert [name for name, _ in reached_code("ke_t5.pipe.cache")] == ["ke_t5.pipe.cache"]
    for module in (np, functools, pytest):
        assert not is_users_own(importlib.import_module("pathlib").Path(module.__file__))


METHODS = """
class Step:
    def __init__(self, names):
        self.names = names

    def __call__(self, dataset):
        return dataset

    def run(self, dataset):
        return dataset

    @classmethod
    def whole(cls, dataset):
        return dataset
"""


@pytest.mark.parametrize(
    "take", [lambda s: s, lambda s: s.run, lambda s: functools.partial(s, sequence_length=None)]
)
def test_objects_and_their_methods_are_steps(project, take):
    project.write("objects.py", METHODS)
    made = project.load("objects").Step
    before = make_key([take(made(("가", "나")))])
    assert make_key([take(made(("가", "나")))]) == before
    assert make_key([take(made(("나", "가")))]) != before
    project.write("objects.py", METHODS.replace("return dataset", "return dataset.select([0])"))
    assert make_key([take(made(("가", "나")))]) != before
    assert task_on(ROWS, [made.whole])


def test_a_class_method_knows_the_code_of_its_class(project):
    project.write("objects.py", METHODS)
    step = project.load("objects").Step.whole
    before = make_key([step])
    project.write("objects.py", METHODS + "STEP = Step\n")
    assert make_key([step]) != before


LONG = np.arange(5000)
PAIRS = {
    "arrays": (LONG, np.where(LONG == 2500, 0, LONG)),
    "patterns": (re.compile("가" * 300), re.compile("가" * 299 + "나")),
    "getters": (operator.itemgetter("a"), operator.itemgetter("b")),
    "dates": (datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)),
    "lambdas": (lambda x: x + 1, lambda x: x + 2),
    "orders": ({"부정": 0, "긍정": 1}, {"긍정": 1, "부정": 0}),
    "keys": ({1: 0}, {"1": 0}),
    "label tuples": (
        functools.partial(max, names=("부정", "긍정")),
        functools.partial(max, names=("긍정", "부정")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PAIRS)
def test_values_that_differ_have_keys_that_differ(kind):
    one, other = PAIRS[kind]
    assert make_key([one]) == make_key([one]) != make_key([other])


def test_two_functions_of_one_name_are_two(project):
    def made(number):
        if number:

            def step(example):
                return example
        else:

            def step(example):
                return {}

        return step

    assert make_key([made(0)]) != make_key([made(1)])


def test_a_function_that_calls_itself_is_described():
    def outer(depth):
        return outer(depth - 1) if depth else 0

    assert describe(outer) == describe(outer)


def test_what_cannot_be_copied_has_no_description():
    with pytest.raises(ValueError, match="no stable description"):
        describe(threading.Lock())


def test_a_reader_of_the_users_own_is_a_part_of_the_key(project):
    project.write("helper.py", CLEAN)
    project.write("reader.py", "from helper import clean\ndef rows(path, split):\n    yield {}\n")
    rows = functools.partial(project.load("reader").rows, "train.txt", "train")
    before = code_of(rows)
    project.write("helper.py", EDITED)
    assert code_of(rows) != before
    assert code_of(make_key) == []  # this package's hash is a part of every key


@gin.configurable(module="test_code")
def marked(example, mark="가"):
    return {**example, "text": mark}


def test_what_gin_binds_in_a_users_function_makes_other_examples(tmp_path):
    """A step that calls a configurable function, so that its own key does not change."""
    step = map_over_dataset(lambda example: {"input_ids": [len(marked(example)["text"])]})
    label = map_over_dataset(lambda example: {**example, "labels": 0})

    def made():
        task = task_on(ROWS, [step, label])
        return task.get_dataset("train", folders=folders(tmp_path)).example(0)["input_ids"]

    assert made() == [1]
    gin.bind_parameter("test_code.marked.mark", "가나다")
    assert made() == [3]


def test_what_runs_after_the_examples_is_used_by_nothing_that_makes_them():
    after = set(filter(runs_afterwards, arrows()))
    assert set(AFTERWARDS) <= after  # each of them is there
    # These say what a task is, or hold it: they run none of it while examples are made.
    tables = {"pipe", "pipe.task", "task.task", "task.families", "task.structured", "task.tags"}
    tables |= {"task.forms", "task.writing", "task.coreference", "task.mixtures"}
    tables |= {"task.written_chains", "task.span_corruption"}
    for name, imports in arrows().items():
        if name.split(".")[0] in ("pipe", "readers", "task") and name not in after | tables:
            assert not imports & after, name
