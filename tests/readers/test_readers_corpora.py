"""3i4K, NSMC, KorNLI, KorSTS, KHSD, QPair: rows from files and from the hub, and refusals."""

import pytest
from support.releases import hub_rows, put, refusal, rows

from ke_t5.readers import kor_corpora
from ke_t5.readers.kor_corpora import KHSD, KOR_3I4K, KORNLI, KORSTS, NSMC, QPAIR

TWO_RUNS = '0\t만화\r\n1\t갔어\r\n6\t오늘\r\n0\t약\r\n2\t뭐 "해"'


def intention_files(folder, place, text=TWO_RUNS):
    put(folder, f"{place}/fci_test.txt", "3\t해라\r\n")
    return put(folder, f"{place}/fci_train_val.txt", text)


@pytest.mark.parametrize(
    ("place", "data_dir"),
    [
        ("3i4k/train_val_test", "."),
        ("3i4k/data/train_val_test", "."),
        ("3i4K/data/train_val_test", "."),
        ("3i4k/train_val_test", "3i4k"),
        ("3i4k/data/train_val_test", "3i4k"),
        ("3i4k/train_val_test", "3i4k/train_val_test"),
    ],
)
def test_3i4k_is_cut_where_the_class_order_falls_back(tmp_path, place, data_dir):
    folder = intention_files(tmp_path, place) / data_dir
    assert list(KOR_3I4K.find(folder)) == ["train", "validation", "test"]
    assert rows(KOR_3I4K, folder, "train") == [
        {"text": "만화", "label": "0"},
        {"text": "갔어", "label": "1"},
        {"text": "오늘", "label": "6"},
    ]
    assert rows(KOR_3I4K, folder, "validation") == [
        {"text": "약", "label": "0"},
        {"text": '뭐 "해"', "label": "2"},
    ]
    assert rows(KOR_3I4K, folder, "test") == [{"text": "해라", "label": "3"}]


@pytest.mark.parametrize(
    "text",
    ["0\t가\n1\t나\n1\t다\n", "1\t가\n0\t나\n1\t다\n0\t라\n", "3\t가\n"],
    ids=["one run", "shuffled", "one line"],
)
def test_3i4k_in_no_such_order_is_all_train(tmp_path, text):
    folder = intention_files(tmp_path, "3i4k/train_val_test", text)
    assert list(KOR_3I4K.find(folder)) == ["train", "test"]
    assert len(rows(KOR_3I4K, folder, "train")) == text.count("\n")


def test_3i4k_partial_releases(tmp_path):
    folder = put(tmp_path, "3i4k/train_val_test/fci_test.txt", "3\t해라\n")
    assert list(KOR_3I4K.find(folder)) == ["test"]
    assert KOR_3I4K.find(folder / "nowhere") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0\t가\n7\t나\n",
            "2: label '7', expected one of 0, 1, 2, 3, 4, 5, 6; "
            "fix that line, or put the release's own file there",
        ),
        ("0\t가\n0 나\n", "2: 1 tab-separated fields, expected 2; fix the tabs on that line"),
    ],
)
def test_3i4k_faults_wait_until_rows_are_read(tmp_path, text, message):
    folder = intention_files(tmp_path, ".", text)
    assert list(KOR_3I4K.find(folder)) == ["train", "test"]
    assert refusal(KOR_3I4K, folder) == f"fci_train_val.txt:{message}"


def test_3i4k_from_the_hub():
    assert KOR_3I4K.hub.splits == {
        "train": "train[:49622]",
        "validation": "train[49622:]",
        "test": "test",
    }
    assert hub_rows(KOR_3I4K, {"label": 4, "text": "가"}) == [{"text": "가", "label": "4"}]
    assert hub_rows(KOR_3I4K, {"label": -1, "text": "가"}) == [{"text": "가", "label": None}]


@pytest.mark.parametrize("place", ["NSMC/", "nsmc/", ""])
def test_nsmc_keeps_empty_documents_and_quotes(tmp_path, place):
    text = 'id\tdocument\tlabel\n1\t"최고\n2\t\t0\n3\t"굳" ㅋ\t1'
    folder = put(tmp_path, f"{place}ratings_train.txt", text.replace('"최고', '"최고\t1'))
    assert rows(NSMC, folder, "train") == [
        {"id": "1", "text": '"최고', "label": "1"},
        {"id": "2", "text": "", "label": "0"},
        {"id": "3", "text": '"굳" ㅋ', "label": "1"},
    ]
    assert list(NSMC.find(folder)) == ["train"]


def test_nsmc_from_the_hub():
    row = {"id": "1", "document": "가", "label": 1}
    assert hub_rows(NSMC, row) == [{"id": "1", "text": "가", "label": "1"}]


NLI_HEAD = "sentence1\tsentence2\tgold_label\n"


@pytest.mark.parametrize("place", ["KorNLI", "KorNLUDatasets/KorNLI", "."])
def test_kornli_trains_on_both_files(tmp_path, place):
    put(tmp_path, f"{place}/snli_1.0_train.ko.tsv", NLI_HEAD + "다\t라\tneutral\n")
    put(tmp_path, f"{place}/xnli.dev.ko.tsv", NLI_HEAD + '"가\t나"\tcontradiction\n')
    folder = put(tmp_path, f"{place}/multinli.train.ko.tsv", NLI_HEAD + "가\t나\tentailment\n")
    assert rows(KORNLI, folder, "train") == [
        {"premise": "가", "hypothesis": "나", "label": "entailment"},
        {"premise": "다", "hypothesis": "라", "label": "neutral"},
    ]
    assert rows(KORNLI, folder, "validation") == [
        {"premise": '"가', "hypothesis": '나"', "label": "contradiction"}
    ]
    splits = KORNLI.find(folder)
    assert list(splits) == ["train", "validation"]
    names = [path.name for path in splits["train"].files]
    assert names == ["multinli.train.ko.tsv", "snli_1.0_train.ko.tsv"]


def test_kornli_on_the_hub_has_several_configurations():
    assert KORNLI.hub.configs_of("train") == ("multi_nli", "snli")
    assert KORNLI.hub.configs_of("test") == ("xnli",)
    row = {"premise": "가", "hypothesis": "나", "label": "neutral"}
    assert hub_rows(KORNLI, row) == [row]


STS_HEAD = "genre\tfilename\tyear\tid\tscore\tsentence1\tsentence2\n"


STS_LINE = "main-captions\tMSRvid\t2012test\t0002\t4.750\t가\t나라\n"


@pytest.mark.parametrize("end", ["\n", "\n\n"])
def test_a_file_of_korsts_with_fewer_lines_is_read_if_they_end(tmp_path, end):
    folder = put(tmp_path, "KorSTS/sts-dev.tsv", STS_HEAD + STS_LINE.strip() + end)
    assert [row["sentence2"] for row in rows(KORSTS, folder, "validation")] == ["나라"]


@pytest.mark.parametrize("cut", ["나", "나라"])
def test_a_truncated_file_of_korsts_is_refused(tmp_path, cut):
    text = STS_HEAD + 2 * STS_LINE
    folder = put(tmp_path, "KorSTS/sts-dev.tsv", text.removesuffix("나라\n") + cut)
    message = (
        "KorSTS/sts-dev.tsv:3: the file ends within this line, the released one has 1,501 lines; "
        "download it again, or end the line if it is whole"
    )
    assert refusal(KORSTS, folder, "validation") == message


def test_whole_files_of_korsts_may_lack_the_last_line_feed(tmp_path):
    folder = put(tmp_path, "KorSTS/sts-dev.tsv", STS_HEAD + (1500 * STS_LINE).strip())
    assert len(rows(KORSTS, folder, "validation")) == 1500


@pytest.mark.parametrize("place", ["KorSTS", "KorNLUDatasets/KorSTS", "."])
def test_korsts_rows(tmp_path, place):
    line = 'main-captions\tMSRvid\t2012test\t0002\t4.750\t가\t"나\n'
    folder = put(tmp_path, f"{place}/sts-dev.tsv", STS_HEAD + line)
    row = {"genre": "main-captions", "sentence1": "가", "sentence2": '"나', "score": 4.75}
    assert rows(KORSTS, folder, "validation") == [row]
    assert hub_rows(KORSTS, {**row, "id": 2}) == [row]


@pytest.mark.parametrize("place", ["korean-hate-speech/labeled", "khsd/labeled", "labeled"])
def test_khsd_rows(tmp_path, place):
    text = (
        "comments\tcontain_gender_bias\tbias\thate\n가\tFalse\tnone\thate\n나\tTrue\tgender\tnone"
    )
    put(tmp_path, f"{place}/dev.tsv", text)
    folder = put(tmp_path, f"{place}/train.tsv", text)
    expected = [
        {"text": "가", "label": "hate", "bias": "none", "gender": "False"},
        {"text": "나", "label": "none", "bias": "gender", "gender": "True"},
    ]
    assert rows(KHSD, folder, "train") == expected
    assert rows(KHSD, folder, "validation") == expected
    assert list(KHSD.find(folder / place)) == ["train", "validation"]
    hub = {"comments": "가", "contain_gender_bias": "False", "bias": "none", "hate": "hate"}
    assert hub_rows(KHSD, hub) == expected[:1]


def test_files_whose_names_say_nothing_are_no_release(tmp_path):
    put(tmp_path, "train.txt", "가")
    folder = put(tmp_path, "train.tsv", "가")
    assert KHSD.find(folder) == {}
    assert QPAIR.find(folder) == {}


@pytest.mark.parametrize("place", ["Question_pair", "qpair"])
def test_qpair_rows(tmp_path, place):
    text = 'question1\tquestion2\tis_duplicate\n"가 ""나"""\t다\t0\n라\t마\t1'
    folder = put(tmp_path, f"{place}/train.txt", text)
    expected = [
        {"question1": '가 "나"', "question2": "다", "label": "0"},
        {"question1": "라", "question2": "마", "label": "1"},
    ]
    assert rows(QPAIR, folder, "train") == expected
    assert rows(QPAIR, folder / place, "train") == expected
    assert QPAIR.hub.path == "songys/kor_qpair"


@pytest.mark.parametrize(
    ("release", "name", "text", "message"),
    [
        (
            NSMC,
            "ratings_train.txt",
            "id\tdocument\tlabel\n1\t가\t2\n",
            "2: label '2', expected one of 0, 1",
        ),
        (
            KORNLI,
            "multinli.train.ko.tsv",
            NLI_HEAD + "가\t나\t-\n",
            "2: gold_label '-', expected one of entailment, neutral, contradiction",
        ),
        (
            KORSTS,
            "sts-train.tsv",
            STS_HEAD + "g\tf\ty\t0\tnan\t가\t나\n",
            "2: score 'nan', expected a number from 0 to 5",
        ),
        (
            KHSD,
            "labeled/train.tsv",
            "comments\tcontain_gender_bias\tbias\thate\n가\tFalse\tnone\tHate\n",
            "2: hate 'Hate', expected one of hate, offensive, none",
        ),
        (
            QPAIR,
            "qpair/train.txt",
            "question1\tquestion2\tis_duplicate\n가\t나\t\n",
            "2: is_duplicate '', expected one of 0, 1",
        ),
        (
            NSMC,
            "ratings_train.txt",
            STS_HEAD + "g\tf\ty\t0\t1\t가\t나\n",
            "1: the header has 'genre', 'filename', 'year', 'id', 'score', 'sentence1', "
            "'sentence2', expected 'id', 'document', 'label'",
        ),
    ],
)
def test_faults_name_the_line(tmp_path, release, name, text, message):
    assert refusal(release, put(tmp_path, name, text)).startswith(f"{name}:{message}; ")


def test_columns_that_the_hub_no_longer_has_are_named():
    from ke_t5.errors import UserError

    with pytest.raises(UserError) as caught:
        list(NSMC.hub.to_rows({"id": "1", "text": "가", "label": 1}))
    assert caught.value.what == "no 'document', only 'id', 'text', 'label'"


def test_releases_are_named_once():
    releases = [KOR_3I4K, NSMC, KORNLI, KORSTS, KHSD, QPAIR]
    assert [r.name for r in releases] == ["kor_3i4k", "nsmc", "kornli", "korsts", "khsd", "qpair"]
    assert kor_corpora.KORNLI.group == "premise"
