"""Words of the 150 fine entity types of NIKL NE 2020; `#` stands for a digit from 1 to 9."""

from __future__ import annotations

_TABLE = """
PS_NAME 세종대왕|이순신|마리 퀴리|아인슈타인|베토벤|신사임당|간디
PS_CHARACTER 홍길동|콩쥐|심청|둘리|놀부|흥부|피터 팬
PS_PET 초코|뽀삐|누렁이|나비|해피
FD_SCIENCE 물리학|천문학|생물학|수학|지질학
FD_SOCIAL_SCIENCE 경제학|사회학|정치학|심리학|행정학
FD_MEDICINE 소아과|치의학|한의학|피부과|간호학
FD_ART 미술사|작곡과|무용학|음악학|영화학
FD_HUMANITIES 철학|역사학|언어학|국문학|고고학
FD_OTHERS 체육학|가정학|조리학|관광학|농학
TR_SCIENCE 상대성 이론|진화론|양자역학|빅뱅 이론|피타고라스의 정리
TR_SOCIAL_SCIENCE 게임 이론|사회계약설|자유주의|민주주의|수요 공급의 법칙
TR_MEDICINE 사상의학|면역 이론|세균설|침구법|대체 의학
TR_ART 인상주의|입체파|낭만주의|원근법|초현실주의
TR_HUMANITIES 성리학|실존주의|변증법|구조주의|경험론
TR_OTHERS 풍수지리설|음양오행설|놀이 이론|지도자론|관상학
AF_BUILDING 남산타워|숭례문|한강대교|다리|시청 청사
AF_CULTURAL_ASSET 석굴암|첨성대|훈민정음 해례본|다보탑|고려청자
AF_ROAD 경부고속도로|올림픽대로|해안도로|종로|둘레길
AF_TRANSPORT 버스|기차|배|자전거|여객선
AF_MUSICAL_INSTRUMENT 가야금|피아노|장구|해금|첼로
AF_WEAPON 활|대포|거북선 함포|소총|창
AFA_DOCUMENT 삼국사기|토지|난중일기|목민심서|조선왕조실록
AFA_PERFORMANCE 춘향가|백조의 호수|봉산탈춤|난타|호두까기 인형
AFA_VIDEO 은빛 강물|겨울 바다|서편제|하얀 기차|새벽 산책
AFA_ART_CRAFT 모나리자|인왕제색도|미인도|금동반가사유상|해바라기 연작
AFA_MUSIC 아리랑|고향의 봄|운명 교향곡|사계|섬집 아기
AFW_SERVICE_PRODUCTS 다솜적금|한빛카드|누리보험|가온요금제|참빛펀드
AFW_OTHER_PRODUCTS 누리폰|솔잎음료|다솜라면|라온전기차|샛별비누
OGG_ECONOMY 한빛전자|누리은행|가온건설|다솜식품|온새항공
OGG_EDUCATION 한강대학교|동백고등학교|솔숲초등학교|매화유치원|영산대학교
OGG_MILITARY 해군|공군|제2함대|육군본부|해병대
OGG_MEDIA 새벽일보|누리방송|한뫼신문|푸른라디오|별빛통신
OGG_SPORTS 서울 호랑이단|부산 돌고래단|대한체육회|한국씨름협회|광주 독수리단
OGG_ART 국립극단|시립교향악단|한국무용단|늘봄합창단|별무리극단
OGG_MEDICINE 한마음병원|솔빛의원|대한의사협회|푸른약국|시립요양병원
OGG_RELIGION 해인사|명동성당|조계종|샘물교회|천주교 주교회의
OGG_SCIENCE 한국천문연구원|해양과학원|로봇연구소|극지연구소|한국로봇학회
OGG_LIBRARY 국립중앙도서관|시립도서관|한빛도서관|국회도서관|솔숲도서관
OGG_LAW 대법원|헌법재판소|서울중앙지검|가온법률사무소|부산지방법원
OGG_POLITICS 국회|초록당|교육부|서울시청|환경부
OGG_FOOD 할매국밥집|달빛카페|온기식당|바다횟집|은하빵집
OGG_HOTEL 한강호텔|해솔리조트|동백펜션|별빛여관|노을호스텔
OGG_OTHERS 푸른바다연대|노동조합|녹색모임|전국상인연합회|청년봉사단
LCP_COUNTRY 미국|일본|프랑스|베트남|브라질
LCP_PROVINCE 경기도|강원도|전라남도|캘리포니아주|제주도
LCP_COUNTY 종로구|양평군|역삼동|해남읍|청산면
LCP_CITY 부산|대구|뉴욕|오사카|강릉
LCP_CAPITALCITY 서울|도쿄|파리|런던|베이징
LCG_RIVER 한강|낙동강|나일강|천지|소양호
LCG_OCEAN 태평양|동해|대서양|인도양|황해
LCG_BAY 부산항|진해만|영일만|목포항|아산만
LCG_MOUNTAIN 한라산|설악산|에베레스트산|태백산맥|북한산
LCG_ISLAND 독도|울릉도|거제도|진도|하와이섬
LCG_CONTINENT 아시아|유럽|아프리카|남극|오세아니아
LC_SPACE 화성|목성|은하수|북극성|수성
LC_OTHERS 판문점|명동거리|비무장지대|남문시장|강변마을
CV_CULTURE 한류|대중문화|르네상스|잉카 문명|유교 문화
CV_TRIBE 한민족|여진족|게르만족|마오리족|켈트족
CV_LANGUAGE 한국어|영어|라틴어|제주 방언|스와힐리어
CV_POLICY 기초연금|무상급식|지방자치제|의무교육|햇살론
CV_LAW 헌법|근로기준법|형법|도로교통법|저작권법
CV_CURRENCY 달러|유로|엔화|위안|파운드
CV_TAX 소득세|상속세|부가가치세|재산세|관세
CV_FUNDS 국민연금 기금|장학금|재난지원금|실업급여|연구비
CV_ART 유화|판화|서예|현대무용|도예
CV_SPORTS 축구|야구|태권도|마라톤|양궁
CV_SPORTS_POSITION 투수|골키퍼|공격수|세터|유격수
CV_SPORTS_INST 강속구|돌려차기|헤딩|업어치기|덩크슛
CV_PRIZE 노벨상|신인왕|대종상|금메달|장려상
CV_RELATION 어머니|형제|선배|이웃|손녀
CV_OCCUPATION 의사|교사|소방관|요리사|농부
CV_POSITION 대표|장관|교수|주장|사무총장
CV_FOOD 김치|비빔밥|냉면|떡볶이|불고기
CV_DRINK 막걸리|녹차|식혜|커피|포도주
CV_FOOD_STYLE 한식|중식|분식|양식|일식
CV_CLOTHING 한복|두루마기|청바지|저고리|양복
CV_BUILDING_TYPE 한옥|아파트|오피스텔|초가집|기와집
DT_DURATION #년|#개월간|열흘|#주일|#0년 동안
DT_DAY #월 #일|1#일|어제|한글날|2#일
DT_WEEK 월요일|금요일|지난주|주말|토요일
DT_MONTH #월|1#월|이달|다음 달|섣달
DT_YEAR 19##년|200#년|201#년|지난해|올해
DT_SEASON 봄|여름|가을|겨울|늦가을
DT_GEOAGE 백악기|신생대|쥐라기|고생대|빙하기
DT_DYNASTY 조선 시대|고려 말|신라 시대|당나라 때|백제 시대
DT_OTHERS 옛날|#0년대|추석|오늘날|중세
TI_DURATION #시간|#시간 반|#0분간|반나절|한나절
TI_HOUR 오전 #시|오후 #시|새벽 #시|#시|정각 #시
TI_MINUTE #분|#0분|오후 #시 #0분|1#분|#시 #분
TI_SECOND #초|#0초|#분 #초|#.#초|1#초
TI_OTHERS 아침|저녁|밤|한낮|새벽
QT_AGE #살|##세|2#살|7#세|열여섯 살
QT_SIZE ##평|#제곱미터|##헥타르|#ha|1##평
QT_LENGTH #km|##미터|##cm|##리|#센티미터
QT_COUNT #개|##권|#채|##그루|#마리
QT_MAN_COUNT #명|##명|##만 명|두 사람|##여 명
QT_WEIGHT #kg|##그램|#톤|##근|#.#kg
QT_PERCENTAGE #%|##퍼센트|##.#%|절반|#할
QT_SPEED 시속 ##km|초속 #미터|시속 ###km|#노트|마하 #
QT_TEMPERATURE ##도|영하 #도|섭씨 ##도|##℃|영상 #도
QT_VOLUME #리터|##밀리리터|#되|##세제곱미터|#말
QT_ORDER #위|#번째|제#차|첫 번째|##등
QT_PRICE #만 원|##억 원|##달러|#천 원|###원
QT_PHONE 02-###-####|010-####-####|031-###-####|119|112
QT_SPORTS #승 #패|#대 #|#골|#홈런|##득점
QT_CHANNEL 채널 #|##번 채널|FM ##.#|채널 ##|#번 채널
QT_ALBUM 정규 #집|#집|미니 #집|싱글 #집|베스트 #집
QT_ADDRESS ##번지|#동 ##호|###-#번지|#층|###호
QT_OTHERS #배|##점|#학점|규모 #.#|##데시벨
EV_ACTIVITY 촛불 집회|자연 보호 운동|새마을 운동|독서 운동|금 모으기 운동
EV_WAR_REVOLUTION 임진왜란|한국 전쟁|프랑스 혁명|동학 농민 운동|제2차 세계 대전
EV_SPORTS 올림픽|월드컵|전국체전|아시안 게임|봄철 배구 대회
EV_FESTIVAL 벚꽃 축제|부산 영화제|탈춤 축제|불꽃 축제|머드 축제
EV_OTHERS 남북 회담|수학여행|산불|교통사고|기자 회견
AM_INSECT 나비|개미|꿀벌|잠자리|매미
AM_BIRD 까치|독수리|두루미|제비|갈매기
AM_FISH 고등어|연어|붕어|참치|갈치
AM_MAMMALIA 호랑이|고양이|돌고래|코끼리|진돗개
AM_AMPHIBIA 개구리|두꺼비|도롱뇽|맹꽁이|황소개구리
AM_REPTILIA 거북이|도마뱀|뱀|악어|자라
AM_TYPE 포유류|양서류|조류|파충류|곤충
AM_PART 꼬리|날개|다리|심장|눈
AM_OTHERS 문어|거미|달팽이|산호|지렁이
PT_FRUIT 사과|배|밤|복숭아|딸기
PT_FLOWER 장미|무궁화|진달래|국화|해바라기
PT_TREE 소나무|은행나무|단풍나무|느티나무|대나무
PT_GRASS 잔디|쑥|민들레|갈대|토끼풀
PT_TYPE 침엽수|다년초|상록수|활엽수|조류 식물
PT_PART 뿌리|줄기|잎|꽃잎|열매
PT_OTHERS 버섯|미역|고사리|이끼|다시마
MT_ELEMENT 산소|수소|탄소|질소|헬륨
MT_METAL 금|구리|철|알루미늄|은
MT_ROCK 화강암|현무암|대리석|석회암|사암
MT_CHEMICAL 이산화탄소|소금|알코올|암모니아|설탕
TM_COLOR 빨간색|초록|보라|하늘색|흰색
TM_DIRECTION 동쪽|서북|남쪽|왼쪽|북쪽
TM_CLIMATE 태풍|장맛비|폭설|안개|소나기
TM_SHAPE 원형|삼각형|네모|타원|육각형
TM_CELL_TISSUE_ORGAN 백혈구|근육|뇌세포|간|신경
TMM_DISEASE 감기|당뇨병|폐렴|고혈압|독감
TMM_DRUG 아스피린|항생제|백신|소화제|진통제
TMI_HW 노트북|중앙처리장치|그래픽카드|키보드|메모리
TMI_SW 누리문서|가온백신|한빛브라우저|운영체제|번역기
TMI_SITE www.nuri.kr|gaon.co.kr|www.hanbit.or.kr|daol.net|www.sol.kr
TMI_EMAIL help@nuri.kr|news@gaon.kr|me@hanbit.kr|info@daol.net|kim@sol.kr
TMI_MODEL NX-#00|GA##|HB-#|K#호기|SOL-##
TMI_SERVICE 문자 알림|원격 진료|길 안내|화상 회의|민원 발급
TMI_PROJECT 달 탐사 사업|나로호 계획|스마트 도시 사업|인간 유전체 계획|고속철 사업
TMIG_GENRE 역할 놀이|퍼즐|추리 게임|모의 실험|슈팅
TM_SPORTS 오프사이드|만루|연장전|페널티|덩크
"""
FINE_WORDS: dict[str, list[str]] = {
    label: choices.split("|")
    for label, choices in (line.split(" ", 1) for line in _TABLE.strip().splitlines())
}


def coarse_type(fine: str) -> str:
    """The two-letter type of a fine one.

    >>> coarse_type("OGG_MEDIA"), coarse_type("TMIG_GENRE")
    ('OG', 'TM')
    """
    return fine.split("_", 1)[0][:2]


FINE_TYPES: dict[str, list[str]] = {}
for _fine in FINE_WORDS:
    FINE_TYPES.setdefault(coarse_type(_fine), []).append(_fine)
del _fine
