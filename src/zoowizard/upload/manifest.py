"""What the zoo lists of a model: its description, and what stands only there."""

from collections.abc import Mapping
from typing import Any, Final

from zoowizard import __version__
from zoowizard.upload.contents import as_json
from zoowizard.upload.hypha import Collection, Draft, Person
from zoowizard.upload.state import Upload
from zoowizard.upload.values import mapping, text

DRAFT: Final = "draft"
IN_REVIEW: Final = "in-review"
IN_REVISION: Final = "in-revision"
PUBLISHED: Final = "published"
TO_BE_DELETED: Final = "deletion-requested"
GONE: Final = "gone"
"""What the zoo's website calls the states of a model (its component StatusBadge); the last two are ours: there, a wish
for deletion is an entry of its own, and what is deleted has no state."""
OLD_STATUSES: Final = {"request-review": IN_REVIEW, "revision": IN_REVISION}
"""What earlier versions of the website called them."""
DELETION: Final = "request_deletion"
"""The entry in which the website keeps that somebody asks for deletion: requested_by, requested_by_email, reason,
requested_at in milliseconds since 1970."""
COMMENTS: Final = "comments.json"
"""The file of a model in which the website keeps what is said of it, by reviewers and others."""
MARK: Final = "zoowizard"
"""The entry of the manifest that tells of the package; it holds the key by which the draft is known as ours."""


def manifest_of(upload: Upload, person: Person, told: Mapping[str, Any], status: str) -> dict[str, Any]:
    """What the zoo lists of the model: its description, with what stands there only."""
    mark: dict[str, Any] = {
        "version": __version__,
        "upload": upload.key,
        "package_sha256": upload.sha256,
        "tests": upload.tests,
        **({"after": upload.after} if upload.after else {}),
    }
    if upload.tests != "passed":
        mark["insisted"] = "the package was uploaded although its tests did not pass here"
    return {
        **as_json({key: value for key, value in told.items() if key not in ("id", "id_emoji", "status")}),
        "id": upload.alias,
        **({"id_emoji": upload.emoji} if upload.emoji else {}),
        "status": status,
        "uploader": {"email": person.email} if person.email else {"name": person.account},
        MARK: mark,
    }


def is_ours(manifest: Mapping[str, Any], upload: Upload) -> bool:
    """Whether it is the manifest of this upload's draft."""
    mark = manifest.get(MARK)
    return isinstance(mark, dict) and mark.get("upload") == upload.key


def same_package(manifest: Mapping[str, Any], upload: Upload) -> bool:
    """Whether it tells of this very package."""
    mark = manifest.get(MARK)
    return isinstance(mark, dict) and mark.get("package_sha256") == upload.sha256


def version_after(manifest: Mapping[str, Any]) -> str:
    """After which published version this one of ours comes; empty where it is the first, or not ours."""
    return text(mapping(manifest.get(MARK)).get("after"))


def stated(manifest: Mapping[str, Any]) -> str:
    """The state that the manifest names; a draft where it names none."""
    return text(manifest.get("status"), most=40) or DRAFT


def status_of(draft: Draft) -> str:
    """How it stands with a model in the zoo, as its website calls that."""
    if not draft.staged:
        return PUBLISHED if draft.published else GONE
    if isinstance(draft.manifest.get(DELETION), dict):
        return TO_BE_DELETED
    if draft.published and draft.in_place:
        return PUBLISHED
    status = stated(draft.manifest)
    return OLD_STATUSES.get(status, status)


def permissions_for(person: Person, collection: Collection) -> dict[str, str]:
    """Who may do what with the draft: the reviewers, and the person by what is the same with each new token.

    The token's own random number would lock the person out with the next one.
    """
    accounts = (one for one in (person.account, person.email) if one)
    return {**dict.fromkeys(collection.reviewers, "rw+"), **dict.fromkeys(accounts, "*")}
