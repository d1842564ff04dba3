"""The documentation for users, in both languages, agrees with the code: commands, examples,
tables."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import json
import re
import shutil
from pathlib import Path

import pytest
from support.commands import Command, check_names, commands_in
from support.processes import ROOT, run_script

import ke_t5.recipes.prepare  # noqa: F401 - registers everything that gin may bind
from ke_t5.commands.table import COMMANDS
from ke_t5.config.bindings import configurable, configurables
from ke_t5.config.flags import FLAGS, LAUNCHER_FLAGS
from ke_t5.config.gin_config import SEARCH
from ke_t5.errors import Exit
from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.pipe import TaskRegistry, get_task
from ke_t5.sample.models import sample_tokenizer_dir
from ke_t5.task.task import UNCHECKED

READMES = {"README.md": "ko", "README.en.md": "en"}
both = pytest.mark.parametrize("name", READMES)

# Names that users define in the examples: such commands are run, not looked up.
OWN = re.compile(r"\bmy_(model|task)_dir\b")
MEAN = "T5EncoderForSequenceClassificationMean"

# Flags of other programs that the text mentions
# (torchrun's --max-restarts, --no-python and rendezvous, benchmarks/gpu.py's --models and --out).
RENDEZVOUS = {"rdzv_backend", "rdzv_endpoint", "rdzv_id"}
OTHER_FLAGS = {*LAUNCHER_FLAGS, *RENDEZVOUS, "check", "help", "max", "models", "no", "out", "shell"}
ALSO = {"batch", "target_column"}


def pages(name: str) -> list[Path]:
    """A README and the pages in its language."""
    return [ROOT / name, *sorted((ROOT / "docs" / READMES[name]).glob("*.md"))]


@functools.cache
def text_of(name: str) -> str:
    """The text of a README and of the pages in its language."""
    return "\n".join(page.read_text(encoding="utf-8") for page in pages(name))


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(name), re.MULTILINE | re.DOTALL)


def shell_commands(name: str) -> list[Command]:
    """All commands of a README."""
    return [found for block in blocks(name, "sh") for found in commands_in(block)]


def tables(name: str) -> list[list[list[str]]]:
    """The tables as rows of cells, their heads included."""
    found = re.findall(r"(?:^\|.*\|\n)+", text_of(name), re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
        for table in found
    ]


def rows_of_table(name: str, cell: str) -> list[list[str]]:
    """The rows of the only table that has that cell in its first row."""
    (found,) = [table for table in tables(name) if cell in table[2]]
    return found[2:]


def quoted(cell: str) -> list[str]:
    """The quoted words of a cell."""
    return re.findall(r"`([^`]+)`", cell)


# -------------------------------------------------------------------------------- the commands


@both
def test_its_commands_are_accepted_by_the_flags(name):
    ours = [found for found in shell_commands(name) if found.is_ours]
    assert len(ours) > 10
    for found in ours:
        flags = found.parse()
        if not found.is_of_script:
            continue
        assert not flags.notes, found
        for file in flags.gin_file:
            assert any((folder / file).is_file() for folder in SEARCH), found


@both
def test_its_commands_name_tasks_and_models_that_fit_each_other(name):
    for found in shell_commands(name):
        if found.is_of_script and not OWN.search(str(found)):
            check_names(found.parse())


@both
def test_its_other_commands_are_known(name):
    for found in shell_commands(name):
        if found.program == "pip":
            is_list = found.words[:2] == ("install", "-r") and (ROOT / found.words[2]).is_file()
            assert is_list or found.words == ("install", ".")
        elif not found.is_ours:
            assert str(found) == "pytest -n 2"


@both
def test_it_begins_with_the_two_commands(name):
    first, second = blocks(name, "sh")[0].splitlines()
    assert first == (
        "pip install -r requirements.txt && "
        "torchrun --nproc_per_node=2 train_ddp.py --task klue_tc --sample"
    )
    assert second == "pip install -r requirements-dev.txt && pytest -n 2"


@both
def test_its_flags_exist(name):
    text = re.sub(r"#SBATCH.*|srun .*|docker .*", "", text_of(name))
    mentioned = set(re.findall(r"(?<![\w-])--(\w+)", text))
    known = {flag.name for flag in FLAGS} | ALSO | OTHER_FLAGS | command_flags()
    assert mentioned - known == {"flag"}  # `--flag value`


def command_flags() -> set[str]:
    """The flags of all commands."""
    parsers = [importlib.import_module(command.module).parser() for command in COMMANDS]
    actions = [action for parser in parsers for action in parser._actions]
    return {name.removeprefix("--") for action in actions for name in action.option_strings}


# ------------------------------------------------------------------------------- two languages


def test_both_have_the_same_pages():
    korean, english = ([page.name for page in pages(name)[1:]] for name in READMES)
    assert korean == english and len(korean) > 15


@pytest.mark.parametrize("page", [page for name in READMES for page in pages(name)], ids=str)
def test_links_of_a_page_exist(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_both_have_the_same_commands():
    korean, english = ([*map(str, shell_commands(name))] for name in READMES)
    assert korean == english


def test_both_have_the_same_sections():
    korean, english = (re.findall(r"^#+ ", text_of(name), re.MULTILINE) for name in READMES)
    assert korean == english


def test_both_have_the_same_code():
    korean, english = ([*map(code_of, blocks(name, "python"))] for name in READMES)
    assert korean == english


def code_of(source: str) -> str:
    """A block's code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
            del node.body[0]
    return ast.unparse(tree)


# -------------------------------------------------------------------------------- the examples


@pytest.fixture(scope="module")
def user_folder(tmp_path_factory):
    """A folder with the README's example files, and rows for its task."""
    folder = tmp_path_factory.mktemp("user")
    for block in blocks("README.md", "python"):
        named = re.match(r"# (\S+\.py)\n", block)  # what has no name is a fragment
        if named:
            (folder / named[1]).parent.mkdir(exist_ok=True)
            (folder / named[1]).write_text(block, encoding="utf-8")
    (rows,) = blocks("README.md", "json")
    assert all(json.loads(line) for line in rows.splitlines())
    for file in re.findall(r'"(reviews/\w+\.jsonl)"', text_of("README.md")):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(rows * 8, encoding="utf-8")
    (folder / "inquiries").mkdir()
    (table,) = blocks("README.md", "csv")
    head, *rest = table.splitlines(keepends=True)
    for split in ("train", "validation"):
        text = head + "".join(rest) * 8
        (folder / "inquiries" / f"{split}.csv").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "found", [c for c in shell_commands("README.md") if OWN.search(str(c))], ids=str
)
def test_your_own_model_and_task_train(found, user_folder, cache_dir, tmp_path):
    bounds = ("--max_steps", 2, "--eval_rows", 8)
    folders = ("--output_dir", tmp_path, "--hf_cache_dir", cache_dir)
    done = run_script(found.program, *found.words, *bounds, *folders, folder=user_folder)
    assert done.returncode == 0, done.stderr
    assert "2 steps in" in done.stdout and "8 of 8 rows scored" in done.stdout


@pytest.mark.slow
def test_the_script_of_the_pipe_guide_runs(user_folder, cache_dir):
    """The guide's script, with a tokenizer of the sample."""
    shutil.copytree(sample_tokenizer_dir(cache_dir, "t5"), user_folder / "tokenizer")
    done = run_script(user_folder / "try_pipe.py", folder=user_folder)
    assert done.returncode == 0, done.stderr
    assert "'input_ids': (3, " in done.stdout and "{'saved': 50.0}" in done.stdout


# ---------------------------------------------------------------------------------- the tables


def task_rows(name: str) -> list[tuple[list[str], list[str]]]:
    """(tasks, cells) of each row of the table of tasks."""
    return [(quoted(cells[0]), cells) for cells in rows_of_table(name, "`klue_tc`, `klue_tc_gen`")]


@both
def test_it_lists_every_task_once(name):
    listed = [task for tasks, _ in task_rows(name) for task in tasks]
    assert sorted(listed) == TaskRegistry.names()
    first_lines = (ROOT / name).read_text(encoding="utf-8").partition("## ")[0]
    assert re.search(rf"\b{len(listed)}", first_lines)


@both
def test_its_table_of_tasks_agrees_with_the_code(name):
    for tasks, (_, _, scores, source, licence) in task_rows(name):
        for task in map(get_task, tasks):
            release = task.source.release
            assert scores.startswith(f"**`{task.best.metric}`**"), task.name
            assert licence == release.licence.removesuffix(" agreement, not to be passed on")
            is_unchecked = release.name.removesuffix("_split") in UNCHECKED
            assert source.endswith(" *") == is_unchecked, task.name
            assert release.home.split()[0] in text_of(name), task.name


@both
def test_it_says_where_the_files_belong(name):
    (layout,) = [block for block in blocks(name, "text") if block.startswith("data/")]
    for task in map(get_task, TaskRegistry.names()):
        for path in map(Path, task.source.release.layout):
            # The other KLUE tasks have the same layout as the first.
            if path.parts[0] != "klue_benchmark" or "ynat" in path.name:
                assert path.parts[0] in layout and path.name.split("*")[-1] in layout, path
                assert path.parent.name in layout, path


@both
def test_its_table_of_settings_agrees_with_gin(name):
    listed: dict[str, list[str]] = {}
    for names, parameters, _ in rows_of_table(name, "`get_dataset`"):
        listed |= {each: quoted(parameters) for each in quoted(names)}
    ours = {
        short
        for short, complete in configurables().items()
        if configurable(complete).wrapped.__module__.startswith("ke_t5.")
    }
    assert set(listed) == ours
    for each, parameters in listed.items():
        thing = configurable(configurables()[each])
        known = set(thing.allowlist or inspect.signature(thing.wrapped).parameters)
        if "params" not in known:  # an optimizer's are the library's own
            assert set(parameters) == known - {"self", *(thing.denylist or ())}, each


@both
def test_its_default_models_agree_with_the_forms(name):
    forms = {get_task(task).form for task in TaskRegistry.names()}
    listed = [cells[-1] for cells in rows_of_table(name, f"`{MEAN}`")]
    assert sorted(listed) == sorted(f"`{FORMS[form].default_model}`" for form in forms)


@both
def test_it_names_all_of_our_models(name):
    pattern = r"(?<=`)(?:(?:T5)?Encoder|HashedNgram)For\w+(?=`)"
    assert set(re.findall(pattern, text_of(name))) == set(MODEL_FORMS)


@both
def test_it_lists_all_exit_codes(name):
    listed = {int(cells[0]) for cells in rows_of_table(name, "0")}
    assert listed == {0, 1, *map(int, Exit)}
