"""`--push_to_hub`: a finished export as a repository of the Hugging Face hub, private by default.

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

# Seconds to wait before another try.
PAUSES = (2.0, 10.0)
REASONS = {
    401: ("the hub does not accept the token", "log in again: hf auth login"),
    403: ("the token has no right to write there", "use a token that may write, or another name"),
    404: ("the hub knows no such user or organization", "check the name before the slash"),
}
Made = TypeVar("Made")


def check_push(name: str) -> None:
    """Raises UserError if nobody is logged in, or the hub cannot be reached: before the work."""
    from huggingface_hub import get_token

    if get_token() is None:
        fix = "run hf auth login, or set HF_TOKEN"
        raise UserError("no token of the hub", f"--push_to_hub {name}", fix, Exit.FLAGS)
    reason = why_unreachable()
    if reason is not None:
        fix = "export without it, and push later with ke-t5 export"
        raise UserError(reason, f"--push_to_hub {name}", fix, Exit.MACHINE)


def push(folder: Path, name: str, *, is_public: bool) -> str:
    """Uploads a whole export in one commit; returns the address of the repository.

    Args:
        name: of the repository, `user/model` or only `model`; made if there is none.
        is_public: whether a new repository can be seen by everyone.

    Raises:
        UserError: no rights, no network, or the name is taken by something else.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    disable_progress_bars()
    try:
        full_name = _tried(lambda: _repository(api, name, is_public=is_public), name, folder)
        logger.info("uploading %s to %s", folder, full_name)
        made: Any = _tried(
            lambda: api.upload_folder(
                repo_id=full_name, folder_path=folder, commit_message="Export of ke_t5"
            ),
            name,
            folder,
        )
    finally:
        enable_progress_bars()
    return str(made.repo_url)


def _repository(api: HfApi, name: str, *, is_public: bool) -> str:
    """The full name of a new repository, or of one that an export was pushed to before."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.create_repo(name, private=not is_public).repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    full_name = name if "/" in name else f"{api.whoami()['name']}/{name}"
    if not api.file_exists(full_name, MANIFEST):
        what = "there is such a repository, and it is not an export of ke_t5"
        raise UserError(what, f"--push_to_hub {name}", "choose another name", Exit.FLAGS)
    return full_name


def _tried(work: Callable[[], Made], name: str, folder: Path) -> Made:
    """What the work gives; it is tried again if the hub or the network fails for a moment."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    for pause in (*PAUSES, None):
        try:
            return work()
        except HFValidationError as error:
            raise _error(
                f"no name of a repository ({error!s:.60})", "choose another", name
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status < 500 and status != 429 or pause is None:
                raise _refusal(error, name) from error
            reason = f"the hub answers {status}"
        except Exception as error:
            if isinstance(error, UserError) or network_fault(error) is None:
                raise
            if pause is None:
                fix = f"the export is whole: {folder}; push it later with ke-t5 export"
                what = f"the upload was cut off ({type(error).__name__})"
                raise UserError(what, f"--push_to_hub {name}", fix, Exit.MACHINE) from error
            reason = type(error).__name__
        logger.warning("--push_to_hub: %s; trying again in %.0f s", reason, pause)
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _refusal(error: Any, name: str) -> UserError:
    status = error.response.status_code
    message = " ".join(str(getattr(error, "server_message", None) or "").split())
    other = (f"the hub answers {status} ({message:.80})", "see the hub's status and try again")
    what, fix = REASONS.get(status, other)
    return _error(what, fix, name)


def _error(what: str, fix: str, name: str) -> UserError:
    return UserError(what, f"--push_to_hub {name}", fix, Exit.FLAGS)
