"""Faults in own files: each is an error that names the file and line."""

import datetime
import json
import math
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ke_t5.config.flags import parse_test, parse_train
from ke_t5.config.gin_config import clear, configure
from ke_t5.errors import UserError
from ke_t5.own_data import OwnData, load_own_data
from ke_t5.own_data.columns import numbered_choices
from ke_t5.own_data.rows import own_rows
from ke_t5.own_data.settings import own_data_for
from ke_t5.own_data.source import OwnFiles
from ke_t5.own_data.tagged import found_joint
from ke_t5.pipe import Folders


@pytest.fixture
def refusal(tmp_path, cache_dir):
    """The error for a training file, without the folder."""

    def refusal(task, content, name, **settings):
        path = tmp_path / name
        if isinstance(content, dict):
            pq.write_table(pa.table(content), path)
        else:
            path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            load_own_data(task, cache=cache_dir, files={"train": str(path)}, **settings)
        return str(caught.value).removeprefix("error: ").replace(f"{tmp_path}/", "")

    return refusal


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


EMPTY = "'label' is empty; fill it, or skip such rows: --gin_param \"own_data.skip_empty=True\""


def test_a_number_that_is_none_is_no_label(refusal):
    labels = pa.array([1.0, math.nan, 0.0])
    found = refusal("classification", {"text": ["가", "나", "다"], "label": labels}, "a.parquet")
    assert found == f"a.parquet, row 2: {EMPTY}"
    rows = [{"text": "가", "label": math.nan}, {"text": "나", "label": 1}]
    for task in ("classification", "regression"):
        assert refusal(task, lines(*rows), "a.jsonl") == f"a.jsonl:1: {EMPTY}"


@pytest.mark.parametrize(
    "value", [datetime.datetime(2026, 1, 2), Decimal("1.5"), b"a"], ids=["time", "decimal", "bytes"]
)
def test_a_text_of_another_type(refusal, value):
    table = {"text": pa.array([value, value]), "label": ["1", "2"]}
    assert refusal("classification", table, "a.parquet") == (
        f"a.parquet, row 1: a value of type {type(value).__name__}, expected text (--text_column); "
        "quote the value, or name another column"
    )


def test_bytes_are_no_label(refusal):
    table = {"text": ["가", "나"], "label": pa.array([b"a", b"b"])}
    assert refusal("classification", table, "a.parquet").startswith(
        "a.parquet, row 1: the label is a value of type bytes, expected a text or a number; "
    )


@pytest.mark.parametrize(
    ("text", "label", "fault"),
    [
        ("다", None, EMPTY),
        (3, "a", "a number, expected text (--text_column)"),
        ("다", {}, "the label is an object, expected a text or a number"),
    ],
)
def test_rows_of_json_that_share_a_line_are_named_by_their_number(refusal, text, label, fault):
    rows = [{"text": "가", "label": "a"}, {"text": "나", "label": "b"}]
    rows.append({"text": text, "label": label})
    one_line, indented = json.dumps(rows), json.dumps(rows, indent=0)
    assert refusal("classification", one_line, "a.json").startswith(f"a.json, row 3: {fault}")
    named = json.dumps({"data": rows})
    assert refusal("classification", named, "a.json").startswith(f"a.json, row 3: {fault}")
    assert refusal("classification", indented, "a.json").startswith(f"a.json:10: {fault}")
    assert refusal("classification", lines(*rows), "a.jsonl").startswith(f"a.jsonl:3: {fault}")


@pytest.mark.parametrize(
    ("name", "place"),
    [("a.json", "a.json, row 2"), ("a.parquet", "a.parquet, row 2"), ("a.jsonl", "a.jsonl:2")],
)
@pytest.mark.parametrize("task", ["classification", "tagging"])
def test_an_unknown_label_is_named_by_the_place_of_its_row(tmp_path, cache_dir, task, name, place):
    def write(folder, *labels):
        folder.mkdir()
        path, rows = folder / name, [{"text": "가", "label": label} for label in labels]
        if task == "tagging":
            rows = [{"text": ["가"], "label": [f"B-{label}"]} for label in labels]
        if name == "a.parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        else:
            path.write_text(json.dumps(rows) if name == "a.json" else lines(*rows))
        return str(path)

    files = {"train": write(tmp_path / "1", "A", "B"), "test": write(tmp_path / "2", "A", "C")}
    own = load_own_data(task, cache=cache_dir, files=files)
    with pytest.raises(UserError, match=f"2/{place}: label 'C' is not in the training data"):
        OwnFiles(own, "x").rows("test", Folders(None, cache_dir))


@pytest.mark.parametrize(("name", "place"), [("a.json", "a.json, row 2"), ("a.jsonl", "a.jsonl:2")])
def test_a_wrong_tag_is_named_by_the_place_of_its_row(refusal, name, place):
    rows = [{"text": ["가"], "label": ["B-A"]}, {"text": ["나"], "label": ["X"]}]
    content = json.dumps(rows) if name == "a.json" else lines(*rows)
    assert refusal("tagging", content, name).startswith(f"{place}: 'X' is not a tag, expected O")


def test_a_label_that_another_program_writes_as_a_fraction(tmp_path, cache_dir):
    for known, given in (("1", "1.0"), ("1.0", "1")):
        path = tmp_path / f"{known}.csv"
        path.write_text(f"text,label\n가,{known}\n나,x\n")
        test = tmp_path / "test.csv"
        test.write_text(f"text,label\n다,{given}\n")
        files = {"train": str(path), "test": str(test)}
        own = load_own_data("classification", cache=cache_dir, files=files)
        with pytest.raises(UserError, match=f"{given}.* write '{known}', as the training file"):
            OwnFiles(own, "x").rows("test", Folders(None, cache_dir))


def test_a_column_has_one_role(refusal):
    csv = "가,나,다\n1,2,3\n4,5,6\n"
    assert refusal("classification", csv, "a.csv", columns={"text": "가", "label": "가"}) == (
        "a.csv:1: column '가' cannot be both text and label; "
        "name another column with --text_column or --label_column"
    )
    columns = {"text": "가", "text_pair": "가", "label": "다"}
    assert "both text and second text" in refusal("similarity", csv, "a.csv", columns=columns)
    conll = "서울 NNP B-LC\n은 JX O\n"
    found = refusal("tagging", conll, "a.conll", columns={"text": "3"})
    assert found.startswith("a.conll:1: column '3' cannot be both text and label; ")
    choices = {"choice_columns": "나,다,나", "columns": {"text": "가"}}
    assert refusal("choice", csv, "a.csv", **choices) == (
        "--choice_columns '나,다,나': names '나' twice; name each choice once"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"text": "ㄱ"},
            "'ㄱ' cannot be both choice and text; name another column with --choice_columns",
        ),
        ({"label": "ㄴ"}, "'ㄴ' cannot be both choice and label; name another column with"),
        (
            {"text_pair": "ㄱ"},
            "'ㄱ' cannot be both choice and second text; name another column with",
        ),
        (
            {"text": "글", "text_pair": "글"},
            "'글' cannot be both text and second text; name another",
        ),
    ],
)
def test_a_choice_has_no_other_role(tmp_path, given, said):
    file = tmp_path / "a.csv"
    file.write_text("글,ㄱ,ㄴ,답\n1,2,3,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"a.csv:1: column {said}"):
        load_own_data("choice", files={"train": file}, choice_columns="ㄱ,ㄴ", columns=given)


def test_choices_are_in_the_order_of_their_numbers(tmp_path, cache_dir):
    names = [f"choice{number}" for number in range(10, 0, -1)]
    assert numbered_choices([*names, "choices", "choice123"]) == names[::-1]
    path = tmp_path / "a.csv"
    path.write_text(f"text,{','.join(names)},label\n가,{','.join(names)},J\n", encoding="utf-8")
    own = load_own_data("choice", cache=cache_dir, files={"train": str(path)})
    assert own.choices == tuple(names[::-1]) and own.labels == tuple("ABCDEFGHIJ")


def test_lists_of_labels_in_cells(tmp_path, cache_dir, refusal):
    path = tmp_path / "lists.csv"
    path.write_text('text,label\n가,"[""a"", ""b""]"\n나,[]\n다,"[1]"\n라,[b]\n', encoding="utf-8")
    own = load_own_data("multilabel", cache=cache_dir, files={"train": str(path)})
    rows = own_rows(own, path, "train", [].append)
    assert [row["label"] for row in rows] == [["a", "b"], [], ["1"], ["[b]"]]
    assert refusal("multilabel", "text,label\n가,\"['a', 'b']\"\n", "a.csv") == (
        "a.csv:2: ['a', 'b'] is a Python list, not a JSON list; "
        "separate labels by commas, or write a list with double quotes"
    )
    assert refusal("multilabel", lines({"text": "가", "label": {"a": 1}}), "a.jsonl") == (
        "a.jsonl:1: the label is an object, expected a text or a number; "
        "name another column with --label_column"
    )
    empty = lines({"text": "가", "label": []}, {"text": "나", "label": []})
    assert refusal("multilabel", empty, "a.jsonl") == (
        "a.jsonl, --label_column label: no row has a label; "
        "name the label column with --label_column"
    )


UNPAIRED = "contains an unpaired surrogate (\\ud800..\\udfff); fix that row"


def test_half_a_character(refusal):
    half = "가\ud800"
    whole = {"text": "나", "label": "a"}
    for row, name in (
        ({"text": half, "label": "a"}, "text"),
        ({"text": "가", "label": half}, "label"),
    ):
        found = refusal("classification", lines(whole, row), "a.jsonl")
        assert found == f"a.jsonl:2: the {name} {UNPAIRED}"
    for text, label in ((half, []), ([half], ["O"])):
        found = refusal("tagging", lines({"text": text, "label": label}), "a.jsonl")
        assert found == f"a.jsonl:1: the text {UNPAIRED}"


def test_advice_is_for_an_own_file(refusal, tmp_path):
    assert refusal("classification", '{\n"text": "가"\n}', "a.json") == (
        "a.json: the top level is an object, expected a list of rows; "
        "write a list of objects, or an object on each line"
    )
    answer = {"question": "무엇?", "answers": [{"text": "서울"}]}
    article = {"paragraphs": [{"context": "서울", "qas": [answer]}]}
    assert refusal("reading", json.dumps({"data": [article]}), "a.json") == (
        "a.json:1, question 1: no 'answer_start'; the row has 'text'; "
        "use SQuAD's format: data, paragraphs, qas, answers with text and answer_start"
    )
    article["paragraphs"][0]["qas"] = ["무엇?"]
    assert "a.json:1: a question is a string; use SQuAD's format" in refusal(
        "reading", json.dumps({"data": [article]}), "a.json"
    )


def test_a_question_without_an_id_has_its_number(tmp_path):
    answer = {"question": "무엇?", "answers": [{"text": "서울", "answer_start": 0}]}
    questions = [answer, {**answer, "id": None}, {**answer, "id": ""}, {**answer, "id": 0}]
    article = {"paragraphs": [{"context": "서울", "qas": questions}]}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [article]}))
    rows = own_rows(OwnData("reading"), path, "train", [].append)
    assert [row["guid"] for row in rows] == ["1", "2", "3", "0"]


NO_TAG = "the token has no tag; write O for tokens outside entities"


@pytest.mark.parametrize("none", ["-", "_"])
def test_a_token_without_a_tag(refusal, tmp_path, none):
    content = f"서울 B-LC\n은 O\n\n부산 B-LC\n은 {none}\n"
    assert refusal("tagging", content, "a.conll") == f"a.conll:5: {NO_TAG}"
    own = OwnData("tagging", columns={"text": "1", "label": "2"}, labels=("LC",))
    path = tmp_path / "test.conll"
    path.write_text(f"서울 B-LC\n은 O\n\n부산 {none}\n은 {none}\n", encoding="utf-8")
    tags = [row["tags"] for row in own_rows(own, path, "test", [].append)]
    assert tags == [["B-LC", "I-LC", "O", "O"], None]
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"test.conll:5: {NO_TAG}"):
        list(own_rows(own, path, "test", [].append))


def test_tokens_of_every_split_are_joined_as_those_of_the_training_file(tmp_path, cache_dir):
    files = {name: tmp_path / f"{name}.conll" for name in ("train", "test")}
    paths = {name: str(path) for name, path in files.items()}
    for rest, joint in (("서울 B-LC\n", " "), ("서 B-LC\n울 I-LC\n", "")):
        files["train"].write_text(f"나 O\n는 O\n{rest}", encoding="utf-8")
        files["test"].write_text("나 O\n는 O\n", encoding="utf-8")
        own = load_own_data("tagging", cache=cache_dir, files=paths)
        kept = OwnData.from_json(own.to_json(), "run.json")
        rows = OwnFiles(kept, "x").rows("test", Folders(None, cache_dir))
        assert rows.dataset["text"][0] == f"나{joint}는" and kept.joint == joint
    texts = tmp_path / "a.jsonl"
    texts.write_text(lines({"text": "가", "tags": []}, {"text": "나", "tags": []}))
    own = OwnData("tagging", columns={"text": "text", "label": "tags"})
    assert found_joint(own, texts) is None


def test_an_empty_token(refusal):
    row = {"tokens": ["", "서울"], "tags": ["O", "B-LC"]}
    assert refusal("tagging", lines(row), "a.jsonl") == (
        "a.jsonl:1: a token is empty; remove it and its tag"
    )
    for row in ({"tokens": [], "tags": []}, {"tokens": "", "tags": []}):
        assert refusal("tagging", lines(row), "a.jsonl").startswith("a.jsonl:1: 'tokens' is empty;")
    assert refusal("tagging", "\tO\n서울\tB-LC\n", "a.tsv") == (
        "a.tsv:1: a token is empty; write the token, or delete the line"
    )


@pytest.mark.parametrize("label", ["", " ", None, ["LC"]])
def test_an_entity_without_a_type(refusal, label):
    entity = {"start": 0, "end": 2, "label": label}
    assert refusal("tagging", lines({"text": "서울", "entities": [entity]}), "a.jsonl") == (
        "a.jsonl:1: an entity is not a record of start, end and label; write it as such"
    )


def asked(cache, stored, *params, parse=parse_test, words=()):
    """The own data of a launch with the gin parameters `params`."""
    clear()
    gin = configure([], params)
    flags = parse(["--task", "classification", *words])
    folders = Folders(None, cache)
    return own_data_for("classification", flags, gin, folders=folders, stored=stored)


def test_a_new_test_file_may_have_another_encoding_and_sheet(cache_dir):
    stored = OwnData(
        "classification", {"train": "a.csv"}, {"text": "글", "label": "값"}, encoding="cp949"
    )
    words = ("--test_file", "b.csv")
    assert asked(cache_dir, stored, words=words).encoding == "cp949"
    utf8, sheet = "own_data.encoding='utf-8'", "own_data.sheet='둘째'"
    own = asked(cache_dir, stored, utf8, words=words)
    assert own.for_split("test").encoding == "utf-8"
    assert own.for_split("train").encoding == "cp949"  # its rows may be compared with these
    assert own.files == {"train": "a.csv", "test": "b.csv"}
    own = asked(cache_dir, stored, sheet, words=("--test_file", "b.xlsx")).for_split("test")
    assert (own.encoding, own.sheet) == ("cp949", "둘째")
    with pytest.raises(UserError, match="own_data.sheet '둘째': only a workbook .* has sheets"):
        asked(cache_dir, stored, sheet, words=words)
    had = "own_data.encoding = 'utf-8': the run began with 'cp949'"
    for parse, given in ((parse_test, ()), (parse_train, words)):
        with pytest.raises(UserError, match=had):
            asked(cache_dir, stored, utf8, parse=parse, words=given)


def test_a_new_test_file_keeps_the_options_of_the_other_splits(cache_dir):
    own = OwnData("classification", {"train": "a.csv"}, {"text": "글", "label": "값"})
    stored = own.replace(by_split={"encoding": {"train": "johab", "test": "cp949"}})
    words = ("--test_file", "b.csv")
    assert asked(cache_dir, stored, words=words).for_split("test").encoding == "cp949"
    given = "own_data.encoding={'train': 'johab', 'test': 'utf-8'}"
    found = asked(cache_dir, stored, given, words=words)
    assert [found.for_split(split).encoding for split in found.files] == ["johab", "utf-8"]
    with pytest.raises(UserError, match="the run began with {'train': 'johab', 'test': 'cp949'};"):
        asked(cache_dir, stored, given)  # without a new file
    other = given.replace("johab", "cp949")
    with pytest.raises(UserError, match="the run began with {'train': 'johab'"):
        asked(cache_dir, stored, other, words=words)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            "own_data.sheet={'valid': '둘째'}",
            "own_data.sheet names 'valid', which is not a split; did you mean 'validation'?",
        ),
        ("own_data.encoding={'train': ''}", "own_data.encoding is ''; give a text, or drop it"),
        (
            "own_data.encoding={'validation': 'cp949'}",
            "own_data.encoding {'validation': 'cp949'}: validation has no file; "
            "add --valid_file FILE, or drop it",
        ),
        (
            "own_data.sheet={'train': '둘째'}",
            "own_data.sheet '둘째': only a workbook (.xlsx) has sheets; drop it",
        ),
    ],
)
def test_options_of_a_split_without_effect(tmp_path, cache_dir, given, line):
    (tmp_path / "a.csv").write_text("text,label\n가,1\n나,2\n", encoding="utf-8")
    words = ("--train_file", str(tmp_path / "a.csv"))
    with pytest.raises(UserError) as caught:
        asked(cache_dir, None, given, parse=parse_train, words=words)
    assert str(caught.value).endswith(line)


def test_a_separator_is_for_several_labels(refusal):
    assert refusal("classification", "text,label\n가,a\n나,b\n", "a.csv", separator="|") == (
        "own_data.separator '|': classification has one label per row; "
        "drop it, or use --task multilabel"
    )


def test_rows_with_empty_cells_are_left_out_of_tables_only(refusal):
    assert refusal("tagging", "가 B-PS\n나 O\n", "a.conll", skip_empty=True) == (
        "own_data.skip_empty True: tagging skips no rows; drop it"
    )


@pytest.mark.parametrize("name", ["text_column", "separator", "encoding", "train_file"])
def test_an_empty_text_in_gin(name):
    with pytest.raises(UserError, match=f"own_data.{name} is ''; give a text, or drop it"):
        configure([], [f"own_data.{name}=''"])


def test_a_file_in_the_home_folder(tmp_path, cache_dir, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.csv").write_text("text,label\n가,1\n나,2\n", encoding="utf-8")
    own = asked(cache_dir, None, "own_data.train_file='~/a.csv'", parse=parse_train)
    assert own.files == {"train": str(tmp_path / "a.csv")} and own.labels == ("1", "2")
