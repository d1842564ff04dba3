"""Gin texts: which files are read, what is refused, and the messages."""

from pathlib import Path

import pytest
from support.gin_toys import ToyAdam, configured, fault, toy_dataset

from ke_t5.config import gin_syntax
from ke_t5.config.gin_config import configure
from ke_t5.errors import UserError

pytestmark = pytest.mark.usefixtures("folder")


def test_files_are_found_as_given_then_in_the_gin_folders(folder):
    (folder / "gin").mkdir()
    (folder / "gin" / "x.gin").write_text("ToyAdam.lr=1\nToyAdam.lrr=2")
    with pytest.raises(UserError, match=r"error: gin/x.gin:2: 'ToyAdam' has no parameter 'lrr'"):
        configure(["x.gin"])
    (folder / "x.gin").write_text("ToyAdam.lr=2")
    configure(["x.gin"])
    assert ToyAdam(None)[0] == 2


def test_missing_file(folder):
    (folder / "gin").mkdir()
    (folder / "gin" / "train_default.gin").touch()
    with pytest.raises(UserError) as caught:
        configure(["trian_default.gin"])
    assert str(caught.value).startswith(
        f"error: --gin_file 'trian_default.gin': no such file in {folder} or gin/; "
        "did you mean 'train_default.gin'"
    )
    with pytest.raises(UserError, match="--gin_file 'gin': is a folder; name a .gin file"):
        configure(["gin"])


@pytest.mark.parametrize(
    "text, line",
    [
        ("\n\nToyAdm.lr=1", "a.gin:3: unknown gin name 'ToyAdm'; did you mean 'ToyAdam'?"),
        (
            "toys.optimisers.ToyAdam.lr=1",
            "a.gin:1: unknown gin name 'toys.optimisers.ToyAdam'; "
            "did you mean 'toys.optimizers.ToyAdam'",
        ),
        (
            "toy_optimizer.cls=@slow/ToyAdm",
            "a.gin:1: unknown gin name '@ToyAdm'; did you mean 'ToyAdam'?",
        ),
        ("ToyAdam.lrr=1", "a.gin:1: 'ToyAdam' has no parameter 'lrr' to set; did you mean 'lr'?"),
        (
            "toy_dataset.task='a'",
            "a.gin:1: 'toy_dataset' has no parameter 'task' to set; available",
        ),
        ("ToyAdam:\n  lr=1\n  betaz=(1, 2)", "a.gin:3: 'ToyAdam' has no parameter 'betaz' to set"),
        ("ToyAdam = 3", "a.gin:1: 'ToyAdam' names no parameter; write ToyAdam.<parameter> = ..."),
        (
            "Twin.size=1",
            "a.gin:1: 'Twin' is ambiguous; write toys.one.Twin or toys.two.Twin",
        ),
        ("ToyAdam.lr=%RATE", "a.gin:1: unknown macro '%RATE'; define it: RATE = ..."),
        ("RATE=1\nToyAdam.lr=%RAET", "a.gin:2: unknown macro '%RAET'; did you mean 'RATE'?"),
        (
            "ToyAdam.lr=%gin.REQUIRED",
            "a.gin:1: 'ToyAdam.lr' must be given; give --gin_param 'ToyAdam.lr=...'",
        ),
    ],
)
def test_unknown_name(text, line):
    # Other tests may have registered similar names.
    assert fault(text).startswith(f"error: {line.rstrip(chr(63))}")


@pytest.mark.parametrize(
    "text, line",
    [
        ("toy_dataset.split=train", "'train' is not a value without quotes; write 'train'"),
        ("toy_dataset.split=a/b-c # d", "'a/b-c' is not a value without quotes; write 'a/b-c'"),
        ("toy_dataset.length={'a': b}", "'b' is not a value without quotes; write 'b'"),
        ("toy_optimizer.cls=ToyAdam", "'ToyAdam' is not a value; write @ToyAdam"),
        ("ToyAdam.amsgrad=true", "'true' is not a value; write True"),
        ("toy_dataset.length=none", "'none' is not a value; write None"),
        ("ToyAdam.lr=", "no value in 'ToyAdam.lr='; write name.parameter = value"),
        ("ToyAdam.lr: 3", "':' where '=' belongs in 'ToyAdam.lr: 3'; write name.parameter = value"),
        ("ToyAdam.lr 3", "cannot read 'ToyAdam.lr 3'; write name.parameter = value, one to a line"),
        ("ToyAdam.lr=3 4", "cannot read 'ToyAdam.lr=3 4'; write name.parameter = value"),
        ("ToyAdam.lr=$3", "cannot read 'ToyAdam.lr=$3'; write"),
        ("[ToyAdam]", "cannot read '[ToyAdam]'; write"),
        ("ToyAdam:", "cannot read 'ToyAdam:'; write"),
        ("ToyAdam.lr=3\n\0", "cannot read"),
        (
            "toy_dataset.length={'a': 1",
            "bracket '{' opened here is never closed; close it with '}'",
        ),
        ("ToyAdam.lr=" + "(" * 5000, "bracket '(' opened here is never closed; close it with ')'"),
        ("ToyAdam.betas=(1, 2]", "bracket ']' meets '(' of line 1; check the brackets"),
        ("ToyAdam.lr=1)", "bracket ')' is never opened; check the brackets"),
        ("toy_dataset.split='a", "quote ' opened here is never closed; close it in the same line"),
    ],
)
def test_syntax(text, line):
    told = fault(f"{text}\n") if "\0" not in text else fault(text)
    assert told.partition("a.gin:")[2].partition(": ")[2].startswith(line)
    assert len(told) <= 200


def test_open_bracket_is_told_where_it_opened_even_if_statements_follow():
    line = fault("ToyAdam.lr=1\n# {\ntoy_dataset.length={'a': '}',\n  'b': 2\nToyAdam.lr=2\n")
    assert line == "error: a.gin:3: bracket '{' opened here is never closed; close it with '}'"


@pytest.mark.parametrize(
    "text, line",
    [
        ("ToyAdam.lr", "cannot read 'ToyAdam.lr'; write name.parameter = value"),
        *(
            (text, f"{value!r} is not a value without quotes; write --gin_param {fix}")
            for text, value, fix in (
                ("toy_dataset.split=train", "train", "\"toy_dataset.split='train'\""),
                ("toy_dataset.split = a/b # c", "a/b", "\"toy_dataset.split='a/b'\""),
                ("toy_dataset.length={'a': a}", "a", "\"toy_dataset.length={'a': 'a'}\""),
                ("toy_dataset.split=문장", "문장", "\"toy_dataset.split='문장'\""),
            )
        ),
        ("include 'x.gin'", "include is allowed in files only; give --gin_file x.gin"),
        ("import os", "a gin file may not import; import your own code with --module_import os"),
    ],
)
def test_fault_of_a_parameter(text, line):
    assert fault(params=[text]).startswith(f"error: --gin_param {text!r}: {line}")


@pytest.mark.parametrize("text", ["import {0}", "import {0} as x", "from {0} import canary"])
def test_a_gin_file_cannot_run_code(folder, text, monkeypatch):
    (folder / "hostile.py").write_text("open('canary', 'w').close()")
    monkeypatch.syspath_prepend(folder)
    told = fault(text.format("hostile"))
    assert "a.gin:1: a gin file may not import; import your own code with --module_import" in told
    assert not (folder / "canary").exists()


def test_include_from_its_own_folder_and_from_gin(folder):
    (folder / "gin").mkdir()
    (folder / "gin" / "base.gin").write_text("ToyAdam.lr=1\ninclude 'more.gin'")
    (folder / "gin" / "more.gin").write_text("toy_dataset.split='x'")
    settings = configured("include 'base.gin'\nToyAdam.lr=2")
    assert (ToyAdam(None)[0], toy_dataset()[1]) == (2, "x")
    assert list(settings.notes) == [
        "a.gin:2: 'ToyAdam.lr' is bound at gin/base.gin:1 too; a.gin:2 is used"
    ]


def test_include_leads_nowhere_else(folder):
    deep = folder / "deep"
    deep.mkdir()
    (folder / "out.gin").write_text("ToyAdam.lr=1")
    (deep / "link.gin").symlink_to(folder / "out.gin")
    for name in ("../out.gin", str(folder / "out.gin"), "link.gin"):
        (deep / "x.gin").write_text(f"include '{name}'")
        with pytest.raises(UserError) as caught:
            configure(["deep/x.gin"], search=())
        assert str(caught.value) == (
            f"error: deep/x.gin:1: include {name!r} leaves {deep} and gin/; move it there, or give "
            "it as a --gin_file (your own code: --module_import)"
        )


def test_include_of_nothing_and_of_itself():
    assert fault("include 'aa.gin'") == (
        "error: a.gin:1: include 'aa.gin': no such file; did you mean 'a.gin'?"
    )
    assert fault("include 'b.gin'", "include 'a.gin'").startswith(
        "error: b.gin:1: include 'a.gin' is circular; remove it"
    )


@pytest.mark.parametrize(
    "content, line",
    [
        ("# ok\n# 한글".encode("cp949"), "x.gin:2: not UTF-8, looks like CP949; save it as UTF-8"),
        (b"\xff\xfe#\x00", "x.gin:1: not UTF-8; save it as UTF-8"),
    ],
)
def test_encodings(folder, content, line):
    (folder / "x.gin").write_bytes(content)
    with pytest.raises(UserError) as caught:
        configure(["x.gin"])
    assert str(caught.value).endswith(line)


def test_byte_order_mark_and_windows_line_ends(folder):
    (folder / "x.gin").write_bytes("\ufeff# 주석\r\nToyAdam.lr=3\r\n".encode())
    configure(["x.gin"])
    assert ToyAdam(None)[0] == 3


def test_unreadable_file(folder, monkeypatch):
    (folder / "x.gin").touch()

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UserError, match=r"cannot be read \(Permission denied\); check its perm"):
        configure(["x.gin"])


@pytest.mark.parametrize(
    ("text", "line", "mark", "instead"),
    [
        ("AdamW.betas = （0.9, 0.99）", 1, "（", "("),
        ("AdamW.lr = 1e-4\nget_optimizer.optimizer_cls = ＠AdamW", 2, "＠", "@"),
        ("fit.precision = “bf16”", 1, "“", '"'),
    ],
)
def test_wide_marks_are_named(text, line, mark, instead):
    problem = gin_syntax.fault(text, SyntaxError("invalid"), lambda _: False)
    assert problem == (line, f"{mark!r} is a full-width or typographic mark", f"write {instead}")


def test_wide_marks_in_text_and_comments_are_no_fault():
    assert gin_syntax.wide_mark("a.b = '（가）'  # “나”\nc.d = 1") is None
