"""Every architecture used for Korean works on every kind of task, or fails with one line."""

from __future__ import annotations

import math

import gin
import pytest
import torch
from support.architecture_toys import ARCHITECTURES
from support.evaluation import evaluate_on
from support.toys import ROWS, examples_on

from ke_t5.errors import UserError
from ke_t5.lookup.choice import choose_model
from ke_t5.lookup.hub import find_pretrained
from ke_t5.lookup.loader import check_form, load_model
from ke_t5.lookup.tokenizer_fit import fit_tokenizer
from ke_t5.models.build import build_model
from ke_t5.pipe import EvaluationHelper, TaskRegistry
from ke_t5.pipe.model_inputs import model_inputs
from ke_t5.task.utils import get_vocabulary

TASKS = {
    "klue_tc": "klue_ynat", "klue_sts": "klue_sts", "klue_ner": "klue_ner",
    "klue_mrc": "klue_mrc", "klue_dp": "klue_dp", "klue_tc_gen": "klue_ynat",
}  # fmt: skip


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Name -> folder, created at first use."""
    base = tmp_path_factory.mktemp("layouts")

    def folder(name):
        path = base / name.replace("/", "-")
        if not path.exists():
            ARCHITECTURES[name](path)
        return path

    return folder


def check_pieces(tokenizer, examples):
    """Checks that tokenizing keeps the texts (except KoBERT's, which is tested elsewhere)."""
    ids = [i for row in range(len(examples)) for i in examples.example(row)["input_ids"]]
    if type(tokenizer).__name__ != "XLNetTokenizer":
        assert ids.count(tokenizer.unk_token_id) < 0.1 * len(ids)


def train_and_score(folder, task_name, cache):
    """The chosen class, after three updates and an evaluation."""
    found, form = find_pretrained(folder), TaskRegistry.get(task_name).form
    choice = choose_model(form, found)
    gin.bind_parameter("ke_t5.task.utils.get_vocabulary.vocab_name", str(folder))
    fit_tokenizer(get_vocabulary(), found.config, where="--pre_trained_model")
    task, examples = examples_on(
        task_name, ROWS[TASKS[task_name]], vocabulary=str(folder), cache=cache
    )
    check_pieces(get_vocabulary(), examples)
    model_class = load_model(choice.model_name)
    check_form(model_class, form)
    labels = dict(enumerate(task.labels or ()))
    about = {"id2label": labels, "label2id": {name: i for i, name in labels.items()}}
    if task.problem_type:
        about["problem_type"] = task.problem_type
    model, _ = build_model(
        model_class, folder, from_scratch=True, seed=0, task_config=about if labels else {},
        tokenizer=get_vocabulary(),
    )  # fmt: skip
    learnt = examples.labelled()
    batch = model_inputs(model, learnt.batch(range(len(learnt))), torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        loss = model.train()(**batch).loss
        assert math.isfinite(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    helper = EvaluationHelper(task)
    helper.check(model, examples)
    evaluated = evaluate_on(1, helper, model.eval(), examples, batch_size=8)
    assert evaluated.scores
    return model_class.__name__


ENCODERS = {
    "klue/bert", "klue/roberta", "KoELECTRA", "KcELECTRA", "KR-ELECTRA", "lassl/bert",
    "kf-deberta", "mDeBERTa-v3", "XLM-R", "E5", "ModernBERT", "KoBERT", "BigBird",
}  # fmt: skip
DECODERS = {"KoGPT2", "Qwen3", "Llama-3", "EXAONE-4", "Gemma-3"}
# The prefix of transformers' classes for each; ours where it has none.
PREFIXES = {
    "klue/bert": "Bert", "klue/roberta": "Roberta", "KoELECTRA": "Electra", "KcELECTRA": "Electra",
    "KR-ELECTRA": "Electra", "lassl/bert": "Bert", "kf-deberta": "DebertaV2",
    "mDeBERTa-v3": "DebertaV2", "XLM-R": "XLMRoberta", "E5": "XLMRoberta",
    "ModernBERT": "ModernBert", "KoBERT": "Bert", "BigBird": "BigBird", "KoBART": "Bart",
    "umT5": "UMT5", "KoGPT2": "GPT2", "Qwen3": "Qwen3", "Llama-3": "Llama", "EXAONE-4": "Exaone4",
    "Gemma-3": "Gemma3Text", "ke-t5": "T5", "mT5": "MT5", "pko-t5": "T5", "ByT5": "T5",
    "LongT5": "LongT5",
}  # fmt: skip
HEADS = {
    "klue_tc": "ForSequenceClassification", "klue_sts": "ForSequenceClassification",
    "klue_ner": "ForTokenClassification", "klue_mrc": "ForQuestionAnswering",
    "klue_dp": "ForDependencyParsing", "klue_tc_gen": "ForConditionalGeneration",
}  # fmt: skip
OUR_T5 = {"ke-t5", "mT5", "pko-t5", "ByT5"}
OURS = {("KoBART", "klue_ner"), ("Gemma-3", "klue_ner"), ("Gemma-3", "klue_mrc"),
        *(("LongT5", task) for task in TASKS if task != "klue_tc_gen")}  # fmt: skip


def expected_class(name, task):
    """The default class without --model_name."""
    if task == "klue_tc_gen":
        return PREFIXES[name] + HEADS[task]
    our_head = "Encoder" + HEADS[task] + ("Mean" if "Sequence" in HEADS[task] else "")
    if name in OUR_T5:
        return "T5" + our_head
    if (name, task) in OURS or task == "klue_dp":
        return our_head
    return PREFIXES[name] + HEADS[task]


REFUSED = {
    **{(name, "klue_tc_gen"): "cannot generate, but the task needs an encoder-decoder"
       for name in ENCODERS | DECODERS},
    **{("ByT5", task): "ByT5Tokenizer provides no character offsets"
       for task in ("klue_ner", "klue_mrc", "klue_dp")},
}  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_works_or_says_in_one_line_why(name, task, layouts, tmp_path):
    message = REFUSED.get((name, task))
    if message is None:
        assert train_and_score(layouts(name), task, tmp_path) == expected_class(name, task)
        return
    with pytest.raises(UserError, match=message):
        train_and_score(layouts(name), task, tmp_path)
