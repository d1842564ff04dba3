"""Upper bounds of scores given the tokenizer, and where they are reported."""

from __future__ import annotations

import functools

import pytest
from support.recipe_runs import test as run_test
from support.toys import BERT, ROWS, T5, examples_on, save_tokenizers

from ke_t5.report.upper_bounds import upper_bounds, upper_bounds_line


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def build(vocabularies, tmp_path):
    def built(name, kind=BERT, **lengths):
        rows = ROWS["klue_ner" if name == "klue_ner" else "klue_re"]
        return examples_on(name, rows, vocabulary=vocabularies[kind], cache=tmp_path, **lengths)

    return built


def test_a_tokenizer_that_loses_nothing_has_no_upper_bound(build):
    assert upper_bounds(*build("klue_ner", T5)) == {}


def test_truncated_entities_lower_the_upper_bound(build):
    task, examples = build("klue_ner", inputs=4)
    best = upper_bounds(task, examples)
    # "서울" of "서울 시" is wrong, "김가" is right, "이나" is truncated.
    assert best["entity_f1"] == pytest.approx(100 / 2 * 2 / 3)
    assert set(best) == {"entity_f1", "character_f1", "character_f1_without_o"}
    assert upper_bounds_line(task, {"entity_f1": 33.333}) == (
        "with this tokenizer, perfect predictions would give entity_f1 33.33 "
        "(T5EncoderForCharacterTagging and EncoderForCharacterTagging do not have this limit)"
    )
    some = examples.take(examples.ids == 0)
    assert upper_bounds(task, some)["entity_f1"] == 0.0


def test_only_tags_have_an_upper_bound(build):
    task, examples = build("klue_re_tk_idx", inputs=8)
    assert examples.lost() and upper_bounds(task, examples) == {}
    task, examples = build("klue_ner", inputs=4)
    assert upper_bounds(task, examples.without_kept()) == {}


@pytest.mark.parametrize(
    ("model", "limit"),
    [("T5EncoderForTokenClassification", True), ("T5EncoderForCharacterTagging", False)],
)
def test_a_test_reports_the_upper_bound(tmp_path, cache_dir, capsys, model, limit):
    words = ("--task", "klue_ner", "--sample", "--from_scratch", "--model_name", model)
    words = (*words, "--test_split", "train[:9]")
    cut = ("--gin_param", "get_dataset.sequence_length={'inputs': 6}")
    run_test(*words, *cut, output=tmp_path, cache=cache_dir)
    line = "with this tokenizer, perfect predictions would give entity_f1 "
    told = capsys.readouterr().out
    assert line in told and ("do not have this limit" in told) == limit
    report = next(tmp_path.rglob("report.html")).read_text()
    assert "scores of perfect predictions" in report
    run_test(*words, output=tmp_path, cache=cache_dir)
    assert line not in capsys.readouterr().out


def test_mentions_have_an_upper_bound(vocabularies, tmp_path):
    """A mention alone in its chain is never predicted."""
    text = "나는 간다\n나는 논다"
    chains = [[(0, 1), (6, 7)], [(3, 4), (9, 10), (7, 8)], [(1, 2)]]
    row = {"id": "a", "text": text, "chains": [
        [{"start": start, "end": end} for start, end in chain] for chain in chains
    ]}  # fmt: skip
    build = functools.partial(examples_on, "nikl_cr", [row], vocabulary=vocabularies[BERT])
    task, examples = build(cache=tmp_path)
    best = upper_bounds(task, examples)
    assert best["mention_f1"] == pytest.approx(200 * 5 / (5 + 6))
    assert "muc_f1" not in best  # MUC ignores singletons
    assert "(T5Encoder" not in upper_bounds_line(task, best)
    row["chains"].pop()
    task, examples = build(cache=tmp_path)
    assert upper_bounds(task, examples) == {}
