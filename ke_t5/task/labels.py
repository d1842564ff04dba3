"""The labels of every benchmark in the order of their ids, with the source of that order.

A model's ids are meaningless without this order, and benchmarks have been published with different
ones: each constant names its source. `HUB` is the class order of the copy on the hub.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from ke_t5.class_numbers import ClassNumber
from ke_t5.composition import compose
from ke_t5.task.contest import EMOTIONS, INSULTING, MEANT


@dataclass(frozen=True)
class Labels:
    """The classes of one task; the position of a class is its id.

    Args:
        names: id -> name, as exported to `id2label`.
        keys: id -> value in the rows' label column; a text stands for the number or truth value of
            that spelling too ("1" for 1 and 1.0, "True" for True); default: the names.
        words: id -> target text of the generative form; default: the names.
        glosses: id -> English name, for Korean names.

    Raises:
        ValueError: the arguments differ in length, or a name, key or word is repeated.

    >>> sentiment = Labels(("negative", "positive"), keys=("0", "1"))
    >>> sentiment.id_of("1"), sentiment.id_of(None)
    (1, None)
    """

    names: tuple[str, ...]
    keys: tuple[Hashable, ...] = ()
    words: tuple[str, ...] = ()
    glosses: tuple[str, ...] | None = None
    _ids: dict[Hashable, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for column in ("names", "keys", "words"):
            values = tuple(getattr(self, column)) or tuple(self.names)
            # Rows are normalized to NFC when they are read, and so are labels.
            values = tuple(compose(v) if isinstance(v, str) else v for v in values)
            object.__setattr__(self, column, values)
        for column in ("names", "keys", "words", "glosses"):
            values: tuple | None = getattr(self, column)
            if values is None:
                continue
            if len(values) != len(self.names):
                raise ValueError(f"{column}: got {len(values)}, expected {len(self.names)}")
            if column != "glosses" and len(set(values)) != len(values):
                raise ValueError(f"{column}: repeated value in {values}")
        # Exact keys win over their text forms.
        ids: dict[Hashable, int] = {}
        for i, key in [*enumerate(self.keys), *enumerate(map(str, self.keys))]:
            ids.setdefault(key, i)
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, key: Hashable | None) -> int | None:
        """The id of a row's label; None for an unlabelled row (None, or a class number below 0).

        >>> Labels(("no", "yes"), keys=("0", "1")).id_of(1.0)
        1
        >>> Labels(("no", "yes"), keys=("False", "True")).id_of(True)
        1
        >>> Labels(("no", "yes")).id_of(ClassNumber(0, "yes"))
        1

        Raises:
            KeyError: `key` is not one of the labels; callers add the row.
        """
        if key is None:
            return None
        if isinstance(key, ClassNumber):
            if key < 0:
                return None
            # The name decides: a data set may number its classes in another order.
            by_name: dict[Hashable, int] = {name: i for i, name in enumerate(self.names)}
            for ids in (self._ids, by_name):
                if key.name in ids:
                    return ids[key.name]
        if key not in self._ids and isinstance(key, int | float) and math.isfinite(key):
            spellings = [str(key), *([str(int(key))] if key == int(key) else [])]
            key = next((text for text in spellings if text in self._ids), key)
        return self._ids[key]


def iob2(types: Iterable[str], *, outside_first: bool = True) -> tuple[str, ...]:
    """The IOB2 tags of the entity types: B- and I- of each type, with O first or last.

    >>> iob2(["PS", "LC"])
    ('O', 'B-PS', 'I-PS', 'B-LC', 'I-LC')
    """
    tags = tuple(f"{prefix}-{kind}" for kind in types for prefix in "BI")
    return ("O", *tags) if outside_first else (*tags, "O")


# KLUE YNAT. HUB order (sorted); the official baseline has a different one, see submission.py.
# "해당없음" is an option of the annotators, not a class of the released labels.
KLUE_TC = Labels(
    ("IT과학", "경제", "사회", "생활문화", "세계", "스포츠", "정치"),
    glosses=("IT/science", "economy", "society", "culture", "world", "sports", "politics"),
)

# KLUE-NLI. HUB order since its second version; the first and the official baseline have
# contradiction before neutral. KorNLI's order on the hub is the same.
KLUE_NLI = Labels(("entailment", "neutral", "contradiction"))
KORNLI = Labels(("entailment", "neutral", "contradiction"))

# KLUE-STS binary-label: 1 exactly if real-label >= 3 (519 of 519 dev pairs). HUB order.
KLUE_STS_BINARY = Labels(("negative", "positive"), keys=("0", "1"))

# KLUE-RE: the order of relation_list.json in the release, which is the HUB order.
KLUE_RE = Labels(
    tuple(
        """
        no_relation org:dissolved org:founded org:place_of_headquarters
        org:alternate_names org:member_of org:members
        org:political/religious_affiliation org:product org:founded_by
        org:top_members/employees org:number_of_employees/members per:date_of_birth
        per:date_of_death per:place_of_birth per:place_of_death per:place_of_residence
        per:origin per:employee_of per:schools_attended per:alternate_names per:parents
        per:children per:siblings per:spouse per:other_family per:colleagues per:product
        per:religion per:title
        """.split()
    )
)

# KLUE-NER, tags of characters. HUB order: types by name and O last (id 12). The official
# baseline's order is PS, LC, OG, DT, TI, QT; no score depends on it.
KLUE_NER_TYPES = ("DT", "LC", "OG", "PS", "QT", "TI")
KLUE_NER = Labels(iob2(KLUE_NER_TYPES, outside_first=False))

# KLUE-DP relations in the order of the official baseline (klue_baseline/data/klue_dp.py). The order
# matters: the official LAS merges everything from index 15 (VP_CMP) on. The last name is the
# baseline's own slip for NP_SBJ and never occurs.
KLUE_DP = Labels(
    tuple(
        """
        NP NP_AJT VP NP_SBJ VP_MOD NP_OBJ AP NP_CNJ NP_MOD VNP DP VP_AJT VNP_MOD NP_CMP
        VP_SBJ VP_CMP VP_OBJ VNP_CMP AP_MOD X_AJT VP_CNJ VNP_AJT IP X X_SBJ VNP_OBJ
        VNP_SBJ X_OBJ AP_AJT L X_MOD X_CNJ VNP_CNJ X_CMP AP_CMP AP_SBJ R NP_SVJ
        """.split()
    )
)
KLUE_DP_FIRST_RARE = 15

# Universal Dependencies 2: relations without subtypes, and parts of speech, by name.
UD_RELATIONS = Labels(
    tuple(
        """
        acl advcl advmod amod appos aux case cc ccomp clf compound conj cop csubj dep det discourse
        dislocated expl fixed flat goeswith iobj list mark nmod nsubj nummod obj obl orphan
        parataxis punct reparandum root vocative xcomp
        """.split()
    )
)
UD_POS = Labels(
    iob2(
        """
        ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X
        """.split()
    )
)

# 3i4K: file labels 0..6, names from the authors' README. The last target word keeps the spelling of
# the hub's class names and of the earlier KE-T5 tasks, which existing models generate.
KOR_3I4K = Labels(
    (
        "fragment",
        "statement",
        "question",
        "command",
        "rhetorical question",
        "rhetorical command",
        "intonation-dependent utterance",
    ),
    keys=tuple("0123456"),
    words=(
        "fragment",
        "statement",
        "question",
        "command",
        "rhetorical question",
        "rhetorical command",
        "intonation-depedent utterance",
    ),
)

# NSMC: 0 for ratings 1-4, 1 for ratings 9-10 (the authors' README); HUB names.
NSMC = Labels(("negative", "positive"), keys=("0", "1"))

# NIKL CoLA 1.0: column acceptability_label; names of the KETI reader.
NIKL_COLA = Labels(("unacceptable", "acceptable"), keys=("0", "1"))

# Korean hate speech, columns `hate`, `bias` and `contain_gender_bias`: order of the hub's classes.
KHSD = Labels(("hate", "offensive", "none"))
KHSD_BIAS = Labels(("gender", "others", "none"))
KHSD_GENDER = Labels(("False", "True"))

# APEACH: the hub's classes. KOLD: column `OFF`. K-HATERS: from the mildest to the worst.
APEACH = Labels(("Default", "Spoiled"))
KOLD = Labels(("not offensive", "offensive"), keys=("False", "True"))
KHATERS = Labels(("normal", "offensive", "L1_hate", "L2_hate"))

# KorFin-ASC, column `sentiment`.
KORFIN = Labels(("NEGATIVE", "NEUTRAL", "POSITIVE"))

# PAWS-X: 1 is a paraphrase (the authors' README).
PAWS_X = Labels(("different", "paraphrase"), keys=("0", "1"))

# KoBEST BoolQ and WiC: truth values; SentiNeg: 1 is positive (the authors' README).
KOBEST_TRUTH = Labels(("False", "True"), keys=("0", "1"))
KOBEST_SENTIMENT = Labels(("negative", "positive"), keys=("0", "1"))

# K-MHaS: file labels 0..8 in the order of the authors' README; the last excludes the others.
KMHAS = Labels(
    tuple(
        "출신차별 외모차별 정치성향차별 혐오욕설 연령차별 성차별 인종차별 종교차별 "
        "해당사항없음".split()
    ),
    keys=tuple("012345678"),
    glosses=(
        "origin", "physical", "politics", "profanity", "age", "gender", "race", "religion",
        "not hate speech",
    ),
)  # fmt: skip

# KOTE: file labels 0..43 in the order of the authors' README, whose spelling is kept.
KOTE = Labels(
    tuple(
        """
        불평/불만 환영/호의 감동/감탄 지긋지긋 고마움 슬픔 화남/분노 존경 기대감 우쭐댐/무시함
        안타까움/실망 비장함 의심/불신 뿌듯함 편안/쾌적 신기함/관심 아껴주는 부끄러움 공포/무서움
        절망 한심함 역겨움/징그러움 짜증 어이없음 없음 패배/자기혐오 귀찮음 힘듦/지침 즐거움/신남
        깨달음 죄책감 증오/혐오 흐뭇함(귀여움/예쁨) 당황/난처 경악 부담/안_내킴 서러움 재미없음
        불쌍함/연민 놀람 행복 불안/걱정 기쁨 안심/신뢰
        """.split()
    ),
    keys=tuple(map(str, range(44))),
    glosses=(
        "complaint", "welcome", "admiration", "fed up", "gratitude", "sadness", "anger", "respect",
        "expectancy", "condescension", "disappointment", "resolution", "distrust", "pride",
        "comfort", "interest", "care", "embarrassment", "fear", "despair", "pathetic", "disgust",
        "irritation", "preposterous", "no emotion", "self-hatred", "laziness", "exhaustion",
        "excitement", "realization", "guilt", "hatred", "fondness", "perplexity", "shock",
        "reluctance", "sorrow", "boredom", "compassion", "surprise", "happiness", "anxiety", "joy",
        "relief",
    ),
)  # fmt: skip

# Question pairs: 0 = duplicated, 1 = not_duplicate, although the column is called is_duplicate.
QPAIR = Labels(("duplicated", "not_duplicate"), keys=("0", "1"))

# NIKL NE 1.0 (2019): 15 types, IOB2 order of the earlier KE-T5 tasks, O first.
NIKL_NER_TYPES = tuple("PS LC OG DT TI QT AF CV AM PT FD TR EV MT TM".split())
NIKL_NER = Labels(iob2(NIKL_NER_TYPES))
NIKL_MENTION = Labels(iob2(("MENTION",)))  # coreference


def _fine_types(table: str) -> tuple[str, ...]:
    """("GROUP_A", "GROUP_B") from lines `GROUP: A B`; an indented line continues its group."""
    types, group = [], ""
    for word in table.split():
        if word.endswith(":"):
            group = word[:-1]
        else:
            types.append(f"{group}_{word}")
    return tuple(types)


# NIKL NE 2020: 150 fine types in the order of the KETI readers (Korean-Copora, nikl.py), equal to
# the official tag set. The first two letters are the type of 2019.
NIKL_NER2020_TYPES = _fine_types(
    """
    PS: NAME CHARACTER PET
    FD: SCIENCE SOCIAL_SCIENCE MEDICINE ART HUMANITIES OTHERS
    TR: SCIENCE SOCIAL_SCIENCE MEDICINE ART HUMANITIES OTHERS
    AF: BUILDING CULTURAL_ASSET ROAD TRANSPORT MUSICAL_INSTRUMENT WEAPON
    AFA: DOCUMENT PERFORMANCE VIDEO ART_CRAFT MUSIC
    AFW: SERVICE_PRODUCTS OTHER_PRODUCTS
    OGG: ECONOMY EDUCATION MILITARY MEDIA SPORTS ART MEDICINE RELIGION SCIENCE LIBRARY LAW
        POLITICS FOOD HOTEL OTHERS
    LCP: COUNTRY PROVINCE COUNTY CITY CAPITALCITY
    LCG: RIVER OCEAN BAY MOUNTAIN ISLAND CONTINENT
    LC: SPACE OTHERS
    CV: CULTURE TRIBE LANGUAGE POLICY LAW CURRENCY TAX FUNDS ART SPORTS SPORTS_POSITION
        SPORTS_INST PRIZE RELATION OCCUPATION POSITION FOOD DRINK FOOD_STYLE CLOTHING
        BUILDING_TYPE
    DT: DURATION DAY WEEK MONTH YEAR SEASON GEOAGE DYNASTY OTHERS
    TI: DURATION HOUR MINUTE SECOND OTHERS
    QT: AGE SIZE LENGTH COUNT MAN_COUNT WEIGHT PERCENTAGE SPEED TEMPERATURE VOLUME ORDER
        PRICE PHONE SPORTS CHANNEL ALBUM ADDRESS OTHERS
    EV: ACTIVITY WAR_REVOLUTION SPORTS FESTIVAL OTHERS
    AM: INSECT BIRD FISH MAMMALIA AMPHIBIA REPTILIA TYPE PART OTHERS
    PT: FRUIT FLOWER TREE GRASS TYPE PART OTHERS
    MT: ELEMENT METAL ROCK CHEMICAL
    TM: COLOR DIRECTION CLIMATE SHAPE CELL_TISSUE_ORGAN
    TMM: DISEASE DRUG
    TMI: HW SW SITE EMAIL MODEL SERVICE PROJECT
    TMIG: GENRE
    TM: SPORTS
    """
)
NIKL_NER2020 = Labels(iob2(NIKL_NER2020_TYPES))

# NAVER NLP Challenge 2018: 14 types in the order of its description.
NAVER_NER = Labels(iob2("PER FLD AFW ORG LOC CVL DAT TIM NUM EVT ANM PLT MAT TRM".split()))

# MASSIVE: 60 intents and 55 slots, sorted by name.
MASSIVE_INTENTS = Labels(
    tuple(
        """
        alarm_query alarm_remove alarm_set audio_volume_down audio_volume_mute audio_volume_other
        audio_volume_up calendar_query calendar_remove calendar_set cooking_query cooking_recipe
        datetime_convert datetime_query email_addcontact email_query email_querycontact
        email_sendemail general_greet general_joke general_quirky iot_cleaning iot_coffee
        iot_hue_lightchange iot_hue_lightdim iot_hue_lightoff iot_hue_lighton iot_hue_lightup
        iot_wemo_off iot_wemo_on lists_createoradd lists_query lists_remove music_dislikeness
        music_likeness music_query music_settings news_query play_audiobook play_game play_music
        play_podcasts play_radio qa_currency qa_definition qa_factoid qa_maths qa_stock
        recommendation_events recommendation_locations recommendation_movies social_post
        social_query takeaway_order takeaway_query transport_query transport_taxi transport_ticket
        transport_traffic weather_query
        """.split()
    )
)
MASSIVE_SLOTS = Labels(
    iob2(
        """
        alarm_type app_name artist_name audiobook_author audiobook_name business_name business_type
        change_amount coffee_type color_type cooking_type currency_name date definition_word
        device_type drink_type email_address email_folder event_name food_type game_name game_type
        general_frequency house_place ingredient joke_type list_name meal_type media_type movie_name
        movie_type music_album music_descriptor music_genre news_topic order_type person
        personal_info place_name player_setting playlist_name podcast_descriptor podcast_name
        radio_name relation song_name sport_type time time_zone timeofday transport_agency
        transport_descriptor transport_name transport_type weather_descriptor
        """.split()
    )
)

# NIKL's contest (nikluge): eight emotions in the order of the files, insults as 0 and 1, the
# intention of improper utterances, and every combination of entity, aspect and polarity.
NIKLUGE_EMOTIONS = Labels(EMOTIONS)
NIKLUGE_INSULTS = Labels(INSULTING, keys=("0", "1"))
NIKLUGE_MEANT = Labels(MEANT, keys=("NEGATIVE", "POSITIVE"))
NIKLUGE_ASPECTS = Labels(
    tuple(
        f"{entity}#{aspect}#{polarity}"
        for entity in ("제품 전체", "본품", "패키지/구성품", "브랜드")
        for aspect in ("일반", "가격", "디자인", "품질", "편의성", "다양성", "인지도")
        for polarity in ("positive", "neutral", "negative")
    )
)
