"""Streams: what is accepted, and what each refusal says. One line per fault."""

import json
from pathlib import Path

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.readers import json_rows as json_module
from ke_t5.readers import streams
from ke_t5.readers.json_rows import json_rows, numbered_rows
from ke_t5.readers.streams import RowNumber, lines, tab_lines, table


@pytest.fixture
def write(tmp_path):
    def write(content: str | bytes, name: str = "file.txt") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def refusal(reader, *arguments, **options) -> str:
    """The error message, without the folder."""
    with pytest.raises(UserError) as caught:
        list(reader(*arguments, **options))
    assert caught.value.exit_code is Exit.DATA
    folder = f"{arguments[0].parent}/"
    return str(caught.value).replace(folder, "").removeprefix("error: ")


@pytest.mark.parametrize(
    "content",
    ["가\n나\n", "가\n나", "\ufeff가\n나\n", "가\r\n나", "\ufeff가\r\n나\r\n"],
    ids=["unix", "no final newline", "byte-order mark", "windows", "both"],
)
def test_lines_accept_marks_and_line_ends(write, content):
    assert list(lines(write(content))) == [(1, "가"), (2, "나")]


def test_lines_break_at_line_feeds_only(write):
    text = "가\u2028나\x85다\x0b라\r마"
    assert list(lines(write(text + "\n"))) == [(1, text)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "file.txt: the file is empty; put the release's own file there"),
        (
            "id\n안녕하세요\n".encode("cp949"),
            "file.txt:2: not UTF-8, looks like CP949; "
            "convert the file with 'iconv -f CP949 -t UTF-8'",
        ),
        (
            "안녕".encode("utf-16"),
            "file.txt:1: not UTF-8, looks like UTF-16; "
            "convert the file with 'iconv -f UTF-16 -t UTF-8'",
        ),
        (
            "안녕\n하세".encode()[:-1] + b"\n",
            "file.txt:2: not UTF-8: the line has invalid bytes; take the file from its source",
        ),
    ],
    ids=["empty", "cp949", "utf-16", "cut in two"],
)
def test_lines_name_what_they_cannot_read(write, content, message):
    assert refusal(lines, write(content)) == message


def test_a_folder_in_a_file_s_place_is_named(tmp_path):
    message = "cannot be read (Is a directory); check the file's path and permissions"
    assert refusal(lines, tmp_path).endswith(message)


def test_tables_keep_quotes_and_spaces(write):
    path = write('\ufeffid\ttext\r\n1\t"따옴표 하나\r\n2\t 앞 "뒤" \r\n3\t')
    assert list(table(path, ("text",))) == [
        (2, {"id": "1", "text": '"따옴표 하나'}),
        (3, {"id": "2", "text": ' 앞 "뒤" '}),
        (4, {"id": "3", "text": ""}),
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ('"안녕"이 무슨 뜻이야', '"안녕"이 무슨 뜻이야'),
        ('"안녕"', "안녕"),
        ('"하나" "둘"', '"하나" "둘"'),
        ('""', ""),
        ("", ""),
        ('그는 "네" 했다', '그는 "네" 했다'),
        ('"탭\t안"', "탭\t안"),
        ("가" * 150_000, "가" * 150_000),
        (f'"{"가" * 150_000}"', "가" * 150_000),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_only_whole_fields_are_quoted(write, field, value, end, mark):
    """At the start, in the middle and at the end of a line."""
    break_ = end or "\n"
    path = write(f"{mark}a\tb\tc{break_}{field}\t{field}\t{field}{end}", "q.tsv")
    assert list(table(path, ("a",), quoted=True)) == [(2, dict.fromkeys("abc", value))]


def test_quoted_tables_undo_quotes_line_by_line(write):
    path = write('a\tb\n"그는 ""네"" 했다\t끝"\t1\n', "q.tsv")
    assert list(table(path, ("a",), quoted=True)) == [(2, {"a": '그는 "네" 했다\t끝', "b": "1"})]
    path = write('a\tb\n"열린\t1\n', "q.tsv")
    message = "q.tsv:2: unclosed quotes ('\"열린'); close them on that line, or double them"
    assert refusal(table, path, ("a",), quoted=True) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id\ttext\n1\t가\n2\n",
            "file.txt:3: 1 tab-separated fields, expected 2; fix the tabs on that line",
        ),
        (
            "id\ttext\n1\t가\t나\n",
            "file.txt:2: 3 tab-separated fields, expected 2; fix the tabs on that line",
        ),
        ("id\ttext\n1\t가\n\n2\t나\n", "file.txt:3: an empty line between rows; delete it"),
        (
            "id\tdocument\n1\t가\n",
            "file.txt:1: the header has 'id', 'document', expected 'id', 'text'; "
            "put the release's own file there",
        ),
        (
            "id\ttext\n",
            "file.txt: no rows below the header; put the release's own file there",
        ),
        ("\n\n", "file.txt: the file is empty; put the release's own file there"),
    ],
    ids=["missing tab", "extra tab", "empty line", "header", "no row", "blank"],
)
def test_tables_name_file_and_line(write, content, message):
    assert refusal(table, write(content), ("id", "text")) == message


@pytest.mark.parametrize("content", ["\n", "\n\n", "\r\n"])
def test_a_file_of_empty_lines_has_no_rows(write, content):
    message = "file.txt: the file is empty; put the release's own file there"
    assert refusal(tab_lines, write(content)) == message


def test_empty_lines_at_the_end_are_no_rows(write):
    assert list(tab_lines(write("0\t가\n\n\n"), 2)) == [(1, ["0", "가"])]


ROWS = [{"a": i, "text": f'가 "{i}" \\ 😀', "deep": [{"b": None}, -1.5e3, True]} for i in range(40)]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 20])
def test_json_is_read_in_pieces_of_any_size(write, monkeypatch, indent, ascii_only, piece):
    monkeypatch.setattr(json_module, "_PIECE", piece)
    text = json.dumps(ROWS, indent=indent, ensure_ascii=ascii_only)
    path = write("\ufeff" + text)
    assert [row for _, row in json_rows(path)] == ROWS
    wrapped = {"id": "x", "number": 12345, "document": ROWS, "after": [1]}
    path = write(json.dumps(wrapped, indent=indent, ensure_ascii=ascii_only))
    assert [row for _, row in json_rows(path, "document")] == ROWS


def test_json_rows_know_their_lines(write):
    path = write('\r\n[\r\n  {"a": 1},\r\n  {\r\n   "a": 2\r\n  }, {"a": 3}]')
    found = [(3, {"a": 1}), (4, {"a": 2}), (6, {"a": 3})]
    assert list(numbered_rows(path)) == found
    assert list(json_rows(path)) == [(f"{path}:{line}", row) for line, row in found]


def test_json_lines_are_rows_too(write):
    path = write('{"a": 1}\r\n\r\n{"a": 2}')
    assert list(numbered_rows(path)) == [(1, {"a": 1}), (3, {"a": 2})]
    assert [where for where, _ in json_rows(path)] == [f"{path}:1", f"{path}:3"]


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(
    ("text", "places", "numbers"),
    [
        ('[{"guid": "a"}, {"id": 7}, {"b": 1}]', ["1, row 1 (a)", "1, row 2 (7)", "1, row 3"],
         [1, 2, 3]),
        ('[{"a": 1}]', ["1"], [1]),
        ('[{"a": 1},\n {"a": 2}\n, {"a": 3}, {"a": 4}]', ["1", "2", "3, row 3", "3, row 4"],
         [1, 2, 3, 4]),
        ('[{\n"a": 1}, {\n"a": 2}]', ["1", "2"], [1, 2]),
    ],
    ids=["one line", "one row", "two on the last line", "braces on shared lines"],
)  # fmt: skip
def test_json_rows_that_share_a_line_are_numbered(write, monkeypatch, piece, text, places, numbers):
    monkeypatch.setattr(json_module, "_PIECE", piece)
    path = write(text)
    assert [where.partition("file.txt:")[2] for where, _ in json_rows(path)] == places
    found = [number for number, _ in numbered_rows(path)]
    assert found == numbers
    shared = [isinstance(number, RowNumber) for number in found]
    assert shared == ["row" in place for place in places]
    wrapped = write(f'{{"version": 1, "data": {text}}}')
    assert [where.partition("file.txt:")[2] for where, _ in json_rows(wrapped, "data")] == places


def test_a_row_of_json_on_one_line_that_is_no_object_is_named_by_its_number(write):
    message = "file.txt:1, row 2: a row is a string, expected an object; put the release's own"
    assert refusal(json_rows, write('[{"a": 1}, "b"]')).startswith(message)


FIX = "; fix that line, or take the file from its source again"
OWN = "; put the release's own file there"


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize(
    ("content", "key", "message"),
    [
        (
            '[\n{"a": 1},\n{"a" 2}\n]',
            None,
            f"file.txt:3: not JSON (column 6: Expecting ':' delimiter){FIX}",
        ),
        (
            '[\n{"a": "열린}\n]',
            None,
            f"file.txt:2: not JSON (column 11: Invalid control character at){FIX}",
        ),
        (
            '[{"a": "열린',
            None,
            f"file.txt:1: not JSON (column 8: Unterminated string starting at){FIX}",
        ),
        (
            '[\n{"a": 1}\n{"a": 2}]',
            None,
            f"file.txt:3: not JSON (column 1: expected ',' or ']', found '{{'){FIX}",
        ),
        (
            '[{"a": 1},\n',
            None,
            f"file.txt:2: not JSON (column 1: Expecting value){FIX}",
        ),
        (
            '[{"a": 1}',
            None,
            f"file.txt:1: not JSON (column 10: expected ',' or ']', found the end){FIX}",
        ),
        (
            '[{"a": 1}]\n[]',
            None,
            f"file.txt:2: not JSON (column 1: extra data after the end){FIX}",
        ),
        ("id\ttext", None, f"file.txt:1: not JSON (column 1: found 'i'){FIX}"),
        (
            '{"a": 1}\n{"a": }',
            None,
            f"file.txt:2: not JSON (column 7: Expecting value){FIX}",
        ),
        (
            '{\n"a": []\n}',
            None,
            f"file.txt: the top level is an object, expected a list of rows{OWN}",
        ),
        ("[1]", None, f"file.txt:1: a row is a number, expected an object{OWN}"),
        ("[]", None, f"file.txt: the list of rows is empty{OWN}"),
        (" \n", None, f"file.txt: the file is empty{OWN}"),
        ("[{}]", "data", f"file.txt: the top level is a list, expected an object with 'data'{OWN}"),
        ('{"document": []}', "data", f"file.txt: no 'data' at the top level, only 'document'{OWN}"),
        ("{}", "data", f"file.txt: no 'data' at the top level, only nothing{OWN}"),
        ('{"data": {}}', "data", f"file.txt:1: 'data' is not a list{OWN}"),
        (
            '{"data": [{}],}',
            "data",
            f"file.txt:1: not JSON (column 15: expected a name in double quotes){FIX}",
        ),
    ],
)
def test_json_faults_name_line_and_column(write, monkeypatch, piece, content, key, message):
    monkeypatch.setattr(json_module, "_PIECE", piece)
    assert refusal(json_rows, write(content), key) == message


@pytest.mark.parametrize("content", ["[" * 200_000, "[" + "9" * 5000 + "]", '{"a": ' + "9" * 5000])
def test_json_beyond_measure_is_one_line(write, content):
    assert refusal(json_rows, write(content)).startswith("file.txt:1: not JSON (")


def test_a_corpus_is_never_in_memory_as_a_whole(write):
    import tracemalloc

    document = {"id": "x", "text": "가나다라 " * 100}
    body = ",\n".join([json.dumps(document, ensure_ascii=False)] * 12_000)
    path = write('{"document": [' + body + "]}")
    assert path.stat().st_size > 15_000_000
    tracemalloc.start()
    assert sum(1 for _ in json_rows(path, "document")) == 12_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 112_000_000


@pytest.mark.parametrize("lines", [False, True])
def test_brackets_nested_too_deeply_are_refused_on_every_python(write, lines):
    def rows_of(depth):
        text = f'{{"a": {"[" * depth}"{"[" * 200}"{"]" * depth}}}'
        return list(json_rows(write(f"{text}\n{{}}" if lines else f"[{text}]")))

    assert len(rows_of(90)) == 1 + lines
    with pytest.raises(UserError, match="brackets nested more than 100 deep"):
        rows_of(120)


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 16])
def test_lines_do_not_depend_on_how_much_is_read_at_once(tmp_path, monkeypatch, size):
    monkeypatch.setattr(streams, "CHARACTERS_AT_ONCE", size)
    file = tmp_path / "lines.txt"
    for text in ("가\n\n나다\r\n라\r\r\n마", "가\n", "\n", "긴 줄 하나", "a\u2028b\x0bc\n\n"):
        file.write_bytes(text.encode())
        expected = text.removesuffix("\n").split("\n")
        expected = [line.removesuffix("\r") for line in expected]
        assert list(streams.lines(file)) == list(enumerate(expected, 1))
