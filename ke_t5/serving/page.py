"""The page on which one tries a model: fields for the task's columns, the answer in its form."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

# Read when gradio is imported: nothing is reported to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import HTTPException

from ke_t5.serving.batcher import Batcher
from ke_t5.serving.predictor import Predictor
from ke_t5.serving.server import Limits, checked_rows

Content = Mapping[str, Any]

# Those of the system: none is fetched from another host.
FONTS = ["Pretendard", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "sans-serif"]
TITLES = {
    "title": "제목", "text": "글", "text_pair": "짝이 되는 글", "sentence": "문장",
    "sentence1": "문장 1", "sentence2": "문장 2", "premise": "전제", "hypothesis": "가설",
    "question1": "질문 1", "question2": "질문 2", "question": "질문", "context": "지문",
    "article": "기사", "words": "문장", "subject": "주어 개체", "object": "목적어 개체",
    "history": "대화 (한 줄에 한 차례, 사용자부터)",
}  # fmt: skip
LONG = ("context", "article", "history")
EXAMPLES: dict[str, str] = {
    "title": "축구 대표팀, 평가전에서 3대 1 승리", "text": "이순신은 1545년 서울에서 태어났다.",
    "premise": "비가 온다.", "hypothesis": "땅이 젖는다.", "sentence1": "오늘 날씨가 좋다.",
    "sentence2": "오늘은 날씨가 맑다.", "question": "한국의 수도는 어디인가?",
    "context": "서울은 한국의 수도이며 가장 큰 도시이다.", "words": "나는 어제 책을 읽었다.",
    "sentence": "이순신은 조선의 장군이다.", "subject": "이순신", "object": "조선",
    "history": "서울에서 묵을 호텔을 찾아주세요.",
}  # fmt: skip
MOST_SHOWN = 10  # labels with bars


def make_page(predictor: Predictor, batcher: Batcher, limits: Limits) -> gr.Blocks:
    """The page of a model."""
    task, columns = predictor.task, predictor.task.input_columns or ("text",)
    outputs = _outputs(predictor)

    def answer(*values: str) -> Any:
        row = {
            name: json.loads(value) if name == "choices" else value
            for name, value in zip(columns, values, strict=True)
        }
        try:
            checked_rows([row], limits)
        except HTTPException as error:
            raise gr.Error(str(error.detail), print_exception=False) from None
        (one,) = batcher.submit([row]).result()
        if one.error is not None:
            raise gr.Error(one.error.what, print_exception=False)
        shown = _SHOWN[predictor.kind](one.content, row)
        return (*shown, json.dumps(one.content, ensure_ascii=False, indent=1))

    with gr.Blocks(title=f"ke_t5 · {task.name}", analytics_enabled=False) as page:
        gr.Markdown(f"# {task.name}\n`POST /predict` · `GET /health` · {predictor.device}")
        with gr.Row(equal_height=False):
            with gr.Column():
                fields = [_field(name) for name in columns]
                button = gr.Button("예측", variant="primary", elem_id="predict")
            with gr.Column():
                made = [make() for make in outputs]
                with gr.Accordion("JSON", open=False):
                    made.append(gr.Code(language="json", show_label=False))
        if all(name in EXAMPLES for name in columns):
            gr.Examples([[EXAMPLES[name] for name in columns]], fields, label="예")
        events = [button.click, *(field.submit for field in fields)]
        gr.on(events, answer, fields, made, api_visibility="private", show_progress="minimal")
    return page


def _field(name: str) -> gr.Textbox:
    is_long = name in LONG
    return gr.Textbox(
        label=TITLES.get(name, name), lines=8 if is_long else 2, elem_id=f"field-{name}"
    )


# ------------------------------------------------------------------------------------- answers


def _label() -> gr.Label:
    return gr.Label(label="레이블", num_top_classes=MOST_SHOWN, elem_id="answer")


def _marked() -> gr.HighlightedText:
    return gr.HighlightedText(
        label="글", show_legend=True, elem_id="answer", combine_adjacent=False
    )


def _words() -> gr.Textbox:
    return gr.Textbox(label="답", lines=3, elem_id="answer", interactive=False)


def _tree() -> gr.Dataframe:
    headers = ["번호", "어절", "지배소", "관계"]
    return gr.Dataframe(label="의존 구문", headers=headers, elem_id="answer", interactive=False)


def _outputs(predictor: Predictor) -> list[Callable[[], Any]]:
    """What makes the fields of an answer."""
    is_passage = predictor.kind == "answer" and "context" in predictor.task.input_columns
    if predictor.kind == "answer":
        return [_words, _marked] if is_passage else [_words, lambda: gr.State(None)]
    makers: dict[str, Callable[[], Any]] = {
        "label": _label, "labels": _label, "choice": _label, "entities": _marked, "tree": _tree,
    }  # fmt: skip
    return [makers.get(predictor.kind, _words)]


def _show_label(content: Content, row: Content) -> tuple:
    return (content.get("probabilities") or {str(content["label"]): 1.0},)


def _show_labels(content: Content, row: Content) -> tuple:
    return (content.get("probabilities") or dict.fromkeys(content["labels"] or ["-"], 1.0),)


def _show_choice(content: Content, row: Content) -> tuple:
    names = [f"{i + 1}" for i in range(len(content.get("probabilities", ())))]
    shown = dict(zip(names, content.get("probabilities", ()), strict=True))
    return (shown or {str(content["choice"]): 1.0},)


def _show_entities(content: Content, row: Content) -> tuple:
    entities = [
        {"entity": one["label"], "start": one["start"], "end": one["end"]}
        for one in content["entities"]
    ]
    return ({"text": row["text"], "entities": entities},)


def _show_answer(content: Content, row: Content) -> tuple:
    entities = []
    if content.get("start") is not None:
        entities = [{"entity": "답", "start": content["start"], "end": content["end"]}]
    marked = {"text": row.get("context", ""), "entities": entities}
    return content["answer"] or "(답이 없습니다)", marked if "context" in row else None


def _show_tree(content: Content, row: Content) -> tuple:
    words = enumerate(content["words"], 1)
    return ([[i, one["word"], one["head"], one["relation"]] for i, one in words],)


def _show_text(content: Content, row: Content) -> tuple:
    if "state" in content:
        return ("\n".join(content["state"] or ["-"]),)
    return (str(content.get("value", content.get("text"))),)


_SHOWN: dict[str, Callable[[Content, Content], tuple]] = {
    "label": _show_label, "labels": _show_labels, "choice": _show_choice, "value": _show_text,
    "entities": _show_entities, "answer": _show_answer, "tree": _show_tree, "state": _show_text,
    "text": _show_text,
}  # fmt: skip
