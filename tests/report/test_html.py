"""The parts of a page: escaping, self-containment, and exact text."""

import re

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from ke_t5.report import html
from ke_t5.report.error_analysis import Styled
from ke_t5.report.html import Span
from ke_t5.report.tables import Confusion

PAGE = {
    "title": "<제목>", "summary": "", "scores": {}, "pictures": {"a.png": "cG5n"},
    "confusion": None, "types": [], "types_title": "A", "max_types": 1, "chapters": [],
    "facts": {},
}  # fmt: skip


def macros():
    return html.environment().get_template("macros.html").module


def text_of(markup):
    return re.sub(r"<[^>]*>", "", markup)


def test_text_is_escaped_and_markup_is_not():
    made = macros().cell(Styled("<b>1 & 2</b>", '"4"'))
    assert made == '<span class="&#34;4&#34;">&lt;b&gt;1 &amp; 2&lt;/b&gt;</span>'
    assert macros().cell(made) is not made and macros().cell(made) == made
    assert macros().cell(["<i>", "3"]) == "<div>&lt;i&gt;</div><div>3</div>"
    assert macros().cell(Markup("<i>3</i>")) == "<i>3</i>"


def test_a_page_is_complete_and_self_contained():
    made = html.render("report.html", **PAGE)
    assert made.startswith('<!doctype html>\n<html lang="ko">')
    assert "<title>&lt;제목&gt;</title>" in made
    assert "<script" not in made and "http" not in made and "@import" not in made
    assert re.findall(r"url\(", made) == []
    assert 'src="data:image/png;base64,cG5n"' in made
    assert "prefers-color-scheme: dark" in made and "@media print" in made


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="'summary' is undefined"):
        html.render("report.html", title="A")


def test_values_that_are_not_finite_are_dashes():
    assert [html.number(x) for x in (1.005, float("nan"), float("inf"), None)] == [
        "1.00", "–", "–", "–",
    ]  # fmt: skip


def test_numbers_in_tables_are_right_aligned():
    made = macros().table(["name", "n"], [["<a>", 1]], numbers=(1,), class_="full")
    assert '<table class="full">' in made
    assert '<tr><td>&lt;a&gt;</td><td class="number">1</td></tr>' in made


def test_a_matrix_shows_counts_glosses_and_unparsable_answers():
    counts = np.array([[3, 1, 0], [0, 2, 1200]])
    made = macros().matrix(Confusion(("정치", "a<b"), ("politics", "a<b"), counts))
    assert '정치 <span class="soft">politics</span>' in made
    assert "a&lt;b" in made and "unparsable" in made and "1,200" in made
    assert 'title="75.0 % of the gold label"' in made
    assert text_of(made).count("·") == 2


def test_a_matrix_with_many_columns_is_dense():
    names = tuple(f"label{i}" for i in range(20))
    made = macros().matrix(Confusion(names, names, np.zeros((20, 21), dtype=int)))
    assert 'class="matrix dense"' in made and 'class="tall"' in made


def test_names_too_wide_for_the_page_are_vertical():
    def heads(*names):
        counts = np.zeros((len(names), len(names) + 1), dtype=int)
        return macros().matrix(Confusion(names, names, counts))

    assert 'class="tall"' not in heads("rhetorical question", "intonation-dependent utterance")
    assert 'class="tall"' in heads(*(f"org:number_of_members_{i}" for i in range(6)))
    assert 'class="tall"' in heads(*(f"수사적인명령의문장들{i}" for i in range(6)))


def test_text_without_spaces_is_wrapped_but_numbers_and_labels_are_not():
    css = (html.TEMPLATES / "report.css").read_text(encoding="utf-8")
    rules = dict(re.findall(r"(?m)^([^{@\n]+) \{([^}]*)\}", css))
    assert "overflow-wrap: anywhere" in rules["td"]
    assert "white-space: nowrap" in rules[".number"]
    assert "overflow-wrap: normal" in rules[".chip"]


def test_the_interval_bar_stays_within_its_range():
    made = macros().interval_bar(-3.0, -10.0, 104.0)
    assert "left:0.00%;width:100.00%" in made and '<b style="left:0.00%">' in made


def test_tagged_text_keeps_every_character():
    text = "이순신 장군은 <한산도>에서"
    spans = [Span(0, 3, "PS", True), Span(9, 12, "LC", False)]
    pieces = html.tagged(text, spans, hue_of=html.hues(["PS", "LC"]), sign="✗", window=range(16))
    made = macros().tagged(pieces)
    assert made.count("<mark") == 2 and made.count('class="bad"') == 1
    plain = re.sub(r"<b>[^<]*</b>", "", made)
    assert text_of(plain) == "이순신 장군은 &lt;한산도&gt;에서"
    assert "<b>✗ PS</b>" in made and "<b>LC</b>" in made


def test_long_text_is_cut_around_the_first_error():
    text = "가" * 1000
    right, wrong = Span(3, 5, "PS", False), Span(700, 710, "PS", True)
    assert html.window_of(text, [right], limit=200) == range(200)
    assert html.window_of(text, [right, wrong], limit=200) == range(660, 860)
    assert html.window_of("가" * 150, [Span(140, 150, "PS", True)], limit=200) == range(150)
    pieces = html.tagged(text, [right, wrong], hue_of={"PS": 1}, sign="✗", window=range(705, 720))
    made = macros().tagged(pieces)
    assert text_of(made) == "… " + "가" * 5 + "✗ PS" + "가" * 10 + " …"


def test_each_kind_has_its_own_distant_hue():
    found = html.hues(["B", "A", "B"])
    assert sorted(found) == ["A", "B"] and abs(found["A"] - found["B"]) > 90


def test_number_and_shortened():
    assert (html.number(1.0), html.number(float("nan"))) == ("1.00", "–")
    assert (html.shortened("abc", limit=3), html.shortened("abc d", limit=4)) == ("abc", "abc …")
