"""The demo page of a model: an input field for each column of the task, and the prediction."""

from __future__ import annotations

import itertools
import json
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

# Read when gradio is imported: it must not send usage statistics.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from fastapi import HTTPException

from ke_t5.forms import FORMS
from ke_t5.serving.batcher import Batcher
from ke_t5.serving.predictor import Predictor
from ke_t5.serving.server import Limits, checked_rows

Content = Mapping[str, Any]

# System fonts: none is fetched from another host.
FONTS = ["Pretendard", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", "sans-serif"]
TITLES = {
    "title": "제목", "text": "글", "text_pair": "짝이 되는 글", "sentence": "문장",
    "sentence1": "문장 1", "sentence2": "문장 2", "premise": "전제", "hypothesis": "가설",
    "question1": "질문 1", "question2": "질문 2", "question": "질문", "context": "지문",
    "article": "기사", "words": "문장", "subject": "주어 개체", "object": "목적어 개체",
    "history": "대화 (한 줄에 한 차례, 사용자부터)",
    **{f"choice{i}": f"선택지 {i}" for i in range(1, 10)},
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
OF_CHOICES = {
    "premise": "밤새 비가 많이 왔다.", "question": "결과", "context": "하늘이 흐려졌다.",
    "text": "밤새 비가 많이 왔다.", "choice1": "길이 젖었다.", "choice2": "해가 떴다.",
    "choice3": "밥을 먹었다.", "choice4": "문을 닫았다.",
}  # fmt: skip
ANSWER: dict[str, Any] = {"elem_id": "answer", "elem_classes": "answer"}
MOST_SHOWN = 10  # labels with a bar
UNREADABLE = "(모델이 쓴 것이 답이 아닙니다)"
COLORS = ["#4f46e5", "#dc2626", "#15803d", "#b45309", "#9333ea", "#0e7490", "#c2410c", "#be185d"]
CSS = """
.answer .bar { height: 10px; border-radius: 5px; }
.answer .confidence-set { font-family: inherit; }
.answer .textfield { font-size: 1.1em; line-height: 2.2; }
"""


def make_page(predictor: Predictor, batcher: Batcher, limits: Limits) -> gr.Blocks:
    """The demo page of a model."""
    task, columns = predictor.task, predictor.task.input_columns or ("text",)
    outputs = _outputs(predictor)

    def answer(*values: str) -> Any:
        row = dict(zip(columns, values, strict=True))
        for name, value in row.items():
            if not value.strip():
                what = f"비어 있는 칸: {TITLES.get(name, name)}"
                raise gr.Error(what, title="입력", print_exception=False)
        try:
            checked_rows([row], limits)
            (prediction,) = batcher.submit([row]).result()
        except HTTPException as error:
            raise gr.Error(str(error.detail), print_exception=False) from None
        except queue.Full:
            raise gr.Error("잠시 뒤에 다시 눌러 주세요.", print_exception=False) from None
        if prediction.error is not None:
            raise gr.Error(prediction.error.what, print_exception=False)
        for what in prediction.lost:
            gr.Warning(what, title="입력")
        shown = SHOWN[predictor.kind](prediction.content, row)
        return (*shown, json.dumps(prediction.content, ensure_ascii=False, indent=1))

    with gr.Blocks(title=f"ke_t5 · {task.name}", analytics_enabled=False) as page:
        gr.Markdown(f"# {task.name}\n`POST /predict` · `GET /health` · {predictor.device}")
        with gr.Row(equal_height=False):
            with gr.Column():
                fields = [_field(name) for name in columns]
                button = gr.Button("예측", variant="primary", elem_id="predict")
            with gr.Column():
                shown_in = [make() for make in outputs]
                with gr.Accordion("JSON", open=False):
                    shown_in.append(gr.Code(language="json", show_label=False))
        texts = OF_CHOICES if predictor.kind == "choice" else EXAMPLES
        if all(name in texts for name in columns):
            gr.Examples([[texts[name] for name in columns]], fields, label="예")
        events = [button.click, *(field.submit for field in fields)]
        gr.on(events, answer, fields, shown_in, api_visibility="private", show_progress="minimal")
    return page


def _field(name: str) -> gr.Textbox:
    is_long = name in LONG
    return gr.Textbox(
        label=TITLES.get(name, name), lines=8 if is_long else 2, elem_id=f"field-{name}"
    )


# ------------------------------------------------------------------------------------- answers


def _label() -> gr.Label:
    return gr.Label(label="레이블", num_top_classes=MOST_SHOWN, **ANSWER)


def _choice() -> gr.Label:
    return gr.Label(label="고른 것", **ANSWER)


def _probabilities() -> gr.Label:
    return gr.Label(
        label="확률", num_top_classes=MOST_SHOWN, show_heading=False, elem_classes="answer"
    )


def _marked(labels: Sequence[str]) -> gr.HighlightedText:
    """A text with its entities; a label has the same colour in every text."""
    colors = dict(zip(labels, itertools.cycle(COLORS), strict=False))
    return gr.HighlightedText(label="표시한 글", color_map=colors, combine_adjacent=False, **ANSWER)


def _passage() -> gr.HighlightedText:
    return gr.HighlightedText(label="지문", color_map={"답": COLORS[0]}, elem_classes="answer")


def _words(label: str = "답") -> gr.Textbox:
    return gr.Textbox(label=label, lines=2, elem_id="answer", interactive=False)


def _tree() -> gr.Dataframe:
    headers = ["번호", "어절", "지배소", "관계"]
    return gr.Dataframe(label="의존 구문", headers=headers, elem_id="answer", interactive=False)


def _outputs(predictor: Predictor) -> list[Callable[[], Any]]:
    """The functions that create the components of an answer."""
    is_passage = predictor.kind == "answer" and "context" in predictor.task.input_columns
    if predictor.kind == "answer":
        return [_words, _passage] if is_passage else [_words, lambda: gr.State(None)]
    if predictor.kind == "labels":
        is_written = FORMS[predictor.task.form].generates
        bars = (lambda: gr.State(None)) if is_written else _probabilities
        return [partial(_words, "레이블"), bars]
    tags = predictor.task.labels or ()
    labels = dict.fromkeys(tag.partition("-")[2] for tag in tags if "-" in tag)
    makers: dict[str, Callable[[], Any]] = {
        "label": _label, "choice": _choice, "entities": partial(_marked, list(labels)),
        "tree": _tree,
    }  # fmt: skip
    return [makers.get(predictor.kind, _words)]


def _show_label(content: Content, row: Content) -> tuple:
    return (content.get("probabilities") or content["label"] or UNREADABLE,)


def _show_labels(content: Content, row: Content) -> tuple:
    if content["labels"] is None:
        return UNREADABLE, None
    named = ", ".join(content["labels"]) or "(해당하는 레이블이 없습니다)"
    return named, content.get("probabilities")


def _show_choice(content: Content, row: Content) -> tuple:
    scores, number = content.get("probabilities", ()), content["choice"]
    if not scores:
        return (UNREADABLE if number is None else f"{number}. {row[f'choice{number}']}",)
    texts = list(row.values())[-len(scores) :]  # the last fields are the choices
    numbered = (f"{i}. {text}" for i, text in enumerate(texts, 1))
    return (dict(zip(numbered, scores, strict=True)),)


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


def _show_chains(content: Content, row: Content) -> tuple:
    if content["chains"] is None:
        return (UNREADABLE,)
    chains = [" · ".join(one["text"] for one in chain) for chain in content["chains"]]
    return ("\n".join(chains) or "(사슬이 없습니다)",)


def _show_text(content: Content, row: Content) -> tuple:
    if "state" in content:
        return ("\n".join(content["state"] or ["-"]),)
    return (str(content.get("value", content.get("text"))),)


SHOWN: dict[str, Callable[[Content, Content], tuple]] = {
    "label": _show_label, "labels": _show_labels, "choice": _show_choice, "value": _show_text,
    "entities": _show_entities, "answer": _show_answer, "tree": _show_tree, "chains": _show_chains,
    "state": _show_text,
    "text": _show_text,
}  # fmt: skip
