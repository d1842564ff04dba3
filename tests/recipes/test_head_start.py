"""`fit.head_start`: its regression, what it rejects, and that a resumed run keeps it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from support.recipe_runs import SMALL, run_folder, state_files, train
from transformers import BertConfig

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.loader import load_model
from ke_t5.pipe import IGNORED, get_batches
from ke_t5.recipes import head_start
from ke_t5.recipes.head_start import (
    check_head,
    epochs_between_validations,
    labelled_vectors,
    regression,
    start_at_regression,
)

MEAN = "EncoderForSequenceClassificationMean"
START = ("--gin_param", "fit.head_start='logistic_regression'")
WORDS = ("--task", "klue_tc", *SMALL, "--model_name", MEAN, "--epochs", 2, *START)


@pytest.mark.parametrize("known", [[0, 1], [0, 2], [0, 1, 2]])
def test_it_answers_as_the_regression_on_standardized_vectors_does(known):
    generator = np.random.default_rng(0)
    labels = np.repeat(known, 20)
    vectors = generator.normal(size=(len(labels), 6)) * [1, 5, 1, 1, 1, 0.1] + 3 + labels[:, None]
    weight, bias = regression(vectors, labels, num_classes=4)
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    expected = LogisticRegression(C=4 / 6).fit(scaled, labels).predict_proba(scaled)
    logits = vectors @ weight.T + bias
    found = torch.from_numpy(logits[:, known]).softmax(-1)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    absent = [label for label in range(4) if label not in known]
    assert not weight[absent].any() and np.ptp(bias[absent]) == 0
    at_mean = vectors.mean(0) @ weight.T + bias
    assert at_mean[absent].max() == pytest.approx(at_mean[known].min())


def test_rows_of_one_label_have_none():
    with pytest.raises(UserError, match="fit.head_start: all training rows have the same label"):
        regression(np.eye(3), np.array([1, 1, 1]), num_classes=2)


class Rows:
    """Training rows of one to four tokens, with the interface of `Examples`."""

    def __init__(self, ids, labels):
        self.ids, self.places = ids, np.arange(len(ids))
        self.columns = {"labels": SimpleNamespace(values=np.array(labels))}

    def row_lengths(self, name):
        return np.array([len(ids) for ids in self.ids])

    def batch(self, rows):
        width = max(len(self.ids[row]) for row in rows)
        padded = np.array([self.ids[row] + [0] * (width - len(self.ids[row])) for row in rows])
        labels = self.columns["labels"].values[rows]
        return {"input_ids": padded, "attention_mask": (padded > 0).astype(int), "labels": labels}


@pytest.fixture
def module():
    model_class = load_model(MEAN)
    sizes = dict(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1)
    backbone = BertConfig(**sizes, intermediate_size=8, max_position_embeddings=8)
    return model_class(model_class.config_class(backbone=backbone.to_dict(), num_labels=2))


def test_it_reads_each_labelled_row_once(module, monkeypatch):
    monkeypatch.setattr(head_start, "ROWS_AT_ONCE", 2)
    rows = Rows([[5, 6, 7, 8], [5], [9, 9], [5], [5], [3, 4]], [1, 0, IGNORED, 0, 1, 0])
    vectors, labels = labelled_vectors(module.train(), rows, seed=0)
    assert labels.tolist() == [0, 1, 0, 1] and vectors.shape == (4, 8)  # [5] twice, as 0 and as 1
    assert not module.classifier._forward_pre_hooks
    hidden = module.eval().backbone(torch.tensor([[5, 6, 7, 8]])).last_hidden_state
    np.testing.assert_allclose(vectors[-1], hidden.mean(1)[0].detach(), atol=1e-6)
    monkeypatch.setattr(head_start, "MOST_ROWS", 3)
    drawn = [labelled_vectors(module, rows, seed=seed)[0] for seed in (1, 1, 2, 3, 4)]
    assert len(drawn[0]) <= 3 and (drawn[0] == drawn[1]).all()
    assert any(drawn[0].shape != other.shape or (drawn[0] != other).any() for other in drawn[2:])


def test_every_process_starts_as_the_first_does(module):
    rows = Rows([[5, 6], [7, 8, 9], [7, 8], [5, 5]], [0, 1, 1, 0])
    fit, origin = SimpleNamespace(head_start="logistic_regression"), SimpleNamespace()
    config = SimpleNamespace(fit=fit, origin=origin, seed=0)
    sent = []
    first = SimpleNamespace(is_main=True, broadcast=lambda thing: sent.append(thing) or thing)
    other = SimpleNamespace(is_main=False, broadcast=lambda thing: sent[0])
    before = module.classifier.weight.clone()
    origin.is_resumed = True
    start_at_regression(config, module, rows, first)
    assert torch.equal(module.classifier.weight, before)
    origin.is_resumed = False
    start_at_regression(config, module, rows, first)
    weight = module.classifier.weight.clone()
    batch = rows.batch([0, 1, 2, 3])
    ids, mask = (torch.from_numpy(batch[name]) for name in ("input_ids", "attention_mask"))
    assert module.eval()(ids, attention_mask=mask).logits.argmax(-1).tolist() == [0, 1, 1, 0]
    module.classifier.weight.data.zero_()
    start_at_regression(config, module, None, other)
    assert torch.equal(module.classifier.weight, weight)


@pytest.mark.parametrize(
    ("start", "patience", "every", "steps", "epochs"),
    [
        ("logistic_regression", None, None, 1, 10),
        ("logistic_regression", None, None, 8, 2),
        ("logistic_regression", None, None, 10, 1),
        ("logistic_regression", None, None, 500, 1),
        ("logistic_regression", 2, None, 1, 1),
        ("logistic_regression", None, 5, 1, 1),
        (None, None, None, 1, 1),
    ],
)
def test_short_epochs_do_not_all_end_with_a_validation(start, patience, every, steps, epochs):
    fit = SimpleNamespace(head_start=start, early_stopping=patience)
    config = SimpleNamespace(fit=fit, loop=SimpleNamespace(validate_every=every))
    plan = get_batches(np.full(16 * steps, 4), batch_size=16, num_parts=1, seed=0)
    assert epochs_between_validations(config, plan) == epochs


def test_heads_with_more_new_layers_are_refused():
    for name in ("Mean", "First", "Last", "Attention", "Layers"):
        check_head(load_model(f"EncoderForSequenceClassification{name}"))
    bert = "transformers:BertForSequenceClassification"
    for name in ("T5EncoderForSequenceClassificationMean", bert):
        with pytest.raises(
            UserError, match=r"fit.head_start: the head of \w+ is not a single new layer"
        ):
            check_head(load_model(name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--task", "klue_sts"), "fit.head_start: klue_sts is not a single-label classification"),
        (("--task", "klue_ner"), "fit.head_start: klue_ner is not a single-label classification"),
        (("--task", "kmhas"), "fit.head_start: kmhas is not a single-label classification"),
        (
            ("--task", "klue_tc", "--parallel", "fsdp"),
            "fit.head_start does not support sharded",
        ),
        (
            ("--task", "klue_tc"),
            "fit.head_start: the head of T5EncoderForSequenceClassificationMean",
        ),
    ],
)
def test_what_it_does_not_fit(tmp_path, cache_dir, words, message):
    with pytest.raises(UserError, match=message) as error:
        train(*words, "--sample", *START, output=tmp_path, cache=cache_dir)
    assert error.value.exit_code == Exit.FLAGS and len(str(error.value)) <= 200


def test_a_run_that_is_stopped_comes_to_the_same_bytes(tmp_path, cache_dir, capfd):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(*WORDS, output=whole, cache=cache_dir)
    said = " ".join(capfd.readouterr().err.split())
    assert "the head starts at the logistic regression on 64 rows" in said
    assert "validating every 3 epochs (12 steps) and at the end; --eval_every: more often" in said
    settings = (run_folder(whole) / "config.gin").read_text()
    assert "fit.head_start = 'logistic_regression'" in settings
    train(*WORDS, "--max_steps", 3, output=cut, cache=cache_dir)
    drawn = WORDS[: -len(START)]
    with pytest.raises(UserError, match="fit.head_start was 'logistic_regression' and is None now"):
        train(*drawn, "--resume", "true", output=cut, cache=cache_dir)
    train(*WORDS, "--resume", "true", output=cut, cache=cache_dir)
    assert "the head starts" not in capfd.readouterr().err.partition("resumed from")[2]
    assert state_files(cut) == state_files(whole)
