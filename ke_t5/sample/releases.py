"""The sample as raw releases, with the file names, formats and quirks of the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ke_t5.sample import (
    articles,
    contest,
    coreference,
    dialogues,
    entities,
    public_tables,
    relations,
    sentences,
    trees,
)
from ke_t5.sample.grammar import load_grammar, load_json, render
from ke_t5.sample.sampler import TextSampler

# The share of words in held-out splits that never occur in training splits.
_UNSEEN = 0.3
# Rows of each of the seven classes of 3i4K in the validation and test splits; training has nine
# times as many. The shares are the real ones, except for the rarest classes.
_INTENT_ROWS = (22, 60, 57, 40, 8, 6, 10)
_KLUE_COMMENTS = (
    r"토큰, 레이블 구분자 : \t",
    r"토큰 구분자 : \n",
    r"문장 구분자 : \n\n",
    "주석 : ##",
)


class Section(NamedTuple):
    """The parameters of a file, or of a section of it."""

    sampler: TextSampler
    name: str
    split: str
    num_rows: int


def _section(line: str) -> Section:
    """The section of a line of data/releases.txt without its first word."""
    grammar, name, split, num_rows = line.split()
    # All splits except train use held-out words too; files without a split are training data.
    unseen = 0.0 if split.endswith("train") or split == "-" else _UNSEEN
    seed = name if split == "-" else f"{name} {split}"
    return Section(TextSampler(seed, grammar, unseen=unseen), name, split, int(num_rows))


def _json(value: object, indent: int = 4) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Tab-separated lines with a header."""
    return "".join("\t".join(row) + "\n" for row in [columns, *rows])


def _klue_tsv(columns: str, blocks: Iterator[str]) -> str:
    """A KLUE TSV: five comment lines, then sentences, each followed by an empty line."""
    lines = [*_KLUE_COMMENTS, f"칼럼명 : {columns}"]
    return "".join(f"## {line}\n" for line in lines) + "".join(blocks)


def _klue_ner(section: Section) -> str:
    # The release separates the source from the number by `_` in train, by `-` in dev.
    prefix, mark = f"klue-ner-v1_{section.split}", "_" if section.split == "train" else "-"
    rows = enumerate(entities.klue_ner(section.sampler, section.num_rows))
    blocks = (_tagged(f"{prefix}_{index:05d}{mark}{row['source']}", row) for index, row in rows)
    return _klue_tsv("CHAR\tNE_TAG", blocks)


def _tagged(guid: str, row: dict) -> str:
    """A sentence of KLUE NER: the text with marks, then a line per character, including spaces."""
    text, marked, position = row["text"], "", 0
    tags = ["O"] * len(text)
    for start, end, kind in row["entities"]:
        marked += f"{text[position:start]}<{text[start:end]}:{kind}>"
        tags[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
        position = end
    lines = "".join(f"{character}\t{tag}\n" for character, tag in zip(text, tags, strict=True))
    return f"## {guid}\t{marked}{text[position:]}\n{lines}\n"


def _klue_dp(section: Section) -> str:
    rows = enumerate(trees.klue_dp(section.sampler, section.num_rows))
    prefix, sources = f"klue-dp-v1_{section.split}", ("wikitree", "airbnb")
    blocks = (_parsed(f"{prefix}_{index:05d}_{sources[index % 2]}", words) for index, words in rows)
    return _klue_tsv("INDEX\tWORD_FORM\tLEMMA\tPOS\tHEAD\tDEPREL", blocks)


def _parsed(guid: str, words: list[trees.Word]) -> str:
    """A sentence of KLUE DP: the text, then a line per word."""
    lines = "".join(
        "\t".join(map(str, (index, *word))) + "\n" for index, word in enumerate(words, start=1)
    )
    return f"## {guid}\t{' '.join(word.form for word in words)}\n{lines}\n"


def _conllu(section: Section) -> str:
    return trees.conllu(section.sampler, section.split, section.num_rows)


def _korquad(section: Section) -> str:
    data = articles.korquad(section.sampler, section.num_rows)
    return json.dumps({"version": f"KorQuAD_v1.0_{section.split}", "data": data})


def _3i4k(*sections: Section) -> str:
    """Lines in the order of the classes, without a newline at the end of the file."""
    lines = [
        f"{label}\t{section.sampler.draw('row', **{'class': str(label)})['text']}"
        for section in sections
        for label, num_rows in enumerate(_INTENT_ROWS)
        for _ in range(num_rows * section.num_rows)
    ]
    return "\r\n".join(lines)


def _drawn_table(section: Section) -> str:
    """Rows that are described entirely by the data file."""
    lists = section.sampler.grammar.lists
    columns = lists.get(f"columns {section.split}") or lists["columns"]
    rows = section.sampler.rows(section.num_rows, split=section.split)
    return _table(columns, [[row[column] for column in columns] for row in rows])


def _nsmc(section: Section) -> str:
    """Reviews; the first two of the test split are empty."""
    ids = section.sampler.random.sample(range(1_000_000, 9_999_999), section.num_rows)
    rows = [(row["document"], row["label"]) for row in section.sampler.rows(section.num_rows)]
    if section.split == "test":
        rows[:2] = [("", label) for _, label in rows[:2]]
    numbered = [(str(number), *row) for number, row in zip(ids, rows, strict=True)]
    return _table(("id", "document", "label"), numbered)


def _kote(section: Section) -> str:
    """Number, text and labels, without a header; some texts are quoted, as by a spreadsheet."""
    rows = enumerate(section.sampler.rows(section.num_rows, split=section.split))
    return "".join(
        f'{index}\t"""{row["text"]}"""\t{row["labels"]}\n'
        if index % 40 == 7
        else f"{index}\t{row['text']}\t{row['labels']}\n"
        for index, row in rows
    )


def _kornli(section: Section) -> str:
    """Sentence pairs; every fortieth line begins with an unclosed quote, which is plain text."""
    rows = [
        ('"' * (index % 40 == 7) + row["premise"], row["hypothesis"], row["label"])
        for index, row in enumerate(sentences.inferences(section.sampler, section.num_rows))
    ]
    return _table(("sentence1", "sentence2", "gold_label"), rows)


def _korsts(section: Section) -> str:
    rows = []
    for index, row in enumerate(sentences.similarities(section.sampler, section.num_rows)):
        genre = ("main-captions", "main-news")[index % 2]
        origin = (genre, "sample", f"2012{section.split}", f"{index:04d}")
        rows.append((*origin, f"{row['mean']:.3f}", row["first"], row["second"]))
    columns = ("genre", "filename", "year", "id", "score", "sentence1", "sentence2")
    return _table(columns, rows)


def _nikl_file(stem: str, title: str, documents: list[dict]) -> str:
    values = {"stem": stem, "title": title, "documents": documents}
    return _json(render(load_json("rows")["NIKL file"], **values), indent=1)


def _nikl_entities(key: str, fine_labels: bool, mark: str = "") -> Callable[[Section], str]:
    """A writer of NE files whose entities are listed under `key`."""

    def write(section: Section) -> str:
        documents = entities.nikl_documents(
            section.sampler,
            section.name.replace("NE", "RW", 1),
            section.num_rows,
            key=key,
            fine_labels=fine_labels,
        )
        return mark + _nikl_file(section.name, "개체명 표본", documents)

    return write


def _nikl_coreference(section: Section) -> str:
    stem = section.name.replace("CR", "RW", 1)
    documents = coreference.nikl_documents(section.sampler, stem, section.num_rows)
    return "\ufeff" + _nikl_file(section.name, "상호참조 표본", documents)


def _newspaper(section: Section) -> str:
    documents, _ = articles.summaries(section.sampler, section.name, section.num_rows)
    return _nikl_file(section.name, "신문 표본", documents)


def _summaries(*sections: Section) -> str:
    """The summaries of the newspaper files."""
    rows = []
    for section in sections:
        rows += articles.summaries(section.sampler, section.name, section.num_rows)[1]
    return _json({"id": "NIKL_SC", "metadata": {"title": "문서 요약 표본"}, "data": rows}, indent=1)


def _rendered(section: Section, rows: Iterable[dict]) -> list[dict]:
    """The rows in KLUE's format."""
    template, source_key = (
        load_json("rows")[section.name],
        "genre" if section.split == "train" else "source",
    )
    return [
        render(template, index=index, split=section.split, source_key=source_key, **row)
        for index, row in enumerate(rows)
    ]


def _klue_json(draw: Callable[[TextSampler, int], Iterable[dict]]) -> Callable[[Section], str]:
    """A writer of KLUE's JSON with the rows of `draw`."""
    return lambda section: _json(_rendered(section, draw(section.sampler, section.num_rows)))


def _of(write: Callable[[TextSampler, str, int], str]) -> Callable[[Section], str]:
    """A writer that calls `write` with sampler, split and number of rows of a section."""
    return lambda section: write(section.sampler, section.split, section.num_rows)


def _klue_mrc(section: Section) -> str:
    rows = articles.klue_mrc(section.sampler, section.split, section.num_rows)
    return _json({"data": _rendered(section, rows)})


_WRITERS: dict[str, Callable[..., str]] = {
    "ynat": _klue_json(sentences.ynat),
    "klue-sts": _klue_json(sentences.klue_sts),
    "klue-nli": _klue_json(sentences.klue_nli),
    "klue-re": _klue_json(relations.klue_re),
    "klue-mrc": _klue_mrc,
    "wos": _klue_json(dialogues.klue_wos),
    "relation_list": lambda section: _json({"relations": relations.labels()}) + "\n",
    "ontology": lambda section: _json(dialogues.ontology(), indent=2),
    "klue-ner": _klue_ner,
    "klue-dp": _klue_dp,
    "conllu": _conllu,
    "korquad": _korquad,
    "3i4k": _3i4k,
    "table": _drawn_table,
    "nsmc": _nsmc,
    "kote": _kote,
    "kornli": _kornli,
    "korsts": _korsts,
    "nikl_ne": _nikl_entities("NE", fine_labels=False),
    "nikl_ne_2020": _nikl_entities("ne", fine_labels=True),
    # A later file of 2020 uses the key of 2019, and begins with a BOM.
    "nikl_ne_later": _nikl_entities("NE", fine_labels=True, mark="\ufeff"),
    "nikl_cr": _nikl_coreference,
    "newspaper": _newspaper,
    "summaries": _summaries,
    "apeach": _of(public_tables.apeach),
    "kold": _of(public_tables.kold),
    "khaters": _of(public_tables.khaters),
    "korfin": _of(public_tables.korfin),
    "paws_x": _of(public_tables.paws_x),
    "massive": _of(public_tables.massive),
    "naver_ner": _of(public_tables.naver_ner),
    "sae4k": _of(public_tables.sae4k),
    "korquad2": _of(public_tables.korquad2),
    "nikluge": lambda section: contest.nikluge(*section),
}


def release_files() -> Iterator[tuple[str, str]]:
    """Yields (path below the data folder, content) of all files; deterministic."""
    grammar = load_grammar("releases")
    for path in grammar.families("file"):
        lines = [line.split(maxsplit=1) for line in grammar.lists[f"file {path}"]]
        yield path, _WRITERS[lines[0][0]](*(_section(line) for _, line in lines))


def write_releases(folder: Path) -> None:
    """Writes all releases below `folder`, in the layout of a user's --hf_data_dir."""
    for path, content in release_files():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode())
