"""What `zoowizard uploads` says of what went to Hugging Face."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoowizard.upload.huggingface import HubUpload


def hub_lines(one: "HubUpload") -> Iterator[str]:
    """The upload in words: what, how far, where."""
    if one.phase == "verified":
        state = "public" if one.public else "private"
    else:
        state = "queued" if one.phase == "queued" else f"sent {one.sent / max(1, one.total):.0%}"
    yield f"{one.title}  {state}  {one.place.host}/{one.repository}  {one.problem}".rstrip()
    if one.page:
        yield f"    {one.page}"


def hub_json(folder: Path, one: "HubUpload") -> dict[str, Any]:
    """The same for programs; sizes in bytes."""
    from zoowizard.upload.huggingface import KIND
    from zoowizard.upload.state import model_of

    return {
        "model": model_of(folder),
        "place": KIND,
        "title": one.title,
        "server": one.base,
        "id": one.repository,
        "page": one.page or None,
        "phase": one.phase,
        "status": ("public" if one.public else "private") if one.phase == "verified" else None,
        "pending": one.pending,
        "sent": one.sent,
        "total": one.total,
        "package": one.package,
        "sha256": one.sha256,
        "tests": one.tests,
        "commit": one.commit or None,
        "problem": one.problem or None,
        "at": one.at.isoformat(),
    }
