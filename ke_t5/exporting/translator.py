"""Converts a generative T5 to CTranslate2, and verifies that its greedy answers are the model's.

ctranslate2/    for `ctranslate2.Translator`
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ke_t5.errors import Exit, UserError
from ke_t5.extras import require_extra
from ke_t5.forms import FORMS

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FOLDER = "ctranslate2"
MODEL_TYPES = ("t5", "mt5")
TEXTS = (
    "서울은 대한민국의 수도이다.",
    "배송이 빨라서 좋았지만 포장이 아쉬웠다.",
    "question: 수도는 어디인가? context: 서울은 나라의 수도이다.",
)
LONGEST_ANSWER = 24  # tokens
CARD = """
## CTranslate2

```python
import ctranslate2
from transformers import AutoTokenizer

folder = "this folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
translator = ctranslate2.Translator(f"{folder}/ctranslate2")
tokens = tokenizer.convert_ids_to_tokens(tokenizer("한 문장입니다.")["input_ids"])
options = {"beam_size": 1, "min_decoding_length": 0, "max_input_length": 0}  # as the model
answer = translator.translate_batch([tokens], **options)[0].hypotheses[0]
print(tokenizer.decode(tokenizer.convert_tokens_to_ids(answer), skip_special_tokens=True))
```
"""


def check_ctranslate2(model: PreTrainedModel, form: str) -> None:
    """Raises UserError for a model that is not supported, or if the extra is not installed."""
    require_extra("--ctranslate2", "ctranslate2", "ctranslate2")
    if not FORMS[form].generates or model.config.model_type not in MODEL_TYPES:
        what = f"{type(model).__name__} is not a generative T5 or mT5"
        fix = "use --onnx, or the plain export"
        raise UserError(what, "--ctranslate2", fix, Exit.FLAGS)


def write_ctranslate2(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> str:
    """Adds the conversion to the folder of an export; returns its section of the model card.

    Raises:
        UserError: the conversion fails, or the answers differ.
    """
    import ctranslate2
    from ctranslate2.converters import TransformersConverter

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TransformersConverter(str(folder)).convert(str(folder / FOLDER))
    except Exception as error:
        reason = " ".join(str(error).split())
        raise _refused(f"it cannot be converted ({reason:.80})") from error
    translator = ctranslate2.Translator(str(folder / FOLDER), device="cpu", compute_type="float32")
    for text in TEXTS:
        ids = _own_answer(model, tokenizer, text)
        tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
        # By default CTranslate2 generates at least one token; the model's answer may be empty.
        (result,) = translator.translate_batch(
            [tokens], beam_size=1, max_decoding_length=LONGEST_ANSWER, min_decoding_length=0
        )
        found: Any = tokenizer.convert_tokens_to_ids(result.hypotheses[0])
        if found != ids:
            raise _refused(f"it answers {text[:20]!r} differently from the model")
    return CARD


def _own_answer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The token ids of the model's greedy answer, without special tokens."""
    generative: Any = model
    inputs: Any = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        (ids,) = generative.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], num_beams=1,
            do_sample=False, max_new_tokens=LONGEST_ANSWER,
        ).tolist()  # fmt: skip
    ids = ids[1:]  # without the start token
    end = model.config.eos_token_id
    return ids[: ids.index(end)] if end in ids else ids


def _refused(what: str) -> UserError:
    fix = "use the plain export; nothing was written"
    return UserError(what, "--ctranslate2", fix, Exit.CHECKPOINT)
