"""Steps, checks and decoders of the kinds of task, beyond what every task is tested for."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import folders
from perfect import perfect_record, perfect_scores
from toys import BERT, ROWS, T5, changed, character_tokenizer, examples_on, save_tokenizers

from ke_t5.errors import UserError
from ke_t5.pipe import IGNORED, EvaluationHelper, FunctionDataSource, TaskRegistry
from ke_t5.task import passages, steps, structured
from ke_t5.task.text import mark_entities


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return save_tokenizers(tmp_path_factory.mktemp("tokenizers"))


@pytest.fixture
def build(tokenizers, tmp_path):
    def built(name, rows, kind=BERT, **lengths):
        folder = {"vocabulary": tokenizers[kind], "cache": tmp_path}
        return examples_on(name, rows, **folder, **lengths)

    return built


# ------------------------------------------------------------------------------------- targets


def test_targets_outside_the_vocabulary_are_counted(build):
    row = changed("nikl_summary_summary", summary="𠀀가 왔다")
    rows = [row, ROWS["nikl_summary_summary"][1], ROWS["nikl_summary_summary"][2]]
    _, examples = build("nikl_summarization_summary", rows, T5)
    message = "targets cannot be written with this tokenizer's vocabulary"
    assert examples.lost() == {message: (1, 2)}


def test_cut_targets_are_counted(build):
    rows = ROWS["nikl_summary_topic"]
    _, examples = build("nikl_summarization_topic", rows, T5, targets=8)
    assert examples.lost() == {"targets cut at 8 tokens": (2, 3)}


# ---------------------------------------------------------------------------- pairs of entities


@pytest.mark.parametrize("kind", [BERT, T5])
def test_entity_tokens_are_the_entities_without_their_marks(kind, build):
    task, examples = build("klue_re_tk_idx", ROWS["klue_re"][:1], kind)
    example = examples.example(0)
    tokens = [example["input_ids"][a:b] for a, b in example["entity_token_idx"]]
    assert [character_tokenizer(kind).decode(ids) for ids in tokens] == ["(주)가나", "김"]
    assert examples.batch([0])["entity_token_idx"].shape == (1, 2, 2)
    assert "*(주)가나*의 대표 #김#" in task.inputs(example)


def test_an_entity_that_was_cut_off_is_counted_and_its_row_predicted(build):
    task, examples = build("klue_re_tk_idx", ROWS["klue_re"][:2], inputs=12)
    assert examples.example(0)["entity_token_idx"] == [[2, 7], [0, 0]]
    assert examples.lost()[steps.ENTITIES_CUT] == (2, 4)
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    assert evaluated.num_scored == 2 and evaluated.scores["accuracy"] == 100.0


def test_a_span_that_is_not_its_word_names_the_row(build):
    entity = {"word": "가나", "start": 0, "end": 2, "type": "ORG"}
    rows = [ROWS["klue_re"][0], changed("klue_re", subject=entity)]
    with pytest.raises(UserError, match=r"row 1 \(re\): subject 0..2: got '\(주', expected '가나'"):
        build("klue_re", rows)
    with pytest.raises(ValueError, match="subject"):
        mark_entities("가", entity, entity)


# ------------------------------------------------------------------------------ dependency trees


def test_words_are_their_first_and_last_token():
    offsets = [(0, 0), (0, 1), (1, 2), (2, 4), (5, 6), (0, 0)]
    words = ["나는", "집", "간"]
    assert structured.word_tokens(words, offsets, is_cut=False) == [[1, 2], [3, 3], [4, 4]]
    # Normalisation left nothing of the second word: it has its neighbour's token.
    offsets = [(0, 1), (1, 2), (5, 6)]
    assert structured.word_tokens(words, offsets, is_cut=False) == [[0, 1], [1, 1], [2, 2]]
    assert structured.word_tokens(words, [(0, 1), (1, 2), (3, 4)], is_cut=True) == [[0, 1], [2, 2]]
    assert structured.word_tokens(["집에"], [(0, 1)], is_cut=True) == []


def test_words_cut_off_are_predicted_as_nothing_and_counted(build):
    task, examples = build("klue_dp", ROWS["klue_dp"], inputs=7)
    example = examples.example(0)
    assert example["word_token_idx"] == [[1, 2], [4, 5]]
    # Both heads of the first tree are the third word, which no model could name.
    assert example["labels"] == example["relation_labels"] == [IGNORED, IGNORED]
    assert examples.example(1)["labels"] == [2, IGNORED]
    assert examples.lost()[structured.WORDS_CUT] == (3, 9)
    record = perfect_record(task, examples.example(1), character_tokenizer(BERT))
    prediction, _ = task.decode([record], [examples.example(1)])
    assert prediction == {"heads": [2, 0, None], "relations": ["NP", "NP", None]}
    assert task.target(examples.example(1))["heads"] == [2, 3, 0]
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    assert evaluated.scores["uas_accuracy"] == pytest.approx(100 / 6)


def test_word_columns_are_padded_for_the_head(build):
    rows = [ROWS["klue_dp"][0], {**ROWS["klue_dp"][0], "words": ["가"], "heads": [0],
                                 "relations": ["VP"]}]  # fmt: skip
    _, examples = build("klue_dp", rows)
    batch = examples.batch([0, 1])
    assert batch["word_token_idx"].shape == (2, 3, 2)
    assert batch["word_token_idx"][1].tolist() == [[1, 1], [-1, -1], [-1, -1]]
    assert batch["labels"][1].tolist() == [0, IGNORED, IGNORED]


def test_predicted_trees_have_each_rows_words(build):
    torch = pytest.importorskip("torch")
    task, examples = build("klue_dp", ROWS["klue_dp"][:1])

    class Parser(torch.nn.Module):
        config = SimpleNamespace()

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids, attention_mask, word_token_idx):
            heads, relations = torch.zeros(1, 5, 6), torch.zeros(1, 5, 5)
            heads[0, 0, 3] = heads[0, 1, 0] = 1.0
            relations[:, :, 4] = 1.0
            return SimpleNamespace(head_logits=heads, relation_logits=relations)

    batch = examples.batch([0])
    batch["word_token_idx"] = np.pad(
        batch["word_token_idx"], ((0, 0), (0, 2), (0, 0)), constant_values=-1
    )
    records = EvaluationHelper(task).predict(Parser(), batch)
    assert records == [{"heads": [3, 0, 0], "relations": [4, 4, 4]}]


# ------------------------------------------------------------------------------------- tagging


def test_unreachable_entities_are_counted_and_scored_as_missed(build):
    rows = ROWS["klue_ner"][:1]
    task, examples = build("klue_ner", rows, inputs=3)
    message = "entities cannot be represented by this tokenizer (one label per token)"
    assert examples.lost() == {message: (1, 1), "inputs cut at 3 tokens": (1, 1)}
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    assert evaluated.scores["entity_f1"] == 0.0


def test_token_accuracy_is_over_real_tokens(build):
    task, examples = build("nikl_ner", ROWS["nikl_ne"][:1])
    example = examples.example(0)
    record = perfect_record(task, example, character_tokenizer(BERT))
    record["tags"][0] = record["tags"][-1] = 3  # [CLS] and [SEP]: nobody's tags
    record["tags"][1] = 0
    prediction, _ = task.decode([record], [example])
    scores = task.metric_fns[-1]([task.target(example)], [prediction])
    assert scores == {"token_accuracy": pytest.approx(100 * 10 / 11)}


def test_overlapping_entities_name_the_row(build):
    entities = [{"start": 0, "end": 3, "label": "PS"}, {"start": 2, "end": 4, "label": "LC"}]
    rows = [ROWS["nikl_ne"][1], changed("nikl_ne", entities=entities)]
    with pytest.raises(UserError, match=r"row 1 \(a.1\): entity 2..4 \(LC\): overlaps another"):
        build("nikl_ner", rows)


# ---------------------------------------------------------------------------------- row checks


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("klue_tc", changed("klue_ynat", label="경재"),
         "task 'klue_tc', split 'train', row 1: label '경재' is not in the list; available:"),
        ("klue_tc", changed("klue_ynat", title=None), "row 1: column 'title' holds no text"),
        ("klue_re_gen", changed("klue_re", label="per:tittle"), "did you mean 'per:title'"),
        ("klue_ner", changed("klue_ner", tags=["B-XX", *["O"] * 7]), "row 1: tags 'B-XX' is not"),
        ("klue_ner", changed("klue_ner", tags=["O"]), "row 1: column 'tags' differs in number"),
        ("nikl_ner", changed("nikl_ne", entities=[{"start": 0, "end": 1, "label": "PP"}]),
         "row 1: entities.label 'PP' is not in the list"),
        ("klue_dp", changed("klue_dp", words=[], heads=[], relations=[]),
         "row 1: column 'words' is empty"),
        ("klue_dp", changed("klue_dp", heads=[3, 0]), "row 1: column 'heads' differs in number"),
        ("klue_dp", changed("klue_dp", relations=["NP", "NP", "XP"]), "relations 'XP' is not in"),
        ("klue_mrc", changed("klue_mrc", context=" \n"), "row 1: column 'context' holds no text"),
        ("korquad_gen", changed("korquad", question=""), "row 1: column 'question' holds no text"),
        ("nikl_summarization_topic", changed("nikl_summary_topic", article=""),
         "row 1: column 'article' holds no text"),
        ("klue_sts", changed("klue_sts", sentence2=None), "row 1: column 'sentence2' holds no"),
        ("klue_dst_gen", changed("klue_wos", state=["식당-이름-가|나"]),
         r"row 1 \(w\): state entry '식당-이름-가\|나' holds the separator"),
    ],
)  # fmt: skip
def test_a_bad_row_is_one_line_that_names_it(name, row, message, build):
    good = ROWS[TaskRegistry.get(name).source.name][0]
    with pytest.raises(UserError, match=message):
        build(name, [good, row], T5)


def test_a_source_without_the_column_says_what_it_has(build, tmp_path):
    task = TaskRegistry.get("nsmc")
    source = FunctionDataSource(lambda split: [{"review": "좋다"}], ["train"], {"review": "string"})
    with pytest.raises(UserError, match="needs the column 'text', the rows have _id, review"):
        dataclasses.replace(task, source=source).rows("train", folders(tmp_path))


def test_a_tokenizer_without_offsets_is_one_line():
    slow = SimpleNamespace(is_fast=False)
    features = {"input_ids": SimpleNamespace(tokenizer=lambda: slow)}
    with pytest.raises(UserError, match="SimpleNamespace gives no character offsets"):
        passages.add_windows.batch_function({}, output_features=features, sequence_length={})


# ------------------------------------------------------------------------------- forms of text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("klue_tc_gen", "klue_tc title: 새 전화기 나왔다"),
        ("klue_tc", "title: 새 전화기 나왔다"),
        ("klue_nli_gen", "klue_nli premise: 비가 온다. hypothesis: 젖는다."),
        ("klue_sts_binary", "sentence1: 집이 좋다. sentence2: 좋은 집이다."),
        ("klue_re_gen", "klue_re text: *(주)가나*의 대표 #김#가는 서울에 산다."),
        ("klue_mrc_gen", "klue_mrc question: 나라의 수도는? context: 서울은 나라의 수도이다. "
                         "부산은 항구 도시이다."),
        ("korquad_gen_context_free", "korquad trivia question: 나라의 수도는?"),
        ("klue_dst_gen", "klue_dst dialogue: user: 안녕하세요."),
        ("nikl_summarization_topic_split", "summarize_topic: 비가 왔다. 길이 젖었다. 차가 느리다."),
        ("nsmc_gen", "nsmc sentence: 재미있다"),
        ("qpair_gen", "qpair question1: 어디야? question2: 어디니?"),
        ("khsd", "sentence: 나가라"),
    ],
)  # fmt: skip
def test_inputs_have_ke_t5s_text_forms(name, text, build):
    task, examples = build(name, ROWS[TaskRegistry.get(name).source.name], T5)
    ids = examples.example(0)["input_ids"]
    assert character_tokenizer(T5).decode(ids, skip_special_tokens=True) == text


def test_a_pair_is_two_segments_where_the_tokenizer_has_a_separator(build):
    _, examples = build("klue_nli", ROWS["klue_nli"][:1])
    example = examples.example(0)
    assert (
        character_tokenizer(BERT).decode(example["input_ids"]) == "[CLS]비가 온다.[SEP]젖는다.[SEP]"
    )
    assert example["token_type_ids"] == [0] * 8 + [1] * 5
    _, examples = build("klue_mrc", ROWS["klue_mrc"][:1])
    assert examples.example(0)["token_type_ids"][: 1 + 8 + 1 + 1] == [0] * 10 + [1]


def test_one_labelled_regression_row_scores_nan_and_not_an_error(build):
    task, examples = build("klue_sts", ROWS["klue_sts"][:1])
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    assert np.isnan(evaluated.scores["pearson"]) and evaluated.scores["f1"] == 100.0
