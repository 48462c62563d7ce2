"""The draft of an upload in the zoo: made where there is none, found again where it was, or staged as a new version.

The draft of a new model is known by its name, which is written down before the draft is made; that of a new version by
what its manifest says. So either can be asked for again, and is not made twice.
"""

import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import ZoowizardError
from zoowizard.upload.answers import AliasTaken, NotAllowed, NotThere
from zoowizard.upload.hypha import Draft, Hypha, Person
from zoowizard.upload.manifest import (
    DELETION,
    DRAFT,
    IN_REVIEW,
    is_ours,
    manifest_of,
    permissions_for,
    same_package,
    stated,
    version_after,
)
from zoowizard.upload.state import WHOLE, Upload, write
from zoowizard.upload.telling import StepsLike
from zoowizard.upload.values import mapping, text

NAMES_TRIED: Final = 200


class _NotOurs(ZoowizardError):
    """The model on the server is not the one of this upload."""


def draft_for(
    folder: Path, upload: Upload, hypha: Hypha, person: Person, told: Mapping[str, Any], steps: StepsLike
) -> Draft:
    """The draft on the server that takes this upload. Its name is on disk before it is made.

    Raises ZoowizardError where what is there must not be changed: reviewers look at it, it is published, it is somebody
    else's.
    """
    draft = _found(folder, upload, hypha)
    if draft is None:
        draft = _made(folder, upload, hypha, person, told)
    if upload.new_version and draft.published:
        draft = _next_version(folder, upload, hypha, person, told, draft)
    elif upload.new_version:
        steps.note("info", f"{draft.id} is not published yet, so the package goes into the draft that is there.")
        upload.new_version = False
    _require_free(upload, draft)
    if DELETION in draft.manifest:
        draft = _wanted_again(upload, hypha, person, draft, steps)
    upload.status = stated(draft.manifest)
    return draft


def _found(folder: Path, upload: Upload, hypha: Hypha) -> Draft | None:
    if not upload.artifact_id:
        return None
    try:
        return _own(hypha.draft(upload.artifact_id), upload)
    except NotThere:  # taken away by the zoo's team: it begins anew, under a new name
        upload.artifact_id, upload.alias, upload.files, upload.gone, upload.phase = "", "", [], [], "queued"
        upload.new_version, upload.after, upload.zoo_version, upload.said, upload.tested = False, "", "", [], None
        upload.key = uuid.uuid4().hex
        write(folder, upload)
        return None


def _made(folder: Path, upload: Upload, hypha: Hypha, person: Person, told: Mapping[str, Any]) -> Draft:
    collection = hypha.collection()
    permissions = permissions_for(person, collection)
    workspace = upload.collection.partition("/")[0]
    for _ in range(NAMES_TRIED):
        if not upload.alias:
            animal = secrets.choice(tuple(collection.animals))
            upload.alias, upload.emoji = f"{secrets.choice(collection.adjectives)}-{animal}", collection.animals[animal]
            write(folder, upload)
        try:
            draft = hypha.create(upload.alias, manifest_of(upload, person, told, DRAFT), permissions)
        except AliasTaken:  # by somebody else, or by us before we were interrupted
            try:
                draft = _own(hypha.draft(f"{workspace}/{upload.alias}"), upload)
            except ZoowizardError as problem:
                if not isinstance(problem, NotThere | _NotOurs):
                    raise
                upload.alias = ""
                continue
        upload.artifact_id, upload.phase, upload.status = draft.id, "draft", DRAFT
        write(folder, upload)
        return draft
    raise ZoowizardError(f"{upload.server.host} has no free name left for a model; tell the zoo's team")


def _next_version(
    folder: Path, upload: Upload, hypha: Hypha, person: Person, told: Mapping[str, Any], published: Draft
) -> Draft:
    """The staged new version of a published model. It begins without files."""
    newest = published.versions[-1]
    if published.staged:
        if published.in_place or version_after(published.manifest) != newest:
            raise ZoowizardError(
                f"somebody is changing {published.id} in the zoo already; a new version can be made when that is "
                "published or taken back"
            )
        upload.after = newest
        return published
    if same_package(published.manifest, upload):
        raise ZoowizardError(f"{published.id} is published with this very package; build another one first")
    if upload.after not in ("", newest):
        raise ZoowizardError(
            f"{published.id} was published meanwhile as {newest}; ask again with --new-version to send the package as "
            "the next version"
        )
    upload.after, upload.zoo_version, upload.phase = newest, newest, "draft"
    upload.files, upload.gone = [], []  # nothing of it is there, whatever the version before has
    write(folder, upload)
    wanted = manifest_of(upload, person, told, DRAFT)
    if "uploader" in published.manifest:
        wanted["uploader"] = published.manifest["uploader"]
    try:
        hypha.new_version(published.id, wanted)
    except NotAllowed:
        raise NotAllowed(
            f"{upload.server.host} does not let {person.name} make a new version of {published.id}: ask the zoo's team "
            f"to give {person.name} the right to edit it, then go on with `zoowizard upload --pending`"
        ) from None
    return _own(hypha.draft(published.id), upload)


def _own(draft: Draft, upload: Upload) -> Draft:
    if not is_ours(draft.manifest, upload):
        raise _NotOurs(
            f"{draft.id} in the zoo is not the draft of this upload any more; move {upload.title}'s record of it away"
        )
    return draft


def _require_free(upload: Upload, draft: Draft) -> None:
    """Refuse to change what reviewers look at, and what is published. Raises ZoowizardError."""
    if draft.published and not (upload.new_version and draft.staged):
        raise ZoowizardError(
            f"{draft.id} is published already; `zoowizard upload --new-version` sends a package as its next version"
        )
    if not draft.staged:
        raise ZoowizardError(f"{draft.id} was withdrawn in the zoo; ask the zoo's team to open it again")
    if draft.manifest.get("status") == IN_REVIEW and upload.phase not in WHOLE:
        raise ZoowizardError(
            f"{draft.id} is being reviewed, and the package was changed since; ask the reviewers to send it back, or "
            "take it back with `zoowizard uploads --withdraw`"
        )


def _wanted_again(upload: Upload, hypha: Hypha, person: Person, draft: Draft, steps: StepsLike) -> Draft:
    """Take back the wish that the draft be deleted, where that was this person's. Raises ZoowizardError else."""
    wish = mapping(draft.manifest[DELETION])
    account, email, why = (text(wish.get(one), most=300) for one in ("requested_by", "requested_by_email", "reason"))
    if not {account, email} & ({person.account, person.email} - {""}):
        by = email or account or "somebody"
        raise ZoowizardError(f"{draft.id} is to be deleted in the zoo: {by} asked for it ({why or 'without a reason'})")
    hypha.describe(upload.artifact_id, {key: value for key, value in draft.manifest.items() if key != DELETION})
    steps.note("info", f"{draft.id} was to be deleted, as you had asked; that is taken back.")
    return hypha.draft(upload.artifact_id)
