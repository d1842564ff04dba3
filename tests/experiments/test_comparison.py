"""`ke-t5 compare`: scores, changed rows, significance, and results that cannot be compared."""

import json
import shutil

import numpy as np
import pytest
from support.results import keep

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.commands import compare
from ke_t5.errors import UserError
from ke_t5.pipe import TaskRegistry
from ke_t5.task.spans import entity_spans

TEXTS = ["정말 재미있게 봤어요", "배우들 연기가 아깝다", "시간 가는 줄 몰랐네", "두 번은 못 보겠다"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on 200 reviews: B repairs 30 of A's errors and makes 10 new ones."""
    folder = tmp_path_factory.mktemp("runs")
    names = TaskRegistry.get("nsmc").labels
    pick = np.random.default_rng(1)
    golds = [names[i] for i in pick.integers(2, size=200)]
    other = {names[0]: names[1], names[1]: names[0]}
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(200)]
    said_a = [other[gold] if i < 50 else gold for i, gold in enumerate(golds)]
    said_b = [other[g] if 30 <= i < 60 else g for i, g in enumerate(golds)]
    for name, said in (("a", said_a), ("b", said_b)):
        keep(folder / name / "eval" / "validation", "nsmc", golds, said, texts)
    keep(folder / "c" / "eval" / "test", "nsmc", golds[:150], said_b[:150], texts[:150])
    keep(folder / "d" / "eval" / "validation", "nsmc", golds[::-1], said_b[::-1], texts)
    moved = [*texts[:7], "다른 문장", *texts[8:]]
    keep(folder / "e" / "eval" / "validation", "nsmc", golds, said_b, moved)
    return folder


def run(*words, capsys=None):
    compare.main(compare.parser().parse_args([str(word) for word in words]))
    return capsys.readouterr().out if capsys else ""


def test_changes_and_their_significance_are_shown(runs, tmp_path, capsys):
    page = tmp_path / "page.html"
    out = run(runs / "a", runs / "b", "--html", page, capsys=capsys)
    assert "nsmc validation: A and B on 200 rows" in out
    assert "accuracy" in out and "75.00  85.00  +10.00" in out
    assert [f"{name} {count}" in " ".join(out.split())
            for name, count in (("both", 140), ("A only", 10), ("B only", 30), ("neither", 20))
            ] == [True] * 4  # fmt: skip
    assert "McNemar's exact test of A only against B only: p = 0.002" in out
    assert "B is worse on 10 rows" in out and "B is better on 30 rows" in out
    # Equal changes are sorted by the confidence of the model that is worse.
    worse = out.partition("B is worse")[2].splitlines()
    assert worse[2].split()[0] == "59" and "못 보겠다 59" in worse[2]
    html = page.read_text(encoding="utf-8")
    assert "data:image/png" in html and "정말 재미있게 봤어요 28" in html
    assert "<script" not in html and "http" not in html


def test_json_has_all_numbers(runs, capsys):
    (found,) = json.loads(run(runs / "a", runs / "b", "--json", capsys=capsys))
    accuracy = found["scores"]["accuracy"]
    assert accuracy["difference"] == pytest.approx(10.0)
    assert accuracy["interval"][0] < 10.0 < accuracy["interval"][1] and accuracy["p"] < 0.01
    assert found["changes"]["num_only_first"] == 10 and len(found["changes"]["better"]) == 20
    assert found["mcnemar"]["p"] == pytest.approx(0.00222, abs=1e-4)
    same = json.loads(run(runs / "a", runs / "a", "--json", capsys=capsys))[0]
    assert same["scores"]["accuracy"]["interval"] is None and same["mcnemar"]["p"] == 1.0


def test_results_may_be_named_by_folder_or_file(runs, capsys):
    results = runs / "b" / "eval" / "validation"
    whole = run(runs / "a", results, capsys=capsys)
    assert whole == run(runs / "a", results / "scores.json", capsys=capsys)
    assert whole == run(runs / "a", results / "predictions.jsonl", capsys=capsys)


def test_predictions_alone_need_their_task(runs, tmp_path, capsys):
    text = (runs / "b/eval/validation/predictions.jsonl").read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    alone = tmp_path / "other.jsonl"
    alone.write_text("".join(lines[::-1]), encoding="utf-8")
    with pytest.raises(UserError, match="without a scores.json .*name their task with --task"):
        run(runs / "a", alone)
    out = run(runs / "a", alone, "--task", "nsmc", capsys=capsys)
    assert "75.00  85.00  +10.00" in out and "B is worse on 10 rows" in out
    with pytest.raises(UserError, match="unknown task"):
        run(runs / "a", alone, "--task", "nsmcc")
    assert "nsmc" in run(runs / "a", runs / "b", "--task", "nsmc", capsys=capsys)
    with pytest.raises(UserError, match=r"--task klue_tc: the results in \S+ are of nsmc; drop it"):
        run(runs / "a", runs / "b", "--task", "klue_tc")
    alone.write_text("".join([*lines, lines[3]]), encoding="utf-8")
    with pytest.raises(UserError, match="not valid test results .*201 predictions of 201 rows"):
        run(runs / "a", alone, "--task", "nsmc")


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("d", "not the same data: row [0-9]+ has another gold label; test both on the same data"),
        ("e", "not the same data: row 7 has another text"),
        ("x", "no such file or folder; name the folder of a run"),
        (".", "no results: there is no"),
    ],
)
def test_results_that_cannot_be_compared_are_errors(runs, second, message):
    with pytest.raises(UserError, match=message):
        run(runs / "a", runs / second)


def test_splits(runs, tmp_path):
    with pytest.raises(UserError, match="not the same data: 200 and 150 rows; row 150 is in one"):
        run(runs / "a", runs / "c")
    with pytest.raises(UserError, match="--split tset.*available: 'validation'"):
        run(runs / "a", runs / "b", "--split", "tset")
    names = TaskRegistry.get("nsmc").labels[:1] * 3
    for split in ("one", "two"):
        keep(tmp_path / "f" / "eval" / split, "nsmc", names, names, TEXTS[:3])
    with pytest.raises(UserError, match="no split in common.*test both on one split"):
        run(runs / "a", tmp_path / "f")
    for name in ("m/g", "m/h"):
        (tmp_path / "g" / name).mkdir(parents=True)
        (tmp_path / "g" / name / "run.json").write_text("{}")
    with pytest.raises(UserError, match="has 2 runs, such as m/g"):
        run(runs / "a", tmp_path / "g")


def test_rows_without_a_label_and_results_that_are_being_written(tmp_path, capsys):
    for name in "ab":
        run_folder = tmp_path / name / "Model" / "nsmc"
        folder = keep(run_folder / "eval" / "test", "nsmc", [None] * 3, ["x"] * 3, TEXTS[:3])
        shutil.copytree(folder, run_folder / "eval" / "test.tmp-4194000")
        (run_folder / "run.json").write_text("{}")
        shutil.copytree(run_folder, run_folder.with_name("nsmc.1"))
    out = run(tmp_path / "a", tmp_path / "b", capsys=capsys)
    assert "no row has a label" in out and "tmp-" not in out


def test_damaged_results_are_named(runs, tmp_path):
    folder = tmp_path / "r" / "eval" / "validation"
    names = TaskRegistry.get("nsmc").labels[:1] * 3
    keep(folder, "nsmc", names, names, TEXTS[:3])
    (folder / "predictions.jsonl").write_text('{"id": 0}\n')
    with pytest.raises(UserError, match=r"r/eval/validation: not valid test results"):
        run(runs / "a", tmp_path / "r")


def test_entities_are_shown_as_text(tmp_path, capsys):
    texts = ["김철수는 서울에 산다", "부산의 이영희"]
    golds = [
        ["B-PS", "I-PS", "I-PS", "O", "B-LC", "I-LC", "O", "O", "O"],
        ["B-LC", "I-LC", "O", "B-PS", "I-PS", "I-PS"],
    ]
    said = [["O"] * 9, golds[1]]
    assert entity_spans(golds[0]) == [(0, 3, "PS"), (4, 6, "LC")]
    keep(tmp_path / "a", "klue_ner", golds, golds, texts)
    keep(tmp_path / "b", "klue_ner", golds, said, texts)
    out = run(tmp_path / "a", tmp_path / "b", capsys=capsys)
    assert "김철수 PS, 서울 LC" in out and "change (wrong entities)" in out and " -2" in out


def test_trees_show_wrong_words_and_numbers_are_compared_by_distance(tmp_path, capsys):
    gold = {"heads": [2, 0], "relations": ["NP_SBJ", "VP"]}
    wrong = {"heads": [0, 0], "relations": ["NP_SBJ", "VP"]}
    keep(tmp_path / "a", "klue_dp", [gold], [gold], ["철수가 간다"])
    keep(tmp_path / "b", "klue_dp", [gold], [wrong], ["철수가 간다"])
    out = run(tmp_path / "a", tmp_path / "b", capsys=capsys)
    assert "철수가: NP_SBJ of 간다" in out
    keep(tmp_path / "c", "klue_sts", [1.0, 4.0, 3.0], [1.5, 4.0, 2.0], TEXTS[:3])
    keep(tmp_path / "d", "klue_sts", [1.0, 4.0, 3.0], [1.0, 2.0, None], TEXTS[:3])
    out = run(tmp_path / "c", tmp_path / "d", capsys=capsys)
    assert "Closer to the gold: B on 1 row, A on 2" in out and "unparsable" in out
    keep(tmp_path / "e", "klue_sts", [1.0, 4.0, 3.0], [1.5, 4.0, None], TEXTS[:3])
    out = run(tmp_path / "e", tmp_path / "d", capsys=capsys)  # the third is unparsable in both
    assert "Closer to the gold: B on 1 row, A on 1" in out and "nan" not in out
