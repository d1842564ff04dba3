"""The input text of a row, rendered as in training, for use with a pipeline."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from ke_t5.pipe.prefixes import prefixed
from ke_t5.pipe.task import Task, TaskRegistry
from ke_t5.task import choices, steps


def render_input(task: str | Task, row: Mapping[str, Any], tokenizer: Any) -> Any:
    """The input of a row, in the format that `pipeline` and tokenizers accept.

        klue_nli, T5         ->  "premise: 비가 온다. hypothesis: 젖는다."
        klue_nli_gen         ->  "klue_nli premise: 비가 온다. hypothesis: 젖는다."
        klue_nli, BERT       ->  {"text": "비가 온다.", "text_pair": "젖는다."}

    For multiple choice, a list with one input per choice.

    Args:
        task: a registered task, or its name.
        row: the fields, named as in the task's release.
        tokenizer: the model's tokenizer; if it has no separator, the fields are named in the text.

    Raises:
        ValueError: the task's inputs need more than the fields of a row, or a field is missing.
    """
    task = TaskRegistry.get(task) if isinstance(task, str) else task
    try:
        return _rendered(task, row, tokenizer)
    except KeyError as error:
        raise ValueError(f"{task.name} reads {error}, which the row does not have") from None


def _rendered(task: Task, row: Mapping[str, Any], tokenizer: Any) -> Any:
    for step in task.preprocessors:
        if isinstance(step, functools.partial) and step.func is steps.add_inputs:
            prefix = step.keywords.get("prefix", "")
            named = bool(prefix) or tokenizer.sep_token is None
            texts = step.keywords["render"](row, prefix=prefix, named=named)
            return _joined(prefixed(texts, task.prefixes))
        if isinstance(step, functools.partial) and step.func is choices.add_choices:
            names, fields = step.keywords["choices"], step.keywords["fields"]
            render = functools.partial(choices.choice_segments, fields=fields)
            named = tokenizer.sep_token is None
            texts = [render(row, choice=name, named=named) for name in names]
            return [_joined(prefixed(one, task.prefixes)) for one in texts]
    raise ValueError(f"the inputs of {task.name} are not made of fields alone")


def _joined(parts: list[str]) -> str | dict[str, str]:
    """The only segment, or both under the names that a pipeline uses."""
    return parts[0] if len(parts) == 1 else dict(text=parts[0], text_pair=parts[1])


def input_form(task: Task, tokenizer: Any) -> Any:
    """`render_input` with `{field}` for each value; None if the fields are not all texts."""
    try:
        return render_input(task, _Fields(), tokenizer)
    except (ValueError, TypeError, AttributeError):
        return None


class _Fields(dict):
    """A row in which the value of every field is its name in braces."""

    def __missing__(self, name: str) -> str:
        return f"{{{name}}}"
