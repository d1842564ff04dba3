"""Where a pretrained model is: a folder, the hub, or what was downloaded before. No torch."""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ke_t5.errors import Exit, UserError, nearest

WHERE = "--pre_trained_model"
# The library retries for twenty seconds; a user should know sooner.
SECONDS_TO_ANSWER = 4.0


@dataclass(frozen=True)
class Pretrained:
    """A model that exists, and its configuration as it stands in `config.json`.

    Args:
        name: the folder or hub name, as `from_pretrained` takes it.
        folder: where its files are; None for the hub.
        local_only: to be read from the cache, without asking the hub.
    """

    name: str
    folder: Path | None
    local_only: bool
    config: dict


def find_pretrained(name: str | Path, *, where: str = WHERE) -> Pretrained:
    """The model of that name; the hub is asked once, for a few seconds at most.

    Raises:
        UserError: no such folder, no `config.json` in it, no such model, or no network.
    """
    name = os.fspath(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return Pretrained(str(folder), folder, True, _config_of(folder, f"{where} {name}"))
    if not _may_be_hub_name(name):
        raise _no_folder(folder, f"{where} {name!r}")
    return _on_hub(name, f"{where} {name!r}")


def _on_hub(name: str, where: str) -> Pretrained:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError

    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _silence(constants.ENDPOINT)
    if reason is not None:
        cached = try_to_load_from_cache(name, "config.json")
        if not isinstance(cached, str):
            raise _no_network(name, where, reason)
        return Pretrained(name, None, True, _config_of(Path(cached).parent, where))
    try:
        path = hf_hub_download(name, "config.json", etag_timeout=SECONDS_TO_ANSWER)
    except RepositoryNotFoundError as error:
        raise UserError(
            "neither a folder nor a model on the hub (or it is private)",
            where,
            "check the name; log in with `hf auth login` where it is private",
            Exit.CHECKPOINT,
        ) from error
    except EntryNotFoundError as error:
        raise _no_config(where) from error
    except (HfHubHTTPError, OSError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(first_line, where, "try again, or give a folder", Exit.MACHINE) from error
    return Pretrained(name, None, False, _config_of(Path(path).parent, where))


def _silence(endpoint: str) -> str | None:
    """Why the hub does not answer, or None where it does."""
    reasons = [f"no answer from {endpoint} within {SECONDS_TO_ANSWER:g} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER).close()
        except urllib.error.HTTPError:
            reasons.clear()
        except (OSError, ValueError) as error:
            reasons[:] = [f"{endpoint} cannot be reached: {getattr(error, 'reason', error)}"]
        else:
            reasons.clear()

    # A thread, because a name server that is silent is not subject to the time-out.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS_TO_ANSWER)
    return reasons[0] if reasons else None


def _config_of(folder: Path, where: str) -> dict:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise _no_config(where) from error
    except ValueError as error:
        raise UserError(
            f"no JSON ({error})", str(path), "download the file again", Exit.CHECKPOINT
        ) from error
    if not isinstance(config, dict) or not config.get("model_type"):
        raise UserError(
            "names no model_type", str(path), "give the folder of a model", Exit.CHECKPOINT
        )
    return config


def _may_be_hub_name(name: str) -> bool:
    return re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name) is not None


def _no_folder(folder: Path, where: str) -> UserError:
    beside = [path.name for path in folder.parent.glob("*") if path.is_dir()]
    near = [repr(str(folder.with_name(name))) for name in nearest(folder.name, beside)]
    fix = f"did you mean {', '.join(near)}?" if near else "check the path"
    return UserError("there is no such folder", where, fix, Exit.CHECKPOINT)


def _no_config(where: str) -> UserError:
    return UserError(
        "there is no config.json in it",
        where,
        "give the folder or hub name of a model in transformers' layout",
        Exit.CHECKPOINT,
    )


def _no_network(name: str, where: str, reason: str) -> UserError:
    return UserError(
        f"no such folder, and {reason}",
        where,
        f"download it where there is a network (`hf download {name}`) and give its folder; "
        "--sample needs none",
        Exit.CHECKPOINT,
    )
