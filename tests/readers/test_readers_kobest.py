"""KoBEST: rows from files and from the hub, and refusals."""

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers.kobest import BOOLQ, COPA, HELLASWAG, SENTINEG, WIC

BOOLQ_HEAD = "ID\tText\tQuestion\tAnswer\r\n"


@pytest.mark.parametrize("place", ["KoBEST/v1.0/BoolQ", "KoBEST/BoolQ", "v1.0/BoolQ", "BoolQ"])
def test_truth_values_of_any_case(tmp_path, place):
    lines = '1\t"가" 나\t다?\tTRUE\r\n2\t가\t라?\tFalse\r\n'
    folder = put(tmp_path, f"{place}/dev.tsv", BOOLQ_HEAD + lines)
    expected = [
        {"paragraph": '"가" 나', "question": "다?", "label": "1"},
        {"paragraph": "가", "question": "라?", "label": "0"},
    ]
    assert rows(BOOLQ, folder, "validation") == expected
    assert rows(BOOLQ, folder / place, "validation") == expected
    assert hub_rows(BOOLQ, {"paragraph": "가", "question": "라?", "label": 0}) == expected[1:]


def test_choices_are_counted_from_1_in_files_and_from_0_on_the_hub(tmp_path):
    text = "ID\tsentence\tquestion\t1\t2\tAnswer\n1\t가\t원인\t나\t다\t2\n"
    folder = put(tmp_path, "KoBEST/v1.0/COPA/train.tsv", text)
    row = {"premise": "가", "question": "원인", "choice1": "나", "choice2": "다", "label": "2"}
    assert rows(COPA, folder, "train") == [row]
    hub = {"premise": "가", "question": "원인", "alternative_1": "나", "alternative_2": "다"}
    assert hub_rows(COPA, {**hub, "label": 1}) == [row]
    assert hub_rows(COPA, {**hub, "label": -1}) == [{**row, "label": None}]


def test_hellaswag_counts_from_0_in_both(tmp_path):
    text = "context\tchoice1\tchoice2\tchoice3\tchoice4\tlabel\n가\t나\t다\t라\t마\t3\n"
    folder = put(tmp_path, "KoBEST/v1.0/HellaSwag/test.tsv", text)
    choices = {f"choice{i}": word for i, word in enumerate("나다라마", 1)}
    row = {"context": "가", **choices, "label": "3"}
    assert rows(HELLASWAG, folder, "test") == [row]
    hub = {"context": "가", **{f"ending_{i}": word for i, word in enumerate("나다라마", 1)}}
    assert hub_rows(HELLASWAG, {**hub, "label": 3}) == [row]


def test_columns_are_read_by_name(tmp_path):
    test = "ID\tLabel_origin\tText_origin\tLabel\tText\tCategory_neg\n1\t1\t좋다\t0\t안 좋다\t안\n"
    folder = put(tmp_path, "KoBEST/v1.0/SentiNeg/test.tsv", test)
    put(tmp_path, "KoBEST/v1.0/SentiNeg/dev.tsv", "ID\tLabel\tText\n1\t1\t좋다\n")
    assert rows(SENTINEG, folder, "test") == [{"text": "안 좋다", "label": "0"}]
    assert rows(SENTINEG, folder, "validation") == [{"text": "좋다", "label": "1"}]
    assert hub_rows(SENTINEG, {"sentence": "좋다", "label": 1}) == [{"text": "좋다", "label": "1"}]


def test_wic_rows(tmp_path):
    head = "ID\tTarget\tSENTENCE1\tDictionary 1\tLink 1\tSENTENCE2\tDictionary 2\tLink2\tANSWER\n"
    line = "1\t배\t[배]가 간다\t1\th\t[배]가 달다\t2\th\tFALSE\n"
    folder = put(tmp_path, "KoBEST/v1.0/WiC/train.tsv", head + line)
    row = {"word": "배", "sentence1": "[배]가 간다", "sentence2": "[배]가 달다", "label": "0"}
    assert rows(WIC, folder, "train") == [row]
    hub = {"word": "배", "context_1": "[배]가 간다", "context_2": "[배]가 달다", "label": 0}
    assert hub_rows(WIC, hub) == [row]


def test_an_answer_that_is_none_is_named(tmp_path):
    folder = put(tmp_path, "KoBEST/v1.0/BoolQ/train.tsv", BOOLQ_HEAD + "1\t가\t나\tmaybe\n")
    message = "KoBEST/v1.0/BoolQ/train.tsv:2: Answer 'maybe', expected one of True, False"
    assert refusal(BOOLQ, folder).startswith(message)
