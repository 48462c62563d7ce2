"""The workspace: one folder a model, files as the record.

ROOT/models/<id>/draft.json   what is known (readable, replaced as a whole)
ROOT/models/<id>/draft.lock   held by whoever edits the draft; says who that is
ROOT/models/<id>/jobs/        one folder a job
ROOT/models/<id>/packages/    what the jobs built
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from zoowizard.atomic import write_json
from zoowizard.drafts.draft import Draft, Value
from zoowizard.errors import WrongUse, ZoowizardError

VERSION: Final = 1
LONGEST_ID: Final = 48
BIGGEST_DRAFT: Final = 64_000_000


class DraftBusy(ZoowizardError):
    """Another process is editing the draft."""


@dataclass(frozen=True)
class Workspace:
    """The folder `root` in which drafts, jobs and packages are kept."""

    root: Path

    def folder(self, draft_id: str) -> Path:
        """The folder of one model. Raises WrongUse for an id that is no plain name."""
        if draft_id in ("", ".", "..") or "/" in draft_id or "\0" in draft_id:
            raise WrongUse(f"{draft_id!r} is no id of a model; `zoowizard board` lists them")
        return self.root / "models" / draft_id

    def jobs(self, draft_id: str) -> Path:
        """The folder in which the jobs of one model lie."""
        return self.folder(draft_id) / "jobs"

    def packages(self, draft_id: str) -> Path:
        """The folder in which the packages of one model lie."""
        return self.folder(draft_id) / "packages"


def _is_text(value: Any) -> Any:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("must be a text")
    return value


Text = Annotated[Any, AfterValidator(_is_text)]
"""pydantic's own `str` refuses file names that are no UTF-8, and so would make such a draft unreadable."""


class _StoredValue(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: Any
    origin: Text


class _StoredDraft(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: Literal[1]
    family: Text
    checkpoint: Text
    created: Text
    found: dict[str, _StoredValue]
    given: dict[str, _StoredValue]


def open_workspace(path: Path | None = None) -> Workspace:
    """The workspace at `path`, else at `ZOOWIZARD_WORKSPACE`, else in the person's own data folder; made if need be.

    Raises WrongUse where it cannot be made or read.
    """
    if path is None and os.environ.get("ZOOWIZARD_WORKSPACE"):
        path = Path(os.environ["ZOOWIZARD_WORKSPACE"])
    if path is None:
        import platformdirs

        path = Path(platformdirs.user_data_dir("zoowizard", appauthor=False))
    root = path.expanduser().absolute()
    try:
        (root / "models").mkdir(parents=True, exist_ok=True)
        next((root / "models").iterdir(), None)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"the workspace {root} cannot be used ({reason}); choose a folder of yours with --workspace"
        raise WrongUse(message) from error
    return Workspace(root)


def start_draft(workspace: Workspace, family: str, checkpoint: Path, suggestion: str = "") -> Draft:
    """The draft of the checkpoint at this path: the one that is there already, or a new one.

    A new one gets an id made from `suggestion`, or else from the file's name. Raises ZoowizardError where it cannot be
    saved, and where a damaged draft of that name may be the checkpoint's: its answers shall not be lost.
    """
    place = checkpoint.expanduser().absolute()
    with _held(workspace.root / "models.lock", wait=True):
        readable, damaged = _read_all(workspace)
        for draft in readable:
            if os.path.realpath(draft.checkpoint) == os.path.realpath(place):
                return draft
        slug = slug_of(suggestion or checkpoint.stem)
        for draft_id, problem in damaged.items():
            if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", draft_id):
                raise ZoowizardError(problem)
        taken = {folder.name.casefold() for folder in _folders(workspace) if _is_in_use(folder)}
        number = 1
        draft_id = slug
        while draft_id.casefold() in taken:
            number += 1
            draft_id = f"{slug}-{number}"
        created = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
        draft = Draft(draft_id, family, place, created)
        save(workspace, draft)
        return draft


def slug_of(name: str) -> str:
    """A short name for a folder from any text: letters and digits of any script in small letters, and dashes.

    >>> slug_of("Nuclei run [best]")
    'nuclei-run-best'
    """
    small = unicodedata.normalize("NFC", name).casefold()
    slug = re.sub(r"[\W_]+", "-", small).strip("-")
    while len(slug.encode()) > LONGEST_ID:
        slug = slug[:-1]
    return slug.strip("-") or "model"


def save(workspace: Workspace, draft: Draft) -> None:
    """Replace the draft on disk as a whole. Raises ZoowizardError; the last good state is then still there."""
    folder = workspace.folder(draft.id)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZoowizardError(f"could not make the folder {folder}: {(error.strerror or '').lower()}") from error
    stored = {
        "version": VERSION,
        "family": draft.family,
        "checkpoint": str(draft.checkpoint),
        "created": draft.created,
        "given": _to_json(draft.given),
        "found": _to_json(draft.found),
    }
    write_json(folder / "draft.json", stored)


def _to_json(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: {"value": known.value, "origin": known.origin} for name, known in sorted(values.items())}


def load(workspace: Workspace, draft_id: str) -> Draft:
    """Read a draft. Raises WrongUse where there is none, ZoowizardError naming file and field where it is damaged."""
    path = workspace.folder(draft_id) / "draft.json"
    try:
        if path.stat().st_size > BIGGEST_DRAFT:
            raise ZoowizardError(f"{path} is too big to be a draft; move it away")
        stored = _checked(path, json.loads(path.read_bytes().decode("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        message = f"there is no draft `{draft_id}` in {workspace.root}; `zoowizard board` lists them"
        raise WrongUse(message) from None
    except OSError as error:
        raise ZoowizardError(f"{path} cannot be read ({(error.strerror or str(error)).lower()})") from error
    except json.JSONDecodeError as error:
        message = f"{path} is no JSON (line {error.lineno}: {error.msg.lower()}); mend it or move it away"
        raise ZoowizardError(message) from error
    except (ValueError, RecursionError) as error:
        raise ZoowizardError(f"{path} is no draft (not readable as UTF-8 JSON); mend it or move it away") from error
    return Draft(
        draft_id,
        stored.family,
        Path(stored.checkpoint),
        stored.created,
        found={name: Value(known.value, known.origin) for name, known in stored.found.items()},
        given={name: Value(known.value, known.origin) for name, known in stored.given.items()},
    )


def _checked(path: Path, data: Any) -> _StoredDraft:
    try:
        return _StoredDraft.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        reason = first["msg"].removeprefix("Value error, ")
        message = f"{path}: {field}: {reason[:1].lower()}{reason[1:]}; mend it or move it away"
        raise ZoowizardError(message) from error


def drafts(workspace: Workspace) -> tuple[list[Draft], list[str]]:
    """All drafts, the oldest first, and a sentence for each folder whose draft cannot be read."""
    found, damaged = _read_all(workspace)
    return found, list(damaged.values())


def _read_all(workspace: Workspace) -> tuple[list[Draft], dict[str, str]]:
    """All drafts, the oldest first, and by the name of the folder what is wrong with those that cannot be read."""
    found: list[Draft] = []
    damaged: dict[str, str] = {}
    for folder in _folders(workspace):
        try:
            found.append(load(workspace, folder.name))
        except WrongUse:
            continue  # a start that was ended before the first save
        except ZoowizardError as error:
            damaged[folder.name] = str(error)
    return sorted(found, key=lambda draft: (draft.created, draft.id)), damaged


def _folders(workspace: Workspace) -> list[Path]:
    try:
        return sorted(entry for entry in (workspace.root / "models").iterdir() if entry.is_dir())
    except FileNotFoundError:
        return []


def _is_in_use(folder: Path) -> bool:
    try:
        return any(not entry.name.startswith(".saving-") for entry in folder.iterdir())
    except OSError:
        return True


@contextlib.contextmanager
def editing(workspace: Workspace, draft_id: str) -> Iterator[Draft]:
    """Hold a draft while it is edited; gives the draft as it is now.

    Raises DraftBusy, naming who holds it, where another process (or another holder in this one) edits it.
    """
    folder = workspace.folder(draft_id)
    load(workspace, draft_id)
    with _held(folder / "draft.lock", wait=False):
        _sweep(folder)
        yield load(workspace, draft_id)


def _sweep(folder: Path) -> None:
    """Remove what a killed process had begun to save; an hour later nobody is at it any more."""
    for left in folder.glob(".saving-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                left.unlink()


@contextlib.contextmanager
def _held(path: Path, *, wait: bool) -> Iterator[None]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"the workspace cannot be written: {path} ({reason}); choose a folder of yours with --workspace"
        raise ZoowizardError(message) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise DraftBusy(
                f"{path.parent.name}: {_holder(descriptor)} is editing this draft; end that first"
            ) from None
        except OSError as error:
            reason = (
                "has no file locks" if error.errno in (errno.ENOLCK, errno.ENOTSUP) else os.strerror(error.errno or 0)
            )
            message = f"the file system of {path.parent} {reason}; choose another workspace with --workspace"
            raise ZoowizardError(message) from error
        with contextlib.suppress(OSError):  # who holds it is for people only; a full disk must not stop the work
            os.ftruncate(descriptor, 0)
            since = datetime.now(UTC).astimezone().isoformat(timespec="seconds")
            holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": since}
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return f"another zoowizard (process {said['pid']} on {said['host']}, since {said['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another zoowizard"
