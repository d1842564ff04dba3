"""Script data sets on the hub, interrupted downloads, and files that are misread."""

from __future__ import annotations

import http.client
import json
import urllib.error
from pathlib import Path

import datasets
import pytest
from huggingface_hub import errors as hub_errors

from ke_t5.errors import Exit, UserError
from ke_t5.failure import ending_of
from ke_t5.hub import network_fault
from ke_t5.lookup.hub import Pretrained
from ke_t5.models import build
from ke_t5.pipe import Folders, HFDataSource, ReleaseSource, sources, tables
from ke_t5.pipe.preprocessors import require_columns
from ke_t5.pipe.rows import composed_table
from ke_t5.readers.kor_corpora import KHSD, NSMC, QPAIR
from ke_t5.readers.korquad import KORQUAD
from ke_t5.task import utils

HubHTTPError = hub_errors.HfHubHTTPError
SCRIPT = RuntimeError("Dataset scripts are no longer supported, but found nsmc.py")


class Answer:
    """A response of a server."""

    def __init__(self, status_code):
        self.status_code, self.headers, self.request = status_code, {}, None


def http_error(status_code, kind=HubHTTPError):
    return kind(f"{status_code} from the hub", response=Answer(status_code))


def client_error(name):
    """An exception as the HTTP client of the hub's library raises it, whichever that is."""
    base = next(cls for cls in HubHTTPError.__mro__ if cls.__module__.startswith("httpx"))
    return type(name, (Exception,), {"__module__": base.__module__})(f"{name} in the middle")


def wrapped(error):
    """The exception that `datasets` raises for an error in the middle of a file."""
    try:
        raise datasets.exceptions.DatasetGenerationError("it failed") from error
    except datasets.exceptions.DatasetGenerationError as found:
        return found


@pytest.fixture
def online(monkeypatch):
    for name in ("why_no_data", "why_unreachable"):
        monkeypatch.setattr(sources, name, lambda: None)
    monkeypatch.setattr(sources, "hub_revision", lambda path: "0123456789abcdef")


TEXT, INT = datasets.Value("string"), datasets.Value("int64")
ANSWERS = {"text": datasets.List(TEXT), "answer_start": datasets.List(datasets.Value("int32"))}
SCRIPTS = {
    "e9t/nsmc": (
        NSMC,
        {"id": ["1", "2"], "document": ["좋다", "나쁘다"], "label": [1, 0]},
        {"label": datasets.ClassLabel(names=["negative", "positive"])},
        ["1", "0"],
    ),
    "inmoonlight/kor_hate": (
        KHSD,
        {"comments": ["좋다", "나쁘다"], "contain_gender_bias": [0, 1], "bias": [2, 0],
         "hate": [2, 0]},
        {"contain_gender_bias": datasets.ClassLabel(names=["False", "True"]),
         "bias": datasets.ClassLabel(names=["gender", "others", "none"]),
         "hate": datasets.ClassLabel(names=["hate", "offensive", "none"])},
        ["none", "hate"],
    ),
    "songys/kor_qpair": (
        QPAIR,
        {"question1": ["가", "나"], "question2": ["가", "다"], "is_duplicate": [0, 1]},
        {"is_duplicate": datasets.ClassLabel(names=["0", "1"])},
        ["0", "1"],
    ),
    "KorQuAD/squad_kor_v1": (
        KORQUAD,
        {"id": ["1"], "title": ["t"], "context": ["서울은 크다"], "question": ["어디?"],
         "answers": [{"text": ["서울"], "answer_start": [0]}]},
        {"answers": ANSWERS},
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("path", SCRIPTS)
def test_a_script_is_read_from_its_copy_in_parquet(path, tmp_path, monkeypatch, online):
    release, columns, kinds, labels = SCRIPTS[path]
    features = {name: kinds.get(name, TEXT) for name in columns}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    copy = tmp_path / "converted" / "default" / "train"
    copy.mkdir(parents=True)
    table.to_parquet(copy / "0000.parquet")
    load = datasets.load_dataset

    def load_dataset(asked, config=None, *, revision=None, **settings):
        assert asked == path
        if revision != "refs/convert/parquet":
            raise SCRIPT
        return load(str(tmp_path / "converted"), config, **settings)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = ReleaseSource(release).rows("train", Folders(None, tmp_path / "cache")).dataset
    assert len(found) == len(table)
    if labels:
        assert found["label"][:] == labels
    else:
        assert found[0]["answers"] == [{"text": "서울", "start": 0}]


def test_a_configuration_of_a_script_is_a_folder_of_its_copy():
    asked = []

    def function(path, config=None, **settings):
        asked.append((path, config, settings))
        if "revision" not in settings:
            raise SCRIPT
        return "table"

    assert tables.load(function, "name", "plain", split="train") == "table"
    copied = {"revision": "refs/convert/parquet", "data_dir": "plain", "split": "train"}
    assert asked == [("name", "plain", {"split": "train"}), ("name", None, copied)]


def raising(*errors):
    """A stand-in that raises these in turn, and then the last one each time."""
    waiting = list(errors)

    def function(*args, **settings):
        raise waiting.pop(0) if len(waiting) > 1 else waiting[0]

    return function


@pytest.mark.parametrize(
    "answer",
    [
        http_error(404, hub_errors.RevisionNotFoundError),
        datasets.exceptions.DatasetNotFoundError("Dataset 'x' doesn't exist on the Hub"),
        FileNotFoundError("no parquet there"),
    ],
)
def test_a_script_without_a_copy_says_where_the_files_are(answer, tmp_path, monkeypatch, online):
    monkeypatch.setattr(datasets, "load_dataset", raising(SCRIPT, answer))
    message = (
        "'e9t/nsmc': cannot be read .it is a script.* no parquet copy.*; get it from "
        "https://github.com/e9t/nsmc and put NSMC/ratings_train.txt.* into .* --hf_data_dir"
    )
    with pytest.raises(UserError, match=message) as caught:
        ReleaseSource(NSMC).rows("train", Folders(None, tmp_path / "cache"))
    assert caught.value.exit_code == Exit.DATA
    monkeypatch.setattr(datasets, "load_dataset", raising(SCRIPT, answer))
    source = HFDataSource("some/script", splits={"train": "train"})
    with pytest.raises(UserError, match="data set 'some/script': .* is a script"):
        source.rows("train", Folders(None, tmp_path / "cache"))


@pytest.mark.parametrize("error", [KeyError("features"), ValueError("BuilderConfig 'x' not found")])
def test_a_hub_data_set_that_cannot_be_loaded_is_one_line(error, tmp_path, monkeypatch, online):
    monkeypatch.setattr(datasets, "load_dataset", raising(error))
    with pytest.raises(UserError, match="'e9t/nsmc': cannot be read .*; get it from"):
        ReleaseSource(NSMC).rows("train", Folders(None, tmp_path / "cache"))


def in_library(error):
    """The error as if raised in a file of the hub's library."""
    code = compile("raise error", "/x/huggingface_hub/file_download.py", "exec")
    try:
        exec(code, {"error": error})
    except type(error) as found:
        return found


CUT_OFF = {
    "the client": client_error("ReadTimeout"),
    "the client, in a file": wrapped(client_error("RemoteProtocolError")),
    "a server that fails": http_error(503),
    "too many requests": http_error(429),
    "a file that is not there yet": hub_errors.LocalEntryNotFoundError("not in the cache"),
    "offline": hub_errors.OfflineModeIsEnabled("offline"),
    "python's own": urllib.error.URLError("timed out"),
    "half a file": http.client.IncompleteRead(b""),
    "reset": in_library(ConnectionResetError(104, "Connection reset by peer")),
    "slow": in_library(TimeoutError("timed out")),
    "in Rust": RuntimeError("Data processing error: CAS service error : Reqwest Error"),
}


@pytest.mark.parametrize("kind", CUT_OFF)
def test_a_download_that_is_cut_off_is_one_line_everywhere(kind, tmp_path, monkeypatch, online):
    error = CUT_OFF[kind]
    line = r"the download was cut off \(.*\); check the network and start again"
    stand_in = raising(error)

    monkeypatch.setattr(datasets, "load_dataset", stand_in)
    hub_source = HFDataSource("some/set", splits={"train": "train"})
    for source in (ReleaseSource(NSMC), hub_source):
        with pytest.raises(UserError, match=f"data set '.*/.*': {line}") as caught:
            source.rows("train", Folders(None, tmp_path / "cache"))
        assert caught.value.exit_code == Exit.MACHINE

    monkeypatch.setattr(utils, "load_tokenizer", stand_in)
    monkeypatch.setattr(utils, "why_unreachable", lambda: None)
    with pytest.raises(Exception) as caught:
        utils._load.__wrapped__("some/name")
    told = ending_of(caught.value)
    assert "the download was cut off" in told.line and told.code == Exit.MACHINE

    class Model:
        from_pretrained = staticmethod(stand_in)

        def __init__(self, config):
            pass

    found = Pretrained("some/name", None, False, {})
    with pytest.raises(Exception) as caught:
        build._load(Model, found, None, None, "--pre_trained_model")
    told = ending_of(caught.value)
    assert "the download was cut off" in told.line and told.code == Exit.MACHINE


@pytest.mark.parametrize(
    "error",
    [
        http_error(404, hub_errors.RepositoryNotFoundError),
        http_error(403, hub_errors.GatedRepoError),
        ConnectionResetError("another process of this run"),
        BrokenPipeError("whoever was reading"),
        RuntimeError("an operator"),
        KeyError("x"),
    ],
)
def test_what_is_not_a_cut_off_download_is_not_called_one(error):
    assert network_fault(error) is None


def test_an_error_of_ours_keeps_its_own_line():
    try:
        raise UserError("unknown", "there", "look") from CUT_OFF["the client"]
    except UserError as error:
        assert ending_of(error).line == "error: there: unknown; look"


# ------------------------------------------------------------------------------------- own files

ROWS = [("정말 좋았다, 참", "긍정"), ("아깝다", "부정")]


def written(path, encoding):
    """A file of `ROWS` in the format of its suffix."""
    kind = path.suffix[1:]
    if kind == "jsonl":
        lines = [json.dumps({"a": a, "b": b}, ensure_ascii=False) for a, b in ROWS]
    elif kind == "csv":
        lines = ["a,b", *(f'"{a}",{b}' for a, b in ROWS)]
    else:
        lines = ["a\tb", *(f"{a}\t{b}" for a, b in ROWS)]
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return str(path)


BUILDERS = {"csv": "csv", "tsv": "csv", "jsonl": "json", "txt": "text"}


@pytest.mark.parametrize("suffix", BUILDERS)
@pytest.mark.parametrize("encoding", ["cp949", "utf-16"])
def test_another_encoding_is_named_with_the_option_that_reads_it(tmp_path, suffix, encoding):
    file = written(tmp_path / f"train.{suffix}", encoding)
    options = {"sep": "\t"} if suffix == "tsv" else {}
    folders, files = Folders(None, tmp_path / "cache"), {"train": file}
    with pytest.raises(UserError) as caught:
        HFDataSource(BUILDERS[suffix], data_files=files, **options).rows("train", folders)
    line = str(caught.value)
    assert f"{file}:" in line and f"looks like {encoding.upper()}" in line
    assert f'pass encoding="{encoding}" to HFDataSource' in line
    assert caught.value.exit_code == Exit.DATA
    source = HFDataSource(BUILDERS[suffix], data_files=files, encoding=encoding, **options)
    assert "좋았다" in str(source.rows("train", folders).dataset[:2])


def test_a_list_in_json_is_to_be_saved_as_utf8(tmp_path):
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"a": a} for a, _ in ROWS], ensure_ascii=False), encoding="cp949")
    with pytest.raises(UserError, match="looks like CP949; convert the file with 'iconv"):
        source = HFDataSource("json", data_files={"train": str(file)})
        source.rows("train", Folders(None, tmp_path / "cache"))


@pytest.mark.parametrize(("sep", "shown"), [("\t", r"\\t"), (";", ";")])
def test_a_table_between_tabs_is_not_read_as_one_column(tmp_path, sep, shown):
    file = tmp_path / "train.csv"
    file.write_text("\n".join(sep.join(row) for row in [("a", "b"), *ROWS]), encoding="utf-8")
    folders, files = Folders(None, tmp_path / "cache"), {"train": str(file)}
    with pytest.raises(UserError, match=f"a single column, .*; pass sep=.{shown}. to HFDataSource"):
        HFDataSource("csv", data_files=files).rows("train", folders)
    found = HFDataSource("csv", data_files=files, sep=sep).rows("train", folders).dataset
    assert found["a"][:] == [a for a, _ in ROWS]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", '{"질문;답": "가"}\n'), ("a.csv", "질문;답,값\n가,1\n")],
)
def test_a_name_of_a_column_may_have_a_semicolon(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    builder = BUILDERS[name.rpartition(".")[2]]
    source = HFDataSource(builder, data_files={"train": str(tmp_path / name)})
    rows = source.rows("train", Folders(None, tmp_path / "cache")).dataset
    assert rows["질문;답"][:] == ["가"]


@pytest.mark.parametrize("rows", ["가,1,나\n다,2,라\n", "가,1,\n다,2,\n"])
def test_rows_with_more_cells_than_the_header_are_refused(tmp_path, rows):
    """pandas would take the first cell as an index and shift the others by one column."""
    (tmp_path / "a.csv").write_text(f"글,값\n{rows}", encoding="utf-8")
    folders, files = Folders(None, tmp_path / "cache"), {"train": str(tmp_path / "a.csv")}
    with pytest.raises(UserError, match="its rows have more cells than the header; name every"):
        HFDataSource("csv", data_files=files).rows("train", folders)
    named = HFDataSource("csv", data_files=files, names=["글", "값", "더"], skiprows=1)
    assert named.rows("train", folders).dataset["글"][:] == ["가", "다"]
    own = HFDataSource("csv", data_files=files, index_col=0)  # asked for
    assert own.rows("train", folders).dataset["글"][:] == [1, 2]


@pytest.mark.parametrize("options", [{}, {"sep": ","}, {"delimiter": ","}])
def test_headers_with_and_without_quotes_are_the_same(tmp_path, options):
    files = [str(tmp_path / name) for name in ("a.csv", "b.csv")]
    for file, content in zip(files, ('"글","값"\n가,1\n', "글,값\n나,둘\n"), strict=True):
        Path(file).write_text(content, encoding="utf-8")
    source = HFDataSource("csv", data_files={"train": files}, **options)
    message = "Schema at index 1 was different: .* 값: int64 vs .* 값: .*string"
    with pytest.raises(UserError, match=message):
        source.rows("train", Folders(None, tmp_path / "cache"))


@pytest.mark.parametrize("names", [{"글": "_id"}, {}])
def test_no_column_has_the_name_of_the_index(tmp_path, names):
    (tmp_path / "a.csv").write_text(f"{'글' if names else '_id'},값\n가,1\n", encoding="utf-8")
    files, folders = {"train": str(tmp_path / "a.csv")}, Folders(None, tmp_path / "cache")
    with pytest.raises(UserError, match="reserved for the index of a row; give it another name"):
        HFDataSource("csv", data_files=files, rename=names).rows("train", folders)
    if not names:
        named = HFDataSource("csv", data_files=files, rename={"_id": "글"}).rows("train", folders)
        assert named.dataset["글"][:] == ["가"]


def test_a_table_is_composed_anew_by_other_code(monkeypatch):
    table = datasets.Dataset.from_dict({"글": ["\u1112\u1161\u11ab"]})
    before, number = composed_table(table, "hub")
    assert before["글"][:] == ["한"] and number == 1
    monkeypatch.setattr("ke_t5.pipe.rows.package_version", lambda: "other")
    assert composed_table(table, "hub")[0]._fingerprint != before._fingerprint


def test_a_byte_order_mark_is_no_letter_of_the_first_text(tmp_path):
    file = written(tmp_path / "train.txt", "utf-8-sig")
    with pytest.raises(
        UserError, match='byte-order mark; pass encoding="utf-8-sig" to HFDataSource'
    ):
        HFDataSource("text", data_files={"train": file}).rows("train", Folders(None, tmp_path))


def test_an_option_that_the_builder_does_not_have_is_one_line(tmp_path):
    file = written(tmp_path / "train.csv", "utf-8")
    with pytest.raises(UserError, match=r"cannot be read \(.*separator"):
        source = HFDataSource("csv", data_files={"train": file}, separator="x")
        source.rows("train", Folders(None, tmp_path))


def test_files_of_a_kind_that_datasets_does_not_read_are_told_at_once(tmp_path):
    source = HFDataSource("excel", data_files={"train": "x.xlsx"})
    message = "data set 'excel': datasets cannot read files of that type; save them as CSV"
    with pytest.raises(UserError, match=message) as caught:
        source.rows("train", Folders(None, tmp_path))
    assert caught.value.exit_code == Exit.DATA


def test_columns_are_renamed_for_tasks_that_want_certain_names(tmp_path):
    files, folders = {"train": written(tmp_path / "train.csv", "utf-8")}, Folders(None, tmp_path)
    found = HFDataSource("csv", data_files=files, rename={"a": "sentence"}).rows("train", folders)
    assert found.dataset["sentence"][:] == [a for a, _ in ROWS]
    with pytest.raises(
        UserError, match="cannot be renamed .*the columns are 'a', 'b'; check rename"
    ):
        HFDataSource("csv", data_files=files, rename={"c": "x"}).rows("train", folders)


def test_a_missing_column_is_told_with_what_renames_it():
    with pytest.raises(UserError, match=r"rename=\{'<name there>': 'sentence'\}"):
        require_columns(["sentence"], {"a": []}, whose="task 'x'")
