"""The sample as raw releases: the files, names and quirks of the true ones, below one folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ke_t5.sample import (
    dialogues,
    entities,
    judgements,
    news,
    reading,
    relations,
    scenes,
    trees,
    utterances,
)
from ke_t5.sample.pen import Pen

# (path below the data folder, content)
File = tuple[str, str]
# The share of choices in held-out parts that fall on words which training parts never show.
_UNSEEN = 0.3
# Rows of each part. Held-out sizes are odd, so that two processes get unequal shares.
_HELD_OUT, _TEST = 203, 205
# Rows of each of the seven classes of 3i4K in the validation and test parts; nine times as many
# in training. The real shares are kept, but for the rarest classes.
_INTENT_ROWS = (22, 60, 57, 40, 8, 6, 10)


def _pen(name: str, part: str) -> Pen:
    """The pen for one part of a release; parts but train use unseen words too."""
    return Pen(f"{name} {part}", unseen=0.0 if part.startswith("train") else _UNSEEN)


def _indented(value: object) -> str:
    """JSON as KLUE's releases write it."""
    return json.dumps(value, ensure_ascii=False, indent=4)


def _klue_path(stem: str, part: str, suffix: str) -> str:
    return f"klue_benchmark/{stem}-v1.1/{stem}-v1.1_{part}.{suffix}"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], *, end: str = "\n") -> str:
    """Tab-separated lines with a header."""
    return "\n".join("\t".join(row) for row in [header, *rows]) + end


def _klue_json() -> Iterator[File]:
    """ynat, sts, nli, re, mrc and wos."""
    sizes = {"ynat": 1800, "klue-sts": 1400, "klue-nli": 1602, "klue-re": 1800}
    for stem, num_train in sizes.items():
        for part, num_rows in (("train", num_train), ("dev", _HELD_OUT)):
            pen = _pen(stem, part)
            rows = {"ynat": news.ynat, "klue-re": relations.klue_re, "klue-sts": _sts,
                    "klue-nli": _nli}[stem](pen, part, num_rows)  # fmt: skip
            yield _klue_path(stem, part, "json"), _indented(rows)
    for part, num_questions, num_dialogues in (("train", 480, 160), ("dev", 61, 21)):
        articles = reading.klue_mrc(_pen("klue-mrc", part), part, num_questions)
        yield _klue_path("klue-mrc", part, "json"), _indented({"data": articles})
        rows = dialogues.klue_wos(_pen("wos", part), part, num_dialogues)
        yield _klue_path("wos", part, "json"), _indented(rows)
    folder = "klue_benchmark/"
    names = {"relations": relations.LABELS}
    yield f"{folder}klue-re-v1.1/relation_list.json", _indented(names) + "\n"
    values = json.dumps(dialogues.ontology(), ensure_ascii=False, indent=2)
    yield f"{folder}wos-v1.1/ontology.json", values


def _sts(pen: Pen, part: str, num_rows: int) -> list[dict]:
    rows = []
    for index, (first, second, votes) in enumerate(scenes.similar_pairs(pen, num_rows)):
        mean = sum(votes) / len(votes)
        kind = "rtt" if mean >= 2.5 else "sampled"
        raters = [f"{number:02d}" for number in pen.random.sample(range(1, 21), len(votes))]
        agreement = ":".join(str(votes.count(score)) for score in range(6))
        rows.append(
            {
                "guid": f"klue-sts-v1_{part}_{index:05d}",
                "source": f"{pen.any_of(('airbnb', 'policy'))}-{kind}",
                "sentence1": first,
                "sentence2": second,
                "labels": {
                    "label": round(mean, 1),
                    "real-label": mean,
                    "binary-label": int(mean >= 3),
                },
                "annotations": {
                    "agreement": agreement,
                    "annotators": raters,
                    "annotations": votes,
                },
            }
        )
    return rows


def _nli(pen: Pen, part: str, num_rows: int) -> list[dict]:
    rows = []
    source_key = "genre" if part == "train" else "source"  # as in the release
    for index, pair in enumerate(scenes.inference_pairs(pen, num_rows)):
        premise, hypothesis, gold, author = pair
        row = {
            "guid": f"klue-nli-v1_{part}_{index:05d}",
            source_key: ("wikitree", "policy", "airbnb")[index // 3 % 3],
            "premise": premise,
            "hypothesis": hypothesis,
            "gold_label": gold,
            "author": author,
        }
        row |= {f"label{number}": gold for number in range(2, 5)}
        rows.append(row | {"label5": pen.noisy(gold, scenes.NLI_LABELS, 0.2)})
    return rows


_COMMENTS = (
    "토큰, 레이블 구분자 : \\t",
    "토큰 구분자 : \\n",
    "문장 구분자 : \\n\\n",
    "주석 : ##",
)


def _commented(columns: str, sentences: list[str]) -> str:
    """A KLUE TSV: five comment lines, then sentences, each closed by an empty line."""
    lines = [*_COMMENTS, f"칼럼명 : {columns}"]
    return "".join(f"## {line}\n" for line in lines) + "".join(sentences)


def _klue_tsv() -> Iterator[File]:
    """ner and dp."""
    for part, num_rows, num_trees in (("train", 1500, 1200), ("dev", _HELD_OUT, 151)):
        rows = entities.klue_ner(_pen("klue-ner", part), num_rows)
        # The release parts the source from the number by `_` in train, by `-` in dev.
        mark = "_" if part == "train" else "-"
        sentences = [
            _tagged(f"klue-ner-v1_{part}_{index:05d}{mark}{row['source']}", row)
            for index, row in enumerate(rows)
        ]
        yield _klue_path("klue-ner", part, "tsv"), _commented("CHAR\tNE_TAG", sentences)
        parsed = trees.klue_dp(_pen("klue-dp", part), num_trees)
        sentences = [
            _parsed(f"klue-dp-v1_{part}_{index:05d}_{('wikitree', 'airbnb')[index % 2]}", words)
            for index, words in enumerate(parsed)
        ]
        columns = "INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL"
        yield _klue_path("klue-dp", part, "tsv"), _commented(columns, sentences)


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
    lines = "".join(
        f"{index}\t{word.form}\t{word.lemma}\t{word.tags}\t{word.head}\t{word.relation}\n"
        for index, word in enumerate(words, start=1)
    )
    return f"## {guid}\t{' '.join(word.form for word in words)}\n{lines}\n"


def _korquad() -> Iterator[File]:
    for part, num_questions in (("train", 480), ("dev", 61)):
        data = reading.korquad(_pen("korquad", part), num_questions)
        release = {"version": f"KorQuAD_v1.0_{part}", "data": data}
        yield f"KorQuAD/KorQuAD_v1.0_{part}.json", json.dumps(release)


def _intent_lines(part: str, factor: int) -> list[str]:
    """Lines of 3i4K in the order of the classes."""
    labels = [label for label, rows in enumerate(_INTENT_ROWS) for _ in range(rows * factor)]
    rows = utterances.intents(_pen("3i4k", part), labels)
    return [f"{label}\t{text}" for label, text in rows]


def _sentence_tables() -> Iterator[File]:
    """3i4K, NSMC and KHSD."""
    # The validation part follows the training part in one file; no newline ends the files.
    lines = _intent_lines("train", 9) + _intent_lines("validation", 1)
    yield "3i4k/train_val_test/fci_train_val.txt", "\r\n".join(lines)
    yield "3i4k/train_val_test/fci_test.txt", "\r\n".join(_intent_lines("test", 1))
    header = ("id", "document", "label")
    for part, num_rows, num_empty in (("train", 1600, 0), ("test", _TEST, 2)):
        rows = utterances.reviews(_pen("nsmc", part), num_rows, num_empty=num_empty)
        yield f"NSMC/ratings_{part}.txt", _table(header, rows)
    header = ("comments", "contain_gender_bias", "bias", "hate")
    for part, num_rows in (("train", 1400), ("dev", _HELD_OUT)):
        rows = utterances.comments(_pen("khsd", part), num_rows)
        yield f"korean-hate-speech/labeled/{part}.tsv", _table(header, rows)


def _quoted(rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Every fortieth line begins with a quote that nothing closes: quotes are characters here."""
    return [(f'"{row[0]}', *row[1:]) if i % 40 == 7 else row for i, row in enumerate(rows)]


def _pair_tables() -> Iterator[File]:
    """KorNLI, KorSTS and QPair."""
    header = ("sentence1", "sentence2", "gold_label")
    parts = {"multinli.train": 900, "snli_1.0_train": 900}
    for part, num_rows in (parts | {"xnli.dev": _HELD_OUT, "xnli.test": _TEST}).items():
        pen = Pen(f"kornli {part}", unseen=_UNSEEN if part.startswith("xnli") else 0.0)
        rows = [pair[:3] for pair in scenes.inference_pairs(pen, num_rows)]
        yield f"KorNLI/{part}.ko.tsv", _table(header, _quoted(rows))
    header = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
    for part, num_rows in (("train", 1400), ("dev", _HELD_OUT), ("test", _TEST)):
        rows = []
        pairs = scenes.similar_pairs(_pen("korsts", part), num_rows)
        for index, (first, second, votes) in enumerate(pairs):
            score = f"{sum(votes) / len(votes):.3f}"
            genre = ("main-captions", "main-news")[index % 2]
            rows.append((genre, "sample", f"2012{part}", f"{index:04d}", score, first, second))
        yield f"KorSTS/sts-{part}.tsv", _table(header, rows)
    header = ("question1", "question2", "is_duplicate")
    for part, num_rows in (("train", 1500), ("validation", _HELD_OUT), ("test", _TEST)):
        rows = judgements.question_pairs(_pen("qpair", part), num_rows)
        yield f"qpair/{part}.txt", _table(header, rows)


def _nikl_file(stem: str, title: str, documents: list[dict]) -> str:
    metadata = {"title": title, "creator": "표본", "distributor": "표본", "year": "2019"}
    metadata |= {"category": "신문 > 일간지", "annotation_level": ["개체명"], "sampling": "전체"}
    root = {"id": stem, "metadata": metadata, "document": documents}
    return json.dumps(root, ensure_ascii=False, indent=1)


def _nikl_entities() -> Iterator[File]:
    """NE of 2019 with `NE`, NE 2020 with `ne`, and a later file of it with `NE` and a BOM."""
    for folder, stem, num_documents, key in (
        ("NE", "NXNE1902008030", 260, "NE"),
        ("NE", "SXNE1902007240", 90, "NE"),
        ("NE_2020", "NXNE2102008030", 330, "ne"),
        ("NE_2020", "SXNE2102007240", 70, "NE"),
    ):
        fine_labels = folder == "NE_2020"
        documents = entities.nikl_documents(
            Pen(stem), stem.replace("NE", "RW", 1), num_documents, key=key, fine_labels=fine_labels
        )
        later = fine_labels and key == "NE"
        content = _nikl_file(stem, "개체명 표본", documents)
        yield f"NIKL/v1.0/{folder}/{stem}.json", ("\ufeff" if later else "") + content


def _nikl_others() -> Iterator[File]:
    """SUMMARIZATION with its NEWSPAPER files, and CoLA."""
    summaries = []
    for stem, num_documents in (("NLRW1800000022", 240), ("NWRW1800000029", 90)):
        documents, rows = reading.summaries(Pen(stem), stem, num_documents)
        summaries += rows
        yield f"NIKL/v1.0/NEWSPAPER/{stem}.json", _nikl_file(stem, "신문 표본", documents)
    root = {"id": "NIKL_SC", "metadata": {"title": "문서 요약 표본"}, "data": summaries}
    text = json.dumps(root, ensure_ascii=False, indent=1)
    yield "NIKL/v1.0/SUMMARIZATION/NIKL_SC.json", text
    header = ("source", "acceptability_label", "source_annotation", "sentence")
    for part, num_rows in (
        ("in_domain_train", 1500),
        ("in_domain_dev", _HELD_OUT),
        ("out_of_domain_dev", _TEST),
    ):
        pen = Pen(f"cola {part}", unseen=0.0 if part.endswith("train") else _UNSEEN)
        pairs = judgements.acceptability(pen, num_rows, out_of_domain=part.startswith("out"))
        rows = [("T00001", label, "*" if label == "0" else "", text) for text, label in pairs]
        yield f"NIKL/v1.0/CoLA/NIKL_CoLA_{part}.tsv", _table(header, rows)


def release_files() -> Iterator[File]:
    """All files of all releases, path and content; equal at every call."""
    yield from _klue_json()
    yield from _klue_tsv()
    yield from _korquad()
    yield from _sentence_tables()
    yield from _pair_tables()
    yield from _nikl_entities()
    yield from _nikl_others()


def write_releases(folder: Path) -> None:
    """Writes all releases below `folder`, as a user's --hf_data_dir would hold them."""
    for path, content in release_files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode())
