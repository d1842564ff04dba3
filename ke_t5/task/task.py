"""The table of tasks. A plain name is for encoders; `_gen` is generative, for T5.

Hold a row against the benchmark's paper: source, fields, labels, metrics (the first one named by
`best` picks the best snapshot).
"""

from __future__ import annotations

from ke_t5.pipe.sources import ReleaseSource
from ke_t5.pipe.task import greatest
from ke_t5.readers import klue, kor_corpora
from ke_t5.task import labels, metrics
from ke_t5.task.families import classification, tagging


def register_all() -> None:
    """Registers every task of the table."""
    for name, release, fields, names, scores, best in (
        ("klue_tc", klue.YNAT, {"title": "title"}, labels.KLUE_TC,
         (metrics.macro_f1, metrics.accuracy), "macro_f1"),
        ("klue_nli", klue.NLI, {"premise": "premise", "hypothesis": "hypothesis"}, labels.KLUE_NLI,
         (metrics.accuracy,), "accuracy"),
        ("kor_3i4k", kor_corpora.KOR_3I4K, {"text": "text"}, labels.KOR_3I4K,
         (metrics.accuracy, metrics.macro_f1), "accuracy"),
    ):  # fmt: skip
        classification(
            name,
            ReleaseSource(release),
            fields=fields,
            labels=names,
            metrics=scores,
            best=greatest(best),
        )
    tagging(
        "klue_ner",
        ReleaseSource(klue.NER),
        labels=labels.KLUE_NER,
        metrics=(metrics.entity_f1, metrics.character_f1),
        best=greatest("entity_f1"),
    )


register_all()
