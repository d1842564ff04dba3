"""Tagging of characters: independent of the tokenizer."""

from __future__ import annotations

import dataclasses
import functools
from types import SimpleNamespace

import gin
import numpy as np
import pytest
from support.evaluation import perfect_scores
from support.helpers import folders
from support.toys import BERT, ROWS, T5, character_tokenizer, save_tokenizers

from ke_t5.forms import MODEL_FORMS
from ke_t5.lookup import loader
from ke_t5.pipe import IGNORED, EvaluationHelper, Examples, FunctionDataSource, Task, TaskRegistry
from ke_t5.pipe.scoring import score
from ke_t5.task import spans, steps, tags
from ke_t5.task.labels import KLUE_NER

TASKS = ("klue_ner", "nikl_ner", "nikl_ner_split", "nikl_ner2020", "nikl_ner2020_split")
WORDS, PIECES = "words", "pieces"


@functools.cache
def coarse_tokenizer(kind):
    """A tokenizer whose tokens contain names with their particles: whole words, or pieces of three
    characters that begin with the space before them, as in sentencepiece. All tokens are unknown;
    only the offsets matter."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace("\u200b", "")
    if kind == WORDS:
        backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s*\S{1,3}"), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
        model_max_length=512,
    )  # fmt: skip


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    for kind in (WORDS, PIECES):
        coarse_tokenizer(kind).save_pretrained(folder / kind)
    return {**save_tokenizers(folder), **{kind: str(folder / kind) for kind in (WORDS, PIECES)}}


@pytest.fixture
def build(vocabularies, tmp_path):
    def built(
        name: str, kind: str, rows=None, form="character_tagging", **lengths
    ) -> tuple[Task, Examples]:
        gin.bind_parameter("ke_t5.task.utils.get_vocabulary.vocab_name", vocabularies[kind])
        task = TaskRegistry.get(name)
        release = task.source.release
        rows = ROWS[release.name] if rows is None else rows
        source = FunctionDataSource(lambda split: rows, ["train"], release.columns)
        task = dataclasses.replace(task, source=source).in_form(form)
        return task, task.get_dataset("train", folders=folders(tmp_path), sequence_length=lengths)

    return built


# ---------------------------------------------------------------------- tokens of characters


@pytest.mark.parametrize(
    ("text", "offsets", "expected"),
    [
        # A space gets its left neighbour's token, even if a token begins with it.
        ("서울 시는", [(0, 2), (3, 4), (4, 5)], [0, 0, 0, 1, 2]),
        ("서울 시는", [(0, 2), (2, 4), (4, 5)], [0, 0, 0, 1, 2]),
        ("가  나", [(0, 1), (1, 2), (2, 4), (0, 0)], [0, 0, 0, 2]),
        # Before the first visible character: the token of that character.
        (" 가", [(0, 0), (0, 2)], [1, 1]),
        (" \u200b가", [None, (2, 3)], [1, 1, 1]),
        # Characters removed by normalisation, inside and at the end.
        ("가\u200b나", [(0, 1), (2, 3)], [0, 0, 1]),
        ("가나\u200b", [(0, 2)], [0, 0, 0]),
        # A separate sentencepiece space covers the first character of the unknown word after it.
        ("찝찝이", [(0, 1), (0, 2), (2, 3)], [1, 1, 2]),
        ("㎞", [(0, 1), (0, 1)], [1]),
        # Only white space, and an empty text.
        ("  ", [(0, 0)], [0, 0]),
        ("", [(0, 0)], []),
    ],
)
def test_each_character_has_a_token(text, offsets, expected):
    assert spans.character_tokens(text, offsets) == expected


def test_characters_behind_the_last_token_of_a_cut_text_have_none():
    assert spans.character_tokens("가 나다", [(0, 1), (2, 3), (0, 0)], is_cut=True) == [0, 0, 1]
    assert spans.character_tokens("가나", [(0, 0)], is_cut=True) == []


# ----------------------------------------------------------------------------------- examples


@pytest.mark.parametrize("kind", [WORDS, PIECES, BERT, T5])
@pytest.mark.parametrize("name", TASKS)
def test_perfect_characters_give_every_metric_its_best_value(name, kind, build):
    task, examples = build(name, kind)
    assert examples.lost() == {}
    evaluated = perfect_scores(task, examples, character_tokenizer(T5))
    assert evaluated.scores == pytest.approx(dict.fromkeys(evaluated.scores, 100.0))
    assert evaluated.num_scored == evaluated.num_rows - 1
    assert evaluated.predictions[-1]["gold"] is None


@pytest.mark.parametrize("kind", [WORDS, PIECES])
def test_perfect_tokens_do_not(kind, build):
    task, examples = build("klue_ner", kind, form="token_classification")
    assert tags.UNREACHABLE in examples.lost()
    assert perfect_scores(task, examples, character_tokenizer(T5)).scores["entity_f1"] < 100


def test_both_forms_have_the_same_gold_and_scores(build):
    golds = []
    for form in ("token_classification", "character_tagging"):
        task, examples = build("nikl_ner", PIECES, form=form)
        found = [task.target(examples.example(i)) for i in range(len(examples))]
        golds.append((found, [getattr(gold, "tokens", None) for gold in found]))
        assert task.metric_fns == TaskRegistry.get("nikl_ner").metric_fns
    assert golds[0] == golds[1]


def test_a_batch_holds_a_label_and_a_token_for_each_character(build):
    _, examples = build("klue_ner", WORDS)
    batch = examples.batch([0, 1])
    assert batch["character_token_idx"].tolist() == [
        [0, 0, 0, 1, 1, 1, 2, 2],
        [0, 0, 0, 1, 1, -1, -1, -1],
    ]
    ids = [KLUE_NER.id_of(tag) for tag in ROWS["klue_ner"][1]["tags"]]
    assert batch["labels"][1].tolist() == [*ids, IGNORED, IGNORED, IGNORED]
    assert examples.counted("labels").tolist() == [8, 5, 0]


def test_the_forms_are_cached_apart(build):
    _, by_token = build("klue_ner", WORDS, form="token_classification")
    _, by_character = build("klue_ner", WORDS)
    assert by_token.key != by_character.key


def test_entities_of_characters_that_were_cut_off_are_lost_and_missed(build):
    rows = ROWS["klue_ner"][:2]
    task, examples = build("klue_ner", BERT, rows, inputs=4)
    assert examples.lost() == {steps.ENTITIES_CUT: (2, 3), "inputs cut at 4 tokens": (2, 2)}
    assert examples.example(0)["character_token_idx"] == [1, 2]
    evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
    # "서울" of "서울 시" is wrong, "김가" is right, "이나" is cut off.
    assert evaluated.scores["entity_f1"] == pytest.approx(100 / 2 * 2 / 3)
    assert evaluated.predictions[0]["prediction"] == ["B-LC", "I-LC", *["O"] * 4]


def test_texts_with_places_are_cut_at_their_end_whatever_the_tokenizer_says(monkeypatch):
    tokenizer, texts = character_tokenizer(BERT), ["가나다라마", "가"]
    expected = steps.encode_with_offsets(tokenizer, texts, 4)
    monkeypatch.setattr(tokenizer, "truncation_side", "left")
    assert steps.encode_with_offsets(tokenizer, texts, 4) == expected
    assert expected[1][0] == [[0, 0], [0, 1], [1, 2], [0, 0]] and expected[2] == [1, 0]
    assert tokenizer.truncation_side == "left"


@pytest.mark.parametrize("text", ["", " ", "\u200b"])
def test_a_text_of_nothing_is_an_example(text, build):
    row = {"guid": "n", "source": "s", "text": text, "tags": ["O"] * len(text)}
    for lengths in ({}, {"inputs": 2}):
        task, examples = build("klue_ner", BERT, [ROWS["klue_ner"][0], row], **lengths)
        evaluated = perfect_scores(task, examples, character_tokenizer(BERT))
        assert evaluated.num_scored == 2


def test_only_the_models_columns_are_scored_character_by_character(build):
    task, examples = build("klue_ner", PIECES)
    bare = examples.without_kept()
    answers = [(i, {"tags": [max(t, 0) for t in bare.example(i)["labels"]]}) for i in range(3)]
    evaluated = score(EvaluationHelper(task), bare, answers)
    assert evaluated.num_scored == 2
    assert evaluated.scores["model_io_entity_f1"] == evaluated.scores["model_io_character_f1"]
    assert len(evaluated.predictions[0]["gold"]) == len(ROWS["klue_ner"][0]["text"])


def test_records_have_each_rows_characters(build):
    torch = pytest.importorskip("torch")
    task, examples = build("klue_ner", WORDS)
    batch = examples.batch([0, 1])
    ids = torch.tensor(np.maximum(batch["labels"], 0), dtype=torch.long)
    logits = torch.nn.functional.one_hot(ids, len(KLUE_NER)).float()

    class Tagger(torch.nn.Module):
        config = SimpleNamespace()

        def __init__(self, answer):
            super().__init__()
            self.weight, self.answer = torch.nn.Parameter(torch.zeros(1)), answer

        def forward(self, input_ids, attention_mask, character_token_idx):
            return SimpleNamespace(logits=self.answer)

    expected = [{"tags": examples.example(i)["labels"]} for i in (0, 1)]
    assert EvaluationHelper(task).predict(Tagger(logits), batch) == expected
    paths = [record["tags"] for record in expected]
    assert EvaluationHelper(task).predict(Tagger(paths), batch) == expected


# ---------------------------------------------------------------------------- choosing the form


def test_a_task_in_a_form_it_has_not():
    task = TaskRegistry.get("klue_tc")
    assert task.forms == ("sequence_classification",)
    assert task.in_form("sequence_classification") is task
    with pytest.raises(ValueError, match="form 'tagging' is not one of"):
        Task("toy", task.source, (), {}, variants={"tagging": {}})


def test_our_models_are_of_the_kinds_that_their_classes_say():
    for name, forms in MODEL_FORMS.items():
        assert loader.load_model(name).task_forms == forms


def test_the_form_follows_from_the_model():
    forms = TaskRegistry.get("klue_ner").forms
    for name, form in {
        "T5EncoderForCharacterTagging": "character_tagging",
        "ke_t5.models.models:encoder_for_character_tagging": "character_tagging",
        "EncoderForEntityRecognitionWithCRF": "token_classification",
        "transformers:BertForTokenClassification": "token_classification",
        "T5EncoderForQuestionAnswering": "token_classification",  # rejected when it is loaded
        "support.toy_model:ToyModel": "token_classification",
    }.items():
        assert loader.choose_form(name, *forms) == form, name
