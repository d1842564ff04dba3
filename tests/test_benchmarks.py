"""The tables of `python -m benchmarks` and its siblings; the measurements are run by hand."""

from __future__ import annotations

import ast
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_page
from benchmarks.__main__ import PAGE, RESULTS, comparisons, lines_of, page
from benchmarks.coverage import HEAD
from benchmarks.few_shot import draws, table
from benchmarks.populations import POPULATIONS
from benchmarks.rows import ROWS, Row, Runs, interleaved, ratios
from benchmarks.small_t5 import texts_of

FOLDER = Path(__file__).parents[1] / "benchmarks"
ROW = Row("speed", "What it is", "module:function", {"theirs": 2.0}, limit=0.5)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_names_a_function(row):
    module, _, function = row.measure.partition(":")
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    targets = [node.targets for node in tree.body if isinstance(node, ast.Assign)]
    walked = (name for (target,) in targets for name in ast.walk(target))
    names |= {name.id for name in walked if isinstance(name, ast.Name)}
    assert function in names
    assert [other.name for other in ROWS].count(row.name) == 1


def test_contenders_take_turns_and_scoring_is_not_timed():
    calls = []

    def contender(name):
        def run(number):
            calls.append((name, number))
            return lambda: calls.append("found") or 50.0 + number

        return run

    runs = interleaved({x: contender(x) for x in "ab"}, rounds=2, amount=4, warm_ups=1)
    started = [call for call in calls if call != "found"]
    assert sorted(started[:2]) == [("a", 0), ("b", 0)]  # not counted
    assert started[2:] == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]  # the first one alternates
    assert runs["a"].learned == [50.0, 51.0]
    assert len(runs["a"].seconds) == 2


def test_rates_are_compared_within_a_round():
    ours, theirs = Runs([1.0, 2.0, 0.5], amount=10), Runs([3.0, 3.0, 3.0], amount=5)
    assert ratios(ours, theirs) == [6.0, 3.0, 12.0]


def test_a_missed_goal_is_reported():
    runs = {"ours": Runs([1.0, 1.0], [80.0, 82.0]), "theirs": Runs([1.5, 1.5], [70.0, 70.0])}
    (compared, alone) = comparisons(ROW, runs)
    assert compared == ("theirs", "0.667 (0.667 to 0.667)", "1.50 (1.50 to 1.50)x", "≥ 2", False)
    assert alone[-2:] == ("≤ 0.5 s", False)
    assert "goal ≥ 2: NO, score 70.0 ± 0.0" in "\n".join(lines_of(ROW, runs))


def test_the_page_is_up_to_date():
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == page(results)
    known = {row.name: {"ours", *row.goals} for row in ROWS}
    for name, record in results.items():
        assert set(record["runs"]) <= known[name]


def test_the_coverage_table_can_be_replaced():
    text = (FOLDER / "RESULTS_COVERAGE.md").read_text(encoding="utf-8")
    names = [line.split("|")[1].partition(" (")[0].strip() for line in text.splitlines()[1:]
             if line.startswith("| ")][1:]  # fmt: skip
    assert text.count(HEAD) == 1 and list(dict.fromkeys(names)) == list(POPULATIONS)


def test_the_page_keeps_machines_apart():
    runs = {"ours": Runs([0.2]), **{name: Runs([10.0]) for row in ROWS for name in row.goals}}
    record = {"scale": 1.0, "runs": {name: asdict(found) for name, found in runs.items()}}
    first, second = ROWS[0].name, ROWS[1].name
    text = page(
        {
            first: {**record, "machine": {"cpu": "one"}},
            second: {**record, "machine": {"cpu": "two"}},
        }
    )
    assert text.index("cpu one") < text.index(f"`{first}`") < text.index("cpu two")
    assert f"| `{second}`" in text and "| yes |" in text


def test_few_shot_draws_are_balanced_and_exclude_the_test_rows():
    pool = [(f"글 {i}", "예" if i % 3 else "아니요") for i in range(60)]
    held = pool[:10]
    found = draws(pool, held, rows=4, count=3)
    for draw in found:
        labels = [label for _, label in draw.train]
        assert labels.count("예") == labels.count("아니요") == 4 and draw.test == held
        assert len(set(draw.train)) == 8 and not {*draw.train} & {*held}
    assert found[0].train != found[1].train
    assert draws(pool, held, rows=4, count=3) == found


def test_the_few_shot_table_compares_draws_that_both_have():
    scores = {("ours", 0): 60.0, ("setfit", 0): 50.0, ("ours", 1): 70.0, ("setfit", 1): 40.0}
    lines = [
        {"task": "nsmc", "rows": 8, "draw": draw, "contender": who, "accuracy": x, "seconds": 2}
        for (who, draw), x in {**scores, ("ours", 2): 99.0}.items()
    ]
    row = "| `nsmc` | 8 | 2 | 65.0 ± 7.1 | 45.0 ± 7.1 | 20.0 ± 14.1 | 2 / 2 |"
    assert table(lines).splitlines()[2:] == [row]


def test_free_text_of_the_small_t5_excludes_the_test_passages(tmp_path):
    articles = [{"paragraphs": [{"context": f"문단 {i}"}]} for i in range(8)]
    for name, content in (
        ("KorQuAD/KorQuAD_v1.0_dev.json", {"data": articles}),
        ("klue_benchmark/ynat-v1.1/ynat-v1.1_train.json", [{"title": "학습 제목"}]),
        ("klue_benchmark/ynat-v1.1/ynat-v1.1_dev.json", [{"title": "시험 제목"}]),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    assert list(texts_of(tmp_path)) == [*(f"문단 {i}" for i in range(6)), "학습 제목"]


GPU_MACHINE = {"device": "cuda", "gpu": "NVIDIA H200", "date": "2026-12-01"}
GRAPHS = [
    {"case": "a step", "optimizer": "AdamW", "tokens": tokens, "implementation": whose, "ms": ms}
    for tokens, whose, ms in ((1088, "graphs", "10.0"), (1088, "Trainer", "39.0"))
]


def gpu_part(rows, machine=GPU_MACHINE):
    return {"machine": machine, "ending": "ok, 5 s", "rows": rows}


def test_the_gpu_page_is_up_to_date():
    results = json.loads(gpu_page.RESULTS.read_text(encoding="utf-8"))
    assert gpu_page.PAGE.read_text(encoding="utf-8") == gpu_page.page_of(results)
    assert all(gpu_page.is_of_a_gpu(part) for part in results.values())
    assert list(gpu.LIMITS) == [name for name in gpu.LIMITS if name in gpu_page.TITLES]


def test_a_run_on_a_gpu_replaces_its_parts_and_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(gpu_page, "RESULTS", tmp_path / "results.json")
    sync = gpu_part([{"stack": "none", "per_step": 0}], {**GPU_MACHINE, "gpu": "NVIDIA H100"})
    assert gpu_page.add({"syncs": sync}) == ["syncs"]
    failed = {**gpu_part([]), "ending": "failed with exit code 1, 5 s"}
    assert gpu_page.add({"graphs": gpu_part(GRAPHS), "syncs": failed}) == ["graphs"]
    text = gpu_page.PAGE.read_text(encoding="utf-8")
    assert text.index("gpu NVIDIA H200, date 2026-12-01; ok") < text.index("gpu NVIDIA H100")
    assert "| none | 0 | 0 per step | yes |" in text and "`--parts cli`" in text


def test_a_run_without_a_gpu_never_changes_the_page(tmp_path, monkeypatch, capsys):
    page = tmp_path / "RESULTS_GPU.md"
    page.write_text("measured", encoding="utf-8")
    monkeypatch.setattr(gpu_page, "PAGE", page)
    monkeypatch.setattr(gpu_page, "RESULTS", tmp_path / "results.json")

    def run(name, words, seconds):
        lines = [{"part": "machine", "device": "cpu"}, {"part": name, **GRAPHS[0]}]
        (out / "gpu.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return "ok, 1 s"

    monkeypatch.setattr(gpu, "run_part", run)
    out = tmp_path / "out"
    words = ["--hf_data_dir", ".", "--models", ".", "--parts", "graphs", "--out"]
    assert gpu.main([*words, str(out)]) == 0
    line = "RESULTS_GPU.md in benchmarks/ is unchanged: a dry run without a GPU"
    assert line in capsys.readouterr().out and "1088" in (out / page.name).read_text("utf-8")
    assert gpu.main(["--add", str(out / "gpu.json")]) == 1
    assert "graphs: not added: a dry run without a GPU" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        gpu.main([*words, str(tmp_path)])
    assert "has the page of all runs; give another folder" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "measured" and not list(tmp_path.glob("*.json"))


def test_goals_of_a_gpu_stand_beside_the_measurements():
    ours, theirs = gpu_page.with_goals("graphs", GRAPHS)
    assert (ours["speedup"], ours["goal"], ours["reached"]) == ("3.90x", "≥ 4x", "**no**")
    assert (theirs["speedup"], theirs["goal"]) == ("", "")
    # Fewer times the Trainer's rate suffice for larger steps.
    large = [{**row, "tokens": 7168} for row in GRAPHS]
    assert gpu_page.with_goals("graphs", large)[0]["goal"] == "≥ 1.6x"
    rates = [{"case": "a", "tokens": 20_000, "implementation": whose, "rows/s": rate}
             for whose, rate in (("graphs", "1,300"), ("Trainer", "1000"))]  # fmt: skip
    assert gpu_page.with_goals("graphs", rates)[0]["reached"] == "yes"
    (row,) = gpu_page.with_goals("graphs", [{"case": "b", "failed": "RuntimeError: no memory"}])
    assert (row["goal"], row["reached"]) == ("to run", "**no**")


@pytest.mark.parametrize(
    ("part", "row", "goal", "has_reached"),
    [
        ("syncs", {"stack": "x", "per_step": 1.0}, "0 per step", False),
        ("cli", {"command": "train", "exit_code": 5}, "exit code 0", False),
        ("graphs", {"implementation": "graphs", "equal_weights": True}, "equal", True),
        (
            "speed",
            {"implementation": "ours", "tokens": 16_384, "of the matrix product's rate": "41.0%"},
            "≥ 40% of the rate", True,
        ),
    ],
)  # fmt: skip
def test_other_goals_of_a_gpu(part, row, goal, has_reached):
    (found,) = gpu_page.with_goals(part, [row])
    assert (found["goal"], found["reached"]) == (goal, "yes" if has_reached else "**no**")


def test_columns_without_a_value_are_left_out():
    rows = [{"case": "a", "peak GB": "4.43"}, {"case": "b|c", "ms": ""}]
    text = gpu_page.page_of({"memory": gpu_part(rows)}, is_of_run=True)
    assert "| case | peak GB |\n|---|---|\n| a | 4.43 |\n| b\\|c |  |\n" in text
