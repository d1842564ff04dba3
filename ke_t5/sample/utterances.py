"""Short utterances with a class: 3i4K intents, NSMC reviews, KHSD comments."""

from __future__ import annotations

from ke_t5.sample import words
from ke_t5.sample.korean import informal, past_stem
from ke_t5.sample.pen import Pen, balanced
from ke_t5.sample.scenes import ACTIONS
from ke_t5.sample.tables import read_table

_THINGS = (
    "우산 회의 약속 창문 시험 택배 저녁 숙제 커피 버스 강아지 노래 사진 여행 감기 월급 청소 생일"
).split()
_PLACES = "학교 회사 시장 병원 공항 식당 도서관 부산 제주 바다 시내 은행".split()
# The seven classes of 3i4K in the order of their ids; no punctuation, as in speech transcripts.
_INTENTS = list(
    read_table("""
fragment
    {thing}
    {place}
    {thing:이랑} {place}
    {place} 앞 {thing}
    저기 그 {thing}
    아 {thing}
    {thing} 그거
statement
    {thing} 벌써 끝났어
    나 지금 {place}에 있어
    {place}에서 {thing} 봤는데 좋더라
    {object:을} {past}어
    {thing} 때문에 조금 늦었어요
    오늘은 {thing:이} 제일 중요해요
    {place:은} 사람이 많습니다
question
    {thing} 언제 끝나
    지금 {place}에 누가 있어
    {place}까지 얼마나 걸려요
    {object:을} 왜 {past}어
    {thing:은} 어디에 있습니까
    {thing} 괜찮아요
    {place}에는 어떻게 가나요
command
    {thing} 좀 챙겨라
    {object:을} 얼른 {polite}
    {place:으로} 빨리 오세요
    {thing} 먼저 끝내도록 해
    {place}에서 기다려 주세요
    {thing} 얘기는 하지 마
    {place} 가는 길을 알려줘
rhetorical question
    {thing:을} 누가 모르니
    내가 {place}에 왜 가겠어
    그 {thing:이} 뭐가 그리 대단하다고
    {thing} 안 좋아하는 사람이 어디 있어
    {object:을} 나라고 안 {past}겠니
rhetorical command
    어디 {thing} 한번 해 보시지
    그래 {place:으로} 가 버려라 아주
    잘난 {thing:이나} 실컷 챙겨라
    {object:이나} {polite} 그럼
    {thing} 걱정은 하지도 마라 제발
intonation-dependent utterance
    {thing} 챙겼어
    {place} 간다고
    {object} {past}어
    {thing} 다 됐지
    {place}에서 보기로 했잖아
""").values()
)


def intents(pen: Pen, labels: list[int]) -> list[tuple[int, str]]:
    """(label, utterance) for each of the labels, in their order."""
    rows = []
    for label in labels:
        stem = pen.any_of(list(ACTIONS))
        text = pen.write(
            _INTENTS[label],
            thing=pen.pick(_THINGS),
            place=pen.pick(_PLACES),
            object=pen.pick(ACTIONS[stem][1]),
            past=past_stem(stem),
            polite=informal(stem),
        )
        opening = pen.any_of(("아니 ", "근데 ", "음 ", "저 ")) if pen.chance(0.2) else ""
        rows.append((label, opening + text))
    return rows


_PRAISE = (
    "재밌다|감동적이다|최고다|눈물이 났다|시간 가는 줄 몰랐다|또 보고 싶다|연기가 훌륭하다|"
    "기대 이상이다|완벽하다|여운이 남는다|강추한다|마음이 따뜻해진다|명작이다|반전이 놀랍다"
).split("|")
_BLAME = (
    "지루하다|돈이 아깝다|최악이다|졸려 죽겠다|유치하다|내용이 없다|연기가 어색하다|실망했다|"
    "억지스럽다|중간에 나왔다|비추한다|별로다|시간만 버렸다|예고편이 전부다"
).split("|")
_REVIEWS = (
    "{part} {verdict}",
    "{part} 진짜 {verdict}..",
    "{title} {verdict} {tail}",
    "{verdict} {part}",
    "{part} {weak} 그래도 {verdict}",
    "{who} 나온다고 해서 봤는데 {verdict} {tail}",
    "평점 보고 왔는데 {part} {verdict}!!",
    "10자 채우려고 쓴다 {verdict}",
    '"{title}" {part} 정말 {verdict}',
)
_PARTS = (
    "스토리 배우들 음악 영상 결말 감독 대사 액션 주인공 전개 화면 분위기 후반부 첫 장면"
).split()
_TAILS = ("ㅋㅋ", "ㅠㅠ", "ㅎㅎ", "...", "!", "", "")


def reviews(pen: Pen, num_rows: int, *, num_empty: int = 0) -> list[tuple[str, str, str]]:
    """(id, review, "0" or "1") as NSMC has them; the first `num_empty` reviews are empty."""
    rows = []
    ids = pen.random.sample(range(1_000_000, 9_999_999), num_rows)
    for number, label in enumerate(balanced(pen, ("0", "1"), num_rows)):
        good, bad = (_PRAISE, _BLAME) if label == "1" else (_BLAME, _PRAISE)
        # "It is dull, and yet I loved it": what comes last decides.
        weak = pen.pick(bad).removesuffix("다") + "지만"
        text = pen.write(
            _REVIEWS,
            part=pen.pick(_PARTS),
            verdict=pen.pick(good),
            weak=weak,
            title=pen.pick(words.WORKS),
            who=words.person(pen),
            tail=pen.any_of(_TAILS),
        )
        noted = pen.noisy(label, ("0", "1"), 0.06)
        rows.append((str(ids[number]), "" if number < num_empty else text.strip(), noted))
    return rows


_COMMENTS = read_table("""
none
    {who} 무대 잘 봤어요
    다음 {work}도 기대할게요
    {who} 건강 잘 챙기세요
    {work} 촬영지가 어딘가요
    늘 응원합니다 {who} 씨
    {work} 노래가 좋네요
    두 분 오래 행복하세요
offensive
    {who} 연기 너무 못하네 좀 쉬어라
    {work} 수준 참 한심하다
    {who} 관심 끌려고 애쓴다
    또 {who:이냐} 지겹다 그만 나와라
    {work} 만든 사람 양심도 없다
    변명만 하는 {who} 뻔뻔하다
    {who} 거품 다 빠졌네
hate
    {group} 것들은 다 똑같다 사라져라
    {group} 주제에 어디서 나서냐 꺼져라
    {group:은} 상대도 하지 마라 역겹다
    {who} 같은 {group} 것들 상종을 말아야지
    {group} 티 내지 말고 꺼져라
    역시 {group} 수준 쓰레기네
    {group:은} 입 다물고 살아라
""")
# Groups that exist in this world only, so that nobody is insulted.
_GROUPS = "달나라족 토끼당 해적단 안개족 도깨비당 공주들 왕자들 구름족 너구리단".split()


def comments(pen: Pen, num_rows: int) -> list[tuple[str, str, str, str]]:
    """(comment, contain_gender_bias, bias, hate) as KHSD's columns have them; groups made up."""
    rows, labels = [], tuple(_COMMENTS)
    for label in balanced(pen, labels, num_rows):
        group, work = pen.pick(_GROUPS), pen.pick(words.WORKS)
        text = pen.write(_COMMENTS[label], who=words.person(pen), work=work, group=group)
        is_gender = label == "hate" and group.endswith("들")
        bias = "none" if label != "hate" else "gender" if is_gender else "others"
        noted = pen.noisy(label, labels, 0.06)
        rows.append((text + pen.any_of(_TAILS), str(is_gender), bias, noted))
    return rows
