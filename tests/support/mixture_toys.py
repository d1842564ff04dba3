"""Mixtures for tests."""

from __future__ import annotations

import ke_t5.task.task  # noqa: F401 - registers the tasks
from ke_t5.pipe import Mixture, get_task, rate_num_examples


def mix(*tasks, rates=None):
    return Mixture("mix", tasks, tuple(rates or [rate_num_examples] * len(tasks)))


def mix_of_two():
    """Two registered tasks, one with two and a half times the share of the other."""
    return mix(get_task("klue_tc_gen"), get_task("klue_nli_gen"), rates=(1, 2.5))
