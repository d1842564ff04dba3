"""The embedded corpus: true file formats, every label, nothing by chance; tiny models that run."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from ke_t5.errors import Exit, UserError
from ke_t5.sample import sample_data_dir, sample_model_dir, sample_tokenizer_dir, write_releases
from ke_t5.sample.cache import build_once
from ke_t5.sample.fine_types import FINE_TYPES, FINE_WORDS
from ke_t5.sample.pen import Pen
from ke_t5.task import labels

KLUE = "klue_benchmark/{0}-v1.1/{0}-v1.1_{1}.{2}"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="session")
def data(cache: Path) -> Path:
    return sample_data_dir(cache)


def read(data: Path, path: str) -> str:
    return (data / path).read_bytes().decode()


def klue(data: Path, stem: str, part: str) -> list[dict]:
    return json.loads(read(data, KLUE.format(stem, part, "json")))


def tsv(data: Path, path: str) -> list[dict[str, str]]:
    lines = read(data, path).splitlines()
    return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_two_writes_are_equal_byte_by_byte(data: Path, tmp_path: Path):
    write_releases(tmp_path)
    assert digest(tmp_path) == digest(data)


def test_another_process_writes_the_same_bytes(data: Path, tmp_path: Path):
    code = "import sys; from pathlib import Path; from ke_t5.sample import write_releases as w; "
    command = [sys.executable, "-c", code + "w(Path(sys.argv[1]))", str(tmp_path)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "77"})
    assert digest(tmp_path) == digest(data)


def test_importing_the_package_imports_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'sentencepiece', 'tokenizers'}"
    code = f"import ke_t5.sample, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pen_keeps_the_last_words_for_held_out_parts():
    words = list(range(14))
    train, dev = Pen("a"), Pen("a", unseen=0.5)
    assert {train.pick(words) for _ in range(500)} == set(range(12))
    assert {dev.pick(words) for _ in range(500)} == set(words)


@pytest.mark.parametrize("stem", ["ynat", "klue-nli", "klue-sts", "klue-re", "wos"])
def test_klue_json_is_written_as_the_release_is(data: Path, stem: str):
    for part in ("train", "dev"):
        text = read(data, KLUE.format(stem, part, "json"))
        rows = json.loads(text)
        assert text == json.dumps(rows, ensure_ascii=False, indent=4)
        name = stem.removeprefix("klue-")
        prefix = name if name in ("ynat", "wos") else f"klue-{name}"
        assert [row["guid"] for row in rows] == [
            f"{prefix}-v1_{part}_{index:05d}" for index in range(len(rows))
        ]


def test_ynat_rows(data: Path):
    rows = klue(data, "ynat", "dev")
    assert list(rows[0]) == [
        "guid", "title", "predefined_news_category", "label", "annotations", "url", "date",
    ]  # fmt: skip
    assert not any(mark in row["title"] for row in rows for mark in ',"\t')
    assert any(row["label"] != row["predefined_news_category"] for row in rows)


def test_nli_source_is_called_genre_in_train(data: Path):
    train, dev = klue(data, "klue-nli", "train"), klue(data, "klue-nli", "dev")
    assert list(train[0])[1] == "genre" and list(dev[0])[1] == "source"
    assert [row["premise"] for row in train[0::3]] == [row["premise"] for row in train[2::3]]
    assert any(row["gold_label"] != row["author"] for row in train)


def test_sts_labels_follow_from_the_votes(data: Path):
    for row in klue(data, "klue-sts", "train"):
        votes, found = row["annotations"]["annotations"], row["labels"]
        assert found["real-label"] == sum(votes) / len(votes)
        assert found["label"] == round(found["real-label"], 1)
        assert found["binary-label"] == int(found["real-label"] >= 3)
        assert row["annotations"]["agreement"] == ":".join(str(votes.count(i)) for i in range(6))


def test_re_end_index_is_inclusive(data: Path):
    listed = json.loads(read(data, "klue_benchmark/klue-re-v1.1/relation_list.json"))["relations"]
    assert tuple(listed) == labels.KLUE_RE.keys
    for row in klue(data, "klue-re", "train") + klue(data, "klue-re", "dev"):
        for entity in (row["subject_entity"], row["object_entity"]):
            assert list(entity) == ["word", "start_idx", "end_idx", "type"]
            start, end = entity["start_idx"], entity["end_idx"]
            assert row["sentence"][start : end + 1] == entity["word"]


def blocks(data: Path, stem: str, part: str) -> tuple[list[str], list[list[str]]]:
    """The comment lines on top, and the lines of each sentence."""
    text = read(data, KLUE.format(stem, part, "tsv"))
    lines = text.split("\n")
    assert text.endswith("\n\n") and all(line.startswith("## ") for line in lines[:5])
    body = "\n".join(lines[5:]).removesuffix("\n\n")
    return lines[:5], [block.split("\n") for block in body.split("\n\n")]


@pytest.mark.parametrize("part", ["train", "dev"])
def test_ner_is_strict_iob2_on_characters(data: Path, part: str):
    comments, sentences = blocks(data, "klue-ner", part)
    assert comments[4] == "## 칼럼명 : CHAR\tNE_TAG"
    mark = "_" if part == "train" else "-"
    for index, (head, *lines) in enumerate(sentences):
        guid, marked = head.removeprefix("## ").split("\t")
        assert re.fullmatch(rf"klue-ner-v1_{part}_{index:05d}{mark}(wikitree|nsmc)", guid)
        characters, tags = zip(*(line.split("\t") for line in lines), strict=True)
        text = "".join(characters)
        assert text == re.sub(r"<(.+?):[A-Z]{2}>", r"\1", marked)
        assert text == unicodedata.normalize("NFKC", text)
        for before, tag in zip(("O", *tags), tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


def test_ner_has_spaces_inside_entities_and_particles_after_them(data: Path):
    _, sentences = blocks(data, "klue-ner", "train")
    lines = [line for _, *lines in sentences for line in lines]
    assert any(line.startswith(" \tI-") for line in lines)
    assert any(re.search(r":PS>[은는이가]", head) for head, *_ in sentences)


@pytest.mark.parametrize("part", ["train", "dev"])
def test_dp_heads_stand_to_the_right_and_the_last_word_is_the_root(data: Path, part: str):
    comments, sentences = blocks(data, "klue-dp", part)
    assert comments[4] == "## 칼럼명 : INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL"
    for head, *lines in sentences:
        fields = [line.split("\t") for line in lines]
        assert [int(row[0]) for row in fields] == list(range(1, len(fields) + 1))
        assert head.split("\t")[1] == " ".join(row[1] for row in fields)
        assert all(len(row[2].split(" ")) == len(row[3].split("+")) for row in fields)
        assert all(row[5] in labels.KLUE_DP.keys for row in fields)
        heads = [int(row[4]) for row in fields]
        assert heads[-1] == 0 and all(h > i for i, h in enumerate(heads[:-1], start=1))


def test_mrc_offsets_are_exact_and_unanswerable_questions_have_plausible_answers(data: Path):
    kinds = Counter()
    for part in ("train", "dev"):
        for article in json.loads(read(data, KLUE.format("klue-mrc", part, "json")))["data"]:
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    kinds[qa["is_impossible"], len(qa["answers"])] += 1
                    assert qa["is_impossible"] == ("plausible_answers" in qa)
                    for answer in qa["answers"]:
                        start = answer["answer_start"]
                        assert paragraph["context"].startswith(answer["text"], start)
    assert kinds[True, 0] > 60 and kinds[False, 1] > 150 and kinds[False, 2] > 5


def test_korquad_is_one_ascii_line_with_one_answer_each(data: Path):
    for part, num_questions in (("train", 480), ("dev", 61)):
        text = read(data, f"KorQuAD/KorQuAD_v1.0_{part}.json")
        assert text.isascii() and "\n" not in text
        release = json.loads(text)
        assert list(release) == ["version", "data"] and release["version"] == f"KorQuAD_v1.0_{part}"
        assert list(release["data"][0]) == ["paragraphs", "title"]
        ids = []
        for paragraph in (p for article in release["data"] for p in article["paragraphs"]):
            assert list(paragraph) == ["qas", "context"]
            for qa in paragraph["qas"]:
                (answer,) = qa["answers"]
                assert paragraph["context"].startswith(answer["text"], answer["answer_start"])
                ids.append(qa["id"])
        assert len(set(ids)) == num_questions
        titles = [article["title"] for article in release["data"]]
        assert len(set(titles)) == len(titles) and not any(" " in title for title in titles)


def test_wos_speakers_alternate_and_states_are_of_the_ontology(data: Path):
    ontology = json.loads(read(data, "klue_benchmark/wos-v1.1/ontology.json"))
    assert len(ontology) == 45 and all(v[:2] == ["none", "dontcare"] for v in ontology.values())
    seen, unlisted = set(), 0
    for dialogue in klue(data, "wos", "train"):
        turns = dialogue["dialogue"]
        assert [turn["role"] for turn in turns] == ["user", "sys"] * (len(turns) // 2)
        assert len(turns) >= 6 and not any("state" in turn for turn in turns[1::2])
        for turn in turns[0::2]:
            slots = [state.rsplit("-", 1) for state in turn["state"]]
            assert len({slot for slot, _ in slots}) == len(slots)
            assert "none" not in {value for _, value in slots}
            seen |= {slot for slot, _ in slots}
            unlisted += sum(value not in ontology[slot] for slot, value in slots)
    assert seen == set(ontology) and unlisted > 0


def test_3i4k_is_two_runs_ordered_by_class_in_equal_shares(data: Path):
    text = read(data, "3i4k/train_val_test/fci_train_val.txt")
    assert text.count("\n") == text.count("\r\n") and not text.endswith("\n")
    found = [int(line.split("\t")[0]) for line in text.split("\r\n")]
    falls = [i for i in range(1, len(found)) if found[i] < found[i - 1]]
    assert falls == [1827]
    train, validation = Counter(found[:1827]), Counter(found[1827:])
    assert train == {label: 9 * rows for label, rows in validation.items()}
    assert all(len(line.split("\t")) == 2 for line in text.split("\r\n"))


def test_tables_have_their_columns_on_every_line(data: Path):
    expected = {
        "NSMC/ratings_train.txt": "id document label",
        "KorNLI/multinli.train.ko.tsv": "sentence1 sentence2 gold_label",
        "KorNLI/xnli.test.ko.tsv": "sentence1 sentence2 gold_label",
        "KorSTS/sts-dev.tsv": "genre filename year id score sentence1 sentence2",
        "korean-hate-speech/labeled/train.tsv": "comments contain_gender_bias bias hate",
        "qpair/test.txt": "question1 question2 is_duplicate",
        "NIKL/v1.0/CoLA/NIKL_CoLA_in_domain_train.tsv": (
            "source acceptability_label source_annotation sentence"
        ),
    }
    for path, columns in expected.items():
        lines = read(data, path).removesuffix("\n").split("\n")
        assert lines[0].split("\t") == columns.split()
        assert {line.count("\t") for line in lines} == {len(columns.split()) - 1}
    reviews = tsv(data, "NSMC/ratings_test.txt")
    assert sum(not row["document"] for row in reviews) == 2
    assert any('"' in row["sentence1"] for row in tsv(data, "KorNLI/xnli.dev.ko.tsv"))


def test_nikl_entities_stand_under_three_spellings(data: Path):
    later = (data / "NIKL/v1.0/NE_2020/SXNE2102007240.json").read_bytes()
    assert later.startswith(b"\xef\xbb\xbf")
    types = {"NE": set(), "NE_2020": set()}
    for path in sorted((data / "NIKL/v1.0").glob("NE*/*.json")):
        folder = path.parent.name
        if folder not in types:
            continue
        release = json.loads(path.read_text(encoding="utf-8-sig"))
        key = "ne" if path.stem == "NXNE2102008030" else "NE"
        for sentence in (s for document in release["document"] for s in document["sentence"]):
            form = sentence["form"]
            for span in sentence["word"] + sentence[key]:
                assert form[span["begin"] : span["end"]] == span["form"]
            types[folder] |= {entity["label"] for entity in sentence[key]}
    assert types["NE"] == set(FINE_TYPES) and len(types["NE"]) == 15
    assert types["NE_2020"] == set(FINE_WORDS) and len(types["NE_2020"]) == 150


def test_fine_types_are_those_of_the_label_list():
    assert {tag[2:] for tag in labels.NIKL_NER2020.keys if tag != "O"} == set(FINE_WORDS)
    assert {tag[2:] for tag in labels.NIKL_NER.keys if tag != "O"} == set(FINE_TYPES)


def test_summaries_join_with_their_newspaper_articles(data: Path):
    rows = json.loads(read(data, "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json"))["data"]
    articles = {}
    for stem in {row["document_id"].split(".")[0] for row in rows}:
        for document in json.loads(read(data, f"NIKL/v1.0/NEWSPAPER/{stem}.json"))["document"]:
            forms = [paragraph["form"] for paragraph in document["paragraph"]]
            articles[document["id"]] = " ".join(forms)
            assert forms[0] == document["metadata"]["title"]
    for row in rows:
        assert all(text in articles[row["document_id"]] for text in row["topic_sentences"])
        assert len(row["topic_sentences"]) == len(row["summary_sentences"]) == 3
        assert not set(row["topic_sentences"]) & set(row["summary_sentences"])


def column(rows: list[dict], name: str) -> list[str]:
    return [row[name] for row in rows]


def label_columns(data: Path) -> dict[str, tuple[list[str], list[str], labels.Labels]]:
    """Task -> labels of the training rows, of the held-out rows, and the list."""
    intents = read(data, "3i4k/train_val_test/fci_train_val.txt").split("\r\n")
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
        stem: (*(column(klue(data, stem, part), name) for part in ("train", "dev")), names)
        for stem, (name, names) in json_rows.items()
    }
    for task, (train, held_out, name, names) in tables.items():
        found[task] = (column(tsv(data, train), name), column(tsv(data, held_out), name), names)
    return found | {"3i4k": (intents[:1827], intents[1827:], labels.KOR_3I4K)}


def test_every_label_occurs_in_train_and_none_rules(data: Path):
    for task, (train, held_out, names) in label_columns(data).items():
        assert set(train) == set(names.keys), task
        assert set(held_out) <= set(names.keys), task
        limit = 0.55 if len(names.keys) == 2 else 0.4
        assert max(Counter(held_out).values()) / len(held_out) < limit, task
        assert len(held_out) % 2 == 1, task


def test_every_tag_occurs_in_train(data: Path):
    _, sentences = blocks(data, "klue-ner", "train")
    tags = {line.split("\t")[1] for _, *lines in sentences for line in lines}
    assert tags == set(labels.KLUE_NER.keys)
    _, sentences = blocks(data, "klue-dp", "train")
    relations = Counter(line.split("\t")[5] for _, *lines in sentences for line in lines)
    assert len(relations) >= 15 and min(relations.values()) >= 10


def test_held_out_titles_are_new(data: Path):
    train = {row["title"] for row in klue(data, "ynat", "train")}
    dev = klue(data, "ynat", "dev")
    assert sum(row["title"] in train for row in dev) < 0.1 * len(dev)


def test_titles_can_be_learnt_but_not_by_heart(data: Path):
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.svm import LinearSVC

    train, dev = klue(data, "ynat", "train"), klue(data, "ynat", "dev")
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4))
    model = LinearSVC().fit(grams.fit_transform(column(train, "title")), column(train, "label"))
    accuracy = model.score(grams.transform(column(dev, "title")), column(dev, "label"))
    assert 0.75 < accuracy < 0.95


def _ask_for_all(cache: str, kind: str) -> str:
    folder = sample_data_dir(Path(cache)) if kind == "data" else sample_model_dir(Path(cache), kind)
    return str(folder)


def test_processes_that_ask_at_once_get_one_whole_folder(data: Path, tmp_path: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(_ask_for_all, [(str(tmp_path), "data")] * 3)
    assert len(set(found)) == 1
    assert digest(Path(found[0])) == digest(data)
    names = [path.name for path in Path(found[0]).parent.iterdir()]
    assert not [name for name in names if name.endswith(".tmp")]


def test_what_a_dead_builder_left_is_cleared(tmp_path: Path):
    (tmp_path / "data.tmp").mkdir()
    built = build_once(tmp_path / "data", lambda folder: (folder / "file").touch())
    assert [path.name for path in built.iterdir()] == ["file"]
    assert not (tmp_path / "data.tmp").exists()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        build_once(tmp_path / "data", lambda folder: 1 // 0)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the sample cannot be written") as error:
        sample_data_dir(tmp_path / "file")
    assert error.value.exit_code == Exit.MACHINE and "\n" not in str(error.value)


TEXT = "한빛전자는 3월 5일 서울에서 새 전기차를 공개했다."


@pytest.mark.parametrize("model", ["t5", "roberta", "bert", "electra"])
def test_tiny_models_load_without_a_word_and_run(
    cache: Path, model: str, capfd: pytest.CaptureFixture
):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = sample_model_dir(cache, model)
    assert sample_model_dir(cache, model) == folder
    tokenizer, config = AutoTokenizer.from_pretrained(folder), AutoConfig.from_pretrained(folder)
    assert config.pad_token_id == tokenizer.pad_token_id
    assert config.eos_token_id == tokenizer.eos_token_id
    assert len(tokenizer) <= config.vocab_size < 4500
    ids = tokenizer(TEXT)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
    pair = tokenizer([TEXT], ["짧은 글"], return_tensors="pt")
    network = AutoModelForSequenceClassification.from_config(config).eval()
    assert network(**pair).logits.shape == (1, 2)
    assert sum(p.numel() for p in network.parameters()) < 2_000_000
    assert capfd.readouterr() == ("", "")


def test_roberta_has_one_token_type_and_bert_two(cache: Path):
    from transformers import AutoConfig, AutoTokenizer

    for model, num_types in (("roberta", 1), ("bert", 2)):
        folder = sample_model_dir(cache, model)
        assert AutoConfig.from_pretrained(folder).type_vocab_size == num_types
        pair = AutoTokenizer.from_pretrained(folder)("하나", "둘")
        assert ("token_type_ids" in pair) == (num_types == 2)
    assert set(pair["token_type_ids"]) == {0, 1}


def test_longest_input_fits_the_positions(cache: Path):
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    folder = sample_model_dir(cache, "roberta")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXT * 100, truncation=True, return_tensors="pt")
    assert batch["input_ids"].shape == (1, 512)
    AutoModel.from_config(AutoConfig.from_pretrained(folder))(**batch)


def test_a_class_or_a_name_of_it_gives_the_same_folder(cache: Path):
    from transformers import RobertaConfig

    from ke_t5.models.configs import MeanSequenceConfig

    names = ("roberta", "RobertaConfig", "RobertaForTokenClassification", RobertaConfig)
    assert len({sample_model_dir(cache, name) for name in names}) == 1
    t5 = sample_model_dir(cache, "t5")
    assert sample_model_dir(cache, MeanSequenceConfig) == t5
    wider = sample_model_dir(cache, "t5", width=256)
    assert wider != t5 and json.loads((wider / "config.json").read_text())["d_model"] == 256


@pytest.mark.parametrize(
    "model", ["xlm-roberta", "distilbert", "deberta-v2", "albert", "gpt2", "bart", "mt5"]
)
def test_other_classes_are_made_tiny(cache: Path, model: str):
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    folder = sample_model_dir(cache, model)
    network = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder))
    batch = AutoTokenizer.from_pretrained(folder)([TEXT], return_tensors="pt")
    assert network.eval()(**batch).logits.isfinite().all()
    assert sum(p.numel() for p in network.parameters()) < 2_000_000


def test_what_cannot_be_made_tiny_is_one_line(cache: Path):
    with pytest.raises(UserError, match="ViTConfig: a class without a known vocabulary size"):
        sample_model_dir(cache, "vit")
    with pytest.raises(UserError, match="'robberta': .*did you mean .*'roberta'"):
        sample_model_dir(cache, "robberta")


def test_t5_tokenizer_has_the_files_of_ke_t5(cache: Path):
    folder = sample_tokenizer_dir(cache, "t5")
    assert sorted(path.name for path in folder.iterdir()) == [
        "spiece.model",
        "tokenizer_config.json",
    ]
    config = json.loads((folder / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "T5Tokenizer" and config["extra_ids"] == 100
    model = json.loads((sample_model_dir(cache, "t5") / "config.json").read_text())
    assert model["vocab_size"] % 128 == 0


def test_pieces_end_where_answers_end(cache: Path, data: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sample_tokenizer_dir(cache, "bert"))
    for article in json.loads(read(data, KLUE.format("klue-mrc", "dev", "json")))["data"]:
        (paragraph,) = article["paragraphs"]
        ends = {end for _, end in tokenizer(
            paragraph["context"], return_offsets_mapping=True)["offset_mapping"]}  # fmt: skip
        for answer in (answer for qa in paragraph["qas"] for answer in qa["answers"]):
            assert answer["answer_start"] + len(answer["text"]) in ends


def test_command_writes_the_same_releases_and_models_and_says_where(
    tmp_path: Path, cache: Path, data: Path, capsys: pytest.CaptureFixture
):
    from ke_t5.sample.__main__ import main

    assert main([str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "data/klue_benchmark/ynat-v1.1: ynat-v1.1_dev.json, ynat-v1.1_train.json" in shown
    assert "models/roberta: config.json, tokenizer.json, tokenizer_config.json" in shown
    assert digest(tmp_path / "data") == digest(data)
    assert digest(tmp_path / "models" / "t5") == digest(sample_model_dir(cache, "t5"))


def test_command_says_in_one_line_what_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture
):
    from ke_t5.sample.__main__ import main

    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == Exit.MACHINE
    assert capsys.readouterr().err.count("\n") == 1
