"""The names of a checkpoint's tensors, and whether it has a trained pooler. Imports no torch.

A classifier of transformers that uses the encoder's pooler, as BERT's does, learns nothing for
hundreds of updates if the pooler is newly initialized. Checkpoints of masked language models and
of many sentence encoders have no pooler.
"""

from __future__ import annotations

import importlib
import json
import pickletools
import re
import zipfile
from pathlib import Path

from ke_t5.hub import SECONDS_TO_ANSWER
from ke_t5.lookup.hub import PICKLED_WEIGHTS, SAFE_WEIGHTS, Pretrained

# Model types whose sequence classifier uses the encoder's pooler.
POOLED_TYPES = (
    "albert", "bert", "canine", "ernie", "fnet", "gte", "layoutlm", "luke", "megatron-bert",
    "mobilebert", "nomic_bert", "rembert", "roc_bert", "squeezebert",
)  # fmt: skip

# Further types whose model for multiple choice uses it, while the sequence classifier has a head of
# its own.
POOLED_FOR_CHOICES = (
    "big_bird", "camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip

# The names of poolings in sentence-transformers, and our head for each.
POOLINGS = {
    "pooling_mode_mean_tokens": "EncoderForSequenceClassificationMean",
    "pooling_mode_cls_token": "EncoderForSequenceClassificationFirst",
    "pooling_mode_lasttoken": "EncoderForSequenceClassificationLast",
}


def tensor_names(pretrained: Pretrained) -> set[str] | None:
    """The names of the tensors in a checkpoint; reads only headers and indexes.

    None if they cannot be determined: no weights, no network, or an old pickle. For a pickled
    checkpoint the set contains other strings, too.
    """
    for name in (*reversed(SAFE_WEIGHTS), *reversed(PICKLED_WEIGHTS)):
        if name in SAFE_WEIGHTS and _is_remote(pretrained, name):
            names = _remote_names(pretrained)
            if names is not None:
                return names
            continue
        path = file_of(pretrained, name)
        if path is None:
            continue
        try:
            if name.endswith(".index.json"):
                return {*json.loads(path.read_text(encoding="utf-8"))["weight_map"].keys()}
            return set(safetensors_header(path)) if name in SAFE_WEIGHTS else _pickled_strings(path)
        except Exception:  # JSON, zip and pickle fail in many ways; loading the weights reports it
            return None
    return None


def safetensors_header(path: Path) -> dict[str, dict]:
    """Name -> {"dtype", "shape", "data_offsets"} of each tensor in a safetensors file."""
    with path.open("rb") as file:
        # The header's length in 8 bytes, then the header as JSON.
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def head_for_pooling(
    pretrained: Pretrained, *, has_choices: bool = False
) -> tuple[str, str] | None:
    """(our text classifier, the reason) if transformers' class would initialize a pooler that the
    checkpoint does not have; None if that class is suitable.

    For a model of sentence-transformers, the classifier follows its declared pooling.

    Args:
        has_choices: whether it is transformers' class for multiple choice, and not a classifier.
    """
    model_type = pretrained.config["model_type"]
    tables = importlib.import_module("transformers.models.auto.modeling_auto")
    if model_type not in {*tables.MODEL_FOR_MASKED_LM_MAPPING_NAMES, *POOLED_TYPES}:
        return None
    pooling = _pooling_of(pretrained)
    if pooling is not None:
        return pooling, "the pooling in 1_Pooling/config.json"
    names = tensor_names(pretrained)
    if names is None or has_pooler(names):
        return None
    pooled = (*POOLED_TYPES, *POOLED_FOR_CHOICES) if has_choices else POOLED_TYPES
    if model_type in pooled or not _has_head(names):
        return POOLINGS["pooling_mode_mean_tokens"], "the checkpoint has no trained pooler"
    return None


def _pooling_of(pretrained: Pretrained) -> str | None:
    """Our head for the pooling of a sentence-transformers model; None for other models."""
    path = file_of(pretrained, "1_Pooling/config.json")
    if path is None:
        return None
    try:
        modes = json.loads(path.read_text(encoding="utf-8"))
        heads = [head for mode, head in POOLINGS.items() if modes.get(mode)]
    except (OSError, ValueError, AttributeError, RecursionError):
        return None  # it affects only this default
    return heads[0] if len(heads) == 1 else None


def has_pooler(names: set[str]) -> bool:
    """Whether one of a checkpoint's tensors belongs to the pooler of the encoder."""
    return any(re.search(r"(^|\.)pooler\.", name) for name in names)


def lacks_head(pretrained: Pretrained) -> bool:
    """Whether the folder of a seq2seq model with an untied head contains no head weights."""
    if pretrained.folder is None or not pretrained.config.get("is_encoder_decoder"):
        return False
    names = tensor_names(pretrained)
    return names is not None and "lm_head.weight" not in names


def _has_head(names: set[str]) -> bool:
    """Whether a checkpoint has the head that its encoder was pre-trained or fine-tuned with."""
    heads = r"(^|\.)(lm_head|cls|classifier|head|vocab_\w+|\w+_predictions?|decoder|predictions)\."
    return any(re.search(heads, name) for name in names)


def _is_remote(pretrained: Pretrained, name: str) -> bool:
    """Whether a file has to be downloaded from the hub."""
    return (
        pretrained.folder is None
        and not pretrained.local_only
        and _cached(pretrained, name) is None
    )


def _cached(pretrained: Pretrained, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(pretrained.name, name)
    return Path(path) if isinstance(path, str) else None


def _remote_names(pretrained: Pretrained) -> set[str] | None:
    """The tensor names of a model on the hub; only the safetensors headers are downloaded."""
    from huggingface_hub import get_safetensors_metadata

    try:
        return set(get_safetensors_metadata(pretrained.name).weight_map)
    except Exception:  # loading the weights reports what is wrong
        return None


def file_of(pretrained: Pretrained, name: str) -> Path | None:
    """A file of the model, downloaded if it is on the hub; None if there is none."""
    if pretrained.folder is not None:
        path = pretrained.folder / name
        return path if path.is_file() else None
    if not _is_remote(pretrained, name):
        return _cached(pretrained, name)
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(hf_hub_download(pretrained.name, name, etag_timeout=SECONDS_TO_ANSWER))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None


def _pickled_strings(path: Path) -> set[str] | None:
    """All strings in a pickled checkpoint, tensor names included; nothing is executed."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        (data,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        operations = pickletools.genops(archive.read(data))
        return {value for _, value, _ in operations if isinstance(value, str)}
