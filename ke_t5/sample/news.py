"""News titles on seven topics (KLUE ynat). Topics share templates and borrow each other's words."""

from __future__ import annotations

from ke_t5.sample import words
from ke_t5.sample.pen import Pen, balanced

# Per topic: things, who acts, what happens. The last seventh of each list is met in dev only.
TOPICS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "IT과학": (
        "스마트폰 인공지능 반도체칩 메신저 검색엔진 양자컴퓨터 우주망원경 유전자가위 배터리 "
        "클라우드 자율주행차 드론 백신플랫폼 로봇팔 통신망 가상현실 인공위성 해킹 데이터센터 "
        "블록체인 운영체제 웨어러블 초전도체 앱스토어 알고리즘 줄기세포 발사체 챗봇".split(),
        "과학자들 개발자들 연구진 스타트업 통신사 게임사 천문대 우주센터 포털 공학자들".split(),
        "신기술 공개|차세대 제품 출시|보안 취약점 발견|성능 두 배 향상|세계 최초 개발|"
        "무료 서비스 시작|업데이트 배포|시험 발사 성공|논문 게재|특허 출원|오류 복구".split("|"),
    ),
    "경제": (
        "금리 환율 코스피 수출 부동산 물가 주식시장 가계부채 최저임금 유가 채권 보험료 관세 "
        "실업률 아파트값 영업이익 무역수지 공모주 대출 예금 소비심리 스태그플레이션 배당금 법인세 "
        "경상수지 외환보유액 전세금 원자재".split(),
        "한국은행 투자자들 기획재정부 은행권 증권가 대기업 소상공인 금융당국 수출기업 "
        "자산운용사".split(),
        "소폭 상승|급락 마감|전망치 하향|사상 최고치|3분기 실적 발표|인수합병 추진|매출 감소|"
        "상장 추진|인하 검토|거래량 급증|적자 전환".split("|"),
    ),
    "사회": (
        "학교폭력 교통사고 미세먼지 어린이집 노동조합 지하철역 수능 경찰서 화재 음주운전 복지시설 "
        "산불 장마 폭염 실종자 병원 급식 재개발 주민센터 교권 헌혈 임금체불 층간소음 태풍 "
        "보이스피싱 요양원 스쿨존 쓰레기매립지".split(),
        "경찰 검찰 주민들 교사들 학부모들 소방당국 시민단체 구청 노조 환경단체".split(),
        "수사 착수|긴급 점검|대책 마련 촉구|구속영장 신청|집회 열어|피해 잇따라|무료 상담 운영|"
        "과태료 부과|전수조사 실시|재판에 넘겨|봉사활동 펼쳐".split("|"),
    ),
    "생활문화": (
        "전시회 뮤지컬 소설 여행지 김치 한복 도서관 영화제 건강검진 다이어트 캠핑 사찰음식 "
        "클래식공연 미술관 벚꽃 드라마 커피 연극 다큐멘터리 판소리 반려식물 공예품 북콘서트 한옥 "
        "템플스테이 발레 인디음악 향수".split(),
        "작가들 화가들 관람객들 출판계 공연계 배우들 국립극장 여행객들 요리사들 박물관".split(),
        "관객 만난다|특별전 개막|새 책 출간|주말 나들이 추천|무대 오른다|전통 되살려|레시피 소개|"
        "가을 정취 가득|다시 인기|감동 전해|단풍 절정".split("|"),
    ),
    "세계": (
        "난민 백악관 유럽연합 총격 국경 대사관 쿠데타 허리케인 왕실 핵합의 크렘린 유엔 내전 제재 "
        "정상회의 반정부시위 테러 휴전협정 지진 대통령궁 이민법 브렉시트 사막 인질 총리 무장단체 "
        "특사 국제법정".split(),
        words.COUNTRIES,
        "비상사태 선포|회담 결렬|수백 명 사망|평화협상 재개|공습 단행|대규모 시위|국경 봉쇄|"
        "조기총선 실시|관계 정상화 합의|구호물자 지원|대사 추방".split("|"),
    ),
    "스포츠": (
        "홈런 결승골 금메달 프로야구 월드컵 올림픽 해트트릭 마라톤 태권도 배구단 수영 골프대회 "
        "플레이오프 자유계약 감독대행 세계신기록 투수 공격수 씨름 양궁 국가대표 스켈레톤 역전승 "
        "득점왕 펜싱 한국시리즈 테니스 패럴림픽".split(),
        "대표팀 구단 선수들 감독 팬들 신인왕 베테랑 주장 챔피언 코치진".split(),
        "연장 끝에 승리|4연승 질주|결승 진출|부상으로 결장|시즌 첫 승|이적 확정|우승컵 들어|"
        "준결승서 탈락|은퇴 선언|신기록 수립|8강 확정".split("|"),
    ),
    "정치": (
        "국회 여야 대선 청와대 개헌 총선 예산안 인사청문회 필리버스터 당대표 비례대표 특검 탄핵 "
        "선거법 국정감사 공천 외교안보 남북회담 지방선거 원내대표 국무회의 연립정부 국민투표 "
        "전당대회 상임위 거부권 단일화 정책공약".split(),
        [*words.PARTIES, "여당", "야당", "국회의장", "대변인", "총리실"],
        "법안 처리 합의|본회의 통과|공방 가열|후보 확정|사퇴 요구|지지율 하락|회동 무산|"
        "경선 일정 발표|협치 강조|청문보고서 채택|표결 불참".split("|"),
    ),
}
LABELS = sorted(TOPICS)
_TEMPLATES = (
    "{actor} {thing} {event}",
    "{thing} {event}…{actor} 반응은",
    "{actor} {thing} 관련 {event}",
    "{place} {thing} {event}",
    "{actor} \u201c{thing} 문제 해결할 것\u201d",
    "{thing} 두고 {actor} {event}",
    "{date} {thing} 앞두고 {actor} {event}",
    "[속보] {thing} {event}",
    "{actor} {number} 참여한 {thing} {event}",
    "올해 {thing}에 {actor} {number} 참여",
    "{thing}·{other} 함께 {event}",
    "{thing} 왜 지금인가…{event}",
    "{actor:이} 말하는 {thing}의 모든 것",
    "{number} 몰린 {thing}…{event}",
)
_NOISE = 0.05
_BORROWED = 0.22
_SECTION_DIFFERS = 0.19  # 1,700 of the 9,107 real dev rows
_SECTIONS = {"정치": 100, "경제": 101, "사회": 102, "생활문화": 103, "세계": 104, "IT과학": 105}


def _title(pen: Pen, topic: str) -> str:
    things, actors, events = TOPICS[topic]
    actor, event = pen.pick(actors), pen.pick(events)
    if pen.chance(_BORROWED):
        # A word of another topic in the place of one of its own: such titles are truly ambiguous.
        stranger = TOPICS[pen.any_of([other for other in LABELS if other != topic])]
        if pen.chance(0.5):
            actor = pen.pick(stranger[1])
        else:
            event = pen.pick(stranger[2])
    thing, other = pen.two(things)
    return pen.write(
        _TEMPLATES,
        thing=thing,
        other=other,
        actor=actor,
        event=event,
        place=pen.pick(words.CITIES),
        number=f"{pen.between(2, 98)}만명",
        date=f"{pen.between(1, 28)}일",
    )


def _annotations(pen: Pen, label: str) -> dict:
    votes = [label, label, pen.noisy(label, LABELS, 0.3)]
    names = [f"{pen.between(1, 20):02d}" for _ in votes]
    empty = ["해당없음"] * 3
    scopes = {"first-scope": pen.shuffled(votes), "second-scope": empty, "third-scope": empty}
    return {"annotators": names, "annotations": scopes}


def _date(pen: Pen, label: str) -> str:
    date = f"{pen.between(2016, 2020)}.{pen.between(1, 12):02d}.{pen.between(1, 28):02d}"
    if label == "스포츠":
        return f"{date} {pen.between(0, 23):02d}:{pen.between(0, 59):02d}"
    half = pen.any_of(("오전", "오후"))
    return f"{date}. {half} {pen.between(1, 12)}:{pen.between(0, 59):02d}"


def ynat(pen: Pen, part: str, num_rows: int) -> list[dict]:
    """Rows of KLUE ynat as its release writes them."""
    rows = []
    for index, topic in enumerate(balanced(pen, LABELS, num_rows)):
        label = pen.noisy(topic, LABELS, _NOISE)
        number = f"{pen.between(0, 9999999):010d}"
        host = "sports.news.naver.com/news.nhn?"
        if label != "스포츠":
            host = f"news.naver.com/main/read.nhn?mode=LS2D&mid=shm&sid1={_SECTIONS[label]}&"
        rows.append(
            {
                "guid": f"ynat-v1_{part}_{index:05d}",
                "title": _title(pen, topic),
                "predefined_news_category": pen.noisy(label, LABELS, _SECTION_DIFFERS),
                "label": label,
                "annotations": _annotations(pen, label),
                "url": f"https://{host}oid=001&aid={number}",
                "date": _date(pen, label),
            }
        )
    return rows
