"""`ke-t5 klue`: the training commands that it starts, and the table."""

from __future__ import annotations

import json
import math

import pytest

import ke_t5.recipes.prepare  # noqa: F401 - registers the tasks and what gin may bind
from ke_t5.commands.klue import parser
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.errors import Exit, UserError
from ke_t5.experiments import klue
from ke_t5.pipe import get_task

LARGE = ("--pre_trained_model", "klue/roberta-large")


@pytest.mark.parametrize("words", [(), LARGE, ("--nproc", "4")], ids=" ".join)
@pytest.mark.parametrize("task", klue.BASE)
def test_commands_are_valid_and_have_the_published_batch_size(task, words):
    flags = parser().parse_args(words)
    parsed = parse_train(klue.words_of(flags, task, 7), launches=True)
    setting = klue.settings_for(flags.pre_trained_model)[task]
    assert parsed.batch_size * flags.nproc == setting.rows and parsed.schedule == "linear"
    assert (parsed.epochs, parsed.seed) == (setting.epochs, 7)
    configured = configure(parsed.gin_file, parsed.gin_param)
    length = {"klue_re": 256, "klue_dp": 256, "klue_ner": 510, "klue_mrc": 510}.get(task, 128)
    assert configured.value("get_dataset.sequence_length") == {"inputs": length}


def test_the_tasks_have_the_published_scores():
    for model, scores in klue.published().items():
        assert len(scores) == 14 and all(20 < value < 100 for value in scores.values()), model
    names = {f"{task}/{score}" for task, one in klue.BASE.items() for score in one.scores}
    assert names == {name for name in scores if not name.startswith("klue_dst")}
    for task, setting in klue.BASE.items():
        known = {name for metric in get_task(task).metric_fns for name in metric.names}
        assert set(setting.scores) <= known


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--tasks", "nil"],
            "error: --tasks klue_nil: is not one of the tasks; did you mean 'nli'",
        ),
        (["--nproc", "5"], "error: --nproc 5: klue_tc has 32 rows per step, not divisible"),
        (["--seeds", "0"], "error: --seeds: '0' is"),
    ],
)
def test_errors_are_reported_before_anything_runs(words, message, training, tmp_path):
    words = [*words, "--output_dir", str(tmp_path)]
    with pytest.raises(UserError) as raised:
        klue.main(parser().parse_args(words))
    assert str(raised.value).startswith(message)
    assert not training(tmp_path / "seed-42")


def test_the_table_shows_means_and_deviations_next_to_the_published_scores():
    text = klue.table("mine", {"klue_tc/macro_f1": [80.0, 82.0], "klue_nli/accuracy": [70.0, 70.0]})
    head, _, ours, *rest = text.splitlines()
    assert head == "| model | tc macro_f1 | nli accuracy |"
    assert ours == "| **mine** (dev) | 81.00 ± 1.41 | 70.00 ± 0.00 |"
    assert "| klue/roberta-base (test, published) | 85.07 | 84.83 |" in rest
    assert "| – |" in klue.table("x", {"klue_sts/pearson": [math.nan, 80.0]})
    assert "2 seeds, mean ± standard deviation" in text


def test_finished_runs_are_not_repeated_and_the_table_is_written(training, tmp_path, capsys):
    words = ["--tasks", "tc", "klue_nli", "--seeds", "2", "--output_dir", str(tmp_path / "out")]
    klue.main(parser().parse_args(words))
    first = (tmp_path / "out" / "klue.md").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "out" / "klue.json").read_text(encoding="utf-8"))
    assert content["seeds"] == [42, 43]
    scores = content["scores"]
    assert list(scores) == ["klue_tc/macro_f1", "klue_nli/accuracy"]
    assert all(len(values) == 2 and values[0] < values[1] for values in scores.values())
    assert "**klue/roberta-base** (dev)" in capsys.readouterr().out

    launches = training(tmp_path / "out" / "seed-42") + training(tmp_path / "out" / "seed-43")
    assert len(launches) == 4 and all("--resume=auto" in launch for launch in launches)
    klue.main(parser().parse_args(words))
    assert training(tmp_path / "out" / "seed-42") == launches[:2]  # nothing was trained again
    assert (tmp_path / "out" / "klue.md").read_text(encoding="utf-8") == first


def test_a_failed_training_ends_it_with_the_same_exit_code(training, tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_FAILS", "klue_nli:3")
    words = ["--tasks", "tc", "nli", "--output_dir", str(tmp_path)]
    with pytest.raises(UserError, match="klue_nli, seed 42: its training ended with") as raised:
        klue.main(parser().parse_args(words))
    assert raised.value.exit_code == Exit.DATA
    assert len(training(tmp_path / "seed-42")) == 2
