"""Words that several parts of the sample world share. All names of people and firms are made up."""

from __future__ import annotations

from ke_t5.sample.pen import Pen

SURNAMES = "김 이 박 최 정 강 조 윤 장 임 한 오 서 신 권 황 안 송 류 홍".split()
GIVEN_NAMES = (
    "민수 지영 현우 서연 도윤 하은 준호 수빈 태희 은지 상민 미란 영호 정아 동현 유진 성훈 가은 "
    "재석 혜린 규민 보라 찬우 나래 병철 소희 기태 다온 용준 세라 원빈 희정 광수 아름 진혁 초롱 "
    "명진 단비 형식 루리 석진 해인 창민 예나 두환 별이 종민 새롬 승기 로운 백호 이안"
).split()
PEN_NAMES = (
    "청운 백송 한뫼 솔빛 달무리 초당 은하수 늘봄 바람골 해오름 나무꾼 별지기 옥계 다산골".split()
)

CITIES = (
    "서울 부산 대구 인천 광주 대전 울산 수원 창원 전주 청주 춘천 강릉 포항 여수 목포 경주 안동 "
    "제주 천안 김해 원주 군산 속초 통영 순천 충주 나주 밀양 공주 이천 파주 양산 서귀포"
).split()
DISTRICTS = (
    "종로구 마포구 강남구 성북구 해운대구 수성구 유성구 연제구 덕진구 남동구 북구 동래구 서초구 "
    "은평구 금천구 중원구 흥덕구"
).split()
COUNTRIES = (
    "미국 일본 중국 독일 프랑스 영국 캐나다 호주 베트남 인도 브라질 이집트 터키 스페인 이탈리아 "
    "멕시코 태국 몽골 핀란드 케냐 칠레"
).split()
MOUNTAINS = "한라산 설악산 지리산 북한산 백두산 무등산 계룡산 오대산 팔공산 덕유산 소백산".split()

FIRM_STEMS = (
    "한빛 누리 가온 미르 다솜 온새 해솔 벼리 라온 두레 참빛 샛별 아라 새론 늘찬 푸름 도담 하람 "
    "소담 나래울 윤슬 여울 가람 다올 바른"
).split()
FIRM_KINDS = (
    "전자 통신 건설 식품 제약 중공업 은행 항공 출판사 엔터테인먼트 반도체 화학 증권 자동차".split()
)
UNIVERSITY_STEMS = "한강 동백 무궁 솔숲 서라벌 탐라 금강 백제 가야 은행나무 매화 영산 동해".split()
SCHOOL_KINDS = "대학교 고등학교 중학교 과학고등학교 예술대학교 여자고등학교".split()
PARTIES = "초록당 미래연합 바른시민당 새물결당 한마음당 평화연대 개혁모임 노을당".split()
ASSOCIATIONS = (
    "전국출판인협회 한국로봇학회 동아시아무역기구 푸른바다연대 국제산림연맹 한국음악인협회 "
    "세계도시연합 전국상인연합회 아시아배구연맹 청년과학자회의"
).split()
RELIGIONS = "불교 천주교 개신교 원불교 이슬람교 유교 힌두교 천도교".split()
TITLES = (
    "대표 사장 교수 장관 감독 시장 의원 기자 변호사 원장 소장 위원장 작가 화가 가수 배우 판사 회장 "
    "이사장 연구원 주장 총장"
).split()
WORKS = (
    "겨울 바다|푸른 언덕|마지막 편지|달의 정원|바람의 노래|은빛 강물|오래된 골목|별이 지는 밤|"
    "여름 소나기|하얀 기차|붉은 노을|그 섬의 아침|유리 계단|새벽 산책|종이배|안개 도시"
).split("|")
PRODUCTS = (
    "누리폰|가온북|아라패드|별빛청소기|하람로봇|미르워치|솔잎음료|다솜라면|푸름세탁기|온새카메라|"
    "해솔스피커|벼리드론|라온전기차|샛별비누"
).split("|")

WEEKDAYS = "월요일 화요일 수요일 목요일 금요일 토요일 일요일".split()


def person(pen: Pen) -> str:
    """A full name; a held-out given name makes it a new one."""
    return pen.any_of(SURNAMES) + pen.pick(GIVEN_NAMES)


def firm(pen: Pen) -> str:
    return pen.pick(FIRM_STEMS) + pen.any_of(FIRM_KINDS)


def school(pen: Pen) -> str:
    return pen.pick(UNIVERSITY_STEMS) + pen.any_of(SCHOOL_KINDS)


def year(pen: Pen) -> str:
    return f"{pen.between(1921, 2020)}년"


def day(pen: Pen) -> str:
    """A day of a month, now and then with its year."""
    date = f"{pen.between(1, 12)}월 {pen.between(1, 28)}일"
    return f"{year(pen)} {date}" if pen.chance(0.4) else date


def clock(pen: Pen) -> str:
    """A time of day in words."""
    half = pen.any_of(("오전", "오후"))
    minutes = f" {pen.between(1, 11) * 5}분" if pen.chance(0.4) else ""
    return f"{half} {pen.between(1, 12)}시{minutes}"
