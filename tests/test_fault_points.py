"""Fault points: each exists in the program, and acts only if the environment names it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from support.processes import ROOT

from ke_t5 import fault_points
from ke_t5.fault_points import FAULT_POINTS, VARIABLE, arm, fault_point


@pytest.fixture(autouse=True)
def disarmed():
    yield
    arm({})


def test_each_is_in_the_program():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "ke_t5").rglob("*.py")]
    found = [name for text in sources for name in re.findall(r'fault_point\(f?"([^"]+)"\)', text)]
    patterns = [re.sub(r"\{\w+\}", r"\\w+", name) for name in found]
    for name in FAULT_POINTS:
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name
    for pattern in patterns:
        assert any(re.fullmatch(pattern, name) for name in FAULT_POINTS), pattern


def test_without_the_variable_nothing_happens():
    arm({})
    for name in FAULT_POINTS:
        fault_point(name)


def test_it_acts_only_at_the_given_count_place_and_rank():
    arm({VARIABLE: "train.before_forward:2@1=raise", "RANK": "0"})
    for _ in range(3):
        fault_point("train.before_forward")
    arm({VARIABLE: "train.before_forward:2@1=raise", "RANK": "1"})
    fault_point("train.before_forward")
    fault_point("train.before_backward")
    with pytest.raises(RuntimeError, match=VARIABLE):
        fault_point("train.before_forward")
    fault_point("train.before_forward")


@pytest.mark.parametrize("text", ["train.nowhere", "train.before_forward=explode", "?"])
def test_a_misspelled_one_is_an_error(text):
    with pytest.raises(ValueError, match="no such fault point or action"):
        arm({VARIABLE: text})


@pytest.mark.parametrize(("way", "code"), [("", -9), ("=kill", -9), ("=term", -15), ("=exit", 1)])
def test_a_process_ends(way, code):
    program = f"from {fault_points.__name__} import *; fault_point('log.before_write'); print(1)"
    environment = {VARIABLE: f"log.before_write{way}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (code, b"")
