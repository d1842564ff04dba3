"""The sample as raw releases: the files, names and quirks of the true ones, below one folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from ke_t5.sample import (
    articles,
    dialogues,
    entities,
    relations,
    sentence_pairs,
    sentences,
    trees,
)
from ke_t5.sample.sampler import TextSampler

# (path below the data folder, content)
File = tuple[str, str]
Rows = list[tuple[str, ...]]
# The share of choices in held-out splits among words that training splits never contain.
_UNSEEN = 0.3
# Rows of each split. Held-out sizes are odd, so that two processes get unequal shares.
_HELD_OUT, _TEST = 203, 205
# Rows of each of the seven classes of 3i4K in the validation and test splits; nine times as many
# in training. The real shares are kept, except for the rarest classes.
_INTENT_ROWS = (22, 60, 57, 40, 8, 6, 10)
# KLUE's JSON files: grammar, rows of the training split, and what writes the rows.
_KLUE_JSON: dict[str, tuple[str, int, Callable[[TextSampler, str, int], list[dict]]]] = {
    "ynat": ("news", 1800, sentences.ynat),
    "klue-sts": ("scenes", 1400, sentence_pairs.klue_sts),
    "klue-nli": ("scenes", 1602, sentence_pairs.klue_nli),
    "klue-re": ("relations", 1800, relations.klue_re),
}
_KLUE_COMMENTS = (
    "토큰, 레이블 구분자 : \\t",
    "토큰 구분자 : \\n",
    "문장 구분자 : \\n\\n",
    "주석 : ##",
)


def _sampler(name: str, split: str, grammar: str) -> TextSampler:
    """The sampler of one split of a release; all splits but train use held-out words too."""
    unseen = 0.0 if split.endswith("train") else _UNSEEN
    return TextSampler(f"{name} {split}", grammar, unseen=unseen)


def _json(value: object, indent: int = 4) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _klue_path(stem: str, split: str, suffix: str) -> str:
    return f"klue_benchmark/{stem}-v1.1/{stem}-v1.1_{split}.{suffix}"


def _table(columns: str, rows: Rows) -> str:
    """Tab-separated lines with a header."""
    return "".join("\t".join(row) + "\n" for row in [tuple(columns.split()), *rows])


def _klue_json() -> Iterator[File]:
    """ynat, sts, nli, re, mrc and wos."""
    for stem, (grammar, num_train, write) in _KLUE_JSON.items():
        for split, num_rows in (("train", num_train), ("dev", _HELD_OUT)):
            rows = write(_sampler(stem, split, grammar), split, num_rows)
            yield _klue_path(stem, split, "json"), _json(rows)
    for split, num_questions, num_dialogues in (("train", 480, 160), ("dev", 61, 21)):
        rows = articles.klue_mrc(_sampler("klue-mrc", split, "articles"), split, num_questions)
        yield _klue_path("klue-mrc", split, "json"), _json({"data": rows})
        rows = dialogues.klue_wos(_sampler("wos", split, "dialogues"), split, num_dialogues)
        yield _klue_path("wos", split, "json"), _json(rows)
    names = {"relations": relations.labels()}
    yield "klue_benchmark/klue-re-v1.1/relation_list.json", _json(names) + "\n"
    yield "klue_benchmark/wos-v1.1/ontology.json", _json(dialogues.ontology(), indent=2)


def _klue_tsv(columns: str, blocks: list[str]) -> str:
    """A KLUE TSV: five comment lines, then sentences, each followed by an empty line."""
    lines = [*_KLUE_COMMENTS, f"칼럼명 : {columns}"]
    return "".join(f"## {line}\n" for line in lines) + "".join(blocks)


def _klue_tagged() -> Iterator[File]:
    """ner and dp."""
    for split, num_rows, num_trees in (("train", 1500, 1200), ("dev", _HELD_OUT, 151)):
        rows = entities.klue_ner(_sampler("klue-ner", split, "entities"), num_rows)
        # The release separates the source from the number by `_` in train, by `-` in dev.
        mark = "_" if split == "train" else "-"
        blocks = [
            _tagged(f"klue-ner-v1_{split}_{index:05d}{mark}{row['source']}", row)
            for index, row in enumerate(rows)
        ]
        yield _klue_path("klue-ner", split, "tsv"), _klue_tsv("CHAR\tNE_TAG", blocks)
        parsed = trees.klue_dp(_sampler("klue-dp", split, "trees"), num_trees)
        blocks = [
            _parsed(f"klue-dp-v1_{split}_{index:05d}_{('wikitree', 'airbnb')[index % 2]}", words)
            for index, words in enumerate(parsed)
        ]
        columns = "INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL"
        yield _klue_path("klue-dp", split, "tsv"), _klue_tsv(columns, blocks)


def _tagged(guid: str, row: dict) -> str:
    """A sentence of KLUE NER: with marks, then a line for each character, spaces included."""
    text, marked, position = row["text"], "", 0
    tags = ["O"] * len(text)
    for start, end, kind in row["entities"]:
        marked += f"{text[position:start]}<{text[start:end]}:{kind}>"
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        position = end
    lines = "".join(f"{character}\t{tag}\n" for character, tag in zip(text, tags, strict=True))
    return f"## {guid}\t{marked}{text[position:]}\n{lines}\n"


def _parsed(guid: str, words: list[trees.Word]) -> str:
    """A sentence of KLUE DP: its text, then a line for each word."""
    lines = "".join(
        "\t".join(map(str, (index, *word))) + "\n" for index, word in enumerate(words, start=1)
    )
    return f"## {guid}\t{' '.join(word.form for word in words)}\n{lines}\n"


def _korquad() -> Iterator[File]:
    for split, num_questions in (("train", 480), ("dev", 61)):
        data = articles.korquad(_sampler("korquad", split, "articles"), num_questions)
        release = {"version": f"KorQuAD_v1.0_{split}", "data": data}
        yield f"KorQuAD/KorQuAD_v1.0_{split}.json", json.dumps(release)


def _intent_lines(split: str, factor: int) -> list[str]:
    """Lines of 3i4K in the order of the classes."""
    labels = [label for label, rows in enumerate(_INTENT_ROWS) for _ in range(rows * factor)]
    rows = sentences.intents(_sampler("3i4k", split, "intents"), labels)
    return [f"{label}\t{text}" for label, text in rows]


def _sentence_tables() -> Iterator[File]:
    """3i4K, NSMC and KHSD."""
    # The validation split follows the training split in one file; no newline ends the files.
    lines = _intent_lines("train", 9) + _intent_lines("validation", 1)
    yield "3i4k/train_val_test/fci_train_val.txt", "\r\n".join(lines)
    yield "3i4k/train_val_test/fci_test.txt", "\r\n".join(_intent_lines("test", 1))
    for split, num_rows, num_empty in (("train", 1600, 0), ("test", _TEST, 2)):
        sampler = _sampler("nsmc", split, "reviews")
        rows = sentences.reviews(sampler, num_rows, num_empty=num_empty)
        yield f"NSMC/ratings_{split}.txt", _table("id document label", rows)
    for split, num_rows in (("train", 1400), ("dev", _HELD_OUT)):
        rows = sentences.comments(_sampler("khsd", split, "comments"), num_rows)
        content = _table("comments contain_gender_bias bias hate", rows)
        yield f"korean-hate-speech/labeled/{split}.tsv", content


def _quoted(rows: Rows) -> Rows:
    """Every fortieth line begins with a quote that nothing closes: quotes are characters here."""
    return [(f'"{row[0]}', *row[1:]) if i % 40 == 7 else row for i, row in enumerate(rows)]


def _kornli() -> Iterator[File]:
    sizes = {"multinli.train": 900, "snli_1.0_train": 900}
    for split, num_rows in (sizes | {"xnli.dev": _HELD_OUT, "xnli.test": _TEST}).items():
        pairs = sentence_pairs.inference_pairs(_sampler("kornli", split, "scenes"), num_rows)
        rows: Rows = [pair[:3] for pair in pairs]
        content = _table("sentence1 sentence2 gold_label", _quoted(rows))
        yield f"KorNLI/{split}.ko.tsv", content


def _pair_tables() -> Iterator[File]:
    """KorSTS and QPair."""
    for split, num_rows in (("train", 1400), ("dev", _HELD_OUT), ("test", _TEST)):
        rows: Rows = []
        pairs = sentence_pairs.similar_pairs(_sampler("korsts", split, "scenes"), num_rows)
        for index, (first, second, votes) in enumerate(pairs):
            score = f"{sum(votes) / len(votes):.3f}"
            genre = ("main-captions", "main-news")[index % 2]
            rows.append((genre, "sample", f"2012{split}", f"{index:04d}", score, first, second))
        content = _table("genre filename year id score sentence1 sentence2", rows)
        yield f"KorSTS/sts-{split}.tsv", content
    for split, num_rows in (("train", 1500), ("validation", _HELD_OUT), ("test", _TEST)):
        rows = sentence_pairs.question_pairs(_sampler("qpair", split, "questions"), num_rows)
        yield f"qpair/{split}.txt", _table("question1 question2 is_duplicate", rows)


def _nikl_file(stem: str, title: str, documents: list[dict]) -> str:
    metadata = {"title": title, "creator": "표본", "distributor": "표본", "year": "2019"}
    metadata |= {"category": "신문 > 일간지", "annotation_level": ["개체명"], "sampling": "전체"}
    return _json({"id": stem, "metadata": metadata, "document": documents}, indent=1)


def _nikl_entities() -> Iterator[File]:
    """NE of 2019 with `NE`, NE 2020 with `ne`, and a later file of it with `NE` and a BOM."""
    for folder, stem, num_documents, key in (
        ("NE", "NXNE1902008030", 260, "NE"),
        ("NE", "SXNE1902007240", 90, "NE"),
        ("NE_2020", "NXNE2102008030", 330, "ne"),
        ("NE_2020", "SXNE2102007240", 70, "NE"),
    ):
        fine_labels = folder == "NE_2020"
        sampler, source = TextSampler(stem, "fine_entities"), stem.replace("NE", "RW", 1)
        documents = entities.nikl_documents(
            sampler, source, num_documents, key=key, fine_labels=fine_labels
        )
        mark = "\ufeff" if fine_labels and key == "NE" else ""
        content = _nikl_file(stem, "개체명 표본", documents)
        yield f"NIKL/v1.0/{folder}/{stem}.json", mark + content


def _nikl_others() -> Iterator[File]:
    """SUMMARIZATION with its NEWSPAPER files, and CoLA."""
    summaries = []
    for stem, num_documents in (("NLRW1800000022", 240), ("NWRW1800000029", 90)):
        sampler = TextSampler(stem, "articles")
        documents, rows = articles.summaries(sampler, stem, num_documents)
        summaries += rows
        yield f"NIKL/v1.0/NEWSPAPER/{stem}.json", _nikl_file(stem, "신문 표본", documents)
    root = {"id": "NIKL_SC", "metadata": {"title": "문서 요약 표본"}, "data": summaries}
    yield "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", _json(root, indent=1)
    for split, num_rows in (
        ("in_domain_train", 1500),
        ("in_domain_dev", _HELD_OUT),
        ("out_of_domain_dev", _TEST),
    ):
        sampler = _sampler("cola", split, "acceptability")
        out_of_domain = split.startswith("out")
        pairs = sentences.acceptability(sampler, num_rows, out_of_domain=out_of_domain)
        rows = [("T00001", label, "*" if label == "0" else "", text) for text, label in pairs]
        content = _table("source acceptability_label source_annotation sentence", rows)
        yield f"NIKL/v1.0/CoLA/NIKL_CoLA_{split}.tsv", content


def release_files() -> Iterator[File]:
    """All files of all releases, path and content; equal at every call."""
    yield from _klue_json()
    yield from _klue_tagged()
    yield from _korquad()
    yield from _sentence_tables()
    yield from _kornli()
    yield from _pair_tables()
    yield from _nikl_entities()
    yield from _nikl_others()


def write_releases(folder: Path) -> None:
    """Writes all releases below `folder`, in the layout of a user's --hf_data_dir."""
    for path, content in release_files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode())
