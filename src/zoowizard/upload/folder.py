"""Saving a package in a folder: `python -m zoowizard.upload.folder WORKSPACE DRAFT ARCHIVE REPORT SHA256 FOLDER`.

Prints a JSON line for each step of the way, the last one with the receipt.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from zoowizard.atomic import NO_ROOM, free_bytes, sync_folder
from zoowizard.drafts.store import Workspace
from zoowizard.errors import WrongUse, ZoowizardError
from zoowizard.upload.receipts import Receipt, keep
from zoowizard.upload.target import Parcel, Progress

CHUNK_BYTES: Final = 4 << 20
SAID_EVERY_S: Final = 0.5
SPARE_BYTES: Final = 1 << 20
BEGUN: Final = ".zoowizard-part-"
"""How the name of a file begins that is not whole yet."""
LEFT_AFTER_S: Final = 3600.0


class FolderTarget:
    """A folder of this computer. Nothing in it is confirmed by anybody: it is a file, saved and read again."""

    kind = "folder"
    label = "Save the package in a folder"

    def __init__(self, place: Path) -> None:
        """`place`: a folder, made where it is missing; or, where it ends in `.zip`, the file that the zip shall be."""
        whole = place.absolute()
        is_file = whole.suffix.lower() == ".zip" and not whole.is_dir()
        self.folder, self._name = (whole.parent, whole.name) if is_file else (whole, "")

    def path_of(self, parcel: Parcel) -> Path:
        """Where the zip will lie."""
        return self.folder / (self._name or parcel.archive.name)

    def files(self, parcel: Parcel) -> dict[Path, Path]:
        """What is saved → its path in the folder: the zip, and its report named after it."""
        path = self.path_of(parcel)
        if parcel.report is None:
            return {parcel.archive: path}
        return {
            parcel.archive: path,
            parcel.report: path.with_name(f"{path.stem}-report.json"),
            parcel.report.with_suffix(".md"): path.with_name(f"{path.stem}-report.md"),
        }

    def summary(self, parcel: Parcel) -> Sequence[str]:
        """What will be saved, made and replaced. Raises ZoowizardError where nothing can be saved there."""
        there = _nearest(self.folder)
        if not there.is_dir():
            raise WrongUse(f"{there} is a file; choose a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ZoowizardError(f"you may not save anything in {there}; choose another folder")
        needed = _size(parcel.archive) + SPARE_BYTES
        free = free_bytes(there)
        if free < needed:
            raise ZoowizardError(
                f"the disk is full: {free / 1e6:.0f} MB are free there, and {needed / 1e6:.0f} MB are needed"
            )
        target = self.path_of(parcel)
        if there != self.folder:
            return [f"the folder will be made, and {target.name} saved in it"]
        if target.is_dir():
            raise WrongUse(f"there is a folder called {target.name} already; choose another folder")
        if _is_same(parcel.archive, target):
            return [f"{target.name} is in this folder already"]
        if target.exists():
            return [f"{target.name} is in this folder already and will be replaced"]
        return [f"{target.name} will be saved in this folder"]

    def send(self, parcel: Parcel, progress: Progress) -> Receipt:
        """Save zip and report; each appears whole or not at all. Raises ZoowizardError with one sentence."""
        self.summary(parcel)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _sweep(self.folder)
            for source, target in self.files(parcel).items():
                wanted = parcel.sha256 if source == parcel.archive else None
                _save(source, target, wanted, progress)
        except OSError as problem:
            raise ZoowizardError(_in_words(problem, self.folder)) from problem
        sync_folder(self.folder)
        return Receipt(
            kind=self.kind,
            where=str(self.path_of(parcel)).encode(errors="backslashreplace").decode(),
            sha256=parcel.sha256,
            size=_size(parcel.archive),
            state="done",
            at=datetime.now(UTC),
        )


def _save(source: Path, target: Path, wanted: str | None, progress: Progress) -> None:
    """Copy beside `target`, read it again, rename. `wanted` is the hash that it must have."""
    beside = target.with_name(f"{BEGUN}{secrets.token_hex(8)}")  # a name of its own: others may save there, too
    is_there = _is_same(source, target)
    try:
        if is_there:
            copied = wanted and _hash(target, progress, source.name)
        else:
            copied = _copy(source, beside, progress)
            if _hash(beside, progress, source.name) != copied:
                raise ZoowizardError(f"{target}: what was saved is not what was written; the disk may be failing")
        if wanted is not None and copied != wanted:
            raise ZoowizardError(f"{source} was changed since it passed its tests; build it again")
        if not is_there:
            beside.replace(target)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what a killed process had begun to save; an hour later nobody is at it any more."""
    for left in folder.glob(f"{BEGUN}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER_S:
                left.unlink()


def _copy(source: Path, beside: Path, progress: Progress) -> str:
    size, done, digest = max(1, source.stat().st_size), 0, hashlib.sha256()
    with source.open("rb") as file, beside.open("xb") as copy:
        for chunk in _chunks(file):
            copy.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(0.7 * done / size, f"saving {source.name}")
        copy.flush()
        os.fsync(copy.fileno())
    return digest.hexdigest()


def _hash(path: Path, progress: Progress, name: str) -> str:
    size, done, digest = max(1, path.stat().st_size), 0, hashlib.sha256()
    with path.open("rb") as file:
        for chunk in _chunks(file):
            digest.update(chunk)
            done += len(chunk)
            progress(0.7 + 0.3 * done / size, f"checking {name}")
    return digest.hexdigest()


def _chunks(file: object) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):  # type: ignore[attr-defined]
        yield chunk


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as problem:
        raise ZoowizardError(f"{path} is not there any more; build the package again") from problem


def _nearest(folder: Path) -> Path:
    """The folder itself, or what of the way to it is there already."""
    return next(one for one in (folder, *folder.parents) if os.path.lexists(one))


def _in_words(problem: OSError, folder: Path) -> str:
    if problem.errno in NO_ROOM:
        return f"the disk is full: nothing was saved in {folder}; free some space and try again"
    if problem.errno == errno.EROFS:
        return f"{folder} is on a disk that can only be read; choose another folder"
    if problem.errno in (errno.EACCES, errno.EPERM):
        return f"you may not save anything in {folder}; choose another folder"
    return f"could not save the package in {folder}: {(problem.strerror or str(problem)).lower()}"


def main(arguments: Sequence[str]) -> int:
    """Save a package and keep the receipt; gives the exit code."""
    root, draft_id, archive, report, digest, folder = arguments
    said = [-SAID_EVERY_S]

    def progress(fraction: float, words: str) -> None:
        if time.monotonic() - said[0] >= SAID_EVERY_S:
            said[0] = time.monotonic()
            sys.stdout.write(json.dumps({"fraction": round(fraction, 3), "words": words}) + "\n")
            sys.stdout.flush()

    try:
        receipt = FolderTarget(Path(folder)).send(Parcel(Path(archive), Path(report), digest), progress)
        keep(Workspace(Path(root)), draft_id, receipt)
    except ZoowizardError as problem:
        sys.stderr.write(str(problem).encode(errors="backslashreplace").decode() + "\n")
        return problem.exit_code
    sys.stdout.write(json.dumps({"receipt": receipt.model_dump(mode="json")}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
