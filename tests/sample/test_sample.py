"""The embedded corpus: deterministic, built once for all processes, written by a command."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.recipe_runs import train
from support.sample_help import digest

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.errors import Exit, UserError
from ke_t5.pipe import Mixture, MixtureRegistry, TaskRegistry, get_task
from ke_t5.pipe.sources import ReleaseSource
from ke_t5.sample import sample_data_dir, sample_model_dir, write_releases
from ke_t5.sample.cache import CHECKSUMS, build_once
from ke_t5.sample.sampler import TextSampler


def test_two_writes_are_equal_byte_by_byte(sample_data: Path, tmp_path: Path):
    write_releases(tmp_path)
    assert digest(tmp_path) == digest(sample_data)


def test_another_process_writes_the_same_bytes(sample_data: Path, tmp_path: Path):
    code = "import sys; from pathlib import Path; from ke_t5.sample import write_releases as w; "
    command = [sys.executable, "-c", code + "w(Path(sys.argv[1]))", str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "77"})
    assert digest(tmp_path) == digest(sample_data)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'sentencepiece', 'tokenizers'}"
    code = f"import ke_t5.sample, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_sampler_keeps_the_last_words_for_held_out_parts():
    words = list(range(14))
    train, dev = TextSampler("a"), TextSampler("a", unseen=0.5)
    assert {train.pick(words) for _ in range(500)} == set(range(12))
    assert {dev.pick(words) for _ in range(500)} == set(words)


def _ask_for_all(cache: str, kind: str) -> str:
    folder = sample_data_dir(Path(cache)) if kind == "data" else sample_model_dir(Path(cache), kind)
    return str(folder)


def test_processes_that_ask_at_once_get_one_whole_folder(sample_data: Path, tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_ask_for_all, [(str(tmp_path), "data")] * 3)
    assert len(set(found)) == 1
    assert digest(Path(found[0])) == digest(sample_data)
    names = [path.name for path in Path(found[0]).parent.iterdir()]
    assert not [name for name in names if ".tmp" in name]


def test_what_a_dead_builder_left_is_cleared(tmp_path: Path):
    # The lock says that it is dead, though a process of another container has its number here.
    leftover = tmp_path / f"data.tmp-{os.getppid()}"
    leftover.mkdir()
    built = build_once(tmp_path / "data", lambda folder: (folder / "file").touch())
    assert sorted(path.name for path in built.iterdir()) == [CHECKSUMS, "file"]
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["a bit", "a missing file", "no checksums"])
def test_a_damaged_folder_is_built_anew(tmp_path: Path, caplog, damage: str):
    def build(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner/file").write_text("가나다", encoding="utf-8")

    file = build_once(tmp_path / "data", build) / "inner/file"
    build_once(tmp_path / "data", lambda folder: pytest.fail("built without need"))
    if damage == "a bit":
        file.write_text("가나라", encoding="utf-8")
    else:
        (file if damage == "a missing file" else tmp_path / "data" / CHECKSUMS).unlink()
    build_once(tmp_path / "data", build)
    assert file.read_text(encoding="utf-8") == "가나다"
    assert re.search(
        r"data: (inner/file|.checksums.json) is (damaged|missing); rebuilding it", caplog.text
    )


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        build_once(tmp_path / "data", lambda folder: 1 // 0)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the sample cannot be written") as error:
        sample_data_dir(tmp_path / "file")
    assert error.value.exit_code == Exit.MACHINE and "\n" not in str(error.value)


def test_command_writes_the_same_releases_and_models_and_says_where(
    tmp_path: Path, cache_dir: Path, sample_data: Path, capsys: pytest.CaptureFixture
):
    from ke_t5.sample.__main__ import main

    assert main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "data/klue_benchmark/ynat-v1.1: ynat-v1.1_dev.json, ynat-v1.1_train.json" in shown
    assert "models/roberta: config.json, tokenizer.json, tokenizer_config.json" in shown
    assert digest(tmp_path / "data") == digest(sample_data)
    assert digest(tmp_path / "models" / "t5") == digest(sample_model_dir(cache_dir, "t5"))
    assert main([str(tmp_path)]) == 0  # over its own files


def test_command_leaves_a_real_release_alone(tmp_path: Path, capsys: pytest.CaptureFixture):
    from ke_t5.sample.__main__ import main

    real = tmp_path / "data/klue_benchmark/ynat-v1.1/ynat-v1.1_train.json"
    real.parent.mkdir(parents=True)
    real.write_text("[]")
    assert main([str(tmp_path)]) == Exit.DATA
    assert capsys.readouterr().err == (
        f"error: {real}: it exists, and is not the sample's; name a new folder\n"
    )
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [real]
    assert real.read_text() == "[]"


def test_command_says_in_one_line_what_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    from ke_t5.sample.__main__ import main

    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == Exit.MACHINE
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("is_mixture", [False, True])
def test_a_task_without_sample_rows_is_one_line(is_mixture: bool, cache_dir: Path, tmp_path: Path):
    known = get_task("klue_tc")
    assert isinstance(known.source, ReleaseSource)
    release = dataclasses.replace(known.source.release, name="new", find=lambda folder: {})
    task = dataclasses.replace(known, name="new_task", source=ReleaseSource(release))
    mixture = Mixture("both", (known, task), (1, 1))
    with TaskRegistry.registry.temporary("new_task", task):
        with MixtureRegistry.registry.temporary("both", mixture):
            name = "both" if is_mixture else "new_task"
            with pytest.raises(UserError, match="new_task has no sample rows") as error:
                train("--task", name, "--sample", output=tmp_path, cache=cache_dir)
    assert str(error.value) == (
        f"error: --task {name} --sample: new_task has no sample rows; "
        "drop --sample and give --hf_data_dir FOLDER"
    )
    assert error.value.exit_code == Exit.DATA
