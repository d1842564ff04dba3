"""Every registered task: rows to examples, gold to prediction, prediction to scores."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
from support.evaluation import perfect_record, perfect_scores
from support.helpers import folders
from support.toys import BERT, ROWS, T5, character_tokenizer, save_tokenizers

import ke_t5.task.task as table
from ke_t5.errors import Exit
from ke_t5.pipe import IGNORED, Examples, FunctionDataSource, MixtureRegistry, Task, TaskRegistry
from ke_t5.pipe.scoring import compute_scores
from ke_t5.recipes.predictions import from_lines, lines_of
from ke_t5.report.intervals import bootstrap

NAMES = """
klue_tc klue_tc_gen klue_nli klue_nli_gen klue_sts klue_sts_gen klue_sts_binary
klue_re klue_re_gen klue_re_tk_idx klue_ner
klue_mrc klue_mrc_gen klue_mrc_gen_context_free korquad korquad_gen korquad_gen_context_free
klue_dp klue_dst_gen
nikl_ner nikl_ner_split nikl_ner2020 nikl_ner2020_split
nikl_cr nikl_cr_gen
nikl_cr_span_extraction nikl_cr_coref_span_prediction nikl_cr_coref_span_prediction_gen
nikl_summarization_summary nikl_summarization_summary_split
nikl_summarization_topic nikl_summarization_topic_split
nikl_cola nikl_cola_gen kor_3i4k kor_3i4k_gen nsmc nsmc_gen
kornli kornli_gen korsts korsts_gen khsd khsd_gen qpair qpair_gen
khsd_bias khsd_bias_gen khsd_gender khsd_gender_gen apeach apeach_gen kold kold_gen
khaters khaters_gen korfin_asc korfin_asc_gen paws_x_ko paws_x_ko_gen
massive_ko_intent massive_ko_intent_gen massive_ko_slots naver_ner
ud_ko_gsd_dp ud_ko_gsd_pos ud_ko_kaist_dp ud_ko_kaist_pos ud_ko_ksl_dp ud_ko_ksl_pos
korquad2 korquad2_gen korquad2_gen_context_free sae4k_gen
nikluge_ea nikluge_ea_gen nikluge_au nikluge_au_gen nikluge_iau nikluge_iau_gen
nikluge_sa nikluge_sa_gen nikluge_nli nikluge_nli_gen nikluge_cci nikluge_cci_gen
nikluge_sc_gen nikluge_gtps_gen nikluge_dcs_gen
kmhas kmhas_gen kote kote_gen
kobest_boolq kobest_boolq_gen kobest_wic kobest_wic_gen kobest_sentineg kobest_sentineg_gen
kobest_copa kobest_copa_gen kobest_hellaswag kobest_hellaswag_gen
""".split()
# Encoders are tested with both kinds of tokenizer, generation with T5's.
CASES = [
    (name, kind)
    for name in NAMES
    for kind in (T5, BERT)
    if kind == T5 or TaskRegistry.get(name).form != "seq2seq"
]
ROOT = Path(__file__).parents[2]


def on_rows(name: str, rows: list[dict] | None = None) -> Task:
    """The task on made-up rows."""
    task = TaskRegistry.get(name)
    release = task.source.release
    rows = ROWS[release.name] if rows is None else rows
    source = FunctionDataSource(lambda split: rows, ["train"], release.columns, name=release.name)
    return dataclasses.replace(task, source=source)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture(scope="module")
def build(tokenizers, tmp_path_factory):
    path = tmp_path_factory.mktemp("examples")

    @functools.cache
    def built(name: str, kind: str) -> tuple[Task, Examples]:
        task = on_rows(name)
        return task, task.get_dataset("train", folders=folders(path))

    def bound(name: str, kind: str) -> tuple[Task, Examples]:
        gin.bind_parameter("ke_t5.task.utils.get_vocabulary.vocab_name", tokenizers[kind])
        return built(name, kind)

    return bound


def only_model_columns(task: Task, example: dict) -> dict:
    return {name: example[name] for name in (*task.output_features, "_id") if name in example}


def is_right(task: Task, prediction, gold) -> bool:
    if task.name.startswith(("klue_mrc", "korquad", "nikl_cr_coref")):
        return prediction in (gold or [""])
    if task.problem_type == "regression":  # labels are float32
        return prediction == pytest.approx(gold)
    return prediction == gold


def test_the_names_are_these():
    assert TaskRegistry.names() == sorted(NAMES)


def test_the_table_in_the_docstring_names_every_task():
    rows = re.findall(r"^\| (\w[\w ,]*) \|", table.__doc__, flags=re.MULTILINE)
    names = [name for row in rows for name in re.split(", ?", row)]
    bases = {name for name in names if not name.startswith("_")} - {"tasks", "suffix", "mixture"}
    bases -= set(MixtureRegistry.names())
    bases.add("nikl_summarization_topic")
    assert "nikl_summarization_summary" in bases
    suffixes = re.findall(r"^\| (_\w+) \|", table.__doc__, flags=re.MULTILINE)
    told = {base + suffix for base, suffix in itertools.product(bases, ["", *suffixes])}
    assert set(NAMES) <= told
    assert bases <= set(NAMES)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_examples_have_the_declared_columns_and_types(name, kind, build):
    task, examples = build(name, kind)
    assert set(examples.ids.tolist()) == set(range(len(ROWS[task.source.name])))
    expected = {column for column, feature in task.output_features.items() if feature.required}
    optional = {column for column, feature in task.output_features.items() if not feature.required}
    batch = examples.batch(range(len(examples)))
    assert expected | {"attention_mask"} <= set(batch) <= expected | optional | {"attention_mask"}
    for column, feature in task.output_features.items():
        if column in batch:
            assert batch[column].dtype == np.dtype(feature.dtype)
            assert batch[column].ndim == 1 + feature.rank + feature.in_windows
    assert set(task.keep) <= set(examples.example(0))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_labels_are_in_range(name, kind, build):
    task, examples = build(name, kind)
    column = {"question_answering": "end_positions", "dependency_parsing": "relation_labels"}.get(
        task.form, "labels"
    )
    values = examples.columns[column].values
    counted = values[values != IGNORED]
    assert len(counted)
    if task.problem_type == "regression":
        assert np.isnan(values).sum() == 1
    elif task.problem_type == "multi_label_classification":
        assert np.isnan(values).sum() == len(task.labels)
        assert set(values[~np.isnan(values)]) == {0.0, 1.0}
    elif task.labels:
        assert 0 <= counted.min() <= counted.max() < len(task.labels)
    else:
        assert counted.min() >= 0


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_perfect_predictions_decode_to_the_gold(name, kind, build):
    task, examples = build(name, kind)
    for i in range(len(examples)):
        example = examples.example(i)
        gold = task.target(example)
        if gold is not None:
            record = perfect_record(task, example, character_tokenizer(kind))
            prediction, _ = task.decode([record], [example])
            assert is_right(task, prediction, gold), (prediction, gold)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gold_as_prediction_gives_every_metric_its_best_value(name, kind, build):
    task, examples = build(name, kind)
    evaluated = perfect_scores(task, examples, character_tokenizer(kind))
    best = {name: 0.0 if name == "mean_squared_error" else 100.0 for name in evaluated.scores}
    assert evaluated.scores == pytest.approx(best)
    assert evaluated.unparsable == 0


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_scores_and_intervals_are_the_same_from_the_predictions_file(name, kind, build):
    """A test reports from memory, a training from the file."""
    task, examples = build(name, kind)
    evaluated = perfect_scores(task, examples, character_tokenizer(kind))
    evaluated.predictions[0] = {**evaluated.predictions[0], "prediction": None}
    found = []
    written = [json.loads(json.dumps(line)) for line in lines_of(task, evaluated)]
    for lines, scores in ((evaluated.predictions, evaluated.row_scores), from_lines(written)):
        labelled = [i for i, line in enumerate(lines) if line["gold"] is not None]
        sides = ([lines[i][side] for i in labelled] for side in ("gold", "prediction"))
        values = compute_scores(task, *sides, [scores[i] for i in labelled] if scores else [])
        again = dataclasses.replace(evaluated, scores=values, predictions=lines, row_scores=scores)
        made = bootstrap(task, again, num_draws=20)
        assert {*made.intervals, *made.reasons} == set(values)
        for score, interval in made.intervals.items():
            assert interval.low <= values[score] <= interval.high
        found.append((str(values), made.intervals, made.reasons))
    assert found[0] == found[1]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_row_without_a_label_is_predicted_and_not_scored(name, kind, build):
    task, examples = build(name, kind)
    num_rows = len(ROWS[task.source.name])
    evaluated = perfect_scores(task, examples, character_tokenizer(kind))
    assert (evaluated.num_rows, evaluated.num_scored) == (num_rows, num_rows - 1)
    assert evaluated.predictions[-1]["gold"] is None
    assert evaluated.predictions[-1]["id"] == num_rows - 1
    assert set(examples.labelled().ids.tolist()) == set(range(num_rows - 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_metric_picks_the_best_checkpoint(name, build):
    task, examples = build(name, T5)
    first = dataclasses.replace(task, metric_fns=task.metric_fns[:1])
    assert task.best.metric in perfect_scores(first, examples, character_tokenizer(T5)).scores
    assert task.best.mode == "max"


@pytest.mark.parametrize("name", [name for name in NAMES if f"{name}_gen" in NAMES])
def test_both_forms_agree_on_the_gold(name, build):
    golds = []
    for form in (name, f"{name}_gen"):
        task, examples = build(form, T5)
        golds.append([task.target(examples.example(i)) for i in range(len(examples))])
    assert golds[0] == golds[1]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_models_columns_alone_are_enough_to_score(name, kind, build):
    task, examples = build(name, kind)
    for i in range(len(examples)):
        example = only_model_columns(task, examples.example(i))
        record = perfect_record(task, example, character_tokenizer(kind))
        gold = task.target(example)
        prediction, _ = task.decode([record], [example])
        assert isinstance(task.inputs(example), str)
        if gold is None:
            assert i == len(examples) - 1
        else:
            assert is_right(task, prediction, gold), (prediction, gold)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if TaskRegistry.get(name).form == "seq2seq"]
)
def test_what_cannot_be_read_is_none_or_wrong(name, build):
    task, examples = build(name, T5)
    example = examples.example(0)
    prediction, _ = task.decode([{"sequences": ["그런 답은 없다"]}], [example])
    assert prediction is None or not is_right(task, prediction, task.target(example))


# ----------------------------------------------------------------------------- the printed table


def run_table(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ke_t5.task.task", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_module_prints_the_table(tmp_path):
    (tmp_path / "NSMC").mkdir()
    (tmp_path / "NSMC" / "ratings_test.txt").write_text("id\tdocument\tlabel\n1\t좋다\t1\n")
    done = run_table("--hf_data_dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert set(NAMES) <= set(lines)
    assert "found: test" in lines["nsmc_gen"] and "CC0 1.0" in lines["nsmc_gen"]
    assert "on the hub: klue/klue" in lines["klue_dp"] and "uas" in lines["klue_dp"]
    assert "to be downloaded" in lines["nikl_ner"] and "nikl_ne *" in lines["nikl_ner"]
    assert all(" * " not in lines[name] for name in ("khsd", "qpair", "nikl_ner2020_split"))


def test_the_table_of_a_folder_that_is_not_there_is_one_line():
    done = run_table("--hf_data_dir", "nowhere")
    assert done.returncode == Exit.DATA
    assert "--hf_data_dir nowhere: no such folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_holds_a_users_task(tmp_path):
    task = on_rows("nsmc")
    with TaskRegistry.registry.temporary("mine", dataclasses.replace(task, name="mine")):
        lines = table.table_lines(folders(tmp_path))
    assert any(line.startswith("mine ") and "accuracy" in line for line in lines)
