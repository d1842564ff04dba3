"""A training on coreference: results, report, export, predictions, code in the model card."""

from __future__ import annotations

import json
import re

import pytest
from support.recipe_runs import run_folder, scores, test, train

from ke_t5.commands import predict
from ke_t5.errors import UserError
from ke_t5.serving.loading import load_predictor

RUN = ("--task", "nikl_cr", "--sample", "--batch_size", 4)
# Windows of 64 tokens: the documents are longer.
SHORT = ("--gin_param", "get_dataset.sequence_length={'inputs': 64}")
ROWS = ("--train_split", "train[:4]", "--valid_split", "train[:4]")
TEXT = "김민수는 서울에 회사를 세웠다.\n그는 그 회사에서 일했다.\n그곳에 비가 왔다."


@pytest.fixture(scope="module")
def coreference_run(tmp_path_factory, cache_dir):
    """A training of 6 steps on four documents, exported."""
    path = tmp_path_factory.mktemp("coreference")
    words = (*RUN, *SHORT, *ROWS, "--max_steps", 6, "--epochs", 6, "--hf_path", "default")
    train(*words, output=path, cache=cache_dir)
    return path


def test_it_learns(coreference_run):
    found = scores(coreference_run, "train_4_")["scores"]
    assert set(found) == {f"{name}_f1" for name in "conll lea muc b_cubed ceaf_e mention".split()}
    # Random weights score 0; all gold mentions without links score less than half of this.
    assert found["conll_f1"] > 30


def test_its_report_has_the_measures_and_the_wrong_chains(coreference_run):
    folder = run_folder(coreference_run) / "eval" / "train_4_"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert all(line["gold"] for line in lines) and any(line["prediction"] for line in lines)
    for line in lines:
        for start, end in (mention for chain in line["prediction"] for mention in chain):
            assert line["inputs"][start:end].strip() == line["inputs"][start:end] != ""
    page = (folder / "report.html").read_text()
    assert "Documents with the most wrong chains" in page and "b_cubed" in page
    assert "Scores per measure" in page


def test_its_export_scores_as_the_checkpoint_does(coreference_run, cache_dir, capsys):
    words = (*RUN, *SHORT, "--test_split", "train[:4]", "--hf_path", "default")
    test(*words, output=coreference_run, cache=cache_dir)
    found = scores(coreference_run, "nikl_cr__train_4___hf")["scores"]
    assert found == scores(coreference_run, "train_4_")["scores"]
    assert "ceaf_e" in capsys.readouterr().out


def test_a_document_is_predicted(coreference_run, tmp_path):
    folder = run_folder(coreference_run) / "hf"
    (answer,) = load_predictor(folder)([{"text": TEXT}])
    for chain in answer.content["chains"]:
        assert len(chain) > 1
        assert all(TEXT[one["start"] : one["end"]] == one["text"] for one in chain)
    file, output = tmp_path / "in.jsonl", tmp_path / "out.csv"
    file.write_text(json.dumps({"text": TEXT}), encoding="utf-8")
    words = ["--hf_path", str(folder), "--input", str(file), "--output", str(output)]
    predict.main(predict.parser().parse_args(words))
    assert json.dumps(answer.content["chains"], ensure_ascii=False).replace(
        '"', '""'
    ) in output.read_text(encoding="utf-8-sig")


def test_no_graph_is_made_of_it(coreference_run, tmp_path):
    from ke_t5.commands import export

    folder = run_folder(coreference_run)
    words = ["--run", str(folder), "--output", str(tmp_path / "onnx"), "--onnx"]
    with pytest.raises(
        UserError, match="--onnx: coreference resolution has no ONNX graph; use the plain"
    ):
        export.main(export.parser().parse_args(words))


def test_the_code_of_its_card_runs(coreference_run, capsys):
    folder = run_folder(coreference_run) / "hf"
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    capsys.readouterr()
    exec(code.replace('"this folder"', repr(str(folder))), {})
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("['")
