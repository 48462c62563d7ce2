"""The way of a package into the zoo: a draft, its files, verified, and then, as an act of its own, to the reviewers.

Whatever ends it, it can be called again and goes on: the draft is known by its name, which was chosen and written down
before it was made. Nothing here publishes: that is for the reviewers, on the zoo's own pages.
"""

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from zoowizard.atomic import write_bytes
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.answers import NotThere, TokenRefused
from zoowizard.upload.contents import DESCRIPTION, Limits, Piece, cut, described, members, with_id
from zoowizard.upload.drafting import draft_for
from zoowizard.upload.hypha import Draft, Hypha, Person, page
from zoowizard.upload.manifest import COMMENTS, DELETION, DRAFT, GONE, IN_REVIEW, manifest_of
from zoowizard.upload.package import Package, require_passed, require_unchanged
from zoowizard.upload.receipts import Receipt, keep
from zoowizard.upload.servers import Server
from zoowizard.upload.state import (
    FILE,
    SCRATCH,
    WHOLE,
    File,
    Upload,
    alone,
    locked,
    model_of,
    read,
    workspace_of,
    write,
)
from zoowizard.upload.telling import Pace, StepsLike, readable
from zoowizard.upload.transfer import Sender, look
from zoowizard.upload.web import Patience, Unreachable

FIRST_CONTACT: Final = Patience(tries_for_s=20.0)
"""Without a network this ends soon: what is queued can be sent later."""
KIND: Final = "zoo"
STEPS: Final[Mapping[str, str]] = {
    "check": "check the package",
    "draft": "make a draft in the zoo",
    "send": "send the files",
    "verify": "let the server confirm every byte",
    "submit": "ask for a review",
}


def queue(
    folder: Path,
    server: Server,
    package: Package,
    insist: bool = False,
    ask: bool = False,
    new_version: bool = False,
) -> Upload:
    """Write down that this package shall go to this server; nothing is sent. What an earlier one left there is used.

    `insist`: although its tests did not pass, which the zoo is then told. `ask`: ask the reviewers afterwards.
    `new_version`: as a new version of what is published. Raises ZoowizardError where the package did not pass its
    tests, is not there, or is another one than was tested.
    """
    require_passed(package, insist, "the zoo is then told so")
    require_unchanged(package)
    size = package.archive.stat().st_size
    with locked(folder):
        upload = read(folder) or Upload(
            key=uuid.uuid4().hex,
            base=server.base,
            collection=server.collection,
            title=package.title,
            package=str(package.archive),
            sha256=package.sha256,
            size=size,
            tests=package.tests,
            at=datetime.now(UTC),
        )
        if upload.server != server:
            raise ZoowizardError(
                f"{folder / FILE}: base and collection say {upload.collection} at {upload.base}, where "
                f"{server.collection} at {server.base} was meant; mend it or move it away"
            )
        if (upload.sha256, upload.tests) != (package.sha256, package.tests):
            upload.sha256, upload.size, upload.tests = package.sha256, size, package.tests
            upload.asked = upload.asked and upload.phase != "submitted"  # that was for the package before
            upload.phase = "draft" if upload.artifact_id else "queued"
        if new_version:
            if not upload.artifact_id:
                raise WrongUse(
                    f"{package.title}: nothing of it was uploaded from here to {server.host}, so it cannot be a new "
                    "version; upload it without --new-version"
                )
            upload.new_version, upload.after = True, ""
            upload.asked = upload.asked and upload.phase != "submitted"
            upload.phase = "draft" if upload.phase in WHOLE else upload.phase
        upload.package, upload.title, upload.asked = str(package.archive), package.title, upload.asked or ask
        upload.problem, upload.withdrawn = "", False
        write(folder, upload)
    return upload


def send(
    folder: Path,
    token: Callable[[], str],
    steps: StepsLike,
    limits: Limits | None = None,
    patience: Patience | None = None,
) -> Upload:
    """Bring what is queued in `folder` to the zoo, as far as it is not there yet; gives the record of it.

    Where that was asked for, the reviewers are asked at the end. Raises ZoowizardError with one sentence, which is kept
    in the record, too; called again it goes on.
    """
    with alone(folder) as upload:
        upload.withdrawn = False
        try:
            with Hypha(upload.server, token, patience) as hypha:
                _send(folder, upload, hypha, steps, limits or Limits(), patience or Patience())
        except ZoowizardError as problem:
            upload.problem = str(problem)
            upload.waits = (
                "network" if isinstance(problem, Unreachable) else "login" if isinstance(problem, TokenRefused) else ""
            )
            write(folder, upload)
            raise
        return upload


def _send(folder: Path, upload: Upload, hypha: Hypha, steps: StepsLike, limits: Limits, patience: Patience) -> None:
    package = Package(Path(upload.package), upload.title, upload.sha256, upload.tests)
    with steps.step("check") as step:
        require_unchanged(package)
        person = hypha.who(FIRST_CONTACT if patience.tries_for_s > FIRST_CONTACT.tries_for_s else patience)
        step.note = f"as {person.name}"
        pieces = members(package.archive, folder / SCRATCH)
        name, text, told = described(pieces, package.archive)
        if COMMENTS in pieces:
            raise ZoowizardError(
                f"{package.archive} holds a file named {COMMENTS}, in which the zoo keeps what reviewers say; give it "
                "another name, and build the package again"
            )
    _warn_of_end(person, steps)
    with steps.step("draft") as step:
        draft = draft_for(folder, upload, hypha, person, told, steps)
        step.note = f"a new version of {upload.artifact_id}" if upload.after else upload.artifact_id
        ours = folder / DESCRIPTION
        content = with_id(text, told, upload.alias, upload.emoji).encode()
        write_bytes(ours, content, mode=0o600)
        del pieces[name]
        pieces[DESCRIPTION] = Piece(ours, 0, len(content))
        keep_receipt(folder, upload)
    anew = upload.phase not in WHOLE
    if anew:
        _send_files(folder, upload, hypha, pieces, steps, limits, patience)
    with steps.step("verify") as step:
        wrong = _wrong(upload, hypha, pieces, patience)
        step.note = f"{len(upload.files) - len(wrong)} of {len(upload.files)} files, {readable(upload.total)}"
    if wrong:
        _forget(folder, upload, wrong)
        _send_files(folder, upload, hypha, pieces, steps, limits, patience)
        with steps.step("verify") as step:
            if wrong := _wrong(upload, hypha, pieces, patience):
                _forget(folder, upload, wrong)
                names = ", ".join(file.path for file in wrong[:5])
                raise ZoowizardError(
                    f"{names}: the server has something else than was sent, twice; tell the zoo's team"
                )
    if anew:
        _describe(upload, hypha, draft, person, told)
    if upload.phase != "submitted":
        upload.phase = "verified"
    upload.problem = ""
    write(folder, upload)
    keep_receipt(folder, upload)
    if upload.asked and upload.phase != "submitted":
        with steps.step("submit") as step:
            _submit(folder, upload, hypha)
            step.note = upload.status


def submit(folder: Path, token: Callable[[], str], patience: Patience | None = None) -> Upload:
    """Ask the zoo's reviewers to look at a draft that the server has whole. Raises ZoowizardError."""
    with alone(folder) as upload, Hypha(upload.server, token, patience) as hypha:
        if upload.phase not in WHOLE:
            raise WrongUse(f"{upload.title}: is not in the zoo as a whole yet; upload it first")
        _submit(folder, upload, hypha)
        return upload


def _submit(folder: Path, upload: Upload, hypha: Hypha) -> None:
    draft = hypha.draft(upload.artifact_id)
    if draft.published and not (upload.new_version and draft.staged):
        raise ZoowizardError(f"{upload.artifact_id} is published already")
    if DELETION in draft.manifest:
        raise ZoowizardError(f"{upload.artifact_id} is to be deleted; `zoowizard upload` takes that back")
    if draft.manifest.get("status") != IN_REVIEW:
        hypha.describe(upload.artifact_id, {**draft.manifest, "status": IN_REVIEW})
    upload.phase, upload.status, upload.asked, upload.problem = "submitted", IN_REVIEW, True, ""
    write(folder, upload)


def _describe(upload: Upload, hypha: Hypha, draft: Draft, person: Person, told: Mapping[str, Any]) -> None:
    """Let the manifest say what the description says, and see that it does."""
    wanted = manifest_of(upload, person, told, upload.status or DRAFT)
    if "uploader" in draft.manifest:
        wanted["uploader"] = draft.manifest["uploader"]
    wanted = {
        **{key: value for key, value in draft.manifest.items() if key not in wanted and key not in told},
        **wanted,
    }
    if dict(draft.manifest) == wanted:
        return
    hypha.describe(upload.artifact_id, wanted)
    now = hypha.draft(upload.artifact_id).manifest
    if wrong := [key for key in wanted if now.get(key) != wanted[key]]:
        raise ZoowizardError(f"the zoo did not keep what describes the model ({', '.join(wrong[:5])}); try again")


def _send_files(
    folder: Path,
    upload: Upload,
    hypha: Hypha,
    pieces: Mapping[str, Piece],
    steps: StepsLike,
    limits: Limits,
    patience: Patience,
) -> None:
    with steps.step("send") as step:
        _plan(upload, pieces, limits)
        upload.phase = "sending"
        write(folder, upload)
        for path in list(upload.gone):
            with contextlib.suppress(NotThere):
                hypha.remove(upload.artifact_id, path)
            upload.gone.remove(path)
            write(folder, upload)
        pace = Pace(upload.total, step)
        Sender(
            hypha,
            upload.artifact_id,
            pieces,
            save=lambda: write(folder, upload),
            sent=pace.tell,
            limits=limits,
            patience=patience,
        ).send(upload.files)
        step.note = readable(upload.total)


def _plan(upload: Upload, pieces: Mapping[str, Piece], limits: Limits) -> None:
    """What is to be sent: of an earlier package, what is the same stays, and what is not in this one goes."""
    before = {file.path: file for file in upload.files}
    files = []
    for path, piece in pieces.items():
        file = cut(path, piece, limits)
        known = before.get(path)
        files.append(known if known is not None and known.is_same(file) else file)
    upload.gone = sorted({*upload.gone, *before} - set(pieces))
    upload.files = sorted(files, key=lambda file: (file.size, file.path))


def _wrong(upload: Upload, hypha: Hypha, pieces: Mapping[str, Piece], patience: Patience) -> list[File]:
    """The files of which the server does not confirm size and hash."""
    sizes = hypha.sizes(upload.artifact_id)
    right = [file for file in upload.files if sizes.get(file.path) == file.size]
    said = look(hypha, upload.artifact_id, right, pieces, patience)
    confirmed = {file.path for file, problem in zip(right, said, strict=True) if not problem}
    return [file for file in upload.files if file.path not in confirmed]


def _forget(folder: Path, upload: Upload, wrong: Sequence[File]) -> None:
    """Let these files count as not sent."""
    for file in wrong:
        file.done, file.upload_id, file.urls, file.urls_until = False, "", {}, 0.0
        for part in file.parts:
            part.etag = ""
    upload.phase = "sending"
    write(folder, upload)


def keep_receipt(folder: Path, upload: Upload) -> None:
    """What became of the package so far, for the board."""
    if (model := model_of(folder)) is not None:
        keep(workspace_of(folder), model, receipt_of(upload))


def receipt_of(upload: Upload) -> Receipt:
    """What became of a package that has a draft: confirmed only where the server has every byte."""
    whole = upload.phase in WHOLE and upload.status != GONE
    return Receipt(
        kind=KIND,
        where=page_of(upload),
        sha256=upload.sha256,
        size=upload.size,
        state="done" if whole else "begun",
        confirmed=whole,
        at=datetime.now(UTC),
    )


def page_of(upload: Upload) -> str:
    """The address at which the draft is to be found; empty where there is none yet."""
    return page(upload.server, upload.artifact_id) if upload.artifact_id else ""


def _warn_of_end(person: Person, steps: StepsLike) -> None:
    if person.expires is None:
        return
    left_s = person.expires.timestamp() - time.time()
    if left_s < 2 * 3600:
        steps.note("warning", f"Your login ends in {max(1, int(left_s / 60))} minutes; `zoowizard login` renews it.")
