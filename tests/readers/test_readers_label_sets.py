"""K-MHaS and KOTE: rows from files and from the hub, and refusals."""

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers.label_sets import KMHAS, KOTE

COMMENTS = 'document\tlabel\n"가 ""나"""\t1,3\n다\t8\n'
EMOTIONS = '59\t가\t0,6,43\n26\t"나 ""다"""\t24\n'


@pytest.mark.parametrize("place", ["K-MHaS", "K-MHaS/data", "kmhas", "."])
def test_kmhas_rows(tmp_path, place):
    folder = put(tmp_path, f"{place}/kmhas_valid.txt", COMMENTS)
    expected = [{"text": '가 "나"', "label": ["1", "3"]}, {"text": "다", "label": ["8"]}]
    assert rows(KMHAS, folder, "validation") == expected
    assert hub_rows(KMHAS, {"text": "다", "label": [8]}) == expected[1:]
    assert hub_rows(KMHAS, {"text": "다", "label": None}) == [{"text": "다", "label": None}]


@pytest.mark.parametrize("place", ["KOTE", "kote"])
def test_kote_rows(tmp_path, place):
    folder = put(tmp_path, f"{place}/train.tsv", EMOTIONS)
    expected = [
        {"id": "59", "text": "가", "label": ["0", "6", "43"]},
        {"id": "26", "text": '나 "다"', "label": ["24"]},
    ]
    assert rows(KOTE, folder, "train") == expected
    assert rows(KOTE, folder / place, "train") == expected
    assert hub_rows(KOTE, {"ID": "26", "text": '나 "다"', "labels": [24]}) == expected[1:]
    assert KOTE.find(put(tmp_path / "elsewhere", "train.tsv", EMOTIONS)) == {}


@pytest.mark.parametrize(
    ("release", "name", "text", "cut", "lines"),
    [
        (KMHAS, "K-MHaS/kmhas_valid.txt", "document\tlabel\n가\t1,3\n", ",3\n", "8,777"),
        (KOTE, "KOTE/val.tsv", "59\t가\t0,43\n", "3\n", "5,000"),
    ],
)
def test_labels_cut_by_a_truncated_file_are_refused(tmp_path, release, name, text, cut, lines):
    message = f"ends within this line, the released one has {lines} lines; download it again"
    for end in (cut, "\n"):
        folder = put(tmp_path, name, text.removesuffix(end))
        assert message in refusal(release, folder, "validation")
    assert len(rows(release, put(tmp_path, name, text), "validation")) == 1


@pytest.mark.parametrize("labels", ["9", "1,", "1,x", ""])
def test_a_label_that_is_none_is_named(tmp_path, labels):
    folder = put(tmp_path, "K-MHaS/kmhas_train.txt", f"document\tlabel\n가\t{labels}\n")
    unknown = labels.split(",")[-1]
    message = f"label '{unknown}', expected one of 0, 1, 2, 3, 4, 5, 6, 7, 8; fix that line, or"
    assert refusal(KMHAS, folder).startswith(f"K-MHaS/kmhas_train.txt:2: {message}")
