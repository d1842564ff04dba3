"""Tagged sentences: KLUE NER (six types) and NIKL NE (15 types in 2019, 150 in 2020)."""

from __future__ import annotations

import re
import unicodedata

from ke_t5.sample import words
from ke_t5.sample.fine_types import FINE_TYPES, FINE_WORDS
from ke_t5.sample.korean import fill_spans
from ke_t5.sample.pen import Pen

# A slot in capitals is an entity of that type (a digit tells two of a kind
# apart, a quantity names its unit); others are ordinary words.
_NEWS = (
    "{PS:은} {DT} {LC}에서 열린 {thing}에 참석했다.",
    "{OG:은} {DT} {QT_억원} 규모의 {thing} 계획을 발표했다.",
    "{LC}에 사는 {PS} 씨는 {OG}에서 {QT_만원:을} 받았다.",
    "{DT} {TI}쯤 {LC}의 한 {place}에서 불이 났다.",
    "{OG} 관계자는 \u201c{DT2}까지 {thing:을} 마치겠다\u201d고 밝혔다.",
    "{PS}({QT_살}) 씨가 {OG} 대표로 뽑혔다.",
    "{thing:은} {DT} {TI}부터 {LC} {place}에서 열린다.",
    "{PS:과} {PS2:은} {OG} 동기다.",
    "이번 {thing}에는 {LC:과} {LC2} 주민 등 {QT_명:이} 모였다.",
    "{OG:이} {OG2:을} {QT_점} 차이로 앞섰다.",
    "{DT}에 세워진 {OG:은} {LC}의 자랑거리다.",
    "{place} 앞에서 {TI}에 만나기로 했다.",
    "{PS:은} {TI}에 {place:을} 나섰다.",
    "{LC} {place}의 올해 {thing:은} 취소됐다.",
    "보라 빛 노을이 {place} 위로 번졌다.",
    "아름드리 나무 {QT_그루:이} {LC}에 심어졌다.",
    "{DT} 현재 {OG} 직원은 모두 {QT_명:이다}.",
    "{OG} {PS} 연구원은 {thing} 비용을 {QT_퍼센트} 줄였다.",
    "지난 {thing} 때보다 {QT_배} 늘었다고 {OG:은} 설명했다.",
    "{PS:이} 이끄는 {OG:이} {LC} 원정에서 이겼다.",
    "{LC}발 열차가 {TI}에 도착했다.",
)
_REVIEWS = (
    "{PS} 연기 진짜 좋다ㅋㅋ",
    "{DT}에 봤는데 {PS:이} 제일 기억에 남네요",
    "{QT_점} 주기도 아깝다 {PS} 왜 나왔냐ㅠㅠ",
    "{LC} 배경이 예뻐서 {QT_점} 줍니다",
    "{PS} 때문에 {QT_번} 봤어요ㅎㅎ",
    "{TI}에 혼자 보기엔 무섭다ㅠㅠ",
    "{thing} 보다가 {PS} 나와서 놀람ㅋㅋㅋ",
)
_THINGS = "행사 회의 토론회 축제 대회 공연 훈련 조사 연구 사업 전시 강연 시상식 공모전 점검".split()
_PLACES = "공장 창고 시장 체육관 공원 강당 식당 주택 학교 회관 광장 교회 역 서점".split()
_FOREIGN = (
    "마리아 로페즈|존 밀러|안나 슈미트|다니엘 김|루카 로시|응우옌 란|에밀리 첸|타나카 유이".split(
        "|"
    )
)
_DATES = "지난해|올해|내년|지난달|다음 달|어제|오늘|이번 주말|1990년대|조선 시대|봄|추석".split("|")
_TIMES = "새벽|아침|자정|정오|한밤중|저녁|10분|3시간|오전".split("|")
_OFFICES = "시청|은행|경찰서|대학교|방송국|소방서|교육청".split("|")


def _klue_word(pen: Pen, kind: str) -> str:
    choices = {
        "PS": (words.person, words.person, words.person, lambda p: p.pick(_FOREIGN)),
        "LC": (
            lambda p: p.pick(words.CITIES),
            lambda p: f"{p.pick(words.CITIES)} {p.pick(words.DISTRICTS)}",
            lambda p: p.pick(words.COUNTRIES + words.MOUNTAINS),
        ),
        "OG": (
            words.firm,
            words.school,
            lambda p: p.pick(words.ASSOCIATIONS + words.PARTIES),
            # A place's name inside an institution's: the longer one wins.
            lambda p: p.pick(words.CITIES) + p.any_of(_OFFICES),
        ),
        "DT": (words.day, words.year, lambda p: p.pick(_DATES)),
        "TI": (words.clock, words.clock, lambda p: p.pick(_TIMES)),
    }
    return pen.any_of(choices[kind])(pen)


def _kind(slot: str) -> str:
    """The entity type of a slot, empty where it is an ordinary word."""
    return re.match("[A-Z]*", slot).group()


def klue_ner(pen: Pen, num_rows: int) -> list[dict]:
    """Sentences as {source, text, entities [(start, end, type)]}, NFKC-normalised as v1.1 is."""
    rows = []
    for _ in range(num_rows):
        source, templates = ("nsmc", _REVIEWS) if pen.chance(0.25) else ("wikitree", _NEWS)
        template = unicodedata.normalize("NFKC", pen.pick(templates))
        values = {"thing": pen.pick(_THINGS), "place": pen.pick(_PLACES)}
        for slot in re.findall(r"\{([A-Z]\w+)", template):
            unit = slot.partition("_")[2]
            values[slot] = f"{pen.between(2, 98)}{unit}" if unit else _klue_word(pen, _kind(slot))
        text, spans = fill_spans(template, values)
        entities = [(start, end, _kind(slot)) for slot, start, end in spans if _kind(slot)]
        rows.append({"source": source, "text": text, "entities": entities})
    return rows


# Slots by coarse type; the fine type is drawn from those of the coarse one.
_NIKL = (
    "{PS:은} {DT} {LC}에서 {CV:을} 공부했다.",
    "{OG:은} {FD} 분야의 {TR:을} 새로 검증했다.",
    "{AM:과} {PT:이} 그려진 {AF:이} 전시됐다.",
    "{EV} 때 {LC}에서 {QT} 규모의 피해가 났다.",
    "{MT} 성분이 {TM}에 미치는 영향은 {QT} 정도로 알려졌다.",
    "{PS:은} {TI}에 {AF} 이야기를 들려주었다.",
    "{DT} {OG:이} {EV} 기념행사를 열었다.",
    "{CV}에 관한 책이 {QT} 팔렸다.",
    "{LC}의 {PT:은} {AM}의 먹이가 된다.",
    "{FD} 전문가인 {PS:은} {TR:을} 비판했다.",
    "{TM} 때문에 {AF} 공개가 {DT:으로} 미뤄졌다.",
    "{MT:을} 다루는 {OG:이} {LC}에 있다.",
    "{TI} 동안 {AM} 소리가 들렸다.",
    "그는 {CV:과} {TM:을} 함께 설명했다.",
    "{PS}의 {AF:은} {TR}의 영향을 받았다.",
    "{QT}에 이르는 {PT:이} {EV} 현장에 놓였다.",
    "우리는 {FD:을} 배우고 {TI}에 돌아왔다.",
    "{AM} 그림 옆에 {MT} 조각이 놓여 있다.",
)


def _nikl_word(pen: Pen, fine: str) -> str:
    if fine == "PS_NAME" and pen.chance(0.8):
        return words.person(pen)
    word = pen.any_of(FINE_WORDS[fine])
    return re.sub("#", lambda _: str(pen.between(1, 9)), word)


def _nikl_sentence(pen: Pen, wanted: list[str], *, fine_labels: bool) -> tuple[str, list[dict]]:
    """A sentence and its entities; `wanted` lists fine types still to be used, and shrinks."""
    template = pen.any_of(_NIKL)
    fine = {}
    for slot in re.findall(r"\{([A-Z]+)", template):
        due = [label for label in wanted if label in FINE_TYPES[slot]]
        fine[slot] = due[0] if due else pen.any_of(FINE_TYPES[slot])
        if due:
            wanted.remove(due[0])
    form, spans = fill_spans(template, {slot: _nikl_word(pen, fine[slot]) for slot in fine})
    entities = [
        {
            "id": number,
            "form": form[begin:end],
            "label": fine[slot] if fine_labels else slot,
            "begin": begin,
            "end": end,
        }
        for number, (slot, begin, end) in enumerate(spans, start=1)
    ]
    return form, entities


def _words_of(form: str) -> list[dict]:
    """The space-parted words of a sentence with their places, numbered from 1."""
    return [
        {"id": number, "form": match.group(), "begin": match.start(), "end": match.end()}
        for number, match in enumerate(re.finditer(r"\S+", form), start=1)
    ]


def nikl_documents(
    pen: Pen, stem: str, num_documents: int, *, key: str = "NE", fine_labels: bool = False
) -> list[dict]:
    """Documents of a NIKL NE file.

    Args:
        stem: the file name that the document ids begin with.
        key: the entity list's name in a sentence (`ne` in 2020 v1.0, else `NE`).
        fine_labels: 150 types rather than 15.
    """
    wanted = [label for fine in FINE_TYPES.values() for label in fine] * 2
    documents = []
    for number in range(1, num_documents + 1):
        document_id, sentences = f"{stem}.{number}", []
        for index in range(1, pen.between(3, 6) + 1):
            form, entities = _nikl_sentence(pen, wanted, fine_labels=fine_labels)
            if index == 1 and number % 9 == 0:
                form, entities = "다음은 독자가 보내온 글이다.", []
            sentence = {"id": f"{document_id}.1.{index}", "form": form}
            sentences.append(sentence | {"word": _words_of(form), key: entities})
        metadata = {"title": f"표본 문서 {number}", "author": words.person(pen)}
        metadata |= {"publisher": "표본신문", "date": f"2018{pen.between(1, 12):02d}01"}
        documents.append(
            {"id": document_id, "metadata": metadata | {"topic": "생활"}, "sentence": sentences}
        )
    return documents
