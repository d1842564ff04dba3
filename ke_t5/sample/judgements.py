"""Sentences to judge: NIKL CoLA (is it Korean?) and QPair (do two questions ask the same?)."""

from __future__ import annotations

from ke_t5.sample import words
from ke_t5.sample.korean import fill, future_adnominal, particle, past_stem, present_adnominal
from ke_t5.sample.pen import Pen, balanced
from ke_t5.sample.scenes import ACTIONS
from ke_t5.sample.tables import read_table

# What is right and what breaks it; the last of the list is met out of domain only.
_CONTRASTS = (
    ("{who:은} {thing:을} {past}다.", "{who:은} {thing}{wrong} {past}다."),
    ("{who:이} {place}에서 {thing:을} {past}다.", "{who:을} {place}에서 {thing:이} {past}다."),
    ("어제 {who:은} {thing:을} {past}다.", "어제 {who:은} {thing:을} {future} 것이다."),
    ("{who:은} 내일 {thing:을} {future} 것이다.", "{who:은} 내일 {thing:을} {past}다."),
    ("{who:은} {thing:을} 전혀 {stem}지 않았다.", "{who:은} {thing:을} 전혀 {past}다."),
    (
        "{who:이} {past}던 {thing:이} {place}에 있다.",
        "{who:이} {past}다 {thing:이} {place}에 있다.",
    ),
    ("{place}에서 {thing:을} {stem}고 있다.", "{place}에서 {thing:을} {stem}은고 있다."),
    ("{who:은} {thing:을} {stem}지 못했다.", "{who:은} {thing:을} {stem} 못지했다."),
    ("{who:은} {place:으로} 갔다.", "{who:은} {place:을} 살았다."),
    ("{thing:을} {doing} 사람은 {who:이다}.", "{thing:을} 사람 {doing}은 {who:이다}."),
    ("{place}에는 {thing:이} 있다.", "{place}에는 {thing:을} 있다."),
    ("할머니께서 {thing:을} 주셨다.", "할머니께서 {thing:을} 줬다는다."),
    ("{who:은} {thing:이} 좋다.", "{who:이} 좋는다 {thing}."),
    ("선생님께 {thing:을} 드렸다.", "{who:은} 자기에게 {thing:을} 드시고 계셨다요."),
)
# Verbs whose objects can be given and can lie about.
_STEMS = "읽 마시 먹 사 고치 그리 만들".split()
_PLACES = "공원 도서관 시장 카페 학교 강당 식당 병원 극장 박물관 사무실 마당".split()


def _wrong_particle(word: str) -> str:
    """The object particle that does not fit after the word."""
    return "를" if particle(word, "을") == "을" else "을"


def acceptability(pen: Pen, num_rows: int, *, out_of_domain: bool = False) -> list[tuple[str, str]]:
    """(sentence, "1" where it is acceptable Korean else "0"); labels err in one case of twenty."""
    known = _CONTRASTS[-4:] if out_of_domain else _CONTRASTS[:-3]
    rows = []
    for label in balanced(pen, ("0", "1"), num_rows):
        right, wrong = pen.any_of(known)
        stem = pen.any_of(_STEMS)
        thing = pen.pick(ACTIONS[stem][1])
        text = fill(
            right if label == "1" else wrong,
            who=words.person(pen),
            thing=thing,
            wrong=_wrong_particle(thing),
            place=pen.pick(_PLACES),
            stem=stem,
            past=past_stem(stem),
            doing=present_adnominal(stem),
            future=future_adnominal(stem),
        )
        rows.append((text, pen.noisy(label, ("0", "1"), 0.05)))
    return rows


# What one may ask about {x}, in several wordings; the last two are polite.
_ASKED = list(
    read_table("""
price
    {x} 값이 얼마야|{x} 얼마 해|{x} 가격 알려줘
    {x:은} 얼마예요|{x} 가격이 어떻게 되나요
shop
    {x} 어디서 사|{x} 파는 곳 어디야|{x} 살 데 알려줘
    {x:은} 어디에서 팔아요|{x} 파는 가게가 어디인가요
repair
    {x} 고장났는데 어떡해|{x} 안 되는데 왜 이래|{x} 고치는 법 알려줘
    {x:이} 망가졌는데 어쩌죠|{x} 수리는 어떻게 하나요
gift
    {x} 선물로 어때|{x} 선물하면 좋아할까|{x} 줄까 말까
    {x:을} 선물해도 될까요|{x} 선물하면 기뻐할까요
choice
    {x} 추천해줘|{x} 뭐가 좋아|{x} 좋은 거 골라줘
    괜찮은 {x} 있나요|{x:은} 어떤 게 좋을까요
delivery
    {x} 언제 와|{x} 배송 얼마나 걸려|{x} 아직 안 왔는데
    {x:은} 언제 도착해요|{x} 배송은 며칠 걸리나요
disposal
    {x} 버려도 돼|{x} 어떻게 버려|{x} 버리는 법
    {x:은} 어디에 버려요|{x:을} 버리려면 어떻게 하나요
""").values()
)
_NUM_POLITE = 2
_ITEMS = [thing for stem in ("사", "고치") for thing in ACTIONS[stem][1]]


def _wording(pen: Pen, asked: list[str], *, polite: float) -> str:
    """A wording of the question, a polite one in the given share of cases."""
    if pen.chance(polite):
        return pen.any_of(asked[-_NUM_POLITE:])
    return pen.any_of(asked[:-_NUM_POLITE])


def question_pairs(pen: Pen, num_rows: int) -> list[tuple[str, str, str]]:
    """(question, question, "0" where they ask the same else "1")."""
    rows = []
    for label in balanced(pen, ("0", "1"), num_rows):
        asked, item = pen.any_of(_ASKED), pen.pick(_ITEMS)
        first = _wording(pen, asked, polite=0.3)
        if label == "0":
            # Rewordings were mostly written out with care; it is a clue, as such habits are.
            second, other = _wording(pen, asked, polite=0.75), item
        elif pen.chance(0.6):
            elsewhere = pen.any_of([intent for intent in _ASKED if intent is not asked])
            second, other = _wording(pen, elsewhere, polite=0.3), item
        else:
            other = pen.any_of([thing for thing in _ITEMS if thing != item])
            second = _wording(pen, asked, polite=0.3)
        noted = pen.noisy(label, ("0", "1"), 0.04)
        rows.append((fill(first, x=item), fill(second, x=other), noted))
    return rows
