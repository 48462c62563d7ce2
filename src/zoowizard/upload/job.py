"""A job of the kind `upload`: brings to the zoo what is queued, in a process that outlives the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zoowizard.errors import ZoowizardError

if TYPE_CHECKING:
    from zoowizard.upload.servers import Server
    from zoowizard.upload.telling import StepsLike

HANDED_TOKEN: Final = "token"
"""A file in the job's folder, for its owner alone: a token that is kept nowhere else. Gone once the job has read it."""


def run(work: Mapping[str, Any], folder: Path, steps: "StepsLike") -> dict[str, Any]:
    """Send what is queued. `work`: folder (where the upload is recorded). Gives id, address, status and size.

    Raises ZoowizardError where it has to be called again; what arrived is kept.
    """
    if work.get("target") == "huggingface":
        from zoowizard.upload import huggingface_send

        return huggingface_send.run(work, handed(folder / HANDED_TOKEN), steps)
    from zoowizard.upload.answers import TokenRefused
    from zoowizard.upload.tokens import token_for
    from zoowizard.upload.zoo import page_of, send

    given = handed(folder / HANDED_TOKEN)
    record = Path(work["folder"])

    def token() -> str:
        kept = token_for(server_of_upload(record), {})
        if given or kept is not None:
            return given or (kept.secret if kept is not None else "")
        raise TokenRefused(f"you are not logged in at {server_of_upload(record).host}; run `zoowizard login`")

    upload = send(record, token, steps)
    return {
        "id": upload.artifact_id,
        "page": page_of(upload),
        "status": "passed",
        "zoo_status": upload.status,
        "confirmed": True,
        "submitted": upload.phase == "submitted",
        "package": upload.package,
        "sha256": upload.sha256,
        "size": upload.size,
    }


def server_of_upload(folder: Path) -> "Server":
    """Where the upload in `folder` goes. Raises ZoowizardError where there is no such upload."""
    from zoowizard.upload.state import read

    upload = read(folder)
    if upload is None:
        raise ZoowizardError(f"there is no upload at {folder}; `zoowizard uploads` lists them")
    return upload.server


def handed(path: Path) -> str:
    """The token that was handed over in this file, which is gone then; empty where there is none."""
    try:
        secret = path.read_text().strip()
        path.unlink()
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise ZoowizardError(f"could not take over the login ({(problem.strerror or '').lower()})") from problem
    return secret
