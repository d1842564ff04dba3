"""A training on multiple choice: batches, results, report, export, code in the model card."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from support.recipe_runs import run_folder, scores, state_files, test, train

from ke_t5.commands import predict
from ke_t5.errors import UserError
from ke_t5.serving.loading import load_predictor

RUN = ("--task", "kobest_copa", "--sample", "--batch_size", 4, "--train_split", "train[:32]")
SHORT = (*RUN, "--valid_split", "validation[:25]", "--max_steps", 4)
NAMES = ("T5EncoderForMultipleChoice", "transformers:BertForMultipleChoice")


@pytest.fixture(scope="module", params=NAMES)
def choice_run(request, tmp_path_factory, cache_dir):
    """A training of two launches, exported, and the name of its model."""
    path = tmp_path_factory.mktemp("choice")
    words = (*SHORT, "--model_name", request.param)
    train(*words[:-3], 2, *words[-2:], output=path, cache=cache_dir)
    train(*words, "--resume", "true", "--hf_path", "default", output=path, cache=cache_dir)
    return path, request.param


def test_a_resumed_run_ends_with_the_same_bytes(choice_run, cache_dir, tmp_path):
    path, name = choice_run
    train(*SHORT, "--model_name", name, output=tmp_path, cache=cache_dir)
    assert state_files(tmp_path) == state_files(path)


def test_its_predictions_have_margins(choice_run):
    folder = run_folder(choice_run[0]) / "eval" / "validation_25_"
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    assert {line["gold"] for line in lines} == {"1", "2"}
    # With two choices the margin is the first probability minus the second.
    assert [line["margin"] for line in lines] == pytest.approx([2 * x["score"] - 1 for x in lines])
    page = (folder / "report.html").read_text()
    assert "Margins between the first choice and the second" in page
    found = scores(choice_run[0], "validation_25_")["scores"]
    right = sum(line["gold"] == line["prediction"] for line in lines)
    assert found["accuracy"] == pytest.approx(4.0 * right)


def test_its_export_scores_as_the_checkpoint_does(choice_run, cache_dir):
    path, name = choice_run
    words = (*RUN[:5], "--model_name", name, "--test_split", "validation[:25]")
    test(*words, "--hf_path", "default", output=path, cache=cache_dir)
    found = scores(path, "kobest_copa__validation_25___hf")["scores"]
    assert found == scores(path, "validation_25_")["scores"]


def test_a_predictor_names_the_choice_and_its_text(choice_run):
    choices = {"choice1": "우산을 썼다.", "choice2": "집에 갔다."}
    row = {"premise": "비가 왔다.", "question": "결과", **choices}
    (answer,) = load_predictor(run_folder(choice_run[0]) / "hf")([row])
    content = answer.content
    assert content["text"] == choices[f"choice{content['choice']}"]
    assert content["score"] == max(content["probabilities"])
    assert sum(content["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_choices_are_numbered_columns_or_a_list(choice_run, tmp_path):
    folder = run_folder(choice_run[0]) / "hf"
    predictor, texts = load_predictor(folder), ["우산을 썼다.", "집에 갔다."]
    row = {"premise": "비가 왔다.", "question": "결과"}
    stems = ("choice{}", "alternative_{}", "{}", "보기 {}")
    names = [(stem.format(1), stem.format(2)) for stem in stems]
    spellings = [dict(zip(pair, texts, strict=True)) for pair in names]
    spellings += [{"choices": texts}, {"choices": json.dumps(texts)}]
    first, *others = predictor([{**row, **spelling} for spelling in spellings])
    assert others == [first] * 5
    for spelling in (spellings[1], spellings[4]):
        file, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        file.write_text(json.dumps({**row, **spelling}), encoding="utf-8")
        words = ["--hf_path", str(folder), "--input", str(file), "--output", str(output)]
        predict.main(predict.parser().parse_args(words))
        assert json.loads(output.read_text(encoding="utf-8"))["prediction"] == first.content
    for wrong in (texts[:1], "둘", 3):
        with pytest.raises(UserError, match=r"column 'choices' contains .*, expected 2 texts"):
            list(predictor([{**row, "choices": wrong}]))


def test_the_code_of_its_card_runs(choice_run, capsys):
    folder = run_folder(choice_run[0]) / "hf"
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    capsys.readouterr()
    exec(code.replace('"this folder"', repr(str(folder))), {})
    number, probabilities = capsys.readouterr().out.split(" ", 1)
    (shares,) = json.loads(probabilities)
    assert len(shares) == 2 and int(number) - 1 == int(np.argmax(shares))
