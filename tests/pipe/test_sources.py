"""Sources: raw releases first, then the hub; and the errors if there is neither."""

from __future__ import annotations

import errno
import json
import math
import re
from argparse import Namespace
from pathlib import Path

import datasets
import pandas as pd
import pytest
import torch

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.errors import Exit, UserError, shortened
from ke_t5.pipe import FunctionDataSource, HFDataSource, ReleaseSource, get_task, sources
from ke_t5.pipe.cache import Folders
from ke_t5.readers.release import Hub, RawSplit, Release
from ke_t5.recipes.folders import data_folder


def to_rows(row):
    yield {"text": row["sentence"], "label": row["label"], "tags": row["tags"]}


@pytest.fixture
def on_hub(tmp_path, monkeypatch):
    """A release that a folder of parquet serves like the hub, and a fake network."""
    table = datasets.Dataset.from_dict(
        {"sentence": ["가", "나", "다"], "label": [0, -1, 1], "tags": [[0], [1], []]},
        features=datasets.Features(
            {
                "sentence": datasets.Value("string"),
                "label": datasets.ClassLabel(names=["neg", "pos"]),
                "tags": datasets.List(datasets.ClassLabel(names=["B", "I"])),
            }
        ),
    )
    folder = tmp_path / "hub"
    folder.mkdir()
    table.to_parquet(folder / "train.parquet")
    monkeypatch.setattr(sources, "why_no_data", lambda: None)
    monkeypatch.setattr(sources, "hub_revision", lambda path: "0123456789abcdef")
    return folder


def release(hub=None, find=lambda folder: {}):
    columns = {"text": "string", "label": "string", "tags": ["string"]}
    return ReleaseSource(
        Release("toy", columns, find, ("toy/train.tsv",), "https://example.org", "CC0", hub)
    )


def hub_at(folder, **settings):
    return Hub(str(folder), None, {"train": "train", "rest": "train[1:]"}, to_rows, **settings)


def test_hub_rows_have_class_names_and_none_for_no_label(on_hub, tmp_path):
    found = release(hub_at(on_hub)).rows("train", Folders(None, tmp_path / "cache"))
    assert found.dataset["label"][:] == ["neg", None, "pos"]
    assert found.dataset["tags"][:] == [["B"], ["I"], []]
    assert found.dataset["_id"][:] == [0, 1, 2]


def test_a_hub_split_may_be_a_slice(on_hub, tmp_path):
    source = release(hub_at(on_hub))
    folders = Folders(None, tmp_path / "cache")
    assert source.splits(folders) == ["train", "rest"]
    assert source.rows("rest", folders).dataset["text"][:] == ["나", "다"]


def test_rows_fetched_earlier_are_used_without_network(on_hub, tmp_path, monkeypatch, caplog):
    source, folders = release(hub_at(on_hub)), Folders(None, tmp_path / "cache")
    before = source.rows("train", folders)
    monkeypatch.setattr(sources, "why_no_data", lambda: "no answer")
    after = source.rows("train", folders)
    assert after.dataset["text"][:] == before.dataset["text"][:]
    assert "using the rows fetched earlier" in caplog.text


def test_without_release_and_network_the_line_says_all(tmp_path):
    source = release(hub_at("klue/klue"))
    with pytest.raises(UserError) as caught:
        source.rows("train", Folders(tmp_path, tmp_path / "cache"))
    line = str(caught.value)
    assert caught.value.exit_code == Exit.DATA
    for word in (str(tmp_path), "HF_HUB_OFFLINE", "example.org", "toy/train.tsv", "--sample"):
        assert word in line


def test_a_release_on_no_hub_says_so(tmp_path):
    with pytest.raises(UserError, match="no toy there, nor on a public hub; put"):
        release().splits(Folders(None, tmp_path))


@pytest.mark.parametrize("name", ["nikl_summarization_summary_split", "nikl_ner", "nikluge_ea"])
def test_a_missing_release_is_named_with_its_whole_file_and_address(name, tmp_path):
    release = get_task(name).source.release
    with pytest.raises(UserError) as caught:
        get_task(name).source.splits(Folders(tmp_path, tmp_path / "cache"))
    for folder in ("data", str(tmp_path), f"{tmp_path}/{'long/' * 9}"):
        text = str(caught.value).replace(str(tmp_path), folder)
        line = shortened(text, fix=caught.value.fix)
        assert f"put {release.layout[0]}" in line and release.home.split()[0] in line


def test_a_raw_release_beats_the_hub(on_hub, tmp_path):
    file = tmp_path / "toy.txt"
    file.write_text("raw")
    raw = {"train": RawSplit((file,), lambda: iter([{"text": "원문", "label": "neg", "tags": []}]))}
    source = release(hub_at(on_hub), find=lambda folder: raw)
    found = source.rows("train", Folders(tmp_path, tmp_path / "cache"))
    assert found.dataset["text"][:] == ["원문"] and found.origin == "toy.txt"
    with pytest.raises(UserError, match="split 'test': toy has no such split here.*'train'"):
        source.rows("test", Folders(tmp_path, tmp_path / "cache"))


def test_a_changed_file_is_read_again(tmp_path):
    file = tmp_path / "toy.txt"

    def find(folder: Path):
        rows = [{"text": line, "label": None, "tags": []} for line in file.read_text().split()]
        return {"train": RawSplit((file,), lambda: iter(rows))}

    source, folders = release(find=find), Folders(tmp_path, tmp_path / "cache")
    file.write_text("가 나")
    assert len(source.rows("train", folders).dataset) == 2
    file.write_text("가 나 다")
    assert len(source.rows("train", folders).dataset) == 3


def test_any_local_data_set_is_a_source(on_hub, tmp_path):
    source = HFDataSource(str(on_hub), splits={"train": "train[:2]"})
    found = source.rows("train", Folders(None, tmp_path / "cache"))
    assert found.dataset["sentence"][:] == ["가", "나"] and found.dataset["_id"][:] == [0, 1]


def test_a_data_set_of_the_hub_needs_a_network(tmp_path):
    with pytest.raises(UserError, match="data set 'nobody/nothing': the hub cannot be reached"):
        HFDataSource("nobody/nothing").rows("train", Folders(None, tmp_path))


def _folder(path, *lines):
    path.mkdir()
    (path / "train.jsonl").write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize(
    ("lines", "settings", "message"),
    [
        (['{"a": 1}'], {"config": "nope"}, r"cannot be read \(BuilderConfig 'nope' not found"),
        (['{"a": 1}'], {"splits": {"train": "nope"}}, r"cannot be read \(Unknown split"),
        (['{"a": 1}'], {"data_files": {"train": "no.jsonl"}}, r"cannot be read \(Unable to find"),
        (['{"_id": 1}'], {}, "has a column '_id', a name reserved"),
    ],
)
def test_a_data_set_that_cannot_be_read_is_one_line(tmp_path, lines, settings, message):
    folder = _folder(tmp_path / "set", *lines)
    with pytest.raises(UserError, match=message) as caught:
        HFDataSource(folder, **settings).rows("train", Folders(None, tmp_path / "cache"))
    assert caught.value.exit_code == Exit.DATA and caught.value.where == f"data set {folder!r}"


def text(**columns):
    return json.dumps(columns, ensure_ascii=False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([text(a=1), '{"a": '], r"train.jsonl:2: not JSON \(column 7: Expecting value"),
        ([text(a="가"), text(a=5)], None),  # datasets reads them; the task's checks see the row
        ([text(a=1), '{"a": "\\ud800"}'], r"train.jsonl:2: 'a' contains an unpaired surrogate"),
        ([text(a="가\x00나").replace("\\u0000", "\x00")], r"train.jsonl:1: .*control character"),
        (["null", text(a=1)], r"train.jsonl:1: a row is null, expected an object; fix that row"),
        (["5"], r"train.jsonl:1: .*not JSON"),
        ([""], r"train.jsonl: the file is empty; write rows into it"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path, lines, message):
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8", errors="surrogatepass")
    source = HFDataSource("json", data_files={"train": str(file)})
    if message is None:
        assert len(source.rows("train", Folders(None, tmp_path / "cache")).dataset) == 2
        return
    with pytest.raises(UserError, match=message) as caught:
        source.rows("train", Folders(None, tmp_path / "cache"))
    assert caught.value.exit_code == Exit.DATA


def test_files_that_differ_in_columns_or_types_are_named(tmp_path):
    for name, content in {"a": text(x=1), "b": text(y=1), "c": text(x="가")}.items():
        (tmp_path / f"{name}.jsonl").write_text(content)
    for other, message in {
        "b": "b.jsonl: the columns are 'y', but 'x' in a.jsonl; give all files the same columns",
        "c": "c.jsonl:1: 'x' is a string, but a number in the rows before; give all its values",
    }.items():
        files = {"train": str(tmp_path / "a.jsonl"), "test": str(tmp_path / f"{other}.jsonl")}
        source = HFDataSource("json", data_files=files)
        with pytest.raises(UserError, match=message):
            source.rows("train", Folders(None, tmp_path / "cache"))


@pytest.mark.parametrize(
    ("train", "valid", "options", "message"),
    [
        ("a,b\n", "a,b\n1,2\n", {}, "train.csv: no rows below the header"),
        ("a\tb\n1\t2\n", "a,b\n1,x\n", {}, r"valid.csv: the columns are 'a', 'b', but 'a\\tb'"),
        ("a,b\n1,2\n", "a,b\n1,2\n", {"encoding": "cp9"}, "unknown encoding 'cp9'; check"),
        ("a,b\n가,2\n", "a,b\n1,2\n", {"encoding": "ascii"}, "train.csv: not encoded in ascii"),
        ("a,b,b\n1,2,3\n", "a,b,b\n1,2,3\n", {}, "its header has 'b' twice; rename one"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path, train, valid, options, message):
    files = {"train": tmp_path / "train.csv", "validation": tmp_path / "valid.csv"}
    for file, content in zip(files.values(), (train, valid), strict=True):
        file.write_text(content, encoding="utf-8")
    source = HFDataSource("csv", data_files={n: str(f) for n, f in files.items()}, **options)
    with pytest.raises(UserError, match=message) as caught:
        source.rows("train", Folders(None, tmp_path / "cache"))
    assert caught.value.exit_code == Exit.DATA


def test_a_damaged_parquet_file_is_named(tmp_path):
    file = tmp_path / "train.parquet"
    source = HFDataSource("parquet", data_files={"train": str(file)})
    datasets.Dataset.from_dict({"a": ["가"] * 50}).to_parquet(str(file))
    content = file.read_bytes()
    for damaged in (content[:-9], b"a,b\n1,2\n"):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="train.parquet: not a parquet file, or cut off"):
            source.rows("train", Folders(None, tmp_path / "cache"))


def test_a_full_disk_is_no_fault_of_the_data_set(tmp_path, monkeypatch):
    def full(*args, **settings):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise datasets.exceptions.DatasetGenerationError("it did not work") from error

    monkeypatch.setattr(datasets, "load_dataset", full)
    source = HFDataSource(_folder(tmp_path / "set", '{"a": 1}'), splits={"train": "train"})
    with pytest.raises(OSError, match="No space left"):
        source.rows("train", Folders(None, tmp_path / "cache"))


def test_a_function_is_a_source(tmp_path):
    source = FunctionDataSource(lambda split: [{"text": split}], ["train"], {"text": "string"})
    found = source.rows("train", Folders(None, tmp_path))
    assert found.dataset["text"][:] == ["train"]


def test_a_folder_named_data_is_looked_into_and_told(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    task = get_task("nsmc")
    flags = Namespace(hf_data_dir=None, sample=False)
    assert data_folder(flags, task) is None
    (tmp_path / "data" / "NSMC").mkdir(parents=True)
    caplog.set_level("INFO")
    assert data_folder(flags, task) == Path("data") and not caplog.text
    (tmp_path / "data" / "NSMC" / "ratings_test.txt").write_text(
        "id\tdocument\tlabel\n1\t좋다\t1\n"
    )
    assert data_folder(flags, task) == Path("data")
    assert "raw files of nsmc: ./data (--hf_data_dir is not given)" in caplog.text
    caplog.clear()
    assert data_folder(Namespace(hf_data_dir="there", sample=False), task) == Path("there")
    data_folder(Namespace(hf_data_dir=None, sample=True), task)
    assert not caplog.text


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "가", "lable": 1}, "it has 'lable', but no 'label'; name its columns as in col"),
        ({1: 2}, "it has '1', but no 'label', 'text'; name its columns"),
        (["가", 1], "found list, expected a dict; return a dict for each row"),
    ],
)
def test_a_row_of_a_function_has_the_names_of_its_columns(tmp_path, row, message):
    rows = [{"text": "가", "label": 0, "note": ""}, {"text": "나"}, row]
    columns = {"text": "string", "label": "int32"}
    source = FunctionDataSource(lambda split: rows, ["train"], columns, name="mine")
    with pytest.raises(UserError, match=f"data source 'mine', row 2 of train: {message}") as caught:
        source.rows("train", Folders(None, tmp_path))
    assert caught.value.exit_code is Exit.DATA
    rows.pop()
    found = source.rows("train", Folders(None, tmp_path)).dataset
    assert found["label"][:] == [0, None]  # an unknown value; what no column has is left out


@pytest.mark.parametrize("value", [5, ["나"], "\ud800"])
def test_a_value_of_another_type_in_a_row_of_a_function_is_an_error(tmp_path, value):
    rows = [{"text": "가"}, {"text": value}, {"text": "다"}]
    source = FunctionDataSource(lambda split: rows, ["train"], {"text": "string"}, name="mine")
    message = f"mine, row 1: column 'text' contains {value!r}, expected string"
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        source.rows("train", Folders(None, tmp_path))
    assert caught.value.exit_code is Exit.DATA


@pytest.mark.parametrize("empty", [math.nan, pd.NA, None])
@pytest.mark.parametrize("values", [["가", ...], [..., ...], [..., "\u1100\u1161"]])
def test_an_empty_cell_of_pandas_is_an_unknown_value(tmp_path, empty, values):
    rows = [{"text": empty if value is ... else value} for value in values]
    source = FunctionDataSource(lambda split: rows, ["train"], {"text": "string"})
    found = source.rows("train", Folders(None, tmp_path)).dataset["text"][:]
    assert found == [None if value is ... else "가" for value in values]


def test_a_function_that_returns_no_rows_at_all_is_an_error(tmp_path):
    source = FunctionDataSource(lambda split: None, ["train"], {"text": "string"}, name="mine")
    message = "data source 'mine', split 'train': the function returned NoneType, expected rows"
    with pytest.raises(UserError, match=message):
        source.rows("train", Folders(None, tmp_path))


def test_a_function_may_return_a_map_style_data_set(tmp_path):
    class MapStyle(torch.utils.data.Dataset):
        def __getitem__(self, place):
            return [{"text": "가"}, {"text": "나"}][place]

    source = FunctionDataSource(lambda split: MapStyle(), ["train"], {"text": "string"})
    rows = source.rows("train", Folders(None, tmp_path))
    assert rows.dataset["text"][:] == ["가", "나"]


def test_rows_of_a_function_are_taken_one_by_one_and_once(tmp_path):
    class Row(dict):
        alive = 0

        def __init__(self, **columns):
            super().__init__(columns)
            Row.alive += 1
            assert Row.alive <= 2, "all rows are in memory"

        def __del__(self):
            Row.alive -= 1

        def __reduce__(self):
            return dict, (dict(self),)

    calls = []

    def rows(split, last="끝"):
        calls.append(split)
        yield from (Row(text=f"가 {number}") for number in range(50))
        yield {"text": last}

    def stored(function):
        source = FunctionDataSource(function, ["train"], {"text": "string"})
        return source.rows("train", Folders(None, tmp_path / "cache"))

    first = stored(rows)
    assert first.dataset["text"][:] == [*(f"가 {number}" for number in range(50)), "끝"]
    assert calls == ["train"] and stored(rows).key == first.key
    assert stored(lambda split: rows(split, last="처음")).key != first.key
