"""The embedded corpus: every label occurs, none rules, and what is held out is new."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from support.sample_help import blocks, column, klue, read, tsv

from ke_t5.sample.entities import fine_types
from ke_t5.sample.grammar import load_grammar
from ke_t5.task import labels

FINE_TYPES = set(load_grammar("fine_entities").families("type"))


def test_fine_types_are_those_of_the_label_list():
    assert {tag[2:] for tag in labels.NIKL_NER2020.keys if tag != "O"} == FINE_TYPES
    assert {tag[2:] for tag in labels.NIKL_NER.keys if tag != "O"} == set(fine_types())


def label_columns(sample_data: Path) -> dict[str, tuple[list[str], list[str], labels.Labels]]:
    """Task -> labels of the training rows, of the held-out rows, and the list."""
    intents = read(sample_data, "3i4k/train_val_test/fci_train_val.txt").split("\r\n")
    intents = [line.split("\t")[0] for line in intents]
    khsd, cola = "korean-hate-speech/labeled", "NIKL/v1.0/CoLA/NIKL_CoLA_in_domain"
    json_rows = {
        "ynat": ("label", labels.KLUE_TC),
        "klue-nli": ("gold_label", labels.KLUE_NLI),
        "klue-re": ("label", labels.KLUE_RE),
    }
    tables = {
        "nsmc": ("NSMC/ratings_train.txt", "NSMC/ratings_test.txt", "label", labels.NSMC),
        "kornli": (
            "KorNLI/snli_1.0_train.ko.tsv", "KorNLI/xnli.dev.ko.tsv", "gold_label", labels.KORNLI
        ),
        "khsd": (f"{khsd}/train.tsv", f"{khsd}/dev.tsv", "hate", labels.KHSD),
        "qpair": ("qpair/train.txt", "qpair/validation.txt", "is_duplicate", labels.QPAIR),
        "cola": (
            f"{cola}_train.tsv", f"{cola}_dev.tsv", "acceptability_label", labels.NIKL_COLA
        ),
    }  # fmt: skip
    found = {
        stem: (*(column(klue(sample_data, stem, part), name) for part in ("train", "dev")), names)
        for stem, (name, names) in json_rows.items()
    }
    for task, (train, held_out, name, names) in tables.items():
        found[task] = (
            column(tsv(sample_data, train), name),
            column(tsv(sample_data, held_out), name),
            names,
        )
    return found | {"3i4k": (intents[:1827], intents[1827:], labels.KOR_3I4K)}


def test_every_label_occurs_in_train_and_none_rules(sample_data: Path):
    for task, (train, held_out, names) in label_columns(sample_data).items():
        assert set(train) == set(names.keys), task
        assert set(held_out) <= set(names.keys), task
        limit = 0.55 if len(names.keys) == 2 else 0.4
        assert max(Counter(held_out).values()) / len(held_out) < limit, task
        assert len(held_out) % 2 == 1, task


def test_every_tag_occurs_in_train(sample_data: Path):
    _, sentences = blocks(sample_data, "klue-ner", "train")
    tags = {line.split("\t")[1] for _, *lines in sentences for line in lines}
    assert tags == set(labels.KLUE_NER.keys)
    _, sentences = blocks(sample_data, "klue-dp", "train")
    relations = Counter(line.split("\t")[5] for _, *lines in sentences for line in lines)
    assert len(relations) >= 15 and min(relations.values()) >= 10


def test_held_out_titles_are_new(sample_data: Path):
    train = {row["title"] for row in klue(sample_data, "ynat", "train")}
    dev = klue(sample_data, "ynat", "dev")
    assert sum(row["title"] in train for row in dev) < 0.1 * len(dev)


def test_titles_can_be_learnt_but_not_by_heart(sample_data: Path):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    train, dev = klue(sample_data, "ynat", "train"), klue(sample_data, "ynat", "dev")
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    model = LinearSVC().fit(grams.fit_transform(column(train, "title")), column(train, "label"))
    accuracy = model.score(grams.transform(column(dev, "title")), column(dev, "label"))
    assert 0.75 < accuracy < 0.95
