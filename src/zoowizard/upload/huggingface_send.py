"""The way of a package to Hugging Face: a repository, its files, one commit, and then the hub's word for every hash.

Whatever ends it, it can be called again and goes on: the hub keeps the bytes of each large file that arrived whole, and
nothing of the package is to be seen in the repository before all of it is.
"""

import functools
import hashlib
import importlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.contents import DESCRIPTION, Piece, described, members
from zoowizard.upload.hub import Hub, LoginRefused, SwitchedOff, Unsure, is_there
from zoowizard.upload.huggingface import HubFile, HubUpload, keep_receipt, outcome_of, read, require_meant, write
from zoowizard.upload.package import Package, require_unchanged
from zoowizard.upload.state import SCRATCH, locked
from zoowizard.upload.telling import Pace, StepsLike, readable
from zoowizard.upload.web import Patience, Unreachable

FIRST_CONTACT: Final = Patience(tries_for_s=20.0)
"""Without a network this ends soon: what is queued can be sent later."""
PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Before the repository is looked at again where it is not sure that a commit was made."""
PACKAGE: Final = "package"
"""The folder of a repository in which bioimageio looks for the package."""
THE_HUBS_OWN: Final = ".gitattributes"
NOT_TAKEN: Final = frozenset({".git", ".cache"})
TOGETHER_BYTES: Final = 1 << 20
"""Small files are announced together, up to so much; a large one goes alone."""


def run(work: Mapping[str, Any], secret: str, steps: StepsLike) -> dict[str, Any]:
    """The work of a job: send what is queued in `work["folder"]`; see `send`. Gives `outcome_of` it."""
    return outcome_of(send(Path(work["folder"]), secret, steps))


def send(folder: Path, secret: str, steps: StepsLike, patience: Patience | None = None) -> HubUpload:
    """Bring what is queued in `folder` to its repository, as far as it is not there yet; gives the record of it.

    `secret` is a token, empty where huggingface_hub finds it itself. Raises ZoowizardError with one sentence, which is
    kept in the record, too; called again it goes on.
    """
    nothing = WrongUse(f"there is no upload at {folder}; `zoowizard uploads` lists them")
    if not folder.is_dir():
        raise nothing
    with locked(folder):
        upload = read(folder)
        if upload is None:
            raise nothing
        require_meant(folder, upload)
        try:
            _send(folder, upload, Hub(upload.place, secret, patience or Patience()), steps, patience or FIRST_CONTACT)
        except ZoowizardError as problem:
            upload.problem = str(problem)
            is_login, is_network = isinstance(problem, LoginRefused), isinstance(problem, Unreachable | SwitchedOff)
            upload.waits = "login" if is_login else "network" if is_network else ""
            write(folder, upload)
            raise
        return upload


def _send(folder: Path, upload: HubUpload, hub: Hub, steps: StepsLike, first: Patience) -> None:
    package = Package(Path(upload.package), upload.title, upload.sha256, upload.tests)
    with steps.step("check") as step:
        require_unchanged(package)
        step.note = f"as {hub.who(first)}"
        pieces = _pieces(package, folder / SCRATCH)
    with steps.step("card"):
        pieces |= _card(upload, package, folder / SCRATCH / "card")
        files = [_hashed(path, piece) for path, piece in pieces.items()]
        upload.gone = sorted({*upload.gone, *(file.path for file in upload.files)} - set(pieces))
        upload.files = sorted(files, key=lambda file: (file.size, file.path))
    with steps.step("repository") as step:
        _take_repository(folder, upload, hub, steps)
        step.note = f"{upload.repository}, {'public' if upload.public else 'private'}"
    with steps.step("send") as step:
        pace = Pace(upload.total, step)
        for pause_s in (*PAUSES_S, None):
            try:
                _bring(folder, upload, hub, pieces, pace, steps)
                break
            except Unsure:
                if pause_s is None:
                    raise
                time.sleep(pause_s)
        step.note = readable(upload.total)
    with steps.step("verify") as step:
        there = hub.files(upload.commit)
        wrong = [file.path for file in upload.files if not is_there(file, there.get(file.path))]
        if wrong:
            raise ZoowizardError(f"{', '.join(wrong[:5])}: {upload.place.host} has something else than was sent")
        step.note = f"{len(upload.files)} files, {readable(upload.total)}"
    upload.phase, upload.problem, upload.waits, upload.gone = "verified", "", "", []
    write(folder, upload)
    keep_receipt(folder, upload)


def _pieces(package: Package, scratch: Path) -> dict[str, Piece]:
    """The files of the package where they lie in the repository."""
    inside = members(package.archive, scratch)
    name, _, _ = described(inside, package.archive)
    inside[DESCRIPTION] = inside.pop(name)
    if kept := [path for path in inside if NOT_TAKEN & set(path.split("/"))]:
        raise ZoowizardError(f"{package.archive} holds {kept[0]}, which Hugging Face does not take; build it again")
    return {f"{PACKAGE}/{path}": piece for path, piece in inside.items()}


def _card(upload: HubUpload, package: Package, folder: Path) -> dict[str, Piece]:
    """The card and its pictures, as they are written by the side that knows bioimageio."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        side = importlib.import_module("zoowizard.packaging.huggingface")
        names = side.write_card(package.archive, upload.repository, upload.tests == "passed", folder)
    except OSError as problem:
        raise ZoowizardError(f"could not write the model card ({(problem.strerror or '').lower()})") from problem
    return {name: Piece(folder / name, 0, (folder / name).stat().st_size) for name in names}


def _hashed(path: str, piece: Piece) -> HubFile:
    """A file with the two hashes of which the hub tells one: git's own is of `blob`, the size, a zero, the content."""
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(f"blob {piece.size}\0".encode(), usedforsecurity=False)
    for chunk in piece.chunks():
        sha256.update(chunk)
        sha1.update(chunk)
    return HubFile(path=path, size=piece.size, sha256=sha256.hexdigest(), sha1=sha1.hexdigest())


def _take_repository(folder: Path, upload: HubUpload, hub: Hub, steps: StepsLike) -> None:
    """Have a repository in which nobody else's files are. Raises ZoowizardError where there is none to be had."""
    if not upload.ours or not hub.exists():
        upload.ours, upload.commit = False, ""
        made = hub.make(upload.public)
        if not made and (others := set(hub.files(hub.look().commit)) - {THE_HUBS_OWN}):
            some = ", ".join(sorted(others)[:3])
            raise ZoowizardError(
                f"{upload.repository} holds files already that were not uploaded from here ({some}); take another name"
            )
        upload.ours = True
        write(folder, upload)
    private = hub.look().private
    if not upload.public and not private:
        raise ZoowizardError(
            f"{upload.repository} is public, so nothing was sent; make it private in its settings, or say --public"
        )
    if upload.public and private:
        steps.note(
            "warning", f"{upload.repository} is private, and stays so; its settings at Hugging Face change that."
        )
        upload.public = False


def _bring(
    folder: Path, upload: HubUpload, hub: Hub, pieces: Mapping[str, Piece], pace: Pace, steps: StepsLike
) -> None:
    """Send what the last commit lacks, and commit it. Raises Unsure where it should be looked at again."""
    last = hub.look().commit
    there = hub.files(last)
    missing = [file for file in upload.files if not is_there(file, there.get(file.path))]
    gone = [path for path in upload.gone if path in there]
    if upload.commit not in ("", last) and (missing or gone):
        steps.note(
            "info", f"{upload.repository} was changed at {upload.place.host}: what is replaced stays in its history."
        )
    for file in upload.files:
        file.done = file not in missing
    if missing or gone:
        upload.phase = "sending"
    write(folder, upload)
    keep_receipt(folder, upload)
    out = {file.path: file.size if file.done else 0 for file in upload.files}

    def tell(path: str, sent: int) -> None:
        out[path] = sent
        pace.tell(sum(out.values()))

    additions = hub.additions({file.path: pieces[file.path] for file in missing})
    for together in _batches(missing):
        for file in together:
            additions[file.path].path_or_fileobj.told = functools.partial(tell, file.path)
        hub.send(list({file.sha256: additions[file.path] for file in together}.values()))
        for file in together:
            additions[file.path].path_or_fileobj.told = None
            file.done = True
            tell(file.path, file.size)
        write(folder, upload)
    if missing or gone:
        last = hub.commit(list(additions.values()), gone, last, upload.title)
    upload.commit = last
    write(folder, upload)


def _batches(files: Sequence[HubFile]) -> Iterator[list[HubFile]]:
    """The files in their order, small ones together."""
    batch: list[HubFile] = []
    for file in files:
        if batch and sum(one.size for one in batch) + file.size > TOGETHER_BYTES:
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch
