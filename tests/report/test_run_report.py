"""The report of a run, generated from its folder alone, for folders of any version."""

from __future__ import annotations

import base64
import json
import re

import pytest

from ke_t5 import cli
from ke_t5.errors import UserError
from ke_t5.report import figures
from ke_t5.report.run_facts import command_line, facts_of_run
from ke_t5.report.run_files import read_run_files
from ke_t5.report.run_report import markdown_report, panels_of, write_run_report

SHA = "b29a59ea0cfd37805a3ebf3f28c3ab0dd4d4a59371a41bb11c195bec5639dd9d"
RUN = {
    "task": "klue_tc",
    "model_name": "transformers:RobertaForSequenceClassification",
    "pre_trained_model": "klue/roberta-base",
    "from_scratch": False,
    "seed": 42,
    "device": "cpu",
    "parameters": 110_618_111,
    "trainable_parameters": 110_618_111,
    "steps": 6,
    "padding": 0.0214,
    "batch": {"per_process": 16, "accumulated": 1, "global": 32, "tokens": None},
    "schedule": {"name": "linear", "warmup_ratio": 0.1, "warmup_steps": None},
    "versions": {"ke_t5": "0.2.0", "torch": "2.13.0"},
    "data": {
        "train": {"examples": 1800, "content": "97485b", "raw": {"files": {"기사.json": SHA}}},
    },
    "launches": [
        {"command": "train_ddp.py --task klue_tc --train_file '한 글.csv'", "processes": 2,
         "git_commit": "63b240743dad-dirty", "host": "gpu1", "gpu": "NVIDIA H100",
         "seconds": 60.2, "peak_memory_bytes": {"host": 2**30, "gpu": 3 * 2**30}},
        {"command": "ke-t5-train --task klue_tc", "launcher": "", "git_commit": "63b240743dad",
         "host": "gpu1", "processes": 1},
    ],
}  # fmt: skip
METRICS = [
    {"step": 2, "epoch": 0, "loss": 2.0, "lr": 0.001, "grad_norm": 1.5},
    {"step": 3, "split": "validation", "scores": {"macro_f1": 60.0, "정확도": None},
     "validation_loss": 1.75},
    {"step": 4, "epoch": 1, "loss": None, "lr": 0.0005, "grad_norm": 0.5},
]  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A run that was killed in its second launch."""
    run = tmp_path / "output" / "Roberta_klue" / "klue_tc"
    (run / "weights").mkdir(parents=True)
    (run / "eval" / "dev_<b>_").mkdir(parents=True)
    (run / "run.json").write_text(json.dumps(RUN), encoding="utf-8")
    lines = "".join(json.dumps(line) + "\n" for line in METRICS)
    (run / "metrics.jsonl").write_text(lines + '{"step": 5, "lo')
    rates = {"steps_per_second": 2.0, "rows_per_second": 64.0, "tokens_per_second": 4096.0}
    timing = [{"step": 2, "seconds": 3.0, **rates}, {"step": 4, "seconds": 1.0, **rates}]
    timing[1]["rows_per_second"] = 32.0
    (run / "timing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timing))
    (run / "config.gin").write_text("model.config = {'id2label': '<정치>'}\n", encoding="utf-8")
    (run / "weights" / "best.json").write_text('{"snapshot": "step-00000003"}')
    scores = {
        "task": "klue_tc", "split": "dev[<b>]", "weights": "step-00000003", "scored": 1203,
        "scores": {"macro_f1": 60.0, "mcc": None}, "intervals": {"macro_f1": [55.5, 64.25]},
    }  # fmt: skip
    (run / "eval" / "dev_<b>_" / "scores.json").write_text(json.dumps(scores))
    (run / "eval" / "dev_<b>_" / "report.html").write_text("")
    return run


def test_the_page_has_what_a_paper_needs(folder):
    page = write_run_report(folder).read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    for words in (
        "4 steps of 6, best checkpoint: step-00000003",
        "step-00000003 macro_f1 60.00 55.50 to 64.25 1,203",
        "step-00000003 mcc – – 1,203",
        "wall time 0:01:00", "launches without an end 1 (killed, or still running)",
        "steps per second 2.00", "rows per second 56.0", "tokens per second 4,096.0",
        "peak memory of process 0 1.00 GiB", "peak memory of its GPU 3.00 GiB",
        "device cpu", "parameters 110,618,111", "schedule linear, warmup_ratio 0.1",
        "global batch 32", "padding 2.1 % of the tokens",
        "seed 42", "train 1,800 examples, content 97485b",
        f"기사.json SHA-256 {SHA}",
        "torchrun --nproc_per_node=2 train_ddp.py --task klue_tc --train_file &#39;한 글.csv&#39;",
        "command of launch 2 ke-t5-train --task klue_tc",
        "git commit 63b240743dad with changed files, then 63b240743dad", "version of torch 2.13.0",
        "model.config = {&#39;id2label&#39;: &#39;&lt;정치&gt;&#39;}",
    ):  # fmt: skip
        assert words in text, words
    assert 'href="eval/dev_%3Cb%3E_/report.html"' in page and "<b>" not in page
    assert "<script" not in page and "http" not in page and page.startswith("<!doctype html>")
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(png).startswith(b"\x89PNG")


def test_the_curves_equal_the_logs(folder):
    loss, scores, rate, norm = panels_of(read_run_files(folder))
    assert loss.curves == {"training": ([2], [2.0]), "validation": ([3], [1.75])}
    assert scores.curves == {"macro_f1": ([3], [60.0])} and scores.mark == (3, "best checkpoint")
    assert rate.curves == {"learning rate": ([2, 4], [0.001, 0.0005])}
    assert norm.curves == {"norm": ([2, 4], [1.5, 0.5])}


def test_a_folder_of_an_older_version_gives_a_shorter_report(folder, monkeypatch, caplog):
    for name in ("timing.jsonl", "config.gin", "eval/dev_<b>_/scores.json", "weights/best.json"):
        (folder / name).unlink()
    (folder / "run.json").write_text('{"task": "klue_tc", "command": "train_ddp.py --task x"}')
    lines = [{"step": 2, "loss": 2.0}, {"step": 3, "scores": {"f1": 1.0}}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    files = read_run_files(folder)
    assert [panel.title for panel in panels_of(files)] == ["loss", "validation scores (x 100)"]
    assert facts_of_run(files)["Reproduction"]["command"] == "python train_ddp.py --task x"
    page = write_run_report(folder).read_text(encoding="utf-8")
    assert "<h2>Training</h2>" in page and "<h2>Results</h2>" not in page
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    assert "<h2>Training</h2>" not in write_run_report(folder).read_text(encoding="utf-8")
    assert "matplotlib is not installed: the report has no figures" in caplog.text
    (folder / "metrics.jsonl").unlink()
    assert "no step logged yet" in write_run_report(folder).read_text(encoding="utf-8")


def test_the_command_prints_markdown(folder, capsys):
    cli._main(["report", str(folder), "--markdown"])
    text = capsys.readouterr().out
    assert text == markdown_report(folder) and text.startswith("# klue_tc: transformers:Roberta")
    assert "| dev_<b>_ | step-00000003 | macro_f1 | 60.00 | 55.50 to 64.25 |" in text
    assert "| rows per second | 56.0 |" in text and "```python\nmodel.config" in text
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("launch", "line"),
    [
        ({"command": "train_ddp.py --lr 1"}, "python train_ddp.py --lr 1"),
        ({"command": "/x/ke_t5/__main__.py train"}, "python -m ke_t5 train"),
        ({"command": "ke-t5-train a"}, "ke-t5-train a"),
        (
            {"command": "ke-t5-train a", "processes": 4},
            "torchrun --nproc_per_node=4 --no-python ke-t5-train a",
        ),
        (
            {"command": "train_ddp.py", "launcher": "torchrun --nnodes=2", "processes": 4},
            "torchrun --nnodes=2 train_ddp.py",
        ),
        ({"command": "train_ddp.py --text don't"}, "train_ddp.py --text don't"),
        ({}, None),
    ],
)
def test_the_command_can_be_repeated(launch, line):
    assert command_line(launch) == line


def test_a_folder_without_a_run_is_an_error_that_suggests_runs(folder, tmp_path):
    with pytest.raises(UserError, match=r"output: has no run.json; did you mean .*/klue_tc\?"):
        cli._main(["report", str(tmp_path / "output")])
    with pytest.raises(UserError, match=r"weights: has no run.json; did you mean .*/klue_tc\?"):
        cli._main(["report", str(folder / "weights")])
    with pytest.raises(UserError, match="none: has no run.json; name a run's folder: <output_dir>"):
        cli._main(["report", str(tmp_path / "none")])
    for content in ("[1]", json.dumps({**RUN, "batch": [1]}), '{"launches": 3}'):
        (folder / "run.json").write_text(content)
        with pytest.raises(UserError, match="run.json: no record of a run; restore it"):
            cli._main(["report", str(folder)])


def test_the_report_of_a_run_in_progress_ignores_partly_written_results(folder, capsys):
    (folder / "run.json").write_text(json.dumps({**RUN, "steps": "?", "schedule": None}))
    (folder / "timing.jsonl").write_text('{"step": 2, "seconds": null, "steps_per_second": null}')
    folder.joinpath("eval", "dev_<b>_").rename(folder / "eval" / "dev.tmp-4194000")
    cli._main(["report", str(folder), "--markdown"])
    out = capsys.readouterr().out
    assert "4 steps" in out and "## Results" not in out and "per second" not in out
