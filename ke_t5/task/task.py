"""The table of tasks; `python -m ke_t5.task.task` prints it with the source of the data.

| tasks | rows | prediction |
|---|---|---|
| klue_tc | KLUE YNAT | topic of a headline |
| klue_nli, kornli | KLUE NLI, KorNLI | inference between two sentences |
| klue_sts, korsts | KLUE STS, KorSTS | similarity of two sentences, 0 to 5 |
| klue_re | KLUE RE | relation of two marked entities |
| klue_ner | KLUE NER | entities |
| klue_mrc, korquad | KLUE MRC, KorQuAD 1.0 | answer in a passage |
| korquad2 | KorQuAD 2.1 | answer in an HTML page |
| nikluge_ea, nikluge_sa | NIKL's contest | emotions; aspects with their polarity |
| nikluge_au | NIKL's contest | whether an utterance insults |
| nikluge_iau | NIKL's contest | intention of an improper utterance |
| nikluge_nli | NIKL's contest | certainty of a statement |
| nikluge_cci | NIKL's contest | which of three inferences follows |
| nikluge_sc_gen, nikluge_gtps_gen, nikluge_dcs_gen | NIKL's contest | a text |
| sae4k_gen | sae4K | intent argument of a question or command |
| klue_dp | KLUE DP | dependency tree |
| ud_ko_gsd_dp, ud_ko_kaist_dp, ud_ko_ksl_dp | UD Korean GSD, Kaist, KSL | dependency tree |
| ud_ko_gsd_pos, ud_ko_kaist_pos, ud_ko_ksl_pos | the same | part of speech of each word |
| klue_dst_gen | KLUE WoS | state of a dialogue |
| nikl_ner, nikl_ner2020 | NIKL NE, NE 2020 | entities of 15 and of 150 types |
| nikl_cr | NIKL CR 2020 | coreference chains of a document |
| nikl_cr_span_extraction | the same | mentions |
| nikl_cr_coref_span_prediction | the same | an earlier mention of the same chain |
| nikl_cola | NIKL CoLA | whether a sentence is acceptable |
| nikl_summarization_summary, _topic | NIKL SUMMARIZATION | summary |
| kor_3i4k, nsmc, qpair | 3i4K, NSMC, question pairs | class |
| khsd, khsd_bias, khsd_gender | Korean hate speech | hate; bias; gender bias |
| apeach, kold, khaters | APEACH, KOLD, K-HATERS | offensiveness of a comment |
| korfin_asc | KorFin-ASC | sentiment of a headline towards a firm |
| paws_x_ko | PAWS-X | whether two sentences mean the same |
| massive_ko_intent, massive_ko_slots | MASSIVE | intent of an utterance; its slots |
| naver_ner | NAVER NLP Challenge | entities of 14 types |
| kobest_boolq, kobest_wic, kobest_sentineg | KoBEST | class of a pair or a text |
| kobest_copa, kobest_hellaswag | KoBEST | which of several texts follows |
| kmhas, kote | K-MHaS, KOTE | any number of labels: kinds of hate speech, emotions |

Names without a suffix are for encoders. Suffixes:

| suffix | meaning |
|---|---|
| _gen | the answer is generated, by T5 (not for tagging and trees) |
| _gen_context_free | a question is answered without its passage |
| _binary | klue_sts as two classes |
| _tk_idx | klue_re for models with an entity-pair head, whose inputs include the entities' tokens |
| _split | NIKL's single file, split into train, validation and test by a hash |

| mixture | tasks |
|---|---|
| klue_gen | klue_tc_gen, klue_nli_gen, klue_sts_gen, klue_re_gen |
| kobest_gen | kobest_boolq_gen and the other four |

The first metric of a task selects the best checkpoint; for a mixture, the mean of these metrics.
Epochs and batch sizes are those of KLUE-baseline (run_all.sh) if it has the task.
"""

from __future__ import annotations

import sys
from functools import partial

from ke_t5.failure import run_and_exit
from ke_t5.pipe.monitor import Monitor
from ke_t5.pipe.sources import ReleaseSource
from ke_t5.pipe.task import Defaults
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
from ke_t5.task import coreference, families, labels, metrics, steps, structured, text
from ke_t5.task.listing import (
    UNCHECKED,
    columns,
    main,
    mixture_row,
    table_lines,
    table_row,
)
from ke_t5.task.mixtures import register_mixtures
from ke_t5.task.writing import text_to_text
from ke_t5.task.written_chains import written_coreference

__all__ = ["UNCHECKED", "columns", "main", "mixture_row", "table_lines", "table_row"]

ACCURACY, MACRO_F1 = metrics.accuracy, metrics.macro_f1
TITLE, TEXT, SENTENCE = {"title": "title"}, {"text": "text"}, {"sentence": "text"}
COLA = {"sentence": "sentence"}
COMMENT = {"title": "title", "comment": "comment"}
ASPECT = {"title": "title", "aspect": "aspect"}
PREMISE = {"premise": "premise", "hypothesis": "hypothesis"}
SENTENCES = {"sentence1": "sentence1", "sentence2": "sentence2"}
QUESTIONS = {"question1": "question1", "question2": "question2"}
PASSAGE = {"paragraph": "paragraph", "question": "question"}
KOBEST = (MACRO_F1, ACCURACY)
INSULT = (metrics.f1_of("insulting"), ACCURACY)
RELATION = (metrics.micro_f1_without("no_relation"), metrics.auprc, ACCURACY)
WRITTEN_RELATION = (RELATION[0], ACCURACY)  # text has no probabilities
ENTITIES = (metrics.entity_f1_micro, metrics.entity_f1, metrics.token_accuracy)
SUMMARY = (metrics.rouge, metrics.bleu)

# name, release, fields of the text, labels, metrics, monitor, epochs
CLASSIFICATION = (
    ("klue_tc", klue.YNAT, TITLE, labels.KLUE_TC, (MACRO_F1, ACCURACY), "macro_f1", 4),
    ("klue_nli", klue.NLI, PREMISE, labels.KLUE_NLI, (ACCURACY,), "accuracy", 5),
    ("nikl_cola", nikl.COLA, COLA, labels.NIKL_COLA, (metrics.matthews, ACCURACY),
     "matthews_correlation", 4),
    ("kor_3i4k", kor_corpora.KOR_3I4K, TEXT, labels.KOR_3I4K, (ACCURACY, MACRO_F1), "accuracy", 4),
    ("nsmc", kor_corpora.NSMC, SENTENCE, labels.NSMC, (ACCURACY,), "accuracy", 4),
    ("kornli", kor_corpora.KORNLI, PREMISE, labels.KORNLI, (ACCURACY,), "accuracy", 5),
    ("khsd", kor_corpora.KHSD, SENTENCE, labels.KHSD, (MACRO_F1, ACCURACY), "macro_f1", 4),
    ("qpair", kor_corpora.QPAIR, QUESTIONS, labels.QPAIR, (ACCURACY, MACRO_F1), "accuracy", 4),
    ("khsd_bias", kor_corpora.KHSD, SENTENCE, labels.KHSD_BIAS, (MACRO_F1, ACCURACY),
     "macro_f1", 4),
    ("khsd_gender", kor_corpora.KHSD, SENTENCE, labels.KHSD_GENDER,
     (metrics.f1_of("True"), ACCURACY), "f1", 4),
    ("apeach", public_tables.APEACH, SENTENCE, labels.APEACH, (MACRO_F1, ACCURACY), "macro_f1", 4),
    ("kold", public_tables.KOLD, COMMENT, labels.KOLD, (MACRO_F1, ACCURACY), "macro_f1", 4),
    ("khaters", public_tables.KHATERS, SENTENCE, labels.KHATERS, (MACRO_F1, ACCURACY),
     "macro_f1", 4),
    ("korfin_asc", public_tables.KORFIN, ASPECT, labels.KORFIN, (MACRO_F1, ACCURACY),
     "macro_f1", 4),
    ("paws_x_ko", public_tables.PAWS_X, SENTENCES, labels.PAWS_X, (ACCURACY,), "accuracy", 5),
    ("massive_ko_intent", public_tables.MASSIVE, {"utterance": "utterance"},
     labels.MASSIVE_INTENTS, (ACCURACY, MACRO_F1), "accuracy", 10),
    ("nikluge_au", nikluge.AU, SENTENCE, labels.NIKLUGE_INSULTS, INSULT, "f1", 4),
    ("nikluge_iau", nikluge.IAU, SENTENCE, labels.NIKLUGE_MEANT, (MACRO_F1, ACCURACY),
     "macro_f1", 4),
    ("kobest_boolq", kobest.BOOLQ, PASSAGE, labels.KOBEST_TRUTH, KOBEST, "macro_f1", 10),
    ("kobest_wic", kobest.WIC, SENTENCES, labels.KOBEST_TRUTH, KOBEST, "macro_f1", 10),
    ("kobest_sentineg", kobest.SENTINEG, SENTENCE, labels.KOBEST_SENTIMENT, KOBEST, "macro_f1",
     10),
)  # fmt: skip

# The label column of a task, if it is not `label`.
COLUMNS = {"khsd_bias": "bias", "khsd_gender": "gender", "massive_ko_intent": "intent"}

# name, release, fields of the text, number of choices, values of the label column, epochs
CHOICE = (
    ("kobest_copa", kobest.COPA, {"premise": "premise", "question": "question"}, 2, "12", 10),
    ("kobest_hellaswag", kobest.HELLASWAG, {"context": "context"}, 4, "0123", 10),
    ("nikluge_cci", nikluge.CCI, {name: name for name in ("conversation", "reference", "category")},
     3, tuple(f"inference_{i}" for i in (1, 2, 3)), 10),
)  # fmt: skip

# name, release, fields of the text, labels, monitor, epochs
MULTILABEL = (
    ("kmhas", label_sets.KMHAS, SENTENCE, labels.KMHAS, "micro_f1", 4),
    ("kote", label_sets.KOTE, SENTENCE, labels.KOTE, "macro_f1", 4),
    ("nikluge_ea", nikluge.EA, {"text": "text", "target": "target"}, labels.NIKLUGE_EMOTIONS,
     "micro_f1", 5),
    ("nikluge_sa", nikluge.SA, TEXT, labels.NIKLUGE_ASPECTS, "micro_f1", 10),
)  # fmt: skip

# name, release, fields of the text, label column, metrics, monitor
SIMILARITY = (
    ("klue_sts", klue.STS, SENTENCES, "real_label",
     (metrics.pearson, metrics.f1_at_3, metrics.spearman), "pearson"),
    ("korsts", kor_corpora.KORSTS, SENTENCES, "score", (metrics.spearman, metrics.pearson),
     "spearman"),
    ("nikluge_nli", nikluge.NLI, {"context": "context", "prompt": "prompt"}, "score",
     (metrics.pearson_around_0, metrics.mean_squared_error), "pearson"),
)  # fmt: skip

# name, release, labels, label column, metrics, monitor
TAGGING = (
    ("klue_ner", klue.NER, labels.KLUE_NER, "tags",
     (metrics.entity_f1, metrics.character_f1), "entity_f1"),
    ("nikl_ner", nikl.NE, labels.NIKL_NER, "entities", ENTITIES, "entity_f1_micro"),
    ("nikl_ner_split", nikl.NE_SPLIT, labels.NIKL_NER, "entities", ENTITIES, "entity_f1_micro"),
    ("nikl_ner2020", nikl.NE2020, labels.NIKL_NER2020, "entities", ENTITIES, "entity_f1_micro"),
    ("nikl_ner2020_split", nikl.NE2020_SPLIT, labels.NIKL_NER2020, "entities", ENTITIES,
     "entity_f1_micro"),
    ("nikl_cr_span_extraction", nikl_cr.MENTIONS, labels.NIKL_MENTION, "entities",
     (ENTITIES[0], ENTITIES[2]), "entity_f1_micro"),
    ("naver_ner", naver_ner.NAVER_NER, labels.NAVER_NER, "tags", ENTITIES, "entity_f1_micro"),
    ("massive_ko_slots", public_tables.MASSIVE, labels.MASSIVE_SLOTS, "tags", ENTITIES,
     "entity_f1_micro"),
)  # fmt: skip

# name of a treebank, release
TREEBANKS = (
    ("ud_ko_gsd", conllu.GSD),
    ("ud_ko_kaist", conllu.KAIST),
    ("ud_ko_ksl", conllu.KSL),
)

# name, release, metric (exact match is the monitor), whether a question may have no answer,
# tokens of a window
READING = (
    ("klue_mrc", klue.MRC, metrics.klue_mrc, True, 510),
    ("korquad", korquad.KORQUAD, metrics.korquad, False, 384),
    ("korquad2", korquad2.KORQUAD2, metrics.korquad2, False, 510),
    ("nikl_cr_coref_span_prediction", nikl_cr.ANTECEDENTS, metrics.korquad, False, 510),
)

# name, release, kind of summary
SUMMARIZATION = (
    ("nikl_summarization_summary", nikl.SUMMARY_SUMMARY, "summary"),
    ("nikl_summarization_summary_split", nikl.SUMMARY_SUMMARY_SPLIT, "summary"),
    ("nikl_summarization_topic", nikl.SUMMARY_TOPIC, "topic"),
    ("nikl_summarization_topic_split", nikl.SUMMARY_TOPIC_SPLIT, "topic"),
)

# name, release, fields of the text, target column, metrics, maximum number of generated tokens
WRITING = (
    ("sae4k_gen", kor_corpora.SAE4K, ("utterance",), "phrase",
     (metrics.rouge, metrics.exact_match), 64),
    ("nikluge_sc_gen", nikluge.SC, ("sentence1", "sentence3"), "summary", SUMMARY, 96),
    ("nikluge_gtps_gen", nikluge.GTPS, ("table",), "summary", SUMMARY, 256),
    ("nikluge_dcs_gen", nikluge.DCS, ("keyword", "conversation"), "summary", SUMMARY, 256),
)  # fmt: skip


def register_all() -> None:
    """Registers the tasks of the tables above, and those that are one of a kind."""
    for name, release, fields, names, scores, best, epochs in CLASSIFICATION:
        families.classification(
            name,
            ReleaseSource(release),
            fields=fields,
            labels=names,
            column=COLUMNS.get(name, "label"),
            metrics=scores,
            best=Monitor(best),
            defaults=Defaults(epochs=epochs),
        )
    for name, release, fields, num_choices, keys, epochs in CHOICE:
        families.choice(
            name,
            ReleaseSource(release),
            fields=fields,
            choices=[f"choice{i}" for i in range(1, num_choices + 1)],
            keys=tuple(keys),
            metrics=KOBEST,
            best=Monitor("macro_f1"),
            defaults=Defaults(batch_size=16, epochs=epochs),
        )
    for name, release, fields, names, best, epochs in MULTILABEL:
        families.multilabel(
            name,
            ReleaseSource(release),
            fields=fields,
            labels=names,
            best=Monitor(best),
            defaults=Defaults(epochs=epochs),
        )
    for name, release, fields, column, scores, best in SIMILARITY:
        families.similarity(
            name,
            ReleaseSource(release),
            fields=fields,
            column=column,
            metrics=scores,
            best=Monitor(best),
            defaults=Defaults(),
        )
    for name, release, names, column, scores, best in TAGGING:
        families.tagging(
            name,
            ReleaseSource(release),
            labels=names,
            column=column,
            metrics=scores,
            best=Monitor(best),
            defaults=Defaults(epochs=3),
        )
    for name, release in TREEBANKS:
        structured.dependencies(
            f"{name}_dp",
            ReleaseSource(release),
            labels=labels.UD_RELATIONS,
            metrics=(metrics.attachment,),
            best=Monitor("las"),
            defaults=Defaults(epochs=10),
        )
        families.tagging(
            f"{name}_pos",
            ReleaseSource(release),
            labels=labels.UD_POS,
            metrics=(metrics.word_accuracy,),
            best=Monitor("accuracy"),
            defaults=Defaults(epochs=5),
        )
    register_texts()
    register_single_ones()


def register_texts() -> None:
    """Registers reading, summarization and other generation of text."""
    for name, release, score, may_be_impossible, length in READING:
        families.reading(
            name,
            ReleaseSource(release),
            metrics=(score,),
            best=Monitor("exact_match"),
            may_be_impossible=may_be_impossible,
            defaults=Defaults(batch_size=16, epochs=5),
            window_length=length,
            tail=700 if release is nikl_cr.ANTECEDENTS else None,
        )
    for name, release, kind in SUMMARIZATION:
        families.summarization(
            name,
            ReleaseSource(release),
            kind=kind,
            metrics=SUMMARY,
            best=Monitor("rouge1[syllable]"),
            defaults=Defaults(batch_size=16, epochs=3),
        )

    for name, release, fields, column, scores, length in WRITING:
        text_to_text(
            name,
            ReleaseSource(release),
            fields={name: name for name in fields},
            column=column,
            metrics=scores,
            best=Monitor("rouge1[syllable]"),
            generate={"max_new_tokens": length, "num_beams": 1},
            defaults=Defaults(batch_size=16, epochs=4),
        )


def register_single_ones() -> None:
    """Registers the tasks that only KLUE has, and coreference."""
    families.classification(
        "klue_sts_binary",
        ReleaseSource(klue.STS),
        fields=SENTENCES,
        labels=labels.KLUE_STS_BINARY,
        column="binary_label",
        metrics=(metrics.f1_of("positive"), ACCURACY),
        best=Monitor("f1"),
        generative=False,
        defaults=Defaults(),
    )
    relations = {
        "source": ReleaseSource(klue.RE),
        "labels": labels.KLUE_RE,
        "metrics": RELATION,
        "best": Monitor("micro_f1"),
        "defaults": Defaults(epochs=3),
    }
    written = {
        "render": steps.relation_segments,
        "input_columns": text.RELATION_COLUMNS,
        "generative_metrics": WRITTEN_RELATION,
    }
    families.classification("klue_re", **written, **relations)
    structured.entity_pairs("klue_re_tk_idx", **relations)
    structured.dependencies(
        "klue_dp",
        ReleaseSource(klue.DP),
        labels=labels.KLUE_DP,
        metrics=(metrics.klue_dp,),
        best=Monitor("uas"),
        defaults=Defaults(epochs=10),
    )
    for register in (coreference.coreference, written_coreference):
        register(
            "nikl_cr",
            ReleaseSource(nikl_cr.DOCUMENTS),
            metrics=(metrics.coreference,),
            best=Monitor("conll_f1"),
            defaults=Defaults(batch_size=4, epochs=10),
        )
    structured.dialogue_states(
        "klue_dst",
        ReleaseSource(klue.WOS),
        metrics=(metrics.dialogue_state,),
        best=Monitor("joint_goal_accuracy"),
        defaults=Defaults(batch_size=16, epochs=5),
    )


if __name__ == "__main__":
    # With -m this file is the module `__main__`. The imported module registers the tasks and prints
    # them; otherwise every name would be registered twice.
    from ke_t5.task.task import main as listing

    run_and_exit(partial(listing, sys.argv[1:]))
else:
    register_all()
    register_mixtures()
