"""Finds pre-trained models: a folder, the hub, or the hub's cache. Imports no torch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ke_t5.errors import Exit, UserError, nearest
from ke_t5.forms import MODEL_FORMS
from ke_t5.hub import SECONDS_TO_ANSWER, network_fault, why_unreachable
from ke_t5.lookup.config_values import check_config_values
from ke_t5.seals import check_folder, is_inside, read_manifest

WHERE = "--pre_trained_model"
SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER = "adapter_config.json"  # peft writes it beside adapter weights
PICKLED_WEIGHTS = ("pytorch_model.bin", "pytorch_model.bin.index.json")
INDEXES = (SAFE_WEIGHTS[1], PICKLED_WEIGHTS[1])
# In older versions the restricted unpickler can be made to run code (CVE-2026-24747).
SAFE_UNPICKLING = (2, 10)


@dataclass(frozen=True)
class Pretrained:
    """A model that exists, and the contents of its `config.json`.

    Attributes:
        name: the folder or hub name, as `from_pretrained` takes it.
        folder: the folder with its files; None for a model on the hub.
        local_only: whether the hub must not be asked: a folder, or a hub model read from the cache.
    """

    name: str
    folder: Path | None
    local_only: bool
    config: dict


def find_pretrained(name: str | Path, *, where: str = WHERE) -> Pretrained:
    """The model of that name; waits for the hub for a few seconds at most.

    Raises:
        UserError: no such folder, no `config.json` in it, no such model, or no network; an adapter
            of peft (`adapter_config.json`); or a folder that was changed after it was sealed (see
            `ke_t5.seals`).
    """
    name = os.fspath(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        check_folder(folder, where=where, weights=False)
        _refuse_adapter(folder, where)
        return Pretrained(str(folder), folder, True, _config_of(folder, f"{where} {name}"))
    if not _may_be_hub_name(name):
        raise no_folder(folder, f"{where} {name!r}")
    return _on_hub(name, f"{where} {name!r}")


def _on_hub(name: str, where: str) -> Pretrained:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    reason = why_unreachable()
    if reason is not None:
        cached = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached, str):
            raise _no_network(name, where, reason)
        if isinstance(try_to_load_from_cache(name, ADAPTER), str):
            raise _is_adapter(where)
        return Pretrained(name, None, True, _config_of(Path(cached).parent, where))
    try:
        path = hf_hub_download(name, "config.json", etag_timeout=SECONDS_TO_ANSWER)
        with suppress(EntryNotFoundError):
            hf_hub_download(name, ADAPTER, etag_timeout=SECONDS_TO_ANSWER)
            raise _is_adapter(where)
    except RepositoryNotFoundError as error:
        raise UserError(
            "neither a folder nor a model on the hub (or it is private)",
            where,
            "check the name; log in with `hf auth login` if it is private",
            Exit.CHECKPOINT,
        ) from error
    except EntryNotFoundError as error:
        raise _no_config(where) from error
    except (HfHubHTTPError, OSError) as error:
        cut_off = network_fault(error, where)
        if cut_off is not None:
            raise cut_off from error
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(first_line, where, "try again, or give a folder", Exit.MACHINE) from error
    return Pretrained(name, None, False, _config_of(Path(path).parent, where))


def _config_of(folder: Path, where: str) -> dict:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _of_a_run(folder, where) or _no_config(where) from error
    except OSError as error:
        what = f"cannot be read ({error.strerror})"
        raise UserError(what, str(path), "download it again", Exit.CHECKPOINT) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"not JSON ({error!s:.80})", str(path), "download the file again", Exit.CHECKPOINT
        ) from error
    if not isinstance(config, dict) or not _is_text(config.get("model_type")):
        raise UserError(
            "names no model_type", str(path), "give the folder of a model", Exit.CHECKPOINT
        )
    for name, value in code_named_in(config):
        raise UserError(
            f"{name} = {value!r:.60} names code of the hub, which is never run",
            str(path),
            "remove it there",
            Exit.CHECKPOINT,
        )
    check_config_values(config, str(path))
    return config


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def code_named_in(config: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yields (name, value) of each implementation that transformers would load from the hub, such
    as `{"_attn_implementation": "owner/kernel"}`, also in nested configurations."""
    if isinstance(config, dict):
        for key, value in config.items():
            inner = key if key.endswith("_implementation") or not name else name
            yield from code_named_in(value, inner)
    elif isinstance(config, list):
        for value in config:
            yield from code_named_in(value, name)
    elif name.endswith("_implementation") and isinstance(config, str) and "/" in config:
        yield name, config


def check_replaceable(folder: Path, *, flag: str = "--hf_path") -> None:
    """Raises UserError if the folder contains something other than an export.

    Args:
        flag: the flag that names the folder, for the error.
    """
    names = ("config.json", ADAPTER)
    if not folder.exists() or any((folder / name).is_file() for name in names):
        return
    if folder.is_dir() and not any(folder.iterdir()):
        return
    raise UserError(
        "it exists and is not an exported model",
        f"{flag} {folder}",
        "choose a new folder",
        Exit.CHECKPOINT,
    )


def require_weights(pretrained: Pretrained, *, where: str = WHERE) -> None:
    """Raises UserError if a folder contains no weights, weights that cannot be read safely, or
    weights that were changed after it was sealed."""
    if pretrained.folder is None:
        return
    check_folder(pretrained.folder, where=where)
    there = {path.name for path in pretrained.folder.iterdir()}
    for index in there.intersection(INDEXES):
        check_index(pretrained.folder / index)
    if there.intersection(SAFE_WEIGHTS):
        return
    if not there.intersection(PICKLED_WEIGHTS):
        raise UserError(
            f"the folder contains no weights ({SAFE_WEIGHTS[0]} or {PICKLED_WEIGHTS[0]})",
            f"{where} {pretrained.name}",
            "add --from_scratch true to start from its configuration with fresh weights",
            Exit.CHECKPOINT,
        )
    torch = version("torch")  # from its metadata: importing it takes seconds
    if tuple(int(part) for part in re.findall(r"\d+", torch)[:2]) < SAFE_UNPICKLING:
        raise UserError(
            f"its weights are pickled, and torch {torch} cannot read them safely",
            f"{where} {pretrained.name}",
            f"install torch >= {'.'.join(map(str, SAFE_UNPICKLING))}, or convert to safetensors",
            Exit.MACHINE,
        )


def check_index(path: Path) -> None:
    """Raises UserError if an index of weights names a file that is not beside it."""
    fix = "download the model again"
    try:
        files = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError("is not an index of weights", str(path), fix, Exit.CHECKPOINT) from error
    for name in sorted(files, key=str):
        if not is_inside(name):
            what = f"names a file outside its folder ({name!r:.60})"
        elif not (path.parent / name).is_file():
            what = f"names {name:.60}, which is missing"
        else:
            continue
        raise UserError(what, str(path), fix, Exit.CHECKPOINT)


def _refuse_adapter(folder: Path, where: str) -> None:
    # With peft installed, transformers would load the model named in the file, from anywhere.
    if (folder / ADAPTER).exists():
        raise _is_adapter(f"{where} {folder}")


def _is_adapter(where: str) -> UserError:
    return UserError(
        "it is an adapter (adapter_config.json), not a model",
        where,
        "merge it into its model first (merge_and_unload of peft), and save that",
        Exit.CHECKPOINT,
    )


def _may_be_hub_name(name: str) -> bool:
    """Whether the hub accepts such a name: at most one slash, and no letters such as Hangul."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return re.match(r"\w", name) is not None


def no_folder(folder: Path, where: str) -> UserError:
    """The error for a folder that does not exist, with similar names beside it."""
    fix = _similar(folder) or "check the path"
    return UserError("there is no such folder", where, fix, Exit.CHECKPOINT)


def _similar(folder: Path, *, content: str = "") -> str:
    """The fix that names the similar folders beside a missing one; "" if there are none.

    Args:
        content: a file that they must contain.
    """
    beside = [
        path.name for path in folder.parent.glob("*") if path.is_dir() and (path / content).exists()
    ]
    near = [repr(str(folder.with_name(name))) for name in nearest(folder.name, beside)]
    return f"did you mean {', '.join(near)}?" if near else ""


def _no_config(where: str) -> UserError:
    return UserError(
        "there is no config.json in it",
        where,
        "give the folder or hub name of a model in transformers' layout",
        Exit.CHECKPOINT,
    )


def _of_a_run(folder: Path, where: str) -> UserError | None:
    """The error for the folder of a training run or of a checkpoint; None for any other folder."""
    is_checkpoint = (folder / "progress.json").is_file()
    if not is_checkpoint and not (folder / "weights").is_dir():
        return None
    kind = "a checkpoint of a run" if is_checkpoint else "the folder of a run"
    fix = "export it first: ke-t5 export --run RUN --output MODEL (to test it, use --resume)"
    return UserError(f"it is {kind}, not a model", where, fix, Exit.CHECKPOINT)


def _no_network(name: str, where: str, reason: str) -> UserError:
    download = f"give a downloaded folder (`hf download {name}`)"
    if where.startswith(WHERE):  # --sample cannot replace the trained model of --hf_path
        download += ", or --sample"
    fix = _similar(Path(name), content="config.json") or download
    return UserError(f"not a folder, and {reason}", where, fix, Exit.CHECKPOINT)


def saved_class(pretrained: Pretrained) -> str | None:
    """The class that saved a folder of this package, as `--model_name` takes it; None for a model
    that was saved by another program."""
    if pretrained.folder is None:
        return None
    with suppress(FileNotFoundError):
        manifest = read_manifest(pretrained.folder) or {}
        if isinstance(manifest.get("model_class"), str):
            module, _, name = manifest["model_class"].partition(":")
            is_ours = module.startswith("ke_t5.models.") and name in MODEL_FORMS
            return name if is_ours else manifest["model_class"]
    names = pretrained.config.get("architectures")
    saved = names[0] if isinstance(names, list) and names else None
    return saved if saved in MODEL_FORMS else None


def has_own_head(raw_config: dict) -> bool:
    """Whether a folder's `config.json` says that the head is not tied to the embedding."""
    # transformers 5 overwrites this value with true when it builds the configuration.
    return raw_config.get("tie_word_embeddings") is False
