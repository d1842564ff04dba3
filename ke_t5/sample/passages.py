"""Articles made of facts, with questions whose answers are found in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ke_t5.sample import words
from ke_t5.sample.korean import fill_spans
from ke_t5.sample.pen import Pen
from ke_t5.sample.tables import read_table

# A heading is the kind of article and the fact's name; below it two or more sentences that tell
# the fact, and questions that begin with the slot that answers them.
_TABLE = """
person opening
    {name:은} {city} 출신의 {title:이다}.
    {title} {name:은} {city}에서 자랐다.
    city: {name:은} 어디 출신인가?
    title: {name}의 직업은 무엇인가?
person birth
    {name:은} {birth}에 삼 남매의 맏이로 태어났다.
    {birth}에 태어난 {name:은} 어려서부터 책을 좋아했다.
    birth: {name:이} 태어난 해는?
    birth: {name:은} 언제 세상에 나왔는가?
person school
    {name:은} {school:을} 우수한 성적으로 졸업했다.
    이후 {school}에 들어간 {name:은} 역사를 배웠다.
    school: {name:이} 다닌 학교는?
    school: {name:이} 공부한 곳은 어디인가?
person work
    {name}의 대표작은 {decade}에 나온 '{work}'이다.
    {decade}에 발표한 '{work}' 덕분에 {name:은} 이름을 알렸다.
    work: {name}의 대표작은 무엇인가?
    decade: {name}의 대표작이 나온 시기는?
person prize
    {name:은} {awarded}에 {prize:을} 받았다.
    {prize:은} {awarded} {name}에게 돌아갔다.
    prize: {name:이} 받은 상은?
    awarded: {name:이} 상을 받은 것은 언제인가?
person family
    {name:은} 동료였던 {spouse:과} 결혼해 두 아이를 두었다.
    {name}의 배우자는 {spouse:이다}.
    spouse: {name:과} 결혼한 사람은 누구인가?
    spouse: {name}의 배우자의 이름은?
firm opening
    {name:은} {city}에 본사를 둔 기업이다.
    {city}에 자리한 {name:이} 새 도약에 나섰다.
    city: {name}의 본사는 어디에 있는가?
    city: {name:이} 자리한 도시는?
firm founder
    {founder:은} {founded}에 {name:을} 세웠다.
    {name:은} {founded} {founder:이} 창업했다.
    founder: {name:을} 세운 사람은 누구인가?
    founded: {name:은} 언제 세워졌는가?
firm staff
    {name}의 직원은 모두 {staff:이다}.
    현재 {staff:이} {name}에서 일하고 있다.
    staff: {name}에서 일하는 사람은 몇 명인가?
    staff: {name}의 직원 수는?
firm product
    주력 상품인 {product:은} {country:으로} 수출된다.
    {name:은} {product:을} {country}에 판매하고 있다.
    product: {name}의 주력 상품은?
    country: {name:이} 상품을 파는 나라는?
firm plan
    {name:은} {money:을} 들여 새 공장을 짓기로 했다.
    새 공장 건설에 {money:이} 들어간다.
    money: {name:이} 새 공장에 쓰는 돈은 얼마인가?
    money: {name}의 공장 건설 비용은?
event opening
    {city}에서 {name:이} {opens} 막을 올린다.
    {name:이} {opens} {city}에서 열린다.
    city: {name:이} 열리는 곳은 어디인가?
    opens: {name:은} 언제 시작하는가?
event visitors
    올해 {name}에는 {visitors:이} 찾을 것으로 보인다.
    주최 측은 {visitors:이} 방문할 것으로 내다봤다.
    visitors: {name}에는 몇 명이 찾을 것으로 예상되는가?
    visitors: {name}의 예상 방문객 수는?
event guest
    개막식에는 {guest:이} 나와 노래를 부른다.
    {guest:은} {name} 개막 무대에 선다.
    guest: {name} 개막 무대에 서는 사람은?
    guest: {name} 개막식에서 노래하는 사람은 누구인가?
event fee
    입장료는 어른 기준 {fee:이다}.
    {name}에 들어가려면 {fee:을} 내야 한다.
    fee: {name}의 입장료는 얼마인가?
    fee: {name}에 들어가는 데 드는 돈은?
event host
    행사는 {host:이} 맡아 준비했다.
    {host:이} 이번 행사를 주관한다.
    host: {name:을} 준비한 단체는?
    host: {name:은} 어느 단체가 맡았는가?
"""
_FILLERS = (
    "이 소식은 지역 사회에 큰 관심을 불러일으켰다.|자세한 내용은 아직 알려지지 않았다.|"
    "많은 사람들이 반가운 마음을 전했다.|전문가들은 앞으로의 변화를 주목하고 있다.|"
    "관련 자료는 도서관에서 찾아볼 수 있다.|이에 대한 평가는 사람마다 다르다.|"
    "당시의 기록은 여러 책에 남아 있다.|주민들은 오래전부터 이를 기다려 왔다."
).split("|")
_PRIZES = "한뫼문학상|별빛예술상|가온과학상|청년공로상|늘봄음악상|다산학술상|은하연기상".split("|")
_EVENTS = (
    "벚꽃 축제|등불 축제|책 박람회|로봇 대회|전통시장 한마당|재즈 음악제|한지 공예전|바다 영화제|"
    "김치 축제|별 보기 행사|마라톤 대회"
).split("|")
_MAKERS: dict[str, Callable[[Pen], str]] = {
    "city": lambda pen: pen.pick(words.CITIES),
    "title": lambda pen: pen.pick(("작가", "화가", "가수", "배우", "작곡가", "시인", "건축가")),
    "birth": words.year,
    "school": words.school,
    "decade": lambda pen: f"{pen.between(196, 201)}0년대",
    "work": lambda pen: pen.pick(words.WORKS),
    "prize": lambda pen: pen.pick(_PRIZES),
    "awarded": lambda pen: f"{words.year(pen)} {pen.between(1, 12)}월",
    "spouse": words.person,
    "founder": words.person,
    "founded": words.year,
    "staff": lambda pen: f"{pen.between(11, 990)}명",
    "product": lambda pen: pen.pick(words.PRODUCTS),
    "country": lambda pen: pen.pick(words.COUNTRIES),
    "money": lambda pen: f"{pen.between(3, 980)}억 원",
    "opens": lambda pen: f"{pen.between(1, 12)}월 {pen.between(1, 28)}일",
    "visitors": lambda pen: f"{pen.between(2, 90)}만 명",
    "guest": lambda pen: f"가수 {words.person(pen)}",
    "fee": lambda pen: f"{pen.between(2, 30)},000원",
    "host": lambda pen: pen.pick(words.ASSOCIATIONS),
}
_NAMES: dict[str, Callable[[Pen], str]] = {
    "person": words.person,
    "firm": words.firm,
    "event": lambda pen: f"제{pen.between(2, 60)}회 {pen.pick(_EVENTS)}",
}
# Slots whose fillers could be taken for one another, for questions without an answer.
ALIKE = (
    ("birth", "decade", "awarded", "founded", "opens"),
    ("spouse", "founder", "guest"),
    ("staff", "money", "visitors", "fee"),
    ("city", "school", "country", "host"),
    ("work", "prize", "product", "title"),
)


class Fact(NamedTuple):
    """The sentences that tell a fact, and (slot, question) pairs about it."""

    sentences: list[str]
    questions: list[tuple[str, str]]


def _facts() -> dict[str, dict[str, Fact]]:
    found: dict[str, dict[str, Fact]] = {}
    for heading, entries in read_table(_TABLE).items():
        kind, name = heading.split()
        questions = [tuple(entry.split(": ", 1)) for entry in entries if ": " in entry]
        sentences = [entry for entry in entries if ": " not in entry]
        found.setdefault(kind, {})[name] = Fact(sentences, questions)
    return found


FACTS = _facts()


@dataclass(frozen=True)
class Article:
    """A text on one thing. spans: slot -> (start, end) in the text; told: its facts in order."""

    kind: str
    name: str
    text: str
    spans: dict[str, tuple[int, int]]
    told: list[str]
    values: dict[str, str]
    sentences: list[str]


def article(pen: Pen, kind: str, *, num_facts: int, num_fillers: int, breaks: bool) -> Article:
    """A new article; `breaks` puts newlines between some of its sentences."""
    values = {slot: make(pen) for slot, make in _MAKERS.items()}
    values["name"] = _NAMES[kind](pen)
    others = [name for name in FACTS[kind] if name != "opening"]
    told = ["opening", *pen.random.sample(others, min(num_facts, len(others)))]
    lines = [pen.any_of(FACTS[kind][name].sentences) for name in told]
    for _ in range(num_fillers):
        lines.insert(pen.between(1, len(lines)), pen.any_of(_FILLERS))
    text, spans, sentences = "", {}, []
    for line in lines:
        sentence, found = fill_spans(line, values)
        for slot, start, end in found:
            spans.setdefault(slot, (len(text) + start, len(text) + end))
        sentences.append(sentence)
        text += sentence + ("\n" if breaks and pen.chance(0.3) else " ")
    return Article(kind, values["name"], text.rstrip(), spans, told, values, sentences)
