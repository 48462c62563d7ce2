"""Taking back what went to the zoo, as far as its owner may: from the reviewers to a draft, and from a draft to a wish
that the zoo's team delete it. Only the team deletes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.answers import NotThere
from zoowizard.upload.hypha import Hypha
from zoowizard.upload.manifest import DELETION, DRAFT, GONE, IN_REVIEW, TO_BE_DELETED, is_ours, stated
from zoowizard.upload.state import Upload, alone, write
from zoowizard.upload.web import Patience

REASON: Final = "withdrawn by the uploader"


@dataclass(frozen=True)
class Withdrawn:
    """What became of it: the state that the zoo calls it now, and one sentence for people."""

    status: str
    sentence: str


def withdraw(
    folder: Path, token: Callable[[], str], reason: str = REASON, patience: Patience | None = None
) -> Withdrawn:
    """Take back the upload that is recorded in `folder`; called again it does nothing twice.

    What is in review is a draft again; what is a draft shall be deleted by the zoo's team, who read the `reason`. What
    is published stays. Raises ZoowizardError where the zoo cannot be asked, or nothing can be taken back.
    """
    with alone(folder) as upload:
        if not upload.artifact_id:
            upload.withdrawn, upload.asked, upload.problem = True, False, ""
            write(folder, upload)
            return Withdrawn("", f"{upload.title} was not in the zoo yet, and will not be sent")
        with Hypha(upload.server, token, patience) as hypha:
            done = _withdrawn(upload, hypha, reason)
        upload.status, upload.asked, upload.problem = done.status, False, ""
        write(folder, upload)
        return done


def _withdrawn(upload: Upload, hypha: Hypha, reason: str) -> Withdrawn:
    try:
        draft = hypha.draft(upload.artifact_id)
    except NotThere:
        upload.withdrawn = True
        return Withdrawn(GONE, f"{upload.artifact_id} is not in the zoo any more")
    if not is_ours(draft.manifest, upload):
        raise ZoowizardError(f"{draft.id} in the zoo is not the draft of this upload any more")
    if draft.published and not (upload.new_version and draft.staged):
        raise WrongUse(
            f"{draft.id} is published, so it cannot be taken back from here; ask the zoo's team on its page to do that"
        )
    if draft.manifest.get("status") == IN_REVIEW:
        hypha.describe(draft.id, {**draft.manifest, "status": DRAFT})
        upload.phase = "verified" if upload.phase == "submitted" else upload.phase
        return Withdrawn(DRAFT, f"{draft.id} is a draft again, which the reviewers do not look at")
    upload.withdrawn = True
    if draft.published:
        return Withdrawn(
            stated(draft.manifest),
            f"the new version of {draft.id} stays a draft that nobody is asked to look at; the version that is "
            "published stays as it is",
        )
    if DELETION not in draft.manifest:
        hypha.describe(draft.id, {**draft.manifest, DELETION: _wish(hypha, reason)})
    return Withdrawn(
        TO_BE_DELETED,
        f"the zoo's team was asked to delete {draft.id}; only they can, and until then it stays a draft",
    )


def _wish(hypha: Hypha, reason: str) -> dict[str, str | int]:
    person = hypha.who()
    return {
        "requested_by": person.account,
        **({"requested_by_email": person.email} if person.email else {}),
        "reason": reason,
        "requested_at": int(time.time() * 1000),
    }
