"""Parsed sentences (KLUE DP): a small dependency grammar; every head stands to the right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from ke_t5.sample import korean
from ke_t5.sample.sampler import TextSampler


class Word(NamedTuple):
    """One eojeol as a line of the release has it; head counts from 1, 0 is the root."""

    form: str
    lemma: str
    tags: str
    head: int
    relation: str


@dataclass
class Node:
    """A word with the words that depend on it, all of them to its left."""

    form: str
    lemma: list[str]
    tags: list[str]
    relation: str
    children: list[Node] = field(default_factory=list)


def _in_order(node: Node) -> list[tuple[Node, Node | None]]:
    """(word, its head) from left to right; the head of the node itself is None."""
    found: list[tuple[Node, Node | None]] = []
    for child in node.children:
        found += [(word, head or node) for word, head in _in_order(child)]
    return [*found, (node, None)]


def _as_words(root: Node) -> list[Word]:
    ordered = _in_order(root)
    place = {id(node): number for number, (node, _) in enumerate(ordered, start=1)}
    return [
        Word(
            node.form,
            " ".join(node.lemma),
            "+".join(node.tags),
            place[id(head)] if head else 0,
            node.relation,
        )
        for node, head in ordered
    ]


_PEOPLE = (
    "학생 의사 기자 교사 시민 선수 작가 주민 직원 손님 아이 농부 대표 연구원 감독 환자".split()
)
_OBJECTS = (
    "책 편지 그림 사진 계획 소식 문제 음식 노래 기계 건물 자료 영화 약 옷 집 답 규칙 선물 결과"
).split()
_PLACES = "학교 병원 시장 회사 공원 극장 도서관 마을 공장 광장 서울 부산 대구 제주".split()
_TIMES = "어제 오늘 지난주 올해 아침 저녁 주말".split()
_ADVERBS = "매우 자주 이미 다시 함께 빨리 천천히 결국 이제 가끔 조용히 직접 모두".split()
_DETERMINERS = "이 그 저 새 모든 여러 첫 다른".split()
_ADJECTIVES = "작 좋 높 깊 넓 밝 조용하 중요하 친절하 유명하".split()
_VERBS = "읽 보내 그리 찾 고치 만들 받 기다리 나누 모으 배우 바꾸 살피 전하".split()
_ACTS = "준비 연구 소개 설명 조사 정리 발표 검토 공개 확인 기록 판매".split()
_SAYINGS = "주장 설명 발표 강조 말".split()
_MOODS = "바라 원하 좋아하 기대하".split()
_FEELS = "힘들 싫 좋 재미있".split()
_CALLS = ("네", "아니", "글쎄", "자")
_SUBJECT = {"은": "JX", "이": "JKS"}
_OBJECT = {"을": "JKO"}


def _noun(sampler: TextSampler, choices: list[str], relation: str, endings: dict[str, str]) -> Node:
    """A noun with one of the particles (form -> tag); an empty form is no particle."""
    word = sampler.pick(choices)
    tag = (
        "NNP"
        if choices is sampler.entries("cities") or word in sampler.entries("cities")
        else "NNG"
    )
    ending = sampler.any_of(list(endings))
    if not ending:
        return Node(word, [word], [tag], relation)
    fits = korean.particle(word, ending)
    return Node(word + fits, [word, fits], [tag, endings[ending]], relation)


def _person(sampler: TextSampler, relation: str, endings: dict[str, str]) -> Node:
    """A person by name or by calling, now and then with both."""
    if sampler.chance(0.4):
        name = sampler.word("person")
        fits = korean.particle(name, ending := sampler.any_of(list(endings)))
        return Node(name + fits, [name, fits], ["NNP", endings[ending]], relation)
    node = _noun(sampler, _PEOPLE, relation, endings)
    if sampler.chance(0.25):
        name = sampler.word("person")
        node.children.append(Node(name, [name], ["NNP"], "NP"))
    return node


def _stem(
    sampler: TextSampler, acts: list[str], verbs: list[str]
) -> tuple[str, list[str], list[str]]:
    """(stem, its morphemes, their tags) of a verb of one part, or of a noun and 하."""
    if sampler.chance(0.4):
        act = sampler.pick(acts)
        return f"{act}하", [act, "하"], ["NNG", "XSV"]
    verb = sampler.pick(verbs)
    return verb, [verb], ["VV"]


def _past_ending(stem: str) -> str:
    """The morpheme of the past as the release's lemma column has it."""
    if stem.endswith("하"):
        return "였"
    return "았" if korean.has_bright_vowel(stem) else "었"


def _verb(sampler: TextSampler, form: str) -> Node:
    """A verb in one of the forms end, and, then, modifier, quoted, wish, doing."""
    stem, lemma, tags = _stem(sampler, _ACTS, _VERBS)
    past = _past_ending(stem)
    linked = {"였": "여서", "았": "아서", "었": "어서"}[past]
    shapes = {
        "end": (korean.past_stem(stem) + "다.", [past, "다", "."], ["EP", "EF", "SF"], "VP"),
        "and": (stem + "고", ["고"], ["EC"], "VP"),
        "then": (korean.informal(stem) + "서", [linked], ["EC"], "VP"),
        "modifier": (korean.adnominal(stem), [_adnominal_ending(stem)], ["ETM"], "VP_MOD"),
        "quoted": (korean.past_stem(stem) + "다고", [past, "다고"], ["EP", "EC"], "VP_CMP"),
        "wish": (stem + "기를", ["기", "를"], ["ETN", "JKO"], "VP_OBJ"),
        "doing": (stem + "기가", ["기", "가"], ["ETN", "JKS"], "VP_SBJ"),
    }
    surface, endings, ending_tags, relation = shapes[form]
    return Node(surface, lemma + endings, tags + ending_tags, relation)


def _adnominal_ending(stem: str) -> str:
    return "은" if korean.final_consonant(stem) not in ("", "ㄹ") else "ㄴ"


def _final(stem: str, lemma: list[str], tags: list[str]) -> Node:
    """The last verb of a sentence, in the past."""
    past = [_past_ending(stem), "다", "."]
    return Node(korean.past_stem(stem) + "다.", lemma + past, [*tags, "EP", "EF", "SF"], "VP")


def _adjective(sampler: TextSampler) -> Node:
    """An adjective before its noun, now and then with an adverb of degree."""
    stem = sampler.pick(_ADJECTIVES)
    lemma, tags = ([stem[:-1], "하"], ["NNG", "XSA"]) if stem[-1] == "하" else ([stem], ["VA"])
    ending = _adnominal_ending(stem)
    node = Node(korean.adnominal(stem), [*lemma, ending], [*tags, "ETM"], "VP_MOD")
    if sampler.chance(0.2):
        node.children.append(Node("가장", ["가장"], ["MAG"], "AP"))
    return node


def _modifiers(sampler: TextSampler, depth: int, *, of_person: bool) -> list[Node]:
    """What may stand before a noun: a determiner, an adjective, an owner, a calling, a clause."""
    choice = sampler.between(0, 8)
    if choice == 0 and of_person:
        calling = sampler.pick(_PEOPLE)
        return [Node(f"{calling}인", [calling, "이", "ㄴ"], ["NNG", "VCP", "ETM"], "VNP_MOD")]
    if choice == 0:
        word = sampler.pick(_DETERMINERS)
        return [Node(word, [word], ["MMD" if word in "이그저" else "MMA"], "DP")]
    if choice == 1:
        return [_adjective(sampler)]
    if choice == 2:
        return [_person(sampler, "NP_MOD", {"의": "JKG"})]
    if choice == 3 and depth:
        verb = _verb(sampler, "modifier")
        verb.children = _arguments(sampler, depth - 1, subject=not of_person, target=of_person)
        return [verb]
    return []


def _target(sampler: TextSampler, depth: int) -> Node:
    """An object, perhaps one of two, perhaps with words before it."""
    node = _noun(sampler, _OBJECTS, "NP_OBJ", _OBJECT)
    if sampler.chance(0.2):
        node.children.append(_noun(sampler, _OBJECTS, "NP_CNJ", {"과": "JC"}))
    else:
        node.children += _modifiers(sampler, depth, of_person=False)
    return node


def _arguments(
    sampler: TextSampler, depth: int, *, subject: bool = True, target: bool = True
) -> list[Node]:
    """What a verb governs, in the order in which it is said."""
    found = []
    if sampler.chance(0.3):
        found.append(_noun(sampler, _TIMES, "NP_AJT", {"": "", "에": "JKB", "부터": "JX"}))
    if subject:
        found.append(_person(sampler, "NP_SBJ", _SUBJECT))
        if not found[-1].children:
            found[-1].children = _modifiers(sampler, depth, of_person=True)
    if sampler.chance(0.3):
        word = sampler.pick(_ADVERBS)
        found.append(Node(word, [word], ["MAG"], "AP"))
    if sampler.chance(0.4):
        found.append(
            _noun(sampler, _PLACES, "NP_AJT", {"에서": "JKB", "까지": "JX", "으로": "JKB"})
        )
    if target:
        found.append(_target(sampler, depth))
    if sampler.chance(0.15):
        stem = sampler.any_of(("빠르", "바르", "가볍", "쉽", "느리", "밝"))
        found.append(Node(f"{stem}게", [stem, "게"], ["VA", "EC"], "VP_AJT"))
    return found


def _plain(sampler: TextSampler) -> Node:
    root = _verb(sampler, "end")
    root.children = _arguments(sampler, 2)
    return root


def _joined(sampler: TextSampler) -> Node:
    """Two things done one after the other."""
    first, root = _verb(sampler, sampler.any_of(("and", "then"))), _verb(sampler, "end")
    first.children = _arguments(sampler, 1)
    root.children = [first, *_arguments(sampler, 1, subject=False)]
    return root


def _told(sampler: TextSampler) -> Node:
    """What somebody said."""
    if sampler.chance(0.25):
        calling = sampler.pick(_PEOPLE)
        said = Node(f"{calling}이라고", [calling, "이", "라고"], ["NNG", "VCP", "EC"], "VNP_CMP")
        said.children = [_person(sampler, "NP_SBJ", {"이": "JKS"})]
    else:
        said = _verb(sampler, "quoted")
        said.children = _arguments(sampler, 1)
    act = sampler.pick(_SAYINGS)
    root = _final(f"{act}하", [act, "하"], ["NNG", "XSV"])
    root.children = [_person(sampler, "NP_SBJ", {"은": "JX"}), said]
    return root


def _named(sampler: TextSampler) -> Node:
    """What somebody is."""
    calling = sampler.pick(_PEOPLE)
    root = Node(f"{calling}이다.", [calling, "이", "다", "."], ["NNG", "VCP", "EF", "SF"], "VNP")
    root.children = [
        _person(sampler, "NP_SBJ", {"은": "JX"}),
        *_modifiers(sampler, 2, of_person=True),
    ]
    return root


def _became(sampler: TextSampler) -> Node:
    """What somebody became."""
    root = _final("되", ["되"], ["VV"])
    root.children = _arguments(sampler, 1, target=False)
    root.children.append(_noun(sampler, _PEOPLE, "NP_CMP", {"이": "JKC"}))
    return root


def _wished(sampler: TextSampler) -> Node:
    """What somebody wished, or how something felt."""
    if sampler.chance(0.5):
        stem, inner = sampler.pick(_MOODS), _verb(sampler, "wish")
        root = _final(stem, [stem], ["VV"])
        root.children = [_person(sampler, "NP_SBJ", {"은": "JX"}), inner]
    else:
        stem, inner = sampler.pick(_FEELS), _verb(sampler, "doing")
        root = _final(stem, [stem], ["VA"])
        root.children = [inner]
    inner.children = _arguments(sampler, 1, subject=False)
    return root


_SENTENCES = (_plain, _plain, _joined, _joined, _told, _named, _became, _wished)


def klue_dp(sampler: TextSampler, num_rows: int) -> list[list[Word]]:
    """Sentences as lists of words, from the left; the last word is the root."""
    rows = []
    for _ in range(num_rows):
        root = sampler.any_of(_SENTENCES)(sampler)
        if sampler.chance(0.05):
            call = sampler.any_of(_CALLS)
            root.children.insert(0, Node(f"{call},", [call, ","], ["IC", "SP"], "IP"))
        rows.append(_as_words(root))
    return rows
