"""Every flag, every spelling, and every message of the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import ke_t5.recipes.prepare  # noqa: F401 - registers everything that gin may bind
from ke_t5.config import spellings
from ke_t5.config.flags import (
    EXAMPLES,
    FLAGS,
    TEST,
    TRAIN,
    Minutes,
    help_text,
    parse_test,
    parse_train,
    wants_traceback,
)
from ke_t5.config.gin_config import configure
from ke_t5.config.resume import AUTO, BEST, LAST, ResumeMode, ResumeRequest
from ke_t5.errors import Exit, UserError
from ke_t5.programs import command

CHECKOUT = Path(__file__).parents[2]


def fault(parse, *argv: str) -> str:
    with pytest.raises(UserError) as caught:
        parse(argv)
    assert caught.value.exit_code == Exit.FLAGS
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults_leave_the_rest_to_the_task():
    flags = parse_train([])
    assert (flags.task, flags.pre_trained_model) == ("klue_tc", "KETI-AIR/ke-t5-base")
    assert flags.batch_size is flags.epochs is flags.learning_rate is flags.schedule is None
    assert flags.model_name is flags.resume is flags.hf_path is flags.valid_split is None
    assert flags.sample is flags.debug is flags.from_scratch is flags.pass_only_model_io is False
    assert flags.gin_file == flags.gin_param == flags.module_import == []
    assert flags.given == {} and flags.notes == []
    assert "~" not in flags.hf_cache_dir


def test_a_word_that_is_no_folder():
    for word, expected in (("false", None), ("No", None), ("true", "default"), ("./no", "./no")):
        assert parse_train(["--hf_path", word]).hf_path == expected
        assert parse_test(["--hf_path", word]).hf_path == expected


def test_a_repository_is_public_only_if_there_is_one():
    assert fault(parse_train, "--public") == (
        "error: --public: nothing is pushed to the hub; add --push_to_hub NAME"
    )
    assert parse_train(["--public", "false"]).public is False
    assert parse_train(["--public", "--push_to_hub", "a/b"]).public is True


@pytest.mark.parametrize(
    ("word", "expected"), [("100", 100), ("1", 1), ("1e2", 100), ("0.1", 0.1), ("0", 0), ("0.0", 0)]
)
def test_a_warmup_is_steps_or_a_share(word, expected):
    value = parse_train(["--warmup", word]).warmup
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("word", ["-1", "1.5", "nan", "inf", "10%"])
def test_a_warmup_that_is_neither(word):
    line = fault(parse_train, f"--warmup={word}")
    assert f"--warmup '{word}': neither steps nor a share; give whole steps such as 100" in line


def test_lists_are_not_shared_between_two_readings():
    parse_train(["--gin_file", "a.gin"])
    assert parse_train([]).gin_file == []


@pytest.mark.parametrize("argv", [["--task=klue_nli"], ["--task", "klue_nli"]])
def test_value_after_equals_or_space(argv):
    flags = parse_train(argv)
    assert flags.task == "klue_nli"
    assert flags.given == {"task": "--task klue_nli"}


def test_value_may_hold_an_equals_sign():
    assert parse_train(["--gin_param=AdamW.lr=1e-4"]).gin_param == ["AdamW.lr=1e-4"]


def test_lr_is_the_learning_rate():
    flags = parse_train(["--lr", "3e-4"])
    assert flags.learning_rate == 3e-4 and flags.given["learning_rate"] == "--lr 3e-4"
    line = fault(parse_train, "--lr=1e-4", "--learning_rate=2e-4")
    assert "one flag under two names" in line


@pytest.mark.parametrize(("name", "ours"), spellings.FLAGS.items())
def test_what_other_programs_call_a_flag_is_suggested(name, ours):
    assert f"--{name}: unknown flag; did you mean --{ours}?" in fault(parse_train, f"--{name}=1")


@pytest.mark.parametrize(("name", "binding"), spellings.GIN.items())
def test_what_is_set_in_gin_is_shown(name, binding):
    line = fault(parse_train, f"--{name.replace('_', '-')}", "1")
    assert f'unknown flag; it is set in gin: --gin_param "{binding}"' in line
    configure(gin_params=[binding])


def test_other_spellings():
    flags = parse_train(["--batch", "3", "--test_split=validation"])
    assert (flags.batch_size, flags.valid_split) == (3, "validation")
    assert flags.given["batch_size"] == "--batch 3"
    assert parse_test(["--batch=3", "--test_split", "train[90%:]"]).test_split == "train[90%:]"


@pytest.mark.parametrize("rank", [["--local-rank=1"], ["--local_rank", "1"]])
@pytest.mark.parametrize("parse", [parse_train, parse_test])
def test_old_launchers_rank_is_accepted(parse, rank):
    flags = parse([*rank, "--sample"])
    assert flags.sample and list(flags.given) == ["sample"]


@pytest.mark.parametrize(
    "text, value", [("True", True), ("1", True), ("yes", True), ("FALSE", False)]
)
def test_booleans(text, value):
    assert parse_train([f"--sample={text}"]).sample is value
    assert parse_train(["--sample", text]).sample is value


@pytest.mark.parametrize(
    ("argv", "wanted"),
    [
        (["--debug"], True), (["--debug=true"], True), (["--debug", "true"], True),
        (["--debug", "false"], False), (["--debug=false"], False), (["--task", "x"], False),
        (["--tusk", "--debug"], True),
    ],
)  # fmt: skip
def test_a_traceback_is_wanted_in_every_spelling(argv, wanted):
    assert wants_traceback(argv) is wanted


def test_boolean_alone_is_true():
    flags = parse_train(["--sample", "--from_scratch", "--task", "klue_nli"])
    assert flags.sample is flags.from_scratch is True


def test_repeated_flags_keep_their_order():
    argv = ["--gin_file=a.gin", "--gin_param", "x.y=1", "--gin_file", "b.gin", "--gin_param=x.z=2"]
    flags = parse_train([*argv, "--module_import=a", "--module_import", "b.c"])
    assert flags.gin_file == ["a.gin", "b.gin"]
    assert flags.gin_param == ["x.y=1", "x.z=2"]
    assert flags.module_import == ["a", "b.c"]


@pytest.mark.parametrize(
    "argv, value",
    [
        (["--resume"], LAST),
        (["--resume=True"], LAST),
        (["--resume", "false"], None),
        (["--resume", "auto"], AUTO),
        (["--resume", "best"], BEST),
        (["--resume", "output/a/step-2"], ResumeRequest(ResumeMode.PATH, "output/a/step-2")),
    ],
)
def test_resume(argv, value):
    assert parse_train(argv).resume == value
    assert parse_test(argv).resume == value
    assert value is None or ResumeRequest.parse(str(value)) == value


@pytest.mark.parametrize(
    "argv, value",
    [
        (["--schedule"], "linear"),
        (["--schedule", "true"], "linear"),
        (["--schedule=false"], "constant"),
        (["--schedule", "cosine"], "cosine"),
        (["--schedule", "constant_with_warmup"], "constant_with_warmup"),
        (["--schedule", "inverse_sqrt"], "inverse_sqrt"),
    ],
)
def test_schedule(argv, value):
    assert parse_train(argv).schedule == value


@pytest.mark.parametrize("argv", [["--hf_path"], ["--hf_path=default"], ["--hf_path", "Default"]])
def test_hf_path_default(argv):
    assert parse_train(argv).hf_path == "default"


def test_hf_path_folder_and_home():
    assert parse_test(["--hf_path", "out/hf"]).hf_path == "out/hf"
    assert parse_test(["--hf_path=~/hf"]).hf_path == str(Path("~/hf").expanduser())


def test_numbers():
    flags = parse_train(
        ["--epochs=3", "--max_steps=7", "--workers=0", "--learning_rate=5e-5", "--seed=0"]
        + ["--eval_every=5", "--eval_rows", "100", "--print_freq=1", "--save_every=9"]
    )
    assert (flags.epochs, flags.max_steps, flags.workers, flags.seed) == (3, 7, 0, 0)
    assert (flags.eval_every, flags.eval_rows, flags.print_freq, flags.save_every) == (5, 100, 1, 9)
    assert flags.learning_rate == 5e-5


def test_last_of_two_counts_and_is_told():
    flags = parse_train(["--epochs", "2", "--epochs=3"])
    assert flags.epochs == 3
    assert flags.notes == ["--epochs is given twice: the last one, 3, is used"]
    assert parse_train(["--epochs", "2", "--epochs=2"]).notes == []


@pytest.mark.parametrize(
    "argv, line",
    [
        (["--epocs", "3"], "error: --epocs: unknown flag; did you mean --epochs?"),
        (["--EPOCHS=3"], "error: --EPOCHS: unknown flag; did you mean --epochs?"),
        (["--nosample"], "error: --nosample: unknown flag; did you mean --sample?"),
        (["--zzzz"], "error: --zzzz: unknown flag; see train_ddp.py --help"),
        (["--epoch", "3"], "error: --epoch: unknown flag; did you mean --epochs?"),
        (
            ["--submission", "a"],
            "error: --submission: a flag of test_ddp.py, not of train_ddp.py; drop it",
        ),
        (
            ["--nproc_per_node=2"],
            "error: --nproc_per_node: a flag of the launcher; write it before train_ddp.py: "
            "torchrun --nproc_per_node=... train_ddp.py ...",
        ),
        (["klue_tc"], "error: 'klue_tc': belongs to no flag; write --flag value"),
        (["-t"], "error: '-t': belongs to no flag; flags have two dashes"),
        (
            ["--gin_param", "a.b={'inputs':", "256}"],
            "error: '256}': belongs to no flag; if it is part of --gin_param, put the whole value "
            "in quotes",
        ),
        (["--task"], "error: --task: needs a value; write --task NAME"),
        (["--task", "--sample"], "error: --task: needs a value; write --task NAME"),
        (["--task", ""], "error: --task '': empty; give it a value"),
        (["--task= "], "error: --task ' ': empty; give it a value"),
        (["--batch_size", "0"], "error: --batch_size '0': too small; give 1 or more"),
        (["--batch", "-2"], "error: --batch '-2': too small; give 1 or more"),
        (["--epochs=1.5"], "error: --epochs '1.5': not a whole number; give 1 or more"),
        (["--epochs=abc"], "error: --epochs 'abc': not a whole number; give 1 or more"),
        (["--max_steps=0"], "error: --max_steps '0': too small; give 1 or more"),
        (["--workers=-1"], "error: --workers '-1': too small; give 0 or more"),
        (
            ["--save_every", "15s"],
            "error: --save_every '15s': neither steps nor minutes; give steps such as 500, or "
            "minutes such as 15m",
        ),
        (
            ["--save_every=0m"],
            "error: --save_every '0m': neither steps nor minutes; give steps such as 500, or "
            "minutes such as 15m",
        ),
        (["--print_freq=0"], "error: --print_freq '0': too small; give 1 or more"),
        (["--seed=4294967296"], "error: --seed '4294967296': too large; give 4294967295 or less"),
        (
            ["--learning_rate", "-1e-3"],
            "error: --learning_rate '-1e-3': not above zero and finite; give a number such as 5e-5",
        ),
        (
            ["--learning_rate=nan"],
            "error: --learning_rate 'nan': not above zero and finite; give a number such as 5e-5",
        ),
        (
            ["--learning_rate=fast"],
            "error: --learning_rate 'fast': not a number; give one such as 5e-5",
        ),
        (
            ["--sample", "maybe"],
            "error: --sample 'maybe': neither true nor false; "
            "write true or false, or omit the value",
        ),
        (
            ["--parallel=fsdp2"],
            "error: --parallel 'fsdp2': no such mode; did you mean 'fsdp'?",
        ),
        (
            ["--schedule=cosin"],
            "error: --schedule 'cosin': no such schedule; did you mean 'cosine'?",
        ),
        (
            ["--valid_split=a", "--test_split=b"],
            "error: --valid_split and --test_split: one flag under two names; give one of them",
        ),
    ],
)
def test_fault_of_the_training_line(argv, line):
    assert fault(parse_train, *argv) == line


@pytest.mark.parametrize(
    "argv, line",
    [
        (
            ["--epochs=3"],
            "error: --epochs: a flag of train_ddp.py, not of test_ddp.py; drop it",
        ),
        (
            ["--valid_split=a"],
            "error: --valid_split: a flag of train_ddp.py, not of test_ddp.py; drop it",
        ),
        (
            ["--hf_path=a", "--resume"],
            "error: --resume and --hf_path: both say which weights to test; give one of them",
        ),
    ],
)
def test_fault_of_the_testing_line(argv, line):
    assert fault(parse_test, *argv) == line


@pytest.mark.parametrize(("argv", "text"), [([], "15m"), (["--save_every=7.5m"], "7.5m")])
def test_checkpoints_by_the_clock(argv, text):
    every = parse_train(argv).save_every
    assert isinstance(every, Minutes) and str(every) == text
    assert every == float(text.removesuffix("m"))


def test_all_faults_are_told_at_once():
    line = fault(parse_train, "--batch_size=0", "--tsk", "x", "--epochs=a")
    assert line == (
        "error: --batch_size '0': too small; give 1 or more; also --tsk: unknown flag; "
        "did you mean --task?; also --epochs 'a': not a whole number; give 1 or more"
    )


def test_a_long_value_is_cut():
    assert len(fault(parse_train, "--epochs=" + "9" * 5000 + "x")) < 150


@pytest.mark.parametrize("parse, script", [(parse_train, TRAIN), (parse_test, TEST)])
def test_help_shows_every_flag_of_the_script(parse, script, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(SystemExit) as caught:
        parse(["--task", "x", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert shown == help_text(script)
    assert all((f"  --{f.name} " in shown) == (script in f.scripts) for f in FLAGS)
    assert max(map(len, shown.splitlines())) <= 100


def test_help_is_shown_by_one_rank(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        parse_train(["--help"])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("script", [TRAIN, TEST])
def test_examples_of_the_help_are_accepted(script):
    for launcher, example in EXAMPLES[script]:
        assert f"  {command(script, launcher)} {example}\n" in help_text(script)
        argv = example.replace("\\\n", " ").split()
        (parse_train if script == TRAIN else parse_test)(argv)


def test_flags_need_nothing_heavy():
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from ke_t5.config.flags import parse_train\n"
        "try: parse_train(['--epocs'])\n"
        "except Exception: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets', 'gin'} & set(sys.modules)\n"
        "assert not heavy and time.perf_counter() - start < 1, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT)
