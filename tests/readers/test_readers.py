"""All releases: the real files if they are next to the checkout, otherwise small imitations."""

import logging
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support.releases import put

from ke_t5.readers import (
    conllu,
    klue,
    kobest,
    kor_corpora,
    korquad,
    korquad2,
    label_sets,
    naver_ner,
    nikl,
    nikl_cr,
    nikluge,
    public_tables,
)
from ke_t5.readers.release import Release

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"

RELEASES = {
    release.name: release
    for module in (
        conllu,
        klue,
        kobest,
        korquad,
        korquad2,
        kor_corpora,
        label_sets,
        naver_ner,
        nikl,
        nikl_cr,
        nikluge,
        public_tables,
    )  # fmt: skip
    for release in vars(module).values()
    if isinstance(release, Release)
}

REAL_COUNTS = {
    "klue_ynat": {"train": 36547, "validation": 9107},
    "klue_sts": {"train": 11668, "validation": 519},
    "klue_nli": {"train": 24998, "validation": 3000},
    "klue_ner": {"train": 5000, "validation": 5000},
    "klue_re": {"train": 3247, "validation": 7765},
    "klue_dp": {"validation": 2000},
    "klue_mrc": {"validation": 1350},
    "klue_wos": {"validation": 5076},
    "korquad": {"validation": 5774},
    "kor_3i4k": {"train": 49622, "validation": 5512, "test": 6121},
    "nsmc": {"train": 5000, "test": 50000},
    "kornli": {"validation": 2490},
    "korsts": {"train": 5749, "validation": 1500},
    "khsd": {"train": 7896, "validation": 471},
    "qpair": {"train": 6136, "validation": 682},
    "kobest_boolq": {"train": 3665, "validation": 700, "test": 1404},
    "kobest_copa": {"train": 3076, "validation": 500, "test": 1000},
    "kobest_hellaswag": {"train": 2029, "validation": 500},
    "kobest_sentineg": {"train": 3649, "validation": 400},
    "kobest_wic": {"train": 3318, "validation": 610},
    "kmhas": {"validation": 8776},
    "kote": {"validation": 5000},
    "sae4k": {"train": 30837},
    "ud_ko_gsd": {"validation": 950, "test": 989},
    "ud_ko_kaist": {"validation": 2066},
    "nikl_ne2020": {"train": 5000},
    "nikl_ne2020_split": {"train": 3982, "validation": 522, "test": 496},
}
SMALL_COUNTS = {
    "klue_ner": {"train": 2},
    "kor_3i4k": {"train": 2, "validation": 1},
    "nsmc": {"test": 2},
    "nikl_ne": {"train": 1},
    "nikl_ne_split": {"train": 1, "validation": 0, "test": 0},
}


def small_releases(folder: Path) -> Path:
    put(
        folder,
        "klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_train.tsv",
        "## 주석 : ##\r\n## klue-ner-v1_train_00000_nsmc\t<강:LC> 끝\r\n강\tB-LC\r\n \tO\r\n끝\tO"
        "\r\n\r\n## klue-ner-v1_train_01212_nsmc\t가\r\n가\tO\r\n \tO",
    )
    put(folder, "3i4k/train_val_test/fci_train_val.txt", '0\t만화\r\n2\t뭐 "해\r\n1\t갔어')
    put(folder, "NSMC/ratings_test.txt", '\ufeffid\tdocument\tlabel\n1\t"굳\t1\n2\t\t0')
    sentence = {"id": "NWRW1800000029.315.1.1", "form": "강릉", "word": [], "NE": []}
    document = {"id": "NWRW1800000029.315", "sentence": [sentence]}
    return put(folder, "NIKL/v1.0/NE/NXNE1902008030.json", {"document": [document]})


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return REAL if REAL.is_dir() else small_releases(tmp_path_factory.mktemp("data"))


def conforms(value: object, kind: object) -> bool:
    """Whether a value has a column's declared type; None always does."""
    if value is None:
        return True
    if isinstance(kind, list):
        return isinstance(value, list) and all(conforms(item, kind[0]) for item in value)
    if isinstance(kind, dict):
        return set(value) == set(kind) and all(conforms(value[key], kind[key]) for key in kind)
    return type(value) is {"string": str, "int32": int, "float64": float, "bool": bool}[kind]


def test_every_split_has_its_rows_of_the_declared_types(data_dir):
    counts = {}
    for name, release in RELEASES.items():
        for split, raw in release.find(data_dir).items():
            assert all(path.is_file() for path in raw.files)
            num_rows = 0
            for row in raw.rows():
                num_rows += 1
                assert conforms(row, release.columns), (name, split, row)
            counts.setdefault(name, {})[split] = num_rows
    assert counts == (REAL_COUNTS if data_dir == REAL else SMALL_COUNTS)


def test_one_training_sentence_of_ner_differs_from_its_comment(data_dir, caplog):
    with caplog.at_level(logging.INFO):
        for raw in klue.NER.find(data_dir).values():
            list(raw.rows())
    (message,) = caplog.messages
    path = "klue_benchmark/klue-ner-v1.1/klue-ner-v1.1_train.tsv"
    assert message == (
        f"{data_dir}/{path}: the characters of 1 sentence differ from the comment "
        "(first: klue-ner-v1_train_01212_nsmc)"
    )


def test_labels_come_in_the_known_numbers(data_dir):
    def shares(release, split, column="label"):
        return Counter(row[column] for row in release.find(data_dir)[split].rows())

    if data_dir != REAL:
        assert shares(kor_corpora.KOR_3I4K, "train") == {"0": 1, "2": 1}
        return
    assert shares(klue.YNAT, "validation") == {
        "사회": 3701,
        "생활문화": 1369,
        "경제": 1348,
        "세계": 835,
        "정치": 722,
        "스포츠": 578,
        "IT과학": 554,
    }
    assert shares(klue.STS, "validation", "binary_label") == {"0": 299, "1": 220}
    entailed = {"entailment": 8561, "contradiction": 8489, "neutral": 7948}
    assert shares(klue.NLI, "train") == entailed
    assert shares(klue.RE, "validation")["no_relation"] == 4631
    assert sum(shares(klue.MRC, "validation", "is_impossible").values()) == 1350
    assert shares(klue.MRC, "validation", "is_impossible")[True] == 420
    tests = dict(zip("0123456", (600, 1830, 1786, 1296, 174, 108, 327), strict=True))
    assert shares(kor_corpora.KOR_3I4K, "test") == tests
    both = shares(kor_corpora.KOR_3I4K, "train") + shares(kor_corpora.KOR_3I4K, "validation")
    trains = dict(zip("0123456", (5409, 16470, 16083, 11672, 1571, 979, 2950), strict=True))
    assert both == trains
    assert shares(kor_corpora.NSMC, "test") == {"1": 25173, "0": 24827}
    assert shares(kor_corpora.NSMC, "test", "text")[""] == 3


def test_entities_of_ner_come_in_the_known_numbers(data_dir):
    split = "validation" if data_dir == REAL else "train"
    counts = Counter(
        tag[2:]
        for row in klue.NER.find(data_dir)[split].rows()
        for tag in row["tags"]
        if tag.startswith("B-")
    )
    known = {"PS": 4418, "QT": 3151, "DT": 2312, "OG": 2182, "LC": 1649, "TI": 545}
    assert counts == (known if data_dir == REAL else {"LC": 1})


def test_reading_can_be_handed_to_another_process(data_dir):
    for release in RELEASES.values():
        for raw in release.find(data_dir).values():
            copied = pickle.loads(pickle.dumps(raw))
            assert next(copied.rows(), None) == next(raw.rows(), None)


@pytest.mark.parametrize("name", RELEASES)
def test_releases_say_where_they_are_had(name):
    release = RELEASES[name]
    assert release.group is None or release.group in release.columns
    assert release.layout and release.home.startswith("https://") and release.licence
    if release.hub is not None:
        assert "/" in release.hub.path  # the hub refuses names without a namespace
        assert set(release.hub.splits) <= {"train", "validation", "test"}


def test_names_are_the_known_ones():
    assert sorted(RELEASES) == [
        "apeach",
        "khaters",
        *("khsd", "klue_dp", "klue_mrc", "klue_ner", "klue_nli", "klue_re", "klue_sts"),
        *("klue_wos", "klue_ynat", "kmhas", "kobest_boolq", "kobest_copa", "kobest_hellaswag"),
        *("kobest_sentineg", "kobest_wic", "kold", "kor_3i4k", "korfin_asc", "kornli"),
        *("korquad", "korquad2", "korsts", "kote", "massive_ko", "naver_ner"),
        "nikl_cola",
        *("nikl_cr_antecedents", "nikl_cr_documents", "nikl_cr_mentions"),
        *("nikl_ne", "nikl_ne2020", "nikl_ne2020_split", "nikl_ne_split"),
        *("nikl_summary_summary", "nikl_summary_summary_split"),
        *("nikl_summary_topic", "nikl_summary_topic_split"),
        *("nikluge_au", "nikluge_cci", "nikluge_dcs", "nikluge_ea", "nikluge_gtps"),
        *("nikluge_iau", "nikluge_nli", "nikluge_sa", "nikluge_sc", "nsmc"),
        *("paws_x_ko", "qpair", "sae4k", "ud_ko_gsd", "ud_ko_kaist", "ud_ko_ksl"),
    ]


def test_readers_import_nothing_heavy():
    code = (
        "import sys; from ke_t5.readers import klue, korquad, kor_corpora, nikl; "
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy'}; "
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, timeout=60).returncode == 0
