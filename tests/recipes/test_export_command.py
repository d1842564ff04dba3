"""`ke-t5 export`: a run exported with narrower weights, to ONNX, and for CTranslate2."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from support.recipe_runs import SMALL, run_folder, scores, test, train
from transformers import (
    AutoTokenizer,
    RobertaConfig,
    RobertaForQuestionAnswering,
    T5ForConditionalGeneration,
)

from ke_t5 import cli, extras
from ke_t5.commands.export import parser
from ke_t5.errors import UserError
from ke_t5.exporting import onnx_graph, translator
from ke_t5.exporting.export import narrow
from ke_t5.exporting.onnx_graph import FILE, check_onnx, write_onnx
from ke_t5.exporting.translator import check_ctranslate2, write_ctranslate2
from ke_t5.lookup.lora import LoraSettings, write_lora
from ke_t5.lookup.task_record import TaskRecord, read_record
from ke_t5.models.configs import T5EncoderConfig
from ke_t5.models.models import (
    T5EncoderForCharacterTagging,
    T5EncoderForDependencyParsing,
    T5EncoderForEntityRecognitionWithCRF,
    T5EncoderForMultipleChoice,
    T5EncoderForSequenceClassificationMean,
    T5EncoderForSequenceClassificationMeanSubmeanObjmean,
)
from ke_t5.sample import sample_model_dir
from ke_t5.seals import MARK, check_folder

T5 = {
    "vocab_size": 100, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4,
    "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0, "num_labels": 3,
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """The finished run in bf16, and as ONNX."""
    target = tmp_path_factory.mktemp("exported") / "모델"
    words = ["--run", run_folder(finished_run), "--output", target]
    cli._main(["export", *map(str, words), "--safetensors_dtype", "bf16", "--onnx"])
    return target


def test_a_narrow_export_is_whole_and_scores_as_the_run(exported, finished_run, cache_dir, run):
    assert check_folder(exported, where="--hf_path", is_sealed=True)["files"].keys() >= {FILE}
    assert json.loads((exported / "config.json").read_text())["dtype"] == "bfloat16"
    assert read_record(exported) == read_record(run_folder(finished_run) / "model")
    assert (exported / "model.safetensors").stat().st_size < 0.6 * (
        (run_folder(finished_run) / "hf" / "model.safetensors").stat().st_size
    )
    words = ("--task", "klue_tc", "--sample", "--batch_size", 16, "--hf_path", exported)
    test(*words, "--test_split", "validation[:31]", output=run, cache=cache_dir)
    found = list((run_folder(run) / "eval").glob("klue_tc__*/scores.json"))
    narrow_scores = json.loads(found[0].read_text())["scores"]
    wide = scores(finished_run, "validation[:31]".replace("[:", "_").replace("]", "_"))["scores"]
    # One of the 31 rows may be on the border between two labels.
    assert narrow_scores["accuracy"] == pytest.approx(wide["accuracy"], abs=100 / 31 + 0.01)


def test_its_graph_answers_as_the_model(exported):
    import onnxruntime

    model = T5EncoderForSequenceClassificationMean.from_pretrained(exported, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    session = onnxruntime.InferenceSession(str(exported / FILE))
    for texts in (["경제"], ["프로야구 개막전이 열렸다", "금리 동결", "비"]):
        rows = tokenizer(texts, padding=True, return_tensors="pt")
        inputs = {name: rows[name] for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            expected = model(**inputs).logits.numpy()
        (logits,) = session.run(["logits"], {name: x.numpy() for name, x in inputs.items()})
        assert np.abs(logits - expected).max() < 1e-4


def test_its_card_shows_each_form_and_the_next_export_only_its_own(exported, tmp_path):
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert "T5EncoderForSequenceClassificationMean for klue_tc" in card and card.count(MARK) == 1
    assert "| score on validation[:31] | x 100 |" in card and "## ONNX" in card
    words = ["--hf_path", str(exported), "--output", str(tmp_path / "fp16")]
    cli._main(["export", *words, "--safetensors_dtype", "fp16"])
    again = (tmp_path / "fp16" / "README.md").read_text(encoding="utf-8")
    assert again == card.partition("\n<!-- further")[0].rstrip() + f"\n\n{MARK}\n"
    assert not (tmp_path / "fp16" / FILE).exists()
    config = json.loads((tmp_path / "fp16" / "config.json").read_text())
    assert config["dtype"] == "float16"


def test_what_differs_from_the_model_is_refused_and_leaves_nothing(
    finished_run, tmp_path, monkeypatch
):
    monkeypatch.setattr(onnx_graph, "TOLERANCE", -1.0)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: None)
    monkeypatch.setattr(onnx_graph, "worst_difference", lambda *args, **options: 0.25)
    words = ["--run", str(run_folder(finished_run)), "--output", str(tmp_path / "new"), "--onnx"]
    with pytest.raises(UserError, match=r"--onnx of .*: its outputs differ by 2.5e-01, more than"):
        cli._main(["export", *words])
    assert not any(tmp_path.iterdir())


def roberta_answers():
    config = RobertaConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=1, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=60, type_vocab_size=2, num_labels=2,
    )  # fmt: skip
    return RobertaForQuestionAnswering(config), "question_answering", "`start_logits`, `end_logits`"


def test_there_are_segments_if_both_model_and_tokenizer_have_them():
    model, _, _ = roberta_answers()
    plain = ("input_ids", "attention_mask")
    assert onnx_graph.input_names(model, has_segments=False) == plain
    assert onnx_graph.input_names(model, has_segments=True) == (*plain, "token_type_ids")


def t5_trees():
    model = T5EncoderForDependencyParsing(T5EncoderForDependencyParsing.config_class(**T5))
    return model, "dependency_parsing", "`head_logits`, `relation_logits`"


@pytest.mark.parametrize("make", [roberta_answers, t5_trees])
def test_heads_with_other_inputs_and_outputs(make, tmp_path):
    torch.manual_seed(0)
    model, form, outputs = make()
    columns = ["input_ids", "attention_mask"]
    card = write_onnx(model.eval(), form, tmp_path, columns_of_tokenizer=columns)
    assert outputs in card and (tmp_path / FILE).is_file()


def run_code(card, folder, monkeypatch):
    """Runs the code of a model card in its folder; returns its output."""
    printed = []
    monkeypatch.setattr("builtins.print", printed.append)
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(code.replace('"this folder"', repr(str(folder))), {})
    return printed


@pytest.mark.parametrize(
    ("model_class", "form"),
    [
        (T5EncoderForMultipleChoice, "multiple_choice"),
        (T5EncoderForDependencyParsing, "dependency_parsing"),
        (
            T5EncoderForSequenceClassificationMeanSubmeanObjmean,
            "entity_pair_classification",
        ),
    ],
)
def test_the_code_of_a_card_feeds_its_graph(model_class, form, cache_dir, tmp_path, monkeypatch):
    tokenizer = AutoTokenizer.from_pretrained(sample_model_dir(cache_dir, "t5"))
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**{**T5, "vocab_size": len(tokenizer)}))
    columns = ["input_ids", "attention_mask"]
    card = write_onnx(model.eval(), form, tmp_path, columns_of_tokenizer=columns)
    (values,) = run_code(card, tmp_path, monkeypatch)
    assert np.isfinite(values).all() and len(values) == (1 if form == "multiple_choice" else 2)


def test_models_that_are_no_graph_are_refused(monkeypatch):
    crf = T5EncoderForEntityRecognitionWithCRF(T5EncoderConfig(**T5))
    with pytest.raises(UserError, match="--onnx: the CRF decoding of .* has no ONNX graph; use"):
        check_onnx(crf, "token_classification")
    characters = T5EncoderForCharacterTagging(T5EncoderForCharacterTagging.config_class(**T5))
    with pytest.raises(UserError, match="--onnx: character tagging has no ONNX graph; use"):
        check_onnx(characters, "character_tagging")
    with pytest.raises(UserError, match="--onnx: a generative model is not a single graph; use"):
        check_onnx(crf, "seq2seq")
    with pytest.raises(UserError, match="--ctranslate2: .*CRF is not a generative T5 or mT5; use"):
        check_ctranslate2(crf, "token_classification")
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'onnx is not installed; run pip install "ke_t5\[onnx\]"'):
        check_onnx(crf, "token_classification")
    with pytest.raises(UserError, match=r'run pip install "ke_t5\[ctranslate2\]"'):
        check_ctranslate2(crf, "seq2seq")


def test_weights_too_large_for_a_type_are_refused():
    model = T5EncoderForSequenceClassificationMean(T5EncoderConfig(**T5))
    torch.nn.init.constant_(model.classifier.weight, 1e6)
    with pytest.raises(UserError, match="--safetensors_dtype fp16: a weight is too large for it"):
        narrow(model, "fp16")


def test_a_translator_may_answer_nothing(cache_dir, tmp_path, monkeypatch):
    folder = sample_model_dir(cache_dir, "t5")
    model = T5ForConditionalGeneration(
        T5ForConditionalGeneration.config_class.from_pretrained(folder)
    ).eval()
    with torch.no_grad():  # after the token that begins, a decoder's own, the end is the likeliest
        model.get_input_embeddings().weight[model.config.decoder_start_token_id, 0] = 1000.0
        model.lm_head.weight.zero_()
        model.lm_head.weight[model.config.eos_token_id, 0] = 1.0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    card = write_ctranslate2(model, tokenizer, tmp_path)
    assert run_code(card, tmp_path, monkeypatch) == [""]


def test_a_translator_answers_as_the_model(cache_dir, tmp_path, monkeypatch):
    folder = sample_model_dir(cache_dir, "t5")
    torch.manual_seed(1)
    model = T5ForConditionalGeneration(
        T5ForConditionalGeneration.config_class.from_pretrained(folder)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    check_ctranslate2(model, "seq2seq")
    assert "ctranslate2.Translator" in write_ctranslate2(model, tokenizer, tmp_path)
    assert (tmp_path / translator.FOLDER / "model.bin").is_file()
    monkeypatch.setattr(translator, "_own_answer", lambda *args: [7])
    (tmp_path / translator.FOLDER).rename(tmp_path / "earlier")
    with pytest.raises(UserError, match="--ctranslate2: it answers '.*' differently from the mode"):
        write_ctranslate2(model, tokenizer, tmp_path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--hf_path", "a"], "ke-t5 export: no output folder; add --output DIR"),
        ([], "ke-t5 export: no model is named; give an export"),
        (["--run", "a", "--hf_path", "b"], "--hf_path and --run: two models are named; give one"),
        (["--hf_path", "a", "--resume", "best"], "--resume: an export has no checkpoints; drop"),
        (["--hf_path", "a/b", "--output", "a"], "--output a: it contains the model to export; ch"),
        (["--run", "a", "--output", "a/model"], "--output a/model: it is inside the model to exp"),
        (["--run", "a", "--safetensors_dtype", "int8"], "--safetensors_dtype: invalid choice"),
        (["--run", "a", "--public"], "--public: nothing is pushed to the hub; add --pus"),
        (["--run", "a", "--output", "/proc/x"], "--output /proc/x: nothing can be written there"),
    ],
)
def test_flags_that_contradict_each_other(words, line):
    from ke_t5.commands.export import main

    with pytest.raises(UserError, match=line):
        main(parser().parse_args(words))


def test_the_model_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="it contains a model that was not exported by ke_t5; choo"):
        cli._main(["export", "--run", "a", "--output", str(tmp_path)])
    assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("has_adapters", [False, True])
def test_the_model_that_a_run_starts_from_is_not_replaced(tmp_path, has_adapters):
    base, run = tmp_path / "base", tmp_path / "run"
    for folder in (base, run / "model"):
        folder.mkdir(parents=True)
    for name in ("config.json", "MANIFEST.json"):
        (base / name).write_text("{}")
    (run / "run.json").write_text(json.dumps({"pre_trained_model": "elsewhere/base"}))
    if has_adapters:
        write_lora(LoraSettings(8, 16.0, 0.05), run / "model", base=str(base))
    else:
        (run / "run.json").write_text(json.dumps({"pre_trained_model": str(base)}))
    with pytest.raises(UserError, match=f"--output {base}: the run starts from this model; choose"):
        cli._main(["export", "--run", str(run), "--output", str(base)])
    assert (base / "config.json").read_text() == "{}"


def test_an_export_of_another_task_is_not_replaced(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    for folder, task in ((run, "klue_tc"), (other, "klue_nli")):
        folder.mkdir()
        TaskRecord(task, "sequence_classification", "module:Class", {}).write(folder)
        for name in ("config.json", "MANIFEST.json"):
            (folder / name).write_text("{}")
    with pytest.raises(UserError, match=f"--output {other}: it contains an export of klue_nli; "):
        cli._main(["export", "--hf_path", str(run), "--output", str(other)])
    (run / "ke_t5.json").unlink()
    (run / "run.json").write_text(json.dumps({"task": "klue_nli"}))
    with pytest.raises(UserError, match="--run .*: MANIFEST.json is damaged"):  # the target is free
        cli._main(["export", "--run", str(run), "--output", str(other)])


def test_errors_name_the_flag_that_was_given(tmp_path, finished_run):
    def refusal(*words):
        with pytest.raises(UserError) as caught:
            cli._main(["export", *map(str, words)])
        return str(caught.value)

    (tmp_path / "notes.txt").write_text("mine")
    here = tmp_path.parent
    assert f"--output {tmp_path}: it exists and is not an exported model; choose" in refusal(
        "--run", run_folder(finished_run), "--output", tmp_path
    )
    missing = refusal("--run", here / "nothing", "--output", tmp_path / "new")
    assert f"--run {here / 'nothing'}: there is no such folder" in missing
    export = run_folder(finished_run) / "hf"
    words = ("--run", export, "--resume", "best", "--output", tmp_path / "new")
    assert "is an export, which has no checkpoints; drop --resume" in refusal(*words)


def test_a_training_shares_its_export_and_its_numbers(cache_dir, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path / 'store'}")
    checked, pushed = [], []
    monkeypatch.setattr("ke_t5.recipes.sharing.check_push", checked.append)
    monkeypatch.setattr(
        "ke_t5.recipes.sharing.push",
        lambda folder, name, *, is_public: pushed.append((folder, name, is_public)) or "https://x",
    )
    words = ("--task", "klue_tc", *SMALL, "--epochs", 1, "--track", "mlflow")
    train(*words, "--push_to_hub", "user/model", output=tmp_path / "out", cache=cache_dir)
    folder = run_folder(tmp_path / "out")
    assert checked == ["user/model"] and pushed == [(folder / "hf", "user/model", False)]
    assert (folder / "hf" / "MANIFEST.json").is_file()
    assert capfd.readouterr().out.splitlines()[-1] == "pushed to https://x"
    (report,) = (tmp_path / "store").rglob("artifacts/report.html")
    assert report.read_bytes() == (folder / "report.html").read_bytes()
    metrics = {path.name for path in (report.parent.parent / "metrics").rglob("*")}
    assert {"loss", "grad_norm", "macro_f1", "rows_per_second"} <= metrics


def test_what_cannot_be_shared_is_said_before_the_training(cache_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    words = ("--task", "klue_tc", *SMALL)
    with pytest.raises(UserError, match="--push_to_hub m: not logged in to the hub; run hf auth"):
        train(*words, "--push_to_hub", "m", output=tmp_path, cache=cache_dir)
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'--track wandb: wandb is not .*; run pip .*"ke_t5\[wandb'):
        train(*words, "--track", "wandb", output=tmp_path, cache=cache_dir)
    assert not any(tmp_path.iterdir())
    for word in ("--track=comet", "--push_to_hub=a//b"):
        with pytest.raises(UserError, match="unknown tracker|not a name on the hub; give one"):
            train(*words, word, output=tmp_path, cache=cache_dir)
