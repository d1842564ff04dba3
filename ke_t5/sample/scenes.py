"""Little scenes, who did what where and when, and pairs of sentences told about them.

Inference pairs (KLUE NLI, KorNLI) and pairs with a similarity (KLUE STS, KorSTS).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ke_t5.sample import words
from ke_t5.sample.korean import fill, future_adnominal, past_stem, plain_present
from ke_t5.sample.pen import Pen
from ke_t5.sample.tables import read_table

# Verb stem, a wider word for its objects, then the objects.
_ACTIONS = """
읽|글|소설|신문|잡지|동화책|시집|만화책|논문
마시|음료|커피|녹차|우유|주스|식혜|유자차|콜라
먹|음식|김밥|라면|비빔밥|냉면|떡볶이|만두|국수
사|물건|모자|가방|우산|구두|시계|장갑|안경
만들|작품|의자|인형|목걸이|연|도자기|책상|종이배
보|볼거리|영화|연극|뮤지컬|사진전|무용극|야구 경기|불꽃놀이
배우|기술|수영|요리|피아노|바둑|서예|사진|목공
고치|기계|자전거|냉장고|컴퓨터|세탁기|라디오|선풍기|재봉틀
그리|그림|풍경화|초상화|만화|지도|벽화|꽃 그림|고양이 그림
"""
ACTIONS = {
    stem: (kind, things)
    for stem, kind, *things in (line.split("|") for line in _ACTIONS.strip().splitlines())
}
_PLACES = (
    "공원|도서관|시장|카페|학교|강당|식당|병원|극장|체육관|박물관|기차역|바닷가|사무실"
).split("|")
_TIMES = (
    "어제 아침|지난 주말|오늘 오후|토요일|작년 여름|지난달|점심시간|어젯밤|일요일 저녁|방학"
).split("|")
_ROLES = (
    "학생|할머니|의사|여행객|소년|선생님|요리사|가수|경찰관|농부|화가|기자|아이|운전사"
).split("|")
_COMPANY = "친구|동생|가족|동료|아버지|손님|선배".split("|")
NLI_LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class Scene:
    """Who did what to what, where, when, and how many (people or times)."""

    who: str
    stem: str
    thing: str
    place: str
    time: str
    count: int

    def write(self, template: str, **more: str) -> str:
        """The template filled: past, present and future are forms of the scene's verb."""
        return fill(
            template,
            who=self.who,
            stem=self.stem,
            past=past_stem(self.stem),
            present=plain_present(self.stem),
            future=future_adnominal(self.stem),
            kind=ACTIONS[self.stem][0],
            thing=self.thing,
            place=self.place,
            time=self.time,
            count=str(self.count),
            **more,
        )


def scene(pen: Pen) -> Scene:
    stem = pen.any_of(list(ACTIONS))
    who = words.person(pen) if pen.chance(0.4) else pen.pick(_ROLES)
    thing, place, time = pen.pick(ACTIONS[stem][1]), pen.pick(_PLACES), pen.pick(_TIMES)
    return Scene(who, stem, thing, place, time, pen.between(2, 9))


def _another(pen: Pen, choices: list[str], taken: str) -> str:
    return pen.any_of([choice for choice in choices if choice != taken])


_PREMISES = (
    "{who:은} {time}에 {place}에서 {thing:을} {past}다.",
    "{time}에 {who:이} {place}에서 {thing:을} {past}다.",
    "{time} {place}에서 {who} 등 {count}명이 {thing:을} {past}다.",
    "{place}에 간 {who:은} {time}에 {thing:을} {count}번 {past}다.",
)
_HYPOTHESES = {
    "entailment": (
        "{who:은} {thing:을} {past}다.",
        "{who:은} {place}에 있었다.",
        "{who:이} {kind:을} {past}다.",
        "{place}에서 {thing:을} {past}다.",
        "{who:은} {time}에 집에 있지 않았다.",
        "{time}에 {who:은} {kind:을} {past}다.",
        "{time}에 {place}에는 {who:이} 있었다.",
    ),
    "neutral": (
        "{who:은} {company:과} 함께 {thing:을} {past}다.",
        "{who:은} {thing:을} 가장 좋아한다.",
        "{who:은} {thing:을} 자주 {present}.",
        "{time}에 {place}에는 비가 내렸다.",
        "{who:은} 내일도 {thing:을} {future} 것이다.",
        "{who:은} {place:을} 싫어하지 않는다.",
        "{who:은} 사실 {other:을} 원했다.",
    ),
    "contradiction": (
        "{who:은} {thing:을} {stem}지 않았다.",
        "{who:은} {thing} 대신 {other:을} {past}다.",
        "{who:은} {time}에 집에만 있었다.",
        "{time}에 {place}에는 아무도 없었다.",
        "{who:은} {elsewhere}에서 {thing:을} {past}다.",
        "{who:은} 평생 {kind:을} 한 번도 {stem}지 않았다.",
        "아무도 {thing:을} {stem}지 않았다.",
    ),
}


def _hypothesis(pen: Pen, told: Scene, label: str) -> str:
    return told.write(
        pen.pick(_HYPOTHESES[label]),
        other=_another(pen, ACTIONS[told.stem][1], told.thing),
        elsewhere=_another(pen, _PLACES, told.place),
        company=pen.pick(_COMPANY),
    )


def inference_pairs(
    pen: Pen, num_rows: int, *, noise: float = 0.05
) -> list[tuple[str, str, str, str]]:
    """(premise, hypothesis, label, the writer's label); a premise stands three times in a row."""
    rows: list[tuple[str, str, str, str]] = []
    while len(rows) < num_rows:
        told = scene(pen)
        premise = told.write(pen.any_of(_PREMISES))
        for author in pen.shuffled(NLI_LABELS):
            label = pen.noisy(author, NLI_LABELS, noise)
            rows.append((premise, _hypothesis(pen, told, author), label, author))
    return rows[:num_rows]


# A plain telling and one that sounds translated. The first two name every part of a scene, so
# that a change of time or place can be seen.
_RETOLD = list(
    read_table("""
opening
    {who:은} {time}에 {place}에서 {thing:을} {past}다.
    {time}에, {who:은} {place}에서 {thing:을} {past}습니다.
place first
    {time} {place}에서 {who:이} {thing:을} {past}다.
    {place}에서 {time}에 {who:은} {thing:을} {past}습니다.
bare
    {who:이} {thing:을} {past}다.
    {who:은} 바로 그 {thing:을} {past}습니다.
to come
    {who:은} {thing:을} 꼭 {future} 것이다.
    {who:은} {thing:을} 틀림없이 {future} 것입니다.
""").values()
)
_NUM_WHOLE = 2


def _changed(pen: Pen, told: Scene, score: int) -> Scene:
    """A scene that shares with `told` what a similarity of 0 to 4 leaves in common."""
    time, place = _another(pen, _TIMES, told.time), _another(pen, _PLACES, told.place)
    if score == 4:
        return replace(told, time=time)
    if score == 3:
        return replace(told, place=place, time=time)
    if score == 2:
        thing = _another(pen, ACTIONS[told.stem][1], told.thing)
        return replace(told, thing=thing, place=place)
    other = replace(scene(pen), place=place, time=time)
    return replace(other, who=told.who) if score == 1 else other


def similar_pairs(pen: Pen, num_rows: int) -> list[tuple[str, str, list[int]]]:
    """(sentence, sentence, five to seven votes of 0 to 5 on how alike they are)."""
    rows = []
    for _ in range(num_rows):
        score, told = pen.between(0, 5), scene(pen)
        plain, translated = pen.any_of(_RETOLD[:_NUM_WHOLE] if score in (3, 4) else _RETOLD)
        other = told if score == 5 else _changed(pen, told, score)
        # Close pairs are mostly round-trip translations, as in the releases.
        second = translated if score == 5 or pen.chance(0.15 + 0.15 * score) else plain
        near = (pen.any_of((-1, 0, 0, 0, 1)) for _ in range(pen.between(5, 7)))
        votes = [min(5, max(0, score + shift)) for shift in near]
        rows.append((told.write(plain), other.write(second), votes))
    return rows
