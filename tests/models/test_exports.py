"""Exported folders in use: the code on their model cards is run."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from support.model_folders import NAMES, build, make_tokenizer
from support.recipe_runs import SMALL, run_folder, test, train
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from ke_t5.errors import UserError
from ke_t5.lookup.loader import load_model
from ke_t5.models.build import quiet
from ke_t5.models.export import export
from ke_t5.pipe.model_inputs import model_inputs

SIZES = dict(vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
             intermediate_size=8, max_position_embeddings=40, pad_token_id=0)  # fmt: skip
ROBERTA = RobertaConfig(**SIZES, type_vocab_size=1)


def bert_tokenizer(folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"가나다라마"]
    (folder / "vocab.txt").write_text("\n".join(words))
    return BertTokenizer(str(folder / "vocab.txt"))


def mean_of(backbone, **changes):
    model_class = load_model("EncoderForSequenceClassificationMean")
    config = model_class.config_class.converted(backbone.to_dict())
    return model_class(model_class.config_class(**{**config, **changes}))


@pytest.mark.parametrize(
    ("make", "has_segments"),
    [
        (lambda: RobertaForSequenceClassification(ROBERTA), False),
        (lambda: mean_of(ROBERTA), False),
        (lambda: DistilBertForSequenceClassification(
            DistilBertConfig(vocab_size=30, dim=8, hidden_dim=8, n_layers=1, n_heads=1)), False),
        (lambda: BertForSequenceClassification(BertConfig(**SIZES)), True),
        (lambda: mean_of(BertConfig(**SIZES)), True),
        # As in a folder of an earlier version, whose model was trained without segments.
        (lambda: mean_of(BertConfig(**SIZES), reads_segments=False), False),
        # It has an argument for segments, but no type_vocab_size.
        (lambda: GPT2ForSequenceClassification(
            GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=1, pad_token_id=0)), False),
    ],
)  # fmt: skip
def test_a_pair_goes_through_every_export(tmp_path, make, has_segments):
    torch.manual_seed(0)
    model = make().eval()
    folder = export(model, bert_tokenizer(tmp_path), tmp_path / "hf", card="")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("가 나", "다 라", return_tensors="pt")
    assert ("token_type_ids" in inputs) == has_segments
    columns = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), np.ones((1, 2)))
    trained_with = model_inputs(model, columns, torch.device("cpu"))
    assert ("token_type_ids" in trained_with) == has_segments
    AutoModelForSequenceClassification.from_pretrained(folder)(**inputs)
    (answer,) = pipeline("text-classification", model=str(folder))(
        [{"text": "가", "text_pair": "다"}]
    )
    assert answer["label"].startswith("LABEL_")


TC = ("--task", "klue_tc", *SMALL)


@pytest.mark.parametrize(
    ("task", "model", "form"),
    [
        ("klue_tc", None, "title: {title}"),
        ("klue_nli", "transformers:RobertaForSequenceClassification",
         {"text": "{premise}", "text_pair": "{hypothesis}"}),
        ("klue_ner", "EncoderForEntityRecognitionWithCRF", None),
        ("korquad", "transformers:RobertaForQuestionAnswering", None),
        ("klue_nli_gen", None, "klue_nli premise: {premise} hypothesis: {hypothesis}"),
    ],
)  # fmt: skip
def test_the_code_on_a_card_runs(tmp_path, cache_dir, monkeypatch, capsys, task, model, form):
    words = ("--task", task, *SMALL, "--max_steps", 1, "--hf_path", tmp_path / "hf")
    words += ("--model_name", model) if model else ()
    train(*words, output=tmp_path, cache=cache_dir)
    card = (tmp_path / "hf" / "README.md").read_text()
    head, scores = card.split("---\n")[1], re.findall(r"\| (\w+) \| \d+\.\d\d \|", card)
    assert scores and f"metrics: [{', '.join(scores)}]" in head
    assert "license: unknown" in head and "datasets: [" in head
    assert "| learning rate | 0.001 |" in card and "| --seed | 42 |" in card
    assert "question-answering" not in head or "question-answering" in supported()
    code = card.split("```python\n")[1].split("```")[0].replace("this folder", str(tmp_path / "hf"))
    capsys.readouterr()
    exec(compile(code, "card", "exec"), {})
    assert capsys.readouterr().out.strip()
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    if form is not None:
        assert config["task_specific_params"][task] == {"input": form}
        assert json.dumps(form, ensure_ascii=False) in card


def supported():
    from transformers.pipelines import PIPELINE_REGISTRY

    return PIPELINE_REGISTRY.get_supported_tasks()


def test_a_pipeline_on_rendered_rows_predicts_as_the_test_does(tmp_path, cache_dir):
    from ke_t5.task.inputs import render_input

    words = (*TC, "--hf_path", "default")
    train(*words, output=tmp_path, cache=cache_dir)
    test(*TC[:5], "--test_split", "validation[:31]", "--resume", "best", output=tmp_path,
         cache=cache_dir)  # fmt: skip
    run = run_folder(tmp_path)
    (file,) = run.glob("eval/*/predictions.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    classify = pipeline("text-classification", model=str(run / "hf"))
    titles = [line["inputs"].removeprefix("title: ") for line in lines]
    assert titles[0] != lines[0]["inputs"]
    rendered = [render_input("klue_tc", {"title": title}, classify.tokenizer) for title in titles]
    assert [a["label"] for a in classify(rendered)] == [line["prediction"] for line in lines]


def test_an_export_holds_all_that_a_pipeline_needs(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    folder = export(model, make_tokenizer(), tmp_path / "deep/out", card="# 카드\n")
    assert (folder / "README.md").read_text(encoding="utf-8") == "# 카드\n"
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    with quiet():
        run = pipeline("text-classification", model=str(folder))
    assert type(run.model) is BertForSequenceClassification
    assert run("가나다")[0]["label"] in NAMES


def test_an_export_replaces_an_export_and_nothing_else(bert, tmp_path):
    model, _ = build("transformers:BertForSequenceClassification", bert)
    for card in ("one", "two"):
        export(model, make_tokenizer(), tmp_path / "out", card=card)
    assert (tmp_path / "out/README.md").read_text() == "two"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="--hf_path .*mine: it exists and is not an exported model"):
        export(model, make_tokenizer(), tmp_path / "mine", card="")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_an_export_that_reads_back_differently_leaves_the_old_one(bert, tmp_path):
    model, _ = build(Forgetful, bert)
    folder = export(model.eval(), make_tokenizer(), tmp_path / "out", card="old")
    Forgetful.forgets = True
    with pytest.raises(UserError, match="tensors differ when read back: classifier.bias"):
        export(model, make_tokenizer(), folder, card="new")
    assert (folder / "README.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] != []
    assert not list(tmp_path.glob(".*tmp*"))


class Forgetful(BertForSequenceClassification):
    """A user's model whose saved weights differ when read back."""

    forgets = False

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        loaded = super().from_pretrained(*args, **kwargs)
        if cls.forgets:
            torch.nn.init.ones_(loaded.classifier.bias)
        return loaded
