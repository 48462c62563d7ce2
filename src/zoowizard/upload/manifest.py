"""What the zoo lists of a model: its description, and what stands only there."""

from collections.abc import Mapping
from typing import Any, Final

from zoowizard import __version__
from zoowizard.upload.contents import as_json
from zoowizard.upload.hypha import Collection, Person
from zoowizard.upload.state import Upload

MARK: Final = "zoowizard"
"""The entry of the manifest that tells of the package; it holds the key by which the draft is known as ours."""


def manifest_of(upload: Upload, person: Person, told: Mapping[str, Any], status: str) -> dict[str, Any]:
    """What the zoo lists of the model: its description, with what stands there only."""
    mark: dict[str, Any] = {
        "version": __version__,
        "upload": upload.key,
        "package_sha256": upload.sha256,
        "tests": upload.tests,
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


def permissions_for(person: Person, collection: Collection) -> dict[str, str]:
    """Who may do what with the draft: the reviewers, and the person by what is the same with each new token.

    The token's own random number would lock the person out with the next one.
    """
    accounts = (one for one in (person.account, person.email) if one)
    return {**dict.fromkeys(collection.reviewers, "rw+"), **dict.fromkeys(accounts, "*")}
