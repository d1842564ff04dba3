"""Lines that are too long."""

import random

import pytest

from ke_t5.errors import LONGEST_LINE, shortened

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
def test_a_long_line_keeps_its_begin_and_what_to_do(text, limit, line):
    assert shortened(text, limit, fix=FIX) == line


def test_no_line_is_longer_than_it_may_be():
    draw = random.Random(0)
    for _ in range(500):
        kinds = ["a" * draw.randint(1, 90), "b, c,", "'q', 'r', 's'", "; also x", "(w x y)"]
        text = "error: " + " ".join(draw.choice(kinds) for _ in range(draw.randint(1, 60)))
        assert len(shortened(text)) <= LONGEST_LINE
