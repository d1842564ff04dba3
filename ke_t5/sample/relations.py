"""Sentences with a marked pair of entities and their relation (KLUE RE)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ke_t5.sample import words
from ke_t5.sample.korean import fill_spans
from ke_t5.sample.pen import Pen, balanced
from ke_t5.sample.tables import read_table


class Relation(NamedTuple):
    """How a relation is written: the entity types, a maker of the object, and sentences."""

    subject_type: str
    object_type: str
    make_object: Callable[[Pen], str]
    templates: list[str]


def _date(pen: Pen) -> str:
    return f"{words.year(pen)} {pen.between(1, 12)}월 {pen.between(1, 28)}일"


def _count(pen: Pen) -> str:
    return f"{pen.between(3, 98)}{pen.any_of(('명', '만 명', '백여 명', '여 개 회원사'))}"


def _from(choices: str | list[str]) -> Callable[[Pen], str]:
    listed = choices.split("|") if isinstance(choices, str) else choices
    return lambda pen: pen.pick(listed)


_OBJECTS: dict[str, Callable[[Pen], str]] = {
    "date": _date,
    "count": _count,
    "person": words.person,
    "firm": words.firm,
    "school": words.school,
    "cities": _from(words.CITIES),
    "associations": _from(words.ASSOCIATIONS),
    "religions": _from(words.RELIGIONS),
    "products": _from(words.PRODUCTS),
    "works": _from(words.WORKS),
    "titles": _from(words.TITLES),
    "pen_names": _from(words.PEN_NAMES),
    "short_names": _from("한전자|누은|가건|온항|해출|다식|라온그룹|HB|NR산업|GO전자|DS푸드"),
    "origins": _from("한국계|중국계|일본계|독일계|고려인|재일교포|베트남계|경주 김씨|전주 이씨"),
}
# KLUE RE's relations in its order, less no_relation: types of subject and object, what the object
# is, then sentences with {s}, the subject, and {o}.
_TABLE = """
org:dissolved ORG DAT date
    {s:은} {o} 해산되었다.
    {o}에 {s:이} 문을 닫았다.
    결국 {s:은} {o} 파산해 사라졌다.
org:founded ORG DAT date
    {s:은} {o} 설립되었다.
    {o}에 세워진 {s:은} 빠르게 자랐다.
    {s:이} 창립된 것은 {o}이다.
org:place_of_headquarters ORG LOC cities
    {s}의 본사는 {o}에 있다.
    {o}에 본부를 둔 {s:이} 직원을 뽑는다.
    {s:은} 본점을 {o:으로} 옮겼다.
org:alternate_names ORG ORG short_names
    {s}(줄여서 {o})의 주가가 올랐다.
    {s:은} 흔히 {o:으로} 불린다.
    옛 이름이 {o}인 {s:이} 새 간판을 달았다.
org:member_of ORG ORG associations
    {s:은} {o}의 회원사이다.
    {s:이} {o}에 가입했다.
    {o}에 속한 {s:이} 성명을 냈다.
org:members ORG ORG firm
    {s}에는 {o:이} 가입해 있다.
    {s}의 회원사인 {o:이} 회의를 열었다.
    {s:은} 산하에 {o:을} 두고 있다.
org:political/religious_affiliation ORG ORG religions
    {s:은} {o} 재단이 세운 학교이다.
    {s:은} {o} 계열 단체이다.
    {o} 정신을 따르는 {s:이} 신입생을 맞았다.
org:product ORG POH products
    {s:은} 신제품 {o:을} 출시했다.
    {s:이} 만든 {o:이} 인기를 끌고 있다.
    {o:은} {s}의 대표 상품이다.
org:founded_by ORG PER person
    {s:은} {o:이} 설립한 기업이다.
    {o:이} 세운 {s:이} 상장됐다.
    {s}의 창업자 {o:이} 강연했다.
org:top_members/employees ORG PER person
    {s} 대표 {o:이} 기자회견을 열었다.
    {s:은} 새 사장에 {o:을} 임명했다.
    {o} {s} 회장이 물러났다.
org:number_of_employees/members ORG NOH count
    {s}의 직원은 모두 {o}이다.
    {s:은} 회원 {o:을} 거느리고 있다.
    {o:이} 일하는 {s:이} 이사했다.
per:date_of_birth PER DAT date
    {s:은} {o}에 태어났다.
    {s}({o} 출생)의 전시회가 열렸다.
    {o}에 태어난 {s:은} 글쓰기를 좋아했다.
per:date_of_death PER DAT date
    {s:은} {o}에 세상을 떠났다.
    {o} {s:이} 별세했다.
    {s:은} 병으로 {o} 숨을 거두었다.
per:place_of_birth PER LOC cities
    {s:은} {o}에서 태어났다.
    {o} 출생인 {s:은} 노래를 잘했다.
    {s:이} 태어난 곳은 {o}이다.
per:place_of_death PER LOC cities
    {s:은} {o}에서 세상을 떠났다.
    {s:이} 숨을 거둔 곳은 {o}이다.
    {o}에서 별세한 {s:은} 고향에 묻혔다.
per:place_of_residence PER LOC cities
    {s:은} 지금 {o}에서 살고 있다.
    {o}에 거주하는 {s:이} 상을 받았다.
    {s:은} {o:으로} 이사해 집을 지었다.
per:origin PER NOH origins
    {s:은} {o} 집안 출신이다.
    {o} 선수 {s:이} 귀국했다.
    {s}의 뿌리는 {o}이다.
per:employee_of PER ORG firm
    {s:은} {o}에서 일한다.
    {o}에 근무하는 {s:이} 특허를 냈다.
    {s:은} {o}에 입사했다.
per:schools_attended PER ORG school
    {s:은} {o:을} 졸업했다.
    {o} 출신인 {s:이} 모교를 찾았다.
    {s:은} {o}에 입학해 법을 배웠다.
per:alternate_names PER PER pen_names
    {s}의 호는 {o}이다.
    {o:이라는} 필명으로 알려진 {s:이} 책을 냈다.
    {s:은} {o:이라는} 별명을 얻었다.
per:parents PER PER person
    {s:은} 아버지 {o:을} 닮았다.
    {s}의 어머니 {o:은} 교사였다.
    {s:은} {o}의 아들로 자랐다.
per:children PER PER person
    {s}의 딸 {o:이} 결혼했다.
    {s:은} 아들 {o:을} 두었다.
    {s:은} {o}의 아버지이다.
per:siblings PER PER person
    {s}의 동생 {o:이} 우승했다.
    {s:은} 형 {o:과} 함께 자랐다.
    {s:은} {o}의 누나이다.
per:spouse PER PER person
    {s:은} {o:과} 결혼했다.
    {s}의 아내 {o:이} 인사를 전했다.
    {s:은} 남편 {o:과} 여행을 떠났다.
per:other_family PER PER person
    {s}의 손자 {o:이} 편지를 보냈다.
    {s:은} 사촌 {o:을} 만났다.
    {s:은} 조카 {o:을} 돌봤다.
per:colleagues PER PER person
    {s:은} 동료 {o:과} 무대에 섰다.
    {s:은} {o:과} 함께 음반을 냈다.
    {s:은} 같은 팀의 {o:과} 호흡을 맞췄다.
per:product PER POH works
    {s:은} 소설 '{o}' 원고를 발표했다.
    {s}의 대표작은 '{o}'이다.
    '{o}' 제작을 이끈 {s:이} 상을 받았다.
per:religion PER ORG religions
    {s:은} {o} 신자이다.
    {s:은} {o}에 귀의했다.
    독실한 {o} 신도인 {s:은} 성금을 냈다.
per:title PER POH titles
    {s} {o:은} 회의에 참석했다.
    {s:은} 현재 {o:을} 맡고 있다.
    {o} {s:이} 입장을 밝혔다.
"""


def _relations() -> dict[str, Relation]:
    found = {}
    for heading, templates in read_table(_TABLE).items():
        label, subject_type, object_type, kind = heading.split()
        found[label] = Relation(subject_type, object_type, _OBJECTS[kind], templates)
    return found


RELATIONS = _relations()
LABELS = ["no_relation", *RELATIONS]
_SOURCES = ("wikipedia", "wikitree", "policy_briefing")
_NO_RELATION = 0.25
_JOINTS = (" ", " 한편 ", " 또한 ", " 그리고 ")
_NOISE = 0.04
_UNRELATED = (
    "{s1} 관련 기사에 {o1:이} 잠깐 언급됐다.",
    "{s1:과} {o1} 이야기가 같은 날 신문에 실렸다.",
    "{s1:은} {o1}에 관한 질문에 답하지 않았다.",
    "어제 방송에는 {s1}, {o1} 등 여러 소식이 나왔다.",
    "{o1:은} {s1:과} 아무 상관이 없다.",
    "{s1} 소식에 이어 {o1} 소식이 전해졌다.",
    "{o1} 이야기가 끝나자 {s1} 순서가 됐다.",
)


def _clause(pen: Pen, label: str, mark: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """A template with slots s and o renamed by `mark`, its values, and its entity types."""
    relation = RELATIONS[label]
    subject = words.person(pen) if relation.subject_type == "PER" else words.firm(pen)
    if label.startswith("org:political"):
        subject = words.school(pen)
    elif label in ("org:members", "org:number_of_employees/members"):
        subject = pen.pick(words.ASSOCIATIONS)
    template = re.sub(r"\{([so])", rf"{{\g<1>{mark}", pen.pick(relation.templates))
    values = {f"s{mark}": subject, f"o{mark}": relation.make_object(pen)}
    types = {f"s{mark}": relation.subject_type, f"o{mark}": relation.object_type}
    return template, values, types


def _entity(text: str, span: tuple[str, int, int], kind: str) -> dict:
    """An entity as the release writes it: end_idx is that of the last character."""
    _, start, end = span
    return {"word": text[start:end], "start_idx": start, "end_idx": end - 1, "type": kind}


def _unrelated(pen: Pen) -> tuple[str, dict[str, str], dict[str, str]]:
    """A sentence that names two things and says nothing of how they are related."""
    _, values, types = _clause(pen, pen.any_of(LABELS[1:]), "1")
    return pen.pick(_UNRELATED), values, types


def _with_another(
    pen: Pen, label: str, main: tuple[str, dict[str, str], dict[str, str]]
) -> tuple[str, dict[str, str], dict[str, str]]:
    """The clause and one of another relation, in either order: now the marks matter."""
    other = pen.any_of([name for name in LABELS[1:] if name != label])
    extra, more_values, more_types = _clause(pen, other, "2")
    template, values, types = main
    parts = [template, extra] if pen.chance(0.5) else [extra, template]
    return pen.any_of(_JOINTS).join(parts), values | more_values, types | more_types


def _row(pen: Pen, label: str) -> dict:
    object_slot = "o1"
    if label != "no_relation":
        clause = _clause(pen, label, "1")
        if pen.chance(0.2):
            clause = _with_another(pen, label, clause)
    elif pen.chance(0.6):
        clause = _unrelated(pen)
    else:
        # The subject of one sentence and the object of the other.
        clause = _with_another(pen, label, _clause(pen, pen.any_of(LABELS[1:]), "1"))
        object_slot = "o2"
    template, values, types = clause
    text, found = fill_spans(template, values)
    spans = {span[0]: span for span in found}
    return {
        "sentence": text,
        "subject_entity": _entity(text, spans["s1"], types["s1"]),
        "object_entity": _entity(text, spans[object_slot], types[object_slot]),
        "label": pen.noisy(label, LABELS, _NOISE),
        "source": pen.any_of(_SOURCES),
    }


def klue_re(pen: Pen, part: str, num_rows: int) -> list[dict]:
    """Rows of KLUE RE as its release writes them."""
    num_unrelated = int(num_rows * _NO_RELATION)
    labels = ["no_relation"] * num_unrelated + balanced(pen, LABELS[1:], num_rows - num_unrelated)
    rows = [_row(pen, label) for label in pen.shuffled(labels)]
    return [{"guid": f"klue-re-v1_{part}_{i:05d}"} | row for i, row in enumerate(rows)]
