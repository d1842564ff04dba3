"""Rows of own files: equal to those of the releases' readers, for each format and tag scheme."""

import json
import logging
from pathlib import Path

import pytest

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.errors import UserError
from ke_t5.own_data import OwnData, load_own_data, own_data_of, register
from ke_t5.own_data.rows import LINE, own_rows
from ke_t5.own_data.settings import own_data_for
from ke_t5.own_data.source import OwnFiles, sorted_labels
from ke_t5.pipe import Folders
from ke_t5.pipe.splits import default_split, resolve_split
from ke_t5.readers.encodings import report_once
from ke_t5.readers.klue_tsv import ner_rows
from ke_t5.readers.korquad import reading_rows
from ke_t5.readers.streams import table
from ke_t5.serving.rows import unlabelled


@pytest.fixture
def write(tmp_path):
    def write(content: str, name: str) -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


@pytest.fixture
def said(caplog):
    report_once.cache_clear()
    caplog.set_level(logging.INFO, logger="ke_t5")
    return lambda: [record.getMessage().rpartition("/")[2] for record in caplog.records]


def rows_of(path, own, split="train"):
    """The rows without the column of line numbers."""
    rows = own_rows(own, path, split, [].append)
    return [{name: x for name, x in row.items() if name != LINE} for row in rows]


def loaded(task, path, cache, **settings):
    return load_own_data(task, cache=cache, files={"train": str(path)}, **settings)


def test_entities_of_klue_are_those_of_its_reader(sample_data, cache_dir, said):
    path = sample_data / "klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_dev.tsv"
    own = loaded("tagging", path, cache_dir)
    assert own.columns == {"text": "1", "label": "2"}
    assert own.labels == ("DT", "LC", "OG", "PS", "QT", "TI")
    expected = [{"text": x["text"], "tags": x["tags"]} for x in ner_rows(path, "dev")]
    assert rows_of(path, own) == expected
    assert any("rows; entities: " in line for line in said())


def test_only_the_columns_that_are_read_need_the_results_of_their_formulas(tmp_path, cache_dir):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["글", "길이", "값"], ["좋다", "=LEN(A2)", "긍정"], ["싫다", "=LEN(A3)", "부정"]):
        book.active.append(row)
    book.save(path := tmp_path / "a.xlsx")
    own = loaded("classification", path, cache_dir, columns={"text": "글", "label": "값"})
    expected = [{"text": "좋다", "label": "긍정"}, {"text": "싫다", "label": "부정"}]
    assert rows_of(path, own) == expected
    with pytest.raises(UserError, match=r"a.xlsx:2: cell B2 has a formula without a result"):
        loaded("text2text", path, cache_dir, columns={"text": "글", "label": "길이"})
    own = loaded("span_corruption_ko", path, cache_dir, columns={"text": "글"})
    assert rows_of(path, own) == [{"text": "좋다 싫다"}]
    with pytest.raises(UserError, match=r"a.xlsx:2: cell B2 has a formula without a result"):
        loaded("span_corruption_ko", path, cache_dir, columns={"text": "길이"})


def test_questions_of_korquad_are_those_of_its_reader(sample_data, cache_dir):
    path = sample_data / "KorQuAD/KorQuAD_v1.0_dev.json"
    own = loaded("reading", path, cache_dir)
    assert not own.may_be_impossible
    expected = list(reading_rows(path, "validation", id_key="id"))
    assert rows_of(path, own) == expected
    assert register(own).in_form("question_answering").metric_fns[0].names == ("exact_match", "f1")


def test_questions_may_stand_one_a_row_and_have_no_answer(write, cache_dir):
    answered = {"question": "수도는?", "answers": {"text": ["서울"], "answer_start": [0]}}
    no_answer = {"question": "강은?", "is_impossible": True}
    rows = [{"context": "서울은 수도", **one} for one in (answered, no_answer)]
    path = write("".join(json.dumps(row) + "\n" for row in rows), "qa.jsonl")
    own = loaded("reading", path, cache_dir)
    assert own.may_be_impossible
    first, second = rows_of(path, own)
    assert (first["answers"], first["guid"]) == ([{"text": "서울", "start": 0}], "1")
    assert (second["answers"], second["is_impossible"]) == ([], True)


def test_scores_of_korsts_are_those_of_its_table(sample_data, cache_dir, said):
    path = sample_data / "KorSTS/sts-train.tsv"
    own = loaded("similarity", path, cache_dir)
    assert own.columns == {"text": "sentence1", "text_pair": "sentence2", "label": "score"}
    expected = [
        {"text": x["sentence1"], "text_pair": x["sentence2"], "label": float(x["score"])}
        for _, x in table(path, ("score", "sentence1", "sentence2"))
    ]
    assert rows_of(path, own) == expected
    assert said()[0] == (
        "sts-train.tsv: columns: text 'sentence1', text_pair 'sentence2', label 'score' "
        "(--text_column, --text_pair_column, --label_column: others)"
    )


IOB2 = ["B-LC", "I-LC", "I-LC", "I-LC", "O", "B-PS"]
SCHEMES = {
    "IOB2": "서울\tB-LC\n시\tI-LC\n김\tB-PS\n",
    "IOB1": "서울\tI-LC\n시\tI-LC\n김\tI-PS\n",
    "BIOES": "서울\tB-LC\n시\tE-LC\n김\tS-PS\n",
    "BILOU": "서울\tB-LC\n시\tL-LC\n김\tU-PS\n",
    "spaces": "서울 B-LC\n시 I-LC\n김 B-PS\n",
    "more columns, comments": "# id 1\n서울\tNNP\tB-LC\n시\tNNG\tI-LC\n김\tNNP\tB-PS\n",
    "header": "토큰\t태그\n서울\tB-LC\n시\tI-LC\n김\tB-PS\n",
}


@pytest.mark.parametrize("content", SCHEMES.values(), ids=SCHEMES)
def test_schemes_of_tags(write, cache_dir, content, said):
    path = write(f"{content}\n", "a.conll")
    own = loaded("tagging", path, cache_dir)
    assert own.labels == ("LC", "PS")
    assert list(own_rows(own, path, "train", [].append))[0] == {
        "text": "서울 시 김", "tags": IOB2, "line": 2 if content[0] in "#토" else 1,
    }  # fmt: skip
    repaired = "a.conll: 2 entities begin with I- or E-, read as B-"
    assert (repaired in said()) == content.startswith("서울\tI-LC")


def test_tags_of_json_rows(write, cache_dir):
    entities = {"글": "서울 시 김", "개체": [
        {"start": 0, "end": 4, "label": "LC"}, {"start": 5, "end": 6, "label": "PS"},
    ]}  # fmt: skip
    tokens = {"tokens": ["서울", "시", "김"], "tags": ["B-LC", "E-LC", "S-PS"]}
    for row, columns in ((entities, {"text": "글", "label": "개체"}), (tokens, {})):
        path = write(json.dumps(row), "a.jsonl")
        own = loaded("tagging", path, cache_dir, columns=columns)
        assert rows_of(path, own) == [{"text": "서울 시 김", "tags": IOB2}]
        bare = write(json.dumps({own.columns["text"]: row[own.columns["text"]]}), "b.jsonl")
        assert rows_of(bare, own, "test") == [{"text": "서울 시 김", "tags": None}]
    characters = write("서\tB-LC\n울\tI-LC\n \tO\n김\tB-PS\n", "c.tsv")
    (row,) = rows_of(characters, loaded("tagging", characters, cache_dir))
    assert row == {"text": "서울 김", "tags": ["B-LC", "I-LC", "O", "B-PS"]}
    only_tokens = write("서울\n시\n", "d.tsv")
    own = OwnData("tagging", columns={"text": "1", "label": "2"})
    assert rows_of(only_tokens, own, "test") == [{"text": "서울 시", "tags": None}]


def test_several_labels_in_a_cell(write, cache_dir):
    path = write('글,값\n가,"욕설, 성별"\n나,성별\n', "a.csv")
    own = loaded("multilabel", path, cache_dir, columns={"text": "글", "label": "값"})
    assert own.labels == ("성별", "욕설")
    assert [row["label"] for row in rows_of(path, own)] == [["욕설", "성별"], ["성별"]]
    lists = write('{"글": "가", "값": ["욕설", "성별"]}\n{"글": "나", "값": []}\n', "a.jsonl")
    assert [row["label"] for row in rows_of(lists, own)] == [["욕설", "성별"], []]
    bars = write("글\t값\n가\t욕설|성별\n", "a.tsv")
    assert rows_of(bars, own.replace(separator="|"))[0]["label"] == ["욕설", "성별"]


def test_several_labels_of_a_pair(write, cache_dir):
    path = write('질문,답,문제\n가,나,"욕설,성별"\n다,라,성별\n', "a.csv")
    given = {"text": "질문", "text_pair": "답", "label": "문제"}
    own = loaded("multilabel", path, cache_dir, columns=given)
    assert own.columns == given
    assert rows_of(path, own)[0] == {"text": "가", "text_pair": "나", "label": ["욕설", "성별"]}
    task = register(own)
    assert task.input_columns == ("text", "text_pair") and task.labels == ("성별", "욕설")
    assert unlabelled(task, {"질문": "가", "답": "나"}) == {
        "text": "가", "text_pair": "나", "label": None,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"no column '대답' \(--text_pair_column\); did you mean"):
        loaded("multilabel", path, cache_dir, columns={**given, "text_pair": "대답"})
    register(OwnData("multilabel"))


def test_labels_of_json_are_as_typed(write, cache_dir):
    rows = [{"text": f"글 {label}", "label": label} for label in (1, 1.0, True)]
    path = write("".join(json.dumps(row) + "\n" for row in rows), "a.jsonl")
    own = loaded("classification", path, cache_dir)
    assert own.labels == ("1", "1.0", "true")
    assert sorted_labels(["10", "9", "001"]) == ("001", "9", "10")


def test_empty_cells_may_be_left_out(write, cache_dir, said):
    path = write("글,값\n가,1\n,1\n나,2\n다,\n", "a.csv")
    own = loaded("classification", path, cache_dir, skip_empty=True)
    assert [row["text"] for row in rows_of(path, own)] == ["가", "나"]
    assert said()[-2:] == [
        "a.csv: skipped 2 rows with an empty cell", "a.csv: 2 rows; labels: 1 (1), 2 (1)"
    ]  # fmt: skip


def test_a_row_without_labels_is_an_empty_list_and_not_an_empty_cell(write, cache_dir):
    path = write('글,값\n가,"1,2"\n나,[]\n다,1\n', "a.csv")
    own = loaded("multilabel", path, cache_dir)
    assert [row["label"] for row in rows_of(path, own)] == [["1", "2"], [], ["1"]]
    path = write("글,값\n가,1\n나,\n다,1\n", "b.csv")
    with pytest.raises(
        UserError, match=r"b.csv:3: '값' is empty; write \[\] for no label, or skip"
    ):
        loaded("multilabel", path, cache_dir)


def test_rows_left_out_are_reported_by_every_launch(write, cache_dir, said):
    path = write("글,값\n가,1\n,1\n나,2\n", "a.csv")
    for _ in range(2):  # the second time from the cache
        report_once.cache_clear()
        loaded("classification", path, cache_dir, skip_empty=True)
    assert said().count("a.csv: skipped 1 row with an empty cell") == 2


def test_equal_texts_stay_on_one_side_of_the_cut(write, cache_dir):
    path = write("글,값\n" + "".join(f"글 {i % 40},{i % 2}\n" for i in range(120)), "a.csv")
    task = register(loaded("classification", path, cache_dir))
    folders = Folders(None, cache_dir)
    sides = []
    for purpose in ("train", "validation"):
        spec = default_split(task.source, folders, purpose)
        ((_, ids, _),) = resolve_split(spec, task.source, folders, task.rows)
        texts = task.rows("train", folders).dataset["text"]
        sides.append({texts[int(i)] for i in ids})
    assert len(sides[0]) + len(sides[1]) == 40 and not sides[0] & sides[1] and sides[1]


def test_a_changed_file_or_column_is_read_anew(write, cache_dir):
    folders, content = Folders(None, cache_dir), "글,값,둘\n가,1,3\n나,2,4\n"
    path = write(content, "a.csv")
    own = loaded("classification", path, cache_dir, columns={"label": "값"})
    rows = OwnFiles(own, "x").rows("train", folders)
    assert OwnFiles(own, "x").rows("train", folders).key == rows.key
    write(content.replace("가", "다"), "a.csv")
    other = OwnFiles(own, "x").rows("train", folders)
    assert other.key != rows.key and other.dataset["text"][0] == "다"
    second = own.replace(columns={"text": "글", "label": "둘"}, labels=())
    assert OwnFiles(second, "x").rows("train", folders).dataset["label"][0] == "3"


def test_each_split_has_its_encoding_and_sheet(tmp_path, cache_dir):
    from openpyxl import Workbook

    (tmp_path / "train.csv").write_bytes("글,값\n가,1\n나,2\n".encode("johab"))
    book = Workbook()
    for name in ("첫째", "둘째"):
        sheet = book.create_sheet(name)
        sheet.append(["글", "값"])
        sheet.append([name, "1"])
    book.save(tmp_path / "valid.xlsx")
    files = {"train": str(tmp_path / "train.csv"), "validation": str(tmp_path / "valid.xlsx")}
    own = load_own_data(
        "classification", cache=cache_dir, files=files, columns={"text": "글", "label": "값"},
        encoding={"train": "johab"}, sheet={"validation": "둘째"},
    )  # fmt: skip
    kept = OwnData.from_json(json.loads(json.dumps(own.to_json())), "run.json")
    assert kept == own
    texts = [
        OwnFiles(kept, "x").rows(split, Folders(None, cache_dir)).dataset["text"][0]
        for split in ("train", "validation")
    ]
    assert texts == ["가", "둘째"]


def test_own_data_is_kept_as_json():
    columns = {"text": "1", "label": "2"}
    own = OwnData("tagging", {"train": "/a.tsv"}, columns, labels=("LC",), name="names")
    content = json.loads(json.dumps({**own.to_json(), "later": 1}))
    assert OwnData.from_json(content, "run.json") == own

    faults = [[], {"task": "x"}]
    faults += [{**content, **change} for change in (
        {"labels": [1]}, {"labels": ["LC", "LC"]}, {"files": 3}, {"encoding": 5}, {"sheet": 5},
        {"by_split": {"sheet": {"dev": "a"}}}, {"by_split": {"sheet": {"test": 5}}},
        {"joint": 5}, {"columns": {"text": "1"}},
    )]  # fmt: skip
    for broken in faults:
        with pytest.raises(
            UserError, match=r"run.json: not a description of own data \(.*\); restore"
        ):
            OwnData.from_json(broken, "run.json")


def test_names_of_tasks(write, cache_dir):
    own = loaded("classification_gen", write("글,값\n가,1\n나,2\n", "a.csv"), cache_dir)
    assert register(own).name == "classification_gen"
    task = register(own, name="reviews")
    assert (task.name, task.form) == ("reviews_gen", "seq2seq")
    kept = own_data_of(task)
    assert kept is not None and kept.name == "reviews"
    with pytest.raises(ValueError, match="unknown task 'clasification'; did you mean"):
        OwnData("clasification")
    with pytest.raises(ValueError, match="already registered"):
        register(own, name="klue_tc")


CHOICES = {
    "COPA": ("sentence\tquestion\t1\t2\tAnswer\n가\t결과\t나\t다\t2\n", ("1", "2"), "choice2"),
    "from 0": ("글,보기1,보기2,label\n가,나,다,0\n가,나,다,1\n", ("0", "1"), "choice1"),
    "letters": ("text,보기1,보기2,정답\n가,나,다,B\n", ("A", "B"), "choice2"),
    "names": ("text,보기1,보기2,정답\n가,나,다,보기1\n", ("보기1", "보기2"), "choice1"),
}


@pytest.mark.parametrize(("content", "keys", "right"), CHOICES.values(), ids=CHOICES)
def test_choices(write, cache_dir, content, keys, right):
    path = write(content, "a.tsv" if "\t" in content else "a.csv")
    own = loaded("choice", path, cache_dir)
    assert own.labels == keys and OwnData.from_json(own.to_json(), "x").choices == own.choices
    row = rows_of(path, own)[0]
    assert (row["choice1"], row["choice2"]) == ("나", "다")
    assert row.get("text_pair") == ("결과" if "question" in content else None)
    task = register(own)
    assert task.labels == ("1", "2") and task.form == "multiple_choice"
    assert f"choice{keys.index(row['label']) + 1}" == right


def test_what_is_wrong_with_choices(write, cache_dir):
    def refusal(content, **settings):
        with pytest.raises(UserError) as caught:
            loaded("choice", write(content, "a.csv"), cache_dir, **settings)
        return str(caught.value).rpartition("/")[2]

    assert refusal("글,가,나,답\n1,2,3,4\n") == (
        "a.csv:1: which columns are the choices? it has '글', '가', '나', '답'; "
        "add --choice_columns NAME,NAME"
    )
    assert refusal("글,가,나,답\n1,2,3,5\n", choice_columns="가,나", columns={"text": "글"}) == (
        "a.csv:2: '5' is none of 2 choices (--label_column 답); "
        "write the number (from 1) or the column name of the right choice"
    )
    csv = "글,보기1,보기2,답\nㄱ,ㄴ,ㄷ,1\nㄱ,ㄴ,ㄷ,2\nㄱ,ㄴ,ㄷ,3\n"
    assert refusal(csv).startswith("a.csv:4: '3' is none of 2 choices (--label_column 답); ")
    assert refusal("글,가,나,답\n1,2,3,5\n", choice_columns="가,다").startswith(
        "a.csv:1: no column '다' (--choice_columns); "
    )
    with pytest.raises(UserError, match="regression has no choices; drop it, or use --task"):
        loaded("regression", write("글,점수\n가,1\n", "b.csv"), cache_dir, choice_columns="가,나")


def test_rows_to_predict_have_the_columns_of_the_training_file():
    columns = {"text": "문장", "label": "감정"}
    task = register(OwnData("classification", columns=columns, labels=("긍정", "부정")))
    expected = {"text": "좋다", "label": None}
    assert unlabelled(task, {"번호": "1", "문장": "좋다"}) == expected
    assert unlabelled(task, {"text": "좋다", "문장": "아니다"}) == expected
    chosen = OwnData(
        "choice", columns={"text": "글"}, choices=("보기1", "보기2"), labels=("1", "2")
    )
    row = {"글": "가", "보기1": "나", "보기2": "다"}
    assert unlabelled(register(chosen), row) == {
        "text": "가", "choice1": "나", "choice2": "다", "label": None,
    }  # fmt: skip


def test_a_flag_beats_gin_and_says_so(write, cache_dir, said):
    path = write("글;값;둘\n가;1;3\n나;2;4\n", "a.csv")
    gin = configure([], [f"own_data.train_file={str(path)!r}", "own_data.label_column='둘'"])

    def labels(*words):
        flags = parse_train(["--task", "classification", *words])
        folders = Folders(None, cache_dir)
        return own_data_for("classification", flags, gin, folders=folders, stored=None).labels

    assert labels("--text_column", "글") == ("3", "4")
    assert labels("--text_column", "글", "--label_column", "값") == ("1", "2")
    beaten = "is used, not --gin_param \"own_data.label_column='둘'\": own_data.label_column = '둘'"
    assert [line for line in said() if "is used" in line] == [f"--label_column 값 {beaten}"]
