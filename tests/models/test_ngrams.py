"""Hashed n-grams: the n-grams of a text, padding, losses, folders, and a run of both recipes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from support import recipe_runs
from support.recipe_runs import SMALL as SMALL_RUN
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from ke_t5.errors import Exit, UserError
from ke_t5.lookup.hub import find_pretrained, saved_class
from ke_t5.lookup.loader import load_model
from ke_t5.models.build import build_model
from ke_t5.models.characters import characters, main, write_folder
from ke_t5.models.ngrams import (
    HashedNgramConfig,
    HashedNgramForSequenceClassification,
    NgramReader,
    class_factors,
)
from ke_t5.module_state import reset_module_state
from ke_t5.seals import class_title, seal_folder

ROOT = Path(__file__).resolve().parents[2]
NAME = "HashedNgramForSequenceClassification"
SMALL = {"num_buckets": 997, "num_readers": 2, "hidden_size": 16}
SPACE = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a small model to start from."""
    path = tmp_path_factory.mktemp("ngrams") / "folder"
    write_folder(path, **SMALL)
    return path


@pytest.fixture(scope="module")
def tokenizer(folder):
    """Its tokenizer."""
    return AutoTokenizer.from_pretrained(folder)


def make_model(seed=0, **settings):
    """A small model in evaluation mode."""
    settings = {**SMALL, "space_token_id": SPACE, "num_labels": 3, **settings}
    torch.manual_seed(seed)
    return HashedNgramForSequenceClassification(HashedNgramConfig(**settings)).eval()


def existing(ids, **settings):
    """The n-grams that a reader sees, as tuples of ids, shortest first."""
    config = HashedNgramConfig(**{**SMALL, "space_token_id": SPACE, **settings})
    ids = torch.tensor([ids])
    _, exist = NgramReader(config, 0).ngrams(ids, torch.ones_like(ids, dtype=torch.bool))
    places = sorted(exist[0].nonzero().tolist(), key=lambda place: place[::-1])
    return [tuple(ids[0, start : start + n + 1].tolist()) for start, n in places]


def test_a_space_is_only_at_the_end_of_an_ngram():
    expected = [(5,), (6,), (7,), (5, 6), (6, 3), (3, 7), (5, 6, 3)]
    assert existing([5, 6, SPACE, 7]) == expected


def test_without_a_space_id_ngrams_run_across_words():
    expected = [(5,), (3,), (7,), (5, 3), (3, 7), (5, 3, 7)]
    assert existing([5, SPACE, 7], space_token_id=None) == expected


def test_no_ngram_reaches_into_the_padding():
    reader = NgramReader(HashedNgramConfig(**SMALL), 0)
    mask = torch.tensor([[True, True, False, False]])
    _, exist = reader.ngrams(torch.tensor([[5, 6, 0, 0]]), mask)
    assert exist[0].int().tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_readers_hash_alike_ids_to_buckets_of_their_own():
    ids = torch.arange(400).view(1, -1)
    mask = torch.ones_like(ids, dtype=torch.bool)
    config = HashedNgramConfig(**SMALL)
    one, other = (NgramReader(config, seed).ngrams(ids, mask)[0] for seed in (0, 1))
    assert one.min() >= 0 and one.max() < config.num_buckets
    assert (one == other).float().mean() < 0.02
    # 1,197 n-grams in 997 buckets: three in ten are expected to be empty.
    assert one.unique().numel() > 0.6 * config.num_buckets


def test_padding_changes_neither_logits_nor_loss():
    model, labels = make_model(), torch.tensor([2, 0])
    ids = torch.tensor([[5, 6, 3, 7, 8], [9, 5, 0, 0, 0]])
    mask = (ids > 0).long()
    padding = torch.zeros(2, 4, dtype=torch.long)
    padded = [torch.cat([tensor, padding], 1) for tensor in (ids, mask)]
    one = model(ids, mask, labels)
    other = model(*padded, labels)
    torch.testing.assert_close(one.logits, other.logits)
    torch.testing.assert_close(one.loss, other.loss)
    torch.testing.assert_close(one.logits[1:], model(ids[1:, :2]).logits)


def test_each_reader_has_its_own_loss_and_the_mean_of_logits_decides():
    model = make_model().train()
    ids, labels = torch.tensor([[5, 6, 3, 7], [9, 5, 8, 6]]), torch.tensor([2, -100])
    output = model(ids, labels=labels)
    output.loss.backward()
    assert not [key for key, value in model.named_parameters() if value.grad is None]
    votes = [reader(ids, ids > 0) for reader in model.eval().readers]
    torch.testing.assert_close(model(ids).logits, torch.stack(votes).mean(0))
    losses = [torch.nn.functional.cross_entropy(vote[:1], labels[:1]) for vote in votes]
    torch.testing.assert_close(model(ids, labels=labels).loss, sum(losses) / 2)


def test_one_word_is_dropped_as_a_whole_and_only_in_training():
    model = make_model(word_dropout=0.5, ngram_dropout=0.0)
    reader, ids = model.readers[0], torch.tensor([[5, 6, 3, 7, 8, 3, 9]] * 64)
    weights = torch.ones(64, 7, 3)
    assert reader.drop(weights, ids) is weights
    kept = reader.train().drop(weights, ids)[..., 0]
    # A word starts with the space before it.
    words = [kept[:, :2], kept[:, 2:5], kept[:, 5:]]
    assert all((word == word[:, :1]).all() for word in words)
    assert 0 < kept.mean() < 1 and not torch.equal(words[0][:, 0], words[1][:, 0])


def test_class_weights_multiply_the_loss_of_their_rows():
    ids, labels = torch.tensor([[5, 6], [7, 8], [9, 4]]), torch.tensor([2, 0, -100])
    plain, weighted = make_model(), make_model(class_weights=[3.0, 1.0, 0.5])
    losses = [plain(ids[i : i + 1], labels=labels[i : i + 1]).loss for i in (0, 1)]
    expected = (0.5 * losses[0] + 3.0 * losses[1]) / 2
    torch.testing.assert_close(weighted(ids, labels=labels).loss, expected)


def test_class_weights_are_made_once_and_change_nothing_in_the_model():
    """A step restores a model's attributes; an evaluation computes one that changes serially."""
    model = make_model(class_weights=[3.0, 1.0, 0.5])
    reset_module_state(model)
    class_factors.cache_clear()
    with torch.inference_mode():
        model(torch.tensor([[5, 6]]), labels=torch.tensor([0]))
    for _ in range(2):
        assert not reset_module_state(model)
        model(torch.tensor([[5, 6]]), labels=torch.tensor([0])).loss.backward()
    assert class_factors.cache_info().misses == 1


def test_class_weights_are_not_those_of_any_number_of_labels():
    """Their loss would be that of one label per text."""
    model = make_model(class_weights=[3.0, 1.0, 0.5], problem_type="multi_label_classification")
    ids, labels = torch.tensor([[5, 6]]), torch.tensor([[1.0, 0.0, 1.0]])
    with pytest.raises(UserError, match="class_weights: is set for a task of multi label"):
        model(ids, labels=labels)
    assert model(ids).logits.shape == (1, 3)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"class_weights": [1.0, 2.0]}, "class_weights: 2 numbers for 3 classes"),
        ({"class_weights": [1.0, -2.0, 1.0]}, r"class_weights: is \[1.0, -2.0, 1.0\]"),
        ({"class_weights": [1.0, float("nan"), 1.0]}, r"class_weights: is \[1.0, nan, 1.0\]"),
        ({"class_weights": "abc"}, "class_weights: is 'abc'"),
        ({"kernel_size": 4}, "kernel_size: is 4; give an odd number"),
        ({"num_heads": 3}, "num_heads: is 3, which does not divide hidden_size 16"),
    ],
)
def test_settings_that_make_no_model_are_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        make_model(**settings)


def test_nothing_but_spaces_is_a_text_too():
    model = make_model(word_dropout=0.5).train()
    assert torch.isfinite(model(torch.full((2, 4), SPACE)).logits).all()


def test_regression_and_a_text_without_ids():
    model = make_model(num_labels=1, problem_type="regression")
    output = model(torch.tensor([[5, 6], [0, 0]]), torch.tensor([[1, 1], [0, 0]]),
                   torch.tensor([0.5, 1.0]))  # fmt: skip
    assert output.logits.shape == (2, 1) and torch.isfinite(output.loss)


def test_weights_are_saved_and_loaded_exactly(tmp_path):
    model, ids = make_model(vocab_size=50), torch.tensor([[5, 6, 3, 7]])
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(again) is load_model(NAME) is HashedNgramForSequenceClassification
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    seal_folder(tmp_path, model_class=class_title(type(model)))
    found = find_pretrained(tmp_path, where="--hf_path")
    assert saved_class(found) == NAME  # not a class of the user's own, which `predict` refuses
    # Equal up to rounding: how a sum is vectorized depends on the memory's alignment.
    torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=1e-6, atol=1e-7)


def test_classifiers_are_new_for_other_labels(tmp_path):
    model = make_model(vocab_size=50)
    model.save_pretrained(tmp_path)
    arguments = {"from_scratch": False, "seed": 0, "task_config": {"num_labels": 2}}
    again, line = build_model(load_model(NAME), tmp_path, **arguments)
    assert line.endswith("; new head: readers.0.classifier, readers.1.classifier")
    assert again(torch.tensor([[5, 6]])).logits.shape == (1, 2)
    assert torch.equal(again.readers[1].dense.weight, model.readers[1].dense.weight)
    with pytest.raises(UserError, match="weights do not fit .*: readers.0.classifier"):
        build_model(load_model(NAME), tmp_path, **arguments, new_head=False)


def test_a_seed_decides_what_is_drawn(folder, tokenizer):
    arguments = {"from_scratch": True, "task_config": {"num_labels": 3}, "tokenizer": tokenizer}
    one, other, third = (
        build_model(load_model(NAME), folder, seed=seed, **arguments)[0] for seed in (1, 1, 2)
    )
    ids = torch.tensor([[5, 6, 3, 7]])
    assert torch.equal(one(ids).logits, other(ids).logits)
    assert not torch.equal(one(ids).logits, third(ids).logits)
    linear = one.readers[0].dense.weight.detach()
    assert linear.std() == pytest.approx(linear.size(1) ** -0.5, rel=0.2)


@pytest.mark.parametrize("text", ["한국어 ㅋㅋ, 美·中 “3·1절” 1위…", "뷁 abc"])
def test_a_token_is_a_character(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    sep = tokenizer.sep_token_id
    assert ids[0] == ids[-1] == sep and len(ids) == len(text) + 2
    assert tokenizer.unk_token_id not in ids
    assert "".join(tokenizer.convert_ids_to_tokens(ids[1:-1])) == text
    assert [ids[i + 1] == SPACE for i in range(len(text))] == [c == " " for c in text]


def test_a_pair_has_a_separator_between(tokenizer):
    encoded = tokenizer("가", "나다")
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    assert tokens == ["[SEP]", "가", "[SEP]", "나", "다", "[SEP]"]
    assert set(encoded) == {"input_ids", "attention_mask"}


def test_decomposed_syllables_and_unknown_characters(tokenizer):
    assert tokenizer("\u1112\u1161\u11ab")["input_ids"] == tokenizer("한")["input_ids"]
    assert tokenizer("🐶")["input_ids"][1] == tokenizer.unk_token_id


def test_every_syllable_is_a_character_of_its_own():
    found = characters()
    assert len(found) == len(set(found)) == 17143
    assert {chr(code) for code in range(0xAC00, 0xD7A4)} <= set(found)


def test_the_folder_that_ships_is_what_its_command_writes(tmp_path):
    main([str(tmp_path / "new")])
    shipped = ROOT / "models" / "hashed-ngram"
    names = {path.name for path in shipped.iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    for name in names:
        content = (tmp_path / "new" / name).read_text(encoding="utf-8")
        assert json.loads(content) == json.loads((shipped / name).read_text(encoding="utf-8"))


def test_a_run_from_scratch_is_tested_and_exported(tmp_path, cache_dir):
    flags = ("--model_name", NAME, "--task", "klue_tc")
    places = {"output": tmp_path, "cache": cache_dir}
    recipe_runs.train(*flags, *SMALL_RUN, "--epochs", 2, "--hf_path", "default", **places)
    words = ("--sample", "--test_split", "validation[:31]")
    found = []
    for weights in (("--hf_path", "default"), ("--resume", "best")):
        recipe_runs.test(*flags, *words, *weights, **places)
        scores = list(recipe_runs.run_folder(tmp_path).rglob("scores.json"))
        found.append(json.loads(max(scores, key=os.path.getmtime).read_text())["scores"])
    assert found[0] == found[1] and 0 < found[0]["accuracy"] < 100
    run = pipeline("text-classification", model=str(recipe_runs.run_folder(tmp_path) / "hf"))
    assert type(run.model) is HashedNgramForSequenceClassification
    assert run("새 책이 나왔다")[0]["label"] in run.model.config.label2id


def test_an_argument_that_it_cannot_take_is_an_error(tokenizer):
    inputs = tokenizer("가나", return_tensors="pt")
    with pytest.raises(TypeError, match="input_embeds"):
        make_model()(**inputs, input_embeds=None)


def test_the_files_of_another_model_are_kept(tmp_path, capsys):
    folder = tmp_path / "new"
    assert main([str(folder)]) == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "notes.txt").write_text("나의 것")
    assert main([str(folder)]) == 0 and capsys.readouterr().err == ""
    for name in before:
        for other in before.keys() - {name}:
            (folder / other).unlink()
        (folder / name).write_text("{}")
        assert main([str(folder)]) == Exit.CHECKPOINT
        assert capsys.readouterr().err == (
            f"error: {folder}/{name}: it exists with other content; name a new folder\n"
        )
        assert {path.name for path in folder.iterdir()} == {name, "notes.txt"}
        (folder / name).unlink()
        assert main([str(folder)]) == 0
        assert {other: (folder / other).read_bytes() for other in before} == before
    assert main([str(folder / "notes.txt")]) == Exit.MACHINE
    assert capsys.readouterr().err.startswith("error: ")
