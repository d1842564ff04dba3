"""Tables, wrapped lines and colors on terminals and pipes; the ticker of silent phases."""

from __future__ import annotations

import io
import os
import re
import sys
import time

import pytest

from ke_t5 import standard_streams, terminal
from ke_t5.standard_streams import LastingStream, tick


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch) -> Terminal:
    """Standard error on a terminal with 40 columns and colors."""
    stream = Terminal()
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    return stream


def test_wide_characters_count_two():
    assert terminal.width_of("가a") == 3
    lines = terminal.table(("이름", "n"), [("긍정", "1"), ("neutral", "2")], stream=io.StringIO())
    starts = [terminal.width_of(line[: line.rindex(last)]) for line, last in
              zip(lines.splitlines(), "n12", strict=True)]  # fmt: skip
    assert starts == [9, 9, 9]


def test_a_pipe_gets_whole_lines_without_colors():
    (head, row) = terminal.table(("a",), [("가" * 200,)], stream=io.StringIO()).splitlines()
    assert (head, row) == ("a", "가" * 200)


@pytest.mark.parametrize(
    ("name", "value", "has_colour"), [("NO_COLOR", "1", False), ("TERM", "dumb", False),
                                      ("TERM", "xterm", True)],
)  # fmt: skip
def test_colors_are_used_if_the_terminal_supports_them(
    name, value, has_colour, screen, monkeypatch
):
    monkeypatch.setenv(name, value)
    terminal.console(screen).print("문제", style="red")
    assert ("\x1b[31m" in screen.getvalue()) == has_colour and "문제" in screen.getvalue()


def test_a_table_fits_the_terminal(screen):
    shown = terminal.table(("a", "b"), [("과제", "설명이 길어서 " * 8)], stream=screen)
    assert all(terminal.width_of(line) <= 40 for line in shown.splitlines()[1:])


def test_lines_are_wrapped_at_the_width_and_words_stay_whole(screen):
    path = "/home/somebody/" + "가" * 30
    text = f"검증 점수가 좋아지지 않아서 학습을 여기에서 마칩니다, 결과: {path} 끝"
    lines = terminal.wrapped_for_terminal(text).splitlines()
    assert len(lines) > 2 and all(line.startswith("    ") for line in lines[1:])
    assert any(line.strip() == path for line in lines)
    assert all(terminal.width_of(line) <= 40 for line in lines if path not in line)
    assert " ".join(map(str.strip, lines)) == text
    assert terminal.wrapped_for_terminal("짧은 줄") == "짧은 줄"


def test_the_ticker_shows_that_a_silent_phase_goes_on(screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", LastingStream(screen))  # capturing sets it again
    monkeypatch.setattr(standard_streams, "PATIENCE_SECONDS", 0.2)
    tick()
    end = time.monotonic() + 20
    while " s" not in screen.getvalue() and time.monotonic() < end:
        time.sleep(0.05)
    assert re.fullmatch(r"(\r\x1b\[K\.\.\. \d+ s)+", screen.getvalue())
    monkeypatch.setattr(standard_streams, "PATIENCE_SECONDS", 1e9)
    sys.stderr.write("a line\n")
    assert screen.getvalue().endswith("\r\x1b[Ka line\n")


@pytest.mark.parametrize("kind", ["dumb", "pipe"])
def test_without_a_terminal_nothing_ticks(kind, screen, monkeypatch):
    monkeypatch.setattr(sys, "stderr", LastingStream(screen))
    monkeypatch.setenv("TERM", "dumb" if kind == "dumb" else os.environ["TERM"])
    if kind == "pipe":
        monkeypatch.setattr(sys, "stderr", LastingStream(io.StringIO()))
    monkeypatch.setattr(standard_streams.threading, "Thread", None)
    tick()
