"""P9: prepared data is built once, never stale, never corrupt, never built without need."""

from __future__ import annotations

import random
import shutil
import time

import pytest
from support.cache_project import CacheProject, result_of

pytestmark = pytest.mark.promise("P9")

# Changes of the examples: name -> a function that makes it and returns the settings of the start.
CHANGES = {
    "a row of the JSONL file": lambda p: p.edit("data.jsonl", "차", "차 차"),
    "the JSONL file at equal size and time": lambda p: p.edit(
        "data.jsonl", '"바 사 아 자", "label": 0', '"바 사 아 자", "label": 1', keeps_time=True
    ),
    "a letter at equal size and time": lambda p: p.edit("data.jsonl", "차", "자", keeps_time=True),
    "a row more": lambda p: p.write("data.jsonl", (p.folder / "data.jsonl").read_text() * 2),
    "the file's name": lambda p: [
        p.write("other.jsonl", (p.folder / "data.jsonl").read_text().replace("차", "자")),
        p.edit("tasks.py", "data.jsonl", "other.jsonl"),
    ],
    "another file of the pattern": lambda p: [
        p.edit("tasks.py", '"data.jsonl"', '"data*.jsonl"'),
        p.write("data-2.jsonl", '{"text": "가", "label": 1}\n'),
    ],
    "a column renamed": lambda p: [
        p.edit("data.jsonl", '"text"', '"title"'),
        p.edit("tasks.py", '"data.jsonl"}', '"data.jsonl"}, rename={"title": "text"}'),
        p.edit("data.jsonl", "차", "자"),
    ],
    "a slice of the source": lambda p: p.edit(
        "tasks.py", '"data.jsonl"}', '"data.jsonl"}, splits={"train": "train[:160]"}'
    ),
    "the step's own code": lambda p: p.edit("tasks.py", "+ mark", "+ mark + mark"),
    "the step's default": lambda p: [
        p.edit("tasks.py", 'functools.partial(prepared, mark=" 가")', "prepared"),
        p.edit("tasks.py", 'mark="."', 'mark=" 나"'),
    ],
    "an argument of the step": lambda p: p.edit("tasks.py", 'mark=" 가"', 'mark=" 나"'),
    "the order of the steps' labels": lambda p: p.edit("labels.py", '["0", "1"]', '["1", "0"]'),
    "the labels at equal size and time": lambda p: p.edit(
        "labels.py", '["0", "1"]', '["1", "0"]', keeps_time=True
    ),
    "a helper's code": lambda p: p.edit("text.py", "strip(text)\n", 'strip(text) + " 나"\n'),
    "a helper of the helper": lambda p: p.edit("deeper/still.py", ".strip()", ".strip() + ' 다'"),
    "a helper of the helper at equal size and time": lambda p: p.edit(
        "deeper/still.py", ".strip()", "[1:]    ", keeps_time=True
    ),
    "a package around the helper": lambda p: [
        p.write("deeper/__init__.py", "MARK = ' 다'\n"),
        p.edit("deeper/still.py", ".strip()", ".strip() + MARK"),
        p.edit("deeper/still.py", "def", "from deeper import MARK\n\n\ndef"),
    ],
    "a helper that a folder replaces": lambda p: [
        (p.folder / "labels.py").unlink(),
        p.write("labels/__init__.py", 'NAMES = ["1", "0"]\n'),
    ],
    "an import inside the function": lambda p: [
        p.write("late.py", "MARK = ' 라'\n"),
        p.edit("text.py", "    return", "    from late import MARK\n    return MARK + "),
    ],
    "an installed package's code": lambda p: [
        p.edit("site-packages/toolbox.py", "0", "1"),
        p.edit("site-packages/toolbox-1.0.dist-info/RECORD", "=1", "=2"),
    ],
    "an installed package's version": lambda p: [
        p.edit("site-packages/toolbox.py", "0", "1"),
        p.edit("site-packages/toolbox-1.0.dist-info/METADATA", "1.0", "1.1"),
    ],
    "a step more": lambda p: p.edit(
        "tasks.py", "STEPS = [", "STEPS = [map_over_dataset(lambda e: {**e, 'text': '가'}), "
    ),
    "a lambda": lambda p: [
        p.edit("tasks.py", "clean(example[", "(lambda x: clean(x) + ' 마')(example["),
    ],
    "a constant of the task": lambda p: p.edit("tasks.py", '"]) + mark', '"]) + " 사" + mark'),
    "the tokenizer's vocabulary": lambda p: p.write(
        "words.txt", "[UNK] 나 가 다 라 마 바 사 아 자 차"
    ),
    "the tokenizer's size": lambda p: p.write("words.txt", "[UNK] 가 나 다 라 마 바 사 아 자"),
    "the tokenizer's rules": lambda p: p.edit("tasks.py", "WhitespaceSplit()", "Punctuation()"),
    "the length of inputs": lambda p: {"length": 2},
    "a feature's type": lambda p: p.edit("tasks.py", "num_values=3", 'dtype="float32"'),
    "the labels' limit": lambda p: p.edit("tasks.py", "num_values=3", "num_values=4"),
    "a library's version": lambda p: {"library": "datasets 99"},
    "the code of the project": lambda p: {"package": "another"},
}
# Changes after which the examples are still equal.
SAME_CONTENT = {
    "a library's version", "the code of the project", "the labels' limit", "a feature's type",
}  # fmt: skip
# The ordinary tests use only these.
FEW = (
    "the JSONL file at equal size and time", "the labels at equal size and time",
    "an installed package's code", "a helper of the helper",
)  # fmt: skip

# Changes that do not affect the examples.
HARMLESS = {
    "nothing": lambda p: {},
    "a comment and a docstring": lambda p: p.edit(
        "text.py", "    return", '    """Cleans."""\n    # so\n    return'
    ),
    "an unrelated module": lambda p: p.write("unrelated.py", "x = 2\n"),
    "the files' times": lambda p: [p.write(name, (p.folder / name).read_text(encoding="utf-8"))
                                   for name in ("data.jsonl", "labels.py", "words.txt")],
    "a slice": lambda p: {"split": "train[:50%]"},
    "a hidden file": lambda p: p.write(".notes", "x"),
}  # fmt: skip


def changes(is_full):
    return CHANGES if is_full else FEW


def change(project, how):
    settings = how(project)
    return settings if isinstance(settings, dict) else {}


@pytest.mark.parametrize(
    "names",
    [pytest.param(FEW, id="few"), pytest.param(CHANGES, id="all", marks=pytest.mark.full)],
)
def test_a_change_rebuilds_the_examples_once(names, tmp_path, tally):
    project = CacheProject(tmp_path / "base")
    before = project.prepare()
    assert project.num_builds() == 1
    for number, name in enumerate(names):
        with tally.case(name):
            changed = copy_of(project, tmp_path / f"p{number}")
            settings = change(changed, CHANGES[name])
            found = changed.prepare(settings)
            assert changed.num_builds() == 1, "not built anew"
            assert found["key"] != before["key"]
            assert (found["content"] == before["content"]) == (name in SAME_CONTENT), "stale"
            again = changed.prepare(settings)
            assert again == found and changed.num_builds() == 0, "built twice"


def copy_of(project, folder):
    """A copy of the project in another folder, with a copy of its cache."""
    made = CacheProject(folder)
    for file in (path for path in project.folder.rglob("*.py*") if path.is_file()):
        target = folder / file.relative_to(project.folder)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(file, target)
    shutil.copytree(project.cache, made.cache)
    made.prepare()
    assert made.num_builds() == 0
    return made


@pytest.mark.parametrize(
    "names",
    [pytest.param(["nothing"], id="few"),
     pytest.param(HARMLESS, id="all", marks=pytest.mark.full)],
)  # fmt: skip
def test_irrelevant_changes_rebuild_nothing(names, tmp_path, tally):
    project = CacheProject(tmp_path / "base")
    before = project.prepare()
    project.num_builds()
    for name in names:
        with tally.case(name):
            settings = change(project, HARMLESS[name])
            found = project.prepare(settings)
            assert found["key"] == before["key"] and project.num_builds() == 0


def test_eight_processes_survive_a_kill_of_the_builder(tmp_path, tally, is_full, notes):
    rounds = 20 if is_full else 1
    expected = CacheProject(tmp_path / "expected").prepare()["content"]
    started = time.monotonic()
    for number in range(rounds):
        with tally.case(f"round {number}"):
            project = CacheProject(tmp_path / f"p{number}")
            scripts = [project.start(DIES="yes") for _ in range(8)]
            codes = [script.process.join(300) or script.process.exitcode for script in scripts]
            assert sorted(codes) == [-9, *[0] * 7]
            results = [result_of(s) for s, code in zip(scripts, codes, strict=True) if code == 0]
            assert project.num_builds() == 2, "the killed builder and one more"
            assert all(found["content"] == expected for found in results)
            left = [path for path in project.cache.rglob("*") if ".tmp-" in path.name]
            assert not left
    seconds = time.monotonic() - started
    notes.append(f"{rounds} rounds of 8 starters, the builder killed: {seconds:.0f} s")


def damages(content, generator):
    """(name, damaged content; None for a removed file)"""
    size = len(content)
    for number in range(12):
        place = generator.randrange(size)
        flipped = bytes([content[place] ^ (1 << generator.randrange(8))])
        yield f"bit {number} at {place}", content[:place] + flipped + content[place + 1 :]
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        yield f"truncated at {share}", content[: int(share * size)]
    yield "zeros", bytes(size)
    yield "longer", content + b"\0"
    yield "removed", None


def test_a_damaged_file_is_rebuilt_and_reported(tmp_path, tally, is_full):
    project = CacheProject(tmp_path / "own")
    before = project.prepare()
    generator = random.Random(1)
    files = [path for path in sorted(project.cache.rglob("*")) if path.name in
             ("data.arrow", "info.json", "places.npy", "column-0.values.npy")]  # fmt: skip
    assert len(files) == 7
    cases = [(file, *damage) for file in files for damage in damages(file.read_bytes(), generator)]
    for file, name, content in cases if is_full else generator.sample(cases, 3):
        with tally.case(f"{file.parent.parent.name}/{file.name}, {name}"):
            whole = file.read_bytes()
            file.unlink() if content is None else file.write_bytes(content)
            found = project.prepare()
            assert found["content"] == before["content"]
            said = [line for line in found["said"].splitlines() if "rebuilding it" in line]
            assert len(said) == 1 and str(file.parent) in said[0] and file.name in said[0]
            assert file.read_bytes() == whole
            assert "building" not in project.prepare()["said"]


def test_swapped_files_are_detected(tmp_path, notes):
    notes.append("not covered: datasets' own cache of tables of the hub, which has no checksums")
    one, other = CacheProject(tmp_path / "one"), CacheProject(tmp_path / "other")
    other.edit("data.jsonl", "차", "자")
    before = one.prepare()["content"]
    other.prepare()
    for file in one.cache.rglob("data.arrow"):
        (twin,) = (other.cache / file.parent.parent.relative_to(one.cache)).glob("*/data.arrow")
        shutil.copy2(twin, file)
    found = one.prepare()
    assert found["content"] == before and found["said"].count("data.arrow is damaged") == 2
