"""The mixtures of our tasks."""

from __future__ import annotations

from functools import partial

from ke_t5.pipe.mixture import MixtureRegistry, rate_num_examples


def register_mixtures() -> None:
    """Registers the mixtures."""
    # Capped as in T5, so that the largest task does not dominate.
    MixtureRegistry.add(
        "klue_gen",
        ["klue_tc_gen", "klue_nli_gen", "klue_sts_gen", "klue_re_gen"],
        default_rate=partial(rate_num_examples, maximum=25_000),
    )
    MixtureRegistry.add(
        "kobest_gen",
        [f"kobest_{name}_gen" for name in ("boolq", "copa", "hellaswag", "sentineg", "wic")],
        default_rate=rate_num_examples,
    )
