"""P8: for at least 95 of 100 misspelled tasks, models, flags, gin names and splits, the right name
is the first suggestion."""

from __future__ import annotations

import re

import pytest

import ke_t5.recipes.prepare  # noqa: F401 - registers tasks and what gin may bind
from ke_t5.config.flags import parse_train
from ke_t5.config.gin_config import configure
from ke_t5.errors import UserError
from ke_t5.lookup.loader import check_model_name
from ke_t5.pipe import get_task
from ke_t5.pipe.sources import unknown_split

pytestmark = pytest.mark.promise("P8")
NEEDED = 95

# wrong -> right
TASKS = """klue_tcc klue_tc, klue_t klue_tc, kluetc klue_tc, klue-tc klue_tc, klue_cl klue_tc,
    klue_nil klue_nli, klue_nle klue_nli, kleu_nli klue_nli, klue_st klue_sts, klue_stss klue_sts,
    klue_nre klue_ner, klue_mcr klue_mrc, klue_mrc_gne klue_mrc_gen, klue_dpp klue_dp,
    klue_dst_ge klue_dst_gen, nmsc nsmc, nscm nsmc, korquda korquad, khds khsd,
    klue_re_gne klue_re_gen"""
MODELS = """
    T5EncoderForTokenClasification T5EncoderForTokenClassification,
    T5EncoderForSequenceClasificationMean T5EncoderForSequenceClassificationMean,
    T5EncoderForSequenceClassificationMaen T5EncoderForSequenceClassificationMean,
    EncoderForTokenClassifcation EncoderForTokenClassification,
    EncoderForQuestionAnswerring EncoderForQuestionAnswering,
    EncoderForDependancyParsing EncoderForDependencyParsing,
    T5EncoderForDependencyParssing T5EncoderForDependencyParsing,
    T5EncoderForCharaterTagging T5EncoderForCharacterTagging,
    EncoderForCharacterTaging EncoderForCharacterTagging,
    HashedNgramForSequenceClasification HashedNgramForSequenceClassification,
    EncoderForSequenceClassificationFrist EncoderForSequenceClassificationFirst,
    EncoderForSequenceClassificationLats EncoderForSequenceClassificationLast,
    EncoderForEntityRecognitionWithCRFF EncoderForEntityRecognitionWithCRF,
    T5EncoderForEntityRecognitonWithCRF T5EncoderForEntityRecognitionWithCRF,
    transformers:RobertaForSequenceClasification RobertaForSequenceClassification,
    transformers:BertForTokenClassificaton BertForTokenClassification,
    transformers:ElectraForQuestionAnswerin ElectraForQuestionAnswering,
    transformers:T5ForConditionalGenration T5ForConditionalGeneration,
    transformers:RobertForTokenClassification RobertaForTokenClassification,
    transformers:DebertaV2ForSequenceClasification DebertaV2ForSequenceClassification"""
FLAGS = """bacth_size batch_size, batchsize batch_size, batch-siez batch_size, epoch epochs,
    eopchs epochs, num_epochs epochs, learning_rat learning_rate, learnig_rate learning_rate,
    learningrate learning_rate, tasks task, modle_name model_name, pretrained_model
    pre_trained_model, gin_files gin_file, gin_params gin_param, ouput_dir output_dir,
    output output_dir, resum resume, sed seed, workes workers, max_step max_steps,
    train_spilt train_split, hfpath hf_path"""
GIN = """AdmW.lr AdamW, Adamw.lr AdamW, Admaw.lr AdamW, Adafctor.lr Adafactor, Adafacter.lr
    Adafactor, get_optimiser.optimizer_cls get_optimizer, get_optimzer.optimizer_cls get_optimizer,
    get_datset.sequence_length get_dataset, getdataset.sequence_length get_dataset,
    get_vocabluary.vocab_name get_vocabulary, get_vocab.vocab_name get_vocabulary,
    EvaluationHelpr.model_kwargs EvaluationHelper, evaluation_helper.model_kwargs EvaluationHelper,
    fitt.accumulate fit, modle.config model, AdamW.lrr lr, AdamW.weight_decy weight_decay,
    AdamW.beta betas, fit.acumulate accumulate, fit.clipnorm clip_norm,
    fit.early_stoping early_stopping, fit.precison precision"""
SPLITS = """trian train, tain train, Train train, trainn train, training train, valdation
    validation, validaton validation, valid validation, vaildation validation, validations
    validation, tset test, tests test, tst test, Test test, testing test, VALIDATION validation"""


def pairs(text):
    return [tuple(pair.split()) for pair in text.split(",")]


def ask_task(name):
    get_task(name)


def ask_flag(name):
    parse_train([f"--{name}", "1"])


def ask_gin(name):
    configure([], [f"{name} = 1"])


def ask_split(name):
    raise unknown_split(name, "source", ["train", "validation", "test"])


ASKED = [
    *((ask_task, *pair) for pair in pairs(TASKS)),
    *((check_model_name, *pair) for pair in pairs(MODELS)),
    *((ask_flag, *pair) for pair in pairs(FLAGS)),
    *((ask_gin, *pair) for pair in pairs(GIN)),
    *((ask_split, *pair) for pair in pairs(SPLITS)),
]


def first_suggestion(ask, wrong):
    with pytest.raises(UserError) as caught:
        ask(wrong)
    match = re.search(r"did you mean (?:'|--)(?:transformers:)?([\w:]+)", str(caught.value))
    return match and match[1]


def test_the_right_one_is_the_first_suggestion(notes):
    assert len(ASKED) == 100
    wrong = {
        name: found for ask, name, right in ASKED if (found := first_suggestion(ask, name)) != right
    }
    notes.append(f"misspellings: the right one first in {len(ASKED) - len(wrong)} of {len(ASKED)}")
    assert len(ASKED) - len(wrong) >= NEEDED, wrong
