"""Dialogues with a state to track (KLUE WoS): five domains, 45 slots, the whole state each turn."""

from __future__ import annotations

import re

from ke_t5.sample import words
from ke_t5.sample.korean import fill
from ke_t5.sample.pen import Pen
from ke_t5.sample.tables import read_table

_AREAS = [f"서울 {side}" for side in ("중앙", "북쪽", "동쪽", "서쪽", "남쪽")]
_PRICES = ["저렴", "적당", "비싼"]
_NUMBERS = [str(number) for number in range(1, 11)]
_STATIONS = "용산역 시청역 신촌역 강남역 잠실역 혜화역 명동역 노원역 왕십리역 홍대입구역".split()
_CLOCKS = [f"{hour:02d}:{minute:02d}" for hour in range(7, 23) for minute in (0, 20, 30, 50)]
_RESTAURANTS = (
    "매일식사|돌담밥집|푸른국수|바다한상|달빛만두|은하분식|소나무집|온기식탁|초록샐러드|노을화로"
).split("|")
_HOTELS = (
    "한빛 호텔|솔잎 게스트하우스|누리 호스텔|별빛 호텔|가온 하우스|달무리 호텔|여울 호스텔|"
    "라온 호텔"
).split("|")
_SIGHTS = (
    "은행나무 공원|한뫼 박물관|솔빛 미술관|달맞이 언덕|옛길 시장|별누리 천문대|강변 산책로|"
    "도담 극장"
).split("|")
_YES_NO = ["yes", "no"]
# Slot -> its values, in the order of the release's ontology by domain.
ONTOLOGY: dict[str, list[str]] = {
    "관광-경치 좋은": _YES_NO,
    "관광-교육적": _YES_NO,
    "관광-도보 가능": _YES_NO,
    "관광-문화 예술": _YES_NO,
    "관광-역사적": _YES_NO,
    "관광-이름": _SIGHTS,
    "관광-종류": ["공원", "박물관", "공연", "쇼핑", "랜드마크", "놀이공원"],
    "관광-주차 가능": _YES_NO,
    "관광-지역": _AREAS,
    "숙소-가격대": _PRICES,
    "숙소-도보 가능": _YES_NO,
    "숙소-수영장 유무": _YES_NO,
    "숙소-스파 유무": _YES_NO,
    "숙소-예약 기간": _NUMBERS,
    "숙소-예약 명수": _NUMBERS,
    "숙소-예약 요일": words.WEEKDAYS,
    "숙소-이름": _HOTELS,
    "숙소-인터넷 가능": _YES_NO,
    "숙소-조식 가능": _YES_NO,
    "숙소-종류": ["호텔", "호스텔", "게스트 하우스", "모텔"],
    "숙소-주차 가능": _YES_NO,
    "숙소-지역": _AREAS,
    "숙소-헬스장 유무": _YES_NO,
    "숙소-흡연 가능": _YES_NO,
    "식당-가격대": _PRICES,
    "식당-도보 가능": _YES_NO,
    "식당-야외석 유무": _YES_NO,
    "식당-예약 명수": _NUMBERS,
    "식당-예약 시간": _CLOCKS,
    "식당-예약 요일": words.WEEKDAYS,
    "식당-이름": _RESTAURANTS,
    "식당-인터넷 가능": _YES_NO,
    "식당-종류": ["한식당", "양식당", "일식당", "중식당", "분식집", "치킨집", "베이커리"],
    "식당-주류 판매": _YES_NO,
    "식당-주차 가능": _YES_NO,
    "식당-지역": _AREAS,
    "식당-흡연 가능": _YES_NO,
    "지하철-도착지": _STATIONS,
    "지하철-출발 시간": _CLOCKS,
    "지하철-출발지": _STATIONS,
    "택시-도착 시간": _CLOCKS,
    "택시-도착지": [*_SIGHTS, *_HOTELS, *_RESTAURANTS],
    "택시-종류": ["고급", "에코", "개인"],
    "택시-출발 시간": _CLOCKS,
    "택시-출발지": [*_STATIONS, *_SIGHTS],
}
# How a user asks, by domain and step; {slot words} stand for values just below. The first step is
# the search, the second one a further wish, the third the booking, the last a mere question.
_USER = read_table("""
관광 search
    {지역}에서 {종류:을} 찾고 있어요.
    {지역}에서 갈 만한 {종류} 좀 추천해 주세요.
관광 wish
    {flag} 곳이면 좋겠어요.
관광 name
    {이름:은} 어떤 곳인가요? 거기로 할게요.
숙소 search
    {지역}에 있는 {가격대} 가격의 {종류:을} 찾아 주세요.
    {가격대} 가격대의 {종류}에 묵고 싶어요. 위치는 {지역:으로} 부탁해요.
숙소 wish
    {flag} 곳이어야 해요.
숙소 name
    {이름:으로} {예약_요일}부터 {예약_기간}일, {예약_명수}명 예약해 주세요.
식당 search
    {지역}에서 {가격대} 가격의 {종류:을} 알려 주세요.
    {종류} 좀 찾아 주세요. {지역}이고 가격은 {가격대}이면 돼요.
식당 wish
    {flag} 식당이면 좋겠네요.
식당 name
    {이름:으로} {예약_요일} {예약_시간}에 {예약_명수}명 예약해 주세요.
지하철 search
    {출발지}에서 {도착지}까지 지하철로 가려고 해요.
지하철 wish
    {출발_시간}에 출발할 거예요.
택시 search
    {출발지}에서 {도착지}까지 가는 택시를 불러 주세요.
    {도착지:으로} 가는 택시가 필요해요. 출발지는 {출발지}입니다.
택시 wish
    {종류} 택시로 {출발_시간}에 와 주세요.
    {종류} 택시로 부탁하고 {도착_시간}까지는 도착해야 해요.
""")
_FLAGS = {
    "경치 좋은": ("경치가 좋은", "경치는 안 좋아도 되는"),
    "교육적": ("교육적인", "교육적이지 않은"),
    "도보 가능": ("걸어갈 수 있는", "걸어가지 않아도 되는"),
    "문화 예술": ("문화 예술을 즐길 수 있는", "문화 예술과 무관한"),
    "역사적": ("역사적인", "역사와 무관한"),
    "주차 가능": ("주차가 되는", "주차가 안 되는"),
    "수영장 유무": ("수영장이 있는", "수영장이 없는"),
    "스파 유무": ("스파가 있는", "스파가 없는"),
    "인터넷 가능": ("인터넷이 되는", "인터넷이 안 되는"),
    "조식 가능": ("조식이 나오는", "조식이 없는"),
    "헬스장 유무": ("헬스장이 있는", "헬스장이 없는"),
    "흡연 가능": ("흡연이 가능한", "금연인"),
    "야외석 유무": ("야외석이 있는", "야외석이 없는"),
    "주류 판매": ("술을 파는", "술을 팔지 않는"),
}
_GREETING = "안녕하세요. 서울 여행을 준비하는데 도움이 필요해요."
_CLOSING = ("고맙습니다. 이제 됐어요.", "네 알겠습니다. 감사해요.", "더 필요한 건 없어요.")
_ANSWERS = {
    "greeting": ("안녕하세요. 무엇을 도와드릴까요?",),
    "search": (
        "네, 조건에 맞는 곳을 찾았습니다. 더 원하시는 게 있나요?",
        "찾아보니 여러 곳이 있네요.",
    ),
    "wish": ("알겠습니다. 조건을 더했습니다.", "네, 그렇게 찾아볼게요."),
    "name": ("네, 예약번호는 {code}입니다.", "처리했습니다. 번호는 {code}입니다."),
    "closing": ("이용해 주셔서 감사합니다.", "좋은 하루 보내세요."),
}
_INDIFFERENT = {"지역": "위치는 어디든 상관없어요.", "가격대": "가격은 얼마든 상관없어요."}
# How a value is said where it is not said as the state writes it.
_SPOKEN = {"저렴": "저렴한", "적당": "적당한"}
_UNLISTED_NAMES = 0.06  # 2,697 of 46,465 values of the real dev part are not in its ontology


def _said(value: str) -> str:
    """The value as a user says it: 18:30 becomes 18시 30분."""
    hour, colon, minute = value.partition(":")
    if colon:
        return f"{int(hour)}시" + (f" {minute}분" if minute != "00" else "")
    return _SPOKEN.get(value, value)


def _ask(pen: Pen, domain: str, step: str, state: dict[str, str]) -> str:
    """The user's words for a step; the state takes up what they say."""
    template = pen.any_of(_USER[f"{domain} {step}"])
    values = {}
    if "{flag}" in template:
        slot = pen.any_of([name for name in _FLAGS if f"{domain}-{name}" in ONTOLOGY])
        wanted = pen.chance(0.75)
        state[f"{domain}-{slot}"] = "yes" if wanted else "no"
        values["flag"] = _FLAGS[slot][0 if wanted else 1]
    for slot in re.findall(r"\{([가-힣]\w*)", template):
        name = f"{domain}-{slot.replace('_', ' ')}"
        value = pen.pick([known for known in ONTOLOGY[name] if known not in state.values()])
        if slot == "이름" and pen.chance(_UNLISTED_NAMES):
            value = f"{pen.pick(words.GIVEN_NAMES)}네 집"
        state[name] = value
        values[slot] = _said(value)
    return fill(template, **values)


def _domain_turns(pen: Pen, domain: str, state: dict[str, str]) -> list[tuple[str, str, list[str]]]:
    """(step, user's words, state after them) of one domain."""
    steps = ["search"]
    steps += ["wish"] if domain in ("지하철", "택시") or pen.chance(0.6) else []
    steps += ["name"] if f"{domain} name" in _USER else []
    turns = []
    for step in steps:
        turns.append((step, _ask(pen, domain, step, state), _written(state)))
        loose = [slot for slot in _INDIFFERENT if f"{domain}-{slot}" in state]
        if step == "search" and loose and pen.chance(0.15):
            slot = pen.any_of(loose)
            state[f"{domain}-{slot}"] = "dontcare"
            turns.append(("wish", "아, " + _INDIFFERENT[slot], _written(state)))
    return turns


def _written(state: dict[str, str]) -> list[str]:
    return [f"{slot}-{value}" for slot, value in state.items()]


def klue_wos(pen: Pen, part: str, num_dialogues: int) -> list[dict]:
    """Dialogues of KLUE WoS as its release writes them."""
    rows = []
    for number in range(num_dialogues):
        domains = pen.random.sample(
            ("관광", "숙소", "식당", "지하철", "택시"), pen.any_of((1, 1, 2, 2, 3))
        )
        state: dict[str, str] = {}
        turns = [("greeting", _GREETING, [])] if pen.chance(0.15) else []
        for domain in domains:
            turns += _domain_turns(pen, domain, state)
        turns.append(("closing", pen.any_of(_CLOSING), _written(state)))
        dialogue = []
        for step, text, written in turns:
            code = "".join(pen.any_of("ABCDEFGHJK2345") for _ in range(5))
            dialogue.append({"role": "user", "text": text, "state": written})
            dialogue.append({"role": "sys", "text": fill(pen.any_of(_ANSWERS[step]), code=code)})
        guid = f"wos-v1_{part}_{number:05d}"
        rows.append({"guid": guid, "domains": domains, "dialogue": dialogue})
    return rows


def ontology() -> dict[str, list[str]]:
    """The ontology as the release writes it."""
    return {slot: ["none", "dontcare", *values] for slot, values in ONTOLOGY.items()}
