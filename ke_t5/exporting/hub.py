"""`--push_to_hub`: uploads an export to the Hugging Face hub, by default as a private repository.

huggingface_hub is imported inside the functions.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ke_t5.errors import Exit, UserError
from ke_t5.hub import network_fault, why_unreachable
from ke_t5.seals import MANIFEST

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

# Seconds to wait before each retry.
PAUSES = (2.0, 10.0)
REASONS = {
    401: ("the hub rejected the token", "log in again: hf auth login"),
    403: ("the token has no write permission", "use a token that has it, or another name"),
    404: ("no such user or organization on the hub", "check the name before the slash"),
}
Result = TypeVar("Result")


def check_push(name: str) -> None:
    """Raises UserError if there is no token or the hub cannot be reached, before the export."""
    from huggingface_hub import get_token

    if get_token() is None:
        fix = "run hf auth login, or set HF_TOKEN"
        raise UserError("not logged in to the hub", f"--push_to_hub {name}", fix, Exit.FLAGS)
    reason = why_unreachable()
    if reason is not None:
        fix = "export without it, and push later with ke-t5 export"
        raise UserError(reason, f"--push_to_hub {name}", fix, Exit.MACHINE)


def push(folder: Path, name: str, *, is_public: bool) -> str:
    """Uploads an export in one commit; returns the URL of the repository.

    Args:
        name: the repository, `user/model` or `model`; created if it does not exist.
        is_public: whether a new repository is public.

    Raises:
        UserError: no permission, no network, or the repository is not an export.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    disable_progress_bars()
    try:
        full_name = _retried(lambda: _repository(api, name, is_public=is_public), name, folder)
        logger.info("uploading %s to %s", folder, full_name)
        commit: Any = _retried(
            lambda: api.upload_folder(
                repo_id=full_name, folder_path=folder, commit_message="Export of ke_t5"
            ),
            name,
            folder,
        )
    finally:
        enable_progress_bars()
    return str(commit.repo_url)


def _repository(api: HfApi, name: str, *, is_public: bool) -> str:
    """Creates the repository, or finds one with an earlier export; returns its full name."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.create_repo(name, private=not is_public).repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    full_name = name if "/" in name else f"{api.whoami()['name']}/{name}"
    if not api.file_exists(full_name, MANIFEST):
        what = "the repository exists and is not an export of ke_t5"
        raise UserError(what, f"--push_to_hub {name}", "choose another name", Exit.FLAGS)
    return full_name


def _retried(work: Callable[[], Result], name: str, folder: Path) -> Result:
    """The result of `work`, which is retried after temporary failures of the hub or the network."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    for pause in (*PAUSES, None):
        try:
            return work()
        except HFValidationError as error:
            what = f"not a valid repository name ({error!s:.60})"
            raise _error(what, "choose another", name) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status < 500 and status != 429 or pause is None:
                raise _refusal(error, name) from error
            reason = f"the hub returned status {status}"
        except Exception as error:
            if isinstance(error, UserError) or network_fault(error) is None:
                raise
            if pause is None:
                fix = f"the export is complete: {folder}; push it later with ke-t5 export"
                what = f"the upload was interrupted ({type(error).__name__})"
                raise UserError(what, f"--push_to_hub {name}", fix, Exit.MACHINE) from error
            reason = type(error).__name__
        logger.warning("--push_to_hub: %s; retrying in %.0f s", reason, pause)
        time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _refusal(error: Any, name: str) -> UserError:
    status = error.response.status_code
    message = " ".join(str(getattr(error, "server_message", None) or "").split())
    other = (f"the hub returned status {status} ({message:.80})", "check its status and try again")
    what, fix = REASONS.get(status, other)
    return _error(what, fix, name)


def _error(what: str, fix: str, name: str) -> UserError:
    return UserError(what, f"--push_to_hub {name}", fix, Exit.FLAGS)
