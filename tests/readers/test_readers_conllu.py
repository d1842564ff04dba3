"""CoNLL-U: words, trees and parts of speech; ranges and empty nodes are skipped."""

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers.conllu import GSD


def line(*fields):
    """A line of ten fields: number, form, part of speech, head, relation."""
    number, form, tag, head, relation = fields
    return f"{number}\t{form}\t_\t{tag}\t_\t_\t{head}\t{relation}\t_\tSpaceAfter=No\n"


FILE = (
    "# sent_id = s1\n# text = # 집에 간다.\n"
    + line(1, "#", "SYM", 2, "dep")
    + line(2, "집에", "NOUN", 3, "obl:arg")
    + line("3-4", "간다.", "_", "_", "_")
    + line(3, "간다", "VERB", 0, "root")
    + line("3.1", "_", "_", "_", "_")
    + line(4, ".", "PUNCT", 3, "punct")
    + "\n# text = 몰라\n"
    + line(1, "몰라", "_", "_", "_")
)
FIRST = {
    "guid": "s1",
    "text": "# 집에 간다 .",
    "words": ["#", "집에", "간다", "."],
    "heads": [2, 3, 0, 3],
    "relations": ["dep", "obl", "root", "punct"],
    "tags": "B-SYM O B-NOUN I-NOUN O B-VERB I-VERB O B-PUNCT".split(),
}


@pytest.mark.parametrize("place", ["UD_Korean-GSD", "UD/UD_Korean-GSD", "UD"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_rows(tmp_path, place, end):
    put(tmp_path, f"{place}/ko_gsd-ud-dev.conllu", FILE + end)
    first, second = rows(GSD, tmp_path, "validation")
    assert first == FIRST
    unknown = {"heads": None, "relations": None, "tags": None}
    assert second == {"guid": "", "text": "몰라", "words": ["몰라"], **unknown}


def test_the_hub_has_ranges_among_the_words():
    row = {
        "idx": "s1",
        "tokens": ["#", "집에", "간다.", "간다", "."],
        "upos": ["SYM", "NOUN", "_", "VERB", "PUNCT"],
        "head": ["2", "3", "None", "0", "3"],
        "deprel": ["dep", "obl:arg", "_", "root", "punct"],
    }
    assert hub_rows(GSD, row) == [FIRST]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t가\n", "1: 2 tab-separated fields, expected 10; fix the tabs on that line"),
        (line(2, "가", "NOUN", 0, "root"), "1: word number '2', expected 1; fix that line"),
        (line(1, " ", "NOUN", 0, "root"), "1: a word without a form; fix that line"),
        (line(1, "가", "NOUN", 2, "root"), "1: head '2', expected 0 to 1; fix that line"),
    ],
)
def test_a_fault_is_named_by_its_line(tmp_path, text, message):
    put(tmp_path, "UD/ko_gsd-ud-train.conllu", text)
    assert refusal(GSD, tmp_path) == f"UD/ko_gsd-ud-train.conllu:{message}"


def test_a_file_that_ends_within_a_sentence_is_refused(tmp_path):
    whole = (
        "# text = 집에 간다.\n"
        + line(1, "집에", "NOUN", 2, "obl")
        + line(2, "간다", "VERB", 0, "root")
    )
    put(tmp_path, "UD/ko_gsd-ud-train.conllu", whole)
    message = "3: the file ends within a sentence; put the release's own file there"
    assert refusal(GSD, tmp_path) == f"UD/ko_gsd-ud-train.conllu:{message}"
    put(tmp_path, "UD/ko_gsd-ud-train.conllu", whole + line(3, ".", "PUNCT", 2, "punct"))
    assert rows(GSD, tmp_path, "train")[0]["words"] == ["집에", "간다", "."]


@pytest.mark.parametrize("text", ["\n", "# sent_id = s1\n\n"])
def test_a_file_without_a_sentence_is_refused(tmp_path, text):
    put(tmp_path, "UD/ko_gsd-ud-train.conllu", text)
    message = "the file has no sentences; put the release's own file there"
    assert refusal(GSD, tmp_path) == f"UD/ko_gsd-ud-train.conllu: {message}"
