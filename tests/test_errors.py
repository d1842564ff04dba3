"""Shortening of long messages."""

import random

import pytest

from ke_t5.errors import LONGEST_LINE, counted_of, shortened, wrapped

FIX = "choose one"


@pytest.mark.parametrize(
    ("text", "limit", "line"),
    [
        ("as it is; choose one", 20, "as it is; choose one"),
        ("no 'x' in a, b, c, d; choose one", 29, "no 'x' in a, ...; choose one"),
        ("no 'x' in 'a b', 'c', 'd' and more; choose one", 34, "no 'x' in 'a b', ...; choose one"),
        ("/home/somebody/long/path: no; do", 28, "/hom...ody/long/path: no; do"),
        ("bad; fix a; also b: bad; fix b; also c: bad; fix c", 26, "bad; fix a ..."),
        ("one two three four five six seven; choose one", 32, "one two three ...; choose one"),
    ],
)
def test_a_long_line_keeps_its_beginning_and_the_fix(text, limit, line):
    assert shortened(text, limit, fix=FIX) == line


def test_an_address_in_a_long_line_stays_whole():
    address = "https://example.org/some/where"
    text = f"--hf_data_dir /a/{'long/' * 40}folder: no data there; get it from {address}"
    line = shortened(text, 100)
    assert len(line) <= 100 and line.endswith(f"folder: no data there; get it from {address}")


def test_a_path_in_the_fix_stays_whole():
    fix = f"put {'deep/' * 14}file.json there"  # longer than what is left of the other path
    line = shortened(f"/a/{'long/' * 30}folder: no data; {fix}", 150, fix=fix)
    assert len(line) <= 150 and line.endswith(f"folder: no data; {fix}")


def test_no_line_exceeds_the_limit():
    draw = random.Random(0)
    for _ in range(500):
        kinds = ["a" * draw.randint(1, 90), "b, c,", "'q', 'r', 's'", "; also x", "(w x y)"]
        text = "error: " + " ".join(draw.choice(kinds) for _ in range(draw.randint(1, 60)))
        assert len(shortened(text)) <= LONGEST_LINE


def test_a_long_message_keeps_its_names():
    path = "/data/somebody/" + "a-long-name/" * 20
    text = (
        f"training T5EncoderForSequenceClassificationMean on klue_tc: 10 steps, in {path} "
        + "b" * 90
    )
    lines = wrapped(text).splitlines()
    assert " ".join(" ".join(lines).split()) == text  # nothing is missing
    assert lines[1] == f"    {path}"  # a path that is longer than a line is whole
    assert all(len(line) <= LONGEST_LINE for line in lines if path not in line)


@pytest.mark.parametrize(
    ("number", "total", "text"),
    [(1, 1, "1 of 1 row has"), (1, 1200, "1 of 1,200 rows has"), (0, 2, "0 of 2 rows have")],
)
def test_the_verb_after_a_count_agrees_with_it(number, total, text):
    assert counted_of(number, total, "row", ("has", "have"), form=",") == text


def test_a_long_list_in_a_message_is_shortened():
    text = "labels " + ", ".join(f"label-{i}" for i in range(200)) + " are not in model/config.json"
    said = wrapped(text)
    assert len(said.splitlines()) <= 3
    assert "label-0, label-1" in said and "label-36, ... are not in" in said
