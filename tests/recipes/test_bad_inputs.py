"""Bad inputs as a user sees them: one line, the right exit code, no heavy imports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.processes import ROOT, TORCHRUN, run_script

from ke_t5.errors import Exit
from ke_t5.recipes.folders import RunFolder
from ke_t5.sample import sample_model_dir


@pytest.fixture(scope="module")
def roberta(cache_dir):
    return sample_model_dir(cache_dir, "roberta")


@pytest.fixture
def broken(tmp_path):
    """A folder for a broken release of KLUE-TC."""
    folder = tmp_path / "klue_benchmark" / "ynat-v1.1"
    folder.mkdir(parents=True)
    row = {"guid": "ynat-v1_train_00000", "title": "경기 침체", "label": "경제"}
    for split in ("train", "dev"):
        (folder / f"ynat-v1.1_{split}.json").write_text(json.dumps([row]), encoding="utf-8")
    return folder


def one_line(done: subprocess.CompletedProcess, code: int) -> str:
    """The only error line, and the exit code."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


FLAGS = [
    (("--task", "klue_ynatt"), "--task 'klue_ynatt': unknown task"),
    (("--task", "klue_tcc"), "did you mean 'klue_tc'"),
    (("--model_name", "T5EncoderForTokenClasification"), "'T5EncoderForTokenClassification'"),
    (("--model_name", "transformers:RobertaForSequenceClasification"), "did you mean 'Roberta"),
    (("--model_name", "no_such_module:Model"), "no_such_module"),
    (("--batch_size", "0"), "--batch_size '0': too small; give 1 or more"),
    (("--bacth_size", "4"), "did you mean --batch_size"),
    (("--gin_file", "trian_default.gin"), "train_default.gin"),
    (("--gin_param", "AdamW.lrr=1"), "did you mean 'lr'"),
    (("--gin_param", "AdmW.lr=1"), "did you mean 'AdamW'"),
    (("--gin_param", "fit.precision='fp16'"), "'fp16', in which T5 overflows"),
    (("--module_import", "not_there"), "--module_import not_there"),
    (("--resume", "true"), "no run was saved there"),
]


@pytest.mark.parametrize(("words", "message"), FLAGS)
def test_a_wrong_flag_is_one_line(tmp_path, cache_dir, words, message):
    done = run_script(
        "train_ddp.py", "--output_dir", tmp_path / "out", "--hf_cache_dir", cache_dir, *words
    )
    code = Exit.CHECKPOINT if words[0] == "--resume" else Exit.FLAGS
    line = one_line(done, code)
    assert message in line
    assert not (tmp_path / "out").exists() or words[0] == "--resume"


def test_flags_and_gin_are_checked_before_anything_heavy_is_imported():
    program = (
        "import sys\n"
        "from ke_t5.errors import UserError\n"
        "from ke_t5.recipes.train import main\n"
        "from ke_t5.config.flags import parse_train\n"
        "try: main(parse_train(['--gin_param', 'AdamW.lrr=1']))\n"
        "except UserError: print([m for m in ('torch', 'transformers', 'datasets', 'sklearn')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]", done.stderr


def run(script, data, roberta, cache_dir, tmp_path, *words):
    return run_script(
        script, "--hf_data_dir", data, "--pre_trained_model", roberta,
        "--model_name", "transformers:RobertaForSequenceClassification",
        "--hf_cache_dir", cache_dir, "--output_dir", tmp_path / "out", "--from_scratch", *words,
    )  # fmt: skip


def break_row(folder, **changes):
    path = folder / "ynat-v1.1_train.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([{**rows[0], **changes}], ensure_ascii=False), encoding="utf-8")


def test_a_label_that_is_not_in_the_list_names_row_and_labels(broken, roberta, cache_dir, tmp_path):
    break_row(broken, label="경졔")
    line = one_line(run("train_ddp.py", tmp_path, roberta, cache_dir, tmp_path), Exit.DATA)
    assert "row 0" in line and "'경졔'" in line and "'경제'" in line


def test_a_row_that_is_not_json_names_file_and_line(broken, roberta, cache_dir, tmp_path):
    (broken / "ynat-v1.1_train.json").write_text('[{"guid": 1,,}]')
    line = one_line(run("train_ddp.py", tmp_path, roberta, cache_dir, tmp_path), Exit.DATA)
    assert "ynat-v1.1_train.json:1" in line


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (("--train_split", "trian"), "split 'trian'", Exit.DATA),
        (("--train_split", "train[100%:]"), "contains no examples", Exit.DATA),
        (("--hf_data_dir", "nowhere"), "no such folder", Exit.DATA),
        (("--from_scratch", "false"), "--from_scratch true", Exit.CHECKPOINT),
        (("--pre_trained_model", "nowhere/at/all"), "no such folder", Exit.CHECKPOINT),
        (("--model_name", "transformers:RobertaForTokenClassification"), "", Exit.FLAGS),
    ],
)
def test_wrong_data_or_model_is_one_line(
    sample_data, roberta, cache_dir, tmp_path, words, message, code
):
    line = one_line(run("train_ddp.py", sample_data, roberta, cache_dir, tmp_path, *words), code)
    assert message in line


@pytest.mark.parametrize("flag", ["--output_dir", "--hf_cache_dir"])
def test_a_folder_that_cannot_be_made_is_a_fault_of_the_machine(
    sample_data, roberta, tmp_path, flag
):
    (tmp_path / "file").write_text("not a folder")
    words = ("--hf_cache_dir", tmp_path / "cache", flag, tmp_path / "file" / "folder")
    line = one_line(
        run("train_ddp.py", sample_data, roberta, tmp_path, tmp_path, *words), Exit.MACHINE
    )
    assert line.startswith(f"error: {flag}") and "(Not a directory)" in line


def test_no_network_says_where_the_release_can_be_had(roberta, cache_dir, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    line = one_line(run("train_ddp.py", empty, roberta, cache_dir, tmp_path), Exit.DATA)
    assert "HF_HUB_OFFLINE" in line and "1_train.json" in line and "--sample" in line


def test_a_tokenizer_of_another_model_names_both(sample_data, roberta, cache_dir, tmp_path):
    larger = tmp_path / "larger"
    larger.mkdir()
    for path in roberta.iterdir():
        (larger / path.name).write_bytes(path.read_bytes())
    config = json.loads((larger / "config.json").read_text())
    (larger / "config.json").write_text(json.dumps({**config, "vocab_size": 50}))
    words = ("--pre_trained_model", larger, "--max_steps", "1")
    line = one_line(
        run("train_ddp.py", sample_data, roberta, cache_dir, tmp_path, *words), Exit.CHECKPOINT
    )
    assert "50 rows" in line and "ids" in line


def test_an_error_is_told_once_under_torchrun(tmp_path):
    done = run_script(*TORCHRUN, ROOT / "train_ddp.py", "--task", "klue_tcc")
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "did you mean 'klue_tc'" in lines[0]


def test_a_failed_run_leaves_error_json(broken, roberta, cache_dir, tmp_path):
    names = "RobertaForSequenceClassification", str(roberta), "klue_tc"
    RunFolder.of(tmp_path / "out", *names).path.mkdir(parents=True)
    break_row(broken, label="경졔")
    run("train_ddp.py", tmp_path, roberta, cache_dir, tmp_path)
    (found,) = (tmp_path / "out").rglob("error.json")
    assert json.loads(found.read_text())["code"] == Exit.DATA


def test_a_run_that_does_not_start_leaves_no_folder(broken, roberta, cache_dir, tmp_path):
    break_row(broken, label="경졔")
    one_line(run("train_ddp.py", tmp_path, roberta, cache_dir, tmp_path), Exit.DATA)
    assert not (tmp_path / "out").exists()
