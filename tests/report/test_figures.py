"""Figures are PNG files, drawn without warnings, with or without a Hangul font."""

import numpy as np
import pytest

from ke_t5.report import figures
from ke_t5.report.tables import Confusion, TypeScores
from ke_t5.task.labels import KLUE_TC

PNG = b"\x89PNG\r\n\x1a\n"
TYPES = [TypeScores("PS", 50.0, 60.0, 54.5, 10, 12), TypeScores("한글", 0.0, 0.0, 0.0, 0, 3)]


@pytest.fixture(params=["with Hangul", "without Hangul"])
def fonts(request, monkeypatch):
    """Runs a test with the fonts of this machine and without a Hangul font."""
    if request.param == "without Hangul":
        monkeypatch.setattr(figures, "hangul_font", lambda: None)
    return request.param


def confusion(names=KLUE_TC.names, glosses=KLUE_TC.glosses):
    counts = np.arange(len(names) * (len(names) + 1)).reshape(len(names), -1)
    return Confusion(tuple(names), tuple(glosses), counts)


def size_of(png):
    """Width and height in pixels, from the PNG header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_names_are_drawn_verbatim_and_shortened(fonts):
    names = ["$^$ 이하", "$\\frac$", "가" * 3000]
    types = [TypeScores(name, 50.0, 60.0, 54.5, 10, 12) for name in names]
    png = figures.types_png(types, title="$x^$ 검증")
    assert png.startswith(PNG) and size_of(png)[0] == 1036
    assert max(map(len, figures.drawable(names, names))) <= figures.MAX_NAME + len(" …")


def test_figures_are_png(fonts):
    pngs = [
        figures.confusion_png(confusion(), title="klue_tc 검증"),
        figures.types_png(TYPES, title="klue_ner validation"),
        figures.numbers_png([0.0, 1.0, 5.0], [0.5, 1.0, 6.0], title="klue_sts validation"),
        figures.numbers_png([1.0, 1.0], [1.0, 1.0], title="all the same"),
    ]
    for png in pngs:
        assert png.startswith(PNG)
        assert min(size_of(png)) > 150


def test_many_labels_fit_on_a_figure(fonts):
    names = [f"label {i}" for i in range(41)]
    width, height = size_of(figures.confusion_png(confusion(names, names), title="many"))
    assert max(width, height) < 6000


def test_equal_figures_are_equal_files():
    first, second = (figures.types_png(TYPES[:1], title="a") for _ in range(2))
    assert first == second


def test_without_a_hangul_font_names_are_drawn_in_english_or_by_number(monkeypatch):
    monkeypatch.setattr(figures, "hangul_font", lambda: None)
    names = ("정치", "plain", "한글")
    assert figures.drawable(names, ("politics", "plain", "한글")) == ["politics", "plain", "2"]


def test_with_a_hangul_font_names_are_drawn_verbatim(monkeypatch):
    monkeypatch.setattr(figures, "hangul_font", lambda: "Some Gothic")
    assert figures.drawable(("정치",), ("politics",)) == ["정치"]


def test_the_font_has_hangul():
    font = figures.hangul_font()
    assert font is None or font in figures.HANGUL_FONTS


def test_a_listed_font_without_a_file_is_skipped(monkeypatch):
    from matplotlib import font_manager

    gone = font_manager.FontEntry(fname="/gone/NanumGothic.ttf", name="NanumGothic")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [gone])
    assert figures.hangul_font.__wrapped__() is None
