"""Files of a release in subfolders and with other names are read, or named in one line."""

from __future__ import annotations

import logging

import pytest
from support.releases import corpus, put, row, rows, sentence

from ke_t5.errors import UserError
from ke_t5.pipe import Folders, ReleaseSource
from ke_t5.readers import kor_corpora, nikl
from ke_t5.readers.release import files_below
from ke_t5.readers.unread import unread_files


def unread(release, folder):
    """The names of the release's files that are not read."""
    found = unread_files(release, release.find(folder), folder)
    return [path.relative_to(folder).as_posix() for path in found]


def test_a_corpus_in_sub_folders_is_read_whole(tmp_path):
    put(tmp_path, "NIKL/v1.0/NE/b.json", corpus(sentence(1)))
    put(tmp_path, "NIKL/v1.0/NE/written/2019/a.json", corpus(sentence(2)))
    put(tmp_path, "NIKL/v1.0/NE/spoken/a.JSON", corpus(sentence(3)))
    put(tmp_path, "NIKL/v1.0/NE/__MACOSX/._a.json", "not ours")
    put(tmp_path, "NIKL/v1.0/NE/.old/a.json", "not ours")
    put(tmp_path, "NIKL/v1.0/NE/spoken.zip", "packed")
    assert rows(nikl.NE, tmp_path, "train") == [row(1), row(3), row(2)]
    assert unread(nikl.NE, tmp_path) == ["NIKL/v1.0/NE/spoken.zip"]


def test_newspapers_without_a_summary_are_not_called_unread(tmp_path):
    summary = {"document_id": "N1.1", "summary_sentences": ["글"], "topic_sentences": ["글"]}
    put(tmp_path, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", {"data": [summary]})
    article = {"id": "N1.1", "paragraph": [{"form": "글"}]}
    put(tmp_path, "NIKL/v1.0/NEWSPAPER/2018/N1.json", {"document": [article]})
    put(tmp_path, "NIKL/v1.0/NEWSPAPER/2018/N2.json", {"document": []})
    assert len(rows(nikl.SUMMARY_SUMMARY, tmp_path, "train")) == 1
    assert unread(nikl.SUMMARY_SUMMARY, tmp_path) == []


PAIRS = "genre\tscore\tsentence1\tsentence2\nnews\t1.0\t가\t나\n"


@pytest.mark.parametrize(
    "name",
    ["KorSTS/more/sts-dev.tsv", "KorSTS/STS-Dev.TSV", "KorSTS/sts-dev.csv", "old/sts-dev.tsv.gz"],
)
def test_a_split_that_lies_elsewhere_or_is_called_otherwise_is_named(tmp_path, name):
    put(tmp_path, "KorSTS/sts-train.tsv", PAIRS)
    put(tmp_path, "KorSTS/README.txt", "about it")
    put(tmp_path, "other/notes.tsv", "nothing of ours")
    put(tmp_path, name, PAIRS)
    assert unread(kor_corpora.KORSTS, tmp_path) == [name]


def test_common_names_elsewhere_are_anybodys(tmp_path):
    put(tmp_path, "qpair/train.txt", "question1\tquestion2\tis_duplicate\n가\t나\t0\n")
    put(tmp_path, "other/train.txt", "nothing of ours")
    assert unread(kor_corpora.QPAIR, tmp_path) == []


def test_it_is_one_line_once_per_process(tmp_path, caplog):
    for name in ("sts-train.tsv", "a.zip", "b.zip", "c.zip", "d.zip", "e.zip"):
        put(tmp_path, f"KorSTS/{name}", PAIRS)
    source = ReleaseSource(kor_corpora.KORSTS)
    with caplog.at_level(logging.WARNING, "ke_t5"):
        for _ in range(2):
            source.rows("train", Folders(tmp_path, tmp_path / "cache"))
    shown = ", ".join(f"KorSTS/{letter}.zip" for letter in "abcd")
    assert caplog.messages == [f"korsts: 5 file(s) there are not read: {shown} ..."]


def test_a_circle_of_links_ends(tmp_path):
    put(tmp_path, "a/x.json", "{}")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    assert 1 < len(list(files_below(tmp_path))) < 20


@pytest.mark.parametrize("name", ["nsmc-master/ratings_train.txt", "NSMC/Ratings_Train.txt.zip"])
def test_a_release_in_the_wrong_place_is_named_where_nothing_is_read(tmp_path, name):
    put(tmp_path, name, "id\tdocument\tlabel\n1\t글\t0\n")
    source = ReleaseSource(kor_corpora.NSMC)
    with pytest.raises(UserError) as caught:
        source.rows("train", Folders(tmp_path, tmp_path / "cache"))
    assert f"no nsmc there (found {name}), and " in str(caught.value)
