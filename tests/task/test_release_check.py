"""Faults of releases are reported with their rows; a broken file does not stop the check."""

import pytest
from support.helpers import folders
from support.releases import put

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe.cache import Folders
from ke_t5.task.listing import check_lines, main

NER = (
    "## 주석 : ##\n## klue-ner-v1_train_15243_nsmc\t가< 나:PS>< 다:PS>\n"
    "가\tO\n \tB-PS\n나\tI-PS\n \tB-PS\n다\tI-PS\n\n"
    "## klue-ner-v1_train_00001_nsmc\t가\n가\tO\n"
)
WORD = "{}\t{}\t_\t_\t{}\tVP\n"
DP = "## 주석 : ##\n" + "".join(
    f"## klue-dp-v1_dev_{number}_wikitree\t가 0.9%\n"
    + WORD.format(1, "가", 2)
    + WORD.format(2, word, 0)
    + "\n"
    for number, word in enumerate(["0.9%", "#NAME?", "0.90%"])
)
ANSWER = {"text": "서울", "answer_start": 1}
MRC = {
    "data": [{"paragraphs": [{"context": "서울이다.", "qas": [
        {"guid": "q1", "question": "?", "answers": [], "is_impossible": True,
         "plausible_answers": [ANSWER, ANSWER]}
    ]}]}]
}  # fmt: skip


@pytest.fixture
def data(tmp_path):
    place = "klue_benchmark/klue"
    put(tmp_path, f"{place}-ner-v1.1/klue-ner-v1.1_train.tsv", NER)
    put(tmp_path, f"{place}-dp-v1.1/klue-dp-v1.1_dev.tsv", DP)
    put(tmp_path, f"{place}-mrc-v1.1/klue-mrc-v1.1_dev.json", MRC)
    reviews = "".join(f"{number}\t \t1\n" for number in range(7))
    put(tmp_path, "NSMC/ratings_test.txt", f"id\tdocument\tlabel\n{reviews}")
    put(tmp_path, "NSMC/ratings_train.txt", "id\tdocument\tlabel\n1\t가\t2\n")
    return tmp_path


def test_faults_are_named_with_their_rows(data, tmp_path):
    found = list(check_lines(Folders(data, tmp_path / "cache")))
    assert found == [
        "klue_dp validation: 1 row with a word replaced by a spreadsheet's #NAME? "
        "(KLUE, issue 36): klue-dp-v1_dev_1_wikitree",
        "klue_dp validation: 1 row with a word that is not in the sentence (KLUE, issue 36): "
        "klue-dp-v1_dev_2_wikitree",
        "klue_mrc validation: 1 row with a plausible answer that is not at its offset: q1",
        "klue_ner train: 1 row with an ill-formed sentence (KLUE, pull request 39): "
        "klue-ner-v1_train_15243_nsmc",
        "klue_ner train: 1 row with an entity that begins on a space: klue-ner-v1_train_15243_nsmc",
        f"nsmc train: {data}/NSMC/ratings_train.txt:2: label '2', expected one of 0, 1; fix that "
        "line, or put the release's own file there",
        "nsmc test: 7 rows with no text: row 0, row 1, row 2, row 3, row 4 and 2 more",
        "4 releases read: klue_dp, klue_mrc, klue_ner, nsmc",
    ]


def test_the_command_says_that_there_is_nothing(tmp_path, capsys):
    main(["--check", "--hf_data_dir", str(tmp_path)])
    assert capsys.readouterr().out == "0 releases read: none found\n"
    assert list(check_lines(folders(tmp_path))) == ["0 releases read: none found"]
