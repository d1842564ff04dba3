"""Tokenizers with one id per character, without and with a separator; rows of every release."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import (
    Examples,
    FunctionDataSource,
    Mixture,
    Task,
    TaskRegistry,
    get_task,
    rate_num_examples,
)
from ke_t5.task.labels import KLUE_RE, KMHAS, KOTE
from support.helpers import folders

T5, BERT = "t5", "bert"
_HANGUL = "가나다라마바사아자차카타파하의를을이은는에서로와과도만첫째둘길셋넷끝답정"
_ASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:;?!*#()/_-+|'\""


@functools.cache
def character_tokenizer(kind: str) -> Any:
    """A character tokenizer with T5's special tokens (`... </s>`), or BERT's and two segments."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>"] if kind == T5 else ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    words = [*KMHAS.words, *KOTE.words]
    characters = dict.fromkeys(_ASCII + _HANGUL + "".join([*_texts_in(ROWS), *words]))
    vocabulary = {token: i for i, token in enumerate([*special, *characters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=special[-1]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    ids = [(token, vocabulary[token]) for token in special]
    single, pair = ("$A </s>", "$A </s> $B </s>")
    if kind == BERT:
        single, pair = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
    backend.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=ids
    )
    names = (
        {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        if kind == T5
        else {
            "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"
        }
    )  # fmt: skip
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if kind == BERT else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=512, model_input_names=inputs,
        clean_up_tokenization_spaces=False, **names,
    )  # fmt: skip


def save_tokenizers(folder: Path) -> dict[str, str]:
    """Both tokenizers as folders, by kind."""
    for kind in (T5, BERT):
        character_tokenizer(kind).save_pretrained(folder / kind)
    return {kind: str(folder / kind) for kind in (T5, BERT)}


def examples_on(
    name: str, rows: Sequence[dict], *, vocabulary: str, cache: Path, **lengths: int
) -> tuple[Task, Examples]:
    """The registered task over our own rows, and its examples with the tokenizer of that folder.

    Args:
        lengths: `inputs` and `targets`, in tokens.
    """
    gin.bind_parameter("ke_t5.task.utils.get_vocabulary.vocab_name", vocabulary)
    task = TaskRegistry.get(name)
    release = task.source.release
    source = FunctionDataSource(lambda split: rows, ["train"], release.columns, name=release.name)
    task = dataclasses.replace(task, source=source)
    return task, task.get_dataset("train", folders=folders(cache), sequence_length=lengths)


def changed(release: str, place: int = 0, **columns: Any) -> dict:
    """One of `ROWS` with some values replaced."""
    return {**ROWS[release][place], **columns}


def all_of(examples: Examples) -> list[dict]:
    """Every example with all its columns."""
    return [examples.example(i) for i in range(len(examples))]


def _texts_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for part in value for text in _texts_in(part)] if isinstance(value, list) else []


def _relation(label: str | None) -> dict:
    return {
        "guid": "re", "source": "wikipedia", "sentence": "(주)가나의 대표 김가는 서울에 산다.",
        "subject": {"word": "(주)가나", "start": 0, "end": 5, "type": "ORG"},
        "object": {"word": "김", "start": 10, "end": 11, "type": "PER"}, "label": label,
    }  # fmt: skip


def _question(answers: list | None, *, is_impossible: bool = False) -> dict:
    return {
        "guid": "q", "title": None, "context": "서울은 나라의 수도이다. 부산은 항구 도시이다.",
        "question": "나라의 수도는?", "is_impossible": is_impossible, "answers": answers,
        "plausible_answers": [],
    }  # fmt: skip


_ANSWERED = [
    _question([{"text": "서울", "start": 0}, {"text": "서울은", "start": 0}]),
    _question([{"text": "항구 도시", "start": 18}]),
]
_TAGS = {
    "서울 시에 산다": "B-LC I-LC I-LC I-LC O O O O".split(),
    "김가 이나": "B-PS I-PS O B-PS I-PS".split(),
}
_NE = [
    {"id": "a.1", "document": "a", "text": "김가는 서울에 산다.",
     "entities": [{"start": 0, "end": 2, "label": "PS"}, {"start": 4, "end": 6, "label": "LC"}]},
    {"id": "a.2", "document": "a", "text": "아무도 없다.", "entities": []},
    {"id": "b.1", "document": "b", "text": "모르는 글이다.", "entities": None},
]  # fmt: skip
_NE2020 = [
    {**row, "entities": row["entities"] and [
        {**entity, "label": {"PS": "PS_NAME", "LC": "LCP_CAPITALCITY"}[entity["label"]]}
        for entity in row["entities"]
    ]}
    for row in _NE
]  # fmt: skip
_SUMMARY = [
    {"document_id": "d.1", "article": "비가 왔다. 길이 젖었다. 차가 느리다.",
     "summary": "비가 와서 길이 젖어 차가 느리다."},
    {"document_id": "d.2", "article": "날이 맑다. 아이들이 나와 논다.",
     "summary": "날이 맑아서 아이들이 밖에 나와 논다."},
    {"document_id": "d.3", "article": "아무 일도 없었다.", "summary": None},
]  # fmt: skip
_WORDS = {"guid": "dp", "source": "airbnb", "sentence": "나는 집에 간다", "lemmas": [], "pos": [],
          "words": ["나는", "집에", "간다"]}  # fmt: skip

_ROW = {"guid": "nikluge", "raw": "{}"}
_INSULTS = [
    {**_ROW, "text": text, "label": label}
    for text, label in (("나가라", "1"), ("좋다", "0"), ("몰라", None))
]
_MEANT = [{**_INSULTS[i], "label": label} for i, label in enumerate(("NEGATIVE", "POSITIVE", None))]
_TALK = {**_ROW, "conversation": "가: 비가 온다. 나: 그래서?"}
_TREE = {"guid": "s1", "text": "나는 집에 간다", "words": ["나는", "집에", "간다"]}
_UD = [
    {**_TREE, "heads": [3, 3, 0], "relations": ["nsubj", "obl", "root"],
     "tags": "B-PRON I-PRON O B-NOUN I-NOUN O B-VERB I-VERB".split()},
    {**_TREE, "heads": [2, 0, 2], "relations": ["nmod", "root", "dep"],
     "tags": "B-ADV I-ADV O B-NOUN I-NOUN O B-ADJ I-ADJ".split()},
    {**_TREE, "heads": None, "relations": None, "tags": None},
]  # fmt: skip

# Release name -> rows in the readers' canonical form. The last row has no label.
ROWS: dict[str, list[dict]] = {
    "klue_ynat": [
        {"guid": "t", "title": "새 전화기 나왔다", "label": "IT과학"},
        {"guid": "t", "title": "금리 내린다", "label": "경제"},
        {"guid": "t", "title": "모르는 제목", "label": None},
    ],
    "klue_nli": [
        {"guid": "n", "source": "NSMC", "premise": "비가 온다.", "hypothesis": hypothesis,
         "label": label}
        for hypothesis, label in (
            ("젖는다.", "entailment"), ("맑다.", "contradiction"), ("춥다.", "neutral"),
            ("몰라.", None),
        )
    ],
    "klue_sts": [
        {"guid": "s", "source": "airbnb-rtt", "sentence1": "집이 좋다.", "sentence2": second,
         "label": score, "real_label": score, "binary_label": binary}
        for second, score, binary in (
            ("좋은 집이다.", 4.2, "1"), ("방이 넓다.", 1.5, "0"), ("비가 온다.", 0.0, "0"),
            ("몰라.", None, None),
        )
    ],
    "klue_ner": [
        *({"guid": "e", "source": "nsmc", "text": text, "tags": tags}
          for text, tags in _TAGS.items()),
        {"guid": "e", "source": "nsmc", "text": "몰라", "tags": None},
    ],
    # AUPRC is 50 for a class that never occurs, so all 30 do.
    "klue_re": [_relation(label) for label in (*KLUE_RE.names, None)],
    "klue_dp": [
        {**_WORDS, "heads": [3, 3, 0], "relations": ["NP_SBJ", "NP_AJT", "VP"]},
        {**_WORDS, "heads": [2, 3, 0], "relations": ["NP", "NP_AJT", "VP"]},
        {**_WORDS, "heads": None, "relations": None},
    ],
    "klue_mrc": [*_ANSWERED, _question([], is_impossible=True), _question(None)],
    "korquad": [*_ANSWERED, _question(None)],
    "korquad2": [*_ANSWERED, _question(None)],
    "sae4k": [
        {"utterance": "서울 날이 맑은지 말해", "phrase": "서울 날이 맑은지 여부", "type": "0"},
        {"utterance": "비가 오면 나가지 마", "phrase": "비 오면 나가지 않기", "type": "3"},
        {"utterance": "몰라", "phrase": None, "type": "4"},
    ],
    "klue_wos": [
        {"guid": "w", "turn": 0, "history": [{"role": "user", "text": "안녕하세요."}], "state": []},
        {"guid": "w", "turn": 1, "history": [
            {"role": "user", "text": "안녕하세요."}, {"role": "sys", "text": "네."},
            {"role": "user", "text": "일식당이요."},
        ], "state": ["식당-종류-일식당", "식당-예약 시간-18:30"]},
        {"guid": "v", "turn": 0, "history": [{"role": "user", "text": "음."}], "state": None},
    ],
    "nikl_ne": _NE,
    "nikl_ne_split": _NE,
    "nikl_ne2020": _NE2020,
    "nikl_ne2020_split": _NE2020,
    "nikl_cr_mentions": [
        {**row, "entities": row["entities"] and [
            {**entity, "label": "MENTION"} for entity in row["entities"]
        ]}
        for row in _NE
    ],
    "nikl_cr_documents": [
        {"id": "a", "text": "나는 서울에 간다\n\n거기서 나는 논다.", "chains": [
            [{"start": 0, "end": 1}, {"start": 15, "end": 16}],
            [{"start": 3, "end": 5}, {"start": 11, "end": 13}],
        ]},
        {"id": "b", "text": "비가 [많이] 온다.", "chains": []},
        {"id": "c", "text": "나는 나를 안다.", "chains": None},
    ],
    "nikl_cr_antecedents": [
        {"id": "a.1:0-1", "document": "a", **{name: row[name] for name in (
            "question", "context", "answers", "is_impossible"
        )}}
        for row in (*_ANSWERED, _question(None))
    ],
    "nikl_summary_summary": _SUMMARY,
    "nikl_summary_summary_split": _SUMMARY,
    "nikl_summary_topic": _SUMMARY,
    "nikl_summary_topic_split": _SUMMARY,
    "nikl_cola": [
        {"idx": 0, "sentence": "나는 간다.", "label": "1"},
        {"idx": 1, "sentence": "나를 간다.", "label": "0"},
        {"idx": 2, "sentence": "몰라.", "label": None},
    ],
    "kor_3i4k": [
        {"text": "어디 가", "label": "2"}, {"text": "가지 마", "label": "3"},
        {"text": "글쎄", "label": "6"}, {"text": "몰라", "label": None},
    ],
    "nsmc": [
        {"id": "1", "text": "재미있다", "label": "1"}, {"id": "2", "text": "", "label": "0"},
        {"id": "3", "text": "몰라", "label": None},
    ],
    "kornli": [
        {"premise": "비가 온다.", "hypothesis": "젖는다.", "label": "entailment"},
        {"premise": "비가 온다.", "hypothesis": "맑다.", "label": "contradiction"},
        {"premise": "비가 온다.", "hypothesis": "몰라.", "label": None},
    ],
    "korsts": [
        {"genre": "main-news", "sentence1": "차가 간다.", "sentence2": second, "score": score}
        for second, score in (("차가 온다.", 2.8), ("차가 가고 있다.", 5.0), ("몰라.", None))
    ],
    "khsd": [
        {"text": text, "label": label, "bias": bias, "gender": gender}
        for text, label, bias, gender in (
            ("나가라", "hate", "gender", "True"), ("좋다", "none", "none", "False"),
            ("못났다", "offensive", "others", "False"), ("몰라", None, None, None),
        )
    ],
    "apeach": [
        {"text": "나가라", "label": "Spoiled"}, {"text": "좋다", "label": "Default"},
        {"text": "몰라", "label": None},
    ],
    "kold": [
        {"guid": "k", "title": "새 노래", "comment": comment, "label": label}
        for comment, label in (("나가라", "True"), ("좋다", "False"), ("몰라", None))
    ],
    "khaters": [
        {"text": text, "label": label}
        for text, label in (
            ("좋다", "normal"), ("못났다", "offensive"), ("나가라", "L1_hate"),
            ("다 나가라", "L2_hate"), ("몰라", None),
        )
    ],
    "korfin_asc": [
        {"title": "가나 이기고 다라 졌다", "aspect": aspect, "label": label}
        for aspect, label in (
            ("가나", "POSITIVE"), ("다라", "NEGATIVE"), ("마바", "NEUTRAL"), ("사아", None)
        )
    ],
    "paws_x_ko": [
        {"sentence1": "가는 나의 길", "sentence2": second, "label": label}
        for second, label in (("나의 길은 가", "1"), ("나는 가의 길", "0"), ("몰라", None))
    ],
    "massive_ko": [
        {"id": "1", "utterance": text, "intent": intent, "text": text, "tags": tags}
        for text, intent, tags in (
            ("내일 깨워", "alarm_set", "B-date I-date O O O".split()),
            ("서울 날씨", "weather_query", "B-place_name I-place_name O O O".split()),
            ("몰라", None, None),
        )
    ],
    "naver_ner": [
        *({"text": text, "tags": [tag.replace("PS", "PER").replace("LC", "LOC") for tag in tags]}
          for text, tags in _TAGS.items()),
        {"text": "몰라", "tags": None},
    ],
    "kobest_boolq": [
        {"paragraph": "비가 온다.", "question": question, "label": label}
        for question, label in (("비가 오는가?", "1"), ("맑은가?", "0"), ("몰라?", None))
    ],
    "kobest_wic": [
        {"word": "배", "sentence1": "[배]를 탄다.", "sentence2": second, "label": label}
        for second, label in (("[배]가 간다.", "1"), ("[배]가 달다.", "0"), ("[배]", None))
    ],
    "kobest_sentineg": [
        {"text": "좋다", "label": "1"}, {"text": "안 좋다", "label": "0"},
        {"text": "몰라", "label": None},
    ],
    "kobest_copa": [
        {"premise": "비가 온다.", "question": question, "choice1": "젖는다.",
         "choice2": "구름이 끼었다.", "label": label}
        for question, label in (("결과", "1"), ("원인", "2"), ("몰라", None))
    ],
    "kobest_hellaswag": [
        {"context": "공이 온다.", "choice1": "찬다.", "choice2": "잔다.", "choice3": "먹는다.",
         "choice4": "비가 내린다.", "label": label} for label in ("0", "2", "3", "1", None)
    ],
    "nikluge_ea": [
        {**_ROW, "text": text, "target": "", "label": label}
        for text, label in (
            ("좋다", ["joy", "trust"]), ("글쎄", []), ("슬프다", ["sadness"]), ("몰라", None)
        )
    ],
    "nikluge_au": _INSULTS,
    "nikluge_iau": _MEANT,
    "nikluge_sa": [
        {**_ROW, "text": text, "label": label}
        for text, label in (
            ("좋다", ["본품#품질#positive", "브랜드#가격#negative"]), ("글쎄", []), ("몰라", None)
        )
    ],
    "nikluge_nli": [
        {**_ROW, "context": "비가 온다.", "prompt": prompt, "score": score}
        for prompt, score in (("젖는다.", 2.5), ("맑다.", -3.0), ("춥다.", 0.0), ("몰라.", None))
    ],
    "nikluge_sc": [
        {**_ROW, "sentence1": "비가 온다.", "sentence3": "옷이 젖었다.", "summary": summary}
        for summary in ("나는 우산이 없이 길에 나갔다.", "그래서 아이들이 밖에 나가 놀았다.", None)
    ],
    "nikluge_gtps": [
        {**_ROW, "table": "매출 / [연도] | 2018년", "summary": summary}
        for summary in ("매출은 2018년 한 해 크게 늘었다.", "2018년 매출이 크게 줄었다.", None)
    ],
    "nikluge_cci": [
        {**_TALK, "reference": "가: 비가 온다.", "category": "결과", "choice1": "젖는다.",
         "choice2": "맑다.", "choice3": "춥다.", "label": label}
        for label in ("inference_1", "inference_3", "inference_2", None)
    ],
    "nikluge_dcs": [
        {**_TALK, "keyword": "비", "summary": summary}
        for summary in ("두 사람이 비 이야기를 나눈다.", "두 사람이 집에 남는다.", None)
    ],
    "ud_ko_gsd": _UD,
    "ud_ko_kaist": _UD,
    "ud_ko_ksl": _UD,
    "kmhas": [
        {"text": "나가라", "label": ["3", "0"]}, {"text": "좋다", "label": ["8"]},
        {"text": "글쎄", "label": []}, {"text": "몰라", "label": None},
    ],
    "kote": [
        {"id": "1", "text": "좋다", "label": ["42", "1"]},
        {"id": "2", "text": "글쎄", "label": ["12"]},
        {"id": "3", "text": "몰라", "label": None},
    ],
    "qpair": [
        {"question1": "어디야?", "question2": "어디니?", "label": "0"},
        {"question1": "어디야?", "question2": "누구니?", "label": "1"},
        {"question1": "어디야?", "question2": "몰라?", "label": None},
    ],
}  # fmt: skip


def mix(*tasks, rates=None):
    """A mixture of these tasks."""
    return Mixture("mix", tasks, tuple(rates or [rate_num_examples] * len(tasks)))


def mix_of_two():
    """Two registered tasks, one with two and a half times the rate of the other."""
    return mix(get_task("klue_tc_gen"), get_task("klue_nli_gen"), rates=(1, 2.5))
