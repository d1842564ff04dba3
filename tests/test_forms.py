"""The table of forms is complete, and the only place that names forms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from ke_t5.forms import FORMS, MODEL_FORMS
from ke_t5.lookup.loader import load_model
from ke_t5.report.model_card import USAGE

PACKAGE = Path(__file__).resolve().parents[1] / "ke_t5"


def arguments_of_tasks(tree: ast.AST) -> Iterator[ast.AST]:
    """Where a task says its form, or its further ones: an argument, its default, an entry of the
    settings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "form":
            yield node.value
        elif isinstance(node, ast.FunctionDef):
            defaults = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from (default for name, default in defaults if name.arg == "form")
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "form":
                    yield value
                elif isinstance(key, ast.Constant) and key.value == "variants":
                    yield from value.keys


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_forms_are_named_only_by_the_table_and_by_tasks(path):
    if path == PACKAGE / "forms.py":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = set(arguments_of_tasks(tree)) if path.parent == PACKAGE / "task" else set()
    named = [
        f"line {node.lineno}: {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in FORMS and node not in allowed
    ]
    assert not named, "ask the form's row in ke_t5/forms.py"


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.name)
def test_a_row_names_what_exists(form):
    assert {form.default_model, form.any_encoder_model} - {None} <= {
        *form.models,
        *([form.default_model] if form.default_model.startswith("transformers:") else []),
    }
    assert form.unlimited_form is None or form.unlimited_form in FORMS
    for name in form.models:
        assert form.name in load_model(name).task_forms == MODEL_FORMS[name]


def test_usage_is_written_for_forms():
    assert {path.stem for path in USAGE.iterdir()} <= set(FORMS)
