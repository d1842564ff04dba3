"""Pictures are PNGs, drawn without warnings, with or without a Hangul font on the machine."""

import numpy as np
import pytest

from ke_t5.report import figures
from ke_t5.report.tables import Confusion, TypeScores
from ke_t5.task.labels import KLUE_TC

PNG = b"\x89PNG\r\n\x1a\n"
TYPES = [TypeScores("PS", 50.0, 60.0, 54.5, 10, 12), TypeScores("한글", 0.0, 0.0, 0.0, 0, 3)]


@pytest.fixture(params=["with Hangul", "without Hangul"])
def fonts(request, monkeypatch):
    """Runs a test as on this machine and without a Hangul font."""
    if request.param == "without Hangul":
        monkeypatch.setattr(figures, "hangul_font", lambda: None)
    return request.param


def confusion(names=KLUE_TC.names, glosses=KLUE_TC.glosses):
    counts = np.arange(len(names) * (len(names) + 1)).reshape(len(names), -1)
    return Confusion(tuple(names), tuple(glosses), counts)


def size_of(png):
    """Width and height in pixels, from the header."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def test_a_name_is_drawn_as_it_is_written_and_not_without_end(fonts):
    names = ["$^$ 이하", "$\\frac$", "가" * 3000]
    types = [TypeScores(name, 50.0, 60.0, 54.5, 10, 12) for name in names]
    png = figures.types_png(types, title="$x^$ 검증")
    assert png.startswith(PNG) and size_of(png)[0] == 1036
    assert max(map(len, figures.drawable(names, names))) <= figures.MAX_NAME + len(" …")


def test_pictures_are_png(fonts):
    pngs = [
        figures.confusion_png(confusion(), title="klue_tc 검증"),
        figures.types_png(TYPES, title="klue_ner validation"),
        figures.numbers_png([0.0, 1.0, 5.0], [0.5, 1.0, 6.0], title="klue_sts validation"),
        figures.numbers_png([1.0, 1.0], [1.0, 1.0], title="all the same"),
    ]
    for png in pngs:
        assert png.startswith(PNG)
        assert min(size_of(png)) > 150


def test_many_labels_fit_on_a_picture(fonts):
    names = [f"label {i}" for i in range(41)]
    width, height = size_of(figures.confusion_png(confusion(names, names), title="many"))
    assert max(width, height) < 6000


def test_equal_figures_are_equal_files():
    first, second = (figures.types_png(TYPES[:1], title="a") for _ in range(2))
    assert first == second


def test_without_hangul_names_are_drawn_in_english_or_by_number(monkeypatch):
    monkeypatch.setattr(figures, "hangul_font", lambda: None)
    names = ("정치", "plain", "한글")
    assert figures.drawable(names, ("politics", "plain", "한글")) == ["politics", "plain", "2"]


def test_with_hangul_names_are_drawn_as_they_are(monkeypatch):
    monkeypatch.setattr(figures, "hangul_font", lambda: "Some Gothic")
    assert figures.drawable(("정치",), ("politics",)) == ["정치"]


def test_font_is_one_that_has_hangul():
    font = figures.hangul_font()
    assert font is None or font in figures.HANGUL_FONTS


def test_font_that_is_listed_but_gone_is_passed_over(monkeypatch):
    from matplotlib import font_manager

    gone = font_manager.FontEntry(fname="/gone/NanumGothic.ttf", name="NanumGothic")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [gone])
    assert figures.hangul_font.__wrapped__() is None
