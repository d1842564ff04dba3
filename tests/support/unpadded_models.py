"""Small encoders with ragged batches, and their results with and without padding."""

from __future__ import annotations

from contextlib import nullcontext

import torch
import transformers

from support.our_models import make_batch

LENGTHS = (1, 14, 3, 7, 14, 6, 6, 2, 1)
SIZES = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 24, "max_position_embeddings": 40, "num_labels": 3,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
# Buckets of several tokens, and distances beyond the last of them.
T5_SIZES = {
    "vocab_size": 40, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 9, "num_labels": 3,
    "decoder_start_token_id": 0, "dropout_rate": 0.0,
}  # fmt: skip
MODERN = {
    "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 24, "local_attention": 6, "global_attn_every_n_layers": 2,
    "num_labels": 3, "pad_token_id": 0, "bos_token_id": 1, "cls_token_id": 1, "eos_token_id": 2,
    "sep_token_id": 2,
}  # fmt: skip
ROBERTA = {**SIZES, "type_vocab_size": 2, "pad_token_id": 1}
FAMILIES = {
    "BertForSequenceClassification": SIZES,
    "BertForTokenClassification": SIZES,
    "BertForMultipleChoice": SIZES,
    "RobertaForSequenceClassification": ROBERTA,
    "RobertaForTokenClassification": ROBERTA,
    "XLMRobertaForSequenceClassification": ROBERTA,
    "CamembertForTokenClassification": ROBERTA,
    "ElectraForSequenceClassification": {**SIZES, "embedding_size": 8},
    "ElectraForTokenClassification": SIZES,
    "ModernBertForSequenceClassification": {**MODERN, "classifier_pooling": "mean"},
    "ModernBertForTokenClassification": MODERN,
    "T5ForTokenClassification": T5_SIZES,
    "T5ForConditionalGeneration": T5_SIZES,
    "MT5ForConditionalGeneration": {**T5_SIZES, "feed_forward_proj": "gated-gelu"},
    "MT5ForTokenClassification": {**T5_SIZES, "feed_forward_proj": "gated-gelu"},
}


def model_of(name):
    """A model of a transformers class in training mode, with weights not close to zero."""
    torch.manual_seed(0)
    model_class = getattr(transformers, name)
    model = model_class._from_config(model_class.config_class(**FAMILIES[name]))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.train()


def batch_for(model):
    """A ragged batch with segments and a padding id within a text, and labels for the model."""
    name = type(model).__name__.replace("ForConditional", "ForToken").replace("Multiple", "")
    batch = make_batch(name, LENGTHS)
    if name != type(model).__name__ and "Conditional" in type(model).__name__:
        lengths = torch.tensor([2, 5, 1, 3, 5, 4, 1, 2, 5])
        is_target = torch.arange(6) < lengths[:, None]  # a column of padding alone, too
        batch["labels"] = batch["labels"][:, :6].clamp(min=3).where(is_target, -100).contiguous()
    batch["input_ids"][batch["attention_mask"] == 0] = model.config.pad_token_id
    batch["input_ids"][1, ..., 3] = model.config.pad_token_id
    batch["attention_mask"] = batch["attention_mask"].contiguous()
    if getattr(model.config, "type_vocab_size", 0) > 1 and "Modern" not in name:
        batch["token_type_ids"] = batch["input_ids"] % 2
    return batch


def computed(model, batch, unpadding=None):
    """The loss, and the gradient of each parameter that has one."""
    model.zero_grad()
    mask = batch["attention_mask"].numpy()
    labels = batch["labels"].numpy() if "labels" in batch else None
    with nullcontext() if unpadding is None else unpadding.over(mask, labels):
        loss = model(**batch).loss
        loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def assert_equal_up_to_rounding(one, other):
    (loss, gradients), (other_loss, other_gradients) = one, other
    torch.testing.assert_close(other_loss, loss, rtol=1e-5, atol=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in gradients.values())
    assert gradients.keys() == other_gradients.keys() and largest > 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(
            other_gradients[name], gradient, rtol=1e-5, atol=1e-5 * largest, msg=name
        )
