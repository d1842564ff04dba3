"""The output at the end of a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import commands_in
from transformers import RobertaForSequenceClassification

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.commands.predict import parser
from ke_t5.config.flags import parse_train
from ke_t5.errors import counted
from ke_t5.models.models import T5EncoderForSequenceClassificationMean
from ke_t5.pipe import get_task
from ke_t5.recipes import console, summary


@pytest.mark.parametrize(
    ("environment", "size", "expected"),
    [
        ({}, 1, ""),
        ({"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1"}, 2, "torchrun --nproc_per_node=2"),
        (
            {"LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "2", "MASTER_ADDR": "node-a"}, 8,
            "torchrun --nnodes=2 --nproc_per_node=4 --rdzv_backend=c10d "
            "--rdzv_endpoint=node-a:29400",
        ),
    ],
)  # fmt: skip
def test_the_launcher_starts_as_many_processes_on_each_machine(
    monkeypatch, environment, size, expected
):
    for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert summary.launcher(SimpleNamespace(size=size)) == expected


def test_every_next_command_can_be_run_as_it_is_printed():
    flags = parse_train(["--task", "klue_tc", "--sample", "--valid_split", "validation"])
    told = console.next_commands(
        vars(flags),
        valid_splits=["validation"],
        launcher="",
        stopped_at=5,
        real_model="klue/roberta-base",
    )
    found = commands_in("\n".join(line.partition("python")[1] + line.partition("python")[2]
                                  for line in told.splitlines()[1:]))  # fmt: skip
    assert [command.program for command in found] == ["test_ddp.py", "train_ddp.py", "train_ddp.py"]
    real = found[-1].parse()
    assert real.pre_trained_model == "klue/roberta-base" and not real.sample
    for command in found:
        command.parse()


@pytest.mark.parametrize("launcher", ["", "torchrun --nproc_per_node=2"])
def test_the_next_commands_of_an_entry_point_start_entry_points(launcher, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/environment/bin/ke-t5-train"])
    monkeypatch.setattr("shutil.which", lambda name: f"/environment/bin/{name}")
    flags = parse_train(["--task", "klue_tc", "--sample", "--valid_split", "validation"])
    text = console.next_commands(
        vars(flags), valid_splits=["validation"], launcher=launcher, stopped_at=5,
        real_model="klue/roberta-base",
    )  # fmt: skip
    lines = [line.split(maxsplit=1)[1] for line in text.splitlines()[1:]]
    commands = commands_in("\n".join(lines))
    names = [command.program for command in commands]
    assert names == ["ke-t5-test", "ke-t5-train", "ke-t5-train"]
    for command in commands:
        assert command.launcher.partition(" --no-python")[0] == launcher
        command.parse()


def test_a_model_without_a_known_hub_name_has_no_command_that_cannot_run():
    flags = parse_train(["--sample", "--valid_split", "validation"])
    assert "real" not in console.next_commands(
        vars(flags), valid_splits=["validation"], launcher="", real_model=None
    )


def predict_line(**options):
    """The suggested prediction, without its title."""
    flags = parse_train(["--task", "klue_tc", "--sample", "--hf_path", "out/my model"])
    text = console.next_commands(vars(flags), valid_splits=["validation"], launcher="", **options)
    lines = [line.split(maxsplit=1)[1] for line in text.splitlines() if "predict" in line]
    assert "export" not in text
    return lines[0] if lines else None


@pytest.mark.parametrize(
    ("started", "expected"),
    [
        ("train_ddp.py", "python -m ke_t5"),
        ("../my code/train_ddp.py", "PYTHONPATH='../my code' python -m ke_t5"),
        ("/environment/bin/ke-t5-train", "ke-t5"),
    ],
)
def test_the_next_commands_after_an_export_predict(started, expected, monkeypatch):
    monkeypatch.setattr("sys.argv", [started])
    monkeypatch.setattr("shutil.which", lambda name: f"/environment/bin/{name}")
    found = predict_line(predict=["--hf_path", "out/my model", "--input", "FILE"])
    assert found == f"{expected} predict --hf_path 'out/my model' --input FILE"
    assert predict_line() is None


class OwnModel:
    """A model class outside the package."""


@pytest.mark.parametrize(
    ("task", "model_class", "modules", "more"),
    [
        ("klue_tc", T5EncoderForSequenceClassificationMean, [], ""),
        ("klue_tc", RobertaForSequenceClassification, [], ""),
        ("klue_tc", OwnModel, ["a", "b"], f" --model_name {__name__}:OwnModel"
         " --module_import a --module_import b"),
        ("kobest_gen", T5EncoderForSequenceClassificationMean, [], " --task kobest_boolq_gen"),
    ],
)  # fmt: skip
def test_the_prediction_names_what_the_export_does_not_say(task, model_class, modules, more):
    config = SimpleNamespace(
        export_folder=Path("out"), task=get_task(task), flags={"module_import": modules}
    )
    words = summary.predict_flags(config, model_class)
    assert words == f"--hf_path out{more} --input FILE".split()
    parser().parse_args(words)


@pytest.mark.parametrize("reads_release", [True, False])
def test_a_folder_of_raw_files_is_suggested_only_to_a_task_that_reads_them(reads_release):
    flags = parse_train(["--sample", "--valid_split", "validation"])
    text = console.next_commands(
        vars(flags), valid_splits=["validation"], launcher="", real_model="klue/roberta-base",
        reads_release=reads_release,
    )  # fmt: skip
    assert "--pre_trained_model klue/roberta-base" in text
    assert ("--hf_data_dir" in text) is reads_release


def test_nouns_are_counted():
    assert [counted(n, "epoch") for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]
