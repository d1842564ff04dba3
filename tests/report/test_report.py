"""Reports for each kind of task: the printed tables, the files and the page."""

import re

import pytest

from ke_t5.pipe import Evaluated, FunctionDataSource, Task, greatest
from ke_t5.pipe.scoring import compute_scores
from ke_t5.report import figures
from ke_t5.report.intervals import Bootstrap, Interval, bootstrap
from ke_t5.report.report import interval_notes, write_report
from ke_t5.task import metrics
from ke_t5.task.labels import KLUE_NER, KLUE_TC


def report(folder, pairs, metric_fns, *, best, inputs=None, scores=None, **settings):
    """The printed text and the page of a task with these (gold, predicted) pairs."""
    source = FunctionDataSource(lambda split: [], ["test"], {"text": "string"})
    task = Task(
        "toy", source, (), {}, metric_fns=metric_fns, best=greatest(best),
        **{"form": "sequence_classification", **settings},
    )  # fmt: skip
    lines = [
        {"id": i, "inputs": inputs[i] if inputs else f"문장 {i}", "gold": gold, "prediction": said}
        for i, (gold, said) in enumerate(pairs)
    ]
    for line, score in zip(lines, scores or [], strict=False):
        line["score"] = score
    known = [pair for pair in pairs if pair[0] is not None]
    columns = [list(column) for column in zip(*known, strict=True)] or [[], []]
    evaluated = Evaluated(
        compute_scores(task, *columns, [None] * len(known)),
        len(pairs), len(known), sum(said is None for _, said in known), lines,
    )  # fmt: skip
    printed = write_report(
        folder, task=task, evaluated=evaluated,
        bootstrap=bootstrap(task, evaluated, num_draws=120), title="toy test",
        facts={"model": "Some<Model>", "lost: inputs cut": "3 of 9"},
    )  # fmt: skip
    return printed, (folder / "report.html").read_text(encoding="utf-8")


def chapter(page, title):
    """The HTML of the only chapter whose title contains `title`."""
    found = [part for part in page.split("<section>") if title in part.split("</h2>")[0] + "</h2>"]
    assert len(found) == 1, f"{len(found)} chapters of {title!r}"
    return found[0].split("</section>")[0]


def test_report_of_labels(tmp_path):
    pairs = [("정치", "경제"), ("경제", "경제"), ("정치", "정치"), ("경제", "정치")] * 5
    scores = [0.9 - i / 100 for i in range(20)]
    printed, page = report(
        tmp_path, pairs, (metrics.accuracy,), best="accuracy", scores=scores, labels=KLUE_TC.names,
    )  # fmt: skip
    assert re.search(r"accuracy +50\.000  \[\d+\.\d\d, \d+\.\d\d\]\n", printed)
    assert "20 of 20 rows scored" in printed
    assert "  95 % intervals: Wilson\n" in printed
    assert "0 경제  5  5" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "report.html"]
    assert "data:image/png;base64," in page
    errors = chapter(page, "Most confident errors (10)")
    assert errors.index("문장 0<") < errors.index("문장 3<") < errors.index("문장 19<")
    assert "90.0 %" in errors and "10 of 20 rows are wrong." in errors
    assert '경제 <span class="soft">economy</span>' in chapter(page, "Confusion matrix")
    assert "<strong>accuracy</strong>" in chapter(page, "<h2>Scores</h2>")
    facts = chapter(page, "The run")
    assert "Some&lt;Model&gt;" in facts and "3 of 9" in facts


def test_report_of_generated_labels_counts_unparsable_answers(tmp_path):
    pairs = [("정치", None), ("정치", "정치")] * 3
    printed, page = report(
        tmp_path, pairs, (metrics.macro_f1,), best="macro_f1", form="seq2seq"
    )  # fmt: skip
    assert "3 answers unparsable (counted as wrong)" in printed
    assert printed.splitlines()[-1].split() == ["0", "정치", "3", "3"]
    assert "The model gives no probabilities" in chapter(page, "Errors")


def test_at_most_thirty_errors_are_shown(tmp_path):
    _, page = report(
        tmp_path, [("a", "b")] * 50, (metrics.accuracy,), best="accuracy", labels=("a", "b"),
        scores=[0.5] * 50,
    )  # fmt: skip
    assert chapter(page, "Most confident errors (30)").count("<tr>") == 31


def test_report_of_tags_shows_gold_and_predicted_side_by_side(tmp_path):
    text = "이순신 장군은 <한산도>로"
    gold = [*["B-PS", "I-PS", "I-PS"], *["O"] * 4, *["B-LC", "I-LC", "I-LC"], "O", "O"]
    said = [*["B-PS", "I-PS", "O"], *["O"] * 4, *["B-LC", "I-LC", "I-LC"], "O", "O"]
    printed, page = report(
        tmp_path, [(gold, said), (gold, gold)], (metrics.entity_f1,), best="entity_f1",
        inputs=[text, text], form="token_classification", labels=KLUE_NER.names,
    )  # fmt: skip
    lines = [line.split() for line in printed.splitlines()]
    assert ["PS", "50.00", "50.00", "50.00", "2"] in lines
    assert ["LC", "100.00", "100.00", "100.00", "2"] in lines
    assert (tmp_path / "types.png").exists()
    wrong = chapter(page, "Sentences with the most wrong entities (1)")
    assert "1 of 2 sentences has a wrong entity." in wrong
    gold_side, said_side = wrong.split("<h4>")[1:]
    assert gold_side.startswith("gold") and said_side.startswith("predicted")
    assert ">이순신<b>− PS</b></mark> 장군은 &lt;" in gold_side
    assert ">이순<b>✗ PS</b></mark>신 장군은" in said_side
    assert ">한산도<b>LC</b></mark>&gt;로" in gold_side
    assert "none wrong" in chapter(page, "Other sentences in order (1)")


def test_tagged_sentences_with_scores_are_listed_by_confidence(tmp_path):
    pairs = [(["B-PS", "B-PS"], ["O", "O"]), (["B-PS", "O"], ["O", "O"]), (["O"], ["O"])]
    _, page = report(
        tmp_path, pairs, (metrics.entity_f1,), best="entity_f1", inputs=["가나", "다라", "마"],
        form="token_classification", labels=KLUE_NER.names, scores=[0.5, 0.8, 0.9],
    )  # fmt: skip
    errors = chapter(page, "Most confident errors (2)")
    assert errors.index("row 1 ") < errors.index("row 0 ")


def test_tags_without_characters_are_shown_as_tags(tmp_path):
    pairs = [(["B-PS", "O"], ["O", "O"])] * 2
    _, page = report(
        tmp_path, pairs, (metrics.entity_f1,), best="entity_f1", inputs=["가나다라"] * 2,
        form="token_classification", labels=KLUE_NER.names,
    )  # fmt: skip
    assert "B-PS O" in chapter(page, "Sentences with the most wrong entities (2)")


def test_report_of_trees_names_the_wrong_words(tmp_path):
    gold = {"heads": [2, 0], "relations": ["NP_SBJ", "VP"]}
    said = {"heads": [0, 0], "relations": ["NP_SBJ", "VP"]}
    printed, page = report(
        tmp_path, [(gold, said), (gold, gold), (gold, None)], (metrics.klue_dp,), best="las",
        inputs=["나는 간다"] * 3, form="dependency_parsing", labels=("NP_SBJ", "VP"),
    )  # fmt: skip
    assert ["NP_SBJ", "50.00", "33.33", "40.00", "3"] in [x.split() for x in printed.splitlines()]
    errors = chapter(page, "Sentences with the most errors (2)")
    assert "나는: NP_SBJ of 간다 → NP_SBJ of (root)" in errors
    assert "간다: VP of (root) → nothing" in errors


def test_report_of_numbers(tmp_path):
    pairs = [(0.0, 0.5), (5.0, 1.0), (3.0, None), (2.0, 2.0)]
    printed, page = report(
        tmp_path, pairs, (metrics.pearson,), best="pearson", labels=("similarity",)
    )
    assert (tmp_path / "numbers.png").exists() and "pearson" in printed
    errors = chapter(page, "Largest errors (2)")
    assert errors.index("4.00") < errors.index("0.50")
    assert "1 answer is not a number." in errors


def test_report_of_answers_sorts_by_a_graded_score(tmp_path):
    pairs = [(["서울 시청"], "서울 시장"), (["부산"], "대구"), ([], ""), (["인천", "제물포"], None)]
    _, page = report(
        tmp_path, pairs, (metrics.klue_mrc,), best="exact_match", form="question_answering"
    )
    errors = chapter(page, "Worst answers (3)")
    assert "rouge_w" in errors and "인천 / 제물포" in errors
    assert errors.index("대구") < errors.index("unparsable") < errors.index("서울 시장")


def test_answers_without_a_score_per_row_are_compared_verbatim(tmp_path):
    _, page = report(
        tmp_path, [("가 나", "가 나"), ("다 라", "")], (metrics.bleu,), best="bleu[intl]",
        form="seq2seq",
    )  # fmt: skip
    errors = chapter(page, "Worst answers (1)")
    assert "equal" in errors and "(no answer)" in errors


def test_report_without_labels_shows_the_first_answers(tmp_path):
    printed, page = report(
        tmp_path, [(None, "a")] * 40, (metrics.accuracy,), best="accuracy", labels=("a", "b")
    )
    assert "(no row has a label)" in printed
    assert "there is nothing to score" in chapter(page, "Scores")
    assert chapter(page, "The first answers").count("<tr>") == 31


def test_perfect_predictions_have_no_errors_to_show(tmp_path):
    _, page = report(
        tmp_path, [("a", "a"), ("b", "b")], (metrics.accuracy,), best="accuracy", labels=("a", "b")
    )
    assert ">None.<" in chapter(page, "Errors")


def test_text_of_the_data_is_never_markup(tmp_path):
    evil = '</td><script>alert("1")</script>&amp;'
    _, page = report(
        tmp_path, [("a", "b"), ("b", "b")], (metrics.accuracy,), best="accuracy",
        inputs=[evil, evil], labels=("a", "b"),
    )  # fmt: skip
    assert "<script" not in page and "&lt;script&gt;" in page and "&amp;amp;" in page


def test_long_texts_are_shortened(tmp_path):
    _, page = report(
        tmp_path, [("a", "b")] * 30, (metrics.accuracy,), best="accuracy",
        inputs=["긴 문장 " * 5000] * 30, labels=("a", "b"),
    )  # fmt: skip
    assert len(page) < 200_000


def test_without_matplotlib_the_report_has_no_figure(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(figures, "can_draw", lambda: False)
    _, page = report(
        tmp_path, [("a", "b")] * 2, (metrics.accuracy,), best="accuracy", labels=("a", "b")
    )
    assert "<img" not in page and not (tmp_path / "confusion.png").exists()
    assert "matplotlib is not installed: the report has no figures" in caplog.text


def test_values_that_are_not_finite_are_neither_drawn_nor_ranked(tmp_path):
    pairs = [(1.0, float("nan")), (2.0, float("inf")), (3.0, None), (4.0, 3.5), (1.0, 2.5)]
    printed, page = report(tmp_path, pairs, (metrics.pearson,), best="pearson")
    assert "no interval of pearson: the score is undefined" in printed
    assert "1.50" in chapter(page, "Largest errors (2)")
    assert (tmp_path / "numbers.png").exists()


def test_notes_name_the_method_of_intervals_and_why_one_is_missing():
    found = Bootstrap(
        {
            "a": Interval(1, 2, 1000),
            "b": Interval(1, 2, 200, 7),
            "c": Interval(1, 2, 0, 0, "Wilson"),
        },
        {
            "d": "no rows lower it, at least 5 are needed",
            "e": "no rows lower it, at least 5 are needed",
        },
    )
    assert interval_notes(found) == [
        "95 % intervals of a: BCa, 1,000 bootstrap resamples of the rows",
        "95 % intervals of b: BCa, 200 bootstrap resamples of the rows",
        "95 % intervals of c: Wilson",
        "b: left out 7 resamples without a value",
        "no interval of d, e: no rows lower it, at least 5 are needed",
    ]


@pytest.mark.parametrize("name", ["confusion.png", "report.html"])
def test_two_equal_evaluations_write_equal_bytes(tmp_path, name):
    for folder in (tmp_path / "a", tmp_path / "b"):
        pairs = [("a", "b"), ("b", "b")] * 4
        report(folder, pairs, (metrics.accuracy,), best="accuracy", labels=("a", "b"))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
