"""`ke-t5 board`: which runs share a cell, what is compared, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from scipy import stats
from support.results import keep, keep_run

from ke_t5.commands import board
from ke_t5.errors import UserError
from ke_t5.experiments import board as board_of_experiments
from ke_t5.own_data import OwnData, forget, register
from ke_t5.pipe import TaskRegistry
from ke_t5.pipe.monitor import least

NAMES = TaskRegistry.get("nsmc").labels
GOLDS = [NAMES[i % 2] for i in range(100)]
TEXTS = [f"리뷰 {i}" for i in range(100)]


def nsmc(folder, num_wrong, **facts):
    """A run with `num_wrong` wrong answers out of 100."""
    keep_run(folder, **facts)
    other = {NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]}
    said = [other[gold] if i < num_wrong else gold for i, gold in enumerate(GOLDS)]
    keep(folder / "eval" / "test", "nsmc", GOLDS, said, TEXTS, split="test")
    return folder


def result(column, value):
    return board_of_experiments.Result(
        "model", column, (), 42, value, None, num_rows=100, command="", place=Path()
    )


def run(*words, capsys):
    board.main(board.parser().parse_args([str(word) for word in words]))
    return " ".join(capsys.readouterr().out.split())


def test_seeds_share_a_cell_and_are_compared_in_pairs(tmp_path, capsys):
    wrong = {"klue/roberta-base": (20, 22, 27), "klue/bert-base": (24, 25, 32)}
    for model, numbers in wrong.items():
        for seed, number in enumerate(numbers):
            nsmc(tmp_path / model / str(seed), number, seed=seed, pre_trained_model=model)
    out = run(
        tmp_path, "--markdown", tmp_path / "b.md", "--html", tmp_path / "b.html", capsys=capsys
    )
    assert "klue/roberta-base 77.00 ± 3.61 (3)" in out and "klue/bert-base 73.00 ± 4.36 (3)" in out
    test = stats.ttest_rel([80, 78, 73], [76, 75, 68])
    low, high = test.confidence_interval(0.95)
    expected = f"+4.00 [{low:+.2f}, {high:+.2f}] {test.pvalue:.3f} 3 seeds"
    assert f"klue/roberta-base klue/bert-base {expected}" in out
    text = (tmp_path / "b.md").read_text(encoding="utf-8")
    assert "| model | nsmc test: accuracy |" in text and "| train_ddp.py 2 |" in text
    page = (tmp_path / "b.html").read_text(encoding="utf-8")
    assert "train_ddp.py 2" in page and "<script" not in page and "http" not in page


def test_single_runs_are_compared_row_by_row(tmp_path, capsys):
    nsmc(tmp_path / "a", 30)
    nsmc(tmp_path / "b", 10, from_scratch=True)
    out = run(tmp_path / "a", tmp_path / "b", capsys=capsys)
    assert "klue/roberta-base (from scratch) klue/roberta-base +20.00 [+1" in out
    assert "rows" in out.partition("+20.00")[2]


def test_runs_on_different_rows_are_not_compared(tmp_path, capsys):
    nsmc(tmp_path / "a", 30)
    nsmc(tmp_path / "b", 10, from_scratch=True)
    file = tmp_path / "b" / "eval" / "test" / "predictions.jsonl"
    file.write_text(file.read_text().replace('"리뷰 3"', '"다른 문장"'))
    out = run(tmp_path, capsys=capsys)
    assert "roberta-base not the same data: row 3 has another text rows" in out


def test_runs_on_own_data_are_compared_too(tmp_path, capsys):
    columns = {"text": "문장", "label": "감정"}
    own = OwnData("classification", columns=columns, labels=("긍정", "부정"))
    register(own)
    for name, num_wrong in (("a", 30), ("b", 10)):
        folder = tmp_path / name
        keep_run(folder, task=own.task, pre_trained_model=name, own_data=own.to_json())
        golds, other = ["긍정", "부정"] * 50, ["부정", "긍정"] * 50
        said = [*other[:num_wrong], *golds[num_wrong:]]
        keep(folder / "eval" / "test", own.task, golds, said, TEXTS, split="test")
    forget()
    out = run(tmp_path, capsys=capsys)
    assert "classification test: macro_f1 b a +20.0" in out


def test_runs_with_different_settings_get_separate_rows(tmp_path, capsys):
    nsmc(tmp_path / "a", 30)
    nsmc(tmp_path / "b", 30, learning_rate=3e-5)
    out = run(tmp_path, capsys=capsys)
    assert "klue/roberta-base [rate 5e-05] 70.00" in out
    assert "klue/roberta-base [rate 3e-05] 70.00" in out


def test_runs_with_different_bindings_or_data_are_not_averaged(tmp_path, capsys):
    rows = {"train": {"examples": 64}, "test": {"examples": 100}}
    fewer = {**rows, "train": {"examples": 8}}
    for seed, (data, dropout) in enumerate(((rows, 0.1), (rows, 0.1), (rows, 0.3), (fewer, 0.1))):
        run_folder = nsmc(tmp_path / str(seed), 20 + seed, seed=seed, data=data)
        config = f"model.dropout = {dropout}\nfit.padding = '{seed}'\nAdamW.lr = {seed}\n"
        (run_folder / "config.gin").write_text(config, encoding="utf-8")
    out = run(tmp_path, capsys=capsys)
    assert "klue/roberta-base [training rows 64, model.dropout 0.1] 79.50 ± 0.71 (2)" in out
    assert "klue/roberta-base [training rows 64, model.dropout 0.3] 78.00" in out
    assert "klue/roberta-base [training rows 8, model.dropout 0.1] 77.00" in out


def test_bindings_over_several_lines_are_read():
    config = (
        "# Parameters for a:\n# =====\na.b = \\\n    {'c': 1,\n     'd': 2}\na.e = 'f'\n# None.\n"
    )
    assert board_of_experiments.bindings_of(config) == {"a.b": "{'c': 1, 'd': 2}", "a.e": "'f'"}


@pytest.mark.parametrize(
    ("last", "config", "said"),
    [
        (500, "", "klue/roberta-base (300 steps missing) 70.00"),
        (500, "fit.early_stopping = 2", "klue/roberta-base 70.00"),
        (800, "fit.early_stopping = None", "klue/roberta-base 70.00"),
    ],
)
def test_an_unfinished_run_is_marked(last, config, said, tmp_path, capsys):
    folder = nsmc(tmp_path / "a", 30, steps=800)
    lines = ({"step": 400, "scores": {"accuracy": 70.0}}, {"step": last, "loss": 0.5})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.gin").write_text(config)
    assert said in run(folder, capsys=capsys)


def test_tasks_are_rows_if_they_outnumber_the_models():
    cells = {f"task {i}": [result(f"task {i}", 70.0 + i)] for i in range(5)}
    table = board_of_experiments.sections_of(board_of_experiments.Board({"model": cells}))[0]
    assert table.head == ["task", "model"]
    assert table.rows == [[f"task {i}", f"{70 + i}.00"] for i in range(5)]


def test_only_the_newest_of_repeated_runs_counts(tmp_path, capsys):
    for name, num_wrong in (("nsmc", 10), ("nsmc.1", 30), ("nsmc.2", 20)):
        nsmc(tmp_path / "model" / name, num_wrong)
    nsmc(tmp_path / "model" / "nsmc.3", 12, seed=43)
    written = tmp_path / "model" / "nsmc" / "eval" / "test.tmp-4194000"
    keep(written, "nsmc", GOLDS, GOLDS, TEXTS, split="test")
    out = run(tmp_path, tmp_path / "model", capsys=capsys)
    assert "klue/roberta-base 89.00 ± 1.41 (2)" in out
    assert "omitted: 2 results of runs that were trained again" in out


def test_the_lowest_score_is_best_if_lower_is_better(tmp_path, capsys, monkeypatch):
    task = TaskRegistry.get("nsmc")
    of_errors = dataclasses.replace(task, best=least("accuracy"))
    monkeypatch.setattr(TaskRegistry, "get", lambda name: of_errors)
    for name, num_wrong in (("a", 30), ("b", 10)):
        nsmc(tmp_path / name, num_wrong, pre_trained_model=name)
    assert "nsmc test: accuracy a b -20.00 [" in run(tmp_path, capsys=capsys)


def test_there_is_no_interval_if_all_seeds_have_the_same_difference(tmp_path, capsys):
    for model, numbers in {"a": (20, 22), "b": (21, 23)}.items():
        for seed, number in enumerate(numbers):
            nsmc(tmp_path / model / str(seed), number, seed=seed, pre_trained_model=model)
    assert "a b +1.00 the same for every seed 2 seeds" in run(tmp_path, capsys=capsys)
    scores = tmp_path / "b" / "1" / "eval" / "test" / "scores.json"
    scores.write_text(scores.read_text().replace('"scored": 100', '"scored": 90'))
    out = run(tmp_path, capsys=capsys)
    assert "a b not the same data: 90 and 100 rows 2 seeds" in out
    scores.write_text(scores.read_text().replace('"accuracy": 77.0', '"accuracy": null'))
    out = run(tmp_path, capsys=capsys)
    assert "a 79.00 ± 1.41 (2) b – (2)" in out and "Best against others" not in out


def test_the_model_of_the_sample_is_not_called_pre_trained(tmp_path, capsys):
    nsmc(tmp_path / "a", 30, model_folder="/cache/sample-0123abcd/models/t5-0123")
    out = run(tmp_path, capsys=capsys)
    assert "the sample's tiny model 70.00" in out and "roberta" not in out


def test_results_of_an_export_are_not_those_of_the_run(tmp_path, capsys):
    folder = nsmc(tmp_path / "a", 30)
    said = ["x"] * 100
    keep(folder / "eval" / "nsmc__test__hf", "nsmc", GOLDS, said, TEXTS, split="test", weights="hf")
    assert "0.00" not in run(tmp_path, capsys=capsys).replace("70.00", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.mkdir(), "no run there; name the folder of a run, or one that"),
        (lambda folder: keep_run(folder), "the runs there have no scores; test the runs first"),
        (
            lambda folder: [nsmc(folder / name, 3) for name in "ab"],
            "duplicate of ",
        ),
    ],
)
def test_folders_without_usable_results_are_errors(make, message, tmp_path, capsys):
    make(tmp_path / "x")
    with pytest.raises(UserError, match=message):
        run(tmp_path / "x", capsys=capsys)
